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
#include <sys/mman.h>

#include "stackd/app/app_int.h"

static_assert(SD_MBOX_STRIDE % SD_PAGE == 0 && SD_RW_MBOXES % SD_PAGE == 0, "whole pages");

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

/* The memory goes back to the kernel, bits and all: a million of them may be set. A sibling that
 * posts meanwhile leaves a bit for the next owner, who looks once for nothing. Numbers of replies
 * go on: the slot still holds the last, another may be on its way; neither is for the next one. */
static void mbox_free(struct stack *st, const struct app_proc *p, uint32_t i)
{
	struct shm_seg *seg = &st->segs[p->seg];
	struct sd_mbox *mb = shm_mbox(seg, i);
	uint32_t rseq = ld_acq(&mb->rseq);

	xchg_sc(&mb->sleeping, SD_MBOX_AWAKE);
	(void)madvise(mb, SD_MBOX_STRIDE, MADV_REMOVE);
	st_rel(&mb->rseq, rseq);
	st->app->segs[p->seg].mbox_owner[i] = 0;
	and_sc(&shm_rw_hdr(seg)->mbox_used[i / 64], ~(1ull << i % 64));
}

/* ---- jobs ---- */

#define JOB_PIECE	256u		/* entries or slots of one poll: each may send a message */
#define MBOX_PIECE	16u		/* mailboxes: each a system call */
#define CLONE_PIECES	16u		/* of a child's table before others have their turn */

enum { UNDO_CONNS = 0, UNDO_LISTENERS, UNDO_MBOXES };

void app_job_add(struct stack *st, struct app_job job)
{
	struct app_state *a = st->app;
	uint32_t max = app_jobs_max(st);

	ASSERT(a->job_cnt < max);	/* two of each record, one of each segment at most */
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

/* A piece of an open table: @fn for each entry. Return: true at the end of the table. */
static bool table_piece(struct stack *st, struct app_job *j, uint32_t proc,
			void (*fn)(struct stack *st, struct app_job *j, uint32_t fd))
{
	const struct shm_seg *seg = &st->segs[j->seg];
	uint32_t stop;

	if (!j->pos)
		j->end = (uint32_t)shm_opentab_len(shm_proc(seg, proc));
	stop = app_fds_stop(j->pos, j->end);
	for (unsigned n = 0; n < JOB_PIECE && j->pos < stop; n++) {
		j->pos = app_fd_next(seg, proc, j->pos, stop);
		if (j->pos < stop)
			fn(st, j, j->pos++);
	}
	return j->pos >= j->end;
}

static void undo_one(struct stack *st, struct app_job *j, uint32_t fd)
{
	undo_entry(st, app_proc_at(st, j->rec), (int)fd, j->stage);
}

/* Return: true when none is left. */
static bool mboxes_piece(struct stack *st, struct app_job *j, const struct app_proc *p)
{
	for (unsigned n = 0; n < MBOX_PIECE && j->pos < SD_MAX_MBOXES; j->pos++) {
		if (st->app->segs[j->seg].mbox_owner[j->pos] != p->idx + 1)
			continue;
		mbox_free(st, p, j->pos);
		n++;
	}
	return j->pos == SD_MAX_MBOXES;
}

static bool undo_piece(struct stack *st, struct app_job *j)
{
	struct app_proc *p = app_proc_at(st, j->rec);
	struct sd_proc *sp = shm_proc(&st->segs[p->seg], p->idx);
	bool end = j->stage == UNDO_MBOXES ? mboxes_piece(st, j, p) :
		   table_piece(st, j, p->idx, undo_one);

	if (!end)
		return false;
	j->pos = 0;
	switch (j->stage++) {
	case UNDO_CONNS:
		app_tell_all(st, SMSG_PROC_REAP, p, j->rec);
		return false;
	case UNDO_LISTENERS:
		st_rlx(&sp->hi_fd, 0);
		shm_magazine_reap(&st->segs[p->seg], sp);
		return false;
	}
	app_proc_free(st, j->rec);
	return true;
}

/* ---- fork ---- */

static void clone_one(struct stack *st, struct app_job *j, uint32_t fd)
{
	const struct shm_seg *seg = &st->segs[j->seg];

	shm_opentab_clone_one(seg, j->from, app_proc_at(st, j->rec)->idx, (int)fd);
}

static bool clone_piece(struct stack *st, struct app_job *j)
{
	if (!table_piece(st, j, j->from, clone_one))
		return false;
	st->app->segs[j->seg].forks++;	/* a sweep that began meanwhile saw half of it */
	if (j->done)
		j->done(st, j->arg);
	return true;
}

/* An ordinary table is done here and now. */
bool app_clone(struct stack *st, struct app_job *j)
{
	app_done_fn done = j->done;

	st->app->segs[j->seg].forks++;
	j->done = NULL;
	for (unsigned n = 0; n < CLONE_PIECES; n++)
		if (clone_piece(st, j))
			return true;
	j->done = done;
	app_job_add(st, *j);
	return false;
}

/* ---- the end ---- */

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
	uint32_t end = app_slots_end(st, j->seg);

	for (unsigned n = 0; n < JOB_PIECE; n++) {
		j->pos = app_slot_after(st, j->seg, j->pos);
		if (j->pos >= end) {
			s->ending = 0;
			return true;
		}
		end_slot(st, j->seg, j->pos);
	}
	return false;
}

unsigned app_job_poll(struct stack *st)
{
	struct app_state *a = st->app;
	struct app_job *j = &a->jobs[a->job_head];
	bool done;

	if (!a->job_cnt)
		return 0;
	done = j->kind == APP_JOB_UNDO ? undo_piece(st, j) :
	       j->kind == APP_JOB_CLONE ? clone_piece(st, j) : end_piece(st, j);
	if (done) {
		a->job_head = (a->job_head + 1) % app_jobs_max(st);
		a->job_cnt--;
	}
	return 1;
}
