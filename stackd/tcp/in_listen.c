/* SPDX-License-Identifier: MIT */
/* tcp/in_listen.c - SYNs for listeners, and the queue of connections that are not open yet
 * A SYN makes a TCB in SYN_RECV without a slot; the ACK that completes the handshake gives it one
 * (in_sync.c). Embryonic TCBs of a listener are linked so that they can go with it.
 * Spec:    RFC 9293 3.10.7.2; Linux's rules for full queues: drop the SYN, let the client try again
 * Limits:  backlog embryonic and backlog + 1 unaccepted connections per listener and worker
 */
#include <errno.h>

#include "stackd/tcp/tcp_int.h"

/* ---- the queue ---- */

void tcp_syn_queue_add(struct stack *st, struct tcb *tcb, uint32_t listener)
{
	struct tcp_state *ts = st->tcp;
	uint32_t idx = tcb_idx(st, tcb), head = ts->syn_head[listener];

	tcb->holder = listener;
	tcb->flags |= TF_EMBRYO;
	tcb->syn_prev = 0;
	tcb->syn_next = head;
	if (head)
		ts->tcb_base[head].syn_prev = idx;
	ts->syn_head[listener] = idx;
	ts->syn_cnt[listener]++;
}

void tcp_syn_queue_del(struct stack *st, struct tcb *tcb)
{
	struct tcp_state *ts = st->tcp;

	ASSERT(tcb->flags & TF_EMBRYO);
	if (tcb->syn_prev)
		ts->tcb_base[tcb->syn_prev].syn_next = tcb->syn_next;
	else
		ts->syn_head[tcb->holder] = tcb->syn_next;
	if (tcb->syn_next)
		ts->tcb_base[tcb->syn_next].syn_prev = tcb->syn_prev;
	ts->syn_cnt[tcb->holder]--;
	tcb->flags &= ~TF_EMBRYO;
	tcb->syn_next = tcb->syn_prev = 0;
}

void tcp_listen_up(struct stack *st, uint32_t listener)
{
	ASSERT(listener < st->tcp->listeners);
}

void tcp_listen_down(struct stack *st, uint32_t listener)
{
	struct tcp_state *ts = st->tcp;

	while (ts->syn_head[listener])
		tcp_abort(st, &ts->tcb_base[ts->syn_head[listener]], ECONNRESET, true);
}

/* ---- a SYN ---- */

static bool queues_full(struct stack *st, uint32_t listener, const struct sock_listener *l)
{
	if (sock_accept_len(st, listener) > l->backlog) {
		snmp_inc(st, SNMP_TcpExt_ListenOverflows);
		return true;
	}
	return st->tcp->syn_cnt[listener] >= u32_max(l->backlog, 1);
}

static void init_from_listener(struct stack *st, struct tcb *tcb, const struct sock_listener *l)
{
	struct sd_slot_p *sp = sock_slot_p(st, l->id);

	if (sp) {
		tcp_load_opts(st, tcb, sp);
		tcp_init_bufs(st, tcb, ld_rlx(&sp->opts.sndbuf), ld_rlx(&sp->opts.rcvbuf));
	} else {
		tcp_init_bufs(st, tcb, 0, 0);
	}
}

enum tcp_verdict tcp_in_listen(struct stack *st, uint32_t listener, struct tcp_seg *seg,
			       const struct sock_tuple *t, uint32_t iss_hint)
{
	const struct sock_listener *l = arena_at(st->arena, AR_LISTENER, listener);
	struct tcb *tcb;

	ASSERT(l);
	seg->why = DROP_TCP_BACKLOG;
	if (queues_full(st, listener, l))
		goto out_drop;
	seg->why = DROP_TCP_NO_MEM;
	tcb = tcb_alloc(st, t);
	if (!tcb)
		goto out_drop;
	tcb->flags |= TF_PASSIVE;
	init_from_listener(st, tcb, l);
	if (tcp_route(st, tcb)) {
		tcb_free(st, tcb);
		goto out_drop;
	}
	tcb->iss = iss_hint ? iss_hint : tcp_isn(st, t);
	tcb->ts_off = tcp_ts_offset(st, t);
	tcb->irs = seg->seq;
	tcp_window_init(st, tcb);
	tcp_negotiate(st, tcb, seg);
	tcp_set_state(st, tcb, SD_ST_SYN_RECV);
	tcp_syn_queue_add(st, tcb, listener);
	tcp_send_syn(st, tcb);
	tcp_rto_set(st, tcb, RTO_LOSS, tcb->rto_us);
	/* Payload of the SYN is not taken (no Fast Open): the peer sends it again. */
	return TCP_DONE;
out_drop:
	snmp_inc(st, SNMP_TcpExt_ListenDrops);
	return TCP_DROP;
}
