/* SPDX-License-Identifier: MIT */
/* shm/budget.h - what the programs of one uid may still have of the engine, shared by all workers
 * A budget counts down. So that workers do not meet on its line for each socket and each chunk,
 * they take and give back in batches and keep the change (struct shm_credit, per worker and
 * segment); with a small limit the batch is 1, and the limit is exact.
 * What cannot be asked for beforehand is charged in any case, and a budget may go below zero: what
 * an engine adopts, pages that programs have touched.
 * Holds:   B1 a budget plus the credits taken from it plus what is in use is the limit
 * Threads: a budget any worker (atomics); a credit its worker only
 */
#ifndef SHM_BUDGET_H
#define SHM_BUDGET_H

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>

#include "stackd/atomic.h"

struct shm_left {			/* of one resource */
	int64_t left;			/* below zero: overdrawn */
	int64_t limit;
	uint64_t refused;		/* counts, any worker */
	uint32_t batch;			/* 1.. */
	uint32_t rsv;
};

/* Lines of their own. */
struct shm_budget {
	struct shm_left slots;		/* sockets in service */
	struct shm_left chunks;		/* 4 KiB each: data received, and what programs touched */
	struct shm_left ports;		/* holds on ports, worker 0 only */
	uint8_t pad[32];
};
static_assert(sizeof(struct shm_left) == 32, "two a line");

struct shm_credit {			/* one worker's change */
	int32_t have;
};

static inline void shm_left_init(struct shm_left *l, int64_t limit, uint32_t batch_max)
{
	int64_t batch = limit / 256;

	*l = (struct shm_left){ .left = limit, .limit = limit };
	l->batch = batch < 1 ? 1 : batch > batch_max ? batch_max : (uint32_t)batch;
}

/* Unconditionally; @n may be negative: given back. */
static inline void shm_left_charge(struct shm_left *l, int64_t n)
{
	if (n)
		sub_sc(&l->left, n);
}

/* Is there one to be had? It stays the caller's until shm_credit_spend(). Refusals are counted. */
static inline bool shm_credit_room(struct shm_left *l, struct shm_credit *c)
{
	int64_t left, n;

	if (!l || c->have > 0)
		return true;
	left = ld_rlx(&l->left);
	do {
		n = left < l->batch ? left : l->batch;
		if (n <= 0) {
			add_sc(&l->refused, 1);
			return false;
		}
	} while (!cas_sc(&l->left, &left, left - n));
	c->have += (int32_t)n;
	return true;
}

/* One is in use now, whether there was room or not. */
static inline void shm_credit_spend(struct shm_left *l, struct shm_credit *c)
{
	if (l && --c->have < 0) {
		c->have = 0;
		shm_left_charge(l, 1);
	}
}

/* One came back. */
static inline void shm_credit_return(struct shm_left *l, struct shm_credit *c)
{
	if (l && ++c->have >= (l->batch > 1 ? 2 * (int32_t)l->batch : 1)) {
		c->have -= (int32_t)l->batch;
		shm_left_charge(l, -(int64_t)l->batch);
	}
}

/* The change goes back. */
static inline void shm_credit_settle(struct shm_left *l, struct shm_credit *c)
{
	if (l)
		shm_left_charge(l, -(int64_t)c->have);
	c->have = 0;
}

#endif
