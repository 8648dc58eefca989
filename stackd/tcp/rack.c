/* SPDX-License-Identifier: MIT */
/* tcp/rack.c - losses found by time, and probes of a tail that nobody acknowledges
 * A segment is lost when one sent later was delivered and a reordering window has passed since.
 * The window is nothing until reordering has been seen or while duplicate ACKs enough have come,
 * else a quarter of the smallest round trip, wider with each D-SACK that shows it was too short.
 * Spec:    RFC 8985 6 (RACK), 7 (TLP); sections are named where they decide
 * In/Out:  transmit records by time -> marks; DL_RTO in its three kinds
 */
#include "stackd/tcp/tcp_int.h"

/* ---- RACK ---- */

static bool sent_after(uint64_t t1, uint32_t end1, uint64_t t2, uint32_t end2)
{
	return t1 > t2 || (t1 == t2 && u32_lt(end2, end1));
}

/* 6.2 step 2. An ACK of a retransmission sooner than any round trip is for the original. */
void rack_advance(struct stack *st, struct tcb *tcb, const struct tcp_txr *r)
{
	uint32_t rtt = (uint32_t)u64_min(st->now_us - r->sent_us, UINT32_MAX);
	uint32_t end = (uint32_t)txr_end(r);

	if (r->flags & TXR_EVER && rtt < tcp_min_rtt(tcb) && tcb->min_rtt_ms)
		return;
	tcb->flags2 |= T2_RACK_ADV;
	tcb->rack_rtt_us = rtt;
	if (sent_after(r->sent_us, end, tcb->rack_us, tcb->rack_end)) {
		tcb->rack_us = r->sent_us;
		tcb->rack_end = end;
	}
}

#define RECOVERY_STATIC_WINDOW	2u
#define RECOVERY_NO_DUPTHRESH	4u

/* 6.2 step 4. */
static uint32_t reo_window_us(struct stack *st, const struct tcb *tcb)
{
	uint64_t us;

	if (!tcb->reord_seen) {
		if (tcb->ca >= CA_RECOVERY)
			return 0;
		if (tcb->sacked_out >= tcb->reordering &&
		    !(ld_rlx(&st->sys->tcp_recovery) & RECOVERY_NO_DUPTHRESH))
			return 0;
	}
	us = (uint64_t)(tcp_min_rtt(tcb) >> 2) * u32_max(tcb->rack_steps, 1);
	return (uint32_t)u64_min(us, tcp_srtt_us(tcb));
}

int64_t rack_left_us(struct stack *st, const struct tcb *tcb, const struct tcp_txr *r,
		     uint32_t reo_us)
{
	return (int64_t)tcb->rack_rtt_us + reo_us - (int64_t)(st->now_us - r->sent_us);
}

/* 6.2 step 5. Return: microseconds until what is not lost yet would be; 0 = nothing is waited
 * for. */
static int64_t detect(struct stack *st, struct tcb *tcb)
{
	uint32_t reo = reo_window_us(st, tcb);
	struct tcp_txr *r = txr_at(st, tcb->ts_head), *next;
	int64_t left, wait = 0;

	for (; r; r = next) {
		next = txr_at(st, r->tnext);
		if (r->flags & TXR_LOST && !(r->flags & TXR_RTX))
			continue;
		if (!sent_after(tcb->rack_us, tcb->rack_end, r->sent_us, (uint32_t)txr_end(r)))
			break;
		left = rack_left_us(st, tcb, r, reo);
		if (left <= 0) {
			tcp_mark_lost(st, tcb, r);
			txq_untime(st, tcb, r);
		} else {
			wait = left > wait ? left : wait;
		}
	}
	return wait;
}

bool rack_mark_lost(struct stack *st, struct tcb *tcb)
{
	int64_t wait;

	if (!(tcb->flags2 & T2_RACK_ADV))
		return false;
	tcb->flags2 &= ~T2_RACK_ADV;
	wait = detect(st, tcb);
	if (wait)
		tcp_rto_set(st, tcb, RTO_REORDER, (uint64_t)wait + TCP_TIMEOUT_MIN_US);
	return wait != 0;
}

/* 6.3: the reordering window has passed. */
void rack_on_timeout(struct stack *st, struct tcb *tcb)
{
	uint32_t before = tcp_in_flight(tcb), lost = tcb->lost;

	detect(st, tcb);
	if (tcp_in_flight(tcb) != before) {
		if (tcb->ca != CA_RECOVERY) {
			tcp_enter_recovery(st, tcb, false);
			if (!tcp_cc_at(tcb->cc)->control)
				tcp_prr(tcb, 1, tcb->lost - lost, 0);
		}
		tcb->flags2 |= T2_RTX;
		tcp_due(st, tcb, DUE_TX);
	}
	if (!tcb->dl[DL_RTO])
		tcp_rto_rearm(st, tcb);
}

/* 6.2 step 4: D-SACKs widen the window once per round trip, for 16 recoveries. */
void rack_update_window(struct stack *st, struct tcb *tcb, const struct tcp_rate *rs)
{
	if (ld_rlx(&st->sys->tcp_recovery) & RECOVERY_STATIC_WINDOW || !rs->valid ||
	    !rs->prior_delivered)
		return;
	if (u32_lt(rs->prior_delivered, tcb->rack_delivered))
		tcb->flags2 &= ~T2_RACK_DSACK;
	if (tcb->flags2 & T2_RACK_DSACK) {
		tcb->rack_steps = (uint8_t)u32_min(255, u32_max(tcb->rack_steps, 1) + 1u);
		tcb->flags2 &= ~T2_RACK_DSACK;
		tcb->rack_delivered = tcb->delivered;
		tcb->rack_persist = TCP_RACK_PERSIST;
	} else if (!tcb->rack_persist) {
		tcb->rack_steps = 1;
	}
}

/* ---- TLP ---- */

/* 7.2. @advancing: the ACK that has just come restarts the retransmission timer. Return: false =
 * no probe is due, set that timer instead. */
bool tlp_schedule(struct stack *st, struct tcb *tcb, bool advancing)
{
	uint32_t mode = ld_rlx(&st->sys->tcp_early_retrans);
	int64_t wait = ld_rlx(&st->sys->tcp_rto_init_us), left;

	if ((mode != 3 && mode != 4) || !tcb->packets_out || !(tcb->flags & TF_SACK) ||
	    (tcb->ca != CA_OPEN && tcb->ca != CA_CWR))
		return false;
	if (tcb->srtt8_us) {
		wait = tcb->srtt8_us >> 2;
		wait += tcb->packets_out == 1 ? ld_rlx(&st->sys->tcp_rto_min_us) :
						TCP_TIMEOUT_MIN_US;
	}
	left = advancing ? (int64_t)tcb->rto_us : tcp_rto_left_us(st, tcb);
	if (left > 0 && left < wait)
		wait = left;
	tcp_rto_set(st, tcb, RTO_PROBE, (uint64_t)wait);
	return true;
}

/* 7.3: new data if there is, else the last segment once more. */
static bool send_probe(struct stack *st, struct tcb *tcb)
{
	struct tcp_txr *r;

	tcb->flags &= ~TF_TLP_RTX;
	if (pos_lt(tcb->snd_nxt, tcb->snd_tail) &&
	    pos_le(u64_min(tcb->snd_nxt + tcb->mss, tcb->snd_tail), tcb->snd_edge))
		return tcp_push_one(st, tcb);
	r = txr_at(st, tcb->txq_tail);
	if (!r || r->flags & (TXR_RTX | TXR_SACKED))
		return false;
	if (r->segs > 1 && !txq_split(st, tcb, r, (r->segs - 1u) * r->mss))
		return false;
	if (tcp_rtx_one(st, tcb, txr_at(st, tcb->txq_tail), 1, true))
		return false;
	tcb->flags |= TF_TLP_RTX;
	return true;
}

void tlp_on_timeout(struct stack *st, struct tcb *tcb)
{
	if (!tcb->tlp_out && send_probe(st, tcb)) {
		tcb->tlp_out = 1;
		tcb->tlp_seq = (uint32_t)tcb->snd_nxt;
		tcb->rto_kind = RTO_LOSS;	/* the whole timeout from now */
		snmp_inc(st, SNMP_TcpExt_TCPLossProbes);
	}
	tcp_rto_rearm(st, tcb);
}

/* 7.4.2: was the tail lost, and only the probe repaired it? */
void tlp_on_ack(struct stack *st, struct tcb *tcb, const struct tcp_seg *seg, uint32_t flag)
{
	uint32_t ack = (uint32_t)seg->ack_pos;

	if (u32_lt(ack, tcb->tlp_seq))
		return;
	if (!(tcb->flags & TF_TLP_RTX) || flag & FLAG_DSACK_TLP) {
		tcb->tlp_out = 0;	/* new data arrived; or both copies did */
	} else if (u32_lt(tcb->tlp_seq, ack)) {
		tcp_init_reduction(st, tcb);
		tcp_set_ca(st, tcb, CA_CWR);
		tcp_end_reduction(st, tcb);
		tcp_try_keep_open(st, tcb);
		snmp_inc(st, SNMP_TcpExt_TCPLossProbeRecovery);
	} else if (!(flag & (FLAG_UNA | FLAG_NOT_DUP | FLAG_SACKED))) {
		tcb->tlp_out = 0;	/* a duplicate ACK: original and probe both arrived */
	}
}
