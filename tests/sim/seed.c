/* SPDX-License-Identifier: MIT */
/* tests/sim/seed.c - what a seed means: the network, the hosts' knobs, the programs
 * Few things are wrong at a time in most seeds, so that a fault is met in calm, too; some have
 * everything. What is said of a network here (clean, arp_may_fail) is what the judges rely on.
 */
#include <stdlib.h>
#include <string.h>

#include "tests/sim/sim.h"

static uint32_t below(struct sim *s, uint32_t n)
{
	return rng_below(s->rng, n);
}

static bool one_in(struct sim *s, uint32_t n)
{
	return below(s, n) == 0;
}

static uint32_t pick(struct sim *s, const uint32_t *list, unsigned cnt)
{
	return list[below(s, cnt)];
}
#define PICK(s, ...) \
	pick((s), (const uint32_t[]){ __VA_ARGS__ }, sizeof((uint32_t[]){ __VA_ARGS__ }) / 4)

/* ---- network ---- */

static void make_faults(struct sim *s, struct link_conf *l)
{
	if (one_in(s, 2))
		l->loss = PICK(s, 10, 100, 1000, 3000, 8000);
	if (one_in(s, 4)) {
		l->burst = PICK(s, 10, 100, 500);
		l->burst_len = PICK(s, 2, 10, 40);
	}
	if (one_in(s, 4))
		l->dup = PICK(s, 100, 1000, 5000);
	if (one_in(s, 3))
		l->reorder = PICK(s, 100, 1000, 20000);
	if (one_in(s, 4))
		l->corrupt = PICK(s, 10, 100, 1000);
	for (unsigned i = 0; one_in(s, 5) && i < 2; i++) {
		l->cut[i].from_us = s->now_us + below(s, 5000000);
		l->cut[i].to_us = l->cut[i].from_us + below(s, PICK(s, 300000, 20000000));
	}
}

static void make_queue(struct sim *s, struct link_conf *l)
{
	l->queue = PICK(s, 10, 30, 100, 1000);
	l->kind = PICK(s, QUEUE_TAIL, QUEUE_TAIL, QUEUE_MARK, QUEUE_FQ_CODEL);
	l->mark_at = PICK(s, 5, 20, 65);
}

/* Access links of a switched network are fast and fine; what is bad about a network is bad on the
 * links that all must pass. */
static void make_links(struct sim *s, struct net_conf *c)
{
	struct link_conf bad = { .delay_us = PICK(s, 10, 100, 1000, 10000, 50000),
				 .jitter_us = PICK(s, 10, 1000, 20000),
				 .rate_bps = 1000000ull * PICK(s, 0, 0, 5, 50, 1000, 10000) };
	struct link_conf fine = { .delay_us = 5, .rate_bps = 10000000000ull, .queue = 10000 };
	unsigned h = c->hosts;
	bool faults = !one_in(s, 6), both = one_in(s, 2);

	make_queue(s, &bad);
	for (unsigned i = 0; i < 2; i++) {
		struct link_conf *to = c->shape == NET_PAIR ? &c->link[i] : &c->link[2 * h + i];

		*to = bad;
		if (faults && (both || !i))
			make_faults(s, to);
		else if (!faults && !one_in(s, 3))
			to->rate_bps = 0;
	}
	for (unsigned i = 0; c->shape != NET_PAIR && i < 2 * h; i++)
		c->link[i] = fine;
	if (c->shape != NET_STAR)
		return;
	memset(&c->link[2 * h], 0, 2 * sizeof(fine));
	for (unsigned i = 0; i < h; i++)	/* the bottleneck: the way down to each host */
		c->link[h + i] = bad;
	if (faults)
		make_faults(s, &c->link[h + below(s, h)]);
}

static bool link_clean(const struct link_conf *l)
{
	return !l->loss && !l->burst && !l->dup && !l->reorder && !l->corrupt &&
	       !l->cut[0].to_us && !l->cut[1].to_us &&
	       (!l->rate_bps || (l->rate_bps >= 1000000000 && l->queue >= 10000));
}

static void judge(struct sim *s, const struct net_conf *c)
{
	s->clean = true;
	for (unsigned i = 0; i < NET_LINKS; i++) {
		const struct link_conf *l = &c->link[i];

		s->clean &= link_clean(l);
		s->arp_may_fail |= l->loss || l->burst || l->cut[0].to_us || l->cut[1].to_us ||
				   (l->rate_bps && l->queue < 1000);
	}
}

static void make_net(struct sim *s, struct net_conf *c)
{
	*c = (struct net_conf){ .shape = PICK(s, NET_PAIR, NET_PAIR, NET_PAIR, NET_STAR,
					      NET_DUMBBELL), .hosts = 2 };
	if (c->shape != NET_PAIR)
		c->hosts = 3 + below(s, SIM_HOSTS - 2);
	make_links(s, c);
	c->offload = one_in(s, 5);
	judge(s, c);
}

/* ---- hosts ---- */

static void make_knobs(struct sim *s, struct sim_host *h)
{
	struct sysctl *c = h->st.sys;
	static const char *const cc[] = { "cubic", "cubic", "reno", "bbr", "bbr", "dctcp" };

	c->tcp_sack = !one_in(s, 4);
	c->tcp_dsack = !one_in(s, 6);
	c->tcp_timestamps = PICK(s, 0, 1, 1, 1, 2);
	c->tcp_window_scaling = !one_in(s, 6);
	c->tcp_ecn = PICK(s, 0, 1, 1, 2);
	c->tcp_frto = one_in(s, 4) ? 0 : 2;
	c->tcp_early_retrans = one_in(s, 4) ? 0 : 3;
	c->tcp_recovery = PICK(s, 1, 1, 1, 1, 0, 2, 4);
	c->tcp_slow_start_after_idle = !one_in(s, 4);
	c->tcp_moderate_rcvbuf = !one_in(s, 6);
	c->tcp_tw_reuse = below(s, 2);
	/* when the first segment is lost, the second carries no cookie and is reset, as by Linux */
	c->tcp_syncookies = s->clean && one_in(s, 3) ? 2 : 1;
	/* a closed socket gives up after eight losses in a row, a half-open one after six: the peer
	 * gets a reset then, which is nobody's fault */
	if (s->arp_may_fail) {
		c->tcp_orphan_retries = 14;
		c->tcp_synack_retries = 12;
	}
	if (one_in(s, 6))
		c->tcp_challenge_ack_limit = PICK(s, 1, 100);
	strcpy(c->tcp_congestion_control, cc[below(s, 6)]);
	h->defer_accept = one_in(s, 8) ? 1 + (uint8_t)below(s, 3) : 0;
}

/* ---- programs ---- */

static bool slow(const struct net_conf *c)
{
	bool is = false;

	for (unsigned i = 0; i < NET_LINKS; i++) {
		const struct link_conf *l = &c->link[i];

		is |= l->delay_us >= 10000 || (l->rate_bps && l->rate_bps < 50000000) ||
		      l->loss > 1000 || l->burst > 100 || l->cut[0].to_us;
	}
	return is;
}

static void make_opts(struct sim *s, struct sim_end *x)
{
	struct sd_opts *o = &x->opts;

	o->nodelay = (uint8_t)below(s, 2);
	o->cork = one_in(s, 10);
	if (one_in(s, 4))
		o->rcvbuf = PICK(s, 2304, 4608, 16384, 65536, 1000000);
	if (one_in(s, 4))
		o->sndbuf = PICK(s, 4608, 16384, 65536, 1000000);
	if (one_in(s, 8))
		o->maxseg = (uint16_t)PICK(s, 88, 536, 1000);
	if (one_in(s, 8))
		o->notsent_lowat = PICK(s, 1, 16384, 100000);
	if (one_in(s, 6)) {
		o->keepalive = 1;
		o->keep_idle_s = (uint16_t)PICK(s, 1, 10, 60);
		o->keep_intvl_s = (uint16_t)PICK(s, 1, 30);
		o->keep_cnt = (uint8_t)PICK(s, 100, 127);	/* patient */
	}
	if (one_in(s, 6))
		strcpy(o->cc, one_in(s, 2) ? "reno" : "cubic");
}

static void make_end(struct sim *s, struct sim_end *x, uint32_t most)
{
	x->key = (uint32_t)rng_u64(s->rng);
	x->tx_total = one_in(s, 4) ? below(s, 5000) : below(s, most);
	x->read_max = PICK(s, 1, 100, 3000, 65536, 65536);
	x->write_max = PICK(s, 1, 200, 4000, 16384, 16384);
	if (x->write_max < 200 && x->tx_total > 20000)
		x->write_max = 200;
	x->pause_us = below(s, 3) ? 0 : PICK(s, 100, 3000, 30000);
	x->think_us = below(s, 8) || x->tx_total > 100000 ? 0 : PICK(s, 1000, 50000, 3000000);
	x->stall_at = one_in(s, 8) ? below(s, most) : UINT64_MAX;
	x->stall_us = PICK(s, 10000, 1000000, 100000000);
	x->next_us = UINT64_MAX;
	make_opts(s, x);
}

/* Only short streams are read bytewise; nothing takes a million small segments. */
static void calm(struct sim_end *x)
{
	if (x->peer->tx_total > 20000 && x->read_max < 3000)
		x->read_max = 3000;
	if (x->tx_total > 50000 && (x->opts.maxseg == 88 || x->peer->opts.maxseg == 88))
		x->tx_total = 50000;
	if (x->tx_total > 20000 && x->peer->opts.rcvbuf && x->peer->opts.rcvbuf < 5000)
		x->tx_total = 20000;
}

/* It talks in turns. */
static void make_talk(struct sim *s, struct sim_end *a, struct sim_end *b)
{
	a->mode = b->mode = END_TALK;
	a->line = b->line = 1 + below(s, PICK(s, 100, 3000, 50000));
	a->tx_total = b->tx_total = a->line * (1 + below(s, 20));
	a->think_us = b->think_us = 0;
}

/* Both ends may see it end in an error; only keepalive finds out when a reset was lost. */
static void expect_trouble(struct sim_end *x)
{
	x->may_fail = true;
	x->opts.keepalive = 1;
	x->opts.keep_idle_s = 30;
	x->opts.keep_intvl_s = 5;
	x->opts.keep_cnt = 4;
}

static void make_mode(struct sim *s, struct sim_end *a, struct sim_end *b)
{
	struct sim_end *rude = below(s, 2) ? a : b;

	switch (below(s, 10)) {
	case 0:
		rude->mode = END_CLOSE_FIRST;
		rude->peer->tx_total = 0;
		break;
	case 1:
		rude->mode = below(s, 2) ? END_ABORT : END_WALK_AWAY;
		rude->quit_at = below(s, (uint32_t)(a->tx_total + b->tx_total) + 1);
		expect_trouble(a);
		expect_trouble(b);
		s->clean = false;	/* its last ACK may never be sent */
		break;
	case 2:
		rude->opts.user_timeout_ms = PICK(s, 100, 3000, 30000);
		s->user_timeouts = true;
		expect_trouble(a);
		expect_trouble(b);
		break;
	case 3:
	case 4:
		make_talk(s, a, b);
		break;
	default:
		break;
	}
}

static void make_conn(struct sim *s, uint32_t most)
{
	struct sim_end *a = &s->end[s->ends++], *b = &s->end[s->ends++];
	unsigned client = below(s, s->hosts), server = below(s, s->hosts - 1);

	make_end(s, a, most);
	make_end(s, b, most);
	server += server >= client;
	a->h = &s->host[client];
	b->h = &s->host[one_in(s, 20) ? client : server];	/* some within one host */
	a->peer = b;
	b->peer = a;
	a->client = true;
	a->next_us = s->now_us + below(s, 500000);
	calm(a);
	calm(b);
	make_mode(s, a, b);
}

void seed_make(struct sim *s)
{
	struct net_conf *c = &s->conf;
	unsigned conns;
	uint32_t most;

	make_net(s, c);
	s->hosts = c->hosts;
	s->net = net_new(c, s, s->seed + 1000003);
	for (unsigned i = 0; i < s->hosts; i++) {
		host_init(&s->host[i], s, i, net_nic(s->net, i));
		make_knobs(s, &s->host[i]);
		prog_listen(&s->host[i]);
	}
	/* a window-full per round trip at worst: long and bad ways get less to carry */
	most = slow(c) ? 300000 : 3000000;
	conns = 1 + below(s, PICK(s, 1, 2, 8, 30));
	while (conns--)
		make_conn(s, most);
}
