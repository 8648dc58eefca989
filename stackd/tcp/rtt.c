/* SPDX-License-Identifier: MIT */
/* tcp/rtt.c - round-trip times and the retransmission timeout
 * Linux's form of RFC 6298: the deviation used for the timeout is the largest of a flight, falls
 * only once per flight, and never below tcp_rto_min_us; a sudden fall of the round-trip time does
 * not raise it.
 * Spec:    RFC 6298; RFC 8985 6.1 (minimum)
 */
#include "stackd/tcp/tcp_int.h"

static void first_sample(struct stack *st, struct tcb *tcb, uint32_t rtt_us)
{
	tcb->srtt8_us = rtt_us * 8;
	tcb->mdev_us = rtt_us * 2;
	tcb->rttvar_us = u32_max(tcb->mdev_us, ld_rlx(&st->sys->tcp_rto_min_us));
	tcb->mdev_max_us = tcb->rttvar_us;
	tcb->rtt_seq = (uint32_t)tcb->snd_nxt;
}

static void next_sample(struct stack *st, struct tcb *tcb, uint32_t rtt_us)
{
	int64_t err = (int64_t)rtt_us - (tcb->srtt8_us >> 3), dev = err < 0 ? -err : err;

	tcb->srtt8_us = (uint32_t)((int64_t)tcb->srtt8_us + err);
	dev -= tcb->mdev_us >> 2;
	if (err < 0 && dev > 0)
		dev >>= 3;		/* faster than before is no reason to wait longer */
	tcb->mdev_us = (uint32_t)((int64_t)tcb->mdev_us + dev);
	if (tcb->mdev_us > tcb->mdev_max_us) {
		tcb->mdev_max_us = tcb->mdev_us;
		tcb->rttvar_us = u32_max(tcb->rttvar_us, tcb->mdev_max_us);
	}
	if (u32_lt(tcb->rtt_seq, (uint32_t)tcb->snd_una)) {
		if (tcb->mdev_max_us < tcb->rttvar_us)
			tcb->rttvar_us -= (tcb->rttvar_us - tcb->mdev_max_us) >> 2;
		tcb->rtt_seq = (uint32_t)tcb->snd_nxt;
		tcb->mdev_max_us = ld_rlx(&st->sys->tcp_rto_min_us);
	}
}

void tcp_rto_reset(struct stack *st, struct tcb *tcb)
{
	uint64_t us = (uint64_t)(tcb->srtt8_us >> 3) + tcb->rttvar_us;

	tcb->backoff = 0;
	tcb->rto_us = tcb->srtt8_us ?
		(uint32_t)u64_min(us, ld_rlx(&st->sys->tcp_rto_max_ms) * 1000ull) :
		ld_rlx(&st->sys->tcp_rto_init_us);
}

void tcp_rtt_sample(struct stack *st, struct tcb *tcb, uint32_t rtt_us)
{
	rtt_us = u32_min(u32_max(rtt_us, 1), TCP_RTO_MAX_US);
	if (tcb->srtt8_us)
		next_sample(st, tcb, rtt_us);
	else
		first_sample(st, tcb, rtt_us);
	tcb->srtt8_us = u32_max(tcb->srtt8_us, 1);
	tcp_rto_reset(st, tcb);
}

/* A new minimum, or the old one is too old to be true. A delayed ACK's sample is none. */
void tcp_rtt_min(struct stack *st, struct tcb *tcb, uint32_t rtt_us, bool delayed)
{
	uint32_t age = tcp_ms(st) - tcb->min_rtt_ms;

	if (delayed && rtt_us > tcp_min_rtt(tcb))
		return;
	if (rtt_us <= tcp_min_rtt(tcb) || age / 1000 >= ld_rlx(&st->sys->tcp_min_rtt_wlen)) {
		tcb->min_rtt_us = u32_max(rtt_us, 1);
		tcb->min_rtt_ms = tcp_ms(st) | 1;
	}
}
