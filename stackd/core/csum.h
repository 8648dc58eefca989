/* SPDX-License-Identifier: MIT */
/* core/csum.h - the Internet checksum
 * Spec:    RFC 1071, RFC 1624
 * All sums are in memory order: a 16-bit sum is what the two bytes of the field hold, so it is
 * stored and loaded with memcpy() and never swapped. A sum is a uint64_t while it grows and a
 * uint16_t after csum_fold(); nothing is inverted until csum_done().
 * Holds:   C1 a block that starts at an odd offset of its stream counts byte-swapped (csum_pkt()
 *          does it)
 *          C2 0 is never sent in a PARTIAL field that was finished here: 0xffff means the same
 */
#ifndef CORE_CSUM_H
#define CORE_CSUM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "stackd/core/pkt.h"

/* a + b with the carry brought round. */
static inline uint64_t csum_add64(uint64_t a, uint64_t b)
{
	uint64_t s;

	return __builtin_add_overflow(a, b, &s) ? s + 1 : s;
}

/* To 16 bits; 0 only when every summed byte was 0. */
static inline uint16_t csum_fold(uint64_t sum)
{
	sum = (sum & 0xffffffffu) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

/* What goes into the field: folded and inverted. */
static inline uint16_t csum_done(uint64_t sum) { return (uint16_t)~csum_fold(sum); }

/* @sum plus the @len bytes at @p (any alignment), which lie at an even offset of the stream. */
uint64_t csum_add(uint64_t sum, const void *p, size_t len);

/* Checksum field of a range, e.g. an IP header whose field is zero; 0 over a valid one. */
static inline uint16_t csum_of(const void *p, size_t len) { return csum_done(csum_add(0, p, len)); }

/* Sum of a packet's bytes from @off (from buf) to its end, fragments included. */
uint64_t csum_pkt(const struct pkt *p, uint32_t off);

/* A field after one 16-bit word under it changed (RFC 1624 equation 3). Values in memory order. */
static inline uint16_t csum_update16(uint16_t check, uint16_t old, uint16_t new)
{
	return csum_done((uint64_t)(uint16_t)~check + (uint16_t)~old + new);
}

/* Send: finish a PARTIAL packet in software; it is NONE afterwards. Others are left alone. */
void csum_finish(struct pkt *p);

/**
 * csum_rx_ok() - is the transport checksum of a received packet right?
 * @p: data and l4_off at the transport header, len cut to the transport length
 * @pseudo: ip_pseudo_sum() of it
 * Return: true when the device vouches for it or the sum is right. A packet that failed by the
 * device's COMPLETE sum is summed again in software: a wrong sum from hardware must not lose
 * packets. Verified packets become UNNECESSARY.
 */
bool csum_rx_ok(struct pkt *p, uint16_t pseudo);

#endif
