/* SPDX-License-Identifier: MIT */
/* nic/gso.h - cutting a GSO packet into frames, as a device with TSO would */
#ifndef NIC_GSO_H
#define NIC_GSO_H

#include "stackd/core/stack.h"

/* What cutting needs to know; offsets are from data. */
struct gso_plan {
	uint32_t l3, l4;
	uint32_t hdr_len;		/* Ethernet to transport, repeated in every segment */
	uint32_t payload_len, seg_len;
	uint32_t segs;
	bool udp;
};

/**
 * gso_plan() - check a GSO packet (IPv4 TCP or UDP; data at the Ethernet header) for cutting
 * Return: 0, or -EINVAL when its headers do not fit its gso fields or are not all linear.
 */
int gso_plan(const struct pkt *p, struct gso_plan *ret);

/**
 * gso_segment() - make segment @i of [0, plan->segs)
 * @partial: leave the transport checksum to the device (PKT_CSUM_PARTIAL), else it is complete
 *
 * IP identification counts up from the first, PSH and FIN stay on the last segment, CWR
 * on the first.
 * Return: a new linear packet of st->pool, or NULL when the pool is empty
 */
struct pkt *gso_segment(struct stack *st, const struct pkt *p, const struct gso_plan *plan,
			uint32_t i, bool partial);

#endif
