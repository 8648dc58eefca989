/* SPDX-License-Identifier: MIT */
/* nic/nic.h - the device interface
 * One struct nic per worker and device: that worker's queue pair. Bursts only; offload metadata
 * travels in struct pkt (core/pkt.h). A device that lacks an offload gets packets that software has
 * finished: nic_tx() does that by looking at features, drivers never see what they cannot do.
 */
#ifndef NIC_NIC_H
#define NIC_NIC_H

#include "stackd/core/stack.h"

#define NIC_F_CSUM	(1u << 0)	/* finishes PKT_CSUM_PARTIAL on transmit */
#define NIC_F_TSO	(1u << 1)	/* takes PKT_GSO_TCP4 */
#define NIC_F_RX_CSUM	(1u << 2)	/* sets UNNECESSARY or COMPLETE */
#define NIC_F_GRO	(1u << 3)	/* delivers merged frames (gso_size set) */

#define NIC_F_USO	(1u << 4)	/* takes PKT_GSO_UDP */

struct nic;
struct nic_ops {
	const char *name;
	/* Return: packets stored in @pkts (given to the caller), allocated from st->pool. */
	unsigned (*rx)(struct nic *nic, struct stack *st, struct pkt **pkts, unsigned max);
	/* Takes all @cnt packets: sends or drops (counted) and frees each. */
	void (*tx)(struct nic *nic, struct stack *st, struct pkt **pkts, unsigned cnt);
	/* fd that polls readable when rx would return something, -1 = none (in-memory). */
	int (*rx_fd)(struct nic *nic);
	/* When rx wants to be called although rx_fd is silent (held packets), st->now_us based;
	 * UINT64_MAX = never. NULL = never. link/ arms a timer for it. */
	uint64_t (*next_us)(struct nic *nic);
	void (*close)(struct nic *nic);
};

struct nic {
	const struct nic_ops *ops;
	uint32_t features;		/* NIC_F_* */
	uint32_t mtu;
	uint8_t mac[6];
	uint16_t queue, queues;
	char ifname[16];
	void *priv;
};

/* Transmit with software fallback for what the device lacks (csum, GSO split). Takes @pkts. */
void nic_tx(struct nic *nic, struct stack *st, struct pkt **pkts, unsigned cnt);

/* TAP with vnet header. @fd: one queue's fd, opened and configured by the helper (nic/tap_open.h),
 * O_NONBLOCK; taken. */
int tap_nic_create(int fd, const char *ifname, const uint8_t mac[6], uint32_t mtu, uint16_t queue,
		   uint16_t queues, struct nic **ret);

/* In-memory link between two stacks (tests, simulation): frames written to one end appear at the
 * other at the next rx; bounded queue. */
int mem_nic_pair(uint32_t mtu, uint32_t features, struct nic **ret_a, struct nic **ret_b);

/* Impairment around another device (L3): @spec e.g. "loss=1/100,dup=1/1000,reorder=1/500,seed=7" or
 * "drop-every=100,dir=rx"; all of it stands in nic/impair.c. Takes @under unless it fails: -EINVAL
 * with *ret_bad at the part of @spec that is wrong. */
int impair_nic_wrap(struct nic *under, const char *spec, struct nic **ret, const char **ret_bad);

/* Which queue the steering program gives a flow to: the same function in BPF (tap steering) and C
 * (port selection). Symmetric in (saddr,sport) <-> (daddr,dport). Addresses v4 host order of bytes
 * as on wire. */
uint32_t nic_steer_hash(const struct sd_addr *a, uint16_t aport, const struct sd_addr *b,
			uint16_t bport);

#endif
