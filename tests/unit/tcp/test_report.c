/* SPDX-License-Identifier: MIT */
/* tests/unit/tcp/test_report.c - what a connection tells about itself: TCP_INFO, counters */
#include <linux/tcp.h>
#include <string.h>

#include "tests/unit/tcp/script.h"

static uint64_t snmp(struct sc *c, enum snmp_id id)
{
	return c->s.host[0].cnt.snmp[id];
}

/* ---- TCP_INFO ---- */

Test(info, tells_the_truth)
{
	struct sc *c = sc_new();
	struct sim_end *x;
	struct tcp_info i;

	sc_accept(c, &x);
	sc_write(x, 3000);
	in(c, TH_ACK, 1, 1461, 30000, 100);
	cr_expect_eq(sc_cmd(x, SD_OP_GETINFO, 0), 0);
	cr_expect_eq(c->s.host[0].reply_len, 248, "as Linux 6.18, up to tcpi_total_rto_time");
	memcpy(&i, c->s.host[0].reply, sizeof(i));
	cr_expect_eq(i.tcpi_state, SD_ST_ESTABLISHED);
	cr_expect_eq(i.tcpi_snd_mss, 1460);
	cr_expect_eq(i.tcpi_bytes_acked, 1460);
	cr_expect_eq(i.tcpi_bytes_received, 100);
	cr_expect_eq(i.tcpi_snd_wnd, 30000);
	cr_expect(i.tcpi_options & TCPI_OPT_SACK);
	cr_expect_not(i.tcpi_options & TCPI_OPT_TIMESTAMPS);
	in(c, TH_RST, 101, 0, 0, 0);
	sc_close(x);
	sc_free(c);
}

/* Request and answer: the next request acknowledges the answer before it, and is predicted, too. */
Test(predicted, request_that_acknowledges_the_answer)
{
	struct sc *c = sc_new();
	struct sim_end *x;
	struct tcb *tcb = sc_accept(c, &x);
	uint64_t hits = snmp(c, SNMP_TcpExt_TCPHPHits);

	for (unsigned i = 0; i < 5; i++) {
		c->forget = true;
		in(c, TH_ACK | TH_PSH, 1 + i * 10, 1 + i * 20, 1000, 10);
		c->forget = false;
		cr_assert_eq(sc_read(x, 100), 10);
		cr_assert_eq(tcb->snd_una, i * 20, "the answer before is acknowledged");
		sc_write(x, 20);
		expect_seg(c, TH_ACK | TH_PSH, 1 + i * 20, 11 + i * 10, 20);
	}
	cr_assert_geq(snmp(c, SNMP_TcpExt_TCPHPHits) - hits, 4);
	in(c, TH_RST, 51, 0, 0, 0);
	sc_close(x);
	sc_free(c);
}
