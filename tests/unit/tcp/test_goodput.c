/* SPDX-License-Identifier: MIT */
/* tests/unit/tcp/test_goodput.c - congestion controls over a bottleneck: rate, queue, fairness
 * Bulk transfers of a given virtual time over one link. Goodput is what programs have read, as a
 * share of what the link carries of payload; the queue is seen as the round trip beyond the path's.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "stackd/tcp/pace.h"
#include "tests/sim/sim.h"

#define MSS	1448u
#define FRAME	(MSS + 66u)		/* Ethernet, IP, TCP with timestamps */
#define FLOWS	10u

struct path {
	const char *cc;
	uint32_t rtt_us;
	uint64_t rate_bps;
	uint32_t loss;			/* per 100,000 */
	double bdps;			/* the queue, in bandwidth-delay products */
	unsigned flows;
	uint32_t mark_at;		/* frames; 0 = drop-tail */
	uint32_t seconds;
};

struct outcome {
	double goodput;			/* of all, 0 to 1 */
	double jain;
	double queue_bdp;		/* mean queue once it has settled, in BDPs */
	uint64_t timeouts;
};

static uint64_t bdp_bytes(const struct path *p)
{
	return p->rate_bps / 8 * p->rtt_us / 1000000;
}

static struct sim *sim_for(const struct path *p)
{
	struct sim *s = calloc(1, sizeof(*s));
	uint32_t queue = (uint32_t)((double)bdp_bytes(p) * p->bdps / FRAME) + 8;
	struct link_conf l = { .delay_us = p->rtt_us / 2, .queue = queue, .rate_bps = p->rate_bps,
			       .loss = p->loss, .mark_at = p->mark_at,
			       .kind = p->mark_at ? QUEUE_MARK : QUEUE_TAIL };
	struct link_conf back = { .delay_us = p->rtt_us / 2, .queue = 10000,
				  .rate_bps = 10 * p->rate_bps };
	struct net_conf c = { .hosts = 2, .link = { l, back } };

	s->now_us = SIM_START_US;
	s->hosts = 2;
	rng_seed(s->rng, 7);
	s->net = net_new(&c, s, 1);
	for (unsigned i = 0; i < 2; i++) {
		struct sysctl *y;

		host_init(&s->host[i], s, i, net_nic(s->net, i));
		y = s->host[i].st.sys;
		strcpy(y->tcp_congestion_control, p->cc);
		y->tcp_rmem[2] = y->tcp_wmem[2] = 64 << 20;
		y->tcp_rmem[1] = 4 << 20;
	}
	prog_listen(&s->host[1]);
	return s;
}

static void add_flow(struct sim *s, unsigned i, uint64_t bytes)
{
	struct sim_end *a = &s->end[2 * i], *b = a + 1;
	struct sim_end end = { .key = i + 1, .write_max = 256 << 10, .read_max = 1 << 20,
			       .stall_at = UINT64_MAX, .next_us = UINT64_MAX,
			       .port = (uint16_t)(20000 + i) };

	*a = *b = end;
	a->h = &s->host[0];
	b->h = &s->host[1];
	a->peer = b;
	b->peer = a;
	a->client = true;
	a->tx_total = bytes;
	a->next_us = s->now_us + i * 50000;
	a->mode = b->mode = END_NORMAL;
	s->ends = 2 * i + 2;
}

/* Round trip beyond the path's, as the first sender sees it; 0 = no sample. */
static double queue_us(struct sim *s, const struct path *p)
{
	const struct sd_slot_e *e = end_slot_e(&s->end[0]);
	const struct tcb *tcb;

	if (!e || OBJ_KIND(e->obj) != OBJ_TCB)
		return 0;
	tcb = tcb_at(&s->host[0].st, OBJ_IDX(e->obj));
	return tcb->srtt8_us ? (double)tcb->srtt8_us / 8 - p->rtt_us : 0;
}

static struct outcome measure(const struct path *p)
{
	struct sim *s = sim_for(p);
	uint64_t end_us = s->now_us + p->seconds * 1000000ull, start = s->now_us, half[FLOWS];
	struct outcome o = { 0 };
	double sum = 0, squares = 0, queue = 0;
	unsigned looks = 0;

	for (unsigned i = 0; i < p->flows; i++)
		add_flow(s, i, 1ull << 40);
	sim_poke(s);
	for (uint64_t at = start; s->now_us < end_us; ) {
		sim_step(s, sim_next_us(s));
		if (s->now_us < start + (end_us - start) / 2)
			for (unsigned i = 0; i < p->flows; i++)
				half[i] = s->end[2 * i + 1].rx_pos;
		else if (s->now_us >= at + p->rtt_us) {
			queue += queue_us(s, p);
			looks++;
			at = s->now_us;
		}
	}
	for (unsigned i = 0; i < p->flows; i++) {
		double got = (double)(s->end[2 * i + 1].rx_pos - half[i]);

		sum += got;
		squares += got * got;
	}
	o.goodput = sum * 8 / (p->seconds / 2.0) / ((double)p->rate_bps * MSS / FRAME);
	o.jain = sum * sum / (squares * p->flows);
	o.queue_bdp = queue / looks / p->rtt_us;
	o.timeouts = s->host[0].cnt.snmp[SNMP_TcpExt_TCPTimeouts];
	if (getenv("STK_GOODPUT"))
		printf("# %-6s %3u ms %5lu Mbit/s loss %5u/100,000 queue %.1f BDP flows %2u: "
		       "goodput %.3f, queue %.2f BDP, Jain %.3f, timeouts %lu\n", p->cc,
		       p->rtt_us / 1000, (unsigned long)(p->rate_bps / 1000000), p->loss, p->bdps,
		       p->flows, o.goodput, o.queue_bdp, o.jain, (unsigned long)o.timeouts);
	return o;
}

/* Half of the time is for getting there. */
static struct outcome one(const char *cc, uint32_t rtt_ms, uint64_t mbps, uint32_t loss)
{
	struct path p = { cc, rtt_ms * 1000, mbps * 1000000, loss, 1.0, 1, 0, 10 };

	return measure(&p);
}

Test(goodput, cubic_fills_the_link)
{
	cr_expect_gt(one("cubic", 1, 100, 0).goodput, 0.95);
	cr_expect_gt(one("cubic", 10, 100, 0).goodput, 0.95);
	cr_expect_gt(one("cubic", 100, 100, 0).goodput, 0.9);
}

Test(goodput, bbr_fills_the_link_without_a_queue)
{
	static const uint32_t rtt_ms[] = { 1, 10, 100 };

	for (unsigned i = 0; i < 3; i++) {
		struct outcome o = one("bbr", rtt_ms[i], 100, 0);

		cr_expect_gt(o.goodput, 0.9, "%u ms: %f", rtt_ms[i], o.goodput);
		cr_expect_lt(o.queue_bdp, i ? 0.25 : 1.25, "%u ms: %f", rtt_ms[i], o.queue_bdp);
	}
}

/* What is lost at random does not say that the path is full. */
Test(goodput, bbr_bears_losses)
{
	cr_expect_gt(one("bbr", 10, 100, 10).goodput, 0.9);
	cr_expect_gt(one("bbr", 10, 100, 100).goodput, 0.85);
	cr_expect_gt(one("bbr", 100, 100, 100).goodput, 0.8);
}

Test(goodput, flows_share)
{
	struct path p = { "cubic", 20000, 100000000, 0, 1.0, 2, 0, 60 };

	cr_expect_gt(measure(&p).jain, 0.95);
	p.flows = 10;
	cr_expect_gt(measure(&p).jain, 0.95);
	p.cc = "bbr";
	cr_expect_gt(measure(&p).jain, 0.9);
}

/* DCTCP keeps the queue at the marking threshold. */
Test(goodput, dctcp_keeps_the_queue_short)
{
	struct path p = { "dctcp", 1000, 1000000000, 0, 4.0, 2, 65, 4 };
	struct outcome o = measure(&p);

	cr_expect_gt(o.goodput, 0.9);
	cr_expect_lt(o.queue_bdp, 1.5 * 65 * FRAME / (double)bdp_bytes(&p));
}
