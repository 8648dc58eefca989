/* SPDX-License-Identifier: MIT */
/* sock/adopt.c - bound ports and listeners of an engine that was killed
 * AR_BOUND and AR_LISTENER are what is true; chains, replicas, pools and the table of connections
 * are made anew from them. A listener is good when its slot names it. A hold on a port is good
 * when somebody claims it: then nothing that was half-way between two holders leaks. Threads: one,
 * for all workers, before any of them runs
 */
#include "stackd/sock/sock_int.h"

static uint32_t marks_size(struct stack *st)
{
	return (st->arena->hdr->reg[AR_BOUND].cnt + 63) / 64 * 8;
}

bool sock_bound_claim(struct stack *st, uint32_t bound)
{
	if (!bound_at(st, bound))
		return false;
	st->sock->bound_marks[bound / 64] |= 1ull << bound % 64;
	return true;
}

bool sock_bound_is(struct stack *st, uint32_t bound, struct sock_id id)
{
	const struct sock_bound *b = bound_at(st, bound);

	return b && sock_id_eq(&b->id, &id);
}

bool sock_listener_is(struct stack *st, uint32_t listener, struct sock_id id)
{
	const struct sock_listener *l = arena_at(st->arena, AR_LISTENER, listener);

	return l && l->live != SOCK_L_FREE && sock_id_eq(&l->id, &id);
}

/* ---- listeners ---- */

static bool listener_good(struct stack *st, uint32_t idx, const struct sock_listener *l)
{
	const struct sd_slot_e *e = sock_slot_e(st, l->id);

	return e && e->obj == OBJ(OBJ_LISTENER, idx) && sock_bound_is(st, l->bound, l->id) &&
	       l->accept_base + st->workers <= SD_MAX_ACCEPTS;
}

/* Worker 0: the record. */
static void listener_adopt(struct stack *st, uint32_t idx, struct sock_listener *l)
{
	uint64_t *used = st->sock->rings_used[l->id.seg];

	idx_adopt(&st->sock->listeners, idx);
	sock_bound_claim(st, l->bound);
	for (uint32_t i = l->accept_base; i < l->accept_base + st->workers; i++)
		used[i / 64] |= 1ull << i % 64;
}

/* Every worker: its replica. */
static void replica_adopt(struct stack *st, uint32_t idx, const struct sock_listener *l)
{
	struct ltab_node *n;

	ltab_add(st, idx, l);
	n = ltab_node(st, idx);
	shm_accept_adopt(shm_accept_ring(&st->segs[l->id.seg], n->ring), &n->prod);
}

static void listeners_adopt(struct stack *st)
{
	struct sock_listener *l;
	struct arena_iter it;
	uint32_t idx;

	arena_iter_init(&it, st->arena, AR_LISTENER, 1, UINT32_MAX);
	while ((l = arena_iter_next(&it, &idx))) {
		if (l->live == SOCK_L_FREE)
			continue;
		if (st->worker == 0 && !listener_good(st, idx, l)) {
			*l = (struct sock_listener){ 0 };
			continue;
		}
		if (st->worker == 0)
			listener_adopt(st, idx, l);
		replica_adopt(st, idx, l);
	}
}

int sock_adopt(struct stack *st)
{
	struct sock_state *s = st->sock;

	if (st->worker == 0) {
		s->bound_marks = sock_map(marks_size(st));
		if (!s->bound_marks)
			return -ENOMEM;
		/* What rings not in use contain, nobody knows. */
		for (uint16_t i = 1; i < STACK_MAX_SEGS; i++)
			if (stack_seg(st, i))
				memset(s->rings_dirty[i], 0xff, sizeof(s->rings_dirty[i]));
	}
	listeners_adopt(st);
	return 0;
}

void sock_adopt_finish(struct stack *st)
{
	struct sock_listener *l;
	struct arena_iter it;
	uint32_t idx;

	arena_iter_init(&it, st->arena, AR_LISTENER, 1, UINT32_MAX);
	while ((l = arena_iter_next(&it, &idx))) {
		uint8_t how = l->live;

		if (how == SOCK_L_FREE)
			continue;
		l->acks = st->workers;		/* all have it: sock_adopt() */
		l->live = SOCK_L_LIVE;
		if (how == SOCK_L_CLOSING)
			sock_listen_close(st, idx);
		else if (how == SOCK_L_STOPPING)
			sock_listen_stop(st, idx, l->stop);
	}
}

void sock_accept_walk(struct stack *st, uint16_t seg_id,
		      void (*fn)(void *arg, uint32_t slot, uint32_t gen), void *arg)
{
	const uint64_t *used = st->sock->rings_used[seg_id];
	struct shm_seg *seg = stack_seg(st, seg_id);

	for (uint32_t i = 0; seg && i < SD_MAX_ACCEPTS; i++)
		if (used[i / 64] >> i % 64 & 1)
			shm_accept_walk(shm_accept_ring(seg, i), fn, arg);
}

/* ---- ports ---- */

uint32_t sock_bound_revert(struct stack *st, struct sock_id id)
{
	struct arena_iter it;
	struct sock_bound *b;
	uint32_t idx;

	arena_iter_init(&it, st->arena, AR_BOUND, 1, UINT32_MAX);
	while ((b = arena_iter_next(&it, &idx))) {
		if (b->state == SOCK_B_FREE || !sock_id_eq(&b->id, &id))
			continue;
		if (!b->port_lock)
			return 0;	/* nobody claims it */
		b->t.raddr = (struct sd_addr){ 0 };
		b->t.rport = 0;
		b->state = SOCK_B_BOUND;
		return idx;
	}
	return 0;
}

static void bound_adopt(struct stack *st, uint32_t idx, struct sock_bound *b)
{
	idx_adopt(&st->sock->bounds, idx);
	btab_recall(st, b);
	btab_link(st, idx);
	if (b->state != SOCK_B_CONN || b->proto != IPPROTO_TCP)
		return;
	if (etab_insert(st, &st->sock->conn, &b->t, OBJ(OBJ_BOUND, idx)))
		b->state = SOCK_B_BOUND;	/* BI1; two with one tuple are no connection */
	else
		dests_add(st, &b->t);
}

void sock_adopt_bounds(struct stack *st)
{
	uint64_t *marks = st->sock->bound_marks;
	struct arena_iter it;
	struct sock_bound *b;
	uint32_t idx;

	arena_iter_init(&it, st->arena, AR_BOUND, 1, UINT32_MAX);
	while ((b = arena_iter_next(&it, &idx))) {
		if (b->state == SOCK_B_FREE)
			continue;
		b->next = b->prev = 0;
		if (marks[idx / 64] >> idx % 64 & 1)
			bound_adopt(st, idx, b);
		else
			*b = (struct sock_bound){ 0 };
	}
	sock_unmap(marks, marks_size(st));
	st->sock->bound_marks = NULL;
}
