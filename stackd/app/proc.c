/* SPDX-License-Identifier: MIT */
/* app/proc.c - processes come, fork and go
 *
 * Worker 0 keeps the record (AR_PROC) and gives out process indices and mailboxes; PROC_ADD tells
 * every worker whose rings to poll. When a process is gone, PROC_GONE makes each worker carry out
 * what the process had still asked for (its last write is as good as one before; not so when other
 * workers are far behind: then what is left is dropped), take back what it
 * had claimed from accept rings, and answer; after the last answer worker 0 undoes the rest
 * (undo.c).
 * Holds:   P1 a process index is given out again only after every worker has answered PROC_GONE;
 *          its rings are empty then, whatever the process left in them
 * Threads: worker 0's control path; on_proc_add and on_proc_gone on each worker
 */
#include "stackd/app/app_int.h"

struct app_proc *app_proc_at(struct stack *st, uint32_t rec)
{
	struct app_proc *p = arena_at(st->arena, AR_PROC, rec);

	return p && p->gen ? p : NULL;
}

void app_tell_all(struct stack *st, uint16_t kind, const struct app_proc *p, uint32_t rec)
{
	for (uint16_t w = 0; w < st->workers; w++) {
		struct stack_msg m = { .kind = kind, .u32 = { p->seg, p->idx, rec, p->gen } };

		sock_send(st, w, &m);
	}
}

/* ---- every worker ---- */

static void seg_activate(struct app_state *a, uint16_t seg)
{
	struct app_seg *s = &a->segs[seg];

	if (s->active)
		return;
	a->active[a->active_cnt++] = seg;
	s->active = a->active_cnt;
}

static void seg_deactivate(struct app_state *a, uint16_t seg)
{
	struct app_seg *s = &a->segs[seg];
	uint16_t last = a->active[--a->active_cnt];

	a->active[s->active - 1] = last;
	a->segs[last].active = s->active;
	s->active = 0;
}

/* Take the commands of @proc from now on. */
void app_proc_join(struct stack *st, uint16_t seg, uint32_t proc, uint32_t rec)
{
	struct app_seg *s = &st->app->segs[seg];

	s->rec[proc] = rec;
	s->bad[proc] = 0;
	bit_set(s->live, proc);
	bit_set(s->more, proc);		/* it may have pushed before this came */
	if (s->procs++ == 0)
		seg_activate(st->app, seg);
}

void app_on_proc_add(struct stack *st, const struct stack_msg *msg)
{
	app_proc_join(st, (uint16_t)msg->u32[0], msg->u32[1], msg->u32[2]);
}

/* Nothing that the process left half-written may look like a command of the next one. */
static void ring_reset(struct sd_cmd_ring *r, struct shm_cmd_reader *rd)
{
	if (!rd->cons && !ld_rlx(&r->reserve))
		return;
	for (unsigned i = 0; i < SD_CMD_ENTRIES; i++)
		st_rlx(&r->e[i].seq, 0);
	*rd = (struct shm_cmd_reader){ 0 };
	st_rlx(&r->cons, 0);
	st_rel(&r->reserve, 0);
}

void app_on_proc_reap(struct stack *st, const struct stack_msg *msg)
{
	sock_accept_reap(st, (uint16_t)msg->u32[0], msg->u32[1], msg->u32[3]);
}

void app_on_proc_gone(struct stack *st, const struct stack_msg *msg)
{
	uint16_t seg = (uint16_t)msg->u32[0];
	uint32_t proc = msg->u32[1];
	struct app_seg *s = &st->app->segs[seg];
	struct stack_msg ack = { .kind = SMSG_PROC_ACK, .u32 = { msg->u32[2] } };

	app_proc_poll(st, seg, proc, 2 * SD_CMD_ENTRIES);
	bit_clear(s->live, proc);
	bit_clear(s->more, proc);
	ring_reset(shm_cmd_ring(&st->segs[seg], proc, st->worker), &s->rd[proc]);
	s->rec[proc] = 0;
	if (--s->procs == 0)
		seg_deactivate(st->app, seg);
	sock_send(st, 0, &ack);
}

/* ---- worker 0 ---- */

/* Return: process index or -1. */
static int proc_idx_alloc(struct app_seg *s)
{
	for (unsigned w = 0; w < PROC_WORDS; w++) {
		if (!~s->used[w])
			continue;
		uint32_t i = w * 64 + (uint32_t)__builtin_ctzll(~s->used[w]);

		bit_set(s->used, i);
		return (int)i;
	}
	return -1;
}

static int proc_new(struct stack *st, uint16_t seg, const struct app_proc *who, uint32_t *ret_rec)
{
	struct app_state *a = st->app;
	struct app_seg *s = &a->segs[seg];
	uint32_t rec = idx_alloc(&a->procs);
	struct app_proc *p = arena_at(st->arena, AR_PROC, rec);
	struct sd_proc *sp;
	int idx = p ? proc_idx_alloc(s) : -1;

	if (idx < 0) {
		if (rec)
			idx_free(&a->procs, rec);
		return -ENOSPC;
	}
	*p = *who;
	p->seg = seg;
	p->idx = (uint16_t)idx;
	p->gen = ++a->gen ? a->gen : ++a->gen;
	p->live = 1;
	p->home = (uint16_t)(rec % st->workers);
	sp = shm_proc(&st->segs[seg], p->idx);
	st_rlx(&sp->pid, p->pid);
	st_rel(&sp->gen, p->gen);
	s->attached++;
	*ret_rec = rec;
	return 0;
}

int app_attach(struct stack *st, uint16_t seg, const struct app_proc *who, uint32_t *ret_rec)
{
	int err;

	if (!stack_seg(st, seg))
		return -EINVAL;
	err = proc_new(st, seg, who, ret_rec);
	if (!err)
		app_tell_all(st, SMSG_PROC_ADD, app_proc_at(st, *ret_rec), *ret_rec);
	return err;
}

int app_fork(struct stack *st, uint32_t parent_rec, uint32_t *ret_rec, app_done_fn done, void *arg)
{
	struct app_proc *parent = app_proc_at(st, parent_rec), *p;
	struct app_job clone = { .kind = APP_JOB_CLONE, .done = done, .arg = arg };
	struct app_proc who;
	int err;

	if (!parent || !parent->live)
		return -ESRCH;
	/* Slots that the child inherits must be in service before its first command for them. */
	app_proc_poll(st, parent->seg, parent->idx, SD_CMD_ENTRIES);
	who = *parent;
	who.pid = 0;
	who.fd_key = 0;
	who.low_port = 0;
	err = proc_new(st, parent->seg, &who, ret_rec);
	if (err)
		return err;
	p = app_proc_at(st, *ret_rec);
	clone.seg = p->seg;
	clone.rec = *ret_rec;
	clone.from = parent->idx;
	app_tell_all(st, SMSG_PROC_ADD, p, *ret_rec);
	return app_clone(st, &clone) ? 0 : 1;
}

void app_catch_up(struct stack *st, uint32_t rec)
{
	const struct app_proc *p = app_proc_at(st, rec);

	if (p && p->live)
		app_proc_poll(st, p->seg, p->idx, SD_CMD_ENTRIES);
}

int app_mbox_alloc(struct stack *st, uint32_t rec, uint32_t *mbox, unsigned cnt)
{
	struct app_proc *p = app_proc_at(st, rec);
	struct app_seg *s = p ? &st->app->segs[p->seg] : NULL;
	unsigned n = 0;

	if (!p || !p->live)
		return -ESRCH;
	for (uint32_t i = 1; i < SD_MAX_MBOXES && n < cnt; i++)
		if (!s->mbox_owner[i])
			mbox[n++] = i;
	if (n < cnt)
		return -ENOSPC;
	for (unsigned i = 0; i < cnt; i++) {
		struct sd_mbox *mb = shm_mbox(&st->segs[p->seg], mbox[i]);

		s->mbox_owner[mbox[i]] = (uint16_t)(p->idx + 1);
		st_rlx(&mb->proc, p->idx);
		st_rlx(&mb->sleeping, SD_MBOX_AWAKE);
		or_sc(&shm_rw_hdr(&st->segs[p->seg])->mbox_used[mbox[i] / 64],
		      1ull << mbox[i] % 64);
	}
	return 0;
}

void app_detach(struct stack *st, uint32_t rec, bool *ret_last)
{
	struct app_proc *p = app_proc_at(st, rec);
	struct app_seg *s = p ? &st->app->segs[p->seg] : NULL;
	bool last = true;

	*ret_last = false;
	if (!p || !p->live)
		return;
	p->live = 0;
	for (uint32_t i = 0; last && i < SD_MAX_PROCS; i++) {
		struct app_proc *o = app_proc_at(st, s->rec[i]);

		last = !o || !o->live;
	}
	*ret_last = last;
	app_tell_all(st, SMSG_PROC_GONE, p, rec);
}

void app_on_proc_ack(struct stack *st, const struct stack_msg *msg)
{
	uint32_t rec = msg->u32[0];
	struct app_proc *p = app_proc_at(st, rec);

	ASSERT(p && !p->live);
	if (++st->app->gone_acks[rec] < st->workers)
		return;
	st->app->gone_acks[rec] = 0;
	app_job_add(st, (struct app_job){ .kind = APP_JOB_UNDO, .seg = p->seg, .rec = rec });
}

static void member_gone(struct stack *st, uint16_t seg)
{
	if (--st->app->segs[seg].attached == 0)
		app_family_end(st, seg);
}

void app_proc_free(struct stack *st, uint32_t rec)
{
	struct app_proc *p = app_proc_at(st, rec);
	struct app_seg *s = &st->app->segs[p->seg];
	uint16_t seg = p->seg;

	bit_clear(s->used, p->idx);
	*p = (struct app_proc){ 0 };
	idx_free(&st->app->procs, rec);
	if (s->attached > 1)
		app_sweep_want(st, seg);
	member_gone(st, seg);
}

void app_family_end(struct stack *st, uint16_t seg)
{
	st->app->segs[seg].ending = 1;
	app_job_add(st, (struct app_job){ .kind = APP_JOB_END, .seg = seg });
}

void app_family_hold(struct stack *st, uint16_t seg)
{
	st->app->segs[seg].attached++;
	st->app->segs[seg].holds++;
}

void app_family_let_go(struct stack *st, uint16_t seg)
{
	st->app->segs[seg].holds--;
	if (st->app->segs[seg].attached > 1)
		app_sweep_want(st, seg);	/* what was not swept meanwhile */
	member_gone(st, seg);
}

void app_on_proc_bad(struct stack *st, const struct stack_msg *msg)
{
	struct app_proc *p = app_proc_at(st, msg->u32[0]);

	if (!p || !p->live || p->gen != msg->u32[1])
		return;
	snmp_inc(st, SNMP_App_SessionsEnded);
	if (st->up->proc_bad)
		st->up->proc_bad(st, msg->u32[0]);
}

void app_proc_walk(struct stack *st, void (*fn)(void *arg, uint32_t rec, const struct app_proc *p),
		   void *arg)
{
	const struct app_proc *p;

	for (uint32_t i = 1; i < st->app->procs.bump; i++) {
		p = app_proc_at(st, i);
		if (p)
			fn(arg, i, p);
	}
}
