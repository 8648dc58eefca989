/* SPDX-License-Identifier: MIT */
/* tests/fuzz/fuzz_eth.c - mutated frames through devices, Ethernet, ARP, neighbours and GRO
 * usage: fuzz-eth [ITERATIONS [SEED]]; prints the seed; the same seed makes the same frames.
 * Worker 0 has two devices that take turns: a TAP (a datagram socket in its place, so that vnet
 * headers are mutated too) and a memory link behind an impairment device, with GRO. Worker 1 has
 * none. Frames are ARP, and runs of TCP segments that could be merged; some bytes change on the
 * way. Meanwhile both workers send, time passes, and messages get lost.
 * Checked: sanitizers and ASSERT; what goes up is inside its buffers and what was merged can be cut
 * again; all packets come home and no timer is left.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "stackd/core/csum.h"
#include "stackd/core/rng.h"
#include "stackd/link/link.h"
#include "stackd/nic/gso.h"

#define WORKERS		2
#define ITERATIONS	300000
#define MSGS		512
#define FRAME_MAX	2000

static struct world {
	struct stack st[WORKERS];
	struct counters cnt[WORKERS];
	struct arena_intent intent[WORKERS];
	struct arena arena;
	struct { uint16_t to; struct stack_msg msg; } q[MSGS];
	unsigned head, tail;
	uint64_t rng[2], now_us;
	uint32_t seq;
	uint16_t id;
	struct nic *tap, *mem, *far;
	int kernel;			/* the TAP's other end */
	uint64_t up, merged, failed, sent;
} w;

static const uint8_t our_mac[6] = { 2, 's', 't', 'k', 0, 1 };

static uint32_t chance(uint32_t n)
{
	return rng_below(w.rng, n) == 0;
}

static void put16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static bool send_msg(struct stack *st, uint16_t to, const struct stack_msg *msg)
{
	if (w.tail - w.head == MSGS || chance(50))
		return false;
	w.q[w.tail % MSGS].to = to;
	w.q[w.tail++ % MSGS].msg = *msg;
	return true;
}

static void pump(void)
{
	while (w.head != w.tail) {
		unsigned i = w.head++ % MSGS;
		struct stack_msg msg = w.q[i].msg;

		stack_recv(&w.st[w.q[i].to], &msg);
	}
}

static void check_merged(struct stack *st, struct pkt *p)
{
	struct gso_plan plan;

	w.merged++;
	ASSERT(pkt_push(p, 14) && gso_plan(p, &plan) == 0 && plan.segs == p->gso_segs);
	for (uint32_t i = 0; i < plan.segs; i++) {
		struct pkt *s = gso_segment(st, p, &plan, i, false);

		if (s)
			stack_pkt_free(st, s);
	}
}

static void ip4_rx(struct stack *st, struct pkt *p)
{
	static uint8_t all[PKT_BIG];

	w.up++;
	ASSERT(p->l3_off == p->data - p->buf && p->l3_off == p->l2_off + 14);
	ASSERT(p->data + p->len <= p->buf + p->buf_size && p->frag_cnt <= PKT_FRAGS);
	ASSERT(p->csum_start == 0 ||
	       p->csum_start + p->csum_off + 2u <= (p->data - p->buf) + p->len);
	pkt_copy_out(p, 0, all, pkt_total(p));
	if (p->frag_cnt)
		check_merged(st, p);
	stack_pkt_free(st, p);
}

static void unreachable(struct stack *st, struct pkt *p)
{
	ASSERT(p->len == 40 && p->data[0] == 0x45);
	w.failed++;
}

/* ---- frames ---- */

static uint32_t mk_arp(uint8_t *f)
{
	uint8_t host = (uint8_t)(chance(4) ? 2 : 1 + rng_below(w.rng, 40));

	memcpy(f, chance(2) ? our_mac : (const uint8_t *)"\xff\xff\xff\xff\xff\xff", 6);
	memcpy(f + 6, (uint8_t[]){ 2, 0, 0, 0, 0, host }, 6);
	memcpy(f + 12, (uint8_t[]){ 8, 6, 0, 1, 8, 0, 6, 4, 0, (uint8_t)(1 + chance(2)) }, 10);
	memcpy(f + 22, f + 6, 6);
	memcpy(f + 28, (uint8_t[]){ 192, 0, 2, host, 0, 0, 0, 0, 0, 0, 192, 0, 2, 2 }, 14);
	if (chance(8))
		memset(f + 28, 0, 4);
	return 42;
}

/* The next segment of one of two flows that go on and on. */
static uint32_t mk_tcp(uint8_t *f)
{
	uint32_t len = chance(8) ? rng_below(w.rng, 1400) : 1400, total = 40 + len;
	uint8_t *ip = f + 14, ps[12];
	uint16_t sum;

	memcpy(f, our_mac, 6);
	memcpy(f + 6, (uint8_t[]){ 2, 0, 0, 0, 0, 1, 8, 0 }, 8);
	memcpy(ip, (uint8_t[]){ 0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 6, 0, 0, 192, 0, 2, 1,
				192, 0, 2, 2 }, 20);
	put16(ip + 2, total);
	put16(ip + 4, w.id);
	sum = csum_of(ip, 20);
	memcpy(ip + 10, &sum, 2);
	memset(ip + 20, 0, 20 + len);
	put16(ip + 20, 1000 + chance(16));
	put16(ip + 22, 80);
	put16(ip + 24, w.seq >> 16);
	put16(ip + 26, w.seq);
	ip[32] = 0x50;
	ip[33] = chance(16) ? 0x18 : 0x10;
	for (uint32_t i = 0; i < len; i += 50)
		ip[40 + i] = (uint8_t)rng_u32(w.rng);
	memcpy(ps, ip + 12, 8);
	put16(ps + 8, 6);
	put16(ps + 10, total - 20);
	sum = csum_done(csum_add(csum_add(0, ps, 12), ip + 20, total - 20));
	memcpy(ip + 36, &sum, 2);
	w.seq += len;
	w.id++;
	return 14 + total;
}

static void mutate(uint8_t *b, uint32_t len)
{
	for (uint32_t n = chance(3) ? 1 + rng_below(w.rng, 4) : 0; n && len; n--) {
		uint32_t at = rng_below(w.rng, chance(2) || len < 60 ? len : 60);

		switch (rng_below(w.rng, 4)) {
		case 0:
			b[at] ^= (uint8_t)(1u << rng_below(w.rng, 8));
			break;
		case 1:
			b[at] = (uint8_t)rng_u32(w.rng);
			break;
		case 2:
			b[at] = 0;
			break;
		default:
			b[at] = 0xff;
		}
	}
}

/* To the TAP: a vnet header before it, right or not. */
static void feed_tap(uint8_t *f, uint32_t len)
{
	uint8_t v[10] = { 0 };
	struct iovec iov[2] = { { v, sizeof(v) }, { f, len } };

	if (chance(2)) {
		uint16_t words[4] = { 54, (uint16_t)rng_below(w.rng, 1500), 34, 16 };

		v[0] = (uint8_t)rng_below(w.rng, 4);
		v[1] = (uint8_t)(chance(3) ? rng_below(w.rng, 7) : chance(2));
		memcpy(v + 2, words, 8);
		mutate(v, sizeof(v));
	}
	if (writev(w.kernel, iov, chance(200) ? 1 : 2) < 0)
		abort();
}

static void feed_mem(const uint8_t *f, uint32_t len)
{
	struct pkt *p = pkt_alloc(w.st[0].pool, len > PKT_SMALL - PKT_HEADROOM);

	if (!p)
		return;
	memcpy(p->data, f, len);
	p->len = len;
	nic_tx(w.far, &w.st[0], &p, 1);
}

static void feed(void)
{
	for (uint32_t n = 1 + rng_below(w.rng, 24); n; n--) {
		uint8_t f[FRAME_MAX];
		uint32_t len = chance(4) ? mk_arp(f) : mk_tcp(f);

		mutate(f, len);
		if (chance(20))
			len = rng_below(w.rng, len + 1);
		if (w.st[0].nic == w.tap)
			feed_tap(f, len);
		else
			feed_mem(f, len);
		if (n % 8 == 0)
			link_poll(&w.st[0], 64);
	}
	while (link_poll(&w.st[0], 64))
		;
}

static void send_some(struct stack *st)
{
	uint8_t host = (uint8_t)rng_below(w.rng, 60);
	struct sd_addr to = { .b = { [10] = 0xff, 0xff, 192, 0, 2, host } };
	struct pkt *p = pkt_alloc(st->pool, false);

	if (!p)
		return;
	memset(p->data, 0, 40);
	p->data[0] = 0x45;
	p->len = 40;
	p->bcast = (uint8_t)chance(50);
	p->confirm = chance(3);
	link_tx_ip(st, &to, p);
	w.sent++;
}

/* What was sent is thrown away. */
static void drain(void)
{
	struct pkt *p;
	char b[64];

	for (unsigned i = WORKERS; i-- > 0;) {
		link_flush(&w.st[i]);
		pump();
	}
	link_flush(&w.st[0]);
	while (recv(w.kernel, b, sizeof(b), MSG_DONTWAIT) > 0)
		;
	while (w.far->ops->rx(w.far, &w.st[0], &p, 1))
		stack_pkt_free(&w.st[0], p);
}

static void pass_time(uint64_t us)
{
	w.now_us += us;
	for (unsigned i = 0; i < WORKERS; i++) {
		w.st[i].now_us = w.now_us;
		wheel_advance(w.st[i].wheel, w.now_us);
		stack_flush_home(&w.st[i]);
	}
	pump();
}

/* ---- life ---- */

static void start_devices(uint64_t seed)
{
	struct nic *near;
	char spec[100];
	const char *bad;
	int fds[2];

	ASSERT(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, fds) == 0);
	ASSERT(tap_nic_create(fds[0], "fuzz", our_mac, 1500, 0, 1, &w.tap) == 0);
	w.kernel = fds[1];
	ASSERT(mem_nic_pair(1500, 0, &near, &w.far) == 0);
	snprintf(spec, sizeof(spec), "dup=1/50,reorder=1/50,loss=1/100,corrupt=1/50,seed=%llu",
		 (unsigned long long)seed);
	ASSERT(impair_nic_wrap(near, spec, &w.mem, &bad) == 0);
}

static void start(uint64_t seed)
{
	static const struct stack_up up = { .send = send_msg };
	static const struct link_up lup = { ip4_rx, unreachable };
	struct sd_addr us = { .b = { [10] = 0xff, 0xff, 192, 0, 2, 2 } };
	struct arena_region_def defs[AR_MAX];

	for (int i = 0; i < AR_MAX; i++)
		defs[i] = (struct arena_region_def){ 64, 2 };
	defs[AR_NEIGH] = (struct arena_region_def){ sizeof(struct neigh_rec), 32 };
	defs[AR_SYSCTL] = (struct arena_region_def){ sizeof(struct sysctl), 2 };
	ASSERT(arena_create(WORKERS, defs, 1, &w.arena) == 0);
	rng_seed(w.rng, seed);
	w.now_us = 1000000;
	start_devices(seed);
	for (uint16_t i = 0; i < WORKERS; i++) {
		struct stack *st = &w.st[i];
		struct pkt_pool_conf conf = { .small_cnt = 1024, .big_cnt = 16, .numa_node = -1,
					      .worker = (uint8_t)i };

		*st = (struct stack){ .worker = i, .workers = WORKERS, .cnt = &w.cnt[i], .up = &up,
				      .intent = &w.intent[i],
				      .now_us = w.now_us, .arena = &w.arena };
		rng_seed(st->rng_state, seed + i);
		ASSERT(wheel_create(st->now_us, &st->wheel) == 0);
		ASSERT(pkt_pool_create(&conf, &st->pool) == 0);
		st->nic = i == 0 ? w.tap : NULL;
		ASSERT(link_init(st) == 0);
		link_set_dev(st, our_mac, 1500, 1);
		link_set_up(st, &lup);
		ASSERT(link_add_addr(st, &us) == 0);
	}
}

static void stop(void)
{
	drain();
	for (unsigned i = 0; i < WORKERS; i++)
		link_fini(&w.st[i]);
	w.mem->ops->close(w.mem);
	w.far->ops->close(w.far);
	w.tap->ops->close(w.tap);
	close(w.kernel);
	for (int tries = 0; tries < 10000; tries++) {
		pump();
		for (unsigned i = 0; i < WORKERS; i++)
			stack_flush_home(&w.st[i]);
	}
	pump();
	for (unsigned i = 0; i < WORKERS; i++) {
		ASSERT(pkt_pool_used(w.st[i].pool) == 0);
		ASSERT(wheel_cnt(w.st[i].wheel) == 0);
		pkt_pool_destroy(w.st[i].pool);
		wheel_destroy(w.st[i].wheel);
	}
	arena_unmap(&w.arena);
	close(w.arena.fd);
}

int main(int argc, char **argv)
{
	unsigned long n = argc > 1 ? strtoul(argv[1], NULL, 0) : ITERATIONS;
	unsigned long seed = argc > 2 ? strtoul(argv[2], NULL, 0) : 1;

	printf("fuzz-eth: seed %lu\n", seed);
	start(seed);
	for (unsigned long i = 0; i < n; i++) {
		if (chance(4))
			w.st[0].nic = w.st[0].nic == w.tap ? w.mem : w.tap;
		feed();
		for (uint32_t k = rng_below(w.rng, 4); k; k--)
			send_some(&w.st[rng_below(w.rng, WORKERS)]);
		if (chance(3))
			pass_time(rng_below(w.rng, chance(20) ? 30000000 : 100000));
		drain();
	}
	stop();
	for (unsigned i = 0; i < DROP_MAX; i++)
		if (w.cnt[0].drop[i] + w.cnt[1].drop[i])
			printf("  %-14s %llu\n", drop_name[i],
			       (unsigned long long)(w.cnt[0].drop[i] + w.cnt[1].drop[i]));
	printf("fuzz-eth: %lu rounds, %llu up, %llu merged, %llu sent, %llu unreachable\n", n,
	       (unsigned long long)w.up, (unsigned long long)w.merged, (unsigned long long)w.sent,
	       (unsigned long long)w.failed);
	return w.up && w.merged && w.sent && w.failed ? 0 : 1;
}
