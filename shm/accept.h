/* SPDX-License-Identifier: MIT */
/* shm/accept.h - accept rings: one worker as producer, any number of acceptors
 * Pairs:   worker st_rel(claim = READY), st_rel(prod) with acceptor ld_acq(prod), cas_sc(claim);
 *          acceptor xchg_sc(claim = FREE) with worker ld_acq(claim)
 * Holds:   Q1 cons moves only over FREE entries, and the worker keeps prod - cons <= N: each entry
 *             that is READY or claimed lies in [cons, prod), whoever died
 *          Q2 a position below prod whose entry is FREE stays so until cons has passed it
 *          Q3 the worker's position is private; what programs write (cons, claims, slot, gen) can
 *             only make their own ring look full or empty. It checks slots it gets back
 * After a kill the engine undoes the dead process's open table first and then reaps the rings: an
 * entry whose fd had been installed, but not its claim removed, is queued again with a generation
 * that is no longer its slot's. Acceptors drop such entries (claim, compare gen with slot_e.gen,
 * done).
 */
#ifndef SHM_ACCEPT_H
#define SHM_ACCEPT_H

#include "shm/segment.h"

/* Worker's private view; zero-initialised with the ring. */
struct shm_accept_prod {
	uint32_t prod;
	uint32_t back;			/* entries that take_back has looked at, from the oldest */
};

/* Empty the ring for a new listener. Engine, while no acceptor knows it. */
void shm_accept_reset(struct sd_accept_ring *r, struct shm_accept_prod *p);
/* Return: 0, or -EAGAIN while N entries lie above cons (ring full, or an acceptor is slow). */
int shm_accept_push(struct sd_accept_ring *r, struct shm_accept_prod *p, uint32_t slot,
		    uint32_t gen);
/* Engine: take back one READY entry, for a listener that closes; the caller checks the slot.
 * Return: true and one entry; false when a pass found no more (the next call begins anew). */
bool shm_accept_take_back(struct sd_accept_ring *r, struct shm_accept_prod *p, uint32_t *ret_slot,
			  uint32_t *ret_gen);
/* Engine: take over the ring of a worker that was killed. A push that had filled its entry, but
 * had not moved prod, is completed. */
void shm_accept_adopt(struct sd_accept_ring *r, struct shm_accept_prod *p);
/* Engine: @fn(arg, slot, gen) for each entry that is not FREE. */
void shm_accept_walk(struct sd_accept_ring *r, void (*fn)(void *arg, uint32_t slot, uint32_t gen),
		     void *arg);
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
