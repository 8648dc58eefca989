/* SPDX-License-Identifier: MIT */
/* shm/fifo.h - elastic byte FIFOs made of chunks (struct sd_fifo_map in include/stackd/abi.h)
 * A FIFO has one producer and one consumer at a time. Positions live in the slots, not here:
 * callers pass them. All functions are wait-free and bounded by the length asked for.
 * Holds:
 *   F1  chunks back exactly the positions that were reserved and not yet released, to chunk bounds
 *   F2  the consumer never follows a chunk index that it did not check (shm_chunk)
 *   F3  level goes up while data is held, down only when empty
 */
#ifndef SHM_FIFO_H
#define SHM_FIFO_H

#include <sys/uio.h>

#include "shm/pool.h"

/* How the producer gets and returns chunks: the engine's per-worker pool or a magazine. */
struct shm_fifo_mem {
	const struct shm_seg *seg;
	struct shm_epool *epool;	/* RX: the engine's; NULL for TX */
	struct shm_magazine *mag;	/* TX: the program's; NULL: frees go to the bitmap */
};

/* ---- producer ---- */

/**
 * shm_fifo_reserve() - back positions [pos, pos + len) with chunks, map chunks included
 * @map: the FIFO's map; written by this side only
 * Out-of-order positions are fine as long as all of [freed, pos + len) spans at most SD_FIFO_MAX.
 * Return: number of leading bytes now backed, 0..len (less when the pool ran dry)
 */
uint64_t shm_fifo_reserve(const struct shm_fifo_mem *m, enum sd_fifo_role role,
			  struct sd_fifo_map *map, uint64_t pos, uint64_t len);

/* Copy into backed positions. Return: bytes copied (stops at the first hole). */
uint64_t shm_fifo_write(const struct shm_seg *seg, enum sd_fifo_role role, struct sd_fifo_map *map,
			uint64_t pos, const void *src, uint64_t len);

/**
 * shm_fifo_release() - positions below @upto are consumed: free whole chunks below it
 * @tail: highest position reserved; when @upto == @tail the partial chunk, too, and map chunks go
 *        (level 0 again). In-place out-of-order data above @tail must be counted into @tail.
 */
void shm_fifo_release(const struct shm_fifo_mem *m, enum sd_fifo_role role, struct sd_fifo_map *map,
		      uint64_t upto, uint64_t tail);

/* Free everything, whatever the map says; used on a map that a dead or hostile program left: at
 * most the map's own entries are freed, each checked. */
void shm_fifo_destroy(const struct shm_fifo_mem *m, enum sd_fifo_role role,
		      struct sd_fifo_map *map);

/* Adoption: every chunk that the map holds, map chunks included, once; makes `held` right. @fn says
 * whether the chunk may stay: what may not is taken out of the map. */
void shm_fifo_adopt(const struct shm_seg *seg, enum sd_fifo_role role, struct sd_fifo_map *map,
		    bool (*fn)(void *arg, uint32_t chunk), void *arg);

/* ---- consumer (and the producer for retransmission) ---- */

/**
 * shm_fifo_iov() - where bytes [pos, pos + len) are, without copying
 * Return: number of iovecs filled, at most @max; *ret_len bytes are covered, contiguous from @pos
 * (stops at a hole or a bad index: *ret_len < len tells). Neighbouring chunks are merged.
 */
unsigned shm_fifo_iov(const struct shm_seg *seg, enum sd_fifo_role role,
		      const struct sd_fifo_map *map, uint64_t pos, uint64_t len,
		      struct iovec *iov, unsigned max, uint64_t *ret_len);

/* Copy out. Return: bytes copied (stops at a hole or a bad index). */
uint64_t shm_fifo_read(const struct shm_seg *seg, enum sd_fifo_role role,
		       const struct sd_fifo_map *map, uint64_t pos, void *dst, uint64_t len);

#endif
