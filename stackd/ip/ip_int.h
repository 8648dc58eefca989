/* SPDX-License-Identifier: MIT */
/* ip/ip_int.h - what the files of ip/ share
 * Threads: struct ip_state belongs to one worker; its tables are replicas of the same
 *          configuration.
 */
#ifndef IP_IP_INT_H
#define IP_IP_INT_H

#include <string.h>

#include "stackd/core/csum.h"
#include "stackd/ip/ip.h"

struct ip4_hdr {
	uint8_t ver_ihl, tos;
	be16 len, id, frag;
	uint8_t ttl, proto;
	uint16_t csum;			/* memory order, as in core/csum.h */
	be32 src, dst;
} __attribute__((packed));
static_assert(sizeof(struct ip4_hdr) == 20, "RFC 791 3.1");

#define IP4_DF		0x4000u
#define IP4_MF		0x2000u
#define IP4_OFF_MASK	0x1fffu		/* in units of 8 bytes */
#define IP4_HDR_MAX	60u

struct icmp_hdr {
	uint8_t type, code;
	uint16_t csum;
	be16 rest[2];
} __attribute__((packed));
static_assert(sizeof(struct icmp_hdr) == 8, "RFC 792");

#define ICMP_ECHO_REPLY		0
#define ICMP_UNREACH		3
#define ICMP_SOURCE_QUENCH	4
#define ICMP_REDIRECT		5
#define ICMP_ECHO		8
#define ICMP_TIME_EXCEEDED	11
#define ICMP_PARAM_PROBLEM	12
#define ICMP_UNREACH_PROTO	2
#define ICMP_UNREACH_NEEDFRAG	4
#define ICMP_EXC_REASM		1

/* stack_msg.u32[0] of SMSG_PKT: how far the packet has come. Link sends 0. */
#define IP_MSG_LOCAL	1u		/* looped: never was on a wire, source is ours */
#define IP_MSG_AGAIN	2u		/* counted by another worker already */

#define IP_ADDRS_MAX	64
#define IP_ROUTES_MAX	256
#define IP_IDENTS	2048		/* power of two */

struct ip_addr {
	struct sd_addr addr;
	struct sd_addr bcast;		/* directed broadcast; none: the address itself */
	uint8_t plen;
};

struct ip_rt {
	struct sd_addr dst, gw, src;	/* gw any = on the link */
	uint8_t plen;
};

/* Reassembly; see frag.c. */
#define REASM_MAX	64		/* datagrams at once: 64 KiB of address space each */
#define REASM_TIMEOUT_US 30000000u
#define REASM_UNITS	8192		/* 8-byte units of the largest datagram */
#define REASM_DATA	65536u

struct reasm {
	struct wheel_node timer;
	be32 src, dst;
	be16 id;
	uint8_t proto;
	bool used, dead;		/* dead: swallow what is still to come */
	uint8_t ecn_seen;		/* bit 1 << ECN codepoint of each fragment */
	uint8_t hdr_len;		/* of the first fragment's header, 0 = not here yet */
	uint8_t bcast;
	uint32_t total, end;		/* payload bytes: all (0 = not known); highest seen */
	uint32_t got;
	uint64_t born_us;
	uint64_t map[REASM_UNITS / 64];	/* units received */
};

#define REASM_HDR	64u		/* the payload begins here, the header ends here */
struct reasm_buf {
	uint8_t b[REASM_HDR + REASM_DATA];
};
static_assert(REASM_HDR >= IP4_HDR_MAX, "any header fits");

struct ip_state {
	struct ip_proto proto[256];
	struct ip_addr addrs[IP_ADDRS_MAX];
	struct ip_rt rt[IP_ROUTES_MAX];	/* longest prefix first */
	uint32_t addr_cnt, rt_cnt;
	uint32_t mtu;

	struct pkt *loop_head, *loop_tail;

	/* ICMP rate limit: microseconds saved up; a message costs icmp_cost_us. */
	uint32_t icmp_cost_us, icmp_credit_us, icmp_credit_max_us;
	uint64_t icmp_last_us;

	/* Next identification by hash of source, destination, protocol. */
	uint16_t ident[IP_IDENTS];

	uint32_t reasm_cnt;
	struct reasm reasm[REASM_MAX];
	struct reasm_buf reasm_buf[REASM_MAX];
};

static inline struct ip4_hdr *ip4_hdr(const struct pkt *p) { return (struct ip4_hdr *)pkt_l3(p); }
static inline unsigned ip4_ihl(const struct ip4_hdr *h) { return (h->ver_ihl & 15u) * 4; }
static inline bool v4_is_mcast(be32 a) { return be32_to_cpu(a) >> 28 == 14; }
static inline bool v4_is_loopback(be32 a) { return be32_to_cpu(a) >> 24 == 127; }
static inline bool v4_is_zeronet(be32 a) { return be32_to_cpu(a) >> 24 == 0; }
static inline bool v4_is_lbcast(be32 a) { return a.v == 0xffffffffu; }

/* The header's checksum, after its other fields were written. */
static inline void ip4_hdr_sum(struct ip4_hdr *h)
{
	h->csum = 0;
	h->csum = csum_of(h, ip4_ihl(h));
}

/* ip.c: an outgoing packet for ourselves, data at its complete IP header. Takes @p. */
void ip_loop(struct stack *st, struct pkt *p);

/* route.c */
const struct ip_addr *ip_addr_find(const struct ip_state *ip, be32 a);
bool ip_is_directed_bcast(const struct ip_state *ip, be32 a);

/* in.c */
void ip4_rx(struct stack *st, struct pkt *p);
/* Input from further in; @flags IP_MSG_*; data at the IP header, l3_off set. Takes @p. */
void ip4_rx_flags(struct stack *st, struct pkt *p, uint32_t flags);
/* Put data back to the IP header and hand the packet to the worker that owns its flow. Takes @p. */
void ip4_handoff(struct stack *st, struct pkt *p, uint16_t to, uint32_t flags);
/* Data back to the IP header. */
void ip4_rewind(struct pkt *p);

/* frag.c */
int reasm_init(struct stack *st);
void reasm_fini(struct stack *st);
/* A valid fragment, data at the IP header. Takes @p. Return: the whole datagram, data at its IP
 * header, when this was its last missing piece; else NULL. */
struct pkt *reasm_rx(struct stack *st, struct pkt *p);

/* icmp.c */
void icmp_init(struct stack *st);
/* Send an error about the packet at @h, of which @avail bytes are here. @bcast: it came as
 * broadcast. */
void icmp_error(struct stack *st, const struct ip4_hdr *h, uint32_t avail, bool bcast, uint8_t type,
		uint8_t code, uint16_t mtu);
/* The neighbour did not answer: tell the transport of our own packet @p. Borrows @p. */
void icmp_link_failure(struct stack *st, struct pkt *p);

#endif
