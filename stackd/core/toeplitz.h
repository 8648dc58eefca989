/* SPDX-License-Identifier: MIT */
/* core/toeplitz.h - the RSS hash of network cards
 * Input order on the wire: source address, destination address, source port, destination port.
 */
#ifndef CORE_TOEPLITZ_H
#define CORE_TOEPLITZ_H

#include <stdint.h>

#include "stackd/addr.h"

#define TOEPLITZ_KEY_LEN	40	/* serves inputs of up to 36 bytes (IPv6 with ports) */
#define TOEPLITZ_IN_MAX		(TOEPLITZ_KEY_LEN - 4)

extern const uint8_t toeplitz_default_key[TOEPLITZ_KEY_LEN];	/* the published verification key */

/* A key made ready: what each half byte of the input adds to the hash, by its place, high half
 * first. An IPv4 flow touches the first 1.5 KiB. */
struct toeplitz {
	uint32_t add[2 * TOEPLITZ_IN_MAX][16];
};

void toeplitz_init(struct toeplitz *tt, const uint8_t key[TOEPLITZ_KEY_LEN]);

/* @len <= TOEPLITZ_IN_MAX. */
uint32_t toeplitz(const struct toeplitz *tt, const uint8_t *data, unsigned len);

/* Hash of a flow as a card computes it for a packet from @src to @dst; both of one family.
 * @ports false: the two-tuple hash. Ports in host order. */
uint32_t toeplitz_flow(const struct toeplitz *tt, const struct sd_addr *src,
		       const struct sd_addr *dst, bool ports, uint16_t sport, uint16_t dport);

/* What the destination port alone adds: toeplitz_flow(.., dport) == toeplitz_flow(.., 0) ^ this. */
uint32_t toeplitz_dport(const struct toeplitz *tt, bool v4, uint16_t dport);

#endif
