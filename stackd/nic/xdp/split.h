/* SPDX-License-Identifier: MIT */
/* nic/xdp/split.h - which frames are stackd's and which the kernel's: one text for the XDP program
 * and for the kernel port (nic/kport.c)
 *
 * An address of stackd's own: IPv4 to it, and ARP about it. An address that the kernel has as well
 * (shared): TCP and UDP to claimed ports and of claimed connections, ICMP errors about them, the
 * fragments that follow a claimed first one, and answers to our ARP probes, which ask for no
 * sender's sake (RFC 5227 2.1.1: the answer's target address is 0), so that the kernel's own
 * questions stay its own.
 * The includer defines SPLIT_FRAG_SEEN(key) and SPLIT_FRAG_NOTE(key): a small memory of first
 * fragments that were ours, by a key of 64 bits; where that needs an argument, SPLIT_ARG and
 * SPLIT_PASS.
 * Spec:    RFC 791, 792, 826
 * Holds:   every access is behind a check against @end: the BPF verifier sees to it
 */
#ifndef NIC_XDP_SPLIT_H
#define NIC_XDP_SPLIT_H

#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>

#include "stackd/nic/xdp/claims_abi.h"

#ifndef SPLIT_ARG
#define SPLIT_ARG
#define SPLIT_PASS
#endif
#define SPLIT_NTOHS(v) __builtin_bswap16(v)

#define SPLIT_FN static inline __attribute__((always_inline))

struct split_arp {
	__u16 htype, ptype;
	__u8 hlen, plen;
	__u16 op;
	__u8 sha[6], spa[4], tha[6], tpa[4];
} __attribute__((packed));

struct split_ports {
	__be16 src, dst;
};

SPLIT_FN int split_in_bucket(const struct claims *c, __u32 b, __u64 addrs, __u64 key)
{
	for (__u32 i = 0; i < CLAIMS_WAYS; i++) {
		const struct claims_flow *f = &c->flow[b][i];

		if ((f->rest & CLAIMS_KEY) == key && f->addrs == addrs)
			return 1;
	}
	return 0;
}

/* Ports as on the wire. */
SPLIT_FN int split_claimed(const struct claims *c, __u8 proto, __u32 remote, __u16 rport,
			   __u32 local, __u16 lport)
{
	__u32 port = SPLIT_NTOHS(lport);
	__u64 addrs = (__u64)remote << 32 | local, key, h;

	if (proto != IPPROTO_TCP && proto != IPPROTO_UDP)
		return 0;
	if (c->port[proto == IPPROTO_UDP][port >> 6] >> (port & 63) & 1)
		return 1;
	key = CLAIMS_PORTS(rport, lport) | CLAIMS_PROTO(proto) | CLAIMS_VALID;
	h = claims_hash(c->seed, addrs, key);
	return split_in_bucket(c, CLAIMS_FIRST(h), addrs, key) ||
	       split_in_bucket(c, CLAIMS_SECOND(h), addrs, key);
}

/* An ICMP error about a packet of ours: the packet stands in it. */
SPLIT_FN int split_icmp_claimed(const struct claims *c, const __u8 *icmp, void *end)
{
	const struct iphdr *ip = (const void *)(icmp + 8);
	const struct split_ports *p;

	if ((void *)(ip + 1) > end)
		return 0;
	if (icmp[0] != 3 && icmp[0] != 4 && icmp[0] != 11 && icmp[0] != 12)
		return 0;
	if (ip->version != 4 || ip->ihl < 5 || ip->saddr != c->addr)
		return 0;
	p = (const void *)((const __u8 *)ip + ip->ihl * 4);
	if ((void *)(p + 1) > end)
		return 0;
	return split_claimed(c, ip->protocol, ip->daddr, p->dst, ip->saddr, p->src);
}

SPLIT_FN int split_shared_ip(const struct claims *c, const struct iphdr *ip, void *end SPLIT_ARG)
{
	__u64 fk = (__u64)ip->protocol << 48 | (__u64)ip->id << 32 | ip->saddr;
	__u16 frag = SPLIT_NTOHS(ip->frag_off);
	const struct split_ports *p;

	if (ip->ihl < 5)
		return 0;
	if (frag & 0x1fff)
		return SPLIT_FRAG_SEEN(fk);
	p = (const void *)((const __u8 *)ip + ip->ihl * 4);
	if ((void *)(p + 1) > end)
		return 0;
	if (ip->protocol == IPPROTO_ICMP)
		return split_icmp_claimed(c, (const __u8 *)p, end);
	if (!split_claimed(c, ip->protocol, ip->saddr, p->src, ip->daddr, p->dst))
		return 0;
	if (frag & 0x2000)
		SPLIT_FRAG_NOTE(fk);
	return 1;
}

SPLIT_FN int split_ip_ours(const struct claims *c, const struct iphdr *ip, void *end SPLIT_ARG)
{
	if ((void *)(ip + 1) > end || ip->daddr != c->addr)
		return 0;
	return c->shared ? split_shared_ip(c, ip, end SPLIT_PASS) : 1;
}

SPLIT_FN int split_arp_ours(const struct claims *c, const struct split_arp *a, void *end)
{
	__u32 tpa;

	if ((void *)(a + 1) > end)
		return 0;
	__builtin_memcpy(&tpa, a->tpa, 4);
	return c->shared ? a->op == SPLIT_NTOHS(2) && tpa == 0 : tpa == c->addr;
}

SPLIT_FN int split_ours(const struct claims *c, const void *data, void *end SPLIT_ARG)
{
	const struct ethhdr *eth = data;

	if ((void *)(eth + 1) > end)
		return 0;
	if (eth->h_proto == SPLIT_NTOHS(ETH_P_IP))
		return split_ip_ours(c, (const void *)(eth + 1), end SPLIT_PASS);
	if (eth->h_proto == SPLIT_NTOHS(ETH_P_ARP))
		return split_arp_ours(c, (const void *)(eth + 1), end);
	return 0;
}

#endif
