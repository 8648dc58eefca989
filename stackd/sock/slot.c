/* SPDX-License-Identifier: MIT */
/* sock/slot.c - slots in service: found, made for accepted connections, given back
 * A slot is in service while slot_e.gen is not 0. Programs pick the generations of slots they
 * allocate; those of accepted connections come from a counter of the worker, so a handle kept by a
 * program never fits a later connection in the same slot.
 * Threads: owning worker only
 */
#include "stackd/sock/sock_int.h"

struct sd_slot_e *sock_slot_e(struct stack *st, struct sock_id id)
{
	struct shm_seg *seg = stack_seg(st, id.seg);
	struct sd_slot_e *e = seg ? shm_slot_e(seg, id.slot) : NULL;

	return e && id.gen && ld_acq(&e->gen) == id.gen ? e : NULL;
}

struct sd_slot_p *sock_slot_p(struct stack *st, struct sock_id id)
{
	return sock_slot_e(st, id) ? shm_slot_p(&st->segs[id.seg], id.slot) : NULL;
}

static uint32_t next_gen(struct sock_state *s)
{
	if (++s->gen_next == 0)
		s->gen_next = 1;
	return s->gen_next;
}

/* What a child of accept() has of its listener. */
static void inherit(struct sd_slot_p *sp, const struct sd_slot_p *lp, uint32_t gen)
{
	*sp = (struct sd_slot_p){ .gen = gen };
	if (!lp)
		return;
	sp->opts = lp->opts;
	sp->rcvtimeo_ms = ld_rlx(&lp->rcvtimeo_ms);
	sp->sndtimeo_ms = ld_rlx(&lp->sndtimeo_ms);
	sp->port_range = ld_rlx(&lp->port_range);
	sp->flags = ld_rlx(&lp->flags) & SD_P_V6ONLY;
}

int sock_slot_accept(struct stack *st, const struct sock_listener *l, const struct sock_tuple *t,
		     uint32_t obj, struct sock_id *ret_id)
{
	struct shm_seg *seg = stack_seg(st, l->id.seg);
	struct shm_epool *pool = &st->epools[l->id.seg];
	uint32_t slot = seg && sock_slot_room(st, l->id.seg) ? shm_eslot_alloc(pool) : 0, gen;
	const struct sd_slot_e *le = sock_slot_e(st, l->id);
	struct sd_slot_e *e;

	if (!slot)
		return -ENOMEM;
	gen = next_gen(st->sock);
	e = shm_slot_e(seg, slot);
	inherit(shm_slot_p(seg, slot), sock_slot_p(st, l->id), gen);
	*e = (struct sd_slot_e){
		.state = SD_ST_ESTABLISHED, .worker = st->worker,
		.flags = SD_E_CONNECTED | SD_E_BOUND | (le ? le->flags & SD_E_ADDR_LOCK : 0),
		.obj = obj,
		.laddr = t->laddr, .raddr = t->raddr, .lport = t->lport, .rport = t->rport,
		.type = SOCK_STREAM, .proto = l->proto,
	};
	st_rel(&e->gen, gen);		/* pairs with ld_acq in programs and sock_slot_e() */
	sock_slot_count(st, l->id.seg, 1);
	*ret_id = (struct sock_id){ .seg = l->id.seg, .slot = slot, .gen = gen };
	return 0;
}

void sock_slot_free(struct stack *st, struct sock_id id)
{
	struct sd_slot_e *e = sock_slot_e(st, id);
	struct shm_seg *seg = e ? &st->segs[id.seg] : NULL;
	struct shm_fifo_mem rx = { .seg = seg, .epool = &st->epools[id.seg] }, tx = { .seg = seg };
	struct sd_slot_p *sp;

	if (!e)
		return;
	sp = shm_slot_p(seg, id.slot);
	shm_fifo_destroy(&rx, SD_FIFO_RX, &e->rx);
	shm_fifo_destroy(&tx, SD_FIFO_TX, &sp->tx);
	shm_subs_fini(seg, sp);
	e->obj = 0;
	st_rel(&e->state, SD_ST_FREE);
	st_rel(&e->gen, 0);
	if (id.slot < SD_SLOTS_P) {
		shm_pslot_free(seg, id.slot);
	} else {
		st_rel(&sp->gen, 0); /* an acceptor that still finds it in a ring passes it over */
		shm_eslot_free(&st->epools[id.seg], id.slot);
	}
	sock_slot_count(st, id.seg, -1);
}

static struct shm_left *slots_left(const struct shm_epool *pool)
{
	return pool->budget ? &pool->budget->slots : NULL;
}

bool sock_slot_room(struct stack *st, uint16_t seg)
{
	struct shm_epool *pool = &st->epools[seg];

	return shm_credit_room(slots_left(pool), &pool->slot_credit);
}

void sock_slot_count(struct stack *st, uint16_t seg, int32_t delta)
{
	struct shm_epool *pool = &st->epools[seg];

	st->sock->slot_used[seg] += delta;
	for (; delta > 0; delta--)
		shm_credit_spend(slots_left(pool), &pool->slot_credit);
	for (; delta < 0; delta++)
		shm_credit_return(slots_left(pool), &pool->slot_credit);
}

uint32_t sock_ports_used(const struct stack *st, uint16_t seg)
{
	return st->sock->ports_used[seg];
}

int32_t sock_slot_used(struct stack *st, uint16_t seg)
{
	return st->sock->slot_used[seg];
}

void sock_set_err(struct stack *st, struct sock_id id, int err, uint32_t ev)
{
	struct sd_slot_e *e = sock_slot_e(st, id);

	if (!e)
		return;
	st_rlx(&e->err, (uint32_t)err);
	st_rel(&e->err_seq, e->err_seq + 1);	/* pairs with ld_acq of who takes the error */
	st->up->event(st, id, ev | SD_EV_ERR);
}
