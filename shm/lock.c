/* SPDX-License-Identifier: MIT */
/* shm/lock.c - robust locks in shared memory
 * Uncontended: one compare-and-swap each way. Contended: a short spin, then the waiter marks the
 * word and sleeps on its low half. A woken waiter takes the lock with the mark still set, since
 * others may sleep behind it; so each unlock of a marked word wakes one, and no wake-up is lost.
 * A waiter that is killed after it was woken loses it: sleeps are bounded by LOCK_NAP_MS.
 * Pairs:   unlock's cas_sc(word -> 0) with the next holder's cas_sc(0 -> word)
 * Threads: any; the engine by trylock and unlock only. Async-signal-safe; errno is left alone
 */
#include <assert.h>
#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "shm/lock.h"
#include "shm/sys_int.h"
#include "stackd/atomic.h"

#define LOCK_SPINS	40
#define LOCK_NAP_MS	100
#define LOCK_ENGINE_NAP_US 50	/* the engine holds a lock for 1 us, unless preempted */

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the futex is the low half");

static uint64_t holder(uint64_t w)
{
	return w & ~(uint64_t)SHM_LOCK_WAITERS;
}

/* Does @w name a thread of @owner's own process that has gone? */
static bool holder_gone(uint64_t w, uint64_t owner)
{
	long pid;

	if (w >> 32 != owner >> 32)
		return false;
	pid = shm_sys4(SYS_getpid, 0, 0, 0, 0);
	return shm_sys4(SYS_tgkill, pid, (long)(uint32_t)holder(w), 0, 0) == -ESRCH;
}

/* Sleep until the word changes. Return: false when time ran out. */
static bool nap(uint64_t *word, uint64_t seen)
{
	struct timespec ts = { .tv_nsec = LOCK_NAP_MS * 1000000L };

	return shm_sys4(SYS_futex, (long)word, FUTEX_WAIT, (long)(uint32_t)seen, (long)&ts) !=
	       -ETIMEDOUT;
}

static void wake_one(uint64_t *word)
{
	shm_sys4(SYS_futex, (long)word, FUTEX_WAKE, 1, 0);
}

/* Wait once for @cur's holder. Return: true when it is dead and the lock was taken over. */
static bool wait_holder(uint64_t *word, uint64_t cur, uint64_t owner)
{
	const struct timespec engine_nap = { .tv_nsec = LOCK_ENGINE_NAP_US * 1000L };
	uint64_t marked = cur | SHM_LOCK_WAITERS;

	if (holder(cur) == SHM_LOCK_ENGINE) {
		shm_sys4(SYS_nanosleep, (long)&engine_nap, 0, 0, 0);
		return false;
	}
	if (cur != marked && !cas_sc(word, &cur, marked))
		return false;
	if (nap(word, marked) || !holder_gone(marked, owner))
		return false;
	return cas_sc(word, &marked, owner | SHM_LOCK_WAITERS);
}

int shm_lock(uint64_t *word, uint64_t owner)
{
	uint64_t cur = 0, want = owner;
	unsigned spins = 0;

	while (!cas_sc(word, &cur, want)) {	/* pairs with shm_unlock() */
		if (holder(cur) == owner)
			return -EDEADLK;
		if (spins++ < LOCK_SPINS) {
			cpu_relax();
		} else {
			if (wait_holder(word, cur, owner))
				return -EOWNERDEAD;
			want = owner | SHM_LOCK_WAITERS;
		}
		cur = 0;
	}
	return 0;
}

bool shm_trylock(uint64_t *word, uint64_t owner)
{
	uint64_t cur = 0;

	return cas_sc(word, &cur, owner);	/* pairs with shm_unlock() */
}

void shm_unlock(uint64_t *word, uint64_t owner)
{
	uint64_t cur = owner;

	while (!cas_sc(word, &cur, 0))		/* pairs with shm_lock(), shm_trylock() */
		if (holder(cur) != owner)
			return;
	if (cur & SHM_LOCK_WAITERS && owner != SHM_LOCK_ENGINE)
		wake_one(word);
}

bool shm_lock_reap(uint64_t *word, uint32_t proc)
{
	uint64_t cur = ld_acq(word);

	while (cur && cur >> 32 == (uint64_t)proc + 1) {
		if (cas_sc(word, &cur, 0)) {
			wake_one(word);
			return true;
		}
	}
	return false;
}
