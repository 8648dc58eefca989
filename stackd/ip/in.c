/* SPDX-License-Identifier: MIT */
/* ip/in.c - IPv4 input: one function per check, then reassembly or the transport
 * Spec:    RFC 791 3.1; RFC 1122 3.2.1; RFC 1812 5.3.7 (addresses that cannot be); RFC 7126
 *          (options)
 * In/Out:  packet at its IP header, l3_off set -> packet at its transport header, l4_off set
 * Holds:   IN1 after hdr_check() header and total length lie inside the packet and are not read
 *          again from elsewhere; IN2 a looped packet skips only the checks of addresses and
 *          checksum
 * Threads: owning worker only
 */
#include "stackd/ip/ip_int.h"

/* Lengths and checksum. Return: DROP_NONE and everything is inside the packet. */
static enum drop_reason hdr_check(const struct pkt *p, bool local)
{
	const struct ip4_hdr *h = ip4_hdr(p);
	unsigned ihl, total;

	if (p->len < sizeof(*h))
		return DROP_IP_SHORT;
	ihl = ip4_ihl(h);
	if (h->ver_ihl >> 4 != 4 || ihl < sizeof(*h))
		return DROP_IP_VERSION;
	if (ihl > p->len)
		return DROP_IP_SHORT;
	if (!local && csum_of(h, ihl) != 0)
		return DROP_IP_CSUM;
	total = be16_to_cpu(h->len);
	if (total < ihl || total > pkt_total(p))
		return DROP_IP_LEN;
	return DROP_NONE;
}

/* Bytes behind the IP packet: Ethernet padding. */
static void cut_padding(struct pkt *p, uint32_t total)
{
	if (pkt_total(p) == total)
		return;
	if (p->csum_state == PKT_CSUM_COMPLETE)
		p->csum_state = PKT_CSUM_NONE;
	while (p->frag_cnt && pkt_total(p) > total) {
		struct iovec *last = &p->frag[p->frag_cnt - 1];
		uint32_t cut = pkt_total(p) - total;

		if (cut < last->iov_len) {
			last->iov_len -= cut;
			p->frag_len -= cut;
			return;
		}
		p->frag_len -= (uint32_t)last->iov_len;
		p->frag_cnt--;
	}
	if (p->len > total)
		p->len = total;
}

/* Options are looked at only to know that they are sound; source routes are refused, as Linux does
 * unless told otherwise. */
static bool options_ok(const uint8_t *o, unsigned len)
{
	enum { EOL = 0, NOP = 1, LSRR = 131, SSRR = 137 };

	for (unsigned i = 0; i < len;) {
		if (o[i] == EOL)
			return true;
		if (o[i] == NOP) {
			i++;
			continue;
		}
		if (o[i] == LSRR || o[i] == SSRR)
			return false;
		if (len - i < 2 || o[i + 1] < 2 || o[i + 1] > len - i)
			return false;
		i += o[i + 1];
	}
	return true;
}

static enum drop_reason src_check(const struct ip_state *ip, be32 src)
{
	if (v4_is_mcast(src) || v4_is_lbcast(src) || v4_is_loopback(src) || v4_is_zeronet(src))
		return DROP_IP_MARTIAN;
	if (ip_addr_find(ip, src) || ip_is_directed_bcast(ip, src))
		return DROP_IP_MARTIAN;
	return DROP_NONE;
}

static enum drop_reason dst_check(const struct ip_state *ip, be32 dst, bool *ret_group)
{
	const uint32_t all_hosts = 0xe0000001u;

	*ret_group = false;
	if (ip_addr_find(ip, dst))
		return DROP_NONE;
	if (v4_is_lbcast(dst) || ip_is_directed_bcast(ip, dst) || be32_to_cpu(dst) == all_hosts) {
		*ret_group = true;
		return DROP_NONE;
	}
	if (v4_is_loopback(dst) || v4_is_zeronet(dst))
		return DROP_IP_MARTIAN;
	return DROP_IP_NOT_US;
}

void ip4_rewind(struct pkt *p)
{
	p->len += (uint32_t)(p->data - pkt_l3(p));
	p->data = pkt_l3(p);
}

void ip4_handoff(struct stack *st, struct pkt *p, uint16_t to, uint32_t flags)
{
	struct stack_msg msg = { .kind = SMSG_PKT, .u32 = { flags }, .ptr = p };

	p->next = NULL;
	if (!stack_send(st, to, &msg))
		stack_drop(st, p, DROP_HANDOFF_FULL);
}

void ip_handoff(struct stack *st, struct pkt *p, const struct ip_rx_info *info, uint16_t to)
{
	ip4_rewind(p);
	/* a source of our own passes only as a looped packet, here as there */
	ip4_handoff(st, p, to, IP_MSG_AGAIN | (ip_is_local(st, &info->src) ? IP_MSG_LOCAL : 0));
}

static void deliver(struct stack *st, struct pkt *p, bool group)
{
	struct ip4_hdr *h = ip4_hdr(p);
	const struct ip_proto *proto = &st->ip->proto[h->proto];
	struct ip_rx_info info = {
		.src = sd_addr_v4(h->src), .dst = sd_addr_v4(h->dst), .proto = h->proto,
		.tos = h->tos, .ttl = h->ttl, .local_bcast = group || p->bcast,
	};
	unsigned ihl = ip4_ihl(h);

	pkt_pull(p, ihl);
	p->l4_off = (uint16_t)(p->l3_off + ihl);
	if (!proto->rx) {
		snmp_inc(st, SNMP_Ip_InUnknownProtos);
		icmp_unreach(st, p, ICMP_UNREACH_PROTO, 0);
		stack_drop(st, p, DROP_IP_PROTO);
		return;
	}
	snmp_inc(st, SNMP_Ip_InDelivers);
	proto->rx(st, p, &info);
}

/* The datagram is whole: its flow, unknown before, may belong to another worker. */
static void deliver_reassembled(struct stack *st, struct pkt *p, bool group)
{
	uint16_t to = link_owner(st, p);

	if (to == st->worker)
		deliver(st, p, group);
	else
		ip4_handoff(st, p, to, IP_MSG_AGAIN);
}

/* Everything that can be wrong with it, in order; bumps Linux's counter for it. */
static enum drop_reason rx_check(struct stack *st, struct pkt *p, uint32_t flags, bool *ret_group)
{
	bool local = flags & IP_MSG_LOCAL;
	const struct ip4_hdr *h = ip4_hdr(p);
	enum drop_reason why = hdr_check(p, local);

	*ret_group = false;
	if (!why && !options_ok((const uint8_t *)(h + 1), ip4_ihl(h) - sizeof(*h)))
		why = DROP_IP_OPTIONS;
	if (why) {
		snmp_inc(st, SNMP_Ip_InHdrErrors);
		return why;
	}
	if (local)
		return DROP_NONE;
	why = src_check(st->ip, h->src);
	if (!why)
		why = dst_check(st->ip, h->dst, ret_group);
	if (why)
		snmp_inc(st, SNMP_Ip_InAddrErrors);
	return why;
}

void ip4_rx_flags(struct stack *st, struct pkt *p, uint32_t flags)
{
	enum drop_reason why;
	struct ip4_hdr *h;
	bool group;

	if (!(flags & IP_MSG_AGAIN))
		snmp_inc(st, SNMP_Ip_InReceives);
	why = rx_check(st, p, flags, &group);
	if (why) {
		stack_drop(st, p, why);
		return;
	}
	h = ip4_hdr(p);
	cut_padding(p, be16_to_cpu(h->len));
	if (!(be16_to_cpu(h->frag) & (IP4_MF | IP4_OFF_MASK))) {
		deliver(st, p, group);
		return;
	}
	p = reasm_rx(st, p);
	if (p)
		deliver_reassembled(st, p, group);
}

void ip4_rx(struct stack *st, struct pkt *p)
{
	ip4_rx_flags(st, p, 0);
}
