/* SPDX-License-Identifier: MIT */
/* core/toeplitz.c - the RSS hash
 * Spec: Microsoft "RSS hashing types" and "Verifying the RSS hash calculation"
 * Each set bit of the input XORs in the 32 key bits that start at that bit's position. The hash is
 * linear, so the sums of four neighbouring bits are looked up together.
 */
#include "stackd/core/assert.h"
#include "stackd/core/toeplitz.h"

const uint8_t toeplitz_default_key[TOEPLITZ_KEY_LEN] = {
	0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3,
	0x8f, 0xb0, 0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3,
	0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
};

/* The 32 key bits from bit @at on. */
static uint32_t window(const uint8_t *key, unsigned at)
{
	uint64_t w = 0;

	for (unsigned i = 0; i < 5; i++)
		w = w << 8 | (at / 8 + i < TOEPLITZ_KEY_LEN ? key[at / 8 + i] : 0);
	return (uint32_t)(w >> (8 - at % 8));
}

void toeplitz_init(struct toeplitz *tt, const uint8_t key[TOEPLITZ_KEY_LEN])
{
	for (unsigned place = 0; place < 2 * TOEPLITZ_IN_MAX; place++) {
		tt->add[place][0] = 0;
		for (unsigned v = 1; v < 16; v++) {
			unsigned low = v & -v, bit = 3 - (unsigned)__builtin_ctz(low);

			tt->add[place][v] = tt->add[place][v ^ low] ^ window(key, 4 * place + bit);
		}
	}
}

uint32_t toeplitz(const struct toeplitz *tt, const uint8_t *data, unsigned len)
{
	uint32_t hash = 0;

	ASSERT(len <= TOEPLITZ_IN_MAX);
	for (unsigned i = 0; i < len; i++)
		hash ^= tt->add[2 * i][data[i] >> 4] ^ tt->add[2 * i + 1][data[i] & 15];
	return hash;
}

uint32_t toeplitz_flow(const struct toeplitz *tt, const struct sd_addr *src,
		       const struct sd_addr *dst, bool ports, uint16_t sport, uint16_t dport)
{
	be16 p[2] = { cpu_to_be16(sport), cpu_to_be16(dport) };
	unsigned alen = sd_addr_is_v4(src) ? 4 : 16, len = 2 * alen;
	uint8_t in[TOEPLITZ_IN_MAX];

	memcpy(in, src->b + 16 - alen, alen);
	memcpy(in + alen, dst->b + 16 - alen, alen);
	if (ports) {
		memcpy(in + len, p, sizeof(p));
		len += sizeof(p);
	}
	return toeplitz(tt, in, len);
}

uint32_t toeplitz_dport(const struct toeplitz *tt, bool v4, uint16_t dport)
{
	const uint32_t (*add)[16] = &tt->add[2 * (v4 ? 10 : 34)];

	return add[0][dport >> 12] ^ add[1][dport >> 8 & 15] ^ add[2][dport >> 4 & 15] ^
	       add[3][dport & 15];
}
