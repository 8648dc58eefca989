/* SPDX-License-Identifier: MIT */
/* include/stackd/addr.h - dual-stack address types and byte order, used by both sides
 * Holds:   an IPv4 address is always stored v4-mapped (::ffff:a.b.c.d), so one 16-byte compare
 *          serves both families. The wildcard of a v4 socket is ::ffff:0.0.0.0, of a v6 one ::.
 * Spec:    RFC 4291 2.5.5.2
 */
#ifndef STACKD_ADDR_H
#define STACKD_ADDR_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* Wire order is a type of its own: no arithmetic on it without be*_to_cpu(). */
typedef struct { uint16_t v; } be16;
typedef struct { uint32_t v; } be32;

static inline be16 cpu_to_be16(uint16_t v) { return (be16){ __builtin_bswap16(v) }; }
static inline be32 cpu_to_be32(uint32_t v) { return (be32){ __builtin_bswap32(v) }; }
static inline uint16_t be16_to_cpu(be16 v) { return __builtin_bswap16(v.v); }
static inline uint32_t be32_to_cpu(be32 v) { return __builtin_bswap32(v.v); }

/* A dual-stack address; 4-byte aligned so that it can lie in packed headers' neighbours. */
struct sd_addr {
	union {
		uint8_t b[16];
		uint32_t w[4];
	};
};

static inline struct sd_addr sd_addr_v4(be32 a)
{
	struct sd_addr r = { .w = { 0, 0, 0xffff0000u, a.v } };
	return r;
}

static inline bool sd_addr_is_v4(const struct sd_addr *a)
{
	return a->w[0] == 0 && a->w[1] == 0 && a->w[2] == 0xffff0000u;
}

/* Only meaningful when sd_addr_is_v4(). */
static inline be32 sd_addr_to_v4(const struct sd_addr *a)
{
	return (be32){ a->w[3] };
}

/* True for ::, and for ::ffff:0.0.0.0. */
static inline bool sd_addr_is_any(const struct sd_addr *a)
{
	return a->w[0] == 0 && a->w[1] == 0 && a->w[3] == 0 &&
	       (a->w[2] == 0 || a->w[2] == 0xffff0000u);
}

static inline bool sd_addr_eq(const struct sd_addr *a, const struct sd_addr *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

/* True when the first @plen bits are equal; @plen 0..128 (a v4 /24 is plen 120). */
static inline bool sd_addr_in(const struct sd_addr *a, const struct sd_addr *net, unsigned plen)
{
	unsigned n = plen / 8, r = plen % 8;

	if (n && memcmp(a->b, net->b, n))
		return false;
	return r == 0 || ((a->b[n] ^ net->b[n]) & (0xff << (8 - r)) & 0xff) == 0;
}

#endif
