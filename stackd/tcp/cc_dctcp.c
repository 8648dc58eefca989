/* SPDX-License-Identifier: MIT */
/* tcp/cc_dctcp.c - a window that shrinks with the share of marked segments
 * alpha, the moving average of that share (1024 = all), is updated once per window; a mark takes
 * alpha / 2 of the window, a loss half of it. The receiver's half says of each segment by itself
 * whether it was marked. Without ECN on the connection it is Reno.
 * Spec:    RFC 8257 3
 * Private: cc_priv as struct dctcp
 */
#include "stackd/tcp/tcp_int.h"

struct dctcp {
	uint32_t alpha;			/* 0 to 1024 */
	uint32_t old_delivered, old_ce;	/* when this window began */
	uint32_t next_seq;		/* its end */
	uint32_t loss_cwnd;
	uint32_t ce;			/* was the last segment marked */
};
static_assert(sizeof(struct dctcp) <= sizeof(((struct tcb *)0)->cc_priv), "fits");

#define ALPHA_MAX	1024u
#define SHIFT_G		4u

static struct dctcp *priv(struct tcb *tcb)
{
	return (struct dctcp *)tcb->cc_priv;
}

static void next_window(struct tcb *tcb, struct dctcp *d)
{
	d->next_seq = (uint32_t)tcb->snd_nxt;
	d->old_delivered = tcb->delivered;
	d->old_ce = tcb->delivered_ce;
}

static void dctcp_init(struct stack *st, struct tcb *tcb)
{
	*priv(tcb) = (struct dctcp){ .alpha = ALPHA_MAX };
	next_window(tcb, priv(tcb));
	tcb->cwnd_cnt = 0;
}

static void dctcp_in_ack(struct stack *st, struct tcb *tcb, uint64_t acked, bool ece)
{
	struct dctcp *d = priv(tcb);
	uint32_t all, ce;

	if (u32_lt((uint32_t)tcb->snd_una, d->next_seq))
		return;
	all = u32_max(tcb->delivered - d->old_delivered, 1);
	ce = tcb->delivered_ce - d->old_ce;
	d->alpha -= u32_max(d->alpha >> SHIFT_G, d->alpha ? 1 : 0);
	if (ce)
		d->alpha = u32_min(d->alpha + (uint32_t)(((uint64_t)ce << (10 - SHIFT_G)) / all),
				   ALPHA_MAX);
	next_window(tcb, d);
}

static uint32_t dctcp_ssthresh(struct stack *st, struct tcb *tcb)
{
	struct dctcp *d = priv(tcb);
	uint32_t alpha = tcb->flags2 & T2_ECN ? d->alpha : ALPHA_MAX;

	d->loss_cwnd = tcb->cwnd;
	return u32_max(tcb->cwnd - (uint32_t)(((uint64_t)tcb->cwnd * alpha) >> 11), 2);
}

/* Losses halve, whatever alpha says. */
static void dctcp_set_state(struct stack *st, struct tcb *tcb, uint8_t ca)
{
	if (ca != CA_RECOVERY || tcb->ca == CA_RECOVERY)
		return;
	priv(tcb)->loss_cwnd = tcb->cwnd;
	tcb->ssthresh = u32_max(tcb->cwnd / 2, 2);
}

/* 3.2: what is held back is acknowledged before the state of marking changes. */
static void dctcp_event(struct stack *st, struct tcb *tcb, enum tcp_cc_event ev)
{
	struct dctcp *d = priv(tcb);
	bool ce = ev == CC_CE;

	if (ev == CC_LOSS) {
		d->loss_cwnd = tcb->cwnd;
		tcb->ssthresh = u32_max(tcb->cwnd / 2, 2);
	}
	if (ev != CC_CE && ev != CC_NO_CE)
		return;
	if (d->ce != ce && tcb->dl[DL_DELACK])
		tcp_send_ack(st, tcb);
	d->ce = ce;
	tcb->flags2 = ce ? tcb->flags2 | T2_ECN_DEMAND : tcb->flags2 & ~T2_ECN_DEMAND;
}

static uint32_t dctcp_undo(struct stack *st, struct tcb *tcb)
{
	return u32_max(tcb->cwnd, priv(tcb)->loss_cwnd);
}

const struct tcp_cc tcp_cc_dctcp = {
	.name = "dctcp",
	.wants_ecn = true,
	.init = dctcp_init,
	.ssthresh = dctcp_ssthresh,
	.undo_cwnd = dctcp_undo,
	.cong_avoid = reno_cong_avoid,
	.set_state = dctcp_set_state,
	.event = dctcp_event,
	.in_ack = dctcp_in_ack,
};
