/* SPDX-License-Identifier: MIT */
/* nic/xdp/redirect.bpf.c - which packets of an interface go to stackd: everything else is the
 * kernel's (XDP_PASS)
 *
 * An address of stackd's own: IPv4 to it, and ARP about it. An address that the kernel has as well
 * (shared): TCP and UDP to claimed ports and of claimed connections, ICMP errors about them, the
 * fragments that follow a claimed first one, and answers to our ARP probes, which ask for no
 * sender's sake (RFC 5227 2.1.1: the answer's target address is 0), so that the kernel's own
 * questions stay its own.
 * Spec:    RFC 791, 792, 826
 * Holds:   every access is behind a check against data_end: the verifier sees to it
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "stackd/nic/xdp/claims_abi.h"

#define QUEUES_MAX 32

struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, QUEUES_MAX);
	__type(key, __u32);
	__type(value, __u32);
} xsks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct claims);
} claims_map SEC(".maps");

struct frag_key {
	__u32 src;
	__u16 id, proto;
};

/* First fragments that were ours. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, struct frag_key);
	__type(value, __u8);
} frags SEC(".maps");

struct arp {
	__u16 htype, ptype;
	__u8 hlen, plen;
	__u16 op;
	__u8 sha[6], spa[4], tha[6], tpa[4];
} __attribute__((packed));

struct ports {
	__be16 src, dst;
};

static __always_inline int in_bucket(const struct claims *c, __u32 b, __u64 addrs, __u64 key)
{
	for (__u32 i = 0; i < CLAIMS_WAYS; i++) {
		const struct claims_flow *f = &c->flow[b][i];

		if ((f->rest & CLAIMS_KEY) == key && f->addrs == addrs)
			return 1;
	}
	return 0;
}

/* Ports as on the wire. */
static __always_inline int claimed(const struct claims *c, __u8 proto, __u32 remote, __u16 rport,
				   __u32 local, __u16 lport)
{
	__u32 port = bpf_ntohs(lport);
	__u64 addrs = (__u64)remote << 32 | local, key, h;

	if (proto != IPPROTO_TCP && proto != IPPROTO_UDP)
		return 0;
	if (c->port[proto == IPPROTO_UDP][port >> 6] >> (port & 63) & 1)
		return 1;
	key = CLAIMS_PORTS(rport, lport) | CLAIMS_PROTO(proto) | CLAIMS_VALID;
	h = claims_hash(c->seed, addrs, key);
	return in_bucket(c, CLAIMS_FIRST(h), addrs, key) ||
	       in_bucket(c, CLAIMS_SECOND(h), addrs, key);
}

/* An ICMP error about a packet of ours: the packet stands in it. */
static __always_inline int icmp_claimed(const struct claims *c, const __u8 *icmp, void *end)
{
	const struct iphdr *ip = (const void *)(icmp + 8);
	const struct ports *p;

	if ((void *)(ip + 1) > end)
		return 0;
	if (icmp[0] != 3 && icmp[0] != 4 && icmp[0] != 11 && icmp[0] != 12)
		return 0;
	if (ip->version != 4 || ip->ihl < 5 || ip->saddr != c->addr)
		return 0;
	p = (const void *)((const __u8 *)ip + ip->ihl * 4);
	if ((void *)(p + 1) > end)
		return 0;
	return claimed(c, ip->protocol, ip->daddr, p->dst, ip->saddr, p->src);
}

static __always_inline int shared_ip(const struct claims *c, const struct iphdr *ip, void *end)
{
	struct frag_key fk = { .src = ip->saddr, .id = ip->id, .proto = ip->protocol };
	__u16 frag = bpf_ntohs(ip->frag_off);
	const struct ports *p;
	__u8 one = 1;

	if (ip->ihl < 5)
		return 0;
	if (frag & 0x1fff)
		return bpf_map_lookup_elem(&frags, &fk) != 0;
	p = (const void *)((const __u8 *)ip + ip->ihl * 4);
	if ((void *)(p + 1) > end)
		return 0;
	if (ip->protocol == IPPROTO_ICMP)
		return icmp_claimed(c, (const __u8 *)p, end);
	if (!claimed(c, ip->protocol, ip->saddr, p->src, ip->daddr, p->dst))
		return 0;
	if (frag & 0x2000)
		bpf_map_update_elem(&frags, &fk, &one, BPF_ANY);
	return 1;
}

static __always_inline int ip_ours(const struct claims *c, const struct iphdr *ip, void *end)
{
	if ((void *)(ip + 1) > end || ip->daddr != c->addr)
		return 0;
	return c->shared ? shared_ip(c, ip, end) : 1;
}

static __always_inline int arp_ours(const struct claims *c, const struct arp *a, void *end)
{
	__u32 tpa;

	if ((void *)(a + 1) > end)
		return 0;
	__builtin_memcpy(&tpa, a->tpa, 4);
	return c->shared ? a->op == bpf_htons(2) && tpa == 0 : tpa == c->addr;
}

SEC("xdp")
int stackd_xdp(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	const struct ethhdr *eth = data;
	const struct claims *c;
	__u32 zero = 0;
	int ours = 0;

	c = bpf_map_lookup_elem(&claims_map, &zero);
	if (!c || !c->addr || (void *)(eth + 1) > end)
		return XDP_PASS;
	if (eth->h_proto == bpf_htons(ETH_P_IP))
		ours = ip_ours(c, (const void *)(eth + 1), end);
	else if (eth->h_proto == bpf_htons(ETH_P_ARP))
		ours = arp_ours(c, (const void *)(eth + 1), end);
	/* A queue without a socket: the kernel must not answer for us. */
	return ours ? bpf_redirect_map(&xsks, ctx->rx_queue_index, XDP_DROP) : XDP_PASS;
}

char licence[] SEC("license") = "Dual MIT/GPL";
