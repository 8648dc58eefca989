/* SPDX-License-Identifier: MIT */
/* shm/accept.h - accept rings: one worker as producer, any number of acceptors
 * Pairs:   worker st_rel(prod) with acceptor ld_acq(prod); claim by cas_sc both ways
 */
#ifndef SHM_ACCEPT_H
#define SHM_ACCEPT_H

#include "shm/segment.h"

/* Worker's private view. */
struct shm_accept_prod {
	uint32_t prod;
};

/* Return: 0, or -EAGAIN while the entry at prod is not FREE (ring full, or an acceptor is slow). */
int shm_accept_push(struct sd_accept_ring *r, struct shm_accept_prod *p, uint32_t slot, uint32_t gen);
/* Connections waiting (READY), as the engine sees them; O(entries between cons and prod), bounded. */
uint32_t shm_accept_len(struct sd_accept_ring *r, const struct shm_accept_prod *p);
/* Engine: take back READY entries, for a listener that closes. Return: true and one entry. */
bool shm_accept_take_back(struct sd_accept_ring *r, struct shm_accept_prod *p, uint32_t *ret_slot,
			  uint32_t *ret_gen);
/* Engine: entries claimed by @proc/@gen and not installed become READY again. Return: how many. */
unsigned shm_accept_reap(struct sd_accept_ring *r, uint32_t proc, uint32_t gen);

/**
 * shm_accept_claim() - take the oldest READY entry
 * Return: true; *ret_idx is to be passed to shm_accept_done() once the fd is in the open table
 */
bool shm_accept_claim(struct sd_accept_ring *r, uint32_t proc, uint32_t proc_gen,
		      uint32_t *ret_slot, uint32_t *ret_gen, uint32_t *ret_idx);
void shm_accept_done(struct sd_accept_ring *r, uint32_t idx);
/* Put a claimed entry back (dup of the placeholder failed: EMFILE). */
void shm_accept_unclaim(struct sd_accept_ring *r, uint32_t idx);
/* Is there a READY entry? */
bool shm_accept_any(struct sd_accept_ring *r);

#endif
