/* SPDX-License-Identifier: MIT */
/* shm/mbox.h - bitmap mailboxes: readiness posted by any number of producers
 * Pairs:   poster or_sc(leaf/mid/top) then ld_sc/cas_sc(sleeping) with consumer
 *          xchg_sc(sleeping) then ld_sc(top)
 *          subscriber add_sc(sub_seq) then its look at the slot, with poster's publication in the
 *          slot then or_sc(sub_seq, 0): one of them sees the other
 * A posted bit is a hint: "look at the slot again". A spurious one costs a look.
 */
#ifndef SHM_MBOX_H
#define SHM_MBOX_H

#include "shm/pool.h"

/* Set @bit. Return: true when the caller must write the mailbox's eventfd (consumer was ASLEEP and
 * is now AWAKE by our swap, or is ARMED). Bits out of range are ignored. */
bool shm_mbox_post(struct sd_mbox *mb, uint32_t bit);

/* Post to each subscription of slot @sp whose mask meets @ev (ERR and HUP always meet); one of the
 * exclusive ones. Calls @wake(arg, mbox) for each mailbox whose eventfd must be written. Engine
 * side: everything read from @sp is copied and checked. @cpu: where the caller runs, + 1; 0 = does
 * not matter. Return: a mailbox whose consumer was last seen
 * there and had nothing else to take; 0 = none. */
uint32_t shm_subs_post(const struct shm_seg *seg, struct sd_slot_p *sp, uint32_t ev, uint32_t cpu,
		       void (*wake)(void *arg, uint32_t mbox), void *arg);

/* Consumer: take set bits, lowest first. Return: number of bits stored, at most @max. Bits beyond
 * @max stay set, and the next take begins with them. */
unsigned shm_mbox_take(struct sd_mbox *mb, uint32_t *bits, unsigned max);
/* Consumer: is any bit set? (ld_sc) */
bool shm_mbox_any(struct sd_mbox *mb);
/* Consumer: clear one bit (subscription ended). */
void shm_mbox_clear(struct sd_mbox *mb, uint32_t bit);

/* Consumer: announce sleep. Return: true when it may sleep, false when a bit is set (state is AWAKE
 * again). After waking call shm_mbox_awake(). Neither changes ARMED. */
bool shm_mbox_sleep(struct sd_mbox *mb);
void shm_mbox_awake(struct sd_mbox *mb);
/* Consumer: from now on (or no longer) every post wakes; look for bits afterwards. */
void shm_mbox_arm(struct sd_mbox *mb, bool on);

/* Program: add or remove one subscription of a slot; takes slot_p.sub_lock. @owner as in lock.h.
 * One with the same mailbox and bit is replaced. Look at the slot's readiness after adding.
 * shm_sub_add() Return: 0, -ENOSPC when all are used, -ENOMEM without a chunk, -EDEADLK from a
 * signal handler that interrupted either. */
int shm_sub_add(const struct shm_seg *seg, uint32_t slot, sd_sub sub, uint64_t owner,
		struct shm_magazine *mag);
void shm_sub_del(const struct shm_seg *seg, uint32_t slot, uint32_t mbox, uint32_t bit,
		 uint64_t owner);

/* Drop all subscriptions and their chunk; by whoever takes the slot out of service. */
void shm_subs_fini(const struct shm_seg *seg, struct sd_slot_p *sp);

#endif
