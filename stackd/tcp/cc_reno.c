/* SPDX-License-Identifier: MIT */
/* tcp/cc_reno.c - slow start and additive increase, the half after a loss
 * Spec:    RFC 5681 3.1, 3.2; RFC 3465 (counting what was acknowledged); RFC 6928
 */
#include "stackd/tcp/tcp_int.h"

static void reno_init(struct stack *st, struct tcb *tcb)
{
	tcb->cwnd_cnt = 0;
}

void reno_cong_avoid(struct stack *st, struct tcb *tcb, uint32_t acked)
{
	if (!tcp_cwnd_limited(tcb))
		return;
	if (tcb->cwnd < tcb->ssthresh) {
		acked = tcp_slow_start(tcb, acked);
		if (!acked)
			return;
	}
	tcp_cong_avoid_ai(tcb, tcb->cwnd, acked);
}

static uint32_t reno_ssthresh(struct stack *st, struct tcb *tcb)
{
	return u32_max(tcb->cwnd / 2, 2);
}

uint32_t reno_undo_cwnd(struct stack *st, struct tcb *tcb)
{
	return u32_max(tcb->cwnd, tcb->prior_cwnd);
}

const struct tcp_cc tcp_cc_reno = {
	.name = "reno",
	.init = reno_init,
	.ssthresh = reno_ssthresh,
	.undo_cwnd = reno_undo_cwnd,
	.cong_avoid = reno_cong_avoid,
};
