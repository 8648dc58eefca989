/* SPDX-License-Identifier: MIT */
/* core/rng.h - random numbers from a state that is passed in (stack->rng_state)
 * xoroshiro128++ (Blackman and Vigna), seeded through SplitMix64. Fast and replayable; not for
 * secrets: whatever an attacker must not guess is keyed with stack->boot_secret (core/siphash.h).
 * The engine seeds from getrandom(), the simulator from its run's seed.
 */
#ifndef CORE_RNG_H
#define CORE_RNG_H

#include <stdint.h>

static inline uint64_t rng_rotl(uint64_t v, int n) { return v << n | v >> (64 - n); }

/* One step of SplitMix64: advances @seed. */
static inline uint64_t rng_splitmix(uint64_t *seed)
{
	uint64_t z = (*seed += 0x9e3779b97f4a7c15ull);

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}

static inline void rng_seed(uint64_t s[2], uint64_t seed)
{
	s[0] = rng_splitmix(&seed);
	s[1] = rng_splitmix(&seed);
	if (!(s[0] | s[1]))
		s[0] = 1;
}

static inline uint64_t rng_u64(uint64_t s[2])
{
	uint64_t a = s[0], b = s[1], r = rng_rotl(a + b, 17) + a;

	b ^= a;
	s[0] = rng_rotl(a, 49) ^ b ^ b << 21;
	s[1] = rng_rotl(b, 28);
	return r;
}

static inline uint32_t rng_u32(uint64_t s[2]) { return (uint32_t)(rng_u64(s) >> 32); }

/* Uniform in [0, n), without bias (multiply, reject the short rest). @n >= 1. */
static inline uint32_t rng_below(uint64_t s[2], uint32_t n)
{
	uint64_t m = (uint64_t)rng_u32(s) * n;

	if ((uint32_t)m < n) {
		uint32_t rest = -n % n;

		while ((uint32_t)m < rest)
			m = (uint64_t)rng_u32(s) * n;
	}
	return (uint32_t)(m >> 32);
}

#endif
