/* SPDX-License-Identifier: MIT */
/* nic/claims.h - telling a device that shares its interface with the kernel what is stackd's
 * st->claims is NULL when the device takes everything that is for stackd's address. Claiming costs
 * a store or two, no system call.
 */
#ifndef NIC_CLAIMS_H
#define NIC_CLAIMS_H

#include "stackd/core/stack.h"

struct claims;
struct nic_claims {
	struct claims *map;		/* nic/xdp/claims_abi.h; shared with the XDP program */
	uint16_t gen;			/* of this engine: what is older goes at adoption */
	bool adopting;			/* ports go to the map when adoption ends */
	uint64_t full;			/* connections that found no room; add_sc */
	uint64_t port[2][1024];		/* as in the map */
};

/* A table of the engine's own, for an address that the kernel has as well (nic/kport.h).
 * Return: NULL = no memory. */
struct nic_claims *claims_create(const struct sd_addr *addr, uint64_t seed);

/* Every packet to local port @port is stackd's, or no longer. @proto: 6 or 17. Worker 0. */
void claims_port(struct nic_claims *c, uint8_t proto, uint16_t port, bool on);

/* A connection's packets are stackd's (IPv4 addresses, ports in host order). Any worker. When the
 * table has no room for it, it is counted and the packets are the kernel's unless the port is
 * claimed. */
void claims_flow_add(struct nic_claims *c, uint8_t proto, const struct sd_addr *local,
		     uint16_t lport, const struct sd_addr *remote, uint16_t rport);
void claims_flow_del(struct nic_claims *c, uint8_t proto, const struct sd_addr *local,
		     uint16_t lport, const struct sd_addr *remote, uint16_t rport);

/* A new engine: begin before adoption; end lets go of ports and connections that were not claimed
 * in between. Until then the kernel gets nothing of what the earlier engine had. */
void claims_adopt_begin(struct nic_claims *c);
void claims_adopt_end(struct nic_claims *c);

#endif
