/* SPDX-License-Identifier: MIT */
/* tests/unit/link/test_gro.c - merging in a burst, and cutting what was merged */
#include "stackd/nic/gso.h"
#include "tests/unit/link/cap.h"

#define B2(v) (uint8_t)((v) >> 8), (uint8_t)(v)

struct seg {
	uint16_t sport, id, len, window;
	uint32_t seq, ack, ts;
	uint8_t flags, tos, ttl;
};

static uint8_t stream_byte(uint32_t seq)
{
	return (uint8_t)(seq * 13 + (seq >> 8));
}

/* A whole frame with right checksums. Return: its length. */
static uint32_t mk_seg(uint8_t *f, const struct seg *s)
{
	uint8_t *ip = f + 14, *tcp = f + 34, ps[12];
	uint32_t hlen = s->ts ? 32 : 20, total = 20 + hlen + s->len;
	uint16_t sum;

	mk_eth(f, fx.ours->mac, peer_mac, 0x0800);
	memcpy(ip, (uint8_t[]){ 0x45, s->tos, B2(total), B2(s->id), 0x40, 0,
				s->ttl ? s->ttl : 64, 6, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2 }, 20);
	sum = csum_of(ip, 20);
	memcpy(ip + 10, &sum, 2);
	memcpy(tcp, (uint8_t[]){ B2(s->sport), B2(80), B2(s->seq >> 16), B2(s->seq), 0, 0,
				 B2(s->ack), (uint8_t)(hlen << 2), s->flags ? s->flags : 0x10,
				 B2(s->window), 0, 0, 0, 0 }, 20);
	if (s->ts)
		memcpy(tcp + 20, (uint8_t[]){ 1, 1, 8, 10, 0, 0, B2(s->ts), 0, 0, 0, 1 }, 12);
	for (uint32_t i = 0; i < s->len; i++)
		tcp[hlen + i] = stream_byte(s->seq + i);
	memcpy(ps, ip + 12, 8);
	memcpy(ps + 8, (uint8_t[]){ 0, 6, B2(hlen + s->len) }, 4);
	sum = csum_done(csum_add(csum_add(0, ps, 12), tcp, hlen + s->len));
	memcpy(tcp + 16, &sum, 2);
	return 14 + total;
}

static void send_seg(const struct seg *s)
{
	uint8_t f[2000];

	peer_tx(f, mk_seg(f, s));
}

static uint16_t up_id(unsigned i)
{
	return (uint16_t)(fx.up[i].p->data[4] << 8 | fx.up[i].p->data[5]);
}

/* Same flow, one after another, @n segments of 1000 bytes. */
static void send_run(uint16_t sport, unsigned n, uint8_t last_flags)
{
	for (unsigned i = 0; i < n; i++)
		send_seg(&(struct seg){ .sport = sport, .id = (uint16_t)(65530 + i), .len = 1000,
					.seq = 0xfffff000u + i * 1000, .window = 500, .ack = 7,
					.ts = 99, .flags = i == n - 1 ? last_flags : 0x10 });
}

Test(gro, one_flow_becomes_one_packet)
{
	struct pkt *p;
	uint8_t all[10000];

	fix_init(1, 0);
	send_run(4000, 10, 0x18);
	ours_poll();
	cr_assert_eq(fx.up_cnt, 1);
	p = fx.up[0].p;
	cr_assert_eq(pkt_total(p), 20 + 32 + 10000);
	cr_assert_eq(p->data[2] << 8 | p->data[3], 20 + 32 + 10000);
	cr_assert_eq(csum_of(p->data, 20), 0);
	cr_assert_eq(p->csum_state, PKT_CSUM_UNNECESSARY);
	cr_assert_eq(p->gso_size, 1000);
	cr_assert_eq(p->gso_segs, 10);
	cr_assert_eq(p->data[33], 0x18, "PSH of the last");
	pkt_copy_out(p, 52, all, sizeof(all));
	for (uint32_t i = 0; i < sizeof(all); i++)
		cr_assert_eq(all[i], stream_byte(0xfffff000u + i));
	cr_assert_eq(pkt_pool_used(fx.h->st[0].pool), 11, "ten and the announcement");
	fix_fini();
}

/* What must not be merged with the segment { seq 0, len 1000, id 1 } before it. */
Test(gro, differences_keep_segments_apart)
{
	static const struct { const char *why; struct seg s; } t[] = {
		{ "gap", { .sport = 1, .id = 2, .seq = 1001, .len = 1000, .ts = 5 } },
		{ "overlap", { .sport = 1, .id = 2, .seq = 999, .len = 1000, .ts = 5 } },
		{ "longer", { .sport = 1, .id = 2, .seq = 1000, .len = 1001, .ts = 5 } },
		{ "ack", { .sport = 1, .id = 2, .seq = 1000, .len = 1000, .ts = 5, .ack = 1 } },
		{ "window", { .sport = 1, .id = 2, .seq = 1000, .len = 1000, .ts = 5,
			    .window = 1 } },
		{ "timestamp", { .sport = 1, .id = 2, .seq = 1000, .len = 1000, .ts = 6 } },
		{ "options", { .sport = 1, .id = 2, .seq = 1000, .len = 1000 } },
		{ "id", { .sport = 1, .id = 3, .seq = 1000, .len = 1000, .ts = 5 } },
		{ "tos", { .sport = 1, .id = 2, .seq = 1000, .len = 1000, .ts = 5, .tos = 3 } },
		{ "ttl", { .sport = 1, .id = 2, .seq = 1000, .len = 1000, .ts = 5, .ttl = 63 } },
		{ "ECE", { .sport = 1, .id = 2, .seq = 1000, .len = 1000, .ts = 5,
			    .flags = 0x50 } },
		{ "CWR", { .sport = 1, .id = 2, .seq = 1000, .len = 1000, .ts = 5,
			    .flags = 0x90 } },
		{ "RST", { .sport = 1, .id = 2, .seq = 1000, .len = 1000, .ts = 5,
			    .flags = 0x14 } },
		{ "SYN", { .sport = 1, .id = 2, .seq = 1000, .len = 1000, .ts = 5,
			    .flags = 0x12 } },
		{ "URG", { .sport = 1, .id = 2, .seq = 1000, .len = 1000, .ts = 5,
			    .flags = 0x30 } },
		{ "pure ACK", { .sport = 1, .id = 2, .seq = 1000, .len = 0, .ts = 5 } },
		{ "flow", { .sport = 2, .id = 2, .seq = 1000, .len = 1000, .ts = 5 } },
	};

	fix_init(1, 0);
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		send_seg(&(struct seg){ .sport = 1, .id = 1, .len = 1000, .ts = 5 });
		send_seg(&t[i].s);
		ours_poll();
		cr_expect_eq(fx.up_cnt, 2, "%s", t[i].why);
		for (unsigned k = 0; k < fx.up_cnt; k++) {
			cr_expect_eq(fx.up[k].p->gso_size, 0, "%s", t[i].why);
			cr_expect_eq(up_id(k), k ? t[i].s.id : 1, "%s: order", t[i].why);
		}
		fix_drop_up();
	}
	/* And the one that may: */
	send_seg(&(struct seg){ .sport = 1, .id = 1, .len = 1000, .ts = 5 });
	send_seg(&(struct seg){ .sport = 1, .id = 2, .seq = 1000, .len = 1, .ts = 5 });
	send_seg(&(struct seg){ .sport = 1, .id = 3, .seq = 1001, .len = 1, .ts = 5 });
	ours_poll();
	cr_expect_eq(fx.up_cnt, 2, "nothing after a short one");
	cr_expect_eq(fx.up[0].p->gso_segs, 2);
	fix_fini();
}

Test(gro, broken_checksum_is_not_merged)
{
	uint8_t f[2000];
	uint32_t n;

	fix_init(1, 0);
	send_seg(&(struct seg){ .sport = 1, .id = 1, .len = 1000 });
	n = mk_seg(f, &(struct seg){ .sport = 1, .id = 2, .seq = 1000, .len = 1000 });
	f[100] ^= 4;
	peer_tx(f, n);
	ours_poll();
	cr_assert_eq(fx.up_cnt, 2);
	cr_assert_eq(fx.up[0].p->csum_state, PKT_CSUM_UNNECESSARY, "verified here");
	cr_assert_eq(fx.up[1].p->csum_state, PKT_CSUM_NONE, "TCP's to judge");
	fix_fini();
}

Test(gro, more_flows_than_are_held)
{
	fix_init(1, 0);
	for (unsigned round = 0; round < 2; round++)
		for (uint16_t f = 0; f < 20; f++)
			send_seg(&(struct seg){ .sport = f, .id = (uint16_t)(1 + round), .len = 100,
						.seq = round * 100 });
	ours_poll();
	unsigned segs = 0;

	for (unsigned i = 0; i < fx.up_cnt; i++)
		segs += fx.up[i].p->frag_cnt + 1u;
	cr_assert_eq(segs, 40);
	fix_fini();
}

Test(gro, fragments_and_length_have_limits)
{
	unsigned segs = 0;

	fix_init(1, 0);
	for (unsigned i = 0; i < 64; i++)
		send_seg(&(struct seg){ .sport = 1, .id = (uint16_t)i, .len = 1448,
					.seq = i * 1448 });
	ours_poll();
	for (unsigned i = 0; i < fx.up_cnt; i++) {
		cr_assert_leq(fx.up[i].p->frag_cnt, 17);
		cr_assert_leq(pkt_total(fx.up[i].p), 65535);
		segs += fx.up[i].p->gso_segs;
	}
	cr_assert_eq(segs, 64);
	cr_assert_eq(fx.up_cnt, 4);
	fix_fini();
}

Test(gro, device_that_merges_is_left_alone)
{
	fix_init(1, NIC_F_GRO);
	send_run(1, 4, 0x10);
	ours_poll();
	cr_assert_eq(fx.up_cnt, 4);
	fix_fini();
}

/* R3: for random runs of segments, cutting what went up gives the frames that came in. */
Test(gro, split_of_merge_is_the_same_bytes)
{
	static uint8_t in[64][2000];
	static uint32_t in_len[64];
	uint64_t rng[2];

	fix_init(1, 0);
	rng_seed(rng, 4711);
	for (int run = 0; run < 200; run++) {
		uint32_t seq = rng_u32(rng), mss = 1 + rng_below(rng, 1400);
		unsigned n = 1 + rng_below(rng, 60), at = 0;
		uint16_t id = (uint16_t)rng_u32(rng);
		struct stack *st = &fx.h->st[0];

		for (unsigned i = 0; i < n; i++) {
			uint32_t len = rng_below(rng, 8) ? mss : 1 + rng_below(rng, mss);
			struct seg s = { .sport = 1, .id = id++, .seq = seq, .len = (uint16_t)len,
					 .ts = rng_below(rng, 2),
					 .flags = rng_below(rng, 10) ? 0x10 : 0x18 };

			seq += s.len + (rng_below(rng, 20) == 0);
			in_len[i] = mk_seg(in[i], &s);
			peer_tx(in[i], in_len[i]);
		}
		ours_poll();
		for (unsigned i = 0; i < fx.up_cnt; i++) {
			struct pkt *p = fx.up[i].p;
			struct gso_plan plan;

			pkt_push(p, 14);
			if (!p->gso_size) {
				cr_assert_eq(p->len, in_len[at]);
				cr_assert_eq(memcmp(p->data, in[at++], p->len), 0);
				continue;
			}
			cr_assert_eq(gso_plan(p, &plan), 0);
			cr_assert_eq(plan.segs, p->gso_segs);
			for (uint32_t k = 0; k < plan.segs; k++) {
				struct pkt *s = gso_segment(st, p, &plan, k, false);

				cr_assert_eq(s->len, in_len[at]);
				cr_assert_eq(memcmp(s->data, in[at++], s->len), 0);
				stack_pkt_free(st, s);
			}
		}
		cr_assert_eq(at, n);
		fix_drop_up();
	}
	fix_fini();
}

Test(gro, a_capture_sees_both_sides_of_it)
{
	const struct sd_cap_rec *r;
	struct cap *before, *after;

	fix_init(1, 0);
	before = cap_start(SD_CAP_BIT(SD_CAP_RX));
	after = cap_start(SD_CAP_BIT(SD_CAP_GRO));
	send_run(4000, 10, 0x18);
	ours_poll();
	for (unsigned i = 0; i < 10; i++) {
		r = cap_take(before);
		cr_assert(r && r->cap_len == 14 + 52 + 1000);
	}
	cr_assert_null(cap_take(before));
	r = cap_take(after);
	cr_assert(r && r->point == SD_CAP_GRO && r->cap_len == 14 + 52 + 10000);
	for (uint32_t i = 0; i < 10000; i++)
		cr_assert_eq(((uint8_t *)(r + 1))[66 + i], stream_byte(0xfffff000u + i));
	cr_assert_null(cap_take(after));
	cap_stop(before);
	cap_stop(after);
	fix_fini();
}
