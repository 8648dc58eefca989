/* SPDX-License-Identifier: MIT */
/* preload/slot.c - what a slot says, and telling its worker
 * The engine's half of a slot counts only while its generation is the program's; before
 * SD_OP_ATTACH was handled the socket looks like any unconnected one.
 * Holds:   S1 pending: only who turns it from 0 pushes a KICK
 *          S2 the doorbell is rung once per look of the worker: by whose notice was the first, if
 *             the worker sleeps. A signal handler does not rely on a notice that it interrupted
 *          S3 a worker that naps is woken before the thread waits (pl_settle_all()), and looks by
 *             itself if it never does
 * Threads: any; async-signal-safe
 */
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>

#include "preload/pl_int.h"

uint32_t pl_state_of(uint32_t slot)
{
	struct sd_slot_e *e = pl_e(slot);
	uint32_t st = pl_live(e, pl_p(slot)) ? ld_acq(&e->state) : SD_ST_CLOSE;

	return st == SD_ST_FREE ? SD_ST_CLOSE : st;
}

uint32_t pl_eflags(uint32_t slot)
{
	struct sd_slot_e *e = pl_e(slot);

	return pl_live(e, pl_p(slot)) ? ld_acq(&e->flags) : 0;
}

uint32_t pl_worker(uint32_t slot)
{
	struct sd_slot_e *e = pl_e(slot);
	uint32_t w = pl_live(e, pl_p(slot)) ? ld_acq(&e->worker) : 0;

	return w < pl.workers ? w : 0;
}

bool pl_err_pending(uint32_t slot)
{
	struct sd_slot_e *e = pl_e(slot);
	struct sd_slot_p *p = pl_p(slot);

	return pl_live(e, p) && ld_acq(&e->err_seq) != ld_rlx(&p->err_ack);
}

int pl_err_take(uint32_t slot)
{
	struct sd_slot_e *e = pl_e(slot);
	struct sd_slot_p *p = pl_p(slot);
	uint32_t ack = ld_rlx(&p->err_ack), seq;
	int err;

	if (!pl_live(e, p))
		return 0;
	seq = ld_acq(&e->err_seq);	/* pairs with the worker's st_rel after err */
	err = (int)ld_rlx(&e->err);
	if (seq == ack || !cas_sc(&p->err_ack, &ack, seq))
		return 0;
	return err;
}

uint64_t pl_tx_space(uint32_t slot)
{
	struct sd_slot_e *e = pl_e(slot);
	uint64_t used = ld_rlx(&pl_p(slot)->tx_tail) - ld_sc(&e->tx_una);
	uint64_t limit = ld_rlx(&e->tx_limit);

	return used < limit ? limit - used : 0;
}

uint64_t pl_tx_room(uint32_t slot, uint64_t need)
{
	uint64_t space = pl_tx_space(slot);

	if (space >= need)
		return space;
	or_sc(&pl_p(slot)->flags, SD_P_NOSPACE);	/* pairs: worker, xchg_sc(tx_una) */
	return pl_tx_space(slot);
}

/* ---- commands ---- */

struct sd_cmd pl_cmd_for(uint32_t slot, enum sd_op op)
{
	return (struct sd_cmd){ .op = (uint16_t)op, .slot = slot, .gen = ld_rlx(&pl_p(slot)->gen) };
}

static void ring(uint32_t worker)
{
	uint64_t one = 1;
	int saved = errno;

	/* No cancellation point; a full counter rings as well. */
	if (pl_sys(SYS_write, pl.doorbell[worker], &one, sizeof(one)) < 0)
		errno = saved;
}

/* Notices of this thread that are not complete; more than one only in signal handlers. */
static __thread volatile uint32_t in_notice __attribute__((tls_model("initial-exec")));

/* Bit per napping worker that has commands of this thread and was not rung for. A bit that a signal
 * handler's loses is made up by the worker, which looks by itself soon. */
static __thread uint32_t owed __attribute__((tls_model("initial-exec")));
static_assert(SD_MAX_WORKERS <= 32, "a bit each");

static void notice(uint32_t worker)
{
	bool nested = in_notice++ > 0, first = shm_cmd_notice(&pl.seg, pl.proc_idx, worker);
	/* pairs with the worker: sleeping (xchg_sc), then a look at the dirty words */
	uint32_t sleeping = ld_sc(&pl.info->worker[worker].sleeping);

	if ((first || nested) && sleeping == SD_NAPPING)
		owed |= 1u << worker;
	else if ((first || nested) && sleeping)
		ring(worker);
	in_notice--;
}

/* The word is read-only here, which is enough to wake. */
static void end_nap(unsigned worker)
{
	const uint32_t *sleeping = &pl.info->worker[worker].sleeping;
	int saved = errno;

	if (ld_sc(sleeping) == SD_NAPPING)
		pl_sys(SYS_futex, sleeping, FUTEX_WAKE, 1, NULL, NULL, 0);
	errno = saved;
}

void pl_settle(void)
{
	uint32_t to = owed;

	owed = 0;
	for (; to; to &= to - 1)
		end_nap((unsigned)__builtin_ctz(to));
}

void pl_settle_all(void)
{
	owed = 0;
	for (unsigned w = 0; w < pl.workers; w++)
		end_nap(w);
}

/* The ring is full only while the worker is far behind or being replaced: wait for it, bounded. */
#define PUSH_YIELDS	64
#define PUSH_SLEEPS	5000		/* of 1 ms */

/* Hung up for good: the supervisor keeps the connection while an engine is being replaced. */
static bool engine_gone(void)
{
	struct pollfd p = { pl.ctl_fd, 0, 0 };
	struct timespec zero = { 0, 0 };

	return pl_sys(SYS_ppoll, &p, 1, &zero, NULL, 0) == 1 && (p.revents & (POLLHUP | POLLERR));
}

static int push(uint32_t worker, const struct sd_cmd *cmd)
{
	const struct timespec ms = { .tv_nsec = 1000000 };
	int r;

	for (int i = 0;; i++) {
		r = shm_cmd_publish(&pl.seg, pl.proc_idx, worker, cmd);
		if (r != -EAGAIN)
			return r;
		if (i == PUSH_YIELDS + PUSH_SLEEPS)
			return -EAGAIN;
		if (engine_gone())
			return -ECONNRESET;
		shm_cmd_notice(&pl.seg, pl.proc_idx, worker);
		ring(worker);
		if (i < PUSH_YIELDS)
			sched_yield();
		else
			pl_sys(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &ms, NULL);
	}
}

int pl_cmd_quiet(uint32_t worker, const struct sd_cmd *cmd)
{
	return push(worker, cmd);
}

int pl_cmd(uint32_t worker, const struct sd_cmd *cmd)
{
	int r = push(worker, cmd);

	if (!r)
		notice(worker);
	return r;
}

void pl_kick(uint32_t slot, uint32_t pend)
{
	struct sd_cmd cmd;

	if (or_sc(&pl_p(slot)->pending, pend) != 0)	/* S1 */
		return;
	cmd = pl_cmd_for(slot, SD_OP_KICK);
	pl_cmd(pl_worker(slot), &cmd);
}

/* ---- time-outs ---- */

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + (ts.tv_nsec + 999999) / 1000000;
}

struct pl_deadline pl_deadline_in(uint32_t timeo_ms)
{
	return (struct pl_deadline){ timeo_ms ? now_ms() + timeo_ms : -1 };
}

int pl_deadline_left(const struct pl_deadline *d)
{
	int64_t left;

	if (d->end_ms < 0)
		return -1;
	left = d->end_ms - now_ms();
	return left < 0 ? 0 : left > INT32_MAX ? INT32_MAX : (int)left;
}
