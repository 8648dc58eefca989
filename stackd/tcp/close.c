/* SPDX-License-Identifier: MIT */
/* tcp/close.c - how connections end, on either side's wish or without one
 * A connection may outlive its program (orphan: the slot stays because the send FIFO lies in it)
 * and a slot its connection (state CLOSE, obj 0, until the program closes it).
 * Spec:    RFC 9293 3.6, 3.10.4 to .6; RFC 2525 2.17 and Linux: closing with unread data resets
 * Holds:   tcp_abort, tcp_finish, tcp_to_timewait and tcp_close (when it aborts) free the TCB
 */
#include <errno.h>

#include "shm/fifo.h"
#include "stackd/tcp/tcp_int.h"

/* Facts about the socket, not about its connection. */
#define KEPT_FLAGS (SD_E_BOUND | SD_E_ADDR_LOCK | SD_E_PORT_LOCK | SD_E_CLOSED)

/* The program's view of a connection that is no more. @obj: what the slot is now. @flags: facts to
 * add; 0: the slot is as before connect(). */
static void tell_slot(struct stack *st, struct sock_id id, uint32_t obj, uint32_t flags, int err)
{
	struct sd_slot_e *e = sock_slot_e(st, id);
	uint32_t ev = SD_EV_IN | SD_EV_OUT | SD_EV_HUP | SD_EV_RDHUP;

	if (!e)
		return;
	/* The error first: who sees the end must find the reason. */
	if (err)
		sock_set_err(st, id, err, 0);
	if (flags)
		or_sc(&e->flags, flags);
	else
		and_sc(&e->flags, KEPT_FLAGS);
	if (!obj && !(e->flags & SD_E_PORT_LOCK))
		and_sc(&e->flags, ~SD_E_BOUND);
	st_rel(&e->state, SD_ST_CLOSE);
	st_rel(&e->obj, obj);		/* pairs with slot_owner() in app/cmd.c */
	if (obj)
		st_rel(&e->worker, 0);	/* AR_BOUND is worker 0's; where connect() is tried again */
	st->up->event(st, id, ev);
}

void tcp_orphan(struct stack *st, struct tcb *tcb)
{
	if (!(tcb->flags & TF_ORPHAN))
		st->tcp->orphans++;
	tcb->flags |= TF_ORPHAN;
}

/* Let go of slot, port and TCB. A port that bind() named stays the slot's, unless @tw: TIME_WAIT
 * takes it over. */
static void dissolve(struct stack *st, struct tcb *tcb, uint32_t flags, int err, bool tw)
{
	bool orphan = tcb->flags & TF_ORPHAN;
	bool kid = tcb->flags & TF_PASSIVE;
	uint32_t bound = kid ? 0 : tcb->holder;
	struct sock_id id = tcb->id;
	uint32_t obj = 0;

	if (kid && !tw && !(tcb->flags & TF_EMBRYO))
		sock_kid_del(st, tcb->holder);
	tcb->id.slot = 0;		/* the slot hears of it below, in its own order */
	tcb_free(st, tcb);
	if (bound && !tw && (orphan || !id.slot))
		sock_bound_put(st, bound);
	else if (bound && !tw && sock_bound_after(st, bound))
		obj = OBJ(OBJ_BOUND, bound);
	if (!id.slot)
		return;
	if (orphan)
		sock_slot_free(st, id);
	else
		tell_slot(st, id, obj, flags, err);
}

static void count_end(struct stack *st, const struct tcb *tcb)
{
	if (tcb->state == SD_ST_SYN_SENT || tcb->state == SD_ST_SYN_RECV)
		snmp_inc(st, SNMP_Tcp_AttemptFails);
	else if (tcb->state == SD_ST_ESTABLISHED || tcb->state == SD_ST_CLOSE_WAIT)
		snmp_inc(st, SNMP_Tcp_EstabResets);
}

void tcp_abort(struct stack *st, struct tcb *tcb, int err, bool rst)
{
	count_end(st, tcb);
	if (tcb->state == SD_ST_SYN_SENT) {
		/* Both directions count as shut until connect() is tried again, as on Linux. */
		dissolve(st, tcb, SD_E_SND_FIN | SD_E_RESET, err, false);
		return;
	}
	if (rst)
		tcp_send_rst(st, tcb);
	dissolve(st, tcb, SD_E_SND_FIN | SD_E_RESET, err, false);
}

void tcp_finish(struct stack *st, struct tcb *tcb)
{
	dissolve(st, tcb, SD_E_SND_FIN, 0, false);
}

/* What was received and not read goes, as on Linux; its chunks are this worker's, and the slot is
 * about to be another's. */
static void purge_rx(struct stack *st, const struct tcb *tcb)
{
	struct shm_fifo_mem mem = { .seg = stack_seg(st, tcb->id.seg),
				    .epool = &st->epools[tcb->id.seg] };
	struct sd_slot_e *e = sock_slot_e(st, tcb->id);

	if (!e || !mem.seg)
		return;
	shm_fifo_destroy(&mem, SD_FIFO_RX, &e->rx);
	st_rlx(&e->rx.freed, rcv_data_end(tcb));
}

void tcp_disconnect(struct stack *st, struct tcb *tcb)
{
	bool unsent = tcb->snd_nxt != tcb->snd_tail, done = false;

	purge_rx(st, tcb);
	/* as on Linux: an end that both sides have agreed upon is no reset */
	if (tcb->state == SD_ST_CLOSING || tcb->state == SD_ST_LAST_ACK)
		done = !unsent;
	if (!done && tcb->state != SD_ST_SYN_SENT)
		tcp_send_rst(st, tcb);
	dissolve(st, tcb, 0, done ? 0 : ECONNRESET, false);
}

void tcp_to_timewait(struct stack *st, struct tcb *tcb, uint8_t substate)
{
	struct tcp_tw tw = {
		.t = tcb->t, .bound = tcb->holder,
		.snd_nxt = snd_seq(tcb, tcb->snd_nxt), .rcv_nxt = rcv_seq(tcb, tcb->rcv_nxt),
		.rcv_wnd = (uint32_t)(pos_span(tcb->rcv_nxt, tcb->rcv_adv) >> tcb->rcv_ws),
		.ts_recent = tcb->ts_recent, .ts_recent_ms = tcb->ts_recent_ms,
		.rcv_ws = tcb->rcv_ws,
		.ts_off = tcb->ts_off, .last_oow_ms = tcb->last_oow_ms, .seg = tcb->id.seg,
		.substate = substate, .has_ts = !!(tcb->flags & TF_TS), .tos = tcb->tos,
		.kid = !!(tcb->flags & TF_PASSIVE), .linger2_s = tcb->linger2_s,
	};

	if (substate == SD_ST_TIME_WAIT)
		tcp_set_state(st, tcb, SD_ST_TIME_WAIT);
	dissolve(st, tcb, SD_E_SND_FIN | (substate == SD_ST_TIME_WAIT ? SD_E_RCV_FIN : 0), 0,
		 true);
	if (!tcp_tw_add(st, &tw)) {
		snmp_inc(st, SNMP_TcpExt_TCPTimeWaitOverflow);
		tcp_tw_let_go(st, &tw);
	}
}

/* No more data from the program: a FIN follows what is in the FIFO. */
void tcp_queue_fin(struct stack *st, struct tcb *tcb)
{
	struct sd_slot_e *e = sock_slot_e(st, tcb->id);

	if (tcb->flags & TF_FIN)
		return;
	tcp_tx_pull(st, tcb);
	tcb->flags |= TF_FIN;
	if (e)
		or_sc(&e->flags, SD_E_SND_FIN);
	if (tcb->state == SD_ST_SYN_RECV)
		return;			/* the SYN is not acknowledged yet: tcp_established() */
	if (tcb->state == SD_ST_CLOSE_WAIT)
		tcp_set_state(st, tcb, SD_ST_LAST_ACK);
	else
		tcp_set_state(st, tcb, SD_ST_FIN_WAIT1);
	tcp_due(st, tcb, DUE_TX);
}

/* Does closing now lose something of the peer's, or does the program want a reset? */
static bool close_resets(struct stack *st, struct tcb *tcb)
{
	struct sd_slot_p *sp = sock_slot_p(st, tcb->id);

	tcp_rx_consume(st, tcb);
	if (rcv_data_end(tcb) != tcb->rcv_head) {
		snmp_inc(st, SNMP_TcpExt_TCPAbortOnClose);
		return true;
	}
	if (sp && ld_rlx(&sp->opts.linger_on) && !ld_rlx(&sp->opts.linger_s)) {
		snmp_inc(st, SNMP_TcpExt_TCPAbortOnData);
		return true;
	}
	return false;
}

static bool too_many_orphans(struct stack *st)
{
	if (st->tcp->orphans <= ld_rlx(&st->sys->tcp_max_orphans) / st->workers)
		return false;
	snmp_inc(st, SNMP_TcpExt_TCPAbortOnMemory);
	return true;
}

/* Before a reset by close(): send what write() would have put on the wire at once on Linux, as far
 * as the windows allow. The program may write and close before we look: its last answer must
 * not depend on when we do. */
static void last_words(struct stack *st, struct tcb *tcb)
{
	tcb->flags |= TF_LAST_WORDS;
	if (!(tcb->flags & TF_HOSTILE) && tcp_tx_pull(st, tcb))
		tcp_output(st, tcb);
}

void tcp_close(struct stack *st, struct tcb *tcb)
{
	tcp_orphan(st, tcb);
	switch (tcb->state) {
	case SD_ST_SYN_SENT:
		tcp_abort(st, tcb, 0, false);
		return;
	case SD_ST_SYN_RECV:
	case SD_ST_ESTABLISHED:
	case SD_ST_CLOSE_WAIT:
	case SD_ST_FIN_WAIT1:
	case SD_ST_FIN_WAIT2:
	case SD_ST_CLOSING:
	case SD_ST_LAST_ACK:
		break;
	default:
		ASSERT(!"close in this state");
	}
	if (close_resets(st, tcb) || tcb->flags & TF_HOSTILE || too_many_orphans(st)) {
		last_words(st, tcb);
		tcp_abort(st, tcb, 0, true);
		return;
	}
	if (tcb->state == SD_ST_FIN_WAIT2 && tcb->linger2_s == SD_LINGER2_NONE) {
		snmp_inc(st, SNMP_TcpExt_TCPAbortOnLinger);
		tcp_abort(st, tcb, 0, true);
		return;
	}
	if (tcb->state == SD_ST_FIN_WAIT2) {
		tcp_to_timewait(st, tcb, SD_ST_FIN_WAIT2);
		return;
	}
	if (!(tcb->flags & TF_FIN))
		tcp_queue_fin(st, tcb);
}
