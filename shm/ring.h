/* SPDX-License-Identifier: MIT */
/* shm/ring.h - command rings: many producers in one process, one worker as consumer
 * Pairs:   producer st_rel(e.seq) with worker ld_acq(e.seq); worker st_rel(cons) with ld_acq(cons)
 * Holds:   R1 an entry is copied once by the worker, then checked; R2 cons only the worker writes,
 *          from a private copy: a program cannot move it; R3 one pop looks SHM_CMD_AHEAD
 *          entries ahead at most, whatever the ring says
 * A producer may be stopped between taking a position and filling it (preempted, or interrupted by
 * a signal handler that sends a command itself and waits for the answer). The worker then takes
 * later entries first. Order is kept where there is one: a command that was published before
 * another push began is taken before that one.
 */
#ifndef SHM_RING_H
#define SHM_RING_H

#include "shm/segment.h"

/**
 * shm_cmd_push() - publish one command; async-signal-safe, lock-free
 * @cmd: seq is ignored
 * Also sets this process's bit in the segment's dirty words (or_sc), which pairs with the worker's
 * xchg_sc; the caller then looks at info->worker[].sleeping (ld_sc) and rings the doorbell.
 * Return: 0, or -EAGAIN when the ring is full
 */
int shm_cmd_push(const struct shm_seg *seg, uint32_t proc, uint32_t worker,
		 const struct sd_cmd *cmd);
/* Its two steps. publish() alone: the worker finds the command when the process next gives notice.
 * notice() sets the bit. Return: true when it was clear, that is, the worker has looked since the
 * last notice and may sleep; otherwise who gave that notice has rung the doorbell, or is about
 * to. */
int shm_cmd_publish(const struct shm_seg *seg, uint32_t proc, uint32_t worker,
		    const struct sd_cmd *cmd);
bool shm_cmd_notice(const struct shm_seg *seg, uint32_t proc, uint32_t worker);

#define SHM_CMD_AHEAD	64u

/* Worker's private view of one ring; zero-initialised with the ring, or cons read from the ring
 * of a worker that was killed (commands taken ahead of cons come again then). */
struct shm_cmd_reader {
	uint32_t cons;
	uint64_t taken;			/* bit i: the entry at cons + i was taken ahead of cons */
};

/* Copy out the next command. Return: true when there was one. What was popped before counts as
 * carried out: only now does cons move over it, so a worker that is killed leaves its last
 * command in the ring and its successor takes that again. */
bool shm_cmd_pop(const struct shm_seg *seg, uint32_t proc, uint32_t worker,
		 struct shm_cmd_reader *rd, struct sd_cmd *ret_cmd);

#endif
