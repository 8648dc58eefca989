/* SPDX-License-Identifier: MIT */
/* udp/adopt.c - datagram sockets of an engine that was killed
 * AR_UDP is what is true; each worker's replica and worker 0's pool are made from it. A record
 * whose slot does not name it (its making or its end was under way) is free. A datagram that was
 * being sent is sent once more, one that was being received and is not published is lost: a
 * network may do either. Threads: one, for all workers, before any of them runs
 */
#include "stackd/udp/udp_int.h"

bool udp_sock_is(struct stack *st, uint32_t idx, struct sock_id id)
{
	const struct udp_sock *u = udp_at(st, idx);

	return u && u->id.seg == id.seg && u->id.slot == id.slot && u->id.gen == id.gen;
}

/* Worker 0: pool and answers. Return: false when the record is free now. */
static bool record_adopt(struct stack *st, uint32_t idx, struct udp_sock *u)
{
	const struct sd_slot_e *e = sock_slot_e(st, u->id);

	if (!e || e->obj != OBJ(OBJ_UDP, idx) || !sock_bound_claim(st, u->bound)) {
		u->live = 0;
		return false;
	}
	if (u->owner >= st->workers)
		u->owner = 0;
	u->rx_tail = e->rx_tail;
	if (u->rx_head > u->rx_tail)
		u->rx_head = u->rx_tail;
	idx_adopt(&st->udp->pool, idx);
	st->udp->pend[idx] = (struct udp_pend){ .add_acks = st->workers, .bound = u->bound };
	return true;
}

void udp_adopt(struct stack *st, struct stack *home)
{
	struct arena_iter it;
	struct udp_sock *u;
	uint32_t idx;

	arena_iter_init(&it, st->arena, AR_UDP, 1, UINT32_MAX);
	while ((u = arena_iter_next(&it, &idx))) {
		struct udp_rep r = { .t = u->t, .ver = u->ver, .owner = u->owner,
				     .family = u->family, .v6only = u->v6only, .reuse = u->reuse };

		if (!u->live || (st == home && !record_adopt(st, idx, u)))
			continue;
		r.owner = u->owner;
		udp_replica_set(st, idx, &r);
	}
}
