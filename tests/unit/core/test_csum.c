/* SPDX-License-Identifier: MIT */
/* tests/unit/core/test_csum.c - checksums against the two-bytes-at-a-time definition */
#include <criterion/criterion.h>

#include "stackd/core/csum.h"
#include "stackd/core/rng.h"

/* RFC 1071 by the letter, big-endian words; the result as a memory-order field. */
static uint16_t naive(const uint8_t *p, size_t len)
{
	uint32_t sum = 0;

	for (size_t i = 0; i < len; i++)
		sum += i & 1 ? p[i] : (uint32_t)p[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return __builtin_bswap16((uint16_t)~sum);
}

static void fill(uint8_t *p, size_t len, uint64_t s[2])
{
	bool ones = rng_below(s, 4) == 0;	/* long carries */

	for (size_t i = 0; i < len; i++)
		p[i] = ones ? 0xff : (uint8_t)rng_u32(s);
}

Test(csum, rfc1071_example)
{
	uint8_t d[] = { 0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7 };

	cr_assert_eq(csum_fold(csum_add(0, d, sizeof(d))), __builtin_bswap16(0xddf2));
}

Test(csum, every_length_and_alignment)
{
	static uint8_t buf[4096];
	uint64_t s[2];

	rng_seed(s, 1);
	for (unsigned len = 0; len < 300; len++)
		for (unsigned at = 0; at < 17; at++) {
			fill(buf, sizeof(buf), s);
			cr_assert_eq(csum_of(buf + at, len), naive(buf + at, len), "%u %u", len,
				     at);
		}
	for (unsigned i = 0; i < 200; i++) {
		unsigned len = rng_below(s, 4000);

		fill(buf, sizeof(buf), s);
		cr_assert_eq(csum_of(buf + 7, len), naive(buf + 7, len));
	}
}

Test(csum, long_range_of_ones_keeps_its_carries)
{
	static uint8_t buf[65536];

	memset(buf, 0xff, sizeof(buf));
	cr_assert_eq(csum_of(buf, 65535), naive(buf, 65535));
	cr_assert_eq(csum_fold(csum_add(UINT64_MAX, buf, 65535)),
		     csum_fold(csum_add(0, buf, 65535)));
}

Test(csum, fragments_of_odd_length_are_one_stream)
{
	static uint8_t buf[3000];
	uint64_t s[2];

	rng_seed(s, 2);
	for (unsigned round = 0; round < 2000; round++) {
		struct pkt p = { .buf = buf, .data = buf, .frag_cnt = 8 };
		size_t at = p.len = rng_below(s, 100);

		fill(buf, sizeof(buf), s);
		for (unsigned i = 0; i < 8; i++) {
			p.frag[i].iov_base = buf + at;
			p.frag[i].iov_len = rng_below(s, rng_below(s, 2) ? 4 : 300);
			at += p.frag[i].iov_len;
		}
		cr_assert_eq(csum_done(csum_pkt(&p, 0)), naive(buf, at));
	}
}

Test(csum, update_equals_recomputation)
{
	uint8_t buf[40];
	uint64_t s[2];

	rng_seed(s, 3);
	for (unsigned round = 0; round < 5000; round++) {
		unsigned at = 2 * rng_below(s, 18);
		uint16_t check, old16, new16 = (uint16_t)rng_u32(s);

		fill(buf, sizeof(buf), s);
		buf[39] |= 1;
		check = csum_of(buf, sizeof(buf));
		memcpy(&old16, buf + at, 2);
		memcpy(buf + at, &new16, 2);
		check = csum_update16(check, old16, new16);
		cr_assert_eq(check, csum_of(buf, sizeof(buf)));
	}
}

/* A packet with a transport header of 8 bytes and a body in linear and fragment parts. */
static struct pkt *make(struct pkt_pool *pool, uint8_t *body, uint32_t lin, uint32_t frag)
{
	struct pkt *p = pkt_alloc(pool, false);

	memcpy(p->data, body, lin);
	p->len = lin;
	p->l4_off = (uint16_t)(p->data - p->buf);
	p->frag[0] = (struct iovec){ body + lin, frag };
	p->frag_cnt = frag > 0;
	p->frag_len = frag;
	return p;
}

static struct pkt_pool *pool_of(unsigned cnt)
{
	struct pkt_pool_conf conf = { .small_cnt = cnt, .numa_node = -1 };
	struct pkt_pool *pool;

	cr_assert_eq(pkt_pool_create(&conf, &pool), 0);
	return pool;
}

Test(csum, finish_then_verify)
{
	struct pkt_pool *pool = pool_of(4);
	static uint8_t body[1400];
	uint64_t s[2];

	rng_seed(s, 4);
	for (unsigned round = 0; round < 500; round++) {
		uint32_t lin = 8 + rng_below(s, 700), frag = rng_below(s, 600);
		uint16_t pseudo = (uint16_t)rng_u32(s), field;
		struct pkt *p;

		fill(body, sizeof(body), s);
		memcpy(body + 6, &pseudo, 2);
		p = make(pool, body, lin, frag);
		p->csum_state = PKT_CSUM_PARTIAL;
		p->csum_start = p->l4_off;
		p->csum_off = 6;
		csum_finish(p);
		cr_assert_eq(p->csum_state, PKT_CSUM_NONE);
		memcpy(&field, p->data + 6, 2);
		cr_assert_neq(field, 0, "C2");
		cr_assert(csum_rx_ok(p, pseudo));
		cr_assert_eq(p->csum_state, PKT_CSUM_UNNECESSARY);
		p->csum_state = PKT_CSUM_NONE;
		p->data[rng_below(s, lin)] ^= (uint8_t)(1u << rng_below(s, 8));
		cr_assert_not(csum_rx_ok(p, pseudo));
		pkt_free(pool, p);
	}
	pkt_pool_destroy(pool);
}

Test(csum, complete_is_believed_when_right_and_repaired_when_wrong)
{
	struct pkt_pool *pool = pool_of(1);
	uint8_t body[64];
	uint64_t s[2];
	uint16_t field;
	struct pkt *p;

	rng_seed(s, 5);
	fill(body, sizeof(body), s);
	memset(body + 6, 0, 2);
	field = csum_of(body, sizeof(body));
	memcpy(body + 6, &field, 2);
	p = make(pool, body, 64, 0);
	p->csum_state = PKT_CSUM_COMPLETE;
	p->csum = csum_fold(csum_add(0, body, 64));
	cr_assert(csum_rx_ok(p, 0));
	p->csum_state = PKT_CSUM_COMPLETE;
	p->csum = 0x1234;
	cr_assert(csum_rx_ok(p, 0), "software has the last word");
	p->data[0] ^= 1;
	p->csum_state = PKT_CSUM_COMPLETE;
	cr_assert_not(csum_rx_ok(p, 0));
	pkt_free(pool, p);
	pkt_pool_destroy(pool);
}
