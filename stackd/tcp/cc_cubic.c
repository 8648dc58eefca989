/* SPDX-License-Identifier: MIT */
/* tcp/cc_cubic.c - a window that grows with the cube of the time since the last loss
 * W(t) = C (t - K)^3 + W_max, in segments, t in units of 1/1024 s; K = cbrt((W_max - cwnd) / C).
 * The curve is looked at once per millisecond at most. Slow start ends by HyStart++ before the
 * queue overflows: when a round's smallest round-trip time has risen, growth slows to a quarter for
 * five rounds, and ends there unless the rise goes away.
 * Spec:    RFC 9438 (C = 0.4; beta = 717/1024 as in Linux), RFC 9406
 * Private: cc_priv as struct cubic
 */
#include "stackd/tcp/tcp_int.h"

struct cubic {
	uint32_t cnt;			/* acknowledged segments per segment of growth */
	uint32_t last_max;		/* W_max, segments */
	uint32_t last_cwnd, last_ms;	/* when cnt was made, for which window */
	uint32_t origin;		/* where the curve is flat */
	uint32_t epoch_ms;		/* its beginning; 0 = not begun */
	uint32_t k;			/* 1/1024 s from there to the origin */
	uint32_t ack_cnt, tcp_cwnd;	/* what Reno would have by now */
	uint32_t round_end;		/* HyStart++: snd_nxt when this round began */
	uint32_t last_min_us, cur_min_us;	/* smallest round trip, last and this round */
	uint32_t css_min_us;		/* the one whose rise began the slow phase; 0 = not in it */
	uint8_t samples, css_rounds, css_acked, rsv;
};
static_assert(sizeof(struct cubic) <= sizeof(((struct tcb *)0)->cc_priv), "fits");

#define BETA		717u		/* / 1024 */
#define C_SCALED	410ull		/* C * 1024 */
#define CUBE_SHIFT	40
#define CUBE_FACTOR	((1ull << CUBE_SHIFT) / C_SCALED)
#define FRIEND_SCALE	(8u * (1024 + BETA) / 3 / (1024 - BETA))
#define RECALC_MS	31u		/* nothing changed: look no sooner */

#define HS_MIN_CWND	16u
#define HS_SAMPLES	8u
#define HS_THRESH_MIN_US 4000u
#define HS_THRESH_MAX_US 16000u
#define CSS_DIVISOR	4u
#define CSS_ROUNDS	5u

static struct cubic *priv(struct tcb *tcb)
{
	return (struct cubic *)tcb->cc_priv;
}

/* Cube root by Newton's method from a power of two above it. */
static uint32_t cbrt64(uint64_t a)
{
	uint64_t x, next;

	if (a < 8)
		return a > 0;
	x = 1ull << ((63 - (unsigned)__builtin_clzll(a)) / 3 + 1);
	while ((next = (2 * x + a / (x * x)) / 3) < x)
		x = next;
	return (uint32_t)x;
}

static void new_round(struct tcb *tcb, struct cubic *c)
{
	c->round_end = (uint32_t)tcb->snd_nxt;
	c->last_min_us = c->cur_min_us;
	c->cur_min_us = UINT32_MAX;
	c->samples = 0;
}

static void reset(struct tcb *tcb)
{
	*priv(tcb) = (struct cubic){ .cur_min_us = UINT32_MAX, .last_min_us = UINT32_MAX,
				     .round_end = (uint32_t)tcb->snd_nxt };
}

static void cubic_init(struct stack *st, struct tcb *tcb)
{
	reset(tcb);
}

/* ---- the curve ---- */

static void begin_epoch(struct tcb *tcb, struct cubic *c, uint32_t now_ms, uint32_t acked)
{
	c->epoch_ms = u32_max(now_ms, 1);
	c->ack_cnt = acked;
	c->tcp_cwnd = tcb->cwnd;
	c->k = c->last_max <= tcb->cwnd ? 0 : cbrt64(CUBE_FACTOR * (c->last_max - tcb->cwnd));
	c->origin = u32_max(c->last_max, tcb->cwnd);
}

static void look_at_curve(struct tcb *tcb, struct cubic *c, uint32_t now_ms)
{
	uint32_t min_ms = tcb->min_rtt_ms ? tcb->min_rtt_us / 1000 : 0;
	uint64_t t = ((uint64_t)(now_ms - c->epoch_ms) + min_ms) * 1024 / 1000;
	uint64_t off = u64_min(t < c->k ? c->k - t : t - c->k, 1u << 16);
	uint64_t delta = (C_SCALED * off * off * off) >> CUBE_SHIFT, target;

	if (t < c->k)
		target = delta < c->origin ? c->origin - delta : 0;
	else
		target = c->origin + delta;
	if (target > tcb->cwnd)
		c->cnt = (uint32_t)(tcb->cwnd / (target - tcb->cwnd));
	else
		c->cnt = 100 * tcb->cwnd;
	if (!c->last_max && c->cnt > 20)
		c->cnt = 20;		/* no maximum is known: 5 % per round trip */
}

/* RFC 9438 4.3: never slower than Reno with this beta. */
static void befriend_reno(struct tcb *tcb, struct cubic *c)
{
	uint32_t delta = u32_max((tcb->cwnd * FRIEND_SCALE) >> 3, 1);

	while (c->ack_cnt > delta) {
		c->ack_cnt -= delta;
		c->tcp_cwnd++;
	}
	if (c->tcp_cwnd > tcb->cwnd)
		c->cnt = u32_min(c->cnt, tcb->cwnd / (c->tcp_cwnd - tcb->cwnd));
}

static void update(struct stack *st, struct tcb *tcb, struct cubic *c, uint32_t acked)
{
	uint32_t now_ms = tcp_ms(st);

	c->ack_cnt += acked;
	if (c->last_cwnd == tcb->cwnd && now_ms - c->last_ms <= RECALC_MS)
		return;
	if (!c->epoch_ms || now_ms != c->last_ms) {
		c->last_cwnd = tcb->cwnd;
		c->last_ms = now_ms;
		if (!c->epoch_ms)
			begin_epoch(tcb, c, now_ms, acked);
		look_at_curve(tcb, c, now_ms);
	}
	befriend_reno(tcb, c);
	c->cnt = u32_max(c->cnt, 2);	/* half as much again per round trip at most */
}

/* ---- slow start ---- */

/* RFC 9406 4.2: in the slow phase a quarter of what is acknowledged. */
static uint32_t slow_start(struct tcb *tcb, struct cubic *c, uint32_t acked)
{
	uint32_t grow;

	if (!c->css_min_us)
		return tcp_slow_start(tcb, acked);
	grow = (acked + c->css_acked) / CSS_DIVISOR;
	c->css_acked = (uint8_t)((acked + c->css_acked) % CSS_DIVISOR);
	tcp_slow_start(tcb, grow);
	return 0;
}

static void cubic_cong_avoid(struct stack *st, struct tcb *tcb, uint32_t acked)
{
	struct cubic *c = priv(tcb);

	if (!tcp_cwnd_limited(tcb))
		return;
	if (tcb->cwnd < tcb->ssthresh) {
		acked = slow_start(tcb, c, acked);
		if (!acked)
			return;
	}
	update(st, tcb, c, acked);
	tcp_cong_avoid_ai(tcb, c->cnt, acked);
}

static bool rtt_rose(const struct cubic *c)
{
	uint32_t thresh = u32_min(u32_max(c->last_min_us / 8, HS_THRESH_MIN_US), HS_THRESH_MAX_US);

	return c->samples >= HS_SAMPLES && c->last_min_us != UINT32_MAX &&
	       c->cur_min_us >= c->last_min_us + thresh;
}

static void hystart(struct tcb *tcb, struct cubic *c, uint32_t rtt_us)
{
	if (!u32_lt((uint32_t)tcb->snd_una, c->round_end)) {
		if (c->css_min_us && ++c->css_rounds >= CSS_ROUNDS) {
			tcb->ssthresh = tcb->cwnd;
			return;
		}
		new_round(tcb, c);
	}
	c->cur_min_us = u32_min(c->cur_min_us, rtt_us);
	c->samples = (uint8_t)u32_min(c->samples + 1u, 255);
	if (!c->css_min_us && tcb->cwnd >= HS_MIN_CWND && rtt_rose(c)) {
		c->css_min_us = c->cur_min_us;
		c->css_rounds = 0;
	} else if (c->css_min_us && c->samples >= HS_SAMPLES && c->cur_min_us < c->css_min_us) {
		c->css_min_us = 0;	/* it was not the queue */
	}
}

static void cubic_pkts_acked(struct stack *st, struct tcb *tcb, const struct tcp_cc_sample *s)
{
	if (s->rtt_us && tcb->cwnd < tcb->ssthresh)
		hystart(tcb, priv(tcb), s->rtt_us);
}

/* ---- losses ---- */

static uint32_t cubic_ssthresh(struct stack *st, struct tcb *tcb)
{
	struct cubic *c = priv(tcb);

	c->epoch_ms = 0;
	/* RFC 9438 4.7: a window below the last one leaves room for newcomers */
	if (tcb->cwnd < c->last_max)
		c->last_max = (uint32_t)((uint64_t)tcb->cwnd * (1024 + BETA) / 2048);
	else
		c->last_max = tcb->cwnd;
	return u32_max((uint32_t)((uint64_t)tcb->cwnd * BETA / 1024), 2);
}

static void cubic_set_state(struct stack *st, struct tcb *tcb, uint8_t ca)
{
	if (ca == CA_LOSS)
		reset(tcb);
}

/* A pause of the program stops the curve's clock. */
static void cubic_event(struct stack *st, struct tcb *tcb, enum tcp_cc_event ev)
{
	struct cubic *c = priv(tcb);
	uint32_t idle = tcp_ms(st) - tcb->last_snd_ms;

	if (ev == CC_TX_START && c->epoch_ms && (int32_t)idle > 0)
		c->epoch_ms = u32_max(u32_lt(tcp_ms(st), c->epoch_ms + idle) ?
				      tcp_ms(st) : c->epoch_ms + idle, 1);
}

const struct tcp_cc tcp_cc_cubic = {
	.name = "cubic",
	.init = cubic_init,
	.ssthresh = cubic_ssthresh,
	.undo_cwnd = reno_undo_cwnd,
	.cong_avoid = cubic_cong_avoid,
	.set_state = cubic_set_state,
	.event = cubic_event,
	.pkts_acked = cubic_pkts_acked,
};
