/* SPDX-License-Identifier: MIT */
/* link/gro.h - merging TCP segments that follow each other within one receive burst */
#ifndef LINK_GRO_H
#define LINK_GRO_H

#include "stackd/core/stack.h"

#define GRO_FLOWS	16		/* flows held at once; the oldest is let go first */
#define GRO_FRAGS	17		/* merged payloads per packet */

struct gro_flow {
	struct pkt *p;			/* first segment, data at the IP header */
	uint32_t next_seq;
	uint16_t next_id;
	uint16_t hdr_len;		/* IP and TCP header */
};

struct gro {
	struct gro_flow flow[GRO_FLOWS];	/* in order of arrival */
	unsigned cnt;
};

/**
 * gro_rx() - one received IPv4 packet, data at the IP header; takes @p
 *
 * What cannot be merged goes to link_deliver() at once, after anything held of the same flow. The
 * merged packet has the payloads as frag[] and their packets in merged, lengths and IP checksum as
 * if it had been sent in one piece, gso_size of its segments, and an UNNECESSARY checksum with
 * csum_start set.
 */
void gro_rx(struct stack *st, struct gro *g, struct pkt *p);
/* End of the burst: deliver all that is held. */
void gro_flush(struct stack *st, struct gro *g);

#endif
