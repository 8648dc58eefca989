/* SPDX-License-Identifier: MIT */
/* shm/opentab.h - the open table: fd number -> what it is, one per process, in the segment
 * Writers: the owning process; the engine at fork (clone) and after a kill (undo).
 */
#ifndef SHM_OPENTAB_H
#define SHM_OPENTAB_H

#include "shm/segment.h"

/* Return: the entry, 0 when @fd is out of range or not ours. The fast path of every call. */
static inline sd_ofd shm_ofd_get(const struct sd_proc *p, int fd)
{
	return (unsigned)fd < SD_FDS ? ld_acq(&p->fds[fd]) : 0;
}

/* Store an entry and raise hi_fd. @fd in [0, SD_FDS). Does not touch slot refs. */
void shm_ofd_set(struct sd_proc *p, int fd, sd_ofd o);
/* Clear it. Return: what stood there (by exchange, so that two closers do not both get it). */
sd_ofd shm_ofd_take(struct sd_proc *p, int fd);

/* References of a slot. put returns true when the last one went: the caller sends SD_OP_CLOSE. */
void shm_slot_get(const struct shm_seg *seg, uint32_t slot);
/* The one reference of a slot that nobody else can know: accepted, and claimed by the caller. Not
 * counted up: who claimed it before and was killed may have counted already. */
void shm_slot_own(const struct shm_seg *seg, uint32_t slot);
/* One more, unless there is none. Return: whether it was counted. */
bool shm_slot_join(const struct shm_seg *seg, uint32_t slot);
bool shm_slot_put(const struct shm_seg *seg, uint32_t slot);

/**
 * shm_opentab_clone_one() - copy entry @fd of @from's table to @to, one more reference of a socket
 * Engine, while the parent's forking thread waits for the answer. SHIM entries are copied as are.
 */
void shm_opentab_clone_one(const struct shm_seg *seg, uint32_t from, uint32_t to, int fd);

/* Engine: take entry @fd out of a dead process's table. Return: true when this was the last
 * reference of the socket *ret_slot, *ret_gen. */
bool shm_opentab_undo_one(const struct shm_seg *seg, uint32_t proc, int fd, uint32_t *ret_slot,
			  uint32_t *ret_gen);
/* Entries that may be in use, at most SD_FDS. */
int shm_opentab_len(const struct sd_proc *p);

#endif
