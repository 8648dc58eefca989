/* SPDX-License-Identifier: MIT */
/* shm/segment.h - create, map and address a segment (include/stackd/abi.h)
 * Holds:   every index handed to an accessor is checked against the constant geometry; an index out
 *          of range yields NULL, never a stray pointer
 */
#ifndef SHM_SEGMENT_H
#define SHM_SEGMENT_H

#include "stackd/abi.h"
#include "stackd/atomic.h"

/* A mapped segment, private to the process that mapped it. */
struct shm_seg {
	uint32_t id;			/* 1.. */
	uint8_t *ro;			/* SD_RO_SIZE bytes; PROT_READ in programs */
	uint8_t *rw;			/* SD_RW_SIZE bytes */
	int rw_fd;			/* engine: its file, borrowed; -1 = not at hand */
};

/* Make the two memfds of segment @id and write their headers. Engine only.
 * Return: 0 and the fds (CLOEXEC, sized, sealed against resizing, RO mode 0400), or -errno. */
int shm_seg_create(uint32_t id, uint32_t workers, int *ret_ro_fd, int *ret_rw_fd);

/* Map; @engine: RO writable too. Checks magic, major and geometry, the engine only those of RO:
 * -EPROTO when they differ.
 * The fds may be closed afterwards; the engine's rw_fd is then to be set to -1. MAP_NORESERVE,
 * MADV_DONTDUMP. */
int shm_seg_map(int ro_fd, int rw_fd, bool engine, struct shm_seg *ret_seg);
void shm_seg_unmap(struct shm_seg *seg);

static inline struct sd_slot_e *shm_slot_e(const struct shm_seg *s, uint32_t i)
{
	return i - 1 < SD_SLOTS - 1 ? (struct sd_slot_e *)(s->ro + SD_RO_SLOTS) + i : NULL;
}

static inline struct sd_slot_p *shm_slot_p(const struct shm_seg *s, uint32_t i)
{
	return i - 1 < SD_SLOTS - 1 ? (struct sd_slot_p *)(s->rw + SD_RW_SLOTS) + i : NULL;
}

/* Engine chunk (role RX) or program chunk (role TX). */
static inline uint8_t *shm_chunk(const struct shm_seg *s, enum sd_fifo_role role, uint32_t i)
{
	if (i - 1 >= SD_CHUNKS - 1)
		return NULL;
	return (role == SD_FIFO_RX ? s->ro + SD_RO_CHUNKS : s->rw + SD_RW_CHUNKS) +
	       ((uint64_t)i << SD_CHUNK_SHIFT);
}

static inline struct sd_mbox *shm_mbox(const struct shm_seg *s, uint32_t i)
{
	return i - 1 < SD_MAX_MBOXES - 1 ?
	       (struct sd_mbox *)(s->rw + SD_RW_MBOXES + (uint64_t)i * SD_MBOX_STRIDE) : NULL;
}

static inline struct sd_reply *shm_reply(const struct shm_seg *s, uint32_t mbox)
{
	return mbox - 1 < SD_MAX_MBOXES - 1 ?
	       (struct sd_reply *)(s->ro + SD_RO_REPLY) + mbox : NULL;
}

static inline struct sd_proc *shm_proc(const struct shm_seg *s, uint32_t i)
{
	return i < SD_MAX_PROCS ?
	       (struct sd_proc *)(s->rw + SD_RW_PROCS + (uint64_t)i * SD_PROC_STRIDE) : NULL;
}

static inline struct sd_cmd_ring *shm_cmd_ring(const struct shm_seg *s, uint32_t proc,
					       uint32_t worker)
{
	struct sd_proc *p = shm_proc(s, proc);

	return p && worker < SD_MAX_WORKERS ? &p->rings[worker].r : NULL;
}

static inline struct sd_accept_ring *shm_accept_ring(const struct shm_seg *s, uint32_t i)
{
	uint64_t off = SD_RW_ACCEPTS + (uint64_t)i * SD_ACCEPT_STRIDE;

	return i < SD_MAX_ACCEPTS ? (struct sd_accept_ring *)(s->rw + off) : NULL;
}

static inline struct sd_seg_rw *shm_rw_hdr(const struct shm_seg *s)
{
	return (struct sd_seg_rw *)s->rw;
}

#endif
