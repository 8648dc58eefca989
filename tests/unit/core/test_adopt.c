/* SPDX-License-Identifier: MIT */
/* tests/unit/core/test_adopt.c - pools of indices made from survivors, records found by their
 * memory */
#include <criterion/criterion.h>
#include <unistd.h>

#include "stackd/core/arena.h"

Test(adopt, pool_gives_out_what_is_not_in_use)
{
	struct idx_pool p;
	bool seen[21] = { false };

	cr_assert_eq(idx_pool_init(&p, 1, 20), 0);
	idx_adopt(&p, 3);
	idx_adopt(&p, 4);
	idx_adopt(&p, 9);
	cr_expect_eq(p.used, 3);
	for (int i = 0; i < 17; i++) {
		uint32_t idx = idx_alloc(&p);

		cr_assert(idx >= 1 && idx <= 20 && !seen[idx]);
		seen[idx] = true;
	}
	cr_expect(!seen[3] && !seen[4] && !seen[9]);
	cr_expect_eq(idx_alloc(&p), 0);
	idx_free(&p, 4);
	cr_expect_eq(idx_alloc(&p), 4);
	idx_pool_fini(&p);
}

Test(adopt, records_are_found_without_touching_the_rest)
{
	struct arena_region_def defs[AR_MAX];
	const uint32_t put[] = { 1, 2, 70000, (1u << 20) - 1 };
	struct arena_iter it;
	struct arena a;
	uint32_t idx, n = 0, steps = 0;
	uint32_t *r;

	for (int i = 0; i < AR_MAX; i++)
		defs[i] = (struct arena_region_def){ 64, 2 };
	defs[AR_TCB] = (struct arena_region_def){ 440, 1u << 20 };
	cr_assert_eq(arena_create(1, defs, 1, &a), 0);
	for (unsigned i = 0; i < 4; i++)
		*(uint32_t *)arena_at(&a, AR_TCB, put[i]) = put[i];
	arena_iter_init(&it, &a, AR_TCB, 0, UINT32_MAX);
	while ((r = arena_iter_next(&it, &idx))) {
		steps++;
		if (!*r)
			continue;
		cr_assert(n < 4 && *r == put[n] && idx == put[n]);
		n++;
	}
	cr_expect_eq(n, 4);
	cr_expect_lt(steps, 100, "looked at %u records", steps);
	arena_iter_init(&it, &a, AR_TCB, 70001, 80000);
	while ((r = arena_iter_next(&it, &idx)))
		cr_expect(!*r && idx >= 70001 && idx < 80000);
	arena_unmap(&a);
	close(a.fd);
}
