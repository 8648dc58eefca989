/* SPDX-License-Identifier: MIT */
/* app/sweep.c - sockets that a killed process had half taken or half given back
 * A process that is killed between taking a socket out of its open table and telling the worker,
 * or between counting a reference and entering it, leaves a count too high: the peer would wait for
 * ever, or the port stay taken, while the family lives on. So after a death worker 0 counts, for
 * each slot in service, how many entries of the family's tables and accept rings name it, in two
 * passes SWEEP_GAP_US apart. What nobody names and nothing moved in between is closed; a count that
 * stood too high both times is corrected. A fork makes a pass begin anew: it copies entries to
 * where the pass may have been already.
 * Deviation: a sibling that is stopped for longer than the gap between the same two steps loses the
 * socket. It is a window of nanoseconds and needs a kill in the same family at that time.
 * Cost:    a load per table entry and slot in use, SWEEP_PIECE of them a poll
 * Threads: worker 0; what is read of other workers' is read with acquire and believed only when it
 *          was the same twice
 */
#include <stdlib.h>
#include <sys/mman.h>

#include "stackd/app/app_int.h"

#define SWEEP_GAP_US	1000000u
#define SWEEP_PIECE	2048u

enum { SWEEP_TABLES = 0, SWEEP_RINGS, SWEEP_SLOTS, SWEEP_GAP };

/* What the first pass saw of a slot: to be the same in the second. */
struct seen {
	uint32_t gen, refs, cnt;
	uint64_t moved;			/* positions of both directions */
};

struct app_sweep {
	uint16_t seg;			/* being swept, 0 = none */
	uint8_t stage, pass;
	uint32_t proc, pos;		/* where the stage stands */
	uint32_t forks;			/* of the family when the pass began */
	uint64_t again_us;		/* when the second pass begins */
	uint32_t *cnt;			/* [SD_SLOTS], sparse */
	struct seen *seen;		/* [SD_SLOTS], sparse */
	uint64_t want[STACK_MAX_SEGS / 64 + 1];
	uint32_t wants;
};

static void *map(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

int app_sweep_init(struct stack *st)
{
	struct app_sweep *w = calloc(1, sizeof(*w));

	st->app->sweep = w;
	if (!w)
		return -ENOMEM;
	w->cnt = map(SD_SLOTS * sizeof(*w->cnt));
	w->seen = map(SD_SLOTS * sizeof(*w->seen));
	return w->cnt && w->seen ? 0 : -ENOMEM;
}

void app_sweep_fini(struct stack *st)
{
	struct app_sweep *w = st->app->sweep;

	if (!w)
		return;
	if (w->cnt)
		munmap(w->cnt, SD_SLOTS * sizeof(*w->cnt));
	if (w->seen)
		munmap(w->seen, SD_SLOTS * sizeof(*w->seen));
	free(w);
}

void app_sweep_want(struct stack *st, uint16_t seg)
{
	struct app_sweep *w = st->app->sweep;

	if (bit_get(w->want, seg))
		return;
	bit_set(w->want, seg);
	w->wants++;
}

/* ---- one pass ---- */

static void pass_begin(struct stack *st)
{
	struct app_sweep *w = st->app->sweep;

	w->stage = SWEEP_TABLES;
	w->proc = w->pos = 0;
	w->forks = st->app->segs[w->seg].forks;
	/* pages as new: only slots in use cost memory */
	madvise(w->cnt, SD_SLOTS * sizeof(*w->cnt), MADV_DONTNEED);
}

static void count(struct app_sweep *w, uint32_t slot)
{
	if (slot < SD_SLOTS)
		w->cnt[slot]++;
}

/* Entries of all processes, SWEEP_PIECE at a time. Return: true at the end. */
static bool tables_piece(struct stack *st)
{
	struct app_sweep *w = st->app->sweep;
	struct app_seg *s = &st->app->segs[w->seg];

	for (unsigned n = 0; n < SWEEP_PIECE && w->proc < SD_MAX_PROCS; n++) {
		struct shm_seg *seg = &st->segs[w->seg];
		struct sd_proc *sp = shm_proc(seg, w->proc);
		uint32_t end = bit_get(s->used, w->proc) ? (uint32_t)shm_opentab_len(sp) : 0, stop;

		if (w->pos >= end) {
			w->proc++;
			w->pos = 0;
			continue;
		}
		stop = app_fds_stop(w->pos, end);
		w->pos = app_fd_next(seg, w->proc, w->pos, stop);
		if (w->pos >= stop) {
			n += SWEEP_PIECE / 4;	/* so many empty ones */
			continue;
		}
		sd_ofd o = shm_ofd_get(sp, (int)w->pos++);
		if (SD_OFD_KIND(o) == SD_OFD_SOCK)
			count(w, SD_OFD_IDX(o));
	}
	return w->proc == SD_MAX_PROCS;
}

/* What waits in accept rings, or is being taken from there, is nobody's yet. */
static bool rings_piece(struct stack *st)
{
	struct app_sweep *w = st->app->sweep;

	if (w->pos < SD_MAX_ACCEPTS && sock_accept_ring_used(st, w->seg, w->pos)) {
		struct sd_accept_ring *r = shm_accept_ring(&st->segs[w->seg], w->pos);

		for (unsigned i = 0; i < SD_ACCEPT_ENTRIES; i++)
			if (ld_acq(&r->e[i].claim) != SD_CLAIM_FREE)
				count(w, ld_rlx(&r->e[i].slot));
	}
	return ++w->pos >= SD_MAX_ACCEPTS;
}

static void slot_close(struct stack *st, uint16_t seg, uint32_t slot, uint32_t gen)
{
	app_close_slot(st, (struct sock_id){ .seg = seg, .slot = slot, .gen = gen });
	snmp_inc(st, SNMP_App_Swept);
}

/* Compare a slot with the first pass, or remember it. */
static void slot_look(struct stack *st, uint32_t slot)
{
	struct app_sweep *w = st->app->sweep;
	struct sd_slot_e *e = shm_slot_e(&st->segs[w->seg], slot);
	struct sd_slot_p *sp = shm_slot_p(&st->segs[w->seg], slot);
	struct seen *was = &w->seen[slot], now = { .gen = ld_acq(&e->gen) };

	if (!now.gen && !was->gen)
		return;
	now.refs = ld_acq(&sp->refs);
	now.cnt = w->cnt[slot];
	now.moved = ld_acq(&sp->tx_tail) + ld_acq(&sp->rx_head);
	if (w->pass == 0 || was->gen != now.gen || was->refs != now.refs ||
	    was->cnt != now.cnt || was->moved != now.moved) {
		*was = now;
		return;
	}
	if (st->app->segs[w->seg].holds)
		return;			/* references that no table shows */
	/* An accepted connection has had an fd only since SD_P_PLACEHOLD was set. */
	if (slot >= SD_SLOTS_P && !(ld_acq(&sp->flags) & SD_P_PLACEHOLD))
		return;
	if (!now.cnt && !(ld_acq(&e->flags) & SD_E_CLOSED))
		slot_close(st, w->seg, slot, now.gen);
	else if (now.cnt && now.refs > now.cnt)
		cas_sc(&sp->refs, &now.refs, now.cnt);
}

/* The programs' slots, then the engine's. */
static bool slots_piece(struct stack *st)
{
	struct app_sweep *w = st->app->sweep;
	uint32_t end = app_slots_end(st, w->seg);

	for (unsigned n = 0; n < SWEEP_PIECE / 8; n++) {
		w->pos = app_slot_after(st, w->seg, w->pos);
		if (w->pos >= end)
			return true;
		slot_look(st, w->pos);
	}
	return false;
}

/* ---- all of it ---- */

static void sweep_end(struct app_sweep *w)
{
	madvise(w->seen, SD_SLOTS * sizeof(*w->seen), MADV_DONTNEED);
	w->seg = 0;
}

static void next_family(struct stack *st)
{
	struct app_sweep *w = st->app->sweep;

	for (uint16_t i = 1; i < STACK_MAX_SEGS; i++) {
		if (!bit_get(w->want, i))
			continue;
		bit_clear(w->want, i);
		w->wants--;
		w->seg = i;
		w->pass = 0;
		pass_begin(st);
		return;
	}
}

static void step(struct stack *st)
{
	struct app_sweep *w = st->app->sweep;
	bool end = w->stage == SWEEP_TABLES ? tables_piece(st) :
		   w->stage == SWEEP_RINGS ? rings_piece(st) : slots_piece(st);

	if (!end)
		return;
	w->pos = 0;
	if (w->stage < SWEEP_SLOTS && w->forks != st->app->segs[w->seg].forks) {
		pass_begin(st);
	} else if (++w->stage == SWEEP_GAP) {
		w->again_us = st->now_us + SWEEP_GAP_US;
		if (w->pass++)
			sweep_end(w);
	}
}

bool app_sweep_busy(const struct stack *st)
{
	const struct app_sweep *w = st->app->sweep;

	return w->seg ? w->stage != SWEEP_GAP || st->now_us >= w->again_us : w->wants != 0;
}

uint64_t app_sweep_due_us(const struct stack *st)
{
	const struct app_sweep *w = st->app->sweep;

	return w->seg && w->stage == SWEEP_GAP ? w->again_us : UINT64_MAX;
}

unsigned app_sweep_poll(struct stack *st)
{
	struct app_sweep *w = st->app->sweep;

	if (w->seg && !st->app->segs[w->seg].attached)
		sweep_end(w);		/* the end of the family closes everything */
	if (!app_sweep_busy(st))
		return 0;
	if (!w->seg)
		next_family(st);
	else if (w->stage == SWEEP_GAP)
		pass_begin(st);
	else
		step(st);
	return 1;
}
