/* SPDX-License-Identifier: MIT */
/* sock/listen.c - listeners: replication, accept rings, the end
 *
 * listen() on worker 0 makes the AR_LISTENER record, takes one accept ring per worker from the
 * segment and sends LISTEN_ADD to everybody; each worker enters its replica and answers; the
 * program gets its answer when all have: from then on a SYN to any queue is served. Close and
 * shutdown go the same way with LISTEN_DEL: each worker takes its replica out, lets the transport
 * abort its embryonic connections and resets what waits in its accept ring; after the last answer
 * record, rings and slot are free. Messages are in order per pair, so a worker has always answered
 * ADD before DEL arrives, and counting answers needs no more than their number: `workers` for up,
 * twice that for gone.
 * Holds:   LI1 a listener's record stays until every worker has answered DEL
 *          LI2 only the owning worker pushes to or takes back from its ring
 * Threads: worker 0 decides; replicas, rings and the calls to the transport on each worker
 */
#include "stackd/sock/sock_int.h"

static struct sock_listener *listener_at(struct stack *st, uint32_t idx)
{
	struct sock_listener *l = arena_at(st->arena, AR_LISTENER, idx);

	return l && l->live != SOCK_L_FREE ? l : NULL;
}

/* ---- accept rings of a segment ---- */

/* @cnt neighbouring free rings. Return: the first, or -1. */
static int rings_alloc(struct stack *st, uint16_t seg_id, uint32_t cnt)
{
	uint64_t *used = st->sock->rings_used[seg_id], *dirty = st->sock->rings_dirty[seg_id];
	struct shm_seg *seg = stack_seg(st, seg_id);
	uint32_t base, i;

	for (base = 0; base + cnt <= SD_MAX_ACCEPTS; base += i + 1) {
		for (i = 0; i < cnt && !(used[(base + i) / 64] >> (base + i) % 64 & 1); i++)
			;
		if (i == cnt)
			break;
	}
	if (base + cnt > SD_MAX_ACCEPTS)
		return -1;
	for (i = base; i < base + cnt; i++) {
		struct shm_accept_prod none;

		if (dirty[i / 64] >> i % 64 & 1)
			shm_accept_reset(shm_accept_ring(seg, i), &none);
		used[i / 64] |= 1ull << i % 64;
		dirty[i / 64] |= 1ull << i % 64;
	}
	return (int)base;
}

static void rings_free(struct stack *st, uint16_t seg, uint32_t base, uint32_t cnt)
{
	for (uint32_t i = base; i < base + cnt; i++)
		st->sock->rings_used[seg][i / 64] &= ~(1ull << i % 64);
}

bool sock_accept_ring_used(const struct stack *st, uint16_t seg, uint32_t ring)
{
	return st->sock->rings_used[seg][ring / 64] >> ring % 64 & 1;
}

void sock_seg_gone(struct stack *st, uint16_t seg)
{
	memset(st->sock->rings_used[seg], 0, sizeof(st->sock->rings_used[seg]));
	memset(st->sock->rings_dirty[seg], 0, sizeof(st->sock->rings_dirty[seg]));
	btab_seg_gone(st, seg);
}

/* ---- worker 0: up ---- */

static void tell_all(struct stack *st, uint16_t kind, uint32_t listener)
{
	for (uint16_t w = 0; w < st->workers; w++) {
		struct stack_msg m = { .kind = kind, .u32[0] = listener };

		sock_send(st, w, &m);
	}
}

static uint32_t clamp_backlog(struct stack *st, uint32_t backlog)
{
	uint32_t most = ld_rlx(&st->sys->somaxconn);

	most = most < SOCK_SOMAXCONN ? most : SOCK_SOMAXCONN;	/* entries of a ring */
	return backlog > most ? most : backlog;
}

static int listener_make(struct stack *st, const struct sock_cmd *c, uint32_t bound,
			 struct sd_slot_e *e)
{
	struct sock_bound *b = bound_at(st, bound);
	uint32_t idx = idx_alloc(&st->sock->listeners);
	struct sock_listener *l = arena_at(st->arena, AR_LISTENER, idx);
	int base;

	if (!l)
		return -ENOBUFS;
	base = rings_alloc(st, c->id.seg, st->workers);
	if (base < 0) {
		idx_free(&st->sock->listeners, idx);
		return -ENOBUFS;
	}
	*l = (struct sock_listener){
		.addr = b->t.laddr, .port = b->t.lport, .proto = b->proto, .family = b->family,
		.v6only = b->v6only, .reuseport = !!(b->reuse & SOCK_REUSEPORT),
		.live = SOCK_L_LIVE, .id = c->id, .bound = bound, .uid = b->uid,
		.backlog = clamp_backlog(st, c->u32[0]), .accept_base = (uint32_t)base,
		.reply = c->reply,
	};
	b->state = SOCK_B_LISTEN;
	e->accept_base = l->accept_base;
	e->accept_cnt = st->workers;
	e->obj = OBJ(OBJ_LISTENER, idx);
	st_rel(&e->state, SD_ST_LISTEN);
	tell_all(st, SMSG_LISTEN_ADD, idx);
	return 0;
}

/* listen() again on a listener changes the backlog. */
static int listen_again(struct stack *st, const struct sock_cmd *c, uint32_t obj)
{
	struct sock_listener *l = listener_at(st, OBJ_IDX(obj));

	if (!l || l->live != SOCK_L_LIVE || !sock_id_eq(&l->id, &c->id))
		return -EINVAL;
	st_rlx(&l->backlog, clamp_backlog(st, c->u32[0]));
	return 0;
}

static int autobind(struct stack *st, const struct sock_cmd *c, const struct sd_slot_e *e,
		    const struct sd_slot_p *sp, uint32_t *ret_bound)
{
	struct sock_cmd any = *c;

	any.port = 0;
	any.addr = (struct sd_addr){ 0 };
	if (e->flags & SD_E_ADDR_LOCK)
		any.addr = e->laddr;
	else if (ld_rlx(&sp->opts.family) != AF_INET6)
		any.addr.w[2] = 0xffff0000u;
	return sock_bind(st, &any, ret_bound);
}

static int listen_start(struct stack *st, const struct sock_cmd *c, uint32_t bound,
			struct sd_slot_e *e)
{
	struct sock_bound *b;
	uint32_t own = 0;
	int err = 0;

	if (!bound) {
		err = autobind(st, c, e, sock_slot_p(st, c->id), &own);
		if (err)
			return err;
		bound = own;
	} else {
		sock_unconnect(st, c->id, bound);
	}
	b = bound_at(st, bound);
	if (!b || b->state != SOCK_B_BOUND || !sock_id_eq(&b->id, &c->id))
		return -EINVAL;
	/* Two with SO_REUSEADDR may bind one port, but only one of them may listen. */
	btab_refresh(st, b);
	if (!btab_take(st, b, bound, false))
		return -EADDRINUSE;
	return listener_make(st, c, bound, e);
}

void sock_listen(struct stack *st, const struct sock_cmd *c, uint32_t bound)
{
	struct sd_slot_e *e = sock_slot_e(st, c->id);
	int err;

	if (!e) {
		sock_reply(st, c, -EINVAL);
		return;
	}
	if (OBJ_KIND(e->obj) == OBJ_LISTENER) {
		sock_reply(st, c, listen_again(st, c, e->obj));
		return;
	}
	err = listen_start(st, c, bound, e);
	if (err)
		sock_reply(st, c, err);		/* success is answered when all replicas are up */
}

/* ---- worker 0: down ---- */

/* The port is free when close() was called, not when the last worker has heard of it. */
static void port_let_go(struct stack *st, struct sock_listener *l)
{
	sock_bound_put(st, l->bound);
	l->bound = 0;
}

static void listener_end(struct stack *st, uint32_t listener, enum sock_listener_life how)
{
	struct sock_listener *l = listener_at(st, listener);
	struct sd_slot_e *e;

	if (!l)
		return;
	if (l->live != SOCK_L_LIVE) {
		if (how > l->live) {
			l->live = (uint8_t)how;
			port_let_go(st, l);
		}
		return;
	}
	e = sock_slot_e(st, l->id);
	if (e)
		st_rel(&e->state, SD_ST_CLOSE);
	l->live = (uint8_t)how;
	if (how == SOCK_L_CLOSING)
		port_let_go(st, l);
	tell_all(st, SMSG_LISTEN_DEL, listener);	/* the record may be gone after this */
}

void sock_listen_close(struct stack *st, uint32_t listener)
{
	listener_end(st, listener, SOCK_L_CLOSING);
}

void sock_listen_stop(struct stack *st, uint32_t listener, struct stack_reply_to reply)
{
	struct sock_listener *l = listener_at(st, listener);

	if (!l || l->live != SOCK_L_LIVE) {
		st->up->reply(st, reply, 0, NULL, 0);
		return;
	}
	l->stop = reply;
	listener_end(st, listener, SOCK_L_STOPPING);
}

/* An unconnected socket again. */
static void stopped(struct stack *st, const struct sock_listener *l, struct sd_slot_e *e)
{
	struct sock_bound *b = bound_at(st, l->bound);
	bool keep = b->port_lock;

	e->accept_cnt = 0;
	if (keep) {
		b->state = SOCK_B_BOUND;
	} else {
		bound_free(st, l->bound);
		and_sc(&e->flags, ~SD_E_BOUND);
	}
	e->obj = keep ? OBJ(OBJ_BOUND, l->bound) : 0;
	sock_unconnect(st, l->id, 0);
	st->up->event(st, l->id, SD_EV_OUT | SD_EV_HUP);
	st->up->reply(st, l->stop, 0, NULL, 0);
}

/* The last worker has answered DEL. */
static void listener_gone(struct stack *st, uint32_t listener, struct sock_listener *l)
{
	struct sock_listener old = *l;
	struct sd_slot_e *e = sock_slot_e(st, old.id);

	rings_free(st, old.id.seg, old.accept_base, st->workers);
	*l = (struct sock_listener){ 0 };
	idx_free(&st->sock->listeners, listener);
	if (old.live == SOCK_L_STOPPING && e) {
		stopped(st, &old, e);
		return;
	}
	if (old.bound)
		sock_bound_put(st, old.bound);
	sock_slot_free(st, old.id);
}

static void on_ack(struct stack *st, const struct stack_msg *msg)
{
	struct sock_listener *l = listener_at(st, msg->u32[0]);

	ASSERT(l);
	if (++l->acks == st->workers) {
		st->up->reply(st, l->reply, 0, NULL, 0);
	} else if (l->acks == 2u * st->workers) {
		listener_gone(st, msg->u32[0], l);
	}
}

/* ---- every worker ---- */

static void ack(struct stack *st, uint32_t listener)
{
	struct stack_msg m = { .kind = SMSG_LISTEN_ACK, .u32[0] = listener };

	sock_send(st, 0, &m);
}

static void on_add(struct stack *st, const struct stack_msg *msg)
{
	struct sock_listener *l = listener_at(st, msg->u32[0]);
	const struct sock_listen_ops *ops;

	ASSERT(l);
	ltab_add(st, msg->u32[0], l);
	ops = st->sock->lops[l->proto];
	if (ops && ops->up)
		ops->up(st, msg->u32[0]);
	ack(st, msg->u32[0]);
}

/* Reset one connection that waited in the ring: by the transport's own way, else as its close(). */
static void abort_queued(struct stack *st, uint8_t proto, struct sock_id id)
{
	const struct sock_listen_ops *lops = st->sock->lops[proto];
	const struct sock_ops *ops;
	struct sd_slot_e *e = sock_slot_e(st, id);
	struct sock_cmd c = { .id = id, .op = SD_OP_CLOSE };
	int err;

	/* What the ring says is the program's word: only a connection, or one that has ended. */
	if (!e || e->worker != st->worker || e->flags & SD_E_CLOSED || e->proto != proto ||
	    (e->obj && OBJ_KIND(e->obj) != OBJ_TCB))
		return;
	or_sc(&e->flags, SD_E_CLOSED);
	ops = sock_find(st, e->type, e->proto, &err);
	if (lops && lops->abort)
		lops->abort(st, id);
	else if (ops && ops->close)
		ops->close(st, &c, e->obj);
}

static void ring_empty(struct stack *st, struct ltab_node *n)
{
	struct shm_seg *seg = stack_seg(st, n->id.seg);
	struct sock_id id = { .seg = n->id.seg };

	while (seg && shm_accept_take_back(shm_accept_ring(seg, n->ring), &n->prod, &id.slot,
					   &id.gen))
		abort_queued(st, n->proto, id);
}

static void on_del(struct stack *st, const struct stack_msg *msg)
{
	struct ltab_node *n = ltab_node(st, msg->u32[0]);
	const struct sock_listen_ops *ops;

	ASSERT(n);
	ltab_del(st, msg->u32[0]);
	ops = st->sock->lops[n->proto];
	if (ops && ops->down)
		ops->down(st, msg->u32[0]);
	ring_empty(st, n);
	ack(st, msg->u32[0]);
}

uint32_t sock_accept_len(struct stack *st, uint32_t listener)
{
	struct ltab_node *n = ltab_node(st, listener);
	struct shm_seg *seg = n ? stack_seg(st, n->id.seg) : NULL;
	uint32_t len;

	if (!seg)
		return 0;
	/* cons is a lower bound that acceptors move; a false one only harms its own listener */
	len = n->prod.prod - ld_acq(&shm_accept_ring(seg, n->ring)->cons);
	return len < SD_ACCEPT_ENTRIES ? len : SD_ACCEPT_ENTRIES;
}

int sock_accept_push(struct stack *st, uint32_t listener, struct sock_id id)
{
	struct sock_listener *l = listener_at(st, listener);
	struct ltab_node *n = ltab_node(st, listener);
	struct shm_seg *seg = n ? stack_seg(st, n->id.seg) : NULL;
	int err;

	if (!seg || !l || sock_accept_len(st, listener) > ld_rlx(&l->backlog))
		return -EAGAIN;
	err = shm_accept_push(shm_accept_ring(seg, n->ring), &n->prod, id.slot, id.gen);
	if (!err)
		st->up->event(st, n->id, SD_EV_IN);
	return err;
}

void sock_accept_reap(struct stack *st, uint16_t seg_id, uint32_t proc, uint32_t proc_gen)
{
	struct ltab *lt = &st->sock->lt;
	struct shm_seg *seg = stack_seg(st, seg_id);

	for (uint32_t h = 0; seg && h < LTAB_HEADS; h++) {
		for (uint32_t i = lt->heads[h]; i; i = lt->nodes[i].next) {
			struct ltab_node *n = &lt->nodes[i];

			if (n->id.seg == seg_id && n->prod.prod &&	/* used at all */
			    shm_accept_reap(shm_accept_ring(seg, n->ring), proc, proc_gen))
				st->up->event(st, n->id, SD_EV_IN);
		}
	}
}

int listen_init(struct stack *st)
{
	st->on_msg[SMSG_LISTEN_ADD] = on_add;
	st->on_msg[SMSG_LISTEN_DEL] = on_del;
	st->on_msg[SMSG_LISTEN_ACK] = on_ack;
	return 0;
}
