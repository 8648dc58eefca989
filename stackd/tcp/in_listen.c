/* SPDX-License-Identifier: MIT */
/* tcp/in_listen.c - SYNs for listeners, and the queue of connections that are not open yet
 * A SYN makes a TCB in SYN_RECV without a slot; the ACK that completes the handshake gives it one
 * (in_sync.c). Embryonic TCBs of a listener are linked so that they can go with it.
 * Spec:    RFC 9293 3.10.7.2; Linux's rules for full queues: accept queue: drop the SYN, let the
 *          client try again; SYN queue: a cookie (cookie.c); RFC 3168 6.1.1
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
		tcp_abort(st, &ts->tcb_base[ts->syn_head[listener]], ECONNRESET, false);
}

/* ---- a SYN ---- */

enum syn_fate { SYN_TAKE, SYN_COOKIE, SYN_DROP };

/* The accept queue full: dropped, the client tries again. The SYN queue full: a cookie, or else
 * dropped; without cookies the last quarter of tcp_max_syn_backlog is not filled by strangers. */
static enum syn_fate fate(struct stack *st, uint32_t listener, const struct sock_listener *l)
{
	uint32_t mode = ld_rlx(&st->sys->tcp_syncookies), cnt = st->tcp->syn_cnt[listener];
	uint32_t most = ld_rlx(&st->sys->tcp_max_syn_backlog);

	if (sock_accept_len(st, listener) > l->backlog) {
		snmp_inc(st, SNMP_TcpExt_ListenOverflows);
		return SYN_DROP;
	}
	if (mode == 2)
		return SYN_COOKIE;
	if (cnt >= u32_max(l->backlog, 1)) {
		snmp_inc(st, mode ? SNMP_TcpExt_TCPReqQFullDoCookies :
				    SNMP_TcpExt_TCPReqQFullDrop);
		return mode ? SYN_COOKIE : SYN_DROP;
	}
	return !mode && cnt >= most - most / 4 ? SYN_DROP : SYN_TAKE;
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

/* A connection in SYN_RECV as the SYN wants it. Return: -errno when there is no way back. */
static int set_up(struct stack *st, struct tcb *tcb, const struct sock_listener *l,
		  const struct tcp_seg *seg)
{
	int err;

	tcb->flags |= TF_PASSIVE;
	init_from_listener(st, tcb, l);
	err = tcp_route(st, tcb);
	if (err)
		return err;
	tcb->ts_off = tcp_ts_offset(st, &tcb->t);
	tcb->irs = seg->seq;
	tcp_negotiate(st, tcb, seg);
	tcp_window_init(st, tcb);
	if (tcp_ecn_wanted(st, tcb) && (seg->flags & (TH_ECE | TH_CWR)) == (TH_ECE | TH_CWR))
		tcb->flags2 |= T2_ECN;
	return 0;
}

/* SYN+ACK without a connection: the record lives on the stack, its number is the cookie. */
static enum tcp_verdict send_cookie(struct stack *st, const struct sock_listener *l,
				    struct tcp_seg *seg, const struct sock_tuple *t)
{
	struct tcb tmp = { .t = *t, .ttl = 0, .rcv_mss = TCP_MSS_UNKNOWN };
	struct tcp_seg s = *seg;

	if (!s.o.has_ts || !ld_rlx(&st->sys->tcp_timestamps)) {
		s.o.has_ws = s.o.sack_ok = false;	/* nowhere to remember them */
		s.flags &= (uint8_t)~(TH_ECE | TH_CWR);
	}
	if (set_up(st, &tmp, l, &s))
		return TCP_DROP;
	tmp.iss = cookie_make(st, t, seg->seq, tmp.mss_peer);
	tmp.state = SD_ST_SYN_RECV;
	if (tmp.flags & TF_TS)
		tmp.ts_off = cookie_ts(tcp_ms(st) + tmp.ts_off, &s.o, tmp.flags2 & T2_ECN) -
			     tcp_ms(st);
	tcp_send_syn(st, &tmp);
	snmp_inc(st, SNMP_TcpExt_SyncookiesSent);
	return TCP_DONE;
}

struct tcb *tcp_from_cookie(struct stack *st, uint32_t listener, const struct tcp_seg *seg,
			    const struct sock_tuple *t)
{
	const struct sock_listener *l = arena_at(st->arena, AR_LISTENER, listener);
	struct tcp_seg syn = { .seq = seg->seq - 1, .wnd = seg->wnd };
	struct tcb *tcb;

	if (!l || !cookie_check(st, t, syn.seq, seg->ack - 1, &syn.o.mss))
		return NULL;
	if (seg->o.has_ts) {
		syn.o.has_ts = true;
		syn.o.tsval = seg->o.tsval;
		if (cookie_options(seg->o.tsecr, &syn.o))
			syn.flags = TH_ECE | TH_CWR;
	}
	tcb = tcb_alloc(st, t);
	if (!tcb)
		return NULL;
	if (set_up(st, tcb, l, &syn)) {
		tcb_free(st, tcb);
		return NULL;
	}
	tcb->iss = seg->ack - 1;
	tcp_set_state(st, tcb, SD_ST_SYN_RECV);
	tcp_syn_queue_add(st, tcb, listener);
	tcp_rto_set(st, tcb, RTO_LOSS, tcb->rto_us);
	snmp_inc(st, SNMP_TcpExt_SyncookiesRecv);
	return tcb;
}

enum tcp_verdict tcp_in_listen(struct stack *st, uint32_t listener, struct tcp_seg *seg,
			       const struct sock_tuple *t, uint32_t iss_hint)
{
	const struct sock_listener *l = arena_at(st->arena, AR_LISTENER, listener);
	struct tcb *tcb;

	ASSERT(l);
	seg->why = DROP_TCP_BACKLOG;
	switch (fate(st, listener, l)) {
	case SYN_DROP:
		goto out_drop;
	case SYN_COOKIE:
		return send_cookie(st, l, seg, t);
	default:
		break;
	}
	seg->why = DROP_TCP_NO_MEM;
	tcb = tcb_alloc(st, t);
	if (!tcb)
		goto out_drop;
	if (set_up(st, tcb, l, seg)) {
		tcb_free(st, tcb);
		goto out_drop;
	}
	tcb->iss = iss_hint ? iss_hint : tcp_isn(st, t);
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
