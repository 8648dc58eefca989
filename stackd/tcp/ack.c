/* SPDX-License-Identifier: MIT */
/* tcp/ack.c - step 5 of segment arrival: ACK processing
 * In/Out:  seg (placed, in the window) -> snd_una, window, congestion state, room in the send FIFO
 * Order:   is it acceptable; what it says (window, SACK, records that are done with, round trip);
 *          what follows (recover.c, the congestion control); what is due to be sent
 * Spec:    RFC 9293 3.10.7.4; RFC 5961 5; RFC 7323 4.3; RFC 5681 3.2; RFC 8985; RFC 3168 6.1.2
 * Holds:   I1, I2 (tcb_assert); slot_e.tx_una only grows
 */
#include "stackd/tcp/tcp_int.h"

static void update_ts(struct stack *st, struct tcb *tcb, const struct tcp_seg *seg)
{
	if (!(tcb->flags & TF_TS) || !seg->o.has_ts || pos_lt(tcb->rcv_wup, seg->pos))
		return;
	if (u32_lt(seg->o.tsval, tcb->ts_recent) &&
	    tcp_ms(st) - tcb->ts_recent_ms < TCP_PAWS_AGE_MS)
		return;
	tcb->ts_recent = seg->o.tsval;
	tcb->ts_recent_ms = tcp_ms(st);
}

/* Return: true when the segment tells the peer's window anew. */
static bool update_window(struct stack *st, struct tcb *tcb, const struct tcp_seg *seg)
{
	uint32_t wnd = (uint32_t)seg->wnd << tcb->snd_ws;
	uint64_t edge = seg->ack_pos + wnd;

	if (!pos_lt(tcb->snd_una, seg->ack_pos) && !u32_lt(tcb->snd_wl1, (uint32_t)seg->pos) &&
	    !((uint32_t)seg->pos == tcb->snd_wl1 && (pos_lt(tcb->snd_edge, edge) || !wnd)))
		return false;
	tcb->snd_wl1 = (uint32_t)seg->pos;
	tcb->snd_edge = edge;
	tcp_note_wnd(st, tcb, wnd);
	return true;
}

static bool space_wanted(struct stack *st, const struct tcb *tcb, const struct sd_slot_p *sp)
{
	uint64_t tail = ld_acq(&sp->tx_tail), used = tail - tcp_data_una(tcb);
	uint32_t lowat = ld_rlx(&sp->opts.notsent_lowat);

	if (!lowat)
		lowat = ld_rlx(&st->sys->tcp_notsent_lowat);
	if (pos_span(tcb->snd_nxt, tail) >= lowat)
		return false;
	return used <= tcb->tx_limit && (tcb->tx_limit - used) >= tcb->tx_limit / 3;
}

/* The send buffer follows the congestion window: what is in flight twice over. */
static void snd_tune(struct stack *st, struct tcb *tcb, struct sd_slot_e *e)
{
	uint64_t want = 2ull * tcb->cwnd * tcb->mss;

	if (!(tcb->flags & TF_SND_TUNE) || want <= tcb->tx_limit)
		return;
	want = u64_min(u64_min(want, ld_rlx(&st->sys->tcp_wmem[2])), SD_FIFO_MAX / 2);
	if (want <= tcb->tx_limit)
		return;
	tcb->tx_limit = (uint32_t)want;
	st_rel(&e->tx_limit, tcb->tx_limit);
}

/* Pairs: xchg_sc(tx_una) / or_sc(NOSPACE) on the writer's side, each followed by a look
 * at the other. */
void tcp_tx_space(struct stack *st, struct tcb *tcb, struct sd_slot_e *e)
{
	struct sd_slot_p *sp = sock_slot_p(st, tcb->id);

	snd_tune(st, tcb, e);
	xchg_sc(&e->tx_una, tcp_data_una(tcb));
	if (!sp || tcb->flags & TF_ORPHAN || !(ld_sc(&sp->flags) & SD_P_NOSPACE))
		return;
	if (!space_wanted(st, tcb, sp))
		return;
	and_sc(&sp->flags, ~SD_P_NOSPACE);
	st->up->event(st, tcb->id, SD_EV_OUT);
}

/* ---- records that are done with ---- */

struct done {
	uint32_t segs;			/* acknowledged, SACKed before included */
	uint32_t sacked;		/* sacked_out before */
	uint32_t reord;			/* lowest one never SACKed nor sent again */
	uint64_t first_us, last_us;	/* when those were sent, the first and the last */
};

/* @segs of the record have been acknowledged. */
static void record_acked(struct stack *st, struct tcb *tcb, struct tcp_txr *r, uint32_t segs,
			 struct tcp_ack *a, struct done *d)
{
	if (r->flags & TXR_EVER) {
		a->flag |= FLAG_RTX_ACKED;
	} else if (!(r->flags & TXR_SACKED)) {
		d->last_us = r->sent_us;
		if (!d->first_us)
			d->first_us = r->sent_us;
		if (u32_lt((uint32_t)r->pos, d->reord))
			d->reord = (uint32_t)r->pos;
		if (!u32_lt(tcb->high_seq, (uint32_t)txr_end(r)))
			a->flag |= FLAG_ORIG;
	}
	if (!(r->flags & TXR_SACKED)) {
		if (tcb->flags & TF_SACK) {
			tcb->delivered += segs;
			if (a->ece)
				tcb->delivered_ce += segs;
			rack_advance(st, tcb, r);
		}
		rate_on_delivered(tcb, r, &a->rs);
	}
	d->segs += segs;
	a->flag |= FLAG_ACKED;
}

static void pop_acked(struct stack *st, struct tcb *tcb, struct tcp_ack *a, struct done *d)
{
	struct tcp_txr *r;

	while ((r = txr_at(st, tcb->txq_head)) && pos_lt(r->pos, tcb->snd_una)) {
		uint16_t was = r->segs;

		if (pos_lt(tcb->snd_una, txr_end(r))) {
			uint32_t before = tcb->packets_out;

			/* part of a segment: the rest of it still counts */
			txq_trim(st, tcb, r, tcb->snd_una);
			if (before != tcb->packets_out)
				record_acked(st, tcb, r, before - tcb->packets_out, a, d);
			else
				a->flag |= FLAG_ACKED;
			break;
		}
		record_acked(st, tcb, r, was, a, d);
		txq_remove(st, tcb, r);
	}
	if (r && r->flags & TXR_SACKED)
		a->flag |= FLAG_RENEG;
}

/* Round-trip time: of what was acknowledged and never sent again, else of what was SACKed, else the
 * timestamp's echo. Return: true when there was one. */
static bool take_rtt(struct stack *st, struct tcb *tcb, const struct tcp_seg *seg,
		     struct tcp_ack *a, const struct done *d)
{
	uint64_t seq_us = 0, ca_us = 0;

	if (d->first_us && !(a->flag & FLAG_RTX_ACKED)) {
		seq_us = st->now_us - d->first_us + 1;
		ca_us = st->now_us - d->last_us + 1;
		if (d->segs == 1 && tcb->snd_una - a->prior_una < tcb->mss && !d->sacked)
			a->flag |= FLAG_DELAYED;
	}
	if (a->first_sack_us) {
		ca_us = st->now_us - a->last_sack_us + 1;
		if (!seq_us)
			seq_us = st->now_us - a->first_sack_us + 1;
	}
	if (!seq_us && tcb->flags & TF_TS && seg->o.has_ts && seg->o.tsecr &&
	    a->flag & FLAG_ACKED) {
		uint32_t ms = tcp_ms(st) + tcb->ts_off - seg->o.tsecr;

		if (ms <= TCP_RTO_MAX_US / 1000)
			seq_us = ca_us = (ms ? ms : 1) * 1000ull + 1;
	}
	if (!seq_us)
		return false;
	a->rs.rtt_us = (uint32_t)u64_min(ca_us - 1, UINT32_MAX);
	tcp_rtt_min(st, tcb, a->rs.rtt_us, a->flag & FLAG_DELAYED);
	tcp_rtt_sample(st, tcb, (uint32_t)u64_min(seq_us - 1, UINT32_MAX));
	return true;
}

/* Without SACK, what is acknowledged had been counted as duplicates, save one segment. */
static void remove_reno_sacks(struct tcb *tcb, uint32_t segs, struct tcp_ack *a)
{
	if (segs > 0) {
		uint32_t fresh = u32_max(segs - u32_min(segs, tcb->sacked_out), 1);

		tcb->delivered += fresh;
		if (a->ece)
			tcb->delivered_ce += fresh;
		tcb->sacked_out = segs - 1 >= tcb->sacked_out ? 0 : tcb->sacked_out - (segs - 1);
	}
	if (tcb->sacked_out + u32_min(u32_max(tcb->lost_out, 1), tcb->packets_out) >
	    tcb->packets_out)
		tcb->sacked_out = tcb->packets_out -
				  u32_min(u32_max(tcb->lost_out, 1), tcb->packets_out);
	if (a->flag & FLAG_RTX_ACKED)
		a->flag &= ~FLAG_ORIG;
}

static void clean(struct stack *st, struct tcb *tcb, const struct tcp_seg *seg, struct tcp_ack *a)
{
	const struct tcp_cc *cc = tcp_cc_at(tcb->cc);
	struct done d = { .reord = (uint32_t)tcb->snd_nxt, .sacked = tcb->sacked_out };
	bool rtt;

	pop_acked(st, tcb, a, &d);
	rtt = take_rtt(st, tcb, seg, a, &d);
	if (a->flag & FLAG_ACKED) {
		a->flag |= FLAG_TIMER;
		if (!(tcb->flags & TF_SACK))
			remove_reno_sacks(tcb, d.segs, a);
		else if (u32_lt(d.reord, a->prior_fack))
			tcp_sack_reordering(st, tcb, d.reord, false);
	} else if (rtt && a->first_sack_us && tcb->txq_head &&
		   a->first_sack_us < txr_at(st, tcb->txq_head)->sent_us) {
		/* The sample is of data sent before the head was sent last. */
		a->flag |= FLAG_TIMER;
	}
	if (cc->pkts_acked) {
		struct tcp_cc_sample s = { d.segs, a->rs.rtt_us, a->rs.prior_in_flight };

		cc->pkts_acked(st, tcb, &s);
	}
}

/* ---- what follows ---- */

static bool dubious(const struct tcb *tcb, uint32_t flag)
{
	return !(flag & FLAG_NOT_DUP) || flag & (FLAG_SACKED | FLAG_ECE | FLAG_DSACK) ||
	       tcb->ca != CA_OPEN;
}

static void control(struct stack *st, struct tcb *tcb, struct tcp_ack *a)
{
	const struct tcp_cc *cc = tcp_cc_at(tcb->cc);
	uint32_t flag = a->flag;

	if (cc->control) {
		cc->control(st, tcb, &a->rs);
		return;
	}
	if (tcp_in_reduction(tcb)) {
		tcp_prr(tcb, a->rs.acked_sacked, a->rs.losses, flag);
	} else if (flag & (tcb->reordering > ld_rlx(&st->sys->tcp_reordering) ?
			   FLAG_FORWARD : FLAG_ACKED)) {
		cc->cong_avoid(st, tcb, a->rs.acked_sacked);
		tcb->cwnd_ms = tcp_ms(st);
	}
}

/* Something was outstanding. */
static void congestion(struct stack *st, struct tcb *tcb, const struct tcp_seg *seg,
		       struct tcp_ack *a, uint32_t prior_delivered, uint32_t prior_lost)
{
	const struct tcp_cc *cc = tcp_cc_at(tcb->cc);

	clean(st, tcb, seg, a);
	rack_update_window(st, tcb, &a->rs);
	if (cc->in_ack)
		cc->in_ack(st, tcb, tcb->snd_una - a->prior_una, a->ece);
	if (tcb->tlp_out)
		tlp_on_ack(st, tcb, seg, a->flag);
	if (dubious(tcb, a->flag)) {
		if (!(a->flag & (FLAG_UNA | FLAG_NOT_DUP | FLAG_DSACK)))
			a->dup = 1;
		tcp_alert(st, tcb, seg, a);
	}
	if (a->flag & FLAG_TIMER && !tlp_schedule(st, tcb, true))
		tcp_rto_rearm(st, tcb);
	snmp_add(st, SNMP_TcpExt_TCPDelivered, tcb->delivered - prior_delivered);
	if (a->ece)
		snmp_add(st, SNMP_TcpExt_TCPDeliveredCE, tcb->delivered - prior_delivered);
	a->rs.ack_delayed = a->flag & FLAG_DELAYED;
	rate_finish(st, tcb, tcb->delivered - prior_delivered, tcb->lost - prior_lost, &a->rs);
	control(st, tcb, a);
}

/* RFC 9293 3.8.6.1: the window has opened, or is still shut and goes on being probed. */
static void ack_probe(struct stack *st, struct tcb *tcb)
{
	uint64_t seg_end;

	if (!pos_lt(tcb->snd_nxt, tcb->snd_tail) || !tcb->dl[DL_PERSIST])
		return;
	seg_end = pos_min(tcb->snd_nxt + tcb->mss, tcb->snd_tail);
	if (pos_le(seg_end, tcb->snd_edge)) {
		tcb->backoff = 0;
		tcb->probe_ms = 0;
		tcp_rto_reset(st, tcb);
		tcp_dl_clear(tcb, DL_PERSIST);
		tcp_due(st, tcb, DUE_TX);	/* what may not go yet (cork) gets its timer */
	} else {
		tcp_dl_set(st, tcb, DL_PERSIST, tcp_probe_wait_us(tcb));
	}
}

/* Return: TCP_DROP when the number cannot be (RFC 5961 5), after a challenge. */
static enum tcp_verdict acceptable(struct stack *st, struct tcb *tcb, struct tcp_seg *seg)
{
	uint64_t window = u64_min(tcb->max_wnd, tcp_data_una(tcb) + 1);

	if (pos_le(seg->ack_pos, tcb->snd_nxt) && pos_le(tcb->snd_una, seg->ack_pos + window))
		return TCP_NEXT;
	tcp_send_challenge(st, tcb);
	seg->why = DROP_TCP_ACK;
	return TCP_DROP;
}

/* snd_una moves up to the segment's ACK. */
static void advance(struct stack *st, struct tcb *tcb, const struct tcp_seg *seg,
		    struct tcp_ack *a)
{
	struct sd_slot_e *e = sock_slot_e(st, tcb->id);

	tcb->snd_una = seg->ack_pos;
	tcb->rtx_cnt = 0;
	tcb->flags2 |= T2_CONFIRM;
	a->flag |= FLAG_UNA;
	if (e)
		tcp_tx_space(st, tcb, e);
}

static void what_next(struct stack *st, struct tcb *tcb, const struct tcp_ack *a)
{
	if (a->rexmit == REXMIT_LOST)
		tcb->flags2 |= T2_RTX;
	if (tcb->snd_una == tcb->snd_nxt)
		tcp_dl_set(st, tcb, DL_TRIM, TCP_TRIM_US);
	if (a->flag & ~FLAG_DATA || a->dup || a->rexmit)
		tcp_due(st, tcb, DUE_TX);
}

enum tcp_verdict tcp_step_ack(struct stack *st, struct tcb *tcb, struct tcp_seg *seg)
{
	uint32_t prior_delivered = tcb->delivered, prior_lost = tcb->lost;
	struct tcp_ack a = { .prior_una = tcb->snd_una, .reord = (uint32_t)tcb->snd_nxt,
			     .rs.prior_in_flight = tcp_in_flight(tcb),
			     .prior_fack = tcp_fack(tcb) };
	bool old, had_out = tcb->packets_out != 0;

	if (acceptable(st, tcb, seg) != TCP_NEXT)
		return TCP_DROP;
	old = pos_lt(seg->ack_pos, tcb->snd_una);
	a.ece = tcb->flags2 & T2_ECN && seg->flags & TH_ECE && !(seg->flags & TH_SYN);
	if (a.ece)
		a.flag |= FLAG_ECE;
	if (seg->len)
		a.flag |= FLAG_DATA;
	else if (seg->ack_pos == tcb->snd_una)
		snmp_inc(st, SNMP_TcpExt_TCPPureAcks);
	if (!old) {
		tcb->probes = 0;
		tcb->soft_err = 0;
		tcb->last_rcv_ms = tcp_ms(st);
		update_ts(st, tcb, seg);
		if (update_window(st, tcb, seg))
			a.flag |= FLAG_WIN;
		if (pos_lt(tcb->snd_una, seg->ack_pos))
			advance(st, tcb, seg, &a);
	}
	if (seg->o.sack_cnt && tcb->flags & TF_SACK)
		tcp_sack_rx(st, tcb, seg, &a);
	if (old) {
		/* Its SACK blocks may be news, its data, too. */
		if (seg->o.sack_cnt && had_out)
			congestion(st, tcb, seg, &a, prior_delivered, prior_lost);
	} else if (had_out) {
		congestion(st, tcb, seg, &a, prior_delivered, prior_lost);
	} else {
		if (a.flag & FLAG_DSACK)
			tcp_alert(st, tcb, seg, &a);
		ack_probe(st, tcb);
		if (tcb->tlp_out)
			tlp_on_ack(st, tcb, seg, a.flag);
	}
	what_next(st, tcb, &a);
	return TCP_NEXT;
}
