/* SPDX-License-Identifier: MIT */
/* ip/ip.h - IPv4 in and out, routes, ICMP */
#ifndef IP_IP_H
#define IP_IP_H

#include "stackd/link/link.h"

#define IP_PROTO_ICMP	1
#define IP_PROTO_TCP	6
#define IP_PROTO_UDP	17

/* What transports get with a packet; addresses dual-stack. Packet: data at the transport header,
 * l4_off set, len = transport bytes (padding cut). */
struct ip_rx_info {
	struct sd_addr src, dst;
	uint8_t proto, tos, ttl;
	uint8_t local_bcast;		/* broadcast or multicast destination */
};

/* ICMP errors for a packet of ours, as transports see them. @l4: first 8 bytes of its transport
 * header. */
struct ip_err_info {
	struct sd_addr src, dst;	/* of OUR packet: src is ours */
	uint8_t proto, type, code;
	uint16_t mtu;			/* fragmentation needed: next-hop MTU, 0 = not told */
	int err;			/* errno that Linux gives: ECONNREFUSED, EHOSTUNREACH ... */
	bool hard;			/* Linux's "fatal" flag */
	const uint8_t *l4;
};

struct ip_proto {
	/* Takes @p. */
	void (*rx)(struct stack *st, struct pkt *p, const struct ip_rx_info *info);
	void (*err)(struct stack *st, const struct ip_err_info *info);
	/* Does only another worker know whom this is for? *@asked is the packet's. Return: true and
	 * the worker to hand it on to. NULL: no. */
	bool (*elsewhere)(struct stack *st, const struct ip_err_info *info, uint8_t *asked,
			  uint16_t *ret_to);
};

/* After link_init(); takes the MTU from st->nic. Registers with link, the wheel and SMSG_PKT. */
int ip_init(struct stack *st);
void ip_fini(struct stack *st);
void ip_register(struct stack *st, uint8_t proto, const struct ip_proto *ops);

/* A transport whose socket lives on another worker: @p as it came from ip_proto.rx goes through IP
 * input there. Takes @p. */
void ip_handoff(struct stack *st, struct pkt *p, const struct ip_rx_info *info, uint16_t to);

/* Addresses and routes; worker 0 decides, the engine calls it on every worker at start. plen of the
 * 128-bit form. */
int ip_add_addr(struct stack *st, const struct sd_addr *addr, uint8_t plen);
int ip_add_route(struct stack *st, const struct sd_addr *dst, uint8_t plen,
		 const struct sd_addr *gw);
/* The device's MTU: ip_init() knows it only on a worker with a queue of its own. */
void ip_set_mtu(struct stack *st, uint32_t mtu);
bool ip_is_local(struct stack *st, const struct sd_addr *addr);

struct ip_route_res {
	struct sd_addr src;		/* preferred source */
	struct sd_addr next_hop;
	uint32_t mtu;
	bool local;			/* destination is stackd itself: looped inside the engine */
	bool bcast, mcast;		/* the caller decides whether its socket may */
};
/* @dst 0.0.0.0 means stackd itself: next_hop is then the address to use instead of it.
 * Return: 0, -ENETUNREACH, -EHOSTUNREACH, or -EINVAL (source is not ours). */
int ip_route(struct stack *st, const struct sd_addr *dst, const struct sd_addr *src_or_any,
	     struct ip_route_res *ret);

struct ip_tx_info {
	struct sd_addr src, dst, next_hop;
	uint8_t proto, tos, ttl;	/* ttl 0 = 64 */
	bool df;
	bool local;			/* from ip_route_res */
};
/* Put the IP header before a packet whose data is the transport header (with csum PARTIAL or NONE)
 * and send it. Takes @p. */
void ip_tx(struct stack *st, struct pkt *p, const struct ip_tx_info *info);
/* Fold of the pseudo-header sum (not inverted), for PARTIAL and verification. */
uint16_t ip_pseudo_sum(const struct sd_addr *src, const struct sd_addr *dst, uint8_t proto,
		       uint32_t len);

/* Packets to stackd's own addresses wait in a queue until the next loop: hand them to IP input.
 * Return: how many there were. The engine calls it once per loop and does not sleep while
 * ip_local_pending(). */
unsigned ip_poll_local(struct stack *st);
bool ip_local_pending(const struct stack *st);

/* ICMP destination unreachable for a packet just received (l3_off valid); rate-limited, never for
 * broadcast, fragments but the first, or ICMP errors. Does not take @p. */
void icmp_unreach(struct stack *st, const struct pkt *p, uint8_t code, uint16_t mtu);

struct ip_route_info { struct sd_addr dst, gw, src; uint8_t plen; bool local; };
void ip_route_walk(struct stack *st, void (*fn)(void *arg, const struct ip_route_info *),
		   void *arg);

#endif
