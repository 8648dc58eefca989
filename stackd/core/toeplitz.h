/* SPDX-License-Identifier: MIT */
/* core/toeplitz.h - the RSS hash of network cards
 * Input order on the wire: source address, destination address, source port, destination port.
 */
#ifndef CORE_TOEPLITZ_H
#define CORE_TOEPLITZ_H

#include <stdint.h>

#include "stackd/addr.h"

#define TOEPLITZ_KEY_LEN 40		/* serves inputs of up to 36 bytes (IPv6 with ports) */

extern const uint8_t toeplitz_default_key[TOEPLITZ_KEY_LEN];	/* the published verification key */

/* @len <= TOEPLITZ_KEY_LEN - 4. */
uint32_t toeplitz(const uint8_t key[TOEPLITZ_KEY_LEN], const uint8_t *data, unsigned len);

/* Hash of a flow as a card computes it for a packet from @src to @dst; both of one family.
 * @ports false: the two-tuple hash. Ports in host order. */
uint32_t toeplitz_flow(const uint8_t key[TOEPLITZ_KEY_LEN], const struct sd_addr *src,
		       const struct sd_addr *dst, bool ports, uint16_t sport, uint16_t dport);

#endif
