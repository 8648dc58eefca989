/* SPDX-License-Identifier: MIT */
/* tests/stress/pool.c - chunks and slots have one owner at a time
 * Every party stamps what it gets, looks at the stamp later and gives it back, sometimes to the
 * bitmap, sometimes to its magazine.
 */
#include "stress.h"

#include "shm/pool.h"

#define PARTIES	4
#define KEEP	200
#define SMALL	512	/* chunks left in the pool, so that it runs dry often */

struct hammer {
	struct shm_seg seg;
	unsigned id, rounds;
};

static uint64_t *stamp_of(const struct shm_seg *seg, uint32_t chunk)
{
	return (uint64_t *)(void *)shm_chunk(seg, SD_FIFO_TX, chunk);
}

static void chunks(void *arg)
{
	struct hammer *h = arg;
	struct shm_magazine mag = { 0 };
	uint32_t have[KEEP] = { 0 };
	unsigned i, k, seed = h->id;

	for (i = 0; i < h->rounds; i++) {
		k = stress_rand(&seed) % KEEP;
		if (!have[k]) {
			have[k] = shm_pchunk_alloc(&h->seg, &mag);
			if (have[k])
				*stamp_of(&h->seg, have[k]) = (uint64_t)h->id << 32 | k;
			continue;
		}
		CHECK(*stamp_of(&h->seg, have[k]) == ((uint64_t)h->id << 32 | k));
		shm_pchunk_put(&h->seg, k % 3 ? &mag : NULL, have[k]);
		have[k] = 0;
	}
	for (k = 0; k < KEEP; k++)
		shm_pchunk_put(&h->seg, &mag, have[k]);
	shm_magazine_flush(&h->seg, &mag);
}

static void slots(void *arg)
{
	struct hammer *h = arg;
	uint32_t have[KEEP] = { 0 };
	unsigned i, k, seed = h->id;

	for (i = 0; i < h->rounds; i++) {
		k = stress_rand(&seed) % KEEP;
		if (!have[k]) {
			have[k] = shm_pslot_alloc(&h->seg);
			CHECK(have[k]);
			shm_slot_p(&h->seg, have[k])->owner = h->id;
			continue;
		}
		CHECK(shm_slot_p(&h->seg, have[k])->owner == h->id);
		shm_pslot_free(&h->seg, have[k]);
		have[k] = 0;
	}
}

static void run(bool proc, void (*fn)(void *), unsigned rounds)
{
	struct party p[PARTIES];
	struct hammer h[PARTIES];
	struct shm_seg seg = stress_seg();
	struct shm_magazine mag = { 0 };
	uint32_t i, left = SD_CHUNKS - 1 - SMALL;

	while (left--)
		CHECK(shm_pchunk_alloc(&seg, &mag));
	shm_magazine_flush(&seg, &mag);
	left = shm_pchunk_free_cnt(&seg);
	for (i = 0; i < PARTIES; i++) {
		h[i] = (struct hammer){ .seg = seg, .id = i + 1, .rounds = rounds };
		party_start(&p[i], proc, fn, &h[i]);
	}
	for (i = 0; i < PARTIES; i++)
		party_join(&p[i]);
	CHECK(shm_pchunk_free_cnt(&seg) == left, "%u of %u", shm_pchunk_free_cnt(&seg), left);
	shm_seg_unmap(&seg);
}

static void both_kinds(bool proc)
{
	run(proc, chunks, stress_n(150000));
	STRESS_OK("pool chunks %s", proc ? "processes" : "threads");
	run(proc, slots, stress_n(400000));
	STRESS_OK("pool slots %s", proc ? "processes" : "threads");
}

int main(void)
{
	stress_start(100);
	stress_both(both_kinds);
	return 0;
}
