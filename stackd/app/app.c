/* SPDX-License-Identifier: MIT */
/* app/app.c - life of a worker's programs' side
 * Threads: each worker its own state; the parts of worker 0 are made there only
 */
#include <sys/mman.h>

#include "stackd/app/app_int.h"

static void *map(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static void unmap(void *p, size_t size)
{
	if (p)
		munmap(p, size);
}

static uint32_t proc_cnt(struct stack *st)
{
	return st->arena->hdr->reg[AR_PROC].cnt;
}

static int init_worker0(struct stack *st, struct app_state *a)
{
	a->gone_acks = map(proc_cnt(st) * sizeof(*a->gone_acks));
	a->jobs = map(app_jobs_max(st) * sizeof(*a->jobs));
	if (!a->gone_acks || !a->jobs || app_sweep_init(st))
		return -ENOMEM;
	st->on_msg[SMSG_PROC_ACK] = app_on_proc_ack;
	st->on_msg[SMSG_PROC_BAD] = app_on_proc_bad;
	st->on_msg[SMSG_SEG_ACK] = app_on_seg_ack;
	return idx_pool_init(&a->procs, 0, proc_cnt(st));
}

int app_init(struct stack *st)
{
	struct app_state *a = map(sizeof(*a));
	int err = 0;

	if (!a)
		return -ENOMEM;
	st->app = a;
	a->segs = map(APP_SEGS_SIZE);
	a->wakes = map(APP_WAKES_MAX * sizeof(*a->wakes));
	if (!a->segs || !a->wakes)
		err = -ENOMEM;
	st->on_msg[SMSG_CMD] = app_on_cmd;
	st->on_msg[SMSG_PROC_ADD] = app_on_proc_add;
	st->on_msg[SMSG_PROC_GONE] = app_on_proc_gone;
	st->on_msg[SMSG_PROC_REAP] = app_on_proc_reap;
	st->on_msg[SMSG_SEG_GONE] = app_on_seg_gone;
	if (!err && st->worker == 0)
		err = init_worker0(st, a);
	if (err)
		app_fini(st);
	return err;
}

void app_fini(struct stack *st)
{
	struct app_state *a = st->app;

	if (!a)
		return;
	idx_pool_fini(&a->procs);
	unmap(a->gone_acks, proc_cnt(st) * sizeof(*a->gone_acks));
	unmap(a->jobs, app_jobs_max(st) * sizeof(*a->jobs));
	app_sweep_fini(st);
	unmap(a->segs, APP_SEGS_SIZE);
	unmap(a->wakes, APP_WAKES_MAX * sizeof(*a->wakes));
	unmap(a, sizeof(*a));
	st->app = NULL;
}
