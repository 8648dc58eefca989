/* SPDX-License-Identifier: MIT */
/* link/link_int.h - what the files of link/ share: the room's state of one worker
 * Holds:   L1 tx_cnt <= LINK_TX_MAX; the vector is empty after link_flush()
 *          L2 only worker 0 changes a neighbour by what it hears; the others replay what it says
 */
#ifndef LINK_LINK_INT_H
#define LINK_LINK_INT_H

#include "stackd/link/capture.h"
#include "stackd/link/gro.h"
#include "stackd/link/link.h"

#define ETH_HLEN	14u
#define ETH_P_IP4	0x0800u
#define ETH_P_ARP	0x0806u
#define ETH_P_8021Q	0x8100u
#define ETH_P_8021AD	0x88a8u
#define ARP_LEN		28u

#define LINK_TX_MAX	64
#define LINK_RX_BURST	64		/* frames read at once; GRO sees no more */
#define LINK_BIG_BURST	8		/* where frames may be 64 KiB: what the caches hold */
#define LINK_ADDRS	256

#define NEIGH_BUCKETS	1024u		/* power of two */
#define NEIGH_QUEUE	64u		/* packets that wait for one; the oldest is dropped first */
#define NEIGH_QUEUED	512u		/* and for all of them together */

struct neigh_queue {
	struct pkt *head, *tail;
	uint32_t cnt;
};

struct neigh_table {
	struct neigh_rec *recs;		/* worker 0: region AR_NEIGH; others: a private mapping */
	struct neigh_queue *queues;	/* by record index */
	uint32_t *heads;		/* [NEIGH_BUCKETS], record index, 0 = end */
	struct idx_pool idx;
	uint32_t cnt;			/* records, the unused number 0 included */
	uint32_t hand;			/* where the search for a victim goes on */
	uint32_t last;			/* newest lookup's result, 0 = none */
	uint32_t queued;
};

struct link_state {
	struct link_up up;
	uint8_t mac[6];
	bool shared;			/* ARP for our addresses is the kernel's */
	uint16_t queues;
	uint32_t mtu;
	uint32_t addr_cnt;
	struct sd_addr addrs[LINK_ADDRS];	/* ours */
	uint64_t defended_us;			/* newest announcement after a conflict */
	struct pkt *tx[LINK_TX_MAX];
	unsigned tx_cnt;
	struct gro gro;
	struct neigh_table neigh;
	struct wheel_node dev_timer;		/* nic_ops.next_us; timer id OBJ(OBJ_NEIGH, 0) */
	uint32_t cap_points;			/* SD_CAP_BIT()s that any capture wants */
	uint32_t cap_cnt;
	struct link_cap *caps[LINK_CAPS];
};

static const uint8_t eth_bcast[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };

static inline uint32_t get16(const uint8_t *p) { return (uint32_t)p[0] << 8 | p[1]; }
static inline void put16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

/* ---- link.c ---- */

/* A received IPv4 packet, data at the IP header: to the worker that owns it, or up. Takes @p. */
void link_deliver(struct stack *st, struct pkt *p);
/* Put an Ethernet header before @p and the frame on the transmit vector. Takes @p. */
void link_tx_frame(struct stack *st, struct pkt *p, const uint8_t dst[6], uint32_t ethertype);
bool link_is_ours(const struct link_state *ls, const struct sd_addr *addr);

/* ---- capture.c ---- */

static inline bool link_tapped(const struct link_state *ls, enum sd_cap_point point)
{
	return __builtin_expect(ls->cap_points & SD_CAP_BIT(point), 0);
}
/* The frame that begins @back bytes before @p's data. Borrows @p. */
void link_capture(struct stack *st, const struct pkt *p, uint32_t back, enum sd_cap_point point);

/* ---- verify.c ---- */

/* A received IPv4 packet, data at the Ethernet header: what the device says of its sum, proved. */
void link_verify(struct stack *st, struct pkt *p);

/* ---- arp.c ---- */

/* @p: data after the Ethernet header. Takes @p; passes it to worker 0 when that is another. */
void arp_rx(struct stack *st, struct pkt *p);
void arp_on_msg(struct stack *st, const struct stack_msg *msg);
/* Who has @target? To @dst, or to everybody when NULL. */
void arp_request(struct stack *st, const struct sd_addr *target, const uint8_t *dst);
void arp_announce(struct stack *st, const struct sd_addr *addr);

/* ---- neigh.c ---- */

enum neigh_evidence {
	NEIGH_HEARD,			/* it spoke: in a request to us (makes an entry) */
	NEIGH_HEARD_OTHER,		/* it spoke to others, or to all: refreshes only */
	NEIGH_ANSWERED,			/* its reply to us */
};

int neigh_init(struct stack *st);
void neigh_fini(struct stack *st);
void neigh_output(struct stack *st, const struct sd_addr *addr, struct pkt *p);
/* Worker 0 only. Return: false when no entry took notice. */
bool neigh_heard(struct stack *st, const struct sd_addr *addr, const uint8_t mac[6],
		 enum neigh_evidence ev);
void neigh_on_msg(struct stack *st, const struct stack_msg *msg);
void neigh_on_want(struct stack *st, const struct stack_msg *msg);
void neigh_fire(struct stack *st, uint32_t idx);

#endif
