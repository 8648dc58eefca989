/* SPDX-License-Identifier: MIT */
/* tests/unit/shm/test_pool.c - chunks and slots of both sides: bounds, reuse, exhaustion */
#include "fixture.h"
#include "shm/pool.h"

static uint64_t *chunk_bits(const struct shm_seg *s)
{
	return (uint64_t *)(s->rw + SD_RW_CHUNKMAP);
}

Test(pool, magazine_serves_a_word_in_order)
{
	struct shm_seg s = seg_new();
	struct shm_magazine m = { 0 };
	uint32_t i;

	for (i = 1; i < 130; i++)
		cr_assert_eq(shm_pchunk_alloc(&s, &m), i);
	cr_expect_eq(shm_pchunk_free_cnt(&s), SD_CHUNKS - 192, "three words are out");
	shm_magazine_flush(&s, &m);
	cr_expect_eq(shm_pchunk_free_cnt(&s), SD_CHUNKS - 130);
}

Test(pool, freed_chunks_are_used_again_before_fresh_ones)
{
	struct shm_seg s = seg_new();
	struct shm_magazine a = { 0 }, b = { 0 };
	uint32_t i, c;

	for (i = 0; i < 63 + 64; i++)
		cr_assert_neq(shm_pchunk_alloc(&s, &a), 0);
	shm_pchunk_free(&s, 5);
	cr_expect_eq(shm_pchunk_alloc(&s, &a), 5);
	shm_pchunk_put(&s, &a, 5);
	cr_expect_eq(shm_pchunk_free_cnt(&s), SD_CHUNKS - 128, "went back into the magazine");
	cr_expect_eq(shm_pchunk_alloc(&s, &a), 5);
	shm_pchunk_put(&s, NULL, 70);
	c = shm_pchunk_alloc(&s, &b);
	cr_expect_eq(c, 70, "got %u", c);
}

Test(pool, bad_indices_are_ignored)
{
	struct shm_seg s = seg_new();
	struct shm_magazine m = { 0 };

	shm_pchunk_free(&s, 0);
	shm_pchunk_free(&s, SD_CHUNKS);
	shm_pchunk_free(&s, UINT32_MAX);
	shm_pchunk_put(&s, &m, 0);
	shm_pslot_free(&s, 0);
	shm_pslot_free(&s, SD_SLOTS_P);
	cr_expect_eq(shm_pchunk_free_cnt(&s), SD_CHUNKS - 1);
	cr_expect_eq(m.bits, 0);
}

Test(pool, index_zero_is_never_handed_out)
{
	struct shm_seg s = seg_new();
	struct shm_magazine m = { 0 };

	chunk_bits(&s)[0] |= 1;
	*(uint64_t *)(s.rw + SD_RW_SLOTMAP) |= 1;
	cr_expect_eq(shm_pchunk_alloc(&s, &m), 1);
	cr_expect_eq(shm_pslot_alloc(&s), 1);
}

Test(pool, wild_hints_cost_nothing_but_time)
{
	struct shm_seg s = seg_new();
	struct shm_magazine m = { 0 };

	shm_rw_hdr(&s)->chunk_hint = UINT32_MAX;
	shm_rw_hdr(&s)->slot_hint = UINT32_MAX - 5;
	cr_expect_eq(shm_pchunk_alloc(&s, &m), (SD_CHUNKS / 64 - 1) * 64);
	cr_expect_lt(shm_pslot_alloc(&s), SD_SLOTS_P);
}

Test(pool, chunk_exhaustion)
{
	struct shm_seg s = seg_new();
	struct shm_magazine m = { 0 };
	uint32_t n = 0;

	while (shm_pchunk_alloc(&s, &m))
		n++;
	cr_expect_eq(n, SD_CHUNKS - 1);
	cr_expect_eq(shm_pchunk_alloc(&s, &m), 0);
	shm_pchunk_free(&s, SD_CHUNKS - 1);
	cr_expect_eq(shm_pchunk_alloc(&s, &m), SD_CHUNKS - 1);
	cr_expect_eq(shm_pchunk_alloc(&s, &m), 0);
}

Test(pool, slots_lowest_first_and_exhaustion)
{
	struct shm_seg s = seg_new();
	uint32_t i;

	for (i = 1; i < SD_SLOTS_P; i++)
		cr_assert_eq(shm_pslot_alloc(&s), i);
	cr_expect_eq(shm_pslot_alloc(&s), 0);
	shm_pslot_free(&s, 4711);
	shm_pslot_free(&s, 17);
	cr_expect_eq(shm_pslot_alloc(&s), 17);
	cr_expect_eq(shm_pslot_alloc(&s), 4711);
	cr_expect_eq(shm_pslot_alloc(&s), 0);
}

Test(pool, engine_spans_do_not_overlap)
{
	static uint8_t seen[1024];
	struct shm_espan span;
	struct shm_epool a, b;
	uint32_t i, c;

	shm_espan_init(&span);
	cr_assert_eq(shm_epool_init(&a, &span), 0);
	cr_assert_eq(shm_epool_init(&b, &span), 0);
	for (i = 0; i < 300; i++) {
		c = shm_echunk_alloc(i % 3 ? &a : &b);
		cr_assert(c > 0 && c < sizeof(seen));
		cr_assert_eq(seen[c]++, 0, "chunk %u twice", c);
	}
	cr_expect_eq(a.chunk_used, 200);
	cr_expect_eq(b.chunk_used, 100);
	shm_echunk_free(&a, 77);
	cr_expect_eq(shm_echunk_alloc(&a), 77, "last freed is first used");
	shm_epool_fini(&a);
	shm_epool_fini(&b);
}

Test(pool, engine_chunk_budget)
{
	struct shm_espan span;
	struct shm_epool p;

	shm_espan_init(&span);
	cr_assert_eq(shm_epool_init(&p, &span), 0);
	p.chunk_max = 2;
	cr_expect_eq(shm_echunk_alloc(&p), 1);
	cr_expect_eq(shm_echunk_alloc(&p), 2);
	cr_expect_eq(shm_echunk_alloc(&p), 0);
	shm_echunk_free(&p, 1);
	cr_expect_eq(shm_echunk_alloc(&p), 1);
	shm_epool_fini(&p);
}

Test(pool, engine_exhaustion_and_excess_frees)
{
	struct shm_espan span;
	struct shm_epool p;
	uint32_t n = 0, i;

	shm_espan_init(&span);
	cr_assert_eq(shm_epool_init(&p, &span), 0);
	while (shm_echunk_alloc(&p))
		n++;
	cr_expect_eq(n, SD_CHUNKS - 1);
	cr_expect_eq(span.next_chunk, SD_CHUNKS, "a dry counter does not run on");
	for (i = 0; i < SD_CHUNKS + 10; i++)
		shm_echunk_free(&p, 1);
	cr_expect_eq(p.chunk_cnt, SD_CHUNKS - 1, "more frees than chunks are ignored");
	cr_expect_eq(p.chunk_used, 0);
	shm_echunk_free(&p, 0);
	shm_echunk_free(&p, SD_CHUNKS);
	cr_expect_eq(p.chunk_cnt, SD_CHUNKS - 1);
	shm_epool_fini(&p);
}

Test(pool, engine_slots)
{
	struct shm_espan span;
	struct shm_epool p;
	uint32_t n = 1, i;

	shm_espan_init(&span);
	cr_assert_eq(shm_epool_init(&p, &span), 0);
	cr_expect_eq(shm_eslot_alloc(&p), SD_SLOTS_P);
	while ((i = shm_eslot_alloc(&p)) != 0) {
		cr_assert(i > SD_SLOTS_P && i < SD_SLOTS);
		n++;
	}
	cr_expect_eq(n, SD_SLOTS - SD_SLOTS_P);
	shm_eslot_free(&p, SD_SLOTS_P - 1);
	shm_eslot_free(&p, SD_SLOTS);
	cr_expect_eq(shm_eslot_alloc(&p), 0);
	shm_eslot_free(&p, SD_SLOTS - 1);
	cr_expect_eq(shm_eslot_alloc(&p), SD_SLOTS - 1);
	shm_epool_fini(&p);
}

/* A dead process's magazine comes back; what it wrote there is not believed. */
Test(pool, magazine_of_the_dead)
{
	struct shm_seg s = seg_new();
	struct sd_proc *p = shm_proc(&s, 3);
	struct shm_magazine *m = shm_proc_magazine(p);
	uint32_t all;

	shm_pool_init(&s);
	all = shm_pchunk_free_cnt(&s);
	cr_assert_neq(shm_pchunk_alloc(&s, m), 0);
	cr_assert_lt(shm_pchunk_free_cnt(&s), all - 1);
	shm_magazine_reap(&s, p);
	cr_assert_eq(shm_pchunk_free_cnt(&s), all - 1);
	cr_assert_eq(m->bits, 0);
	*m = (struct shm_magazine){ .bits = ~0ull, .word = SD_CHUNKS };
	shm_magazine_reap(&s, p);
	*m = (struct shm_magazine){ .bits = 1, .word = 0 };	/* chunk 0 is nobody's */
	shm_magazine_reap(&s, p);
	cr_assert_eq(shm_pchunk_free_cnt(&s), all - 1);
}
