/* SPDX-License-Identifier: MIT */
/* tcp/cc_bbr.c - BBR version 3: send at the rate that the path delivers
 * A model of the path, kept by every ACK: its bandwidth (the highest delivery rate of the last two
 * probing cycles), its round trip without queues (the lowest of ten seconds), and bounds of what
 * may be under way, a long-lived one where probing met losses and a short-lived one. Pacing follows
 * the bandwidth; cwnd is a bound of the data under way, about two bandwidth-delay products.
 *
 *   Startup --pipe is full--> Drain --queue is gone--> ProbeBW: Down -> Cruise -> Refill -> Up -.
 *   ProbeRTT from anywhere, every five seconds without a low sample      ^--------------------'
 *
 * Spec:    draft-ietf-ccwg-bbr (section numbers are those of revision 02)
 * Private: struct bbr in pace.h
 */
#include "stackd/core/rng.h"
#include "stackd/tcp/pace.h"
#include "stackd/tcp/tcp_int.h"

enum bbr_state { STARTUP, DRAIN, DOWN, CRUISE, REFILL, UP, PROBE_RTT };
enum bbr_acks { ACKS_INIT, ACKS_REFILLING, ACKS_STARTING, ACKS_FEEDBACK, ACKS_STOPPING };

#define UNIT			256u
#define STARTUP_PACING_GAIN	709u		/* 4 ln 2 */
#define STARTUP_CWND_GAIN	512u
#define DRAIN_PACING_GAIN	128u
#define CWND_GAIN		512u
#define PROBE_RTT_CWND_GAIN	128u
#define MARGIN_PERCENT		1u		/* pacing below the estimate */
#define MIN_PIPE		4u		/* segments */
#define MIN_RTT_MS		10000u
#define PROBE_RTT_MS		5000u
#define PROBE_RTT_HOLD_MS	200u
#define FULL_BW_ROUNDS		3u
#define FULL_LOSSES		6u		/* in a round of Startup */
#define EXTRA_ROUNDS		5u		/* per half of the filter */
#define ROUNDS_MAX		63u		/* between probes, beside loss-based flows */
#define SHORT_RTT_US		1000u		/* pacing before the first sample */

/* What one ACK says. */
struct news {
	const struct tcp_rate *rs;
	uint64_t bw;			/* its sample; 0 = none */
	uint32_t now_ms;
};

static struct bbr *bbr_of(struct stack *st, struct tcb *tcb)
{
	return &pace_of(st, tcb)->bbr;
}

static uint64_t max_bw(const struct bbr *b)
{
	return u64_max(b->max_bw[0], b->max_bw[1]);
}

static bool probing_bw_state(const struct bbr *b)
{
	return b->state >= DOWN && b->state <= UP;
}

/* States that look for more: short-lived bounds do not hold in them. */
static bool is_probing(const struct bbr *b)
{
	return b->state == STARTUP || b->state == REFILL || b->state == UP;
}

/* ---- volumes: 5.6.4 ---- */

static uint32_t bdp(const struct tcb *tcb, const struct bbr *b, uint64_t bw, uint32_t gain)
{
	uint64_t bytes;

	if (b->min_rtt_us == BBR_UNKNOWN || !bw)
		return TCP_IW;
	bytes = bw * b->min_rtt_us / 1000000 * gain / UNIT;
	return (uint32_t)u64_min((bytes + tcb->mss - 1) / tcb->mss, UINT32_MAX / 4);
}

/* Room for the frames that are being made, sent and acknowledged at the same time. */
static uint32_t with_budget(struct stack *st, const struct tcb *tcb, const struct bbr *b,
			    uint32_t v)
{
	v = u32_max(u32_max(v, 3 * pace_burst(st, tcb)), MIN_PIPE);
	return b->state == UP ? v + 2 : v;
}

static uint32_t target(struct stack *st, const struct tcb *tcb, const struct bbr *b, uint64_t bw,
		       uint32_t gain)
{
	return with_budget(st, tcb, b, bdp(tcb, b, bw, gain));
}

/* Leave some of the path to others. */
static uint32_t with_headroom(const struct bbr *b)
{
	uint32_t room;

	if (b->inflight_hi == BBR_UNKNOWN)
		return BBR_UNKNOWN;
	room = u32_max((uint32_t)((uint64_t)b->inflight_hi * 15 / 100), 1);
	return u32_max(b->inflight_hi - u32_min(room, b->inflight_hi), MIN_PIPE);
}

static uint32_t probe_rtt_cwnd(const struct tcb *tcb, const struct bbr *b)
{
	return u32_max(bdp(tcb, b, b->bw, PROBE_RTT_CWND_GAIN), MIN_PIPE);
}

/* ---- states: 5.3 ---- */

static void start_round(const struct tcb *tcb, struct bbr *b)
{
	b->round_end = tcb->delivered;
}

static void reset_full_bw(struct bbr *b)
{
	b->full_bw = 0;
	b->full_bw_cnt = 0;
	b->full_bw_now = false;
}

static void reset_lower_bounds(struct bbr *b)
{
	b->bw_lo = UINT64_MAX;
	b->inflight_lo = BBR_UNKNOWN;
}

static void enter_startup(struct bbr *b)
{
	b->state = STARTUP;
	b->pacing_gain = STARTUP_PACING_GAIN;
	b->cwnd_gain = STARTUP_CWND_GAIN;
}

static void start_down(struct stack *st, struct tcb *tcb, struct bbr *b, uint32_t now_ms)
{
	b->loss_in_round = false;
	b->bw_latest = 0;
	b->inflight_latest = 0;
	b->probe_up_cnt = UINT32_MAX;
	/* not all at once, and within what reno would need on such a path (5.3.3.9) */
	b->rounds_since_probe = (uint16_t)rng_below(st->rng_state, 2);
	b->probe_wait_ms = 2000 + rng_below(st->rng_state, 1000);
	b->cycle_ms = now_ms;
	b->acks = ACKS_STOPPING;
	start_round(tcb, b);
	b->state = DOWN;
	b->pacing_gain = 230;			/* 0.9 */
	b->cwnd_gain = CWND_GAIN;
}

static void start_cruise(struct bbr *b)
{
	b->state = CRUISE;
	b->pacing_gain = UNIT;
	b->cwnd_gain = CWND_GAIN;
}

static void start_refill(struct tcb *tcb, struct bbr *b)
{
	reset_lower_bounds(b);
	b->probe_up_rounds = 0;
	b->probe_up_acks = 0;
	b->acks = ACKS_REFILLING;
	start_round(tcb, b);
	b->state = REFILL;
	b->pacing_gain = UNIT;
	b->cwnd_gain = CWND_GAIN;
}

/* Growth doubles each round: one segment per round, two, four ... */
static void raise_slope(const struct tcb *tcb, struct bbr *b)
{
	uint32_t growth = 1u << b->probe_up_rounds;

	if (b->probe_up_rounds < 30)
		b->probe_up_rounds++;
	b->probe_up_cnt = u32_max(tcb->cwnd / growth, 1);
}

static void start_up(struct tcb *tcb, struct bbr *b, const struct news *n)
{
	b->acks = ACKS_STARTING;
	start_round(tcb, b);
	reset_full_bw(b);
	b->full_bw = n->bw;
	b->state = UP;
	b->pacing_gain = 320;			/* 1.25 */
	b->cwnd_gain = 576;			/* 2.25 */
	raise_slope(tcb, b);
}

/* ---- what came: 5.5.1, 5.5.5, 5.5.9 ---- */

static void look_at_round(struct tcb *tcb, struct bbr *b, const struct news *n)
{
	b->round_start = n->rs->valid && !u32_lt(n->rs->prior_delivered, b->round_end);
	if (!b->round_start)
		return;
	start_round(tcb, b);
	if (b->rounds_since_probe < UINT16_MAX)
		b->rounds_since_probe++;
}

static void take_bw(struct bbr *b, const struct news *n)
{
	if (n->bw && (n->bw >= max_bw(b) || !n->rs->app_limited))
		b->max_bw[1] = u64_max(b->max_bw[1], n->bw);
}

static void look_at_latest(const struct tcb *tcb, struct bbr *b, const struct news *n)
{
	b->loss_round_start = false;
	b->bw_latest = u64_max(b->bw_latest, n->bw);
	b->inflight_latest = u32_max(b->inflight_latest, n->rs->delivered);
	if (n->rs->valid && !u32_lt(n->rs->prior_delivered, b->loss_round_end)) {
		b->loss_round_end = tcb->delivered;
		b->loss_round_start = true;
	}
}

/* 5.5.10.3: after a round with losses, 0.7 of what was, but no less than what still got through. */
static void lower_bounds(const struct tcb *tcb, struct bbr *b)
{
	if (is_probing(b) || !b->loss_in_round)
		return;
	if (b->bw_lo == UINT64_MAX)
		b->bw_lo = max_bw(b);
	if (b->inflight_lo == BBR_UNKNOWN)
		b->inflight_lo = tcb->cwnd;
	b->bw_lo = u64_max(b->bw_latest, b->bw_lo * 7 / 10);
	b->inflight_lo = u32_max(b->inflight_latest,
				 (uint32_t)((uint64_t)b->inflight_lo * 7 / 10));
}

static void look_at_losses(const struct tcb *tcb, struct bbr *b, const struct news *n)
{
	if (n->rs->losses)
		b->loss_in_round = true;
	if (!b->loss_round_start)
		return;
	lower_bounds(tcb, b);
	b->loss_in_round = false;
}

/* ACKs that come together let more be under way than the rate says. */
static void look_at_aggregation(struct stack *st, const struct tcb *tcb, struct bbr *b,
				const struct news *n)
{
	uint32_t now = (uint32_t)st->now_us, extra;
	uint64_t expected = b->bw * (now - b->extra_from_us) / 1000000 / tcb->mss;

	if (b->round_start && ++b->extra_rounds >= (b->full_bw_reached ? EXTRA_ROUNDS : 1)) {
		b->extra_rounds = 0;
		b->extra_acked[0] = b->extra_acked[1];
		b->extra_acked[1] = 0;
	}
	if (b->extra_delivered <= expected) {
		b->extra_delivered = 0;
		b->extra_from_us = now;
		expected = 0;
	}
	b->extra_delivered += n->rs->acked_sacked;
	extra = b->extra_delivered - (uint32_t)u64_min(expected, b->extra_delivered);
	b->extra_acked[1] = u32_max(b->extra_acked[1], u32_min(extra, tcb->cwnd));
}

/* ---- is the pipe full: 5.3.1 ---- */

static void look_for_full_bw(struct bbr *b, const struct news *n)
{
	if (b->full_bw_now || n->rs->app_limited || !n->bw)
		return;
	if (n->bw >= b->full_bw + b->full_bw / 4) {
		reset_full_bw(b);
		b->full_bw = n->bw;
		return;
	}
	if (!b->round_start)
		return;
	b->full_bw_now = ++b->full_bw_cnt >= FULL_BW_ROUNDS;
	b->full_bw_reached |= b->full_bw_now;
}

/* More than two in a hundred were lost. */
static bool too_high(uint32_t lost, uint32_t tx_in_flight)
{
	return lost && (uint64_t)lost * 50 > tx_in_flight;
}

static bool sample_too_high(const struct tcb *tcb, const struct news *n)
{
	return n->rs->valid && too_high(tcb->lost - n->rs->prior_lost, n->rs->tx_in_flight);
}

static void look_for_startup_losses(const struct tcb *tcb, struct bbr *b, const struct news *n)
{
	if (b->full_bw_reached)
		return;
	if (n->rs->losses && b->loss_events < UINT8_MAX)
		b->loss_events++;
	if (!b->loss_round_start)
		return;
	if (tcb->ca == CA_RECOVERY && b->loss_events >= FULL_LOSSES && sample_too_high(tcb, n)) {
		b->full_bw_reached = true;
		b->inflight_hi = u32_max(bdp(tcb, b, max_bw(b), UNIT), b->inflight_latest);
	}
	b->loss_events = 0;
}

static void leave_startup_and_drain(struct stack *st, struct tcb *tcb, struct bbr *b,
				    const struct news *n)
{
	if (b->state == STARTUP && b->full_bw_reached) {
		b->state = DRAIN;
		b->pacing_gain = DRAIN_PACING_GAIN;
		b->cwnd_gain = STARTUP_CWND_GAIN;
	}
	if (b->state == DRAIN && tcp_in_flight(tcb) <= bdp(tcb, b, max_bw(b), UNIT))
		start_down(st, tcb, b, n->now_ms);
}

/* ---- the long-lived bound: 5.5.10.1, 5.5.10.2 ---- */

static void take_too_high(struct stack *st, struct tcb *tcb, struct bbr *b, uint32_t in_flight,
			  bool app_limited)
{
	uint32_t floor = u32_min(bdp(tcb, b, b->bw, UNIT), tcb->cwnd);

	b->probe_samples = false;
	if (!app_limited)
		b->inflight_hi = u32_max(in_flight, (uint32_t)((uint64_t)floor * 7 / 10));
	if (b->state == UP)
		start_down(st, tcb, b, tcp_ms(st));
}

static void grow_inflight_hi(struct tcb *tcb, struct bbr *b, const struct news *n)
{
	uint32_t more;

	if (!(tcb->flags & TF_CWND_LIM) || tcb->cwnd < b->inflight_hi)
		return;
	b->probe_up_acks += n->rs->acked_sacked;
	if (b->probe_up_acks >= b->probe_up_cnt) {
		more = b->probe_up_acks / b->probe_up_cnt;
		b->probe_up_acks -= more * b->probe_up_cnt;
		b->inflight_hi += more;
	}
	if (b->round_start)
		raise_slope(tcb, b);
}

static void adapt_long_term(struct stack *st, struct tcb *tcb, struct bbr *b, const struct news *n)
{
	if (b->acks == ACKS_STARTING && b->round_start)
		b->acks = ACKS_FEEDBACK;
	if (b->acks == ACKS_STOPPING && b->round_start) {
		b->probe_samples = false;
		b->acks = ACKS_INIT;
		if (probing_bw_state(b) && !n->rs->app_limited && b->max_bw[1]) {
			b->max_bw[0] = b->max_bw[1];
			b->max_bw[1] = 0;
		}
	}
	if (sample_too_high(tcb, n)) {
		if (b->probe_samples)
			take_too_high(st, tcb, b, n->rs->tx_in_flight, n->rs->app_limited);
		return;
	}
	if (b->inflight_hi == BBR_UNKNOWN || !n->rs->valid)
		return;
	b->inflight_hi = u32_max(b->inflight_hi, n->rs->tx_in_flight);
	if (b->state == UP)
		grow_inflight_hi(tcb, b, n);
}

/* ---- the probing cycle: 5.3.3 ---- */

static bool time_to_probe(struct tcb *tcb, const struct bbr *b, const struct news *n)
{
	uint32_t reno = u32_min(bdp(tcb, b, b->bw, UNIT), tcb->cwnd);

	return n->now_ms - b->cycle_ms > b->probe_wait_ms ||
	       b->rounds_since_probe >= u32_min(reno, ROUNDS_MAX);
}

static bool time_to_cruise(struct stack *st, const struct tcb *tcb, const struct bbr *b)
{
	uint32_t out = tcp_in_flight(tcb);

	return out <= with_headroom(b) && out <= target(st, tcb, b, max_bw(b), UNIT);
}

static bool time_to_go_down(const struct tcb *tcb, struct bbr *b, const struct news *n)
{
	if (tcb->flags & TF_CWND_LIM && tcb->cwnd >= b->inflight_hi) {
		reset_full_bw(b);	/* the bound, not the path, limits it */
		b->full_bw = n->bw;
		return false;
	}
	return b->full_bw_now;
}

static void cycle(struct stack *st, struct tcb *tcb, struct bbr *b, const struct news *n)
{
	if (!b->full_bw_reached)
		return;
	adapt_long_term(st, tcb, b, n);
	switch (b->state) {
	case DOWN:
	case CRUISE:
		if (time_to_probe(tcb, b, n))
			start_refill(tcb, b);
		else if (b->state == DOWN && time_to_cruise(st, tcb, b))
			start_cruise(b);
		break;
	case REFILL:
		if (b->round_start) {
			b->probe_samples = true;
			start_up(tcb, b, n);
		}
		break;
	case UP:
		if (time_to_go_down(tcb, b, n))
			start_down(st, tcb, b, n->now_ms);
		break;
	}
}

/* ---- the round trip: 5.3.4 ---- */

/* Return: true when no low sample has come for a while. */
static bool look_at_rtt(struct bbr *b, const struct news *n)
{
	bool old = n->now_ms - b->probe_rtt_ms > PROBE_RTT_MS;
	uint32_t rtt = n->rs->rtt_us;

	if (rtt && (rtt < b->probe_rtt_us || old) && !(n->rs->ack_delayed && rtt > b->min_rtt_us)) {
		b->probe_rtt_us = rtt;
		b->probe_rtt_ms = n->now_ms;
	}
	if (b->probe_rtt_us < b->min_rtt_us || n->now_ms - b->min_rtt_ms > MIN_RTT_MS) {
		b->min_rtt_us = b->probe_rtt_us;
		b->min_rtt_ms = b->probe_rtt_ms;
	}
	return old;
}

static void save_cwnd(struct tcb *tcb, struct bbr *b)
{
	if (tcb->ca < CA_RECOVERY && b->state != PROBE_RTT)
		b->prior_cwnd = tcb->cwnd;
	else
		b->prior_cwnd = u32_max(b->prior_cwnd, tcb->cwnd);
}

static void probe_rtt_over(struct stack *st, struct tcb *tcb, struct bbr *b, uint32_t now_ms)
{
	if (!b->probe_rtt_end_ms || now_ms - b->probe_rtt_end_ms > INT32_MAX)
		return;
	b->probe_rtt_ms = now_ms;
	tcb->cwnd = u32_max(tcb->cwnd, b->prior_cwnd);
	reset_lower_bounds(b);
	if (b->full_bw_reached) {
		start_down(st, tcb, b, now_ms);
		start_cruise(b);
	} else {
		enter_startup(b);
	}
}

static void probe_rtt(struct stack *st, struct tcb *tcb, struct bbr *b, const struct news *n,
		      bool old)
{
	if (b->state != PROBE_RTT && old && !b->idle_restart) {
		save_cwnd(tcb, b);
		b->state = PROBE_RTT;
		b->pacing_gain = UNIT;
		b->cwnd_gain = PROBE_RTT_CWND_GAIN;
		b->probe_rtt_end_ms = 0;
		b->acks = ACKS_STOPPING;
		start_round(tcb, b);
	}
	if (n->rs->delivered)
		b->idle_restart = false;
	if (b->state != PROBE_RTT)
		return;
	tcb->app_limited = u32_max(tcb->delivered + tcp_in_flight(tcb), 1);
	if (!b->probe_rtt_end_ms && tcp_in_flight(tcb) <= probe_rtt_cwnd(tcb, b)) {
		b->probe_rtt_end_ms = (n->now_ms + PROBE_RTT_HOLD_MS) | 1;
		b->probe_rtt_round_done = false;
		start_round(tcb, b);
	} else if (b->probe_rtt_end_ms) {
		b->probe_rtt_round_done |= b->round_start;
		if (b->probe_rtt_round_done)
			probe_rtt_over(st, tcb, b, n->now_ms);
	}
}

/* ---- what follows: 5.6 ---- */

static void set_rate(struct tcp_pace *p, uint32_t gain)
{
	uint64_t rate = p->bbr.bw / 100 * (100 - MARGIN_PERCENT) / UNIT * gain;

	if (rate && (p->bbr.full_bw_reached || rate > p->rate))
		p->rate = rate;
}

static uint32_t model_bound(const struct bbr *b)
{
	uint32_t cap = BBR_UNKNOWN;

	if (b->state == PROBE_RTT || b->state == CRUISE)
		cap = with_headroom(b);
	else if (probing_bw_state(b))
		cap = b->inflight_hi;
	return u32_max(u32_min(cap, b->inflight_lo), MIN_PIPE);
}

static void set_cwnd(struct stack *st, struct tcb *tcb, const struct bbr *b, const struct news *n)
{
	uint32_t acked = n->rs->acked_sacked, lost = n->rs->losses;
	uint32_t extra = u32_max(b->extra_acked[0], b->extra_acked[1]);
	uint32_t most = with_budget(st, tcb, b, bdp(tcb, b, b->bw, b->cwnd_gain) + extra);

	if (lost)
		tcb->cwnd = tcb->cwnd > lost ? tcb->cwnd - lost : 1;
	if (b->full_bw_reached)
		tcb->cwnd = u32_min(tcb->cwnd + acked, most);
	else if (tcb->cwnd < most || tcb->delivered < TCP_IW)
		tcb->cwnd += acked;
	tcb->cwnd = u32_max(tcb->cwnd, MIN_PIPE);
	if (b->state == PROBE_RTT)
		tcb->cwnd = u32_min(tcb->cwnd, probe_rtt_cwnd(tcb, b));
	tcb->cwnd = u32_min(tcb->cwnd, model_bound(b));
}

static void bbr_control(struct stack *st, struct tcb *tcb, const struct tcp_rate *rs)
{
	struct tcp_pace *p = pace_of(st, tcb);
	struct bbr *b = &p->bbr;
	struct news n = { .rs = rs, .now_ms = tcp_ms(st) };

	if (rs->delivered && rs->interval_us)
		n.bw = (uint64_t)rs->delivered * tcb->mss * 1000000 / rs->interval_us;
	look_at_round(tcb, b, &n);
	look_at_latest(tcb, b, &n);
	take_bw(b, &n);
	look_at_losses(tcb, b, &n);
	look_at_aggregation(st, tcb, b, &n);
	look_for_full_bw(b, &n);
	look_for_startup_losses(tcb, b, &n);
	leave_startup_and_drain(st, tcb, b, &n);
	cycle(st, tcb, b, &n);
	probe_rtt(st, tcb, b, &n, look_at_rtt(b, &n));
	if (b->loss_round_start) {
		b->bw_latest = n.bw;
		b->inflight_latest = rs->delivered;
	}
	b->bw = u64_min(max_bw(b), b->bw_lo);
	set_rate(p, b->pacing_gain);
	set_cwnd(st, tcb, b, &n);
}

/* ---- events ---- */

/* A loss during a probe shows where the path is full: as much as was under way when the share of
 * losses passed the threshold (5.5.10.2). */
static void bbr_lost(struct stack *st, struct tcb *tcb, const struct tcp_txr *r)
{
	struct bbr *b = bbr_of(st, tcb);
	uint32_t lost = tcb->lost - r->lost, before;
	int64_t prefix;

	if (!b->loss_in_round) {
		b->loss_round_end = tcb->delivered;
		b->undo_state = b->state;
		b->undo_bw_lo = b->bw_lo;
		b->undo_lo = b->inflight_lo;
		b->undo_hi = b->inflight_hi;
	}
	b->loss_in_round = true;
	if (!b->probe_samples || !too_high(lost, r->in_flight))
		return;
	before = r->in_flight - u32_min(r->segs, r->in_flight);
	prefix = ((int64_t)before - 50 * ((int64_t)lost - r->segs)) / 49;
	take_too_high(st, tcb, b, before + (uint32_t)(prefix > 0 ? prefix : 0),
		      r->flags & TXR_LIMITED);
}

static void bbr_event(struct stack *st, struct tcb *tcb, enum tcp_cc_event ev)
{
	struct tcp_pace *p = pace_of(st, tcb);
	struct bbr *b = &p->bbr;

	if (ev != CC_TX_START || !tcb->app_limited)
		return;
	b->idle_restart = true;			/* 5.4.1: the pipe is empty, no queue to drain */
	b->extra_from_us = (uint32_t)st->now_us;
	b->extra_delivered = 0;
	if (probing_bw_state(b))
		set_rate(p, UNIT);
	else if (b->state == PROBE_RTT)
		probe_rtt_over(st, tcb, b, tcp_ms(st));
}

static void bbr_set_state(struct stack *st, struct tcb *tcb, uint8_t ca)
{
	struct bbr *b = bbr_of(st, tcb);

	if (ca == CA_LOSS && tcb->ca != CA_LOSS) {
		reset_full_bw(b);
		if (!is_probing(b) && b->inflight_lo == BBR_UNKNOWN)
			b->inflight_lo = u32_max(tcb->cwnd, b->prior_cwnd);
	} else if (ca < CA_RECOVERY && tcb->ca >= CA_RECOVERY) {
		tcb->cwnd = u32_max(tcb->cwnd, b->prior_cwnd);
	}
}

/* The window is the model's business: only remember it. */
static uint32_t bbr_ssthresh(struct stack *st, struct tcb *tcb)
{
	save_cwnd(tcb, bbr_of(st, tcb));
	return tcb->ssthresh;
}

static uint32_t bbr_undo(struct stack *st, struct tcb *tcb)
{
	struct bbr *b = bbr_of(st, tcb);

	b->loss_in_round = false;
	reset_full_bw(b);
	b->bw_lo = u64_max(b->bw_lo, b->undo_bw_lo);
	b->inflight_lo = u32_max(b->inflight_lo, b->undo_lo);
	b->inflight_hi = u32_max(b->inflight_hi, b->undo_hi);
	if (b->state != PROBE_RTT && b->state != b->undo_state && b->undo_state == STARTUP)
		enter_startup(b);
	return u32_max(tcb->cwnd, b->prior_cwnd);
}

static void bbr_init(struct stack *st, struct tcb *tcb)
{
	uint32_t rtt = tcb->srtt8_us / 8, now_ms = tcp_ms(st);
	struct tcp_pace *p;

	pace_start(st, tcb);
	p = pace_of(st, tcb);
	p->bbr = (struct bbr){
		.bw_lo = UINT64_MAX, .inflight_lo = BBR_UNKNOWN, .inflight_hi = BBR_UNKNOWN,
		.undo_bw_lo = UINT64_MAX, .undo_lo = BBR_UNKNOWN, .undo_hi = BBR_UNKNOWN,
		.min_rtt_us = rtt ? rtt : BBR_UNKNOWN, .probe_rtt_us = rtt ? rtt : BBR_UNKNOWN,
		.min_rtt_ms = now_ms, .probe_rtt_ms = now_ms, .cycle_ms = now_ms,
		.round_end = tcb->delivered, .loss_round_end = tcb->delivered,
		.extra_from_us = (uint32_t)st->now_us, .probe_up_cnt = UINT32_MAX,
		.prior_cwnd = tcb->cwnd,
	};
	enter_startup(&p->bbr);
	p->rate = (uint64_t)tcb->cwnd * tcb->mss * 1000000 / (rtt ? rtt : SHORT_RTT_US) *
		  STARTUP_PACING_GAIN / UNIT;
	tcb->ssthresh = TCP_SSTHRESH_INF;
}

const struct tcp_cc tcp_cc_bbr = {
	.name = "bbr",
	.init = bbr_init,
	.fini = pace_stop,
	.ssthresh = bbr_ssthresh,
	.undo_cwnd = bbr_undo,
	.set_state = bbr_set_state,
	.event = bbr_event,
	.lost = bbr_lost,
	.control = bbr_control,
};
