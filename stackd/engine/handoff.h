/* SPDX-License-Identifier: MIT */
/* engine/handoff.h - messages from one worker to another: an SPSC ring per ordered pair
 * Indices run freely over 32 bits; an entry's place is index mod HANDOFF_ENTRIES, so "full" is
 * prod - cons == HANDOFF_ENTRIES and "empty" is prod == cons, also across the wrap.
 * Pairs:   sender st_rel(prod) with receiver ld_acq(prod); receiver st_rel(cons) with sender
 * ld_acq(cons)
 * Holds:   N1 messages of one pair arrive in order, each once (test: handoff/order)
 *          N2 who sends to a sleeper must wake it: see worker.c, which owns the sleeping words
 * Threads: push by the sending worker only, pop and pending by the receiving one only
 */
#ifndef ENGINE_HANDOFF_H
#define ENGINE_HANDOFF_H

#include "stackd/core/stack.h"

#define HANDOFF_ENTRIES	1024u		/* power of two */

struct handoff {
	/* line 0; writer: sender. seen is its private copy of cons */
	uint32_t prod, seen;
	uint8_t pad0[56];
	/* line 1; writer: receiver */
	uint32_t cons;
	uint8_t pad1[60];
	struct stack_msg e[HANDOFF_ENTRIES];
};
static_assert(offsetof(struct handoff, cons) == 64, "writer: receiver");
static_assert(offsetof(struct handoff, e) == 128, "writer: sender");

/* All rings of @workers workers in one sparse mapping. Return: 0 or -errno. */
int handoff_create(uint32_t workers, struct handoff **ret_rings);
void handoff_destroy(struct handoff *rings, uint32_t workers);

static inline struct handoff *handoff_ring(struct handoff *rings, uint32_t workers, uint32_t from,
					   uint32_t to)
{
	return &rings[from * workers + to];
}

/* Return: false when full. */
bool handoff_push(struct handoff *h, const struct stack_msg *msg);
/* Copy out the oldest. Return: false when empty. */
bool handoff_pop(struct handoff *h, struct stack_msg *ret_msg);
/* Receiver: is there a message? For the check before sleeping (ld_sc). */
static inline bool handoff_pending(struct handoff *h)
{
	return ld_sc(&h->prod) != h->cons;
}

#endif
