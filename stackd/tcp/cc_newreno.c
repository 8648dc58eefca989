/* SPDX-License-Identifier: MIT */
/* tcp/cc_newreno.c - slow start and congestion avoidance
 * Spec:    RFC 5681 3.1, RFC 3465 (byte counting, L = 2), RFC 6928 (initial window)
 * Private: cc_priv[0] bytes acknowledged towards the next segment of growth
 */
#include "stackd/tcp/tcp_int.h"

static void newreno_init(struct tcb *tcb)
{
	tcb->cwnd = TCP_IW * tcb->mss;
	tcb->ssthresh = UINT32_MAX;
	tcb->cc_priv[0] = 0;
}

/* Grow only as far as the window was used (RFC 7661's concern): a sender without data must not
 * collect a window that the path was never asked to carry. */
static bool window_used(const struct tcb *tcb, uint32_t flight)
{
	if (tcb->cwnd < tcb->ssthresh)
		return tcb->cwnd / 2 < flight;
	return tcb->flags & TF_CWND_LIM || flight + tcb->mss >= tcb->cwnd;
}

static void newreno_on_ack(struct tcb *tcb, uint32_t acked, uint32_t flight, uint64_t now_us)
{
	if (!window_used(tcb, flight))
		return;
	if (tcb->cwnd < tcb->ssthresh) {
		/* L is per ACK on the wire; ACKs that GRO merged come as one, so no cap applies
		 * except after a timeout, where RFC 3465 2.3 asks for L = 1 segment. */
		uint32_t grow = tcb->ca == CA_LOSS ? u32_min(acked, tcb->mss) : acked;

		tcb->cwnd += u32_min(grow, tcb->ssthresh - tcb->cwnd);
		return;
	}
	tcb->cc_priv[0] += acked;
	if (tcb->cc_priv[0] >= tcb->cwnd) {
		tcb->cc_priv[0] -= tcb->cwnd;
		tcb->cwnd += tcb->mss;
	}
}

static uint32_t newreno_ssthresh(struct tcb *tcb, uint32_t flight)
{
	return u32_max(flight / 2, 2u * tcb->mss);
}

static void newreno_on_loss(struct tcb *tcb)
{
	tcb->cwnd = tcb->ssthresh;
	tcb->cc_priv[0] = 0;
}

static void newreno_on_rto(struct tcb *tcb)
{
	tcb->cwnd = tcb->mss;
	tcb->cc_priv[0] = 0;
}

static void newreno_on_recovery_exit(struct tcb *tcb)
{
	tcb->cwnd = u32_max(tcb->ssthresh, 2u * tcb->mss);
}

const struct tcp_cc tcp_cc_newreno = {
	.name = "reno",
	.init = newreno_init,
	.on_ack = newreno_on_ack,
	.ssthresh = newreno_ssthresh,
	.on_loss = newreno_on_loss,
	.on_rto = newreno_on_rto,
	.on_recovery_exit = newreno_on_recovery_exit,
};
