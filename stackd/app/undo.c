/* SPDX-License-Identifier: MIT */
/* app/undo.c - what a dead process leaves behind
 * In this order: its connections, each with the locks that its threads held and the subscriptions
 * that name its mailboxes, as close() would; what it had claimed from accept rings and not
 * installed waits for the others again; its listeners; its chunks; its mailboxes. A connection that
 * stood in its table is closed before the claim can be taken back, so nobody else serves it; one
 * that did not is served by another; a listener goes last, so that what waits there is reset.
 * A process may have a million sockets: the work is done in pieces, between packets.
 * Everything here reads memory that the process could write: indices go through the checked
 * accessors, loops are bounded by the tables' sizes, and the worst a lie can do is to close or leak
 * a socket of the same family; a leak ends with the family, or by sweep.c.
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

/* ---- jobs ---- */

#define JOB_PIECE	256u		/* entries or slots of one poll: each may send a message */

enum { UNDO_CONNS = 0, UNDO_LISTENERS };
enum { END_PROGRAM_SLOTS = 0, END_ENGINE_SLOTS };

void app_job_add(struct stack *st, struct app_job job)
{
	struct app_state *a = st->app;
	uint32_t max = app_jobs_max(st);

	ASSERT(a->job_cnt < max);	/* one of each record and segment at most */
	a->jobs[(a->job_head + a->job_cnt++) % max] = job;
}

/* One entry of the open table. A listener waits for the second round. */
static void undo_entry(struct stack *st, const struct app_proc *p, int fd, unsigned round)
{
	struct shm_seg *seg = &st->segs[p->seg];
	sd_ofd o = shm_ofd_get(shm_proc(seg, p->idx), fd);
	struct sock_id id = { .seg = p->seg };
	struct sd_slot_e *e;

	if (SD_OFD_KIND(o) == SD_OFD_SOCK) {
		e = shm_slot_e(seg, SD_OFD_IDX(o));
		if (e && round == UNDO_CONNS && ld_acq(&e->state) == SD_ST_LISTEN)
			return;
		slot_release(st, p, SD_OFD_IDX(o));
	}
	if (shm_opentab_undo_one(seg, p->idx, fd, &id.slot, &id.gen))
		app_close_slot(st, id);
}

static bool undo_piece(struct stack *st, struct app_job *j)
{
	struct app_proc *p = app_proc_at(st, j->rec);
	struct sd_proc *sp = shm_proc(&st->segs[p->seg], p->idx);

	if (!j->pos)
		j->end = (uint32_t)shm_opentab_len(sp);
	for (unsigned n = 0; n < JOB_PIECE && j->pos < j->end; n++)
		undo_entry(st, p, (int)j->pos++, j->stage);
	if (j->pos < j->end)
		return false;
	j->pos = 0;
	if (j->stage++ == UNDO_CONNS) {
		app_tell_all(st, SMSG_PROC_REAP, p, j->rec);
		return false;
	}
	st_rlx(&sp->hi_fd, 0);
	shm_magazine_reap(&st->segs[p->seg], sp);
	mboxes_free(st, p);
	app_proc_free(st, j->rec);
	return true;
}

/* No process of the family is left: close what is still in service. By messages, also here: a
 * listener that was closed just before resets what waits in its queue first. */
static void end_slot(struct stack *st, uint16_t seg, uint32_t slot)
{
	struct sd_slot_e *e = shm_slot_e(&st->segs[seg], slot);
	struct sock_cmd c = { .id = { .seg = seg, .slot = slot }, .op = SD_OP_CLOSE };

	c.id.gen = ld_acq(&e->gen);
	if (c.id.gen && !(ld_acq(&e->flags) & SD_E_CLOSED))
		sock_forward(st, st->worker, &c);
}

static bool end_piece(struct stack *st, struct app_job *j)
{
	struct app_seg *s = &st->app->segs[j->seg];
	struct shm_epool *pool = &st->epools[j->seg];
	uint32_t hi = stack_seg_rec(st, j->seg)->hi_pslot;
	uint32_t made = pool->span ? ld_acq(&pool->span->next_slot) : 0;

	if (!j->pos) {
		j->pos = j->stage == END_PROGRAM_SLOTS ? 1 : SD_SLOTS_P;
		j->end = j->stage == END_PROGRAM_SLOTS ? hi + 1 :
			 made < SD_SLOTS ? made : SD_SLOTS;
	}
	for (unsigned n = 0; n < JOB_PIECE && j->pos < j->end; n++)
		end_slot(st, j->seg, j->pos++);
	if (j->pos < j->end)
		return false;
	j->pos = 0;
	if (j->stage++ == END_PROGRAM_SLOTS)
		return false;
	s->ending = 0;
	return true;
}

unsigned app_job_poll(struct stack *st)
{
	struct app_state *a = st->app;
	struct app_job *j = &a->jobs[a->job_head];
	bool done;

	if (!a->job_cnt)
		return 0;
	done = j->kind == APP_JOB_UNDO ? undo_piece(st, j) : end_piece(st, j);
	if (done) {
		a->job_head = (a->job_head + 1) % app_jobs_max(st);
		a->job_cnt--;
	}
	return 1;
}
