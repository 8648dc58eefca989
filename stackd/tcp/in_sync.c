/* SPDX-License-Identifier: MIT */
/* tcp/in_sync.c - segment arrival in SYN_RECV and later: one function per step
 * Order:   header prediction; sequence (with PAWS); RST; SYN; ACK bit; ACK; URG; data; FIN
 * Spec:    RFC 9293 3.10.7.4, RFC 5961 3 and 4, RFC 7323 5; where Linux is laxer than the sequence
 *          check of the RFC (a closed window still takes ACKs), so are we
 * Holds:   a step that returns TCP_DONE or TCP_DROP may have freed the TCB
 */
#include <errno.h>

#include "stackd/tcp/tcp_int.h"

/* ---- first: sequence number ---- */

/* RFC 7323 5.3. A tick behind is forgiven, as Linux does: two queues may race. */
static bool paws_old(struct stack *st, const struct tcb *tcb, const struct tcp_seg *seg)
{
	return (tcb->flags & TF_TS) && seg->o.has_ts && tcb->ts_recent &&
	       (int32_t)(tcb->ts_recent - seg->o.tsval) > 1 &&
	       tcp_ms(st) - tcb->ts_recent_ms < TCP_PAWS_AGE_MS;
}

/* A pure ACK that two paths have swapped: a duplicate, changing no window, a retransmission timeout
 * old at most. It does no harm and is taken. */
static bool swapped_ack(const struct tcb *tcb, const struct tcp_seg *seg)
{
	uint64_t edge = seg->ack_pos + ((uint64_t)seg->wnd << tcb->snd_ws);
	uint32_t age = tcb->ts_recent - seg->o.tsval;

	return seg->pos == seg->end && seg->flags & TH_ACK && seg->pos == tcb->rcv_nxt &&
	       seg->ack_pos == tcb->snd_una && !u32_lt(tcb->snd_wl1, (uint32_t)seg->pos) &&
	       !pos_lt(tcb->snd_edge, edge) && seg->wnd && age <= tcb->rto_us / 1000 * 12 / 10;
}

/* Return: TCP_NEXT, or what is to be said to a segment with an old timestamp. */
static enum tcp_verdict step_paws(struct stack *st, struct tcb *tcb, struct tcp_seg *seg)
{
	if (!paws_old(st, tcb, seg) || seg->flags & TH_RST || swapped_ack(tcb, seg))
		return TCP_NEXT;
	seg->why = DROP_TCP_PAWS;
	if (seg->flags & TH_SYN)
		return TCP_DONE;		/* challenged */
	if (seg->pos == seg->end && seg->flags & TH_ACK && pos_lt(seg->pos, tcb->rcv_nxt)) {
		snmp_inc(st, SNMP_TcpExt_PAWSOldAck);
		return TCP_DROP;
	}
	snmp_inc(st, SNMP_TcpExt_PAWSEstab);
	return TCP_DONE;
}

/* A peer that has closed resets with the number of its FIN when it gets our data. */
static bool after_fin(const struct tcb *tcb, const struct tcp_seg *seg)
{
	return seg->pos + 1 == tcb->rcv_nxt &&
	       (tcb->state == SD_ST_CLOSE_WAIT || tcb->state == SD_ST_LAST_ACK ||
		tcb->state == SD_ST_CLOSING);
}

/* Answer to a segment outside the window: an ACK that says where we are. Data that lies wholly
 * below rcv_nxt is reported by D-SACK. */
static enum tcp_verdict out_of_window(struct stack *st, struct tcb *tcb, struct tcp_seg *seg)
{
	bool pure = seg->len == 0 && !(seg->flags & TH_FIN);

	if (seg->flags & TH_RST)
		return after_fin(tcb, seg) ? TCP_NEXT : TCP_DROP;
	if (seg->flags & TH_SYN) {
		tcp_send_challenge(st, tcb);
		snmp_inc(st, SNMP_TcpExt_TCPSYNChallenge);
		return TCP_DROP;
	}
	if (pure && tcp_oow_limited(st, &tcb->last_oow_ms))
		return TCP_DROP;
	if (seg->len && pos_lt(seg->pos, tcb->rcv_nxt)) {
		snmp_inc(st, SNMP_TcpExt_DelayedACKLost);
		tcp_dsack_note(st, tcb, seg->pos, pos_min(seg->end, tcb->rcv_nxt));
	}
	tcp_send_ack(st, tcb);
	return TCP_DROP;
}

/* Our SYN+ACK was lost. */
static enum tcp_verdict syn_again(struct stack *st, struct tcb *tcb)
{
	if (tcp_oow_limited(st, &tcb->last_oow_ms))
		return TCP_DONE;
	snmp_inc(st, SNMP_TcpExt_TCPSynRetrans);
	snmp_inc(st, SNMP_Tcp_RetransSegs);
	tcb->retrans++;
	tcp_send_syn(st, tcb);
	return TCP_DONE;
}

static enum tcp_verdict step_seq(struct stack *st, struct tcb *tcb, struct tcp_seg *seg)
{
	enum tcp_verdict v;

	if (tcb->state == SD_ST_SYN_RECV && seg->flags & TH_SYN && seg->pos + 1 == tcb->rcv_nxt) {
		if (!(seg->flags & TH_ACK))
			return syn_again(st, tcb);
		seg->flags &= ~TH_SYN;			/* simultaneous open */
		seg->pos++;
		tcp_dsack_note(st, tcb, tcb->rcv_nxt - 1, tcb->rcv_nxt);
		tcp_due(st, tcb, DUE_ACK);
	}
	v = step_paws(st, tcb, seg);
	if (v != TCP_NEXT)
		return v == TCP_DONE ? out_of_window(st, tcb, seg) : v;
	seg->why = DROP_TCP_SEQ;
	if (pos_lt(seg->end, tcb->rcv_wup) || pos_lt(pos_max(tcb->rcv_adv, tcb->rcv_nxt), seg->pos))
		return out_of_window(st, tcb, seg);
	return TCP_NEXT;
}

/* ---- second: RST; third would be security, which nobody has; fourth: SYN ---- */

/* RFC 5961 3.2; also the end of what was SACKed: the peer may have sent more than has come. */
static bool rst_exact(const struct tcb *tcb, const struct tcp_seg *seg)
{
	uint32_t high;

	if (seg->pos == tcb->rcv_nxt || after_fin(tcb, seg))
		return true;
	if (!tcb->sel_cnt)
		return false;
	high = tcb->sel[0][1];
	for (unsigned i = 1; i < tcb->sel_cnt; i++)
		high = u32_lt(high, tcb->sel[i][1]) ? tcb->sel[i][1] : high;
	return (uint32_t)seg->pos == high;
}

static enum tcp_verdict step_rst(struct stack *st, struct tcb *tcb, struct tcp_seg *seg)
{
	int err = ECONNRESET;

	if (!(seg->flags & TH_RST))
		return TCP_NEXT;
	if (!rst_exact(tcb, seg)) {
		tcp_send_challenge(st, tcb);	/* RFC 5961 3.2 */
		return TCP_DROP;
	}
	if (tcb->state == SD_ST_SYN_RECV)
		err = ECONNREFUSED;
	else if (tcb->state == SD_ST_CLOSE_WAIT)
		err = EPIPE;
	tcp_abort(st, tcb, err, false);
	return TCP_DONE;
}

static enum tcp_verdict step_syn(struct stack *st, struct tcb *tcb, struct tcp_seg *seg)
{
	if (!(seg->flags & TH_SYN))
		return TCP_NEXT;
	seg->why = DROP_TCP_FLAGS;
	if (tcb->flags & TF_EMBRYO) {
		tcp_reply_rst(st, seg, &tcb->t);	/* another one: neither is believed */
		tcp_abort(st, tcb, ECONNREFUSED, false);
		return TCP_DROP;
	}
	snmp_inc(st, SNMP_TcpExt_TCPSYNChallenge);
	tcp_send_challenge(st, tcb);		/* RFC 5961 4.2 */
	return TCP_DROP;
}

/* ---- fifth: ACK ---- */

/* TCP_DEFER_ACCEPT: an ACK without data does not complete the handshake while SYN+ACKs are left to
 * be sent; the last of them is answered like any other. */
static bool deferred(struct stack *st, struct tcb *tcb, const struct sock_listener *l,
		     const struct tcp_seg *seg)
{
	const struct sd_slot_p *sp = sock_slot_p(st, l->id);
	uint8_t tries = sp ? ld_rlx(&sp->opts.defer_accept_s) : 0;

	if (!tries || tcb->rtx_cnt >= tries || seg->len || seg->flags & TH_FIN)
		return false;
	tcb->probes = tries;		/* it is there: nothing is sent again until the last */
	snmp_inc(st, SNMP_TcpExt_TCPDeferAcceptDrop);
	return true;
}

/* The handshake of a passive open is complete: slot, accept queue. */
static enum tcp_verdict accept_conn(struct stack *st, struct tcb *tcb, struct tcp_seg *seg)
{
	uint32_t listener = tcb->holder;
	const struct sock_listener *l = arena_at(st->arena, AR_LISTENER, listener);
	uint32_t obj = OBJ(OBJ_TCB, tcb_idx(st, tcb));
	struct sock_id id;

	seg->why = DROP_TCP_BACKLOG;
	ASSERT(l);
	if (deferred(st, tcb, l, seg))
		return TCP_DROP;
	if (sock_accept_len(st, listener) > l->backlog)
		goto out_overflow;
	if (sock_slot_accept(st, l, &tcb->t, obj, &id))
		goto out_overflow;
	tcp_syn_queue_del(st, tcb);
	tcb->holder = sock_kid_add(st, l, &tcb->t);
	tcb->id = id;
	tcp_established(st, tcb, seg);
	if (sock_accept_push(st, listener, id)) {
		snmp_inc(st, SNMP_TcpExt_ListenOverflows);
		tcp_orphan(st, tcb);	/* nobody knows it yet: the slot goes with it */
		tcp_abort(st, tcb, ECONNABORTED, true);
		return TCP_DROP;
	}
	snmp_inc(st, SNMP_Tcp_PassiveOpens);
	return TCP_NEXT;
out_overflow:
	snmp_inc(st, SNMP_TcpExt_ListenOverflows);
	snmp_inc(st, SNMP_TcpExt_ListenDrops);
	if (ld_rlx(&st->sys->tcp_abort_on_overflow))
		tcp_abort(st, tcb, ECONNREFUSED, true);
	return TCP_DROP;
}

static enum tcp_verdict step_ack_syn_recv(struct stack *st, struct tcb *tcb, struct tcp_seg *seg)
{
	if (seg->ack_pos != tcb->snd_una) {
		tcp_reply_rst(st, seg, &tcb->t);
		seg->why = DROP_TCP_ACK;
		return TCP_DROP;
	}
	if (tcb->flags & TF_EMBRYO)
		return accept_conn(st, tcb, seg);
	tcp_established(st, tcb, seg);
	return TCP_NEXT;
}

/* What the acknowledgment of our FIN means. Return: TCP_DONE when the connection is over. */
static enum tcp_verdict step_fin_acked(struct stack *st, struct tcb *tcb)
{
	if (!tcp_fin_acked(tcb))
		return TCP_NEXT;
	switch (tcb->state) {
	case SD_ST_FIN_WAIT1:
		tcp_set_state(st, tcb, SD_ST_FIN_WAIT2);
		return TCP_NEXT;
	case SD_ST_CLOSING:
		tcp_to_timewait(st, tcb, SD_ST_TIME_WAIT);
		return TCP_DONE;
	case SD_ST_LAST_ACK:
		tcp_finish(st, tcb);
		return TCP_DONE;
	default:
		return TCP_NEXT;
	}
}

/* ---- sixth: URG ---- */

/* The mark only: the byte before it stays in the stream, the shim tells it apart. */
static void step_urg(struct stack *st, struct tcb *tcb, struct tcp_seg *seg)
{
	struct sd_slot_e *e = sock_slot_e(st, tcb->id);
	uint64_t mark = seg->pos + u32_max(seg->urg, 1);

	if (!e || tcb->flags & (TF_RCV_FIN | TF_ORPHAN) || pos_le(mark, tcb->rcv_nxt))
		return;
	if (e->flags & SD_E_URG && pos_le(mark, e->rx_urg))
		return;
	st_rel(&e->rx_urg, mark);
	or_sc(&e->flags, SD_E_URG);
	st->up->event(st, tcb->id, SD_EV_PRI);
}

/* ---- eighth: FIN ---- */

static enum tcp_verdict enter_timewait(struct stack *st, struct tcb *tcb)
{
	tcp_send_ack(st, tcb);
	tcp_to_timewait(st, tcb, SD_ST_TIME_WAIT);
	return TCP_DONE;
}

/* The peer's FIN is next in sequence. */
static enum tcp_verdict take_fin(struct stack *st, struct tcb *tcb)
{
	struct sd_slot_e *e = sock_slot_e(st, tcb->id);
	uint32_t ev = SD_EV_IN | SD_EV_RDHUP;

	tcb->flags = (tcb->flags | TF_RCV_FIN) & ~TF_FIN_SEEN;
	tcb->rcv_nxt++;
	tcp_ranges_put(st, &tcb->ooo);
	tcb->sel_cnt = 0;
	if (e)
		or_sc(&e->flags, SD_E_RCV_FIN);	/* pairs with the reader's ld_acq */
	if (tcb->flags & TF_FIN)
		ev |= SD_EV_HUP;
	switch (tcb->state) {
	case SD_ST_ESTABLISHED:
		tcb->flags |= TF_PINGPONG;	/* our FIN may carry the ACK */
		tcp_ack_sched(st, tcb);
		tcp_set_state(st, tcb, SD_ST_CLOSE_WAIT);
		break;
	case SD_ST_FIN_WAIT1:
		tcp_due(st, tcb, DUE_ACK);
		tcp_set_state(st, tcb, SD_ST_CLOSING);
		break;
	case SD_ST_FIN_WAIT2:
		return enter_timewait(st, tcb);
	default:
		break;
	}
	if (e && !(tcb->flags & TF_ORPHAN))
		st->up->event(st, tcb->id, ev);
	return TCP_NEXT;
}

static enum tcp_verdict step_fin(struct stack *st, struct tcb *tcb, struct tcp_seg *seg)
{
	if (!(tcb->flags & TF_FIN_SEEN) || tcb->rcv_fin != tcb->rcv_nxt)
		return TCP_NEXT;
	return take_fin(st, tcb);
}

/* ---- header prediction (SPEC T5) ---- */

/* The two common cases: the next data and nothing else new, or an ACK for new data and nothing
 * else. Everything the steps would look at is known to be unremarkable. */
static bool predicted(const struct tcb *tcb, const struct tcp_seg *seg)
{
	return tcb->state == SD_ST_ESTABLISHED && (seg->flags & ~TH_PSH) == TH_ACK &&
	       seg->pos == tcb->rcv_nxt && tcb->ca == CA_OPEN && !tcb->ooo &&
	       !seg->o.sack_cnt && !(tcb->flags & TF_FIN_SEEN) &&
	       pos_le(tcb->snd_una, seg->ack_pos) && pos_le(seg->ack_pos, tcb->snd_nxt) &&
	       (!(tcb->flags & TF_TS) ||
		(seg->o.has_ts && !u32_lt(seg->o.tsval, tcb->ts_recent)));
}

/* The next data, all inside the window we offered; nothing acknowledged, then the peer's window is
 * unchanged, or something new, as a request that acknowledges the answer before it. */
static bool predicted_data(const struct tcb *tcb, const struct tcp_seg *seg)
{
	if (!seg->len || !pos_le(seg->end, tcb->rcv_adv))
		return false;
	return seg->ack_pos != tcb->snd_una ||
	       seg->ack_pos + ((uint64_t)seg->wnd << tcb->snd_ws) == tcb->snd_edge;
}

static void predicted_ts(struct stack *st, struct tcb *tcb, const struct tcp_seg *seg)
{
	if (tcb->flags & TF_TS && pos_le(seg->pos, tcb->rcv_wup)) {
		tcb->ts_recent = seg->o.tsval;
		tcb->ts_recent_ms = tcp_ms(st);
	}
}

/* Return: TCP_NEXT when the segment must take the long way. */
static enum tcp_verdict fast_path(struct stack *st, struct tcb *tcb, struct tcp_seg *seg)
{
	if (!predicted(tcb, seg))
		return TCP_NEXT;
	if (!seg->len && seg->ack_pos != tcb->snd_una) {
		snmp_inc(st, SNMP_TcpExt_TCPHPAcks);
		predicted_ts(st, tcb, seg);
		return tcp_step_ack(st, tcb, seg) == TCP_NEXT ? TCP_DONE : TCP_DROP;
	}
	if (predicted_data(tcb, seg)) {
		snmp_inc(st, SNMP_TcpExt_TCPHPHits);
		predicted_ts(st, tcb, seg);
		tcb->last_rcv_ms = tcp_ms(st);
		tcb->probes = 0;
		if (seg->ack_pos != tcb->snd_una && tcp_step_ack(st, tcb, seg) != TCP_NEXT)
			return TCP_DROP;
		return tcp_data_in_order(st, tcb, seg) == TCP_NEXT ? TCP_DONE : TCP_DROP;
	}
	return TCP_NEXT;
}

/* ---- all of it ---- */

/* Steps that do not depend on the state being synchronised on both sides. */
static enum tcp_verdict checks(struct stack *st, struct tcb *tcb, struct tcp_seg *seg)
{
	enum tcp_verdict v = step_seq(st, tcb, seg);

	if (v == TCP_NEXT)
		v = step_rst(st, tcb, seg);
	if (v == TCP_NEXT)
		v = step_syn(st, tcb, seg);
	if (v == TCP_NEXT && !(seg->flags & TH_ACK)) {
		seg->why = DROP_TCP_FLAGS;
		v = TCP_DROP;
	}
	if (v == TCP_NEXT && tcb->state == SD_ST_SYN_RECV)
		v = step_ack_syn_recv(st, tcb, seg);
	return v;
}

/* An orphan whose FIN was acknowledged needs neither slot nor FIFO any more. */
static void after_steps(struct stack *st, struct tcb *tcb, const struct tcp_seg *seg)
{
	tcb_assert(st, tcb);
	if (tcb->state != SD_ST_FIN_WAIT2 || !(tcb->flags & TF_ORPHAN))
		return;
	if (tcb->linger2_s == SD_LINGER2_NONE) {
		snmp_inc(st, SNMP_TcpExt_TCPAbortOnData);
		tcp_reply_rst(st, seg, &tcb->t);
		tcp_abort(st, tcb, 0, false);
		return;
	}
	if (tcb->due & DUE_ACK)
		tcp_send_ack(st, tcb);
	tcp_to_timewait(st, tcb, SD_ST_FIN_WAIT2);
}

enum tcp_verdict tcp_in_sync(struct stack *st, struct tcb *tcb, struct tcp_seg *seg)
{
	uint32_t idx = tcb_idx(st, tcb);
	enum tcp_verdict v = fast_path(st, tcb, seg);

	if (v != TCP_NEXT)
		return v;
	v = checks(st, tcb, seg);
	if (v == TCP_NEXT)
		v = tcp_step_ack(st, tcb, seg);
	if (v == TCP_NEXT)
		v = step_fin_acked(st, tcb);
	if (v != TCP_NEXT)
		return v;
	if (seg->flags & TH_URG)
		step_urg(st, tcb, seg);
	v = tcp_step_data(st, tcb, seg);
	if (v == TCP_NEXT)
		v = step_fin(st, tcb, seg);
	if (tcb_at(st, idx))
		after_steps(st, tcb, seg);
	return v;
}
