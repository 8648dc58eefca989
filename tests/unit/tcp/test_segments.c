/* SPDX-License-Identifier: MIT */
/* tests/unit/tcp/test_segments.c - segment arrival, step by step, against a scripted peer */
#include <errno.h>
#include <linux/tcp.h>
#include <string.h>
#include <sys/socket.h>

#include "tests/unit/tcp/script.h"

static uint64_t snmp(struct sc *c, enum snmp_id id)
{
	return c->s.host[0].cnt.snmp[id];
}

static uint64_t dropped(struct sc *c, enum drop_reason why)
{
	return c->s.host[0].cnt.drop[why];
}

/* ---- no connection: RFC 9293 3.10.7.1 ---- */

Test(closed, resets_are_made_to_be_believed)
{
	struct sc *c = sc_new();

	in(c, TH_SYN, 0, 0, 1000, 0);
	expect_seg(c, TH_RST | TH_ACK, 0 - c->isn, 1, 0);
	in(c, TH_ACK, 7, 99, 1000, 10);
	expect_seg(c, TH_RST, 99, 0, 0);
	in(c, TH_RST, 7, 99, 1000, 0);
	quiet(c);
	in(c, TH_FIN, 7, 0, 1000, 10);
	expect_seg(c, TH_RST | TH_ACK, 0 - c->isn, 18, 0);
	sc_free(c);
}

/* ---- passive open ---- */

Test(listen, syn_ack_repeats_and_gives_up)
{
	struct sc *c = sc_new();

	prog_listen(&c->s.host[0]);
	in(c, TH_SYN, 0, 0, 1000, 0);
	expect_seg(c, TH_SYN | TH_ACK, 0, 1, 0);
	cr_expect_eq(tcp_tcb_used(&c->s.host[0].st), 1);
	sc_pass(c, 200 * 1000000ull);
	for (unsigned i = 0; i < c->s.host[0].st.sys->tcp_synack_retries; i++)
		expect_seg(c, TH_SYN | TH_ACK, 0, 1, 0);
	quiet(c);
	cr_expect_eq(tcp_tcb_used(&c->s.host[0].st), 0);
	sc_free(c);
}

Test(listen, wrong_final_ack_is_reset)
{
	struct sc *c = sc_new();

	prog_listen(&c->s.host[0]);
	in(c, TH_SYN, 0, 0, 1000, 0);
	out(c);
	in(c, TH_ACK, 1, 77, 1000, 0);
	expect_seg(c, TH_RST, 77, 0, 0);
	in(c, TH_RST, 1, 0, 1000, 0);
	quiet(c);
	cr_expect_eq(tcp_tcb_used(&c->s.host[0].st), 0);
	in(c, TH_ACK, 1, 1, 1000, 0);		/* no SYN before it */
	expect_seg(c, TH_RST, 1, 0, 0);
	sc_free(c);
}

Test(listen, backlog_bounds_embryos)
{
	struct sc *c = sc_new();

	prog_listen(&c->s.host[0]);
	c->s.host[0].st.sys->tcp_syncookies = 0;
	for (unsigned i = 0; i < 140; i++) {
		c->peer_port = (uint16_t)(1000 + i);
		in(c, TH_SYN, 0, 0, 1000, 0);
	}
	cr_expect_eq(tcp_tcb_used(&c->s.host[0].st), 128);
	cr_expect_eq(snmp(c, SNMP_TcpExt_ListenDrops), 12);
	cr_expect_eq(dropped(c, DROP_TCP_BACKLOG), 12);
	prog_unlisten(&c->s.host[0]);
	cr_expect_eq(tcp_tcb_used(&c->s.host[0].st), 0, "embryos go with their listener");
	sc_free(c);
}

/* ---- SYN cookies ---- */

/* The queue is full: the next one's handshake costs no memory, and its options come back. */
Test(listen, cookies_keep_mss_sack_and_scale)
{
	struct sc *c = sc_new();
	struct stack *st = &c->s.host[0].st;
	struct sim_end *x = &c->s.end[0], *peer = &c->s.end[1];
	struct tcb *tcb;
	struct sc_seg g;

	*peer = (struct sim_end){ .port = c->peer_port, .client = true, .closed = true, .peer = x };
	*x = (struct sim_end){ .h = &c->s.host[0], .peer = peer, .next_us = UINT64_MAX,
			       .manual = true };
	prog_listen(&c->s.host[0]);
	st->sys->tcp_syncookies = 2;
	c->ts = true;
	c->tsval = 7;
	in(c, TH_SYN, 0, 0, 1000, 0);
	g = out(c);
	cr_expect_eq(g.flags, TH_SYN | TH_ACK);
	cr_expect_eq(tcp_tcb_used(st), 0);
	cr_expect_eq(snmp(c, SNMP_TcpExt_SyncookiesSent), 1);
	c->tsecr = g.o.tsval;
	in(c, TH_ACK, 1, 12345, 1000, 0);
	expect_seg(c, TH_RST, 12345, 0, 0);
	cr_expect_eq(snmp(c, SNMP_TcpExt_SyncookiesFailed), 1);
	c->s.ends = 1;
	in(c, TH_ACK, 1, 1, 1000, 10);
	c->s.ends = 0;
	cr_expect_eq(snmp(c, SNMP_TcpExt_SyncookiesRecv), 1);
	cr_assert_eq(tcp_tcb_used(st), 1);
	tcb = tcb_at(st, OBJ_IDX(sc_e(x)->obj));
	cr_expect_eq(tcb->state, SD_ST_ESTABLISHED);
	cr_expect_eq(tcb->mss_peer, 1460);
	cr_expect(tcb->flags & TF_SACK && tcb->flags & TF_TS && !(tcb->flags & TF_WS));
	cr_expect_eq(tcb->rcv_nxt, 10u);
	c->forget = true;
	in(c, TH_RST, 11, 0, 0, 0);
	sc_close(x);
	sc_free(c);
}

Test(listen, old_cookies_are_refused)
{
	struct sc *c = sc_new();

	prog_listen(&c->s.host[0]);
	c->s.host[0].st.sys->tcp_syncookies = 2;
	in(c, TH_SYN, 0, 0, 1000, 0);
	out(c);
	sc_pass(c, 200 * 1000000ull);
	in(c, TH_ACK, 1, 1, 1000, 0);
	expect_seg(c, TH_RST, 1, 0, 0);
	prog_unlisten(&c->s.host[0]);
	sc_free(c);
}

/* ---- ECN: RFC 3168 ---- */

Test(ecn, marks_reduce_once_and_are_answered)
{
	struct sc *c = sc_new();
	struct sim_end *x;
	struct tcb *tcb;

	c->syn_flags = TH_ECE | TH_CWR;
	tcb = sc_accept(c, &x);
	cr_assert(tcb->flags2 & T2_ECN);
	sc_write(x, 14600);
	for (unsigned i = 0; i < 10; i++)
		cr_assert_eq(out(c).len, 1460);
	in(c, TH_ACK | TH_ECE, 1, 2921, 65535, 0);
	cr_expect_eq(tcb->ca, CA_CWR);
	cr_expect_eq(tcb->ssthresh, 7);
	in(c, TH_ACK | TH_ECE, 1, 5841, 65535, 0);
	cr_expect_eq(tcb->ssthresh, 7, "once per window");
	in(c, TH_ACK, 1, 14601, 65535, 0);
	quiet(c);
	sc_write(x, 2920);
	cr_expect(out(c).flags & TH_CWR, "the reduction is told");
	cr_expect_not(out(c).flags & TH_CWR);
	in(c, TH_RST, 1, 0, 0, 0);
	sc_close(x);
	sc_free(c);
}

/* Once per acknowledged progress: without any the neighbour may be gone. */
Test(send, progress_confirms_the_neighbour)
{
	struct sc *c = sc_new();
	struct sim_end *x;

	sc_accept(c, &x);
	for (uint32_t at = 1; at < 3 * 2920; at += 2920) {
		sc_write(x, 1460);
		cr_expect(out(c).confirm);
		sc_write(x, 1460);
		cr_expect_not(out(c).confirm, "nothing was answered meanwhile");
		in(c, TH_ACK, 1, at + 2920, 65535, 0);
	}
	in(c, TH_RST, 1, 0, 0, 0);
	sc_close(x);
	sc_free(c);
}

/* A FIN that comes before its data is SACKed: the sender's tail probe would else never be heard. */
Test(data, fin_ahead_is_sacked)
{
	struct sc *c = sc_new();
	struct sim_end *x;
	struct sc_seg g;

	sc_accept(c, &x);
	in(c, TH_ACK | TH_FIN, 101, 1, 65535, 0);
	g = out(c);
	cr_expect_eq(g.ack, 1);
	cr_assert_eq(g.o.sack_cnt, 1);
	cr_expect_eq(g.o.sack[0].lo - PEER_ISN, 101);
	cr_expect_eq(g.o.sack[0].hi - PEER_ISN, 102);
	in(c, TH_RST, 1, 0, 0, 0);
	sc_close(x);
	sc_free(c);
}

/* ---- sequence check, RST, SYN: RFC 5961 ---- */

Test(checks, reset_must_hit_exactly)
{
	struct sc *c = sc_new();
	struct sim_end *x;

	sc_accept(c, &x);
	in(c, TH_RST, 500, 0, 0, 0);		/* in the window: challenge */
	expect_seg(c, TH_ACK, 1, 1, 0);
	in(c, TH_RST, 400000, 0, 0, 0);		/* outside: nothing */
	quiet(c);
	cr_expect_eq(sc_e(x)->state, SD_ST_ESTABLISHED);
	in(c, TH_RST, 1, 0, 0, 0);
	quiet(c);
	cr_expect_eq(sc_e(x)->state, SD_ST_CLOSE);
	cr_expect_eq(sc_e(x)->err, ECONNRESET);
	cr_expect(sc_e(x)->flags & SD_E_RESET);
	cr_expect_eq(sc_e(x)->obj, 0);
	sc_close(x);
	sc_free(c);
}

Test(checks, syn_is_challenged_and_limited)
{
	struct sc *c = sc_new();
	struct sim_end *x;

	sc_accept(c, &x);
	in(c, TH_SYN, 1, 0, 1000, 0);
	expect_seg(c, TH_ACK, 1, 1, 0);
	in(c, TH_SYN, 2, 0, 1000, 0);
	quiet(c);				/* 500 ms between challenges */
	sc_pass(c, 600000);
	in(c, TH_SYN | TH_ACK, 1, 1, 1000, 0);
	expect_seg(c, TH_ACK, 1, 1, 0);
	cr_expect_eq(sc_e(x)->state, SD_ST_ESTABLISHED);
	in(c, TH_RST, 1, 0, 0, 0);
	sc_close(x);
	sc_free(c);
}

Test(checks, acks_of_what_was_never_sent)
{
	struct sc *c = sc_new();
	struct sim_end *x;

	sc_accept(c, &x);
	in(c, TH_ACK, 1, 5000, 1000, 10);
	expect_seg(c, TH_ACK, 1, 1, 0);		/* a challenge (RFC 5961 5.2) */
	cr_expect_eq(dropped(c, DROP_TCP_ACK), 1);
	cr_expect_eq(sc_e(x)->rx_tail, 0, "its data was not taken");
	in(c, TH_PSH, 1, 0, 1000, 10);		/* no ACK bit at all */
	quiet(c);
	cr_expect_eq(sc_e(x)->rx_tail, 0);
	in(c, TH_RST, 1, 0, 0, 0);
	sc_close(x);
	sc_free(c);
}

Test(checks, paws_drops_old_timestamps)
{
	struct sc *c = sc_new();
	struct sim_end *x;

	c->ts = true;
	c->tsval = 100000;
	sc_accept(c, &x);
	in(c, TH_ACK, 1, 1, 65535, 10);
	cr_expect_eq(out(c).ack, 11);
	c->tsval = 99000;
	in(c, TH_ACK, 11, 1, 65535, 10);
	cr_expect_eq(out(c).ack, 11, "an old segment is answered, not taken");
	cr_expect_eq(snmp(c, SNMP_TcpExt_PAWSEstab), 1);
	cr_expect_eq(sc_e(x)->rx_tail, 10);
	c->tsval = 100001;
	in(c, TH_ACK, 11, 1, 65535, 10);
	cr_expect_eq(out(c).ack, 21);
	in(c, TH_RST | TH_ACK, 21, 1, 0, 0);
	sc_close(x);
	sc_free(c);
}

/* ---- data ---- */

Test(data, out_of_order_in_place_with_sack)
{
	struct sc *c = sc_new();
	struct sim_end *x;
	struct sc_seg g;

	sc_accept(c, &x);
	in(c, TH_ACK, 1001, 1, 65535, 1000);
	g = out(c);
	cr_expect_eq(g.ack, 1);
	cr_assert_eq(g.o.sack_cnt, 1);
	cr_expect_eq(g.o.sack[0].lo - PEER_ISN, 1001);
	cr_expect_eq(g.o.sack[0].hi - PEER_ISN, 2001);
	in(c, TH_ACK, 3001, 1, 65535, 500);
	g = out(c);
	cr_assert_eq(g.o.sack_cnt, 2);
	cr_expect_eq(g.o.sack[0].lo - PEER_ISN, 3001, "the newest first");
	cr_expect_eq(sc_e(x)->rx_tail, 0, "not published before it is complete");
	in(c, TH_ACK, 1, 1, 65535, 1400);	/* overlaps what is there */
	g = out(c);
	cr_expect_eq(g.ack, 2001);
	cr_expect_eq(sc_e(x)->rx_tail, 2000);
	in(c, TH_ACK, 2001, 1, 65535, 1000);
	g = out(c);
	cr_expect_eq(g.ack, 3501);
	cr_expect_eq(g.o.sack_cnt, 0);
	cr_expect_eq(sc_read(x, 10000), 3500);
	in(c, TH_ACK, 3001, 1, 65535, 500);	/* again: D-SACK */
	g = out(c);
	cr_assert_eq(g.o.sack_cnt, 1);
	cr_expect_eq(g.o.sack[0].lo - PEER_ISN, 3001);
	in(c, TH_RST, 3501, 0, 0, 0);
	sc_close(x);
	sc_free(c);
}

Test(data, zero_window_and_update)
{
	struct sc *c = sc_new();
	struct sim_end *x;
	uint32_t seq = 1;
	struct sc_seg g = { .wnd = 1 };

	sc_accept(c, &x);
	while (g.wnd && seq < 200000) {
		in(c, TH_ACK, seq, 1, 65535, 1460);
		seq += 1460;
		g.wnd = 1;
		while (c->got_at < c->got_cnt)
			g = out(c);
	}
	cr_expect_eq(g.wnd, 0);
	in(c, TH_ACK, seq, 1, 65535, 1460);	/* beyond the window */
	cr_expect_lt(sc_e(x)->rx_tail, seq - 1 + 1460);
	cr_expect_eq(out(c).wnd, 0);
	sc_read(x, 200000);
	g = out(c);
	cr_expect_gt(g.wnd, 0, "the window opens by itself");
	in(c, TH_RST, (uint32_t)sc_e(x)->rx_tail + 1, 0, 0, 0);
	sc_close(x);
	sc_free(c);
}

Test(data, fin_ahead_of_its_data)
{
	struct sc *c = sc_new();
	struct sim_end *x;

	sc_accept(c, &x);
	in(c, TH_ACK | TH_FIN, 101, 1, 65535, 50);
	cr_expect_eq(out(c).ack, 1);
	cr_expect_not(sc_e(x)->flags & SD_E_RCV_FIN);
	in(c, TH_ACK, 1, 1, 65535, 100);
	cr_expect_eq(out(c).ack, 152);
	cr_expect(sc_e(x)->flags & SD_E_RCV_FIN);
	cr_expect_eq(sc_e(x)->state, SD_ST_CLOSE_WAIT);
	cr_expect_eq(sc_read(x, 1000), 150);
	sc_close(x);
	expect_seg(c, TH_ACK | TH_FIN, 1, 152, 0);
	in(c, TH_ACK, 152, 2, 65535, 0);
	quiet(c);
	cr_expect_eq(tcp_tcb_used(&c->s.host[0].st), 0);
	sc_free(c);
}

/* ---- sending ---- */

Test(send, nagle_holds_the_second_small_one)
{
	struct sc *c = sc_new();
	struct sim_end *x;

	sc_accept(c, &x);
	sc_write(x, 10);
	expect_seg(c, TH_ACK | TH_PSH, 1, 1, 10);
	sc_write(x, 10);
	sc_write(x, 10);
	quiet(c);
	in(c, TH_ACK, 1, 11, 65535, 0);
	expect_seg(c, TH_ACK | TH_PSH, 11, 1, 20);
	in(c, TH_RST, 1, 0, 0, 0);
	sc_close(x);
	sc_free(c);
}

Test(send, three_duplicates_retransmit)
{
	struct sc *c = sc_new();
	struct sim_end *x;
	struct tcb *tcb = sc_accept(c, &x);

	sc_write(x, 14600);
	for (unsigned i = 0; i < 10; i++)
		cr_assert_eq(out(c).len, 1460);
	for (unsigned i = 0; i < 3; i++) {
		c->sack_cnt = 1;
		c->sack[0][0] = 1461;
		c->sack[0][1] = 2921 + 1460 * i;
		in(c, TH_ACK, 1, 1, 65535, 0);
	}
	expect_seg(c, TH_ACK, 1, 1, 1460);
	quiet(c);
	cr_expect_eq(tcb->ca, CA_RECOVERY);
	cr_expect_eq(tcb->ssthresh, 7, "CUBIC's 0.7");
	in(c, TH_ACK, 1, 14601, 65535, 0);
	cr_expect_eq(tcb->ca, CA_OPEN);
	cr_expect_eq(snmp(c, SNMP_TcpExt_TCPSackRecovery), 1);
	in(c, TH_RST, 1, 0, 0, 0);
	sc_close(x);
	sc_free(c);
}

Test(send, timeout_backs_off_and_gives_up)
{
	struct sc *c = sc_new();
	struct sim_end *x;
	struct tcb *tcb = sc_accept(c, &x);

	sc_write(x, 100);
	cr_expect_eq(out(c).len, 100);
	sc_pass(c, 300000);
	expect_seg(c, TH_ACK | TH_PSH, 1, 1, 100);	/* tail loss probe */
	cr_expect_eq(tcb->ca, CA_OPEN);
	sc_pass(c, 300000);
	expect_seg(c, TH_ACK | TH_PSH, 1, 1, 100);
	cr_expect_eq(tcb->ca, CA_LOSS);
	cr_expect_eq(tcb->cwnd, 1);
	sc_pass(c, 3000 * 1000000ull);
	for (unsigned i = 1; i < 16; i++)
		expect_seg(c, TH_ACK | TH_PSH, 1, 1, 100);
	quiet(c);
	cr_expect_eq(sc_e(x)->err, ETIMEDOUT);
	sc_close(x);
	sc_free(c);
}

Test(send, closed_window_is_probed)
{
	struct sc *c = sc_new();
	struct sim_end *x;

	sc_accept(c, &x);
	in(c, TH_ACK, 1, 1, 65535, 1);
	in(c, TH_ACK, 2, 1, 0, 1);		/* newer: the window may close */
	out(c);
	out(c);
	sc_write(x, 100);
	quiet(c);
	sc_pass(c, 300000);
	expect_seg(c, TH_ACK, 0, 3, 0);		/* one below: must be answered */
	in(c, TH_ACK, 3, 1, 0, 0);
	sc_pass(c, 300000);
	quiet(c);				/* backed off */
	sc_pass(c, 300000);
	expect_seg(c, TH_ACK, 0, 3, 0);
	in(c, TH_ACK, 3, 1, 5000, 0);
	expect_seg(c, TH_ACK | TH_PSH, 1, 3, 100);
	in(c, TH_RST, 3, 0, 0, 0);
	sc_close(x);
	sc_free(c);
}

/* The peer takes its window back while data is under way, and answers every probe: it is waited
 * for, however long. One that is silent is given up. */
Test(send, window_taken_back_is_waited_for)
{
	struct sc *c = sc_new();
	struct sim_end *x;
	struct tcb *tcb = sc_accept(c, &x);

	sc_write(x, 1000);
	out(c);
	in(c, TH_ACK, 1, 1, 0, 1);
	c->forget = true;
	for (int i = 0; i < 300; i++) {
		sc_pass(c, 60 * 1000000ull);
		in(c, TH_ACK, 2, 1, 0, 0);
	}
	cr_assert_eq(sc_e(x)->state, SD_ST_ESTABLISHED);
	c->forget = false;
	c->got_at = c->got_cnt;
	in(c, TH_ACK, 2, 1, 65535, 0);
	quiet(c);				/* as Linux: the timer sends it */
	sc_pass(c, TCP_RTO_MAX_US);
	cr_expect_eq(out(c).len, 1000);
	in(c, TH_ACK, 2, 1001, 65535, 0);
	cr_expect_eq(tcb->snd_una, 1000u);
	sc_write(x, 1000);
	in(c, TH_ACK, 2, 1001, 0, 1);
	c->forget = true;
	sc_pass(c, 3600 * 1000000ull);
	cr_expect_eq(sc_e(x)->state, SD_ST_CLOSE);
	cr_expect_eq(sc_e(x)->err, (uint32_t)ETIMEDOUT);
	sc_close(x);
	sc_free(c);
}

/* ---- numbers that wrap ---- */

/* Both sides' sequence numbers pass 2^32 with holes on either side. */
Test(wrap, sequence_numbers)
{
	struct sc *c = sc_new();
	struct stack *st = &c->s.host[0].st;
	struct sock_tuple t = { .laddr = host_addr(0), .raddr = host_addr(1), .lport = SIM_PORT,
				.rport = PEER_PORT };
	struct sim_end *x;
	struct tcb *tcb;

	c->peer_isn = 0u - 4000;
	while (tcp_isn(st, &t) < 0u - 8000)
		st->boot_secret[0]++;
	tcb = sc_accept(c, &x);
	cr_assert_geq(tcb->iss, 0u - 8000);
	for (uint32_t at = 0; at < 10000; at += 2000) {
		in(c, TH_ACK, 1 + at + 1000, 1, 65535, 1000);
		in(c, TH_ACK, 1 + at, 1, 65535, 1000);
	}
	cr_expect_eq(tcb->rcv_nxt, 10000u);
	cr_expect_eq(sc_read(x, 10000), 10000u);
	c->got_at = c->got_cnt;
	sc_write(x, 14600);
	for (uint32_t i = 0; i < 10; i++)
		expect_seg(c, i % 5 < 4 ? TH_ACK : TH_ACK | TH_PSH, 1 + 1460 * i, 10001, 1460);
	c->sack[0][0] = 1 + 1460;
	c->sack[0][1] = 14601;
	c->sack_cnt = 1;
	in(c, TH_ACK, 10001, 1, 65535, 0);
	expect_seg(c, TH_ACK, 1, 10001, 1460);
	in(c, TH_ACK, 10001, 14601, 65535, 0);
	cr_expect_eq(tcb->snd_una, 14600u);
	cr_expect_eq(sc_e(x)->tx_una, 14600u);
	quiet(c);
	sc_cmd(x, SD_OP_SHUTDOWN, SHUT_WR);
	expect_seg(c, TH_ACK | TH_FIN, 14601, 10001, 0);
	sc_close(x);
	sc_free(c);
}

/* The clock's 32 bits of milliseconds and both sides' timestamps wrap: timers and PAWS go on. */
Test(wrap, milliseconds_and_timestamps)
{
	struct sc *c = sc_new_at(((1ull << 32) - 1500) * 1000);
	struct sim_end *x;
	struct tcb *tcb;

	c->ts = true;
	c->tsval = 0u - 2;
	tcb = sc_accept(c, &x);
	for (uint32_t i = 0; i < 30; i++) {
		c->tsval++;
		in(c, TH_ACK, 1 + i * 100, 1, 65535, 100);
		sc_pass(c, 100000);
		cr_assert_eq(tcb->rcv_nxt, (i + 1) * 100, "segment %u", i);
	}
	cr_expect_eq(tcb->ts_recent, 28u);
	sc_read(x, 3000);
	c->got_at = c->got_cnt;
	c->s.now_us = ((2ull << 32) - 300) * 1000;
	sc_write(x, 100);
	cr_expect_eq(out(c).len, 100);
	sc_pass(c, 5000000);
	cr_expect_eq(out(c).len, 100, "retransmitted across the wrap");
	cr_expect_geq(tcb->rtx_cnt, 2);
	cr_expect_leq(tcb->rtx_cnt, 5);
	sc_close(x);
	sc_free(c);
}

/* ---- what programs do wrong, and how they leave ---- */

Test(trust, positions_that_cannot_be_end_the_connection)
{
	static const uint64_t bad_tail[] = { SD_FIFO_MAX + 1, UINT64_MAX, 1ull << 63 };
	struct sc *c = sc_new();
	struct sim_end *x;

	for (unsigned i = 0; i < 5; i++) {
		struct sock_cmd k = { .op = SD_OP_KICK };

		c->peer_port++;
		sc_accept(c, &x);
		k.id = x->id;
		if (i < 3)
			sc_p(x)->tx_tail = bad_tail[i];
		else if (i == 3)
			sc_p(x)->rx_head = 1;		/* nothing was received */
		else
			sc_p(x)->tx_tail = 5000;	/* in bounds, but nothing is there */
		tcp_sock_ops.kick(&c->s.host[0].st, &k, sc_e(x)->obj, SD_PEND_TX | SD_PEND_RX);
		host_turn(&c->s.host[0]);
		cr_expect(out(c).flags & TH_RST, "case %u", i);
		cr_expect_eq(sc_e(x)->err, ECONNABORTED);
		sc_p(x)->tx_tail = sc_p(x)->rx_head = 0;
		sc_close(x);
		quiet(c);
	}
	cr_expect_eq(snmp(c, SNMP_App_BadPositions), 5);
	sc_free(c);
}

Test(leave, unread_data_resets)
{
	struct sc *c = sc_new();
	struct sim_end *x;

	sc_accept(c, &x);
	in(c, TH_ACK, 1, 1, 65535, 10);
	out(c);
	sc_close(x);
	expect_seg(c, TH_RST | TH_ACK, 1, 11, 0);
	cr_expect_eq(snmp(c, SNMP_TcpExt_TCPAbortOnClose), 1);
	sc_free(c);
}

/* shutdown() while both sides' SYNs have crossed and ours is not acknowledged: the SYN goes on
 * being sent, the FIN follows when it has arrived. */
Test(leave, shutdown_during_simultaneous_open)
{
	struct sc *c = sc_new();
	struct sim_end *x;
	struct tcb *tcb = sc_connect(c, &x);

	cr_assert_eq(tcb->state, SD_ST_SYN_SENT);
	expect_seg(c, TH_SYN, 0, 0, 0);
	in(c, TH_SYN, 0, 0, 65535, 0);
	expect_seg(c, TH_SYN | TH_ACK, 0, 1, 0);
	cr_expect_eq(sc_cmd(x, SD_OP_SHUTDOWN, SHUT_WR), 0);
	quiet(c);
	cr_expect_eq(tcb->state, SD_ST_SYN_RECV);
	sc_pass(c, 1100000);
	expect_seg(c, TH_SYN | TH_ACK, 0, 1, 0);
	in(c, TH_ACK, 1, 1, 65535, 0);
	expect_seg(c, TH_ACK | TH_FIN, 1, 1, 0);
	cr_expect_eq(tcb->state, SD_ST_FIN_WAIT1);
	in(c, TH_ACK, 1, 2, 65535, 0);
	cr_expect_eq(tcb->state, SD_ST_FIN_WAIT2);
	in(c, TH_ACK | TH_FIN, 1, 2, 65535, 0);
	expect_seg(c, TH_ACK, 2, 2, 0);
	sc_close(x);
	sc_free(c);
}

/* connect(AF_UNSPEC): what was not read is gone, in order or not. */
Test(leave, disconnect_purges)
{
	struct sc *c = sc_new();
	struct stack *st = &c->s.host[0].st;
	struct sim_end *x;

	sc_accept(c, &x);
	in(c, TH_ACK, 1, 1, 65535, 1000);
	in(c, TH_ACK, 30001, 1, 65535, 1000);
	cr_assert_gt(st->epools[SIM_SEG].chunk_used, 0);
	c->forget = true;
	sc_cmd(x, SD_OP_DISCONNECT, 0);
	cr_expect_eq(st->epools[SIM_SEG].chunk_used, 0u);
	cr_expect_eq(sc_e(x)->rx.freed, sc_e(x)->rx_tail);
	cr_expect_eq(sc_e(x)->state, SD_ST_CLOSE);
	sc_close(x);
	sc_free(c);
}

/* Linux has sent them when write() returns. */
Test(leave, last_words_before_a_reset)
{
	struct sc *c = sc_new();
	struct sim_end *x;

	sc_accept(c, &x);
	in(c, TH_ACK, 1, 1, 65535, 10);
	out(c);
	sc_put(x, 100);
	sc_close(x);
	expect_seg(c, TH_ACK | TH_PSH, 1, 11, 100);
	expect_seg(c, TH_RST | TH_ACK, 101, 11, 0);
	sc_free(c);
}

Test(leave, orphan_waits_without_a_slot)
{
	struct sc *c = sc_new();
	struct sim_end *x;

	sc_accept(c, &x);
	sc_close(x);
	expect_seg(c, TH_ACK | TH_FIN, 1, 1, 0);
	in(c, TH_ACK, 1, 2, 65535, 0);		/* FIN_WAIT2: a small entry */
	cr_expect_eq(tcp_tcb_used(&c->s.host[0].st), 0);
	cr_expect_eq(tcp_tw_used(&c->s.host[0].st), 1);
	in(c, TH_ACK | TH_FIN, 1, 2, 65535, 0);
	expect_seg(c, TH_ACK, 2, 2, 0);
	in(c, TH_ACK | TH_FIN, 1, 2, 65535, 0);	/* our ACK was lost */
	expect_seg(c, TH_ACK, 2, 2, 0);
	in(c, TH_SYN, 5000, 0, 65535, 0);	/* the next connection of the same tuple */
	cr_expect_eq(out(c).flags, TH_SYN | TH_ACK);
	cr_expect_eq(tcp_tw_used(&c->s.host[0].st), 0);
	sc_free(c);
}

Test(leave, data_for_a_closed_program)
{
	struct sc *c = sc_new();
	struct sim_end *x;

	sc_accept(c, &x);
	sc_close(x);
	out(c);
	in(c, TH_ACK, 1, 1, 65535, 10);		/* FIN not acknowledged yet */
	cr_expect(out(c).flags & TH_RST);
	cr_expect_eq(snmp(c, SNMP_TcpExt_TCPAbortOnData), 1);
	cr_expect_eq(tcp_tcb_used(&c->s.host[0].st), 0);
	sc_free(c);
}

Test(leave, simultaneous_close)
{
	struct sc *c = sc_new();
	struct sim_end *x;

	sc_accept(c, &x);
	sc_cmd(x, SD_OP_SHUTDOWN, SHUT_WR);
	expect_seg(c, TH_ACK | TH_FIN, 1, 1, 0);
	in(c, TH_ACK | TH_FIN, 1, 1, 65535, 0);
	expect_seg(c, TH_ACK, 2, 2, 0);
	cr_expect_eq(sc_e(x)->state, SD_ST_CLOSING);
	in(c, TH_ACK, 2, 2, 65535, 0);
	cr_expect_eq(sc_e(x)->state, SD_ST_CLOSE);
	cr_expect_eq(sc_e(x)->err_seq, 0);
	cr_expect_eq(tcp_tw_used(&c->s.host[0].st), 1);
	sc_close(x);
	sc_free(c);
}

/* ---- ICMP ---- */

Test(icmp, smaller_segments_after_frag_needed)
{
	struct sc *c = sc_new();
	struct sim_end *x;
	struct tcb *tcb = sc_accept(c, &x);
	struct tcp_hdr th = { .sport = cpu_to_be16(SIM_PORT), .dport = cpu_to_be16(PEER_PORT) };
	struct ip_err_info e = { .src = host_addr(0), .dst = host_addr(1), .proto = IP_PROTO_TCP,
				 .type = 3, .code = 4, .mtu = 1000, .err = EMSGSIZE,
				 .l4 = (const uint8_t *)&th };

	sc_write(x, 2920);
	cr_expect_eq(out(c).len, 1460);
	cr_expect_eq(out(c).len, 1460);
	th.seq = cpu_to_be32(c->isn + 100000);
	tcp_err(&c->s.host[0].st, &e);
	cr_expect_eq(tcb->mss, 1460, "a number that is not in flight is not believed");
	th.seq = cpu_to_be32(c->isn + 1);
	tcp_err(&c->s.host[0].st, &e);
	host_turn(&c->s.host[0]);
	cr_expect_eq(tcb->mss, 960);
	expect_seg(c, TH_ACK, 1, 1, 960);
	cr_expect_eq(tcb->cwnd, 10, "no sign of congestion");
	in(c, TH_RST, 1, 0, 0, 0);
	sc_close(x);
	sc_free(c);
}
