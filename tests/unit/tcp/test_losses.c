/* SPDX-License-Identifier: MIT */
/* tests/unit/tcp/test_losses.c - a transfer of 100 segments, of which given ones are lost
 * Any one segment, any pair of segments, any one ACK: all bytes arrive and no timeout is needed, as
 * with Linux. Without a tail loss probe the loss of the last segment needs one, which shows that
 * the test can tell.
 */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "tests/sim/sim.h"

#define SEGS	100u
#define MSS	1448u

struct plan {
	int seg[2], ack;		/* which are lost the first time; -1 none */
	uint32_t isn, next;		/* of the sender's numbers; next not yet sent */
	unsigned acks;
};

/* Headers are linear; @p begins at the Ethernet header. */
static bool lose(void *arg, unsigned from, const struct pkt *p)
{
	struct plan *pl = arg;
	const struct tcp_hdr *th = (const struct tcp_hdr *)(p->data + 34);
	uint32_t len, seq, at;

	if (p->data[12] != 8 || p->data[13] != 0 || p->data[23] != IP_PROTO_TCP)
		return false;
	len = pkt_total(p) - 34 - (th->off >> 4) * 4u;
	seq = be32_to_cpu(th->seq);
	if (from == 1 && len == 0 && th->flags == TH_ACK)
		return (int)pl->acks++ == pl->ack;
	if (from == 0 && th->flags & TH_SYN)
		pl->isn = pl->next = seq + 1;
	if (from == 1 || !len || seq != pl->next)
		return false;
	at = (seq - pl->isn) / MSS;
	pl->next = seq + len;
	return (int)at == pl->seg[0] || (int)at == pl->seg[1];
}

struct world {
	struct sim s;
	struct plan pl;
	unsigned round;
};

static void run_until(struct sim *s, uint64_t limit_us)
{
	while (!prog_all_done(s) || s->now_us < limit_us) {
		uint64_t next = sim_next_us(s);

		if (prog_all_done(s) && next > limit_us)
			next = limit_us;
		sim_step(s, next);
	}
}

static struct world *world_new(uint64_t rate_bps)
{
	struct world *w = calloc(1, sizeof(*w));
	struct link_conf l = { .delay_us = 10000, .queue = 1000, .rate_bps = rate_bps };
	struct net_conf c = { .hosts = 2, .link = { l, l }, .lose = lose, .lose_arg = &w->pl };

	w->s.now_us = 1000000000;
	w->s.hosts = 2;
	w->s.net = net_new(&c, &w->s, 1);
	w->pl = (struct plan){ { -1, -1 }, -1, 0, 0, 0 };
	for (unsigned i = 0; i < 2; i++)
		host_init(&w->s.host[i], &w->s, i, net_nic(w->s.net, i));
	prog_listen(&w->s.host[1]);
	return w;
}

static void world_free(struct world *w)
{
	prog_unlisten(&w->s.host[1]);
	for (unsigned i = 0; i < 2; i++) {
		host_fini(&w->s.host[i]);
		host_mem_free(&w->s.mem[i]);
	}
	net_free(w->s.net);
	free(w);
}

/* Return: timeouts. */
static uint64_t transfer(struct world *w, int seg0, int seg1, int ack)
{
	struct sim_end *a = &w->s.end[0], *b = &w->s.end[1];
	uint64_t *n = &w->s.host[0].cnt.snmp[SNMP_TcpExt_TCPTimeouts], before = *n;
	struct sim_end end = { .key = ++w->round, .write_max = 16384, .read_max = 65536,
			       .next_us = UINT64_MAX, .opts.nodelay = 1 };

	w->pl = (struct plan){ { seg0, seg1 }, ack, 0, 0, 0 };
	*a = *b = end;
	a->h = &w->s.host[0];
	b->h = &w->s.host[1];
	a->peer = b;
	b->peer = a;
	a->client = true;
	a->tx_total = SEGS * MSS;
	a->next_us = w->s.now_us;
	w->s.ends = 2;
	sim_poke(&w->s);
	run_until(&w->s, w->s.now_us);
	run_until(&w->s, w->s.now_us + 61000000);	/* TIME_WAIT is over */
	return *n - before;
}

Test(losses, any_segment)
{
	struct world *w = world_new(0);

	for (unsigned i = 0; i < SEGS; i++)
		cr_expect_eq(transfer(w, (int)i, -1, -1), 0, "segment %u", i);
	world_free(w);
}

Test(losses, any_pair)
{
	struct world *w = world_new(0);

	/* neighbours and some others; STK_ALL_PAIRS (make soak): every pair */
	for (unsigned i = 0; i < SEGS; i++)
		for (unsigned k = i + 1; k < SEGS; k += getenv("STK_ALL_PAIRS") ? 1 : 37)
			cr_expect_eq(transfer(w, (int)i, (int)k, -1), 0, "segments %u, %u", i, k);
	world_free(w);
}

Test(losses, any_ack)
{
	struct world *w = world_new(100000000);	/* segments arrive one by one */
	unsigned most = 0;

	transfer(w, -1, -1, -1);
	most = w->pl.acks;
	cr_assert_gt(most, 30);
	for (unsigned i = 0; i < most; i++)
		cr_expect_eq(transfer(w, -1, -1, (int)i), 0, "ACK %u", i);
	world_free(w);
}

Test(losses, the_tail_needs_its_probe)
{
	struct world *w = world_new(0);

	w->s.host[0].st.sys->tcp_early_retrans = 0;
	cr_expect_gt(transfer(w, SEGS - 1, -1, -1), 0);
	world_free(w);
}
