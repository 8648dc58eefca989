/* SPDX-License-Identifier: MIT */
/* bench/micro/parts.c - what every byte and packet passes, beside what the machine allows
 * One thread, everything in its caches, so that the code is measured and not the memory. The limit
 * of a copy is memcpy() of the same bytes, of a sum one pass of wide additions, of a ring or a
 * mailbox the atomic operations that it cannot do without, of a list two stores.
 */
#include <string.h>
#include <unistd.h>

#include "bench/micro/micro.h"
#include "shm/fifo.h"
#include "shm/mbox.h"
#include "shm/ring.h"
#include "stackd/core/csum.h"
#include "stackd/core/pkt.h"
#include "stackd/core/siphash.h"
#include "stackd/core/wheel.h"

#define PROC	1u
#define SLOT	9u
#define BIG	(64u * 1024)

typedef uint64_t wide __attribute__((vector_size(32)));

static struct shm_seg seg;
static struct shm_magazine mag;
static struct pkt_pool *pool;
static struct wheel *wheel;
static struct wheel_node node;
static _Alignas(64) uint8_t from[BIG], to[BIG], mid[BIG];
static _Alignas(64) uint64_t word;
static volatile uint64_t sink;

#define KEEP(p) __asm__ volatile("" : : "r"(p) : "memory")

/* ---- FIFO: in, out, chunks back ---- */

static void fifo(unsigned n, uint32_t len)
{
	static uint64_t at;
	const struct shm_fifo_mem mem = { .seg = &seg, .mag = &mag };
	struct sd_fifo_map *map = &shm_slot_p(&seg, SLOT)->tx;

	while (n--) {
		if (shm_fifo_reserve(&mem, SD_FIFO_TX, map, at, len) != len ||
		    shm_fifo_write(&seg, SD_FIFO_TX, map, at, from, len) != len ||
		    shm_fifo_read(&seg, SD_FIFO_TX, map, at, to, len) != len)
			abort();
		at += len;
		shm_fifo_release(&mem, SD_FIFO_TX, map, at, at);
	}
}

static void copy_twice(unsigned n, uint32_t len)
{
	while (n--) {
		memcpy(mid, from, len);
		KEEP(mid);
		memcpy(to, mid, len);
		KEEP(to);
	}
}

static void fifo_64(unsigned n) { fifo(n, 64); }
static void fifo_1460(unsigned n) { fifo(n, 1460); }
static void fifo_64k(unsigned n) { fifo(n, BIG); }
static void copy_64(unsigned n) { copy_twice(n, 64); }
static void copy_1460(unsigned n) { copy_twice(n, 1460); }
static void copy_64k(unsigned n) { copy_twice(n, BIG); }

/* ---- commands and mailboxes ---- */

static void ring(unsigned n)
{
	static struct shm_cmd_reader rd;
	struct sd_cmd cmd = { .op = SD_OP_KICK };

	while (n--)
		if (shm_cmd_push(&seg, PROC, 0, &cmd) || !shm_cmd_pop(&seg, PROC, 0, &rd, &cmd))
			abort();
}

/* A slot is taken by a swap, the process's bit is set and found: three locked operations. */
static void three_locked(unsigned n)
{
	while (n--) {
		uint64_t want = ld_rlx(&word);

		cas_sc(&word, &want, want + 2);
		or_sc(&word, 1);
		xchg_sc(&word, 0);
	}
}

static void mailbox(unsigned n)
{
	struct sd_mbox *mb = shm_mbox(&seg, 1);
	uint32_t bit;

	while (n--) {
		shm_mbox_post(mb, 77);
		if (shm_mbox_take(mb, &bit, 1) != 1)
			abort();
	}
}

/* Three levels set, three taken. */
static void six_locked(unsigned n)
{
	three_locked(2 * n);
}

/* ---- sums and hashes ---- */

static void csum(unsigned n, uint32_t len)
{
	while (n--) {
		sink += csum_of(from, len);
		KEEP(from);
	}
}

__attribute__((target_clones("avx2", "default")))
static void add_wide(unsigned n, uint32_t len)
{
	while (n--) {
		const wide *v = (const void *)from;
		wide a = { 0 }, b = { 0 }, c = { 0 }, d = { 0 };
		uint32_t i = 0, cnt = len / sizeof(*v);

		for (; i + 3 < cnt; i += 4) {
			a += v[i];
			b += v[i + 1];
			c += v[i + 2];
			d += v[i + 3];
		}
		for (; i < cnt; i++)
			a += v[i];
		a += b + c + d;
		sink += a[0] + a[1] + a[2] + a[3];
		KEEP(from);
	}
}

static void csum_64(unsigned n) { csum(n, 64); }
static void csum_1460(unsigned n) { csum(n, 1460); }
static void csum_64k(unsigned n) { csum(n, BIG); }
static void add_64(unsigned n) { add_wide(n, 64); }
static void add_1460(unsigned n) { add_wide(n, 1460); }
static void add_64k(unsigned n) { add_wide(n, BIG); }

/* Two addresses and two ports, as the connection table hashes them. */
static void sip(unsigned n)
{
	static const uint64_t key[2] = { 1, 2 };

	while (n--) {
		sink += siphash13(key, from, 36);
		KEEP(from);
	}
}

static void multiply(unsigned n)
{
	while (n--) {
		uint64_t h = 0, w;

		for (unsigned i = 0; i < 5; i++) {
			memcpy(&w, from + 8 * i, 8);
			h = (h ^ w) * 0x9e3779b97f4a7c15ull;
		}
		sink += h;
		KEEP(from);
	}
}

/* ---- packets and timers ---- */

static void packet(unsigned n)
{
	while (n--) {
		struct pkt *p = pkt_alloc(pool, false);

		KEEP(p);
		pkt_free(pool, p);
	}
}

struct link { struct link *next; uint8_t meta[offsetof(struct pkt, frag)]; };

static void pop_clear_push(unsigned n)
{
	static struct link item, *head = &item;

	while (n--) {
		struct link *l = head;

		head = l->next;
		memset(l->meta, 0, sizeof(l->meta));
		KEEP(l);
		l->next = head;
		head = l;
	}
}

static struct wheel_node *node_of(void *arg, uint32_t id) { return &node; }
static void fired(void *arg, uint32_t id) { abort(); }

static void timer(unsigned n)
{
	while (n--) {
		wheel_arm(wheel, 1, &node, 200000);
		wheel_cancel(wheel, 1, &node);
	}
}

static void link_unlink(unsigned n)
{
	static struct { uint32_t next, prev; } slot, x;

	while (n--) {
		x.next = slot.next;
		slot.next = 1;
		KEEP(&x);
		slot.next = x.next;
		KEEP(&slot);
	}
}

static const struct micro all[] = {
	{ "FIFO, 64 bytes in and out", "two copies", fifo_64, copy_64, 20000 },
	{ "FIFO, 1,460 bytes in and out", "two copies", fifo_1460, copy_1460, 5000 },
	{ "FIFO, 64 KiB in and out", "two copies", fifo_64k, copy_64k, 100 },
	{ "command pushed and popped", "three locked operations", ring, three_locked, 20000 },
	{ "mailbox bit posted and taken", "six locked operations", mailbox, six_locked, 20000 },
	{ "checksum, 64 bytes", "one pass of additions", csum_64, add_64, 20000 },
	{ "checksum, 1,460 bytes", "one pass of additions", csum_1460, add_1460, 5000 },
	{ "checksum, 64 KiB", "one pass of additions", csum_64k, add_64k, 100 },
	{ "keyed hash of a 4-tuple", "five multiplications", sip, multiply, 20000 },
	{ "packet allocated and freed", "list and clearing", packet, pop_clear_push, 20000 },
	{ "timer armed and cancelled", "list", timer, link_unlink, 20000 },
};

int main(void)
{
	const struct pkt_pool_conf conf = { .small_cnt = 64, .big_cnt = 2, .numa_node = -1 };
	const struct wheel_ops ops = { .node = node_of, .fire = fired };
	int ro, rw;

	for (unsigned i = 0; i < BIG; i++)
		from[i] = (uint8_t)(i * 7);
	if (shm_seg_create(1, 1, &ro, &rw) || shm_seg_map(ro, rw, true, &seg) ||
	    pkt_pool_create(&conf, &pool) || wheel_create(0, &wheel))
		return 1;
	wheel_set_ops(wheel, 0, &ops);
	micro_print(all, sizeof(all) / sizeof(all[0]));
	shm_seg_unmap(&seg);
	close(ro);
	close(rw);
	return 0;
}
