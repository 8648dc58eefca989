/* SPDX-License-Identifier: MIT */
/* tests/unit/shm/test_accept.c - accept rings: order, fullness, dead acceptors, hostile words */
#include <errno.h>

#include "fixture.h"
#include "ready_cnt.h"

#define N SD_ACCEPT_ENTRIES

static struct sd_accept_ring *ring_new(struct shm_seg *s, struct shm_accept_prod *p)
{
	struct sd_accept_ring *r;

	*s = seg_new();
	r = shm_accept_ring(s, 2);
	shm_accept_reset(r, p);
	return r;
}

/* Return: slot claimed, 0 for none. */
static uint32_t claim(struct sd_accept_ring *r, uint32_t proc, uint32_t *ret_idx)
{
	uint32_t slot, gen;

	if (!shm_accept_claim(r, proc, 7, &slot, &gen, ret_idx))
		return 0;
	cr_assert_eq(gen, slot + 1000);
	return slot;
}

static int push(struct sd_accept_ring *r, struct shm_accept_prod *p, uint32_t slot)
{
	return shm_accept_push(r, p, slot, slot + 1000);
}

Test(accept, in_order_over_many_laps)
{
	struct shm_seg s;
	struct shm_accept_prod p;
	struct sd_accept_ring *r = ring_new(&s, &p);
	uint32_t i, in = 1, out = 1, idx;

	cr_expect_not(shm_accept_any(r));
	cr_expect_eq(claim(r, 1, &idx), 0);
	p.prod = r->prod = r->cons = UINT32_MAX - 5000;
	while (in < 3 * N) {
		for (i = 0; i < in % 700 && !push(r, &p, in); i++)
			in++;
		in += !i && !push(r, &p, in);
		cr_assert(shm_accept_any(r));
		for (i = 0; i < 5 + in % 600 && out < in; i++, out++) {
			cr_assert_eq(claim(r, 1, &idx), out);
			shm_accept_done(r, idx);
		}
		cr_assert_eq(ready_cnt(r), in - out);
	}
}

Test(accept, fullness)
{
	struct shm_seg s;
	struct shm_accept_prod p;
	struct sd_accept_ring *r = ring_new(&s, &p);
	uint32_t i, first, second;

	for (i = 1; i <= N; i++)
		cr_assert_eq(push(r, &p, i), 0);
	cr_expect_eq(push(r, &p, i), -EAGAIN);
	cr_expect_eq(ready_cnt(r), N);
	cr_expect_eq(claim(r, 1, &first), 1);
	cr_expect_eq(claim(r, 1, &second), 2);
	cr_expect_eq(push(r, &p, i), -EAGAIN, "claimed is not free");
	shm_accept_done(r, second);
	cr_expect_eq(push(r, &p, i), -EAGAIN, "the oldest still stands");
	shm_accept_done(r, first);
	cr_expect_eq(push(r, &p, i), 0);
	cr_expect_eq(push(r, &p, i + 1), 0);
	cr_expect_eq(push(r, &p, i + 2), -EAGAIN);
}

Test(accept, unclaimed_comes_first_again)
{
	struct shm_seg s;
	struct shm_accept_prod p;
	struct sd_accept_ring *r = ring_new(&s, &p);
	uint32_t a, b;

	push(r, &p, 1);
	push(r, &p, 2);
	cr_assert_eq(claim(r, 1, &a), 1);
	cr_assert_eq(claim(r, 1, &b), 2);
	cr_expect_not(shm_accept_any(r));
	shm_accept_done(r, b);
	shm_accept_unclaim(r, a);
	cr_expect(shm_accept_any(r));
	cr_expect_eq(claim(r, 2, &a), 1);
}

Test(accept, a_dead_acceptor_gives_back)
{
	struct shm_seg s;
	struct shm_accept_prod p;
	struct sd_accept_ring *r = ring_new(&s, &p);
	uint32_t idx, i;

	for (i = 1; i <= N; i++)
		push(r, &p, i);
	cr_assert_eq(claim(r, 9, &idx), 1);
	cr_assert_eq(claim(r, 8, &idx), 2);
	cr_assert_eq(claim(r, 9, &idx), 3);
	for (i = 4; i <= N; i++) {
		cr_assert_eq(claim(r, 8, &idx), i);
		shm_accept_done(r, idx);
	}
	cr_expect_eq(push(r, &p, 5000), -EAGAIN);
	cr_expect_eq(shm_accept_reap(r, 9, 6), 0, "another generation");
	cr_expect_eq(shm_accept_reap(r, 9, 7), 2);
	cr_expect_eq(claim(r, 1, &idx), 1);
	shm_accept_done(r, idx);
	cr_expect_eq(push(r, &p, 5000), 0);
	cr_expect_eq(claim(r, 1, &idx), 3);
	shm_accept_done(r, idx);
	cr_expect_eq(claim(r, 1, &idx), 5000);
	cr_expect_eq(claim(r, 1, &idx), 0);
}

Test(accept, reaping_moves_cons_for_a_dead_acceptor)
{
	struct shm_seg s;
	struct shm_accept_prod p;
	struct sd_accept_ring *r = ring_new(&s, &p);
	uint32_t i;

	for (i = 1; i <= N; i++)
		push(r, &p, i);
	for (i = 0; i < N; i++)
		r->e[i].claim = SD_CLAIM_FREE;	/* done, killed before cons moved */
	cr_expect_eq(push(r, &p, 1), -EAGAIN);
	cr_expect_eq(shm_accept_reap(r, 9, 7), 0);
	cr_expect_eq(push(r, &p, 1), 0);
}

Test(accept, take_back_empties_the_ring)
{
	struct shm_seg s;
	struct shm_accept_prod p;
	struct sd_accept_ring *r = ring_new(&s, &p);
	uint32_t slot, gen, idx, i;

	for (i = 1; i <= 5; i++)
		push(r, &p, i);
	cr_assert_eq(claim(r, 1, &idx), 1);
	r->cons = 4711;				/* a lie */
	for (i = 2; i <= 5; i++) {
		cr_assert(shm_accept_take_back(r, &p, &slot, &gen));
		cr_expect_eq(slot, i);
		cr_expect_eq(gen, i + 1000);
	}
	cr_expect_not(shm_accept_take_back(r, &p, &slot, &gen));
	shm_accept_unclaim(r, idx);
	cr_expect(shm_accept_take_back(r, &p, &slot, &gen));
	cr_expect_eq(slot, 1);
	cr_expect_not(shm_accept_take_back(r, &p, &slot, &gen));
}

Test(accept, hostile_words)
{
	struct shm_seg s;
	struct shm_accept_prod p;
	struct sd_accept_ring *r = ring_new(&s, &p);
	uint32_t i, k, x = 1, slot, gen, n;

	for (k = 0; k < 20; k++) {
		for (i = 0; i < sizeof(*r) / 4; i++) {
			x = x * 1664525 + 1013904223;
			((uint32_t *)r)[i] = k % 2 ? x : x >> 30;
		}
		push(r, &p, 1);
		cr_assert_leq(ready_cnt(r), N);
		cr_assert_leq(shm_accept_reap(r, 1, 1), N);
		for (n = 0; n <= N + 1 && shm_accept_take_back(r, &p, &slot, &gen); n++)
			;
		cr_assert_leq(n, N);
	}
}
