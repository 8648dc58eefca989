/* SPDX-License-Identifier: MIT */
/* tcp/pace.c - send times: each frame moves the next one by its length over the rate
 * A frame that has to wait arms a timer of its own; the wheel's tick is finer than a frame's time
 * at any rate that matters, and what a late timer lost, up to CREDIT_NS, is caught up.
 * Spec:    draft-ietf-ccwg-bbr 5.6.2, 5.6.3 (departure times, send quantum)
 */
#include "stackd/tcp/pace.h"
#include "stackd/tcp/tcp_int.h"

#define CREDIT_NS	250000u
#define BURSTS_PER_S	4000u
#define BURST_MAX	65536u

struct tcp_pace *pace_of(struct stack *st, const struct tcb *tcb)
{
	return &st->tcp->pace[tcb_idx(st, tcb)];
}

void pace_start(struct stack *st, struct tcb *tcb)
{
	*pace_of(st, tcb) = (struct tcp_pace){ .next_ns = st->now_us * 1000 };
	tcb->flags2 |= T2_PACED;
}

void pace_stop(struct stack *st, struct tcb *tcb)
{
	struct tcp_pace *p;

	if (!(tcb->flags2 & T2_PACED))
		return;
	p = pace_of(st, tcb);
	wheel_cancel(st->wheel, OBJ(OBJ_PACE, tcb_idx(st, tcb)), &p->tm);
	*p = (struct tcp_pace){ 0 };
	tcb->flags2 &= ~T2_PACED;
}

bool pace_hold(struct stack *st, struct tcb *tcb)
{
	struct tcp_pace *p;

	if (!(tcb->flags2 & T2_PACED))
		return false;
	p = pace_of(st, tcb);
	if (!p->rate || p->next_ns <= st->now_us * 1000)
		return false;
	wheel_arm(st->wheel, OBJ(OBJ_PACE, tcb_idx(st, tcb)), &p->tm, (p->next_ns + 999) / 1000);
	return true;
}

bool pace_waits(struct stack *st, const struct tcb *tcb)
{
	return tcb->flags2 & T2_PACED && wheel_armed(&pace_of(st, tcb)->tm);
}

void pace_sent(struct stack *st, struct tcb *tcb, uint32_t len)
{
	struct tcp_pace *p;
	uint64_t now = st->now_us * 1000, ns;

	if (!(tcb->flags2 & T2_PACED))
		return;
	p = pace_of(st, tcb);
	if (!p->rate)
		return;
	ns = (uint64_t)len * 1000000000 / p->rate;
	p->next_ns = u64_max(p->next_ns, now - CREDIT_NS) + ns;
}

uint32_t pace_burst(struct stack *st, const struct tcb *tcb)
{
	uint64_t bytes = pace_of(st, tcb)->rate / BURSTS_PER_S;

	return u32_max((uint32_t)u64_min(bytes, BURST_MAX) / tcb->mss, 2);
}

/* ---- the timer ---- */

static struct wheel_node *node(void *arg, uint32_t id)
{
	struct stack *st = arg;

	return &st->tcp->pace[OBJ_IDX(id)].tm;
}

static void fire(void *arg, uint32_t id)
{
	struct stack *st = arg;
	struct tcb *tcb = tcb_at(st, OBJ_IDX(id));

	ASSERT(tcb && tcb->flags2 & T2_PACED);
	tcp_due(st, tcb, DUE_TX);
}

void pace_init(struct stack *st)
{
	const struct wheel_ops ops = { .node = node, .fire = fire, .arg = st };

	wheel_set_ops(st->wheel, OBJ_PACE, &ops);
}
