/* SPDX-License-Identifier: MIT */
/* tests/unit/shm/test_adopt.c - pools, FIFOs and accept rings of an engine that was killed */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/unit/shm/ready_cnt.h"
#include "shm/fifo.h"

static struct shm_seg seg_new(void)
{
	struct shm_seg s;
	int ro, rw;

	cr_assert_eq(shm_seg_create(1, 1, &ro, &rw), 0);
	cr_assert_eq(shm_seg_map(ro, rw, true, &s), 0);
	close(ro);
	close(rw);
	return s;
}

static struct shm_emarks marks_new(void)
{
	return (struct shm_emarks){ .chunk = calloc(SD_CHUNKS / 64, 8),
				    .slot = calloc((SD_SLOTS - SD_SLOTS_P) / 64, 8) };
}

struct owner {
	struct shm_epool *pool;
	struct shm_emarks *m;
};

static bool own(void *arg, uint32_t chunk)
{
	struct owner *o = arg;

	return shm_epool_mark_chunk(o->pool, o->m, chunk);
}

/* Data survives, each chunk is out exactly once afterwards, and all come back in the end. */
Test(adopt, fifos_keep_their_chunks_and_pools_the_rest)
{
	struct shm_seg s = seg_new();
	struct shm_espan span;
	struct shm_epool old, fresh[2], *pools[2] = { &fresh[0], &fresh[1] };
	struct shm_emarks m = marks_new();
	struct sd_fifo_map map = { 0 };
	struct shm_fifo_mem mem = { .seg = &s, .epool = &old };
	struct owner o = { &fresh[0], &m };
	static uint8_t in[100000], out[100000];
	uint32_t used, lost, i, n = 0;

	shm_espan_init(&span);
	cr_assert_eq(shm_epool_init(&old, &span), 0);
	for (i = 0; i < sizeof(in); i++)
		in[i] = (uint8_t)(i * 7);
	cr_assert_eq(shm_fifo_reserve(&mem, SD_FIFO_RX, &map, 0, sizeof(in)), sizeof(in));
	shm_fifo_write(&s, SD_FIFO_RX, &map, 0, in, sizeof(in));
	used = map.held;
	lost = shm_echunk_alloc(&old);		/* taken, not stored: killed in between */
	cr_assert(lost);
	map.held += 3;				/* whatever it was about to count */
	shm_epool_fini(&old);

	cr_assert_eq(shm_epool_init(&fresh[0], &span), 0);
	cr_assert_eq(shm_epool_init(&fresh[1], &span), 0);
	shm_fifo_adopt(&s, SD_FIFO_RX, &map, own, &o);
	shm_epools_refill(pools, 2, &m);
	cr_expect_eq(map.held, used);
	cr_expect_eq(fresh[0].chunk_used, used);
	cr_expect_eq(fresh[0].chunk_cnt + fresh[1].chunk_cnt + used + 1, span.next_chunk,
		     "all but chunk 0 are in use or free");
	for (unsigned p = 0; p < 2; p++) {
		for (i = 0; i < fresh[p].chunk_cnt; i++) {
			uint32_t c = fresh[p].chunks[i];

			cr_assert(!(m.chunk[c / 64] >> c % 64 & 1));
			n += c == lost;
		}
	}
	cr_expect_eq(n, 1, "the lost one is free again");
	cr_expect_eq(shm_fifo_read(&s, SD_FIFO_RX, &map, 0, out, sizeof(out)), sizeof(out));
	cr_expect(memcmp(in, out, sizeof(in)) == 0);
	mem.epool = &fresh[0];
	shm_fifo_destroy(&mem, SD_FIFO_RX, &map);
	cr_expect_eq(fresh[0].chunk_used, 0);
	shm_epool_fini(&fresh[0]);
	shm_epool_fini(&fresh[1]);
	shm_seg_unmap(&s);
}

/* A chunk that two maps name, or that was never given out, stays with neither of the late ones. */
Test(adopt, no_chunk_gets_two_owners)
{
	struct shm_seg s = seg_new();
	struct shm_espan span;
	struct shm_epool p;
	struct shm_emarks m = marks_new();
	struct owner o = { &p, &m };
	struct sd_fifo_map a = { .direct = { 5 } }, b = { .direct = { 5, 6, SD_CHUNKS, 4000 } };

	shm_espan_init(&span);
	span.next_chunk = 64;
	cr_assert_eq(shm_epool_init(&p, &span), 0);
	shm_fifo_adopt(&s, SD_FIFO_RX, &a, own, &o);
	shm_fifo_adopt(&s, SD_FIFO_RX, &b, own, &o);
	cr_expect(a.direct[0] == 5 && a.held == 1);
	cr_expect(b.direct[0] == 0 && b.direct[1] == 6 && b.direct[2] == 0 && b.direct[3] == 0);
	cr_expect_eq(b.held, 1);
	cr_expect_eq(p.chunk_used, 2);
	cr_expect(shm_epool_mark_slot(&p, &m, SD_SLOTS_P) == false, "never given out");
	shm_epool_fini(&p);
	shm_seg_unmap(&s);
}

Test(adopt, accept_ring_finishes_the_push_that_was_cut)
{
	struct shm_seg s = seg_new();
	struct sd_accept_ring *r = shm_accept_ring(&s, 3);
	struct shm_accept_prod p = { 0 }, next;
	uint32_t slot, gen, idx;

	cr_assert_eq(shm_accept_push(r, &p, 1, 11), 0);
	cr_assert_eq(shm_accept_push(r, &p, 2, 22), 0);
	r->prod = 1;			/* the second push had not come to this */
	shm_accept_adopt(r, &next);
	cr_expect_eq(next.prod, 2);
	cr_expect_eq(ready_cnt(r), 2);
	cr_assert_eq(shm_accept_push(r, &next, 3, 33), 0);
	for (uint32_t i = 1; i <= 3; i++) {
		cr_assert(shm_accept_claim(r, 0, 1, &slot, &gen, &idx));
		cr_expect(slot == i && gen == 11 * i);
		shm_accept_done(r, idx);
	}
	shm_accept_adopt(r, &next);
	cr_expect_eq(next.prod, 3);
	cr_expect_eq(ready_cnt(r), 0);
	shm_seg_unmap(&s);
}
