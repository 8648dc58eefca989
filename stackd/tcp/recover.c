/* SPDX-License-Identifier: MIT */
/* tcp/recover.c - from what an ACK says to a state of congestion: enter, reduce, undo, leave
 * Open: nothing unusual. Disorder: SACKs or duplicates, nothing lost yet. CWR: reducing without a
 * loss (ECN, tail probe). Recovery: reducing and repairing. Loss: after a timeout, everything but
 * what was SACKed or sent lately is taken for lost. While reducing, PRR paces the window down to
 * ssthresh. A reduction is taken back when every retransmission turns out to have been needless
 * (D-SACK), or the ACK echoes a timestamp from before the first one (Eifel), or, after a timeout,
 * an original transmission is acknowledged (F-RTO).
 * Spec:    RFC 5681 3.2; RFC 6582; RFC 6675; RFC 9937 (PRR); RFC 5682; RFC 3522, 4015; RFC 8985
 */
#include "stackd/tcp/tcp_int.h"

void tcp_set_ca(struct stack *st, struct tcb *tcb, enum tcp_ca ca)
{
	const struct tcp_cc *cc = tcp_cc_at(tcb->cc);

	if (cc->set_state)
		cc->set_state(st, tcb, ca);
	tcb->ca = (uint8_t)ca;
}

uint32_t tcp_current_ssthresh(const struct tcb *tcb)
{
	if (tcp_in_reduction(tcb))
		return tcb->ssthresh;
	return u32_max(tcb->ssthresh, tcb->cwnd / 2 + tcb->cwnd / 4);
}

static bool head_resent(struct stack *st, const struct tcb *tcb)
{
	const struct tcp_txr *r = txr_at(st, tcb->txq_head);

	return tcb->retrans_out || (r && r->flags & TXR_EVER);
}

static void tell_lost(struct stack *st, struct tcb *tcb, const struct tcp_txr *r)
{
	const struct tcp_cc *cc = tcp_cc_at(tcb->cc);

	tcb->lost += r->segs;
	if (cc->lost)
		cc->lost(st, tcb, r);
}

void tcp_mark_lost(struct stack *st, struct tcb *tcb, struct tcp_txr *r)
{
	const struct tcp_txr *hint = txr_at(st, tcb->rtx_hint);

	if (r->flags & TXR_SACKED)
		return;
	if (!hint || pos_lt(r->pos, hint->pos))
		tcb->rtx_hint = (uint32_t)(r - st->tcp->txr);
	if (r->flags & TXR_RTX) {
		r->flags &= ~TXR_RTX;
		tcb->retrans_out -= r->segs;
		if (r->flags & TXR_LOST) {
			tell_lost(st, tcb, r);
			snmp_add(st, SNMP_TcpExt_TCPLostRetransmit, r->segs);
		}
	}
	if (r->flags & TXR_LOST)
		return;
	r->flags |= TXR_LOST;
	tcb->lost_out += r->segs;
	tell_lost(st, tcb, r);
}

/* ---- reductions ---- */

static void init_undo(struct tcb *tcb)
{
	tcb->undo_ok = 1;
	tcb->undo_marker = (uint32_t)tcb->snd_una;
	tcb->undo_retrans = (int32_t)tcb->retrans_out;
	if (tcb->tlp_out && tcb->flags & TF_TLP_RTX)
		tcb->undo_retrans++;
	if (!tcb->undo_retrans)
		tcb->undo_retrans = -1;
}

void tcp_init_reduction(struct stack *st, struct tcb *tcb)
{
	tcb->high_seq = (uint32_t)tcb->snd_nxt;
	tcb->tlp_out = 0;
	tcb->cwnd_cnt = 0;
	tcb->prior_cwnd = tcb->cwnd;
	tcb->prr_delivered = tcb->prr_out = 0;
	tcb->ssthresh = tcp_cc_at(tcb->cc)->ssthresh(st, tcb);
	if (tcb->flags2 & T2_ECN)
		tcb->flags2 |= T2_ECN_CWR;
}

/* RFC 9937 6: above ssthresh send in proportion to what is delivered, below it catch up, faster
 * while nothing more is lost. */
void tcp_prr(struct tcb *tcb, uint32_t newly_acked, uint32_t newly_lost, uint32_t flag)
{
	int64_t flight = tcp_in_flight(tcb), room = (int64_t)tcb->ssthresh - flight, send;

	if (!newly_acked || !tcb->prior_cwnd)
		return;
	tcb->prr_delivered += newly_acked;
	if (room < 0) {
		uint64_t share = (uint64_t)tcb->ssthresh * tcb->prr_delivered + tcb->prior_cwnd - 1;

		send = (int64_t)(share / tcb->prior_cwnd) - tcb->prr_out;
	} else {
		send = (int64_t)tcb->prr_delivered - tcb->prr_out;
		send = send > newly_acked ? send : newly_acked;
		if (flag & FLAG_UNA && !newly_lost)
			send++;
		send = send < room ? send : room;
	}
	if (send < (tcb->prr_out ? 0 : 1))
		send = tcb->prr_out ? 0 : 1;	/* the first retransmission always goes */
	tcb->cwnd = (uint32_t)(flight + send);
}

void tcp_end_reduction(struct stack *st, struct tcb *tcb)
{
	const struct tcp_cc *cc = tcp_cc_at(tcb->cc);

	if (cc->control)
		return;
	if (tcb->ssthresh < TCP_SSTHRESH_INF && (tcb->ca == CA_CWR || tcb->undo_ok)) {
		tcb->cwnd = tcb->ssthresh;
		tcb->cwnd_ms = tcp_ms(st);
	}
	if (cc->event)
		cc->event(st, tcb, CC_COMPLETE_CWR);
}

void tcp_enter_cwr(struct stack *st, struct tcb *tcb)
{
	tcb->prior_ssthresh = 0;
	if (tcb->ca < CA_CWR) {
		tcb->undo_ok = 0;
		tcp_init_reduction(st, tcb);
		tcp_set_ca(st, tcb, CA_CWR);
	}
}

void tcp_enter_recovery(struct stack *st, struct tcb *tcb, bool ece)
{
	snmp_inc(st, tcb->flags & TF_SACK ? SNMP_TcpExt_TCPSackRecovery :
					    SNMP_TcpExt_TCPRenoRecovery);
	tcb->prior_ssthresh = 0;
	init_undo(tcb);
	if (!tcp_in_reduction(tcb)) {
		if (!ece)
			tcb->prior_ssthresh = tcp_current_ssthresh(tcb);
		tcp_init_reduction(st, tcb);
	}
	tcp_set_ca(st, tcb, CA_RECOVERY);
}

void tcp_try_keep_open(struct stack *st, struct tcb *tcb)
{
	enum tcp_ca ca = CA_OPEN;

	if (tcb->sacked_out || tcb->lost_out || head_resent(st, tcb))
		ca = CA_DISORDER;
	if (tcb->ca != ca) {
		tcp_set_ca(st, tcb, ca);
		tcb->high_seq = (uint32_t)tcb->snd_nxt;
	}
}

static void try_to_open(struct stack *st, struct tcb *tcb, uint32_t flag)
{
	if (!head_resent(st, tcb))
		tcb->retrans_ms = 0;
	if (flag & FLAG_ECE)
		tcp_enter_cwr(st, tcb);
	if (tcb->ca != CA_CWR)
		tcp_try_keep_open(st, tcb);
}

/* ---- undo ---- */

/* RFC 3522: the ACK answers something sent before the first retransmission. */
static bool was_delayed(const struct tcb *tcb, const struct tcp_seg *seg)
{
	if (!tcb->retrans_ms)
		return true;
	return tcb->flags & TF_TS && seg->o.has_ts && seg->o.tsecr &&
	       u32_lt(seg->o.tsecr - tcb->ts_off, tcb->retrans_ms);
}

static bool may_undo(const struct tcb *tcb, const struct tcp_seg *seg)
{
	return tcb->undo_ok && (!tcb->undo_retrans || was_delayed(tcb, seg));
}

static void undo(struct stack *st, struct tcb *tcb, bool unmark)
{
	if (unmark) {
		struct tcp_txr *r = txr_at(st, tcb->txq_head);

		for (; r; r = txr_at(st, r->next))
			r->flags &= ~TXR_LOST;
		tcb->lost_out = 0;
		tcb->rtx_hint = 0;
	}
	if (tcb->prior_ssthresh) {
		tcb->cwnd = tcp_cc_at(tcb->cc)->undo_cwnd(st, tcb);
		if (tcb->prior_ssthresh > tcb->ssthresh) {
			tcb->ssthresh = tcb->prior_ssthresh;
			tcb->flags2 &= ~T2_ECN_CWR;
		}
	}
	tcb->cwnd_ms = tcp_ms(st);
	tcb->undo_ok = 0;
	tcb->flags2 |= T2_RACK_ADV;
}

/* Without SACK a duplicate of what lies below high_seq cannot be told from a loss above it. */
static bool must_stay(struct stack *st, struct tcb *tcb)
{
	if (tcb->flags & TF_SACK || (uint32_t)tcb->snd_una != tcb->high_seq)
		return false;
	if (!head_resent(st, tcb))
		tcb->retrans_ms = 0;
	return true;
}

static bool try_undo_recovery(struct stack *st, struct tcb *tcb, const struct tcp_seg *seg)
{
	if (may_undo(tcb, seg)) {
		undo(st, tcb, false);
		snmp_inc(st, tcb->ca == CA_LOSS ? SNMP_TcpExt_TCPLossUndo :
						  SNMP_TcpExt_TCPFullUndo);
	} else if (tcb->rack_persist) {
		tcb->rack_persist--;
	}
	if (must_stay(st, tcb))
		return true;
	tcp_set_ca(st, tcb, CA_OPEN);
	tcb->flags2 &= ~T2_RENEG;
	return false;
}

static bool try_undo_dsack(struct stack *st, struct tcb *tcb)
{
	if (!tcb->undo_ok || tcb->undo_retrans)
		return false;
	tcb->rack_persist = (uint8_t)u32_min(TCP_RACK_PERSIST, tcb->rack_persist + 1u);
	undo(st, tcb, false);
	snmp_inc(st, SNMP_TcpExt_TCPDSACKUndo);
	return true;
}

static bool try_undo_loss(struct stack *st, struct tcb *tcb, const struct tcp_seg *seg, bool frto)
{
	if (!frto && !may_undo(tcb, seg))
		return false;
	undo(st, tcb, true);
	snmp_inc(st, SNMP_TcpExt_TCPLossUndo);
	if (frto)
		snmp_inc(st, SNMP_TcpExt_TCPSpuriousRTOs);
	tcb->rtx_cnt = 0;
	if (must_stay(st, tcb))
		return true;
	if (frto || tcb->flags & TF_SACK) {
		tcp_set_ca(st, tcb, CA_OPEN);
		tcb->flags2 &= ~T2_RENEG;
	}
	return true;
}

/* A partial ACK for an original: part of what was taken for lost was only late. Return: true =
 * retransmissions are still out, say nothing yet. */
static bool try_undo_partial(struct stack *st, struct tcb *tcb, const struct tcp_seg *seg,
			     const struct tcp_ack *a)
{
	if (!tcb->undo_ok || !was_delayed(tcb, seg))
		return false;
	tcp_sack_reordering(st, tcb, (uint32_t)a->prior_una, true);
	if (tcb->retrans_out)
		return true;
	if (!head_resent(st, tcb))
		tcb->retrans_ms = 0;
	undo(st, tcb, true);
	snmp_inc(st, SNMP_TcpExt_TCPPartialUndo);
	tcp_try_keep_open(st, tcb);
	return false;
}

/* ---- duplicates without SACK: each says that one segment has left the network ---- */

static void limit_reno_sacked(struct stack *st, struct tcb *tcb)
{
	uint32_t holes = u32_min(u32_max(tcb->lost_out, 1), tcb->packets_out);

	if (tcb->sacked_out + holes <= tcb->packets_out)
		return;
	tcb->sacked_out = tcb->packets_out - holes;
	/* more duplicates than segments: they overtook each other */
	tcb->reordering = (uint16_t)u32_min(u32_max(tcb->reordering, tcb->packets_out),
					    ld_rlx(&st->sys->tcp_max_reordering));
	tcb->reord_seen++;
	snmp_inc(st, SNMP_TcpExt_TCPRenoReorder);
}

static void add_reno_sack(struct stack *st, struct tcb *tcb, const struct tcp_ack *a)
{
	uint32_t before = tcb->sacked_out;

	if (!a->dup)
		return;
	tcb->sacked_out += a->dup;
	limit_reno_sacked(st, tcb);
	if (tcb->sacked_out > before) {
		tcb->delivered += tcb->sacked_out - before;
		if (a->ece)
			tcb->delivered_ce += tcb->sacked_out - before;
	}
}

/* RFC 6582: the head is lost at the third duplicate, and with each partial ACK. */
static void reno_mark_lost(struct stack *st, struct tcb *tcb, const struct tcp_ack *a)
{
	struct tcp_txr *r = txr_at(st, tcb->txq_head);

	if (!r || r->flags & TXR_LOST)
		return;
	if (tcb->ca < CA_RECOVERY ? tcb->sacked_out < tcb->reordering :
				    tcb->ca != CA_RECOVERY || !(a->flag & FLAG_UNA))
		return;
	if (r->segs > 1 && !txq_split(st, tcb, r, r->mss))
		return;
	/* the split may have made more segments than were counted as arrived */
	tcp_mark_lost(st, tcb, r);
	txq_untime(st, tcb, r);
}

static void identify_loss(struct stack *st, struct tcb *tcb, struct tcp_ack *a)
{
	uint32_t before = tcb->retrans_out;

	if (!tcb->txq_head)
		return;
	if (!(tcb->flags & TF_SACK)) {
		reno_mark_lost(st, tcb, a);
		return;
	}
	if (rack_mark_lost(st, tcb))
		a->flag &= ~FLAG_TIMER;
	if (before > tcb->retrans_out)
		a->flag |= FLAG_LOST_RTX;
}

/* ---- timeout ---- */

/* What is lost then: all that is not SACKed, save what was sent too lately to know. If the head is
 * SACKed, the receiver has thrown away what it reported. */
static void mark_timed_out(struct stack *st, struct tcb *tcb)
{
	struct tcp_txr *head = txr_at(st, tcb->txq_head), *r, *next;
	bool reneg = head && head->flags & TXR_SACKED;

	if (reneg) {
		snmp_inc(st, SNMP_TcpExt_TCPSACKReneging);
		tcb->flags2 |= T2_RENEG;
		tcb->sacked_out = 0;
	} else if (!(tcb->flags & TF_SACK)) {
		tcb->sacked_out = 0;
	}
	for (r = head; r; r = next) {
		next = txr_at(st, r->next);
		if (reneg)
			r->flags &= ~TXR_SACKED;
		else if (tcb->flags & TF_SACK && r != head &&
			 rack_left_us(st, tcb, r, 0) > 0)
			continue;
		if (r->flags & TXR_SACKED)
			continue;
		tcp_mark_lost(st, tcb, r);
		txq_untime(st, tcb, r);
	}
	tcb->rtx_hint = tcb->txq_head;
}

void tcp_enter_loss(struct stack *st, struct tcb *tcb)
{
	const struct tcp_cc *cc = tcp_cc_at(tcb->cc);
	bool fresh = tcb->ca < CA_RECOVERY;

	mark_timed_out(st, tcb);
	if (tcb->ca <= CA_DISORDER || !u32_lt((uint32_t)tcb->snd_una, tcb->high_seq) ||
	    (tcb->ca == CA_LOSS && !tcb->rtx_cnt)) {
		tcb->prior_ssthresh = tcp_current_ssthresh(tcb);
		tcb->prior_cwnd = tcb->cwnd;
		tcb->ssthresh = cc->ssthresh(st, tcb);
		if (cc->event)
			cc->event(st, tcb, CC_LOSS);
		init_undo(tcb);
	}
	tcb->cwnd = tcp_in_flight(tcb) + 1;
	tcb->cwnd_cnt = 0;
	tcb->cwnd_ms = tcp_ms(st);
	if (tcb->ca <= CA_DISORDER && tcb->sacked_out >= ld_rlx(&st->sys->tcp_reordering))
		tcb->reordering = (uint16_t)u32_min(tcb->reordering,
						    ld_rlx(&st->sys->tcp_reordering));
	tcp_set_ca(st, tcb, CA_LOSS);
	tcb->high_seq = (uint32_t)tcb->snd_nxt;
	tcb->tlp_out = 0;
	if (tcb->flags2 & T2_ECN)
		tcb->flags2 |= T2_ECN_CWR;
	tcb->flags &= ~TF_FRTO;
	if (ld_rlx(&st->sys->tcp_frto) && (fresh || tcb->rtx_cnt))
		tcb->flags |= TF_FRTO;
}

void tcp_simple_retransmit(struct stack *st, struct tcb *tcb)
{
	struct tcp_txr *r = txr_at(st, tcb->txq_head);
	uint32_t lost = tcb->lost_out;

	for (; r; r = txr_at(st, r->next)) {
		bool large = r->mss > tcb->mss && txr_data(r) > tcb->mss;

		if (r->flags & TXR_SACKED || !large)
			continue;
		tcp_mark_lost(st, tcb, r);
		txq_untime(st, tcb, r);
		txq_recut(tcb, r);
	}
	if (lost == tcb->lost_out)
		return;
	if (tcb->ca != CA_LOSS) {
		/* no sign of congestion: nothing is reduced, and nothing to take back */
		tcb->high_seq = (uint32_t)tcb->snd_nxt;
		tcb->ssthresh = tcp_current_ssthresh(tcb);
		tcb->prior_ssthresh = 0;
		tcb->undo_ok = 0;
		tcp_set_ca(st, tcb, CA_LOSS);
	}
	tcb->flags2 |= T2_RTX;
	tcp_due(st, tcb, DUE_TX);
}

/* RFC 5682 3.1: is the timeout spurious? Return: true when the state is decided. */
static bool frto(struct stack *st, struct tcb *tcb, const struct tcp_seg *seg, struct tcp_ack *a,
		 bool recovered)
{
	if (a->flag & FLAG_ORIG && try_undo_loss(st, tcb, seg, true))
		return true;
	if (u32_lt(tcb->high_seq, (uint32_t)tcb->snd_nxt)) {
		if (a->flag & FLAG_SACKED || a->dup)
			tcb->flags &= ~TF_FRTO;		/* step 3 a: it was real */
	} else if (a->flag & FLAG_UNA && !recovered) {
		tcb->high_seq = (uint32_t)tcb->snd_nxt;
		if (pos_lt(tcb->snd_nxt, tcb->snd_tail) && pos_lt(tcb->snd_nxt, tcb->snd_edge)) {
			a->rexmit = REXMIT_NEW;		/* step 2 b */
			return true;
		}
		tcb->flags &= ~TF_FRTO;
	}
	return false;
}

static void process_loss(struct stack *st, struct tcb *tcb, const struct tcp_seg *seg,
			 struct tcp_ack *a)
{
	bool recovered = !u32_lt((uint32_t)tcb->snd_una, tcb->high_seq);

	if (a->flag & FLAG_UNA && try_undo_loss(st, tcb, seg, false))
		return;
	if (tcb->flags & TF_FRTO && frto(st, tcb, seg, a, recovered))
		return;
	if (recovered) {
		try_undo_recovery(st, tcb, seg);
		return;
	}
	if (!(tcb->flags & TF_SACK)) {
		if (u32_lt(tcb->high_seq, (uint32_t)tcb->snd_nxt) && a->dup)
			add_reno_sack(st, tcb, a);
		else if (a->flag & FLAG_UNA)
			tcb->sacked_out = 0;
	}
	a->rexmit = REXMIT_LOST;
}

/* ---- the machine ---- */

/* RFC 2018 8: the head is SACKed though the ACK stops before it. It is given some time. */
static bool reneging(struct stack *st, struct tcb *tcb, struct tcp_ack *a)
{
	if (!(a->flag & FLAG_RENEG) || !(a->flag & FLAG_UNA))
		return false;
	tcp_rto_set(st, tcb, RTO_LOSS, u32_max(tcb->srtt8_us >> 7, 10000));
	a->flag &= ~FLAG_TIMER;
	return true;
}

/* high_seq is acknowledged: a reduction ends. Return: true when nothing more is to be done. */
static bool reached_high_seq(struct stack *st, struct tcb *tcb, const struct tcp_seg *seg)
{
	if (tcb->ca == CA_CWR && (uint32_t)tcb->snd_una != tcb->high_seq) {
		tcp_end_reduction(st, tcb);
		tcp_set_ca(st, tcb, CA_OPEN);
	} else if (tcb->ca == CA_RECOVERY) {
		if (!(tcb->flags & TF_SACK))
			tcb->sacked_out = 0;
		if (try_undo_recovery(st, tcb, seg))
			return true;
		tcp_end_reduction(st, tcb);
	}
	return false;
}

/* Return: true = no retransmission follows from this ACK. */
static bool in_recovery(struct stack *st, struct tcb *tcb, const struct tcp_seg *seg,
			struct tcp_ack *a)
{
	if (!(a->flag & FLAG_UNA)) {
		if (!(tcb->flags & TF_SACK))
			add_reno_sack(st, tcb, a);
	} else if (try_undo_partial(st, tcb, seg, a)) {
		return true;
	}
	if (try_undo_dsack(st, tcb))
		try_to_open(st, tcb, a->flag);
	identify_loss(st, tcb, a);
	if (tcb->ca != CA_RECOVERY) {
		if (!tcb->lost_out)
			return true;
		tcp_enter_recovery(st, tcb, a->ece);
	}
	return false;
}

/* Open, Disorder, CWR, and Loss that has just ended or lost a retransmission. */
static bool elsewhere(struct stack *st, struct tcb *tcb, struct tcp_ack *a)
{
	if (!(tcb->flags & TF_SACK)) {
		if (a->flag & FLAG_UNA)
			tcb->sacked_out = 0;
		add_reno_sack(st, tcb, a);
	}
	if (tcb->ca <= CA_DISORDER)
		try_undo_dsack(st, tcb);
	identify_loss(st, tcb, a);
	if (!tcb->lost_out) {
		try_to_open(st, tcb, a->flag);
		return true;
	}
	tcp_enter_recovery(st, tcb, a->ece);
	return false;
}

void tcp_alert(struct stack *st, struct tcb *tcb, const struct tcp_seg *seg, struct tcp_ack *a)
{
	if (!tcb->packets_out)
		tcb->sacked_out = 0;
	if (a->flag & FLAG_ECE)
		tcb->prior_ssthresh = 0;
	if (reneging(st, tcb, a))
		return;
	if (tcb->ca == CA_OPEN)
		tcb->retrans_ms = 0;
	else if (!u32_lt((uint32_t)tcb->snd_una, tcb->high_seq) && reached_high_seq(st, tcb, seg))
		return;
	if (tcb->ca == CA_RECOVERY) {
		if (in_recovery(st, tcb, seg, a))
			return;
	} else if (tcb->ca == CA_LOSS) {
		process_loss(st, tcb, seg, a);
		identify_loss(st, tcb, a);
		if (tcb->ca != CA_OPEN && !(a->flag & FLAG_LOST_RTX))
			return;
		if (elsewhere(st, tcb, a))
			return;
	} else if (elsewhere(st, tcb, a)) {
		return;
	}
	a->rexmit = REXMIT_LOST;
}
