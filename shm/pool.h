/* SPDX-License-Identifier: MIT */
/* shm/pool.h - chunk and slot allocation; each side from its own pool
 * Program side: a shared bitmap (1 = free) in the RW memfd. A process takes a whole word (64
 * chunks) into its magazine by xchg and serves from there; who frees sets bits by or_sc(). The
 * search starts at a shared hint that every free lowers, so that pages in use stay few. The engine
 * may free into it (after CLOSE, or to trim an idle FIFO) but never allocates from it.
 * Engine side: struct shm_epool, private to one worker: spans of 64 from a counter shared by the
 * workers, and a stack of what came back. Nothing of it is in shared memory; after a crash it is
 * rebuilt from the FIFOs.
 */
#ifndef SHM_POOL_H
#define SHM_POOL_H

#include "shm/budget.h"
#include "shm/segment.h"

/* ---- program side ---- */

/* Per process (and per thread if it likes); zero-initialised. Not thread-safe: the caller holds the
 * lock that guards it. */
struct shm_magazine {
	uint64_t bits;			/* 1 = free and ours */
	uint32_t word;			/* index of the bitmap word the bits came from */
};

/* Set all bits free (chunk 0 and slot 0 excepted). Engine, at creation. */
void shm_pool_init(const struct shm_seg *seg);
/* Chunks from @chunks on are nobody's to take, unless somebody lies. Engine, at creation. */
void shm_pool_limit(const struct shm_seg *seg, uint32_t chunks);

/* Return: chunk index >= 1, or 0 when the pool is empty. Content is undefined. */
uint32_t shm_pchunk_alloc(const struct shm_seg *seg, struct shm_magazine *mag);
/* Any side, any time; an index out of range is ignored. */
void shm_pchunk_free(const struct shm_seg *seg, uint32_t chunk);
/* The same by the magazine's owner: what came from its word goes back into it. @mag may be NULL. */
void shm_pchunk_put(const struct shm_seg *seg, struct shm_magazine *mag, uint32_t chunk);
/* Give the magazine's rest back (thread exit, fork child with a copied magazine just zeroes it). */
void shm_magazine_flush(const struct shm_seg *seg, struct shm_magazine *mag);
/* The process's own, in its struct sd_proc. */
static inline struct shm_magazine *shm_proc_magazine(struct sd_proc *p)
{
	static_assert(sizeof(struct shm_magazine) == sizeof(p->mag), "same");
	return (struct shm_magazine *)p->mag;
}
/* Engine: give back what a dead process's magazine held; nothing in it is trusted. */
void shm_magazine_reap(const struct shm_seg *seg, struct sd_proc *p);
/* Number of free chunks / slots in the bitmap, magazines not counted (for tests and show). */
uint32_t shm_pchunk_free_cnt(const struct shm_seg *seg);

/* Program slots [1, SD_SLOTS_P): lowest free first. Return: index or 0. */
uint32_t shm_pslot_alloc(const struct shm_seg *seg);
void shm_pslot_free(const struct shm_seg *seg, uint32_t slot);
/* The first program slot >= @from that is taken, 0 = none. */
uint32_t shm_pslot_taken(const struct shm_seg *seg, uint32_t from);

/* ---- engine side ---- */

struct shm_espan {			/* shared by the workers of one engine, one per segment */
	uint32_t next_chunk;		/* add_sc by 64 */
	uint32_t next_slot;
};

struct shm_epool {			/* one per worker and segment; caller's storage */
	struct shm_espan *span;		/* borrows */
	uint32_t *chunks;		/* stack; sparse map with room for every index */
	uint32_t *slots;
	uint32_t chunk_cnt, slot_cnt;	/* on the stacks */
	uint32_t chunk_used, slot_used;	/* out in the world */
	uint32_t chunk_max, slot_max;	/* limits on *_used; init sets none */
	/* Of the uid whose family it is; borrows, NULL = no limit. Chunks are charged here, slots
	 * by who puts them into service. */
	struct shm_budget *budget;
	struct shm_credit chunk_credit, slot_credit;
};

void shm_espan_init(struct shm_espan *span);
/* Reserves address space for both stacks (sparse). Return: 0 or -errno. */
int shm_epool_init(struct shm_epool *p, struct shm_espan *span);
/* Gives its change back to the budget. */
void shm_epool_fini(struct shm_epool *p);
uint32_t shm_echunk_alloc(struct shm_epool *p);		/* 0 = none left or over budget */
/* Both frees ignore an index out of range, and one more than can be out. */
void shm_echunk_free(struct shm_epool *p, uint32_t chunk);
uint32_t shm_eslot_alloc(struct shm_epool *p);		/* in [SD_SLOTS_P, SD_SLOTS), 0 = none */
void shm_eslot_free(struct shm_epool *p, uint32_t slot);

/* ---- engine side, after a crash: single-threaded, fresh pools on the span as it was ---- */

/* One bit per chunk and per engine slot (from SD_SLOTS_P) that is out in the world. */
struct shm_emarks {
	uint64_t *chunk;		/* [SD_CHUNKS / 64] */
	uint64_t *slot;			/* [(SD_SLOTS - SD_SLOTS_P) / 64] */
};
/* @p owns it. Return: false when it is out of the span or was marked already: two cannot have
 * it. */
bool shm_epool_mark_chunk(struct shm_epool *p, struct shm_emarks *m, uint32_t chunk);
bool shm_epool_mark_slot(struct shm_epool *p, struct shm_emarks *m, uint32_t slot);
/* What the span had given out and nobody marked goes onto the pools' stacks, in turn. */
void shm_epools_refill(struct shm_epool *const *p, unsigned cnt, const struct shm_emarks *m);

#endif
