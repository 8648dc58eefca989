/* SPDX-License-Identifier: MIT */
/* link/link.h - Ethernet, neighbours, GRO: between the device and IP */
#ifndef LINK_LINK_H
#define LINK_LINK_H

#include "stackd/nic/nic.h"

/* IP's entry points, registered by ip/ at init (link does not know ip). */
struct link_up {
	/* Data at the IP header, l3_off set. Takes @p. */
	void (*ip4_rx)(struct stack *st, struct pkt *p);
	/* The neighbour did not answer: an IP packet of ours that waited for it, data at the IP
	 * header. Borrowed; link counts the drop and frees it. NULL = nobody wants to know. */
	void (*unreachable)(struct stack *st, struct pkt *p);
};

/* A neighbour: worker 0's are records of AR_NEIGH, the other workers keep private replicas. Timers
 * run on wheel kind OBJ_NEIGH. Packets that wait are not part of it: they do not survive the
 * engine. */
enum neigh_state {
	NEIGH_FREE = 0,
	NEIGH_INCOMPLETE,		/* asked, no MAC yet; packets wait */
	NEIGH_REACHABLE,		/* mac confirmed within reachable_time */
	NEIGH_STALE,			/* mac known, not confirmed lately; used as it is */
	NEIGH_DELAY,			/* used while stale: waits for a hint from above */
	NEIGH_PROBE,			/* asked again by unicast; mac still used */
	NEIGH_FAILED,			/* did not answer; the next packet asks anew */
};
struct neigh_rec {
	struct sd_addr addr;
	uint8_t mac[6];
	uint8_t state;			/* enum neigh_state */
	uint8_t probes;			/* sent in this state */
	uint32_t hnext;			/* next index of the bucket; rebuilt, never adopted */
	uint32_t rsv;
	uint64_t used_us, confirmed_us, updated_us;
	uint64_t reach_us;		/* how long a confirmation counts for this entry */
	struct wheel_node timer;
};
#define NEIGH_MAX	4096		/* records that the engine gives AR_NEIGH */

int link_init(struct stack *st);
void link_fini(struct stack *st);
/* What a worker without a queue of its own (st->nic NULL) must know of the device; others take it
 * from st->nic at link_init(). @queues: workers 0 .. queues - 1 have one each. */
void link_set_dev(struct stack *st, const uint8_t mac[6], uint32_t mtu, uint16_t queues);
/* The addresses are the kernel's, too: it answers ARP; we only ask, so that the answers are told
 * from those to the kernel (sender 0.0.0.0). */
void link_set_shared(struct stack *st);
void link_set_up(struct stack *st, const struct link_up *up);
/* Our addresses, for ARP (announced gratuitously when added). */
int link_add_addr(struct stack *st, const struct sd_addr *addr);

/* One burst from the device through Ethernet, GRO and up; flushes GRO at the end.
 * Return: packets taken (== budget: there may be more). */
unsigned link_poll(struct stack *st, unsigned budget);
/* A frame from elsewhere (another worker's queue), at the Ethernet header. Takes @p. */
void link_rx(struct stack *st, struct pkt *p);

/* Gratuitous ARP for every address: the network shall learn anew where we are (a virtual machine
 * moved). Worker 0. */
void link_announce(struct stack *st);

/* The worker that must see an IPv4 packet (data at the IP header): nic_flow_worker() for TCP and
 * UDP that is not a fragment; everything else stays here. link_poll() and link_rx() hand
 * over by it; ip asks again after reassembly and for the packet inside an ICMP error. */
uint16_t link_owner(struct stack *st, const struct pkt *p);
/* The same of a packet that we have sent: who gets what is answered to it. */
uint16_t link_owner_back(struct stack *st, const struct pkt *p);

/* Send an IP packet (data at the IP header) to @next_hop on the link: resolves, queues while
 * unresolved, puts it on this loop's transmit vector. p->bcast == 1: to everybody on the link (a
 * directed broadcast); 255.255.255.255 and multicast are recognised. p->confirm: upper layers know
 * that the neighbour is reachable (forward progress, RFC 4861 7.3.1). Takes @p; frags may be
 * borrowed until link_flush(). */
void link_tx_ip(struct stack *st, const struct sd_addr *next_hop, struct pkt *p);
/* End of loop: hand the transmit vector to the device. */
void link_flush(struct stack *st);

/* For show neigh; calls @fn for each entry. */
struct link_neigh_info { struct sd_addr addr; uint8_t mac[6]; const char *state; uint32_t queued; };
void link_neigh_walk(struct stack *st, void (*fn)(void *arg, const struct link_neigh_info *),
		     void *arg);

#endif
