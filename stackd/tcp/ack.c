/* SPDX-License-Identifier: MIT */
/* tcp/ack.c - step 5 of segment arrival: ACK processing
 * In/Out:  seg (placed, in the window) -> snd_una, window, congestion state, room in the send FIFO
 * Spec:    RFC 9293 3.10.7.4; RFC 5961 5; RFC 7323 4.3; RFC 5681 3.2; RFC 6582; RFC 6675 5
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

/* What was sent into a window that was then taken back is gone: the peer has just opened it. */
static bool reopened(const struct tcb *tcb, const struct tcp_seg *seg, uint64_t edge)
{
	return pos_le(tcb->snd_edge, tcb->snd_una) && pos_lt(tcb->snd_una, edge) &&
	       seg->ack_pos == tcb->snd_una && tcb->snd_una != tcb->snd_nxt;
}

/* Return: true when the peer's window changed. */
static bool update_window(struct stack *st, struct tcb *tcb, const struct tcp_seg *seg)
{
	uint32_t wnd = (uint32_t)seg->wnd << tcb->snd_ws;
	uint64_t edge = seg->ack_pos + wnd;
	bool changed;

	if (!pos_lt(tcb->snd_una, seg->ack_pos) && !pos_lt(tcb->snd_wl1, seg->pos) &&
	    !(seg->pos == tcb->snd_wl1 && pos_lt(tcb->snd_edge, edge)))
		return false;
	changed = edge != tcb->snd_edge;
	if (reopened(tcb, seg, edge))
		tcp_enter_loss(st, tcb, false);
	tcb->snd_wl1 = seg->pos;
	tcb->snd_edge = edge;
	tcb->max_wnd = u32_max(tcb->max_wnd, wnd);
	if (pos_lt(tcb->snd_nxt, edge))
		tcb->persist_shift = 0;
	return changed;
}

/* Round-trip time: the timed segment if it was not sent again (Karn), else the timestamp echo. */
static void take_rtt(struct stack *st, struct tcb *tcb, const struct tcp_seg *seg)
{
	uint32_t ms;

	if (tcb->rtt_us && pos_le(tcb->rtt_pos, seg->ack_pos)) {
		tcp_rtt_sample(tcb, (uint32_t)u64_min(st->now_us - tcb->rtt_us, TCP_RTO_MAX_US));
		tcb->rtt_us = 0;
	} else if (!tcb->rtt_us && tcb->flags & TF_TS && seg->o.has_ts && seg->o.tsecr) {
		ms = tcp_ms(st) + tcb->ts_off - seg->o.tsecr;
		if (ms <= TCP_RTO_MAX_US / 1000)
			tcp_rtt_sample(tcb, ms * 1000);
	}
}

static bool space_wanted(const struct tcb *tcb, const struct sd_slot_p *sp)
{
	uint64_t tail = ld_acq(&sp->tx_tail), used = tail - tcp_data_una(tcb);

	return used <= tcb->tx_limit && (tcb->tx_limit - used) >= tcb->tx_limit / 3;
}

/* Pairs: xchg_sc(tx_una) / or_sc(NOSPACE) on the writer's side, each followed by a look
 * at the other. */
void tcp_tx_space(struct stack *st, struct tcb *tcb, struct sd_slot_e *e)
{
	struct sd_slot_p *sp = sock_slot_p(st, tcb->id);
	uint64_t want = 2ull * tcb->cwnd;

	if (tcb->flags & TF_SND_TUNE && want > tcb->tx_limit) {
		tcb->tx_limit = (uint32_t)u64_min(want, TCP_WMEM_MAX);
		st_rel(&e->tx_limit, tcb->tx_limit);
	}
	xchg_sc(&e->tx_una, tcp_data_una(tcb));
	if (!sp || tcb->flags & TF_ORPHAN || !(ld_sc(&sp->flags) & SD_P_NOSPACE))
		return;
	if (!space_wanted(tcb, sp))
		return;
	and_sc(&sp->flags, ~SD_P_NOSPACE);
	st->up->event(st, tcb->id, SD_EV_OUT);
}

/* snd_una moves up to the segment's ACK. */
static void ack_una(struct stack *st, struct tcb *tcb, struct tcp_seg *seg)
{
	struct tcp_ranges *sb = tcp_ranges_at(st, tcb->sb);
	struct sd_slot_e *e = sock_slot_e(st, tcb->id);

	take_rtt(st, tcb, seg);
	tcb->snd_una = seg->ack_pos;
	tcb->rtx_cnt = 0;
	if (sb) {
		tcp_ranges_trim(sb, tcb->snd_una);
		if (!sb->cnt)
			tcp_ranges_put(st, &tcb->sb);
	}
	tcb->high_rxt = pos_max(tcb->high_rxt, tcb->snd_una);
	tcb->lost_edge = pos_max(tcb->lost_edge, tcb->snd_una);
	if (tcb->snd_una == tcb->snd_nxt) {
		tcp_dl_clear(tcb, DL_RTO);
		tcb->stall_ms = 0;
		tcp_dl_set(st, tcb, DL_TRIM, TCP_TRIM_US);
	} else {
		tcp_dl_set(st, tcb, DL_RTO, tcp_rto(tcb));
		tcb->stall_ms = tcp_ms(st);
	}
	if (e)
		tcp_tx_space(st, tcb, e);
}

/* ---- congestion: what this ACK says about losses ---- */

static void leave_recovery(struct stack *st, struct tcb *tcb)
{
	if (tcb->ca == CA_RECOVERY)
		tcp_cc_at(tcb->cc)->on_recovery_exit(tcb);
	tcb->ca = CA_OPEN;
	tcb->dupacks = 0;
	tcb->flags &= ~(TF_RTX_HEAD | TF_RESCUED);
}

/* RFC 6582: each partial ACK shows the next hole; the segments acknowledged behind it had been
 * counted as duplicates. */
static void reno_partial(struct tcb *tcb, uint64_t acked)
{
	uint64_t segs = (acked + tcb->mss - 1) / tcb->mss;

	tcb->dupacks -= segs > 1 ? u64_min(segs - 1, tcb->dupacks) : 0;
	tcb->lost_edge = pos_max(tcb->lost_edge,
				 pos_min(tcb->snd_una + tcb->mss, tcb->snd_nxt));
	tcb->flags |= TF_RTX_HEAD;
}

static void in_recovery(struct stack *st, struct tcb *tcb, uint64_t acked)
{
	if (pos_le(tcb->recover, tcb->snd_una)) {
		leave_recovery(st, tcb);
		return;
	}
	if (tcb->flags & TF_SACK)
		tcb->lost_edge = pos_max(tcb->lost_edge, tcp_sack_lost_edge(st, tcb));
	else if (acked && tcb->ca == CA_RECOVERY)
		reno_partial(tcb, acked);
}

/* No loss known yet: is there one? */
static void in_open(struct stack *st, struct tcb *tcb, uint64_t acked)
{
	if (acked)
		tcb->dupacks = 0;
	if (tcb->flags & TF_SACK && pos_lt(tcb->snd_una, tcp_sack_lost_edge(st, tcb)))
		tcp_enter_recovery(st, tcb);
	else if (tcb->dupacks >= TCP_DUP_THRESH && pos_lt(tcb->recover, tcb->snd_una + 1))
		tcp_enter_recovery(st, tcb);
}

static void congestion(struct stack *st, struct tcb *tcb, uint64_t acked, uint64_t flight)
{
	if (acked && tcb->ca != CA_RECOVERY)
		tcp_cc_at(tcb->cc)->on_ack(tcb, (uint32_t)u64_min(acked, UINT32_MAX),
					   (uint32_t)u64_min(flight, UINT32_MAX), st->now_us);
	if (tcb->ca == CA_OPEN)
		in_open(st, tcb, acked);
	else
		in_recovery(st, tcb, acked);
}

/* RFC 5681 2: a duplicate ACK. With SACK it counts only when it reports something new. */
static bool is_dup(const struct tcb *tcb, const struct tcp_seg *seg, bool wnd_changed,
		   uint64_t sacked)
{
	if (seg->ack_pos != tcb->snd_una || tcb->snd_una == tcb->snd_nxt)
		return false;
	if (tcb->flags & TF_SACK)
		return sacked != 0;
	return !seg->len && !(seg->flags & TH_FIN) && !wnd_changed;
}

/* Return: TCP_DROP when the number cannot be (RFC 5961 5), after a challenge. */
static enum tcp_verdict acceptable(struct stack *st, struct tcb *tcb, struct tcp_seg *seg)
{
	if (pos_le(seg->ack_pos, tcb->snd_nxt) &&
	    pos_le(tcb->snd_una, seg->ack_pos + u32_max(tcb->max_wnd, 65535)))
		return TCP_NEXT;
	tcp_send_challenge(st, tcb);
	seg->why = DROP_TCP_ACK;
	return TCP_DROP;
}

enum tcp_verdict tcp_step_ack(struct stack *st, struct tcb *tcb, struct tcp_seg *seg)
{
	uint64_t flight = tcb->snd_nxt - tcb->snd_una, acked, sacked;
	bool wnd_changed;

	if (acceptable(st, tcb, seg) != TCP_NEXT)
		return TCP_DROP;
	tcb->probes = 0;
	tcb->soft_err = 0;
	tcb->last_rcv_ms = tcp_ms(st);
	update_ts(st, tcb, seg);
	sacked = tcp_sack_rx(st, tcb, seg);
	if (pos_lt(seg->ack_pos, tcb->snd_una))
		return TCP_NEXT;		/* old, but its data may be new */
	wnd_changed = update_window(st, tcb, seg);
	if (is_dup(tcb, seg, wnd_changed, sacked) && tcb->dupacks < UINT16_MAX)
		tcb->dupacks++;
	if (!seg->len && seg->ack_pos == tcb->snd_una)
		snmp_inc(st, SNMP_TcpExt_TCPPureAcks);
	acked = seg->ack_pos - tcb->snd_una;
	if (acked)
		ack_una(st, tcb, seg);
	if (flight)
		congestion(st, tcb, acked, flight);
	if (acked || sacked || wnd_changed || tcb->dupacks)
		tcp_due(st, tcb, DUE_TX);
	return TCP_NEXT;
}
