/* SPDX-License-Identifier: MIT */
/* tests/unit/harness.h - stacks for tests: one or several workers in one thread, no engine
 * hx_init() makes @workers stacks that share an arena; messages between them wait in a queue until
 * hx_pump(). hx_fini() checks that no packet is missing from any pool.
 */
#ifndef TESTS_UNIT_HARNESS_H
#define TESTS_UNIT_HARNESS_H

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "stackd/core/rng.h"
#include "stackd/core/stack.h"
#include "stackd/link/link.h"

#define HX_WORKERS	4
#define HX_MSGS		1024

struct hx {
	struct stack st[HX_WORKERS];
	struct counters cnt[HX_WORKERS];
	struct arena_intent intent[HX_WORKERS];
	struct arena arena;
	unsigned workers;
	uint64_t now_us;
	bool rings_full;		/* hand-off fails, as when a ring is full */
	struct { uint16_t to; struct stack_msg msg; } q[HX_MSGS];
	unsigned head, tail;
};

static inline bool hx_send(struct stack *st, uint16_t to, const struct stack_msg *msg)
{
	struct hx *h = st->up_arg;

	if (h->rings_full || h->tail - h->head == HX_MSGS)
		return false;
	h->q[h->tail % HX_MSGS].to = to;
	h->q[h->tail++ % HX_MSGS].msg = *msg;
	return true;
}

/* Deliver what waits, and what that causes. Return: messages delivered. */
static inline unsigned hx_pump(struct hx *h)
{
	unsigned n = 0;

	while (h->head != h->tail) {
		unsigned i = h->head++ % HX_MSGS;
		struct stack_msg msg = h->q[i].msg;

		stack_recv(&h->st[h->q[i].to], &msg);
		n++;
	}
	return n;
}

/* Let @us pass, timers included, in steps of at most 10 ms. */
static inline void hx_pass(struct hx *h, uint64_t us)
{
	uint64_t end = h->now_us + us;

	while (h->now_us < end) {
		h->now_us += end - h->now_us < 10000 ? end - h->now_us : 10000;
		for (unsigned w = 0; w < h->workers; w++) {
			h->st[w].now_us = h->now_us;
			wheel_advance(h->st[w].wheel, h->now_us);
		}
		hx_pump(h);
	}
}

static inline struct hx *hx_init(unsigned workers)
{
	static const struct stack_up up = { .send = hx_send };
	struct arena_region_def defs[AR_MAX];
	struct hx *h = calloc(1, sizeof(*h));

	for (int i = 0; i < AR_MAX; i++)
		defs[i] = (struct arena_region_def){ 64, 2 };
	defs[AR_NEIGH] = (struct arena_region_def){ sizeof(struct neigh_rec), NEIGH_MAX };
	defs[AR_SYSCTL] = (struct arena_region_def){ sizeof(struct sysctl), 2 };
	defs[AR_SEG] = (struct arena_region_def){ sizeof(struct seg_rec), STACK_MAX_SEGS };
	defs[AR_PSLOTS] = (struct arena_region_def){ sizeof(struct seg_pslots), STACK_MAX_SEGS };
	cr_assert_eq(arena_create(workers, defs, 1, &h->arena), 0);
	h->workers = workers;
	h->now_us = 1000000000;
	for (unsigned w = 0; w < workers; w++) {
		struct stack *st = &h->st[w];
		struct pkt_pool_conf pc = { .small_cnt = 1024, .big_cnt = 32, .numa_node = -1,
					    .worker = (uint8_t)w };

		st->worker = (uint16_t)w;
		st->workers = (uint16_t)workers;
		st->now_us = h->now_us;
		st->arena = &h->arena;
		st->cnt = &h->cnt[w];
		st->intent = &h->intent[w];
		st->up = &up;
		st->up_arg = h;
		rng_seed(st->rng_state, 7 + w);
		cr_assert_eq(wheel_create(h->now_us, &st->wheel), 0);
		cr_assert_eq(pkt_pool_create(&pc, &st->pool), 0);
	}
	return h;
}

static inline void hx_fini(struct hx *h)
{
	hx_pump(h);
	for (unsigned w = 0; w < h->workers; w++) {
		struct stack *st = &h->st[w];

		stack_flush_home(st);
		hx_pump(h);
	}
	for (unsigned w = 0; w < h->workers; w++) {
		cr_assert_eq(pkt_pool_used(h->st[w].pool), 0, "worker %u: %u packets missing", w,
			     pkt_pool_used(h->st[w].pool));
		pkt_pool_destroy(h->st[w].pool);
		wheel_destroy(h->st[w].wheel);
	}
	arena_unmap(&h->arena);
	close(h->arena.fd);
	free(h);
}

#endif
