/* SPDX-License-Identifier: MIT */
/* Rings between workers: order, full, empty, wrap of the indices, two threads. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <sched.h>

#include "stackd/engine/handoff.h"

static struct handoff *one(void)
{
	struct handoff *rings;

	cr_assert_eq(handoff_create(2, &rings), 0);
	return rings;
}

static struct stack_msg numbered(uint32_t n)
{
	struct stack_msg m = { .kind = SMSG_PKT, .u32 = { n, ~n } };

	memset(m.data, (int)n, sizeof(m.data));
	return m;
}

Test(handoff, empty_then_full, .timeout = 10)
{
	struct handoff *rings = one(), *h = handoff_ring(rings, 2, 0, 1);
	struct stack_msg m;

	cr_assert_not(handoff_pending(h));
	cr_assert_not(handoff_pop(h, &m));
	for (uint32_t i = 0; i < HANDOFF_ENTRIES; i++) {
		m = numbered(i);
		cr_assert(handoff_push(h, &m));
	}
	cr_assert_not(handoff_push(h, &m), "one more than there is room for");
	cr_assert(handoff_pending(h));
	cr_assert_not(handoff_pending(handoff_ring(rings, 2, 1, 0)), 
		      "the other direction is its own ring");
	cr_assert(handoff_pop(h, &m));
	cr_assert_eq(m.u32[0], 0u);
	m = numbered(7);
	cr_assert(handoff_push(h, &m), "room again after one was taken");
	handoff_destroy(rings, 2);
}

Test(handoff, indices_wrap, .timeout = 10)
{
	struct handoff *rings = one(), *h = handoff_ring(rings, 2, 0, 1);
	struct stack_msg m;

	h->prod = h->seen = h->cons = UINT32_MAX - 2;
	for (uint32_t i = 0; i < 10; i++) {
		m = numbered(i);
		cr_assert(handoff_push(h, &m));
		cr_assert(handoff_pop(h, &m));
		cr_assert_eq(m.u32[0], i);
	}
	cr_assert_not(handoff_pending(h));
	handoff_destroy(rings, 2);
}

#define ORDER_MSGS 200000u

static void *sender(void *arg)
{
	for (uint32_t i = 0; i < ORDER_MSGS; i++) {
		struct stack_msg m = numbered(i);

		while (!handoff_push(arg, &m))
			sched_yield();
	}
	return NULL;
}

Test(handoff, order, .timeout = 10)
{
	struct handoff *rings = one(), *h = handoff_ring(rings, 2, 0, 1);
	struct stack_msg m;
	pthread_t t;

	cr_assert_eq(pthread_create(&t, NULL, sender, h), 0);
	for (uint32_t i = 0; i < ORDER_MSGS; i++) {
		while (!handoff_pop(h, &m))
			sched_yield();
		cr_assert_eq(m.u32[0], i);
		cr_assert_eq(m.u32[1], ~i);
		cr_assert_eq(m.data[95], (uint8_t)i);
	}
	pthread_join(t, NULL);
	cr_assert_not(handoff_pending(h));
	handoff_destroy(rings, 2);
}
