/* SPDX-License-Identifier: MIT */
/* core/toeplitz.c - the RSS hash
 * Spec: Microsoft "RSS hashing types" and "Verifying the RSS hash calculation"
 * Each set bit of the input XORs in the 32 key bits that start at that bit's position.
 */
#include "stackd/core/assert.h"
#include "stackd/core/toeplitz.h"

const uint8_t toeplitz_default_key[TOEPLITZ_KEY_LEN] = {
	0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3,
	0x8f, 0xb0, 0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3,
	0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
};

uint32_t toeplitz(const uint8_t key[TOEPLITZ_KEY_LEN], const uint8_t *data, unsigned len)
{
	uint64_t win = 0;		/* the 40 key bits from the current input byte on */
	uint32_t hash = 0;

	ASSERT(len + 4 <= TOEPLITZ_KEY_LEN);
	for (unsigned i = 0; i < 4; i++)
		win = win << 8 | key[i];
	for (unsigned i = 0; i < len; i++) {
		win = (win << 8 | key[i + 4]) & 0xffffffffffull;
		for (unsigned bit = 0; bit < 8; bit++)
			if (data[i] & 0x80u >> bit)
				hash ^= (uint32_t)(win >> (8 - bit));
	}
	return hash;
}

uint32_t toeplitz_flow(const uint8_t key[TOEPLITZ_KEY_LEN], const struct sd_addr *src,
		       const struct sd_addr *dst, bool ports, uint16_t sport, uint16_t dport)
{
	be16 p[2] = { cpu_to_be16(sport), cpu_to_be16(dport) };
	unsigned alen = sd_addr_is_v4(src) ? 4 : 16, len = 2 * alen;
	uint8_t in[36];

	memcpy(in, src->b + 16 - alen, alen);
	memcpy(in + alen, dst->b + 16 - alen, alen);
	if (ports) {
		memcpy(in + len, p, sizeof(p));
		len += sizeof(p);
	}
	return toeplitz(key, in, len);
}
