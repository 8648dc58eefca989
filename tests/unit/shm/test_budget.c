/* SPDX-License-Identifier: MIT */
/* tests/unit/shm/test_budget.c - budgets and the change that workers keep of them */
#include "fixture.h"
#include "shm/pool.h"

Test(budget, small_ones_are_exact, .timeout = 10)
{
	struct shm_credit a = { 0 }, b = { 0 };
	struct shm_left l;

	shm_left_init(&l, 3, 64);
	for (int i = 0; i < 3; i++) {
		cr_assert(shm_credit_room(&l, i % 2 ? &a : &b));
		shm_credit_spend(&l, i % 2 ? &a : &b);
	}
	cr_assert_not(shm_credit_room(&l, &a));
	cr_assert_not(shm_credit_room(&l, &b));
	cr_assert_eq(l.refused, 2u);
	shm_credit_return(&l, &a);
	cr_assert(shm_credit_room(&l, &b), "what one gives back the other may have");
}

Test(budget, large_ones_go_in_batches, .timeout = 10)
{
	struct shm_credit c = { 0 };
	struct shm_left l;

	shm_left_init(&l, 100000, 64);
	for (int i = 0; i < 1000; i++) {
		cr_assert(shm_credit_room(&l, &c));
		shm_credit_spend(&l, &c);
	}
	cr_assert_eq(l.left + c.have, 99000);
	cr_assert_leq(c.have, 64);
	for (int i = 0; i < 1000; i++)
		shm_credit_return(&l, &c);
	cr_assert_lt(c.have, 128);
	shm_credit_settle(&l, &c);
	cr_assert_eq(l.left, 100000);
}

/* What is charged in any case takes a budget below zero, and comes back from there. */
Test(budget, overdrawn, .timeout = 10)
{
	struct shm_credit c = { 0 };
	struct shm_left l;

	shm_left_init(&l, 2, 64);
	for (int i = 0; i < 5; i++)
		shm_credit_spend(&l, &c);
	cr_assert_eq(l.left, -3);
	cr_assert_not(shm_credit_room(&l, &c));
	for (int i = 0; i < 5; i++)
		shm_credit_return(&l, &c);
	cr_assert(shm_credit_room(&l, &c));
	shm_credit_settle(&l, &c);
	cr_assert_eq(l.left, 2);
}

Test(budget, chunks, .timeout = 10)
{
	struct shm_budget b = { 0 };
	struct shm_espan span;
	struct shm_epool p;
	uint32_t c[5];

	shm_left_init(&b.chunks, 4, 256);
	shm_left_init(&b.slots, 4, 64);
	shm_espan_init(&span);
	cr_assert_eq(shm_epool_init(&p, &span), 0);
	p.budget = &b;
	for (int i = 0; i < 5; i++)
		c[i] = shm_echunk_alloc(&p);
	cr_assert(c[3] && !c[4]);
	shm_echunk_free(&p, c[0]);
	cr_assert(shm_echunk_alloc(&p));
	shm_epool_fini(&p);
	cr_assert_eq(b.chunks.left, 4, "a pool that goes takes nothing with it");
}

/* A program whose family may have few chunks finds no more; told that there are none, neither. */
Test(budget, programs_chunks, .timeout = 10)
{
	struct shm_seg s = seg_new();
	struct shm_magazine m = { 0 };
	unsigned n = 0;

	shm_pool_limit(&s, 100);
	cr_assert_eq(shm_pchunk_free_cnt(&s), 99u);
	while (n < 99 && shm_pchunk_alloc(&s, &m))
		n++;
	cr_assert_eq(n, 99u);
	cr_assert_eq(shm_pchunk_alloc(&s, &m), 0u);
	shm_pchunk_free(&s, 7);
	((struct sd_seg_ro *)s.ro)->scarce = SD_SCARCE_CHUNKS;
	cr_assert_eq(shm_pchunk_alloc(&s, &m), 0u);
	((struct sd_seg_ro *)s.ro)->scarce = 0;
	cr_assert_eq(shm_pchunk_alloc(&s, &m), 7u);
}
