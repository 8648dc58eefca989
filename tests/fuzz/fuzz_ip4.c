/* SPDX-License-Identifier: MIT */
/* tests/fuzz/fuzz_ip4.c - mutated packets into IPv4 input, ICMP and reassembly
 * usage: fuzz-ip4 [ITERATIONS [SEED]]; prints the seed; the same seed makes the same packets.
 * Each round takes a valid packet, changes some bytes, repairs checksums most of the time (else
 * nothing would get far) and feeds it, now and then as one of several fragments, on one of three
 * workers.
 * Checked: sanitizers and ASSERT; all packets come home; transports see sane lengths only.
 */
#include <stdio.h>
#include <stdlib.h>

#include "stackd/core/rng.h"
#include "stackd/ip/ip_int.h"
#include "tests/unit/ip/fake_link.h"

#define WORKERS		3
#define ITERATIONS	2500000
#define MSGS		256

static struct world {
	struct stack st[WORKERS];
	struct counters cnt[WORKERS];
	struct arena_intent intent[WORKERS];
	struct { uint16_t to; struct stack_msg msg; } q[MSGS];
	unsigned q_cnt;
	uint64_t rng[2];
	uint64_t delivered, sums_ok, errors;
} w;

static bool send_msg(struct stack *st, uint16_t to, const struct stack_msg *msg)
{
	if (w.q_cnt == MSGS || rng_below(w.rng, 50) == 0)
		return false;
	w.q[w.q_cnt].to = to;
	w.q[w.q_cnt++].msg = *msg;
	return true;
}

static void pump(void)
{
	for (unsigned i = 0; i < w.q_cnt; i++)
		stack_recv(&w.st[w.q[i].to], &w.q[i].msg);
	w.q_cnt = 0;
	for (unsigned i = 0; i < WORKERS; i++)
		ip_poll_local(&w.st[i]);
}

static void rx(struct stack *st, struct pkt *p, const struct ip_rx_info *info)
{
	ASSERT(p->data == p->buf + p->l4_off && p->l4_off >= p->l3_off + 20);
	ASSERT(pkt_total(p) + (uint32_t)(p->l4_off - p->l3_off) == be16_to_cpu(ip4_hdr(p)->len));
	w.delivered++;
	w.sums_ok += csum_rx_ok(p, ip_pseudo_sum(&info->src, &info->dst, info->proto, p->len));
	if (rng_below(w.rng, 4) == 0)
		icmp_unreach(st, p, 3, 0);
	stack_pkt_free(st, p);
}

static void err(struct stack *st, const struct ip_err_info *info)
{
	for (unsigned i = 0; i < 8; i++)
		w.errors += info->l4[i] & 1;
}

static void start(uint64_t seed)
{
	static const struct stack_up up = { .send = send_msg };
	static const struct ip_proto ops = { .rx = rx, .err = err };
	struct sd_addr us = sd_addr_v4(cpu_to_be32(0xc0000202));
	struct sd_addr gw = sd_addr_v4(cpu_to_be32(0xc0000201));
	struct sd_addr any = sd_addr_v4(cpu_to_be32(0));

	rng_seed(w.rng, seed);
	for (uint16_t i = 0; i < WORKERS; i++) {
		struct stack *st = &w.st[i];
		struct pkt_pool_conf conf = { .small_cnt = 512, .big_cnt = 16, .numa_node = -1,
					      .worker = (uint8_t)i };

		*st = (struct stack){ .worker = i, .workers = WORKERS, .cnt = &w.cnt[i], .up = &up,
				      .intent = &w.intent[i],
				      .now_us = 1000000 };
		rng_seed(st->rng_state, seed + i);
		ASSERT(wheel_create(st->now_us, &st->wheel) == 0);
		ASSERT(pkt_pool_create(&conf, &st->pool) == 0);
		ASSERT(ip_init(st) == 0 && ip_add_addr(st, &us, 120) == 0);
		ASSERT(ip_add_route(st, &any, 96, &gw) == 0);
		ip_register(st, IP_PROTO_UDP, &ops);
		ip_register(st, IP_PROTO_TCP, &ops);
	}
}

static uint32_t pick_addr(void)
{
	static const uint32_t a[] = { 0xc0000201, 0xc0000202, 0xc00002ff, 0xffffffff, 0xe0000001,
				      0x7f000001, 0xcb007105, 0 };

	return a[rng_below(w.rng, 8)];
}

/* A valid packet; often an ICMP error that quotes one of ours. Return: its length. */
static unsigned base_packet(uint8_t *b)
{
	static const uint8_t protos[] = { 1, 1, 6, 17, 17, 99 };
	unsigned opt = rng_below(w.rng, 4) ? 0 : 4 * rng_below(w.rng, 11);
	unsigned len = rng_below(w.rng, 200);
	struct ip4_hdr *h = (struct ip4_hdr *)b;
	bool usual = rng_below(w.rng, 8) != 0;

	for (unsigned i = 0; i < 300; i++)
		b[i] = (uint8_t)rng_u32(w.rng);
	*h = (struct ip4_hdr){ .ver_ihl = (uint8_t)(0x45 + opt / 4),
			       .id = { (uint16_t)rng_below(w.rng, 4) },
			       .len = cpu_to_be16((uint16_t)(20 + opt + len)), .ttl = 64,
			       .proto = protos[rng_below(w.rng, 6)],
			       .src = cpu_to_be32(usual ? 0xc0000201 : pick_addr()),
			       .dst = cpu_to_be32(usual ? 0xc0000202 : pick_addr()) };
	if (opt && rng_below(w.rng, 2))
		memset(b + 20, 1, opt);
	if (rng_below(w.rng, 3) == 0)
		h->frag = cpu_to_be16((uint16_t)(rng_below(w.rng, 2) << 13 | rng_below(w.rng, 24)));
	if (h->proto == 1 && len >= 36) {
		static const uint8_t types[] = { 3, 3, 8, 11, 12, 0, 5, 13 };
		struct ip4_hdr *in = (struct ip4_hdr *)(b + 20 + opt + 8);

		b[20 + opt] = types[rng_below(w.rng, 8)];
		b[20 + opt + 1] = (uint8_t)rng_below(w.rng, 17);
		*in = (struct ip4_hdr){ .ver_ihl = 0x45, .len = cpu_to_be16(100), .proto = 17,
					.src = cpu_to_be32(0xc0000202),
					.dst = cpu_to_be32(0xc0000201) };
	}
	return 20 + opt + len;
}

static void mutate(uint8_t *b, unsigned len)
{
	unsigned n = rng_below(w.rng, 3) ? rng_below(w.rng, 4) : 0;

	while (n-- && len) {
		unsigned at = rng_below(w.rng, rng_below(w.rng, 2) && len > 60 ? 60 : len);

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

static void repair(uint8_t *b, unsigned len)
{
	struct ip4_hdr *h = (struct ip4_hdr *)b;
	unsigned ihl = ip4_ihl(h), total = be16_to_cpu(h->len);

	if (rng_below(w.rng, 16) == 0 || ihl < 20 || ihl > len)
		return;
	ip4_hdr_sum(h);
	if (h->proto == 1 && total >= ihl + 8 && total <= len) {
		memset(b + ihl + 2, 0, 2);
		uint16_t s = csum_of(b + ihl, total - ihl);

		memcpy(b + ihl + 2, &s, 2);
	}
}

static void emit(struct stack *st, const uint8_t *b, unsigned len)
{
	struct pkt *p = pkt_alloc(st->pool, false);

	if (!p)
		return;
	memcpy(p->data, b, len);
	p->len = len;
	p->l3_off = (uint16_t)(p->data - p->buf);
	p->csum_state = (uint8_t)rng_below(w.rng, 3);
	p->csum = (uint16_t)rng_u32(w.rng);
	p->bcast = rng_below(w.rng, 16) == 0;
	fl.up.ip4_rx(st, p);
}

static void feed_one(struct stack *st)
{
	uint8_t b[700];
	unsigned len = base_packet(b);

	mutate(b, len);
	if (rng_below(w.rng, 8) == 0)
		len = rng_below(w.rng, len + 1);
	repair(b, len);
	emit(st, b, len);
}

/* A datagram in up to eight pieces, from either end, one of them changed now and then. */
static void feed_pieces(struct stack *st)
{
	unsigned n = 2 + rng_below(w.rng, 7), step = 8 * (1 + rng_below(w.rng, 8));
	uint16_t id = (uint16_t)rng_u32(w.rng), back = (uint16_t)rng_below(w.rng, 2);
	uint8_t b[700];

	for (unsigned i = 0; i < n; i++) {
		unsigned k = back ? n - 1 - i : i;
		unsigned len = 20 + step - (k == n - 1 ? rng_below(w.rng, 8) : 0);
		unsigned mf = k < n - 1 ? IP4_MF : 0;
		struct ip4_hdr *h = (struct ip4_hdr *)b;

		base_packet(b);
		*h = (struct ip4_hdr){ .ver_ihl = 0x45, .len = cpu_to_be16((uint16_t)len), .ttl = 9,
				       .id = { id }, .proto = rng_below(w.rng, 9) ? 17 : 1,
				       .frag = cpu_to_be16((uint16_t)(k * step / 8 | mf)),
				       .src = cpu_to_be32(0xc0000201),
				       .dst = cpu_to_be32(0xc0000202) };
		if (rng_below(w.rng, 16) == 0)
			mutate(b, len);
		repair(b, len);
		emit(st, b, len);
	}
}

static void stop(void)
{
	for (unsigned i = 0; i < WORKERS; i++)
		ip_fini(&w.st[i]);
	while (w.q_cnt || w.st[0].stranded || w.st[1].stranded || w.st[2].stranded) {
		for (unsigned i = 0; i < w.q_cnt; i++)
			if (w.q[i].msg.kind == SMSG_PKT)
				stack_pkt_free(&w.st[w.q[i].msg.from], w.q[i].msg.ptr);
			else
				stack_recv(&w.st[w.q[i].to], &w.q[i].msg);
		w.q_cnt = 0;
		for (unsigned i = 0; i < WORKERS; i++)
			stack_flush_home(&w.st[i]);
	}
	for (unsigned i = 0; i < WORKERS; i++) {
		ASSERT(pkt_pool_used(w.st[i].pool) == 0);
		ASSERT(wheel_cnt(w.st[i].wheel) == 0);
		pkt_pool_destroy(w.st[i].pool);
		wheel_destroy(w.st[i].wheel);
	}
}

int main(int argc, char **argv)
{
	unsigned long n = argc > 1 ? strtoul(argv[1], NULL, 0) : ITERATIONS;
	unsigned long seed = argc > 2 ? strtoul(argv[2], NULL, 0) : 1;

	printf("fuzz-ip4: seed %lu\n", seed);
	start(seed);
	for (unsigned long i = 0; i < n; i++) {
		struct stack *st = &w.st[rng_below(w.rng, WORKERS)];

		if (rng_below(w.rng, 16))
			feed_one(st);
		else
			feed_pieces(st);
		if (rng_below(w.rng, 4) == 0)
			pump();
		if (rng_below(w.rng, 64) == 0)
			for (unsigned k = 0; k < WORKERS; k++) {
				w.st[k].now_us += rng_below(w.rng, 2000000);
				wheel_advance(w.st[k].wheel, w.st[k].now_us);
			}
	}
	pump();
	stop();
	for (unsigned i = 0; i < DROP_MAX; i++) {
		uint64_t d = w.cnt[0].drop[i] + w.cnt[1].drop[i] + w.cnt[2].drop[i];

		if (d)
			printf("  %-14s %lu\n", drop_name[i], (unsigned long)d);
	}
	printf("  %-14s %lu\n", "reassembled", (unsigned long)(w.cnt[0].snmp[SNMP_Ip_ReasmOKs] +
		w.cnt[1].snmp[SNMP_Ip_ReasmOKs] + w.cnt[2].snmp[SNMP_Ip_ReasmOKs]));
	printf("fuzz-ip4: %lu rounds, %lu deliveries, %lu errors, %u sent\n", n,
	       (unsigned long)w.delivered, (unsigned long)w.errors, fl.cnt);
	return w.delivered && w.sums_ok && w.errors && fl.cnt ? 0 : 1;
}
