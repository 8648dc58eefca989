/* SPDX-License-Identifier: MIT */
/* shm/lock.h - robust locks between threads and processes of a family (and the engine's try-lock)
 * Word: low 32 bits = thread id | SHM_LOCK_WAITERS, high 32 bits = process index + 1. 0 = free.
 * A dead holder is recovered by the engine, which knows which process index died; a thread that
 * died within a living process, by a waiter of the same process that finds after a time-out that it
 * is gone (thread ids of other processes may belong to another pid namespace and prove nothing).
 * Holds:   L1 what these locks guard changes in steps of which any prefix is valid (FIFO maps,
 *             subscriptions, positions), so that a lock may be freed without repairing it
 *          L2 the engine never waits for a lock, and nobody sleeps on one that the engine holds
 */
#ifndef SHM_LOCK_H
#define SHM_LOCK_H

#include <stdbool.h>
#include <stdint.h>

#define SHM_LOCK_WAITERS 0x80000000u
#define SHM_LOCK_ENGINE	((uint64_t)0xffffffffu << 32 | 1)	/* owner word of the engine */
#define SHM_LOCK_ENGINE_PROC 0xfffffffeu	/* for shm_lock_reap() by the engine's successor */

/* The owner word of a thread. */
static inline uint64_t shm_lock_owner(uint32_t proc, uint32_t tid)
{
	return (uint64_t)(proc + 1) << 32 | (tid & ~SHM_LOCK_WAITERS);
}

/* Return: 0; -EDEADLK when this thread holds it already (a signal handler interrupted it);
 * -EOWNERDEAD when taken over from a dead thread: the lock is held, too. */
int shm_lock(uint64_t *word, uint64_t owner);
bool shm_trylock(uint64_t *word, uint64_t owner);
/* Nothing happens when the lock is not @owner's any more. */
void shm_unlock(uint64_t *word, uint64_t owner);
/* Engine: free the lock if a thread of process @proc holds it; wakes a waiter.
 * Return: true when it was held by the dead process. */
bool shm_lock_reap(uint64_t *word, uint32_t proc);

#endif
