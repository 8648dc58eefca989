/* SPDX-License-Identifier: MIT */
/* tcp/adopt.c - connections of an engine that was killed go on
 * The TCBs are what is true, save where the program has been told more: what is published in the
 * slot (rx_tail, the FIN) was said, what is not was not acknowledged either, because publication
 * comes first. So the receiving side goes back to what is published, the sending side takes
 * everything outstanding for lost, out-of-order data and SACK ranges are forgotten (the peer keeps
 * what it has not seen acknowledged), timers are armed anew. A step of the state machine that had
 * set its flag but not yet the state is completed. The tables, lists and pools are made from the
 * TCBs. Holds: A1 a TCB goes on only when slot and TCB name each other and sane() finds I1, I3
 * hold; else the
 *             connection is reset
 * Threads: one, for all workers, before any of them runs
 */
#include <errno.h>

#include "stackd/tcp/tcp_int.h"

bool tcp_tcb_is(struct stack *st, uint32_t idx, struct sock_id id)
{
	const struct tcb *tcb = tcb_at(st, idx);

	return tcb && tcb->id.seg == id.seg && tcb->id.slot == id.slot && tcb->id.gen == id.gen;
}

bool tcp_tcb_orphan(struct stack *st, uint32_t idx)
{
	const struct tcb *tcb = tcb_at(st, idx);

	return tcb && tcb->flags & TF_ORPHAN;
}

bool tcp_tcb_tuple(struct stack *st, uint32_t idx, struct sock_tuple *ret)
{
	const struct tcb *tcb = tcb_at(st, idx);

	if (tcb)
		*ret = tcb->t;
	return tcb;
}

void tcp_adopt_quarantine(struct stack *st, uint32_t idx)
{
	struct tcb *tcb = tcb_at(st, idx);

	if (tcb)
		tcb->flags |= TF_RESET;
}

/* ---- which ones ---- */

static bool state_adoptable(uint8_t state)
{
	switch (state) {
	case SD_ST_SYN_SENT:
	case SD_ST_SYN_RECV:
	case SD_ST_ESTABLISHED:
	case SD_ST_FIN_WAIT1:
	case SD_ST_FIN_WAIT2:
	case SD_ST_CLOSE_WAIT:
	case SD_ST_CLOSING:
	case SD_ST_LAST_ACK:
		return true;
	default:
		return false;
	}
}

/* Do slot and TCB, or queue and TCB, name each other? */
static bool belongs(struct stack *st, uint32_t idx, const struct tcb *tcb)
{
	const struct sock_listener *l;
	const struct sd_slot_e *e;

	if (!tcb->id.slot) {
		l = arena_at(st->arena, AR_LISTENER, tcb->holder);
		return tcb->flags & TF_EMBRYO && tcb->state == SD_ST_SYN_RECV && l &&
		       l->live != SOCK_L_FREE;
	}
	e = sock_slot_e(st, tcb->id);
	return e && e->obj == OBJ(OBJ_TCB, idx) && !(tcb->flags & TF_EMBRYO);
}

static bool sane(const struct tcb *tcb)
{
	return pos_le(tcb->snd_una, tcb->snd_nxt) &&
	       pos_le(tcb->snd_nxt, tcb->snd_tail + !!(tcb->flags & TF_FIN)) &&
	       pos_le(tcb->rcv_nxt, tcb->rcv_adv + 1) && pos_le(tcb->rcv_head, tcb->rcv_nxt) &&
	       tcb->mss && tcb->mtu >= TCP_HDRS && tcb->snd_nxt - tcb->snd_una <= SD_FIFO_MAX + 1 &&
	       tcb->rto_us;
}

/* ---- what it was doing ---- */

/* Flags that a step sets before the state: finish the step, or take it back. */
static void settle_fins(struct stack *st, struct tcb *tcb)
{
	if (tcb->flags & TF_FIN && tcb->state == SD_ST_ESTABLISHED)
		tcp_set_state(st, tcb, SD_ST_FIN_WAIT1);
	else if (tcb->flags & TF_FIN && tcb->state == SD_ST_CLOSE_WAIT)
		tcp_set_state(st, tcb, SD_ST_LAST_ACK);
	if (tcb->state == SD_ST_ESTABLISHED || tcb->state == SD_ST_FIN_WAIT1 ||
	    tcb->state == SD_ST_FIN_WAIT2)
		tcb->flags &= ~TF_RCV_FIN;	/* not acknowledged: it comes again */
	else
		tcb->flags |= TF_RCV_FIN;
	tcb->flags &= ~TF_FIN_SEEN;
}

/* Back to what is published. */
static void settle_receive(struct stack *st, struct tcb *tcb)
{
	const struct sd_slot_e *e = sock_slot_e(st, tcb->id);

	tcb->rcv_high = pos_max(tcb->rcv_high, tcb->rcv_nxt);
	/* rx_tail counts the FIN not; a publication that lacks is one that was not acknowledged. */
	if (e && pos_le(tcb->rcv_head, e->rx_tail) && pos_le(e->rx_tail, tcb->rcv_nxt))
		tcb->rcv_nxt = e->rx_tail + !!(tcb->flags & TF_RCV_FIN);
	tcb->rcv_wup = pos_min(tcb->rcv_wup, tcb->rcv_nxt);
}

static void settle_send(struct stack *st, struct tcb *tcb)
{
	tcb->flags &= ~(TF_DSACK | TF_PUSH_NOW | TF_FRTO | TF_TLP_RTX);
	tcb->flags2 &= ~(T2_RACK_ADV | T2_RACK_DSACK | T2_RENEG);
	tcb->tlp_out = tcb->undo_ok = 0;
	tcb->app_limited = 0;
	tcp_cc_switch(st, tcb, tcb->cc);
	if (!txq_all_lost(st, tcb))
		tcb->flags |= TF_RESET;
	tcb->high_seq = tcb->usage_seq = (uint32_t)tcb->snd_nxt;
	tcb->ca = tcb->packets_out ? CA_LOSS : CA_OPEN;
	if (!tcb->packets_out)
		return;
	tcb->flags2 |= T2_RTX;
	tcb->rto_kind = RTO_LOSS;
	if (!tcb->dl[DL_RTO])
		tcp_rto_set(st, tcb, RTO_LOSS, tcb->rto_us);
}

static bool synchronized(const struct tcb *tcb)
{
	return tcb->state != SD_ST_SYN_SENT && tcb->state != SD_ST_SYN_RECV;
}

/* Nothing of a list, table or wheel of the engine that is gone. */
static void forget_links(struct tcb *tcb)
{
	tcb->tm = (struct wheel_node){ 0 };
	tcb->dirty_next = tcb->dirty_prev = 0;
	tcb->due = 0;
	tcb->ooo = 0;
	tcb->sel_cnt = 0;
	tcb->txq_head = tcb->txq_tail = tcb->ts_head = tcb->ts_tail = 0;
	tcb->rtx_hint = tcb->sack_hint = 0;
	tcb->packets_out = tcb->sacked_out = tcb->lost_out = tcb->retrans_out = 0;
	tcb->flags &= ~(TF_HASHED | TF_RESET);
}

/* Return: false when the record is free now. */
static bool adopt_one(struct stack *st, struct stack *home, uint32_t idx, struct tcb *tcb)
{
	bool embryo = tcb->flags & TF_EMBRYO;

	forget_links(tcb);
	if (!state_adoptable(tcb->state) || !belongs(st, idx, tcb) ||
	    sock_einsert(st, &tcb->t, OBJ(OBJ_TCB, idx))) {
		tcb->state = SD_ST_FREE;
		return false;
	}
	tcb->flags |= TF_HASHED;
	st->tcp->orphans += !!(tcb->flags & TF_ORPHAN);
	idx_adopt(&st->tcp->tcbs, idx);
	if (embryo)
		tcp_syn_queue_add(st, tcb, tcb->holder);
	else if (tcb->flags & TF_PASSIVE)
		tcb->holder = sock_kid_adopt(st, home, &tcb->t);
	else if (tcb->holder && !sock_bound_claim(home, tcb->holder))
		tcb->holder = 0;
	if (!sane(tcb)) {
		tcb->flags |= TF_RESET;
		return true;
	}
	if (synchronized(tcb)) {
		settle_fins(st, tcb);
		settle_receive(st, tcb);
		settle_send(st, tcb);
	} else if (!tcb->dl[DL_RTO]) {
		tcp_rto_set(st, tcb, RTO_LOSS, tcb->rto_us);
	}
	tcp_timers_adopt(st, tcb);
	return true;
}

void tcp_adopt(struct stack *st, struct stack *home)
{
	struct idx_pool *p = &st->tcp->tcbs;
	struct arena_iter it;
	struct tcb *tcb;
	uint32_t idx;
	uint64_t estab = 0;

	arena_iter_init(&it, st->arena, AR_TCB, p->first, p->first + p->cnt);
	while ((tcb = arena_iter_next(&it, &idx))) {
		if (tcb->state == SD_ST_FREE || !adopt_one(st, home, idx, tcb))
			continue;
		estab += tcb->state == SD_ST_ESTABLISHED || tcb->state == SD_ST_CLOSE_WAIT;
	}
	st->cnt->snmp[SNMP_Tcp_CurrEstab] = estab;
	tcp_tw_adopt(st, home);
}

/* ---- go on ---- */

/* The acknowledgment of our FIN had been taken, what follows from it had not. Return: false = it
 * ended. */
static bool finish_close(struct stack *st, struct tcb *tcb)
{
	if (tcp_fin_acked(tcb) && tcb->state == SD_ST_FIN_WAIT1)
		tcp_set_state(st, tcb, SD_ST_FIN_WAIT2);
	if (tcb->state == SD_ST_FIN_WAIT2 && tcb->flags & TF_ORPHAN) {
		tcp_to_timewait(st, tcb, SD_ST_FIN_WAIT2);
		return false;
	}
	if (tcp_fin_acked(tcb) && tcb->state == SD_ST_CLOSING) {
		tcp_to_timewait(st, tcb, SD_ST_TIME_WAIT);
		return false;
	}
	if (tcp_fin_acked(tcb) && tcb->state == SD_ST_LAST_ACK) {
		tcp_finish(st, tcb);
		return false;
	}
	return true;
}

static void go_on(struct stack *st, struct tcb *tcb)
{
	struct sd_slot_e *e = sock_slot_e(st, tcb->id);

	if (tcb->flags & TF_RESET) {
		tcp_abort(st, tcb, ECONNRESET, synchronized(tcb));
		return;
	}
	if (tcb->flags & TF_ORPHAN && !(tcb->flags & TF_FIN)) {
		tcp_close(st, tcb);		/* close() had only begun */
		return;
	}
	if (!synchronized(tcb) || !e)
		return;
	if (!finish_close(st, tcb))
		return;
	st_rel(&e->state, tcb->state);
	tcp_tx_pull(st, tcb);
	tcp_tx_space(st, tcb, e);
	tcp_due(st, tcb, DUE_TX | (tcb->rcv_wup != tcb->rcv_nxt ? DUE_ACK : 0));
}

void tcp_adopt_finish(struct stack *st)
{
	struct idx_pool *p = &st->tcp->tcbs;
	uint32_t end = p->bump;

	for (uint32_t i = p->first; i < end; i++) {
		struct tcb *tcb = tcb_at(st, i);

		if (tcb)
			go_on(st, tcb);
	}
}
