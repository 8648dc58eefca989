/* SPDX-License-Identifier: MIT */
/* tests/unit/shm/test_fifo.c - FIFOs: levels, holes, borders, exhaustion, hostile maps */
#include <stdlib.h>
#include <string.h>

#include "fixture.h"
#include "shm/fifo.h"

#define C	((uint64_t)SD_CHUNK_SIZE)
#define IND	(C << SD_MAP_SHIFT)	/* bytes under one map chunk */

struct fx {
	struct shm_seg seg;
	struct shm_magazine mag;
	struct shm_espan span;
	struct shm_epool pool;
	struct shm_fifo_mem mem;
	struct sd_fifo_map *map;
	enum sd_fifo_role role;
	uint32_t free0;
};

static void fx_init(struct fx *f, enum sd_fifo_role role)
{
	memset(f, 0, sizeof(*f));
	f->seg = seg_new();
	f->role = role;
	shm_espan_init(&f->span);
	cr_assert_eq(shm_epool_init(&f->pool, &f->span), 0);
	f->mem = (struct shm_fifo_mem){ .seg = &f->seg };
	if (role == SD_FIFO_RX) {
		f->mem.epool = &f->pool;
		f->map = &shm_slot_e(&f->seg, 1)->rx;
	} else {
		f->mem.mag = &f->mag;
		f->map = &shm_slot_p(&f->seg, 1)->tx;
	}
	f->free0 = shm_pchunk_free_cnt(&f->seg);
}

/* Chunks that are out, by the pool's own account. */
static uint32_t used(struct fx *f)
{
	if (f->role == SD_FIFO_RX)
		return f->pool.chunk_used;
	return f->free0 - shm_pchunk_free_cnt(&f->seg) -
	       (uint32_t)__builtin_popcountll(f->mag.bits);
}

static uint8_t pat(uint64_t pos)
{
	return (uint8_t)(pos * 0x9e3779b97f4a7c15ull >> 56);
}

static void put(struct fx *f, uint64_t pos, uint64_t len)
{
	uint8_t *b = malloc(len ? len : 1);
	uint64_t i;

	for (i = 0; i < len; i++)
		b[i] = pat(pos + i);
	cr_assert_eq(shm_fifo_reserve(&f->mem, f->role, f->map, pos, len), len);
	cr_assert_eq(shm_fifo_write(&f->seg, f->role, f->map, pos, b, len), len);
	free(b);
}

static void check(struct fx *f, uint64_t pos, uint64_t len)
{
	uint8_t *b = malloc(len ? len : 1);
	uint64_t i;

	cr_assert_eq(shm_fifo_read(&f->seg, f->role, f->map, pos, b, len), len);
	for (i = 0; i < len; i++)
		if (b[i] != pat(pos + i))
			cr_assert_fail("byte %lu of %lu at %lu", i, len, pos);
	free(b);
}

static void release(struct fx *f, uint64_t upto, uint64_t tail)
{
	shm_fifo_release(&f->mem, f->role, f->map, upto, tail);
}

static uint64_t readable(struct fx *f, uint64_t pos, uint64_t len)
{
	uint8_t *b = malloc(len);
	uint64_t n = shm_fifo_read(&f->seg, f->role, f->map, pos, b, len);

	free(b);
	return n;
}

static void expect_idle(struct fx *f)
{
	unsigned i;

	cr_expect_eq(used(f), 0, "%u chunks leaked", used(f));
	cr_expect_eq(f->map->held, 0);
	cr_expect_eq(f->map->level, 0);
	for (i = 0; i < SD_MAP_DIRECT; i++)
		cr_expect_eq(f->map->direct[i], 0);
	for (i = 0; i < SD_MAP_INDIRECT; i++)
		cr_expect_eq(f->map->ind[i], 0);
}

/* Sizes around each border, from positions around each border. */
static void borders(enum sd_fifo_role role)
{
	static const uint64_t len[] = { 1, C - 1, C, C + 1, 3 * C, 4 * C - 1, 4 * C, 4 * C + 1,
					5 * C, 64 * 1024, IND + 3 };
	static const uint64_t start[] = { 0, 1, C - 1, C, 4 * C - 1, IND - 1, IND - 2 * C + 7,
					  8 * IND - 5, (1ull << 44) - 3 * C };
	struct fx f;
	unsigned i, k;

	fx_init(&f, role);
	for (i = 0; i < sizeof(start) / sizeof(*start); i++) {
		for (k = 0; k < sizeof(len) / sizeof(*len); k++) {
			f.map->freed = start[i];
			put(&f, start[i], len[k]);
			check(&f, start[i], len[k]);
			cr_expect_eq(f.map->held, used(&f));
			release(&f, start[i] + len[k] / 2, start[i] + len[k]);
			check(&f, start[i] + len[k] / 2, len[k] - len[k] / 2);
			release(&f, start[i] + len[k], start[i] + len[k]);
			expect_idle(&f);
		}
	}
	shm_epool_fini(&f.pool);
}

Test(fifo, borders_rx) { borders(SD_FIFO_RX); }
Test(fifo, borders_tx) { borders(SD_FIFO_TX); }

Test(fifo, holds_one_chunk_for_one_byte)
{
	struct fx f;

	fx_init(&f, SD_FIFO_RX);
	put(&f, 0, 1);
	cr_expect_eq(used(&f), 1);
	cr_expect_eq(f.map->level, 0);
	put(&f, 1, 100);
	cr_expect_eq(used(&f), 1);
	put(&f, 101, 4 * C - 101);
	cr_expect_eq(used(&f), 4);
	cr_expect_eq(f.map->level, 0);
	put(&f, 4 * C, 1);
	cr_expect_eq(used(&f), 6, "five and a map chunk");
	cr_expect_eq(f.map->level, 1);
	cr_expect_neq(f.map->direct[3], 0, "direct[] stays for readers that saw level 0");
	check(&f, 0, 4 * C + 1);
}

Test(fifo, a_reader_that_saw_level_0_still_reads)
{
	struct fx f;
	struct sd_fifo_map old;
	uint8_t b[64];

	fx_init(&f, SD_FIFO_TX);
	put(&f, 0, 64);
	old = *f.map;
	put(&f, 64, 10 * C);
	memcpy(old.direct, f.map->direct, sizeof(old.direct));
	cr_expect_eq(shm_fifo_read(&f.seg, f.role, &old, 0, b, 64), 64);
	cr_expect_eq(b[63], pat(63));
}

static void capacity(enum sd_fifo_role role, uint64_t start)
{
	uint64_t cap = SD_FIFO_MAX - start % C;
	struct fx f;

	fx_init(&f, role);
	f.map->freed = start;
	put(&f, start, cap);
	cr_expect_eq(used(&f), SD_MAP_INDIRECT * SD_MAP_ENTRIES + SD_MAP_INDIRECT);
	cr_expect_eq(shm_fifo_reserve(&f.mem, role, f.map, start + cap, C), 0, "full");
	check(&f, start, cap);
	/* Sliding on: what is freed in front can be used behind; map chunks are shared. */
	release(&f, start + 3 * C + 5, start + cap);
	cr_expect_eq(shm_fifo_reserve(&f.mem, role, f.map, start + cap, 9 * C) / C, 3);
	put(&f, start + cap, 3 * C);
	check(&f, start + 3 * C + 5, cap - 5);
	release(&f, start + IND + 99, start + cap + 3 * C);
	put(&f, start + cap + 3 * C, IND - 4 * C);
	check(&f, start + IND + 99, cap - 99 - C);
	release(&f, start + cap + IND - C, start + cap + IND - C);
	expect_idle(&f);
	shm_epool_fini(&f.pool);
}

Test(fifo, capacity_rx) { capacity(SD_FIFO_RX, 0); }
Test(fifo, capacity_tx_unaligned) { capacity(SD_FIFO_TX, 5 * IND - 3 * C - 77); }

Test(fifo, map_chunks_go_as_the_stream_moves_on)
{
	struct fx f;
	uint64_t pos;

	fx_init(&f, SD_FIFO_RX);
	put(&f, 0, 64 * C);
	for (pos = 0; pos < 3 * IND; pos += 64 * C) {
		put(&f, pos + 64 * C, 64 * C);
		release(&f, pos + 64 * C, pos + 128 * C);
		cr_assert_leq(used(&f), 64 + 2);
		cr_assert_eq(f.map->held, used(&f));
	}
	check(&f, pos, 64 * C);
}

Test(fifo, out_of_order_with_holes)
{
	struct fx f;

	fx_init(&f, SD_FIFO_RX);
	put(&f, 0, 100);
	put(&f, 2 * C + 10, 100);
	cr_expect_eq(used(&f), 2);
	cr_expect_eq(readable(&f, 0, 3 * C), C, "stops at the hole");
	put(&f, 900 * C, C);
	cr_expect_eq(f.map->level, 1);
	put(&f, 1500 * C + 1, 5);
	cr_expect_eq(used(&f), 4 + 2);
	cr_expect_eq(readable(&f, C, 1), 0);
	check(&f, 2 * C + 10, 100);
	check(&f, 900 * C, C);
	check(&f, 1500 * C + 1, 5);
	put(&f, 100, 2 * C - 90);
	check(&f, 0, 2 * C + 110);
	/* In-order data consumed while later data waits: not empty, level stays. */
	release(&f, 2 * C + 110, 1500 * C + 6);
	cr_expect_eq(f.map->level, 1);
	cr_expect_eq(readable(&f, 0, 1), 0, "released positions are holes");
	check(&f, 900 * C, C);
	release(&f, 1500 * C + 6, 1500 * C + 6);
	expect_idle(&f);
}

Test(fifo, a_forgotten_out_of_order_chunk_keeps_the_level)
{
	struct fx f;

	fx_init(&f, SD_FIFO_RX);
	put(&f, 0, 10 * C);
	put(&f, 100 * C, C);
	release(&f, 10 * C, 10 * C);
	cr_expect_eq(f.map->level, 1);
	check(&f, 100 * C, C);
	release(&f, 101 * C, 101 * C);
	expect_idle(&f);
}

Test(fifo, released_entries_are_holes_for_the_next_lap)
{
	struct fx f;
	unsigned i;

	fx_init(&f, SD_FIFO_TX);
	for (i = 0; i < 40; i++) {
		put(&f, i * C, C);
		cr_assert_eq(readable(&f, (i + 1) * C, 1), 0);
		release(&f, i * C + 17, (i + 1) * C);
		cr_assert_leq(used(&f), 1);
		check(&f, i * C + 17, C - 17);
	}
	cr_expect_eq(f.map->level, 0);
}

Test(fifo, positions_behind_are_refused)
{
	struct fx f;

	fx_init(&f, SD_FIFO_TX);
	put(&f, 0, 10 * C);
	release(&f, 9 * C, 10 * C);
	cr_expect_eq(shm_fifo_reserve(&f.mem, f.role, f.map, 3 * C, 5), 0);
	release(&f, 2 * C, 10 * C);
	release(&f, 11 * C, 10 * C);
	check(&f, 9 * C, C);
}

Test(fifo, pool_exhaustion_gives_a_prefix)
{
	struct fx f;
	uint64_t n;

	fx_init(&f, SD_FIFO_RX);
	f.pool.chunk_max = 7;
	n = shm_fifo_reserve(&f.mem, f.role, f.map, 100, 100 * C);
	cr_expect_eq(n, 6 * C - 100, "six chunks and a map chunk");
	cr_expect_eq(used(&f), 7);
	cr_expect_eq(shm_fifo_reserve(&f.mem, f.role, f.map, 100 + n, C), 0);
	release(&f, 100 + n, 100 + n);
	expect_idle(&f);
	f.pool.chunk_max = 4;
	f.map->freed = 0;
	cr_expect_eq(shm_fifo_reserve(&f.mem, f.role, f.map, 0, 5 * C), 4 * C,
		     "no map chunk: what fits directly");
	cr_expect_eq(f.map->level, 0);
	release(&f, 2 * C, 4 * C);
	cr_expect_eq(shm_fifo_reserve(&f.mem, f.role, f.map, 4 * C, 5 * C), 2 * C);
	release(&f, 6 * C, 6 * C);
	expect_idle(&f);
}

Test(fifo, level_up_needs_two_map_chunks_at_a_border)
{
	struct fx f;
	uint64_t start = IND - 2 * C;

	fx_init(&f, SD_FIFO_RX);
	f.map->freed = start;
	put(&f, start, 4 * C);
	f.pool.chunk_max = 5;
	cr_expect_eq(shm_fifo_reserve(&f.mem, f.role, f.map, start + 4 * C, 1), 0);
	cr_expect_eq(f.map->level, 0);
	check(&f, start, 4 * C);
	f.pool.chunk_max = 100;
	put(&f, start + 4 * C, 1);
	check(&f, start, 4 * C + 1);
	cr_expect_eq(used(&f), 7);
	release(&f, start + 4 * C + 1, start + 4 * C + 1);
	expect_idle(&f);
}

Test(fifo, left_over_map_chunks_at_level_0_are_taken_into_use)
{
	struct fx f;
	uint8_t *junk;

	fx_init(&f, SD_FIFO_TX);
	put(&f, 0, C);
	f.map->ind[0] = shm_pchunk_alloc(&f.seg, &f.mag);
	f.map->ind[5] = shm_pchunk_alloc(&f.seg, &f.mag);
	f.map->held += 2;
	junk = shm_chunk(&f.seg, SD_FIFO_TX, f.map->ind[0]);
	memset(junk, 0xff, C);
	put(&f, C, 10 * C);
	check(&f, 0, 11 * C);
	cr_expect_eq(used(&f), 12);
	release(&f, 11 * C, 11 * C);
	expect_idle(&f);
}

Test(fifo, iov_merges_neighbours)
{
	struct fx f;
	struct iovec iov[4];
	uint64_t n;

	fx_init(&f, SD_FIFO_TX);
	put(&f, 0, 20 * C);
	cr_expect_eq(shm_fifo_iov(&f.seg, f.role, f.map, 10, 3 * C, iov, 4, &n), 1);
	cr_expect_eq(n, 3 * C);
	cr_expect_eq(iov[0].iov_len, 3 * C);
	cr_expect_eq(*(uint8_t *)iov[0].iov_base, pat(10));
	cr_expect_geq(shm_fifo_iov(&f.seg, f.role, f.map, 0, 20 * C, iov, 4, &n), 2,
		      "the map chunk lies between");
	cr_expect_eq(n, 20 * C);
	cr_expect_eq(shm_fifo_iov(&f.seg, f.role, f.map, 0, 20 * C, iov, 1, &n), 1);
	cr_expect_eq(n, iov[0].iov_len);
	cr_expect_eq(shm_fifo_iov(&f.seg, f.role, f.map, 0, 20 * C, iov, 0, &n), 0);
	cr_expect_eq(n, 0);
	cr_expect_eq(shm_fifo_iov(&f.seg, f.role, f.map, 25 * C, 5, iov, 4, &n), 0);
	cr_expect_eq(n, 0);
	cr_expect_eq(shm_fifo_iov(&f.seg, f.role, f.map, 19 * C, 5 * C, iov, 4, &n), 1);
	cr_expect_eq(n, C);
}

Test(fifo, destroy_frees_everything)
{
	struct fx f;

	fx_init(&f, SD_FIFO_RX);
	put(&f, 5, 2 * C);
	shm_fifo_destroy(&f.mem, f.role, f.map);
	expect_idle(&f);
	put(&f, 0, 20 * C);
	put(&f, 3000 * C, 20 * C);
	shm_fifo_destroy(&f.mem, f.role, f.map);
	expect_idle(&f);
	cr_expect_eq(f.map->freed, 0);
}

/* ---- hostile maps: the engine reads and frees a program's map full of anything ---- */

static void engine_uses(struct fx *f)
{
	const struct shm_fifo_mem eng = { .seg = &f->seg };
	static uint8_t b[64 * 1024];
	struct iovec iov[8];
	uint64_t n, i;
	unsigned cnt, k;

	for (i = 0; i < 3; i++) {
		cr_assert_leq(shm_fifo_read(&f->seg, SD_FIFO_TX, f->map, i << 43, b, sizeof(b)),
			      sizeof(b));
		cnt = shm_fifo_iov(&f->seg, SD_FIFO_TX, f->map, i * 5000, sizeof(b), iov, 8, &n);
		cr_assert_leq(cnt, 8);
		for (k = 0; k < cnt; k++) {
			cr_assert_geq((uint8_t *)iov[k].iov_base, f->seg.rw + SD_RW_CHUNKS + C);
			cr_assert_leq((uint8_t *)iov[k].iov_base + iov[k].iov_len,
				      f->seg.rw + SD_RW_SIZE);
		}
	}
	shm_fifo_release(&eng, SD_FIFO_TX, f->map, 1ull << 62, 1ull << 62);
	shm_fifo_destroy(&eng, SD_FIFO_TX, f->map);
	cr_assert_geq(shm_pchunk_free_cnt(&f->seg), f->free0 - 64);
	cr_assert_leq(shm_pchunk_free_cnt(&f->seg), SD_CHUNKS - 1);
}

Test(fifo, hostile_maps)
{
	struct fx f;
	uint32_t *w;
	unsigned round, i, bad = 1;

	fx_init(&f, SD_FIFO_TX);
	w = (uint32_t *)f.map;
	for (round = 0; round < 300; round++) {
		for (i = 0; i < sizeof(*f.map) / 4; i++) {
			bad = bad * 1664525 + 1013904223;
			w[i] = round % 3 == 0 ? bad : round % 3 == 1 ? bad >> 12 : bad >> 30;
		}
		if (round % 2)
			f.map->freed = 0;
		engine_uses(&f);
	}
}

Test(fifo, a_map_chunk_that_names_itself)
{
	struct fx f;
	uint32_t *m, i, c;

	fx_init(&f, SD_FIFO_TX);
	c = shm_pchunk_alloc(&f.seg, &f.mag);
	m = (uint32_t *)shm_chunk(&f.seg, SD_FIFO_TX, c);
	for (i = 0; i < SD_MAP_ENTRIES; i++)
		m[i] = c;
	for (i = 0; i < SD_MAP_INDIRECT; i++)
		f.map->ind[i] = c;
	f.map->level = 0x80000000u;
	engine_uses(&f);
}

Test(fifo, random_walk_against_a_model)
{
	struct fx f;
	uint64_t head = 0, tail = 0, n;
	unsigned i, seed = 12345;

	fx_init(&f, SD_FIFO_TX);
	for (i = 0; i < 3000; i++) {
		n = (uint64_t)rand_r(&seed) % (1u << rand_r(&seed) % 19);
		if (rand_r(&seed) % 2 && tail - head + n < (2u << 20)) {
			put(&f, tail, n);
			tail += n;
		} else {
			n = n < tail - head ? n : tail - head;
			check(&f, head, n);
			head += n;
			release(&f, head, tail);
		}
		cr_assert_eq(f.map->held, used(&f));
	}
	release(&f, tail, tail);
	expect_idle(&f);
}
