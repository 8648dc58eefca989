/* SPDX-License-Identifier: MIT */
/* app/undo.c - what a dead process leaves behind
 * In this order: locks that its threads held, subscriptions that name its mailboxes, its open table
 * (a slot whose last reference this was is closed as close() would), its chunks, its mailboxes. Everything
 * here reads memory that the process could write: indices go through the checked accessors, loops are
 * bounded by the tables' sizes, and the worst a lie can do is to close or leak a socket of the same
 * family; a leak ends with the family.
 * Threads: worker 0, after all workers have stopped taking the process's commands
 */
#include "stackd/app/app_int.h"

/* Clear subscriptions to mailboxes of process @proc. Return: how many. */
static unsigned subs_clear(const struct app_seg *s, sd_sub *subs, unsigned cnt, uint32_t proc)
{
	unsigned n = 0;

	for (unsigned i = 0; i < cnt; i++) {
		sd_sub sub = ld_rlx(&subs[i]);
		uint32_t mbox = SD_SUB_MBOX(sub);

		/* by compare-and-swap: a sibling may be storing a new one */
		if (sub && mbox < SD_MAX_MBOXES && s->mbox_owner[mbox] == proc + 1 &&
		    cas_sc(&subs[i], &sub, 0))
			n++;
	}
	return n;
}

static void slot_release(struct stack *st, const struct app_proc *p, uint32_t slot)
{
	struct shm_seg *seg = &st->segs[p->seg];
	struct app_seg *s = &st->app->segs[p->seg];
	struct sd_slot_p *sp = shm_slot_p(seg, slot);
	struct sd_slot_e *e = shm_slot_e(seg, slot);
	uint8_t *ext;
	unsigned n;

	if (!sp)
		return;
	shm_lock_reap(&sp->tx_lock, p->idx);
	shm_lock_reap(&sp->rx_lock, p->idx);
	shm_lock_reap(&sp->sub_lock, p->idx);
	n = subs_clear(s, sp->subs, SD_SUBS_INLINE, p->idx);
	ext = shm_chunk(seg, SD_FIFO_TX, ld_acq(&sp->sub_ext));
	if (ext)
		n += subs_clear(s, (sd_sub *)(void *)ext, SD_SUBS_EXT, p->idx);
	/* It may have been the one that an exclusive post went to: let the others look. */
	if (n)
		app_event(st, (struct sock_id){ .seg = p->seg, .slot = slot,
						.gen = ld_acq(&e->gen) },
			  SD_EV_IN | SD_EV_OUT);
}

static void slots_release(struct stack *st, const struct app_proc *p)
{
	struct sd_proc *sp = shm_proc(&st->segs[p->seg], p->idx);
	uint32_t hi = ld_acq(&sp->hi_fd);

	if (hi > SD_FDS)
		hi = SD_FDS;
	for (uint32_t fd = 0; fd < hi; fd++) {
		sd_ofd o = shm_ofd_get(sp, (int)fd);

		if (SD_OFD_KIND(o) == SD_OFD_SOCK)
			slot_release(st, p, SD_OFD_IDX(o));
	}
}

struct last_ref {
	struct stack *st;
	uint16_t seg;
};

static void last_ref(void *arg, uint32_t slot, uint32_t gen)
{
	struct last_ref *l = arg;

	app_close_slot(l->st, (struct sock_id){ .seg = l->seg, .slot = slot, .gen = gen });
}

static void mboxes_free(struct stack *st, const struct app_proc *p)
{
	struct app_seg *s = &st->app->segs[p->seg];
	struct shm_seg *seg = &st->segs[p->seg];
	uint32_t bits[64];

	for (uint32_t i = 1; i < SD_MAX_MBOXES; i++) {
		struct sd_mbox *mb = shm_mbox(seg, i);

		if (s->mbox_owner[i] != p->idx + 1)
			continue;
		xchg_sc(&mb->sleeping, SD_MBOX_AWAKE);
		/* bounded: siblings may go on posting */
		for (unsigned n = 0; n < SD_MBOX_BITS / 64; n++)
			if (shm_mbox_take(mb, bits, 64) < 64)
				break;
		s->mbox_owner[i] = 0;
		and_sc(&shm_rw_hdr(seg)->mbox_used[i / 64], ~(1ull << i % 64));
	}
}

void app_undo(struct stack *st, struct app_proc *p)
{
	struct last_ref l = { st, p->seg };

	slots_release(st, p);
	shm_opentab_undo(&st->segs[p->seg], p->idx, last_ref, &l);
	shm_magazine_reap(&st->segs[p->seg], shm_proc(&st->segs[p->seg], p->idx));
	mboxes_free(st, p);
}

static void close_range(struct stack *st, uint16_t seg, uint32_t first, uint32_t end)
{
	for (uint32_t slot = first; slot < end; slot++) {
		struct sd_slot_e *e = shm_slot_e(&st->segs[seg], slot);
		uint32_t gen = ld_acq(&e->gen);

		if (gen && !(ld_acq(&e->flags) & SD_E_CLOSED))
			app_close_slot(st, (struct sock_id){ .seg = seg, .slot = slot,
							     .gen = gen });
	}
}

void app_family_end(struct stack *st, uint16_t seg)
{
	struct shm_epool *pool = &st->epools[seg];
	uint32_t end = pool->span ? ld_acq(&pool->span->next_slot) : 0;

	close_range(st, seg, 1, st->app->segs[seg].hi_pslot + 1);
	close_range(st, seg, SD_SLOTS_P, end < SD_SLOTS ? end : SD_SLOTS);
}
