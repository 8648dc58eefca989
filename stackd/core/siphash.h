/* SPDX-License-Identifier: MIT */
/* core/siphash.h - SipHash (Aumasson, Bernstein 2012), the keyed hash for what an attacker feeds
 * siphash24() is the standard function; siphash13() has fewer rounds, for hash tables, as Linux
 * does. Little-endian machines only, as the rest of the project (x86-64).
 */
#ifndef CORE_SIPHASH_H
#define CORE_SIPHASH_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct sip {
	uint64_t v0, v1, v2, v3;
};

static inline uint64_t sip_rotl(uint64_t v, int n) { return v << n | v >> (64 - n); }

static inline void sip_round(struct sip *s)
{
	s->v0 += s->v1;
	s->v2 += s->v3;
	s->v1 = sip_rotl(s->v1, 13) ^ s->v0;
	s->v3 = sip_rotl(s->v3, 16) ^ s->v2;
	s->v0 = sip_rotl(s->v0, 32);
	s->v2 += s->v1;
	s->v0 += s->v3;
	s->v1 = sip_rotl(s->v1, 17) ^ s->v2;
	s->v3 = sip_rotl(s->v3, 21) ^ s->v0;
	s->v2 = sip_rotl(s->v2, 32);
}

static inline void sip_word(struct sip *s, uint64_t m, int rounds)
{
	s->v3 ^= m;
	for (int i = 0; i < rounds; i++)
		sip_round(s);
	s->v0 ^= m;
}

static inline __attribute__((always_inline)) uint64_t
siphash_cd(const uint64_t key[2], const void *data, size_t len, int c, int d)
{
	struct sip s = { key[0] ^ 0x736f6d6570736575ull, key[1] ^ 0x646f72616e646f6dull,
			 key[0] ^ 0x6c7967656e657261ull, key[1] ^ 0x7465646279746573ull };
	const uint8_t *p = data;
	uint64_t m;

	for (size_t left = len / 8; left; left--, p += 8) {
		memcpy(&m, p, 8);
		sip_word(&s, m, c);
	}
	m = 0;
	memcpy(&m, p, len % 8);
	sip_word(&s, m | (uint64_t)len << 56, c);
	s.v2 ^= 0xff;
	for (int i = 0; i < d; i++)
		sip_round(&s);
	return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}

static inline uint64_t siphash24(const uint64_t key[2], const void *data, size_t len)
{
	return siphash_cd(key, data, len, 2, 4);
}

static inline uint64_t siphash13(const uint64_t key[2], const void *data, size_t len)
{
	return siphash_cd(key, data, len, 1, 3);
}

#endif
