/* SPDX-License-Identifier: MIT */
/* link/link.h - Ethernet, neighbours, GRO: between the device and IP */
#ifndef LINK_LINK_H
#define LINK_LINK_H

#include "stackd/nic/nic.h"

/* IP's entry points, registered by ip/ at init (link does not know ip). */
struct link_up {
	void (*ip4_rx)(struct stack *st, struct pkt *p);	/* data at the IP header, l3_off set */
};

int link_init(struct stack *st);
void link_fini(struct stack *st);
void link_set_up(struct stack *st, const struct link_up *up);
/* Our addresses, for ARP (announced gratuitously when added). */
int link_add_addr(struct stack *st, const struct sd_addr *addr);

/* One burst from the device through Ethernet, GRO and up; flushes GRO at the end.
 * Return: packets taken (== budget: there may be more). */
unsigned link_poll(struct stack *st, unsigned budget);
/* A frame from elsewhere (another worker's queue), at the Ethernet header. Takes @p. */
void link_rx(struct stack *st, struct pkt *p);

/* Send an IP packet (data at the IP header) to @next_hop on the link: resolves, queues while unresolved,
 * puts it on this loop's transmit vector. Takes @p. */
void link_tx_ip(struct stack *st, const struct sd_addr *next_hop, struct pkt *p);
/* End of loop: hand the transmit vector to the device. */
void link_flush(struct stack *st);
/* Told by upper layers that a neighbour is reachable (forward progress). */
void link_confirm(struct stack *st, const struct sd_addr *next_hop);

/* For show neigh; calls @fn for each entry. */
struct link_neigh_info { struct sd_addr addr; uint8_t mac[6]; const char *state; uint32_t queued; };
void link_neigh_walk(struct stack *st, void (*fn)(void *arg, const struct link_neigh_info *), void *arg);

#endif
