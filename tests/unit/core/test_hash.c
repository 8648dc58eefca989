/* SPDX-License-Identifier: MIT */
/* tests/unit/core/test_hash.c - published vectors of SipHash and Toeplitz; bounded random
 * numbers */
#include <arpa/inet.h>
#include <criterion/criterion.h>

#include "stackd/core/rng.h"
#include "stackd/core/siphash.h"
#include "stackd/core/toeplitz.h"

/* Key 00 01 .. 0f, message 00 01 .. len-1: the vectors of the paper and its reference code. */
static const struct {
	unsigned len;
	uint64_t want;
} sip24_vec[] = {
	{ 0, 0x726fdb47dd0e0e31ull }, { 1, 0x74f839c593dc67fdull }, { 7, 0xab0200f58b01d137ull },
	{ 8, 0x93f5f5799a932462ull }, { 15, 0xa129ca6149be45e5ull }, { 63, 0x958a324ceb064572ull },
};

Test(siphash, published_vectors_2_4)
{
	uint64_t key[2] = { 0x0706050403020100ull, 0x0f0e0d0c0b0a0908ull };
	uint8_t msg[64];

	for (unsigned i = 0; i < 64; i++)
		msg[i] = (uint8_t)i;
	for (unsigned i = 0; i < sizeof(sip24_vec) / sizeof(sip24_vec[0]); i++)
		cr_assert_eq(siphash24(key, msg, sip24_vec[i].len), sip24_vec[i].want, "len %u",
			     sip24_vec[i].len);
}

Test(siphash, variants_and_keys_differ)
{
	uint64_t k1[2] = { 1, 2 }, k2[2] = { 1, 3 };

	cr_assert_neq(siphash13(k1, "tuple", 5), siphash24(k1, "tuple", 5));
	cr_assert_neq(siphash13(k1, "tuple", 5), siphash13(k2, "tuple", 5));
	cr_assert_neq(siphash13(k1, "tuple", 5), siphash13(k1, "tuplf", 5));
}

static struct sd_addr a4(const char *s)
{
	be32 v;

	cr_assert_eq(inet_pton(AF_INET, s, &v), 1);
	return sd_addr_v4(v);
}

static struct sd_addr a6(const char *s)
{
	struct sd_addr a;

	cr_assert_eq(inet_pton(AF_INET6, s, a.b), 1);
	return a;
}

/* "Verifying the RSS hash calculation": destination:port, source:port, with ports, without. */
static const struct {
	const char *dst, *src;
	uint16_t dport, sport;
	uint32_t with, without;
} rss4[] = {
	{ "161.142.100.80", "66.9.149.187", 1766, 2794, 0x51ccc178, 0x323e8fc2 },
	{ "65.69.140.83", "199.92.111.2", 4739, 14230, 0xc626b0ea, 0xd718262a },
	{ "12.22.207.184", "24.19.198.95", 38024, 12898, 0x5c2b394a, 0xd2d0a5de },
	{ "209.142.163.6", "38.27.205.30", 2217, 48228, 0xafc7327f, 0x82989176 },
	{ "202.188.127.2", "153.39.163.191", 1303, 44251, 0x10e828a2, 0x5d1809c5 },
}, rss6[] = {
	{ "3ffe:2501:200:3::1", "3ffe:2501:200:1fff::7", 1766, 2794, 0x40207d3d, 0x2cc18cd5 },
	{ "ff02::1", "3ffe:501:8::260:97ff:fe40:efab", 4739, 14230, 0xdde51bbf, 0x0f0c461c },
	{ "fe80::200:f8ff:fe21:67cf", "3ffe:1900:4545:3:200:f8ff:fe21:67cf", 38024, 44251,
	  0x02d1feef, 0x4b61e985 },
};

Test(toeplitz, published_vectors_ipv4)
{
	struct toeplitz tt;

	toeplitz_init(&tt, toeplitz_default_key);
	for (unsigned i = 0; i < sizeof(rss4) / sizeof(rss4[0]); i++) {
		struct sd_addr s = a4(rss4[i].src), d = a4(rss4[i].dst);

		cr_assert_eq(toeplitz_flow(&tt, &s, &d, true, rss4[i].sport,
					   rss4[i].dport), rss4[i].with);
		cr_assert_eq(toeplitz_flow(&tt, &s, &d, false, 0, 0),
			     rss4[i].without);
	}
}

Test(toeplitz, published_vectors_ipv6)
{
	struct toeplitz tt;

	toeplitz_init(&tt, toeplitz_default_key);
	for (unsigned i = 0; i < sizeof(rss6) / sizeof(rss6[0]); i++) {
		struct sd_addr s = a6(rss6[i].src), d = a6(rss6[i].dst);

		cr_assert_eq(toeplitz_flow(&tt, &s, &d, true, rss6[i].sport,
					   rss6[i].dport), rss6[i].with);
		cr_assert_eq(toeplitz_flow(&tt, &s, &d, false, 0, 0),
			     rss6[i].without);
	}
}

/* As the specification says it: for each set bit of the input the 32 key bits from there on. */
static uint32_t bit_by_bit(const uint8_t *key, const uint8_t *in, unsigned len)
{
	uint32_t hash = 0;

	for (unsigned bit = 0; bit < 8 * len; bit++)
		for (unsigned i = 0; in[bit / 8] & 0x80 >> bit % 8 && i < 32; i++)
			hash ^= (uint32_t)(key[(bit + i) / 8] >> (7 - (bit + i) % 8) & 1)
				<< (31 - i);
	return hash;
}

Test(toeplitz, any_key_and_length)
{
	uint8_t key[TOEPLITZ_KEY_LEN], in[TOEPLITZ_IN_MAX];
	struct toeplitz tt;
	uint64_t s[2];

	rng_seed(s, 1);
	for (unsigned round = 0; round < 100; round++) {
		for (unsigned i = 0; i < sizeof(key); i++)
			key[i] = (uint8_t)rng_u32(s);
		for (unsigned i = 0; i < sizeof(in); i++)
			in[i] = (uint8_t)rng_u32(s);
		toeplitz_init(&tt, key);
		for (unsigned len = 0; len <= sizeof(in); len++)
			cr_assert_eq(toeplitz(&tt, in, len), bit_by_bit(key, in, len));
	}
}

Test(toeplitz, destination_port_alone)
{
	struct sd_addr s4 = a4("192.0.2.1"), d4 = a4("198.51.100.7");
	struct sd_addr s6 = a6("2001:db8::1"), d6 = a6("2001:db8::2");
	struct toeplitz tt;

	toeplitz_init(&tt, toeplitz_default_key);
	for (uint32_t p = 0; p < 65536; p++) {
		cr_assert_eq(toeplitz_flow(&tt, &s4, &d4, true, 80, (uint16_t)p),
			     toeplitz_flow(&tt, &s4, &d4, true, 80, 0) ^
			     toeplitz_dport(&tt, true, (uint16_t)p));
		cr_assert_eq(toeplitz_flow(&tt, &s6, &d6, true, 80, (uint16_t)p),
			     toeplitz_flow(&tt, &s6, &d6, true, 80, 0) ^
			     toeplitz_dport(&tt, false, (uint16_t)p));
	}
}

Test(rng, splitmix_reference)
{
	uint64_t seed = 1234567;

	cr_assert_eq(rng_splitmix(&seed), 6457827717110365317ull);
	cr_assert_eq(rng_splitmix(&seed), 3203168211198807973ull);
}

Test(rng, below_is_bounded_and_even)
{
	uint64_t s[2];
	unsigned hit[10] = { 0 };

	rng_seed(s, 42);
	for (unsigned i = 0; i < 100000; i++)
		hit[rng_below(s, 10)]++;
	for (unsigned i = 0; i < 10; i++)
		cr_assert(hit[i] > 9500 && hit[i] < 10500, "%u: %u", i, hit[i]);
	cr_assert_eq(rng_below(s, 1), 0);
	for (unsigned i = 0; i < 1000; i++)
		cr_assert(rng_below(s, 0x80000001u) <= 0x80000000u);
}

Test(rng, replays_from_its_seed)
{
	uint64_t a[2], b[2];

	rng_seed(a, 7);
	rng_seed(b, 7);
	for (unsigned i = 0; i < 100; i++)
		cr_assert_eq(rng_u64(a), rng_u64(b));
	rng_seed(b, 8);
	cr_assert_neq(rng_u64(a), rng_u64(b));
}
