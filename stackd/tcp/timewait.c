/* SPDX-License-Identifier: MIT */
/* tcp/timewait.c - connections that are over for us but not for the network
 * An entry is a fourth of a TCB and needs neither slot nor FIFO. It also stands in for orphans in
 * FIN_WAIT2, which only wait for the peer's FIN.
 * Spec:    RFC 9293 3.10.7.4, 3.6.1 (new SYN); RFC 6191 (timestamps decide); RFC 1337
 * Limits:  60 s; AR_TW / workers entries, beyond them connections end without TIME_WAIT (counted)
 */
#include "stackd/tcp/tcp_int.h"

struct tcp_tw *tcp_tw_at(struct stack *st, uint32_t idx)
{
	struct tcp_tw *tw = arena_at(st->arena, AR_TW, idx);

	return tw && tw->substate != SD_ST_FREE ? tw : NULL;
}

/* The wait for the peer's FIN can be set, TIME_WAIT cannot, as on Linux. */
static uint64_t tw_us(struct stack *st, const struct tcp_tw *tw)
{
	if (tw->substate == SD_ST_TIME_WAIT)
		return TCP_TIMEWAIT_US;
	return 1000000ull * (tw->linger2_s ? tw->linger2_s : ld_rlx(&st->sys->tcp_fin_timeout));
}

static void rearm(struct stack *st, uint32_t idx, struct tcp_tw *tw)
{
	wheel_arm(st->wheel, OBJ(OBJ_TW, idx), &tw->tm, st->now_us + tw_us(st, tw));
}

void tcp_tw_let_go(struct stack *st, const struct tcp_tw *tw)
{
	if (tw->kid)
		sock_kid_del(st, tw->bound);
	else
		sock_bound_put(st, tw->bound);
}

bool tcp_tw_add(struct stack *st, const struct tcp_tw *from)
{
	uint32_t idx = 0, most = ld_rlx(&st->sys->tcp_max_tw_buckets) / st->workers;
	struct tcp_tw *tw;

	if (st->tcp->tws.used < most)
		idx = idx_alloc(&st->tcp->tws);
	if (!idx)
		return false;
	tw = arena_at(st->arena, AR_TW, idx);
	*tw = *from;
	if (sock_einsert(st, &tw->t, OBJ(OBJ_TW, idx))) {
		tw->substate = SD_ST_FREE;
		idx_free(&st->tcp->tws, idx);
		return false;
	}
	rearm(st, idx, tw);
	snmp_inc(st, SNMP_TcpExt_TW);
	return true;
}

void tcp_tw_free(struct stack *st, uint32_t idx)
{
	struct tcp_tw *tw = tcp_tw_at(st, idx);

	ASSERT(tw);
	wheel_cancel(st->wheel, OBJ(OBJ_TW, idx), &tw->tm);
	sock_eremove(st, &tw->t, OBJ(OBJ_TW, idx));
	tcp_tw_let_go(st, tw);
	tw->substate = SD_ST_FREE;
	idx_free(&st->tcp->tws, idx);
}

/* ---- segments ---- */

static void send_ack(struct stack *st, const struct tcp_tw *tw)
{
	struct tcp_raw r = {
		.t = tw->t, .seq = tw->snd_nxt, .ack = tw->rcv_nxt,
		.wnd = (uint16_t)u32_min(tw->rcv_wnd, 65535), .flags = TH_ACK, .tos = tw->tos,
		.has_ts = tw->has_ts, .tsval = tcp_ms(st) + tw->ts_off, .tsecr = tw->ts_recent,
	};

	tcp_send_raw(st, &r);
}

static bool paws_old(struct stack *st, const struct tcp_tw *tw, const struct tcp_seg *seg)
{
	return tw->has_ts && seg->o.has_ts && u32_lt(seg->o.tsval, tw->ts_recent) &&
	       tcp_ms(st) - tw->ts_recent_ms < TCP_PAWS_AGE_MS;
}

static void take_ts(struct stack *st, struct tcp_tw *tw, const struct tcp_seg *seg)
{
	if (!tw->has_ts || !seg->o.has_ts)
		return;
	tw->ts_recent = seg->o.tsval;
	tw->ts_recent_ms = tcp_ms(st);
}

static uint32_t seg_end(const struct tcp_seg *seg)
{
	return seg->seq + seg->len + !!(seg->flags & TH_SYN) + !!(seg->flags & TH_FIN);
}

static enum tcp_verdict drop(struct tcp_seg *seg, enum drop_reason why)
{
	seg->why = why;
	return TCP_DROP;
}

static enum tcp_verdict in_fin_wait2(struct stack *st, uint32_t idx, struct tcp_tw *tw,
				     struct tcp_seg *seg, bool old)
{
	uint32_t end = seg_end(seg), edge = tw->rcv_nxt + (tw->rcv_wnd << tw->rcv_ws);

	if (old || u32_lt(end, tw->rcv_nxt) || u32_lt(edge, seg->seq)) {
		if (!(seg->flags & TH_RST) && !tcp_oow_limited(st, &tw->last_oow_ms))
			send_ack(st, tw);
		return drop(seg, old ? DROP_TCP_PAWS : DROP_TCP_SEQ);
	}
	if (seg->flags & TH_RST) {
		if (seg->seq == tw->rcv_nxt)
			tcp_tw_free(st, idx);
		return TCP_DONE;
	}
	if (seg->flags & TH_SYN || !(seg->flags & TH_ACK) || !u32_lt(tw->rcv_nxt, end) ||
	    end == seg->seq)
		return drop(seg, DROP_TCP_STATE);
	if (!(seg->flags & TH_FIN) || end != tw->rcv_nxt + 1) {
		/* Data for a program that has closed. */
		snmp_inc(st, SNMP_TcpExt_TCPAbortOnData);
		tcp_reply_rst(st, seg, &tw->t);
		tcp_tw_free(st, idx);
		return drop(seg, DROP_TCP_CLOSED);
	}
	tw->substate = SD_ST_TIME_WAIT;
	tw->rcv_nxt = end;
	take_ts(st, tw, seg);
	rearm(st, idx, tw);
	send_ack(st, tw);
	return TCP_DONE;
}

/* RFC 9293 3.6.1: a SYN that cannot be an old one of the same connection. */
static bool new_incarnation(struct stack *st, const struct tcp_tw *tw, const struct tcp_seg *seg)
{
	if ((seg->flags & (TH_SYN | TH_ACK | TH_RST | TH_FIN)) != TH_SYN)
		return false;
	if (!u32_lt(tw->rcv_nxt, seg->seq) &&
	    !(tw->has_ts && seg->o.has_ts && u32_lt(tw->ts_recent, seg->o.tsval)))
		return false;
	return sock_llookup(st, IP_PROTO_TCP, &tw->t) != 0;
}

enum tcp_verdict tcp_tw_rx(struct stack *st, uint32_t idx, struct tcp_seg *seg, uint32_t *ret_iss)
{
	struct tcp_tw *tw = tcp_tw_at(st, idx);
	bool old;

	ASSERT(tw);
	old = paws_old(st, tw, seg);
	if (tw->substate == SD_ST_FIN_WAIT2)
		return in_fin_wait2(st, idx, tw, seg, old);
	if (!old && seg->seq == tw->rcv_nxt && (seg->flags & TH_RST || seg_end(seg) == seg->seq)) {
		if (seg->flags & TH_RST && !ld_rlx(&st->sys->tcp_rfc1337)) {
			tcp_tw_free(st, idx);
		} else {
			take_ts(st, tw, seg);
			rearm(st, idx, tw);
		}
		return TCP_DONE;
	}
	if (!old && new_incarnation(st, tw, seg)) {
		*ret_iss = tw->snd_nxt + 65535 + 2;
		if (!*ret_iss)
			*ret_iss = 1;
		tcp_tw_free(st, idx);
		return TCP_NEXT;
	}
	if (old)
		snmp_inc(st, SNMP_TcpExt_PAWSEstab);
	if (seg->flags & TH_RST)
		return drop(seg, DROP_TCP_SEQ);
	if (old || seg->flags & TH_ACK)
		rearm(st, idx, tw);
	if (!tcp_oow_limited(st, &tw->last_oow_ms))
		send_ack(st, tw);
	return drop(seg, DROP_TCP_OLD);
}

/* ---- reuse by connect() ---- */

static bool reusable(struct stack *st, const struct tcp_tw *tw)
{
	uint32_t age = TCP_TIMEWAIT_US / 1000 - (tw->tm.expires_tick - tcp_ms(st));

	return st->sys->tcp_tw_reuse == 1 && tw->substate == SD_ST_TIME_WAIT && tw->has_ts &&
	       age >= st->sys->tcp_tw_reuse_delay;
}

uint32_t tcp_tw_take(struct stack *st, const struct sock_tuple *t, bool named)
{
	uint32_t obj = sock_elookup(st, t), iss;
	struct tcp_tw *tw = OBJ_KIND(obj) == OBJ_TW ? tcp_tw_at(st, OBJ_IDX(obj)) : NULL;

	if (!tw || !(named || reusable(st, tw)))
		return 0;
	iss = tw->snd_nxt + 65535 + 2;
	tcp_tw_free(st, OBJ_IDX(obj));
	return iss ? iss : 1;
}

/* ---- timer ---- */

static struct wheel_node *tw_node(void *arg, uint32_t id)
{
	struct stack *st = arg;
	struct tcp_tw *tw = arena_at(st->arena, AR_TW, OBJ_IDX(id));

	ASSERT(tw);
	return &tw->tm;
}

static void tw_fire(void *arg, uint32_t id)
{
	struct stack *st = arg;

	tcp_intent(st, OBJ_TW, OBJ_IDX(id));
	tcp_tw_free(st, OBJ_IDX(id));
	tcp_intent(st, OBJ_NONE, 0);
}

void tcp_tw_init(struct stack *st)
{
	struct wheel_ops ops = { .node = tw_node, .fire = tw_fire, .arg = st };

	wheel_set_ops(st->wheel, OBJ_TW, &ops);
}

/* ---- adoption ---- */

/* An entry of a killed engine: what is left of its time. Return: false = another one has its
 * tuple. */
static bool tw_adopt(struct stack *st, uint32_t idx, struct tcp_tw *tw)
{
	uint32_t left = tw->tm.expires_tick - tcp_ms(st);

	if ((int32_t)left < 0)
		left = 0;
	if (left > TCP_TIMEWAIT_US / 1000)
		left = TCP_TIMEWAIT_US / 1000;
	tw->tm = (struct wheel_node){ 0 };
	if (sock_einsert(st, &tw->t, OBJ(OBJ_TW, idx)))
		return false;
	wheel_arm(st->wheel, OBJ(OBJ_TW, idx), &tw->tm, st->now_us + left * 1000ull);
	return true;
}

void tcp_tw_adopt(struct stack *st, struct stack *home)
{
	struct idx_pool *p = &st->tcp->tws;
	struct arena_iter it;
	struct tcp_tw *tw;
	uint32_t idx;

	arena_iter_init(&it, st->arena, AR_TW, p->first, p->first + p->cnt);
	while ((tw = arena_iter_next(&it, &idx))) {
		if (tw->substate == SD_ST_FREE)
			continue;
		if (!tw_adopt(st, idx, tw)) {
			tw->substate = SD_ST_FREE;
			continue;
		}
		idx_adopt(p, idx);
		if (tw->kid)
			tw->bound = sock_kid_adopt(st, home, &tw->t);
		else if (tw->bound && !sock_bound_claim(home, tw->bound))
			tw->bound = 0;
	}
}
