/* SPDX-License-Identifier: MIT */
/* app/adopt.c - processes and slots of an engine that was killed
 * A process goes on with the ring position that its ring shows: the last command that the old
 * engine took stands in it still and is taken again (ring.h), so commands are carried out at least
 * once and `again` says which may be carried out twice (cmd.c). A slot goes on when the object it
 * names exists and names it. A slot whose object is gone was losing it when the engine died: its
 * connection is over. A slot that nobody refers to, no fd and no accept ring, was closed, or its
 * connection never reached the ring: it is closed now. Chunks and slots that no FIFO and no slot
 * holds are free; the pools are filled with them. Threads: one, for all workers, before any of
 * them runs
 */
#include <stdlib.h>
#include <sys/mman.h>

#include "shm/accept.h"
#include "shm/fifo.h"
#include "stackd/app/app_int.h"

#define ESLOT_WORDS	((SD_SLOTS - SD_SLOTS_P) / 64)
#define CHUNK_WORDS	(SD_CHUNKS / 64)
#define EV_ALL		(SD_EV_IN | SD_EV_PRI | SD_EV_OUT | SD_EV_ERR | SD_EV_HUP | SD_EV_RDHUP)

/* ---- processes ---- */

static bool proc_good(struct stack *st, const struct app_proc *p)
{
	return stack_seg(st, p->seg) && p->idx < SD_MAX_PROCS && p->gen;
}

static void proc_record(struct stack *st, uint32_t rec, struct app_proc *p)
{
	struct app_state *a = st->app;
	struct app_seg *s = &a->segs[p->seg];

	idx_adopt(&a->procs, rec);
	bit_set(s->used, p->idx);
	s->attached++;
	if (p->gen > a->gen)
		a->gen = p->gen;
	p->live = 1;			/* one that was being undone is undone again */
}

void app_adopt_procs(struct stack *st)
{
	struct arena_iter it;
	struct app_proc *p;
	uint32_t rec;

	arena_iter_init(&it, st->arena, AR_PROC, 1, UINT32_MAX);
	while ((p = arena_iter_next(&it, &rec))) {
		if (!proc_good(st, p)) {
			if (st->worker == 0 && p->gen)
				*p = (struct app_proc){ 0 };
			continue;
		}
		if (st->worker == 0)
			proc_record(st, rec, p);
		app_proc_join(st, p->seg, p->idx, rec);
		bit_set(st->app->segs[p->seg].again, p->idx);
		st->app->segs[p->seg].rd[p->idx].cons =
			ld_acq(&shm_cmd_ring(&st->segs[p->seg], p->idx, st->worker)->cons);
	}
}

void app_adopt_mbox(struct stack *st, uint32_t rec, uint32_t mbox)
{
	const struct app_proc *p = app_proc_at(st, rec);

	if (p && mbox && mbox < SD_MAX_MBOXES)
		st->app->segs[p->seg].mbox_owner[mbox] = (uint16_t)(p->idx + 1);
}

/* ---- slots ---- */

struct slots {
	struct stack *const *st;
	unsigned workers;
	uint16_t seg;
	struct shm_seg *map;
	struct shm_emarks marks;
	uint64_t *queued;		/* [ESLOT_WORDS] in an accept ring */
	struct shm_epool *pool;		/* of the slot at hand */
};

static struct stack *owner_of(const struct slots *s, const struct sd_slot_e *e)
{
	return s->st[e->worker < s->workers ? e->worker : 0];
}

typedef void (*slot_fn)(struct slots *s, uint32_t slot, struct sd_slot_e *e, struct sd_slot_p *p);

static void visit(struct slots *s, uint32_t slot, slot_fn fn)
{
	struct sd_slot_e *e = shm_slot_e(s->map, slot);

	if (ld_acq(&e->gen))
		fn(s, slot, e, shm_slot_p(s->map, slot));
}

/* @fn for each slot in service. */
static void slots_walk(struct slots *s, slot_fn fn)
{
	const struct seg_rec *rec = stack_seg_rec(s->st[0], s->seg);
	uint32_t end = ld_rlx(&rec->span.next_slot);
	uint32_t i = 0;

	while ((i = app_pslot_next(s->st[0], s->seg, i + 1)) < SD_SLOTS_P)
		visit(s, i, fn);
	for (end = end < SD_SLOTS ? end : SD_SLOTS; i < end; i++)
		visit(s, i, fn);
}

/* The object that @e names is not there: the socket's connection is over. */
static void slot_bereft(struct sd_slot_e *e)
{
	bool orderly = e->flags & SD_E_SND_FIN && e->flags & SD_E_RCV_FIN;

	e->obj = 0;
	st_rel(&e->worker, 0);
	if (e->type != SOCK_STREAM)
		return;			/* it is made anew by the next command, unbound */
	st_rel(&e->flags, e->flags | SD_E_SND_FIN | (orderly ? 0 : SD_E_RESET));
	st_rel(&e->state, SD_ST_CLOSE);
	if (orderly)
		return;
	st_rlx(&e->err, ECONNRESET);
	st_rel(&e->err_seq, e->err_seq + 1);
}

/* What stands behind the slot, and does it say so, too? */
static void slot_object(struct slots *s, struct sock_id id, struct sd_slot_e *e)
{
	struct stack *home = s->st[0];
	uint32_t idx = OBJ_IDX(e->obj);
	bool good = true;

	switch (OBJ_KIND(e->obj)) {
	case OBJ_NONE:
		break;
	case OBJ_BOUND:
		good = sock_bound_is(home, idx, id) && sock_bound_claim(home, idx);
		break;
	case OBJ_LISTENER:
		good = sock_listener_is(home, idx, id);
		break;
	case OBJ_TCB:
		good = tcp_tcb_is(home, idx, id);
		break;
	case OBJ_UDP:
		good = udp_sock_is(home, idx, id);
		break;
	case OBJ_MISC:			/* connect() was on its way; who waits for it asks again */
		idx = sock_bound_revert(home, id);
		e->obj = idx ? OBJ(OBJ_BOUND, idx) : 0;
		sock_bound_claim(home, idx);
		break;
	default:
		good = false;
	}
	if (!good)
		slot_bereft(e);
}

static bool mark_chunk(void *arg, uint32_t chunk)
{
	struct slots *s = arg;

	return shm_epool_mark_chunk(s->pool, &s->marks, chunk);
}

static void slot_adopt(struct slots *s, uint32_t slot, struct sd_slot_e *e, struct sd_slot_p *p)
{
	struct sock_id id = { .seg = s->seg, .slot = slot, .gen = ld_acq(&e->gen) };

	shm_lock_reap(&p->tx_lock, SHM_LOCK_ENGINE_PROC);
	shm_lock_reap(&p->rx_lock, SHM_LOCK_ENGINE_PROC);
	shm_lock_reap(&p->sub_lock, SHM_LOCK_ENGINE_PROC);
	slot_object(s, id, e);
	if (e->worker >= s->workers)
		st_rel(&e->worker, 0);
	sock_slot_count(owner_of(s, e), s->seg, 1);
	s->pool = &owner_of(s, e)->epools[s->seg];
	if (slot >= SD_SLOTS_P)
		shm_epool_mark_slot(s->pool, &s->marks, slot);
	shm_fifo_adopt(s->map, SD_FIFO_RX, &e->rx, mark_chunk, s);
}

static int slots_init(struct slots *s, struct stack *const *st, unsigned workers, uint16_t seg)
{
	*s = (struct slots){ .st = st, .workers = workers, .seg = seg,
			     .map = stack_seg(st[0], seg) };
	s->marks.chunk = calloc(CHUNK_WORDS, sizeof(uint64_t));
	s->marks.slot = calloc(ESLOT_WORDS, sizeof(uint64_t));
	s->queued = calloc(ESLOT_WORDS, sizeof(uint64_t));
	return s->marks.chunk && s->marks.slot && s->queued ? 0 : -ENOMEM;
}

static void slots_fini(struct slots *s)
{
	free(s->marks.chunk);
	free(s->marks.slot);
	free(s->queued);
}

int app_adopt_slots(struct stack *const *st, unsigned workers, uint16_t seg)
{
	struct shm_epool *pools[SD_MAX_WORKERS];
	struct slots s;
	int r = slots_init(&s, st, workers, seg);

	for (unsigned w = 0; w < workers; w++)
		pools[w] = &st[w]->epools[seg];
	if (!r && s.map) {
		slots_walk(&s, slot_adopt);
		shm_epools_refill(pools, workers, &s.marks);
	}
	slots_fini(&s);
	return r;
}

/* ---- go on ---- */

static void note_queued(void *arg, uint32_t slot, uint32_t gen)
{
	struct slots *s = arg;
	const struct sd_slot_e *e = slot >= SD_SLOTS_P ? shm_slot_e(s->map, slot) : NULL;

	if (e && ld_acq(&e->gen) == gen)
		bit_set(s->queued, slot - SD_SLOTS_P);
}

/* Nobody can name it any more: its close was lost, or it never reached the accept ring. */
static bool unreachable(const struct slots *s, uint32_t slot, const struct sd_slot_p *p)
{
	if (ld_acq(&p->refs))
		return false;
	return slot < SD_SLOTS_P || !bit_get(s->queued, slot - SD_SLOTS_P);
}

static void close_again(struct slots *s, struct sock_id id, struct sd_slot_e *e)
{
	if (OBJ_KIND(e->obj) == OBJ_TCB && tcp_tcb_orphan(s->st[0], OBJ_IDX(e->obj)))
		return;			/* it is on its way out: tcp_adopt_finish() */
	e->flags &= ~SD_E_CLOSED;
	app_close_slot(owner_of(s, e), id);
}

static void slot_go_on(struct slots *s, uint32_t slot, struct sd_slot_e *e, struct sd_slot_p *p)
{
	struct sock_id id = { .seg = s->seg, .slot = slot, .gen = ld_acq(&e->gen) };
	struct sock_cmd kick = { .id = id, .op = SD_OP_KICK };
	struct stack *st = owner_of(s, e);

	if (e->flags & SD_E_CLOSED || unreachable(s, slot, p)) {
		close_again(s, id, e);
		return;
	}
	if (OBJ_KIND(e->obj) == OBJ_TCB || OBJ_KIND(e->obj) == OBJ_UDP)
		or_sc(&p->pending, SD_PEND_TX | SD_PEND_RX);
	if (ld_rlx(&p->pending))
		app_dispatch(st, &kick);
	if (ld_acq(&e->gen) == id.gen)
		st->up->event(st, id, EV_ALL);
}

void app_adopt_finish(struct stack *const *st, unsigned workers, uint16_t seg)
{
	struct slots s;

	if (slots_init(&s, st, workers, seg) == 0 && s.map) {
		sock_accept_walk(st[0], seg, note_queued, &s);
		slots_walk(&s, slot_go_on);
	}
	slots_fini(&s);
	if (st[0]->app->segs[seg].attached)
		app_sweep_want(st[0], seg);	/* a death may not have been dealt with */
	else
		app_family_end(st[0], seg);
}
