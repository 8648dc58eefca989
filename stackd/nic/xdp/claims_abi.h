/* SPDX-License-Identifier: MIT */
/* nic/xdp/claims_abi.h - what of an interface's traffic is stackd's: shared by the XDP program,
 * which reads it for each packet, and the engine, which writes it without a system call (an array
 * map of one element, mapped).
 *
 * Ports: a bit each. Connections: a hash table of two choices of bucket; an entry's second word
 * says whether it is valid. Addresses and ports as on the wire.
 * Holds:   C1 a valid entry's first word does not change; the second is written last when it comes
 *             and first when it goes
 * Threads: any worker adds and removes; only the program reads without owning
 */
#ifndef NIC_XDP_CLAIMS_ABI_H
#define NIC_XDP_CLAIMS_ABI_H

#include <linux/types.h>

#define CLAIMS_WAYS	8u		/* entries of a bucket: two cache lines */
#define CLAIMS_BUCKETS	16384u		/* power of two */

struct claims_flow {
	__u64 addrs;			/* remote << 32 | local */
	__u64 rest;			/* ports, protocol, CLAIMS_VALID, generation; 0 = free */
};
#define CLAIMS_PORTS(remote, local) ((__u64)(remote) << 16 | (local))
#define CLAIMS_PROTO(p)	((__u64)(p) << 32)
#define CLAIMS_VALID	(1ull << 40)
#define CLAIMS_BUSY	(1ull << 41)	/* being written */
#define CLAIMS_GEN(g)	((__u64)(__u16)(g) << 48)
#define CLAIMS_KEY	(CLAIMS_GEN(1) - 1)	/* bits that are compared */

struct claims {
	__u32 addr;			/* stackd's; 0 = nothing is redirected */
	__u32 shared;			/* the kernel has it, too: only what is claimed is ours */
	__u64 seed;			/* of the hash: who picks ports cannot aim at one bucket */
	__u64 rsv[6];
	__u64 port[2][1024];		/* [0] TCP, [1] UDP */
	struct claims_flow flow[CLAIMS_BUCKETS][CLAIMS_WAYS];
};

/* Both choices: the low and the high half. */
static inline __attribute__((always_inline))
__u64 claims_hash(__u64 seed, __u64 addrs, __u64 key)
{
	__u64 x = (addrs ^ seed) * 0x9e3779b97f4a7c15ull;

	x = (x ^ x >> 32 ^ key) * 0xff51afd7ed558ccdull;
	x = (x ^ x >> 29 ^ seed) * 0xc4ceb9fe1a85ec53ull;
	return x ^ x >> 32;
}
#define CLAIMS_FIRST(h)		((__u32)(h) & (CLAIMS_BUCKETS - 1))
#define CLAIMS_SECOND(h)	((__u32)((h) >> 32) & (CLAIMS_BUCKETS - 1))

#endif
