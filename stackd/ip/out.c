/* SPDX-License-Identifier: MIT */
/* ip/out.c - IPv4 output: header, identification, fragmentation
 * Spec:    RFC 791 3.1, 3.2; RFC 6864 (identification matters only where fragments are possible);
 *          RFC 7739 5 (hard to guess)
 * In/Out:  packet at its transport header -> link_tx_ip() or, for ourselves, ip_loop()
 * Holds:   O1 a fragment's transport checksum was finished in software before it was cut
 *          O2 identifications of one destination differ between workers (count * workers + worker)
 * Threads: owning worker only
 */
#include "stackd/core/siphash.h"
#include "stackd/ip/ip_int.h"

#define TTL_DEFAULT 64

/* A packet that may not be fragmented needs none. */
static uint16_t ident_next(struct stack *st, const struct ip_tx_info *info)
{
	uint64_t key[2] = { info->src.w[3] | (uint64_t)info->dst.w[3] << 32, info->proto };
	uint64_t h;

	if (info->df)
		return 0;
	h = siphash13(st->boot_secret, key, sizeof(key));
	return (uint16_t)(st->ip->ident[h & (IP_IDENTS - 1)]++ * st->workers + st->worker);
}

static void hdr_fill(struct stack *st, struct ip4_hdr *h, const struct ip_tx_info *info,
		     uint32_t total)
{
	*h = (struct ip4_hdr){
		.ver_ihl = 0x45,
		.tos = info->tos,
		.len = cpu_to_be16((uint16_t)total),
		.id = cpu_to_be16(ident_next(st, info)),
		.frag = cpu_to_be16(info->df ? IP4_DF : 0),
		.ttl = info->ttl ? info->ttl : TTL_DEFAULT,
		.proto = info->proto,
		.src = sd_addr_to_v4(&info->src),
		.dst = sd_addr_to_v4(&info->dst),
	};
	ip4_hdr_sum(h);
}

/* Copy payload bytes [off, off + len) of @p behind a header of their own. NULL: no buffer. */
static struct pkt *fragment(struct stack *st, const struct pkt *p, uint32_t off, uint32_t len,
			    bool more)
{
	uint32_t total = len + (uint32_t)sizeof(struct ip4_hdr);
	struct pkt *f = pkt_alloc(st->pool, total > PKT_SMALL - PKT_HEADROOM);
	struct ip4_hdr *h;

	if (!f)
		return NULL;
	f->len = total;
	f->l3_off = (uint16_t)(f->data - f->buf);
	f->bcast = p->bcast;
	h = ip4_hdr(f);
	*h = *ip4_hdr(p);
	h->len = cpu_to_be16((uint16_t)total);
	h->frag = cpu_to_be16((uint16_t)(off / 8 | (more ? IP4_MF : 0)));
	ip4_hdr_sum(h);
	pkt_copy_out(p, (uint32_t)sizeof(*h) + off, f->data + sizeof(*h), len);
	return f;
}

static void tx_fragments(struct stack *st, struct pkt *p, const struct ip_tx_info *info)
{
	uint32_t len = pkt_total(p) - (uint32_t)sizeof(struct ip4_hdr);
	uint32_t step = (st->ip->mtu - (uint32_t)sizeof(struct ip4_hdr)) & ~7u;

	csum_finish(p);
	for (uint32_t off = 0; off < len; off += step) {
		uint32_t n = len - off < step ? len - off : step;
		struct pkt *f = fragment(st, p, off, n, off + n < len);

		if (!f) {
			snmp_inc(st, SNMP_Ip_FragFails);
			stack_drop(st, p, DROP_NO_BUF);
			return;
		}
		snmp_inc(st, SNMP_Ip_FragCreates);
		link_tx_ip(st, &info->next_hop, f);
	}
	snmp_inc(st, SNMP_Ip_FragOKs);
	stack_pkt_free(st, p);
}

void ip_tx(struct stack *st, struct pkt *p, const struct ip_tx_info *info)
{
	uint32_t total = pkt_total(p) + (uint32_t)sizeof(struct ip4_hdr);

	snmp_inc(st, SNMP_Ip_OutRequests);
	if (total > PKT_MAX_LEN) {
		stack_drop(st, p, DROP_IP_TOO_BIG);
		return;
	}
	p->l4_off = (uint16_t)(p->data - p->buf);
	ASSERT(pkt_push(p, sizeof(struct ip4_hdr)));
	p->l3_off = (uint16_t)(p->data - p->buf);
	hdr_fill(st, ip4_hdr(p), info, total);
	if (info->local) {
		ip_loop(st, p);
		return;
	}
	p->bcast = ip_is_directed_bcast(st->ip, sd_addr_to_v4(&info->dst));
	if (total <= st->ip->mtu || p->gso_type != PKT_GSO_NONE) {
		link_tx_ip(st, &info->next_hop, p);
		return;
	}
	if (info->df) {
		snmp_inc(st, SNMP_Ip_FragFails);
		stack_drop(st, p, DROP_IP_TOO_BIG);
		return;
	}
	tx_fragments(st, p, info);
}
