/* SPDX-License-Identifier: MIT */
/* tests/stress/fifo.c - a stream through a FIFO, producer and consumer at once
 * The stream's byte p is that of a fixed pattern with a prime period, so that a chunk in the wrong
 * place never matches. The window in flight changes all the time, from nothing to several MiB,
 * which moves the map between its levels. In the last scenario the producer is killed over and
 * over, and its successor goes on with the map it finds.
 */
#include "stress.h"

#include "shm/fifo.h"

#define PERIOD	65521u
#define PIECE	(96u * 1024)
static uint8_t pattern[PERIOD + PIECE];

struct stream {
	struct shm_seg seg;
	enum sd_fifo_role role;
	struct sd_fifo_map *map;
	uint64_t total;
	uint64_t tail, head;		/* published by producer, consumer */
	struct shm_epool *pool;
	struct shm_magazine mag;
	uint32_t free0;
};

static const uint8_t *pat(uint64_t pos)
{
	return pattern + pos % PERIOD;
}

static void pattern_init(void)
{
	unsigned i, seed = 77;

	for (i = 0; i < sizeof(pattern); i++)
		pattern[i] = i < PERIOD ? (uint8_t)stress_rand(&seed) : pattern[i - PERIOD];
}

static struct stream *stream_new(enum sd_fifo_role role, uint64_t total)
{
	struct stream *s = stress_shared(sizeof(*s));
	static struct shm_espan span;
	static struct shm_epool pool;

	s->seg = stress_seg();
	s->role = role;
	s->total = total;
	shm_espan_init(&span);
	CHECK(shm_epool_init(&pool, &span) == 0);
	s->pool = &pool;
	s->map = role == SD_FIFO_RX ? &shm_slot_e(&s->seg, 9)->rx : &shm_slot_p(&s->seg, 9)->tx;
	s->free0 = shm_pchunk_free_cnt(&s->seg);
	return s;
}

static void stream_end(struct stream *s)
{
	shm_seg_unmap(&s->seg);
	shm_epool_fini(s->pool);
	munmap(s, sizeof(*s));
}

static uint64_t window(unsigned *seed)
{
	static const uint64_t w[] = { 1000, 12000, 40000, 1u << 20, 8u << 20 };

	return w[stress_rand(seed) % 5];
}

static void produce(void *arg)
{
	struct stream *s = arg;
	struct shm_fifo_mem mem = { .seg = &s->seg };
	uint64_t tail = ld_rlx(&s->tail), head, len, limit = 1000;
	unsigned seed = (unsigned)tail + 1, since = 0;

	if (s->role == SD_FIFO_RX)
		mem.epool = s->pool;
	else
		mem.mag = &s->mag;
	while (tail < s->total) {
		head = ld_acq(&s->head);		/* pairs with st_rel in consume() */
		shm_fifo_release(&mem, s->role, s->map, head, tail);
		if (since++ % 64 == 0)
			limit = window(&seed);
		len = stress_rand(&seed) % PIECE % limit + 1;
		if (tail - head + len > limit || tail + len > s->total) {
			if (tail + len > s->total)
				limit = s->total - tail;
			sched_yield();
			continue;
		}
		len = shm_fifo_reserve(&mem, s->role, s->map, tail, len);
		CHECK(len > 0, "pool is dry at %lu", tail);
		CHECK(shm_fifo_write(&s->seg, s->role, s->map, tail, pat(tail), len) == len);
		tail += len;
		st_rel(&s->tail, tail);			/* pairs with ld_acq in consume() */
	}
	while (ld_acq(&s->head) != s->total)
		sched_yield();
	shm_fifo_release(&mem, s->role, s->map, s->total, s->total);
}

/* Check @len bytes at @pos, by reading or in place. */
static void compare(struct stream *s, uint64_t pos, uint64_t len, bool in_place)
{
	static uint8_t buf[PIECE];
	struct iovec iov[32];
	uint64_t got, off = 0;
	unsigned i, cnt;

	if (!in_place) {
		CHECK(shm_fifo_read(&s->seg, s->role, s->map, pos, buf, len) == len, "%lu", pos);
		CHECK(memcmp(buf, pat(pos), len) == 0, "at %lu", pos);
		return;
	}
	cnt = shm_fifo_iov(&s->seg, s->role, s->map, pos, len, iov, 32, &got);
	CHECK(got == len, "%lu of %lu at %lu", got, len, pos);
	for (i = 0; i < cnt; off += iov[i++].iov_len)
		CHECK(memcmp(iov[i].iov_base, pat(pos + off), iov[i].iov_len) == 0, "at %lu", pos);
}

static void consume(void *arg)
{
	struct stream *s = arg;
	uint64_t head = 0, tail, len;
	unsigned seed = 99;

	while (head < s->total) {
		tail = ld_acq(&s->tail);		/* pairs with st_rel in produce() */
		if (tail == head) {
			sched_yield();
			continue;
		}
		len = stress_rand(&seed) % PIECE + 1;
		len = len < tail - head ? len : tail - head;
		compare(s, head, len, seed & 1 << 20);
		head += len;
		st_rel(&s->head, head);			/* pairs with ld_acq in produce() */
	}
}

static void expect_empty(const struct sd_fifo_map *map)
{
	unsigned i;

	CHECK(map->level == 0);
	for (i = 0; i < SD_MAP_DIRECT; i++)
		CHECK(map->direct[i] == 0);
	for (i = 0; i < SD_MAP_INDIRECT; i++)
		CHECK(map->ind[i] == 0);
}

static void run(enum sd_fifo_role role, bool proc)
{
	struct stream *s = stream_new(role, (uint64_t)stress_n(640) << 20);
	struct party prod, cons;

	party_start(&cons, proc, consume, s);
	party_start(&prod, proc, produce, s);
	party_join(&prod);
	party_join(&cons);
	expect_empty(s->map);
	CHECK(s->map->held == 0);
	if (role == SD_FIFO_TX) {
		shm_magazine_flush(&s->seg, &s->mag);
		CHECK(shm_pchunk_free_cnt(&s->seg) == s->free0, "chunks leaked");
	} else if (!proc) {
		CHECK(s->pool->chunk_used == 0);
	}
	STRESS_OK("fifo %s %s", role == SD_FIFO_RX ? "rx" : "tx", proc ? "processes" : "threads");
	stream_end(s);
}

static void rx(bool proc) { run(SD_FIFO_RX, proc); }
static void tx(bool proc) { run(SD_FIFO_TX, proc); }

static void killed_producers(void)
{
	struct stream *s = stream_new(SD_FIFO_TX, 1ull << 50);
	struct party prod, cons;
	const unsigned kills = 300;
	unsigned i, seed = 3;
	struct shm_fifo_mem mem = { .seg = &s->seg };

	party_start(&cons, true, consume, s);
	for (i = 0; i < kills; i++) {
		party_start(&prod, true, produce, s);
		usleep(200 + stress_rand(&seed) % 6000);
		party_kill(&prod);
		s->mag = (struct shm_magazine){ 0 };	/* what was in it is lost */
	}
	CHECK(ld_acq(&s->tail) > 1u << 20, "nothing was sent");
	st_rel(&s->total, ld_acq(&s->tail));
	party_kill(&cons);
	compare(s, ld_acq(&s->head), s->tail - s->head < PIECE ? s->tail - s->head : PIECE, false);
	shm_fifo_destroy(&mem, SD_FIFO_TX, s->map);
	expect_empty(s->map);
	CHECK(shm_pchunk_free_cnt(&s->seg) > s->free0 - kills * 70, "more than magazines leaked");
	STRESS_OK("fifo killed producers, %lu MiB", s->tail >> 20);
	stream_end(s);
}

int main(void)
{
	stress_start(100);
	pattern_init();
	stress_both(rx);
	stress_both(tx);
	if (!STRESS_TSAN)
		killed_producers();
	return 0;
}
