/* SPDX-License-Identifier: MIT */
/* nic/gso.c - cutting a GSO packet into frames
 * Spec:    RFC 791 (id, total length), RFC 9293 3.1, RFC 3168 6.1.2 (CWR once), RFC 768
 * In/Out:  pkt with gso_size, data at the Ethernet header -> gso_segs packets in one piece each
 * Holds:   G1 the payloads of the segments, put one after the other, are the packet's payload
 *          G2 headers come from the wire as well (devices with GRO): everything is checked in
 *             gso_plan()
 * Threads: owning worker only
 */
#include <errno.h>

#include "stackd/core/csum.h"
#include "stackd/nic/gso.h"

#define ETH_HLEN	14u
#define TCP_FIN		0x01u
#define TCP_PSH		0x08u
#define TCP_CWR		0x80u

static uint32_t get16(const uint8_t *p)
{
	return (uint32_t)p[0] << 8 | p[1];
}

static void put16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static uint32_t get32(const uint8_t *p)
{
	return get16(p) << 16 | get16(p + 2);
}

static void put32(uint8_t *p, uint32_t v)
{
	put16(p, v >> 16);
	put16(p + 2, v);
}

int gso_plan(const struct pkt *p, struct gso_plan *ret)
{
	struct gso_plan g = { .l3 = ETH_HLEN, .udp = p->gso_type == PKT_GSO_UDP,
			      .seg_len = p->gso_size };
	const uint8_t *ip, *l4;

	if ((p->gso_type != PKT_GSO_TCP4 && !g.udp) || p->gso_size == 0 || p->len < g.l3 + 20)
		return -EINVAL;
	ip = p->data + g.l3;
	g.l4 = g.l3 + (ip[0] & 15) * 4u;
	if (get16(ip - 2) != 0x0800 || ip[0] >> 4 != 4 || g.l4 < g.l3 + 20)
		return -EINVAL;
	if (ip[9] != (g.udp ? 17 : 6) || (get16(ip + 6) & 0x3fff))
		return -EINVAL;
	if (p->len < g.l4 + (g.udp ? 8 : 20))
		return -EINVAL;
	l4 = p->data + g.l4;
	g.hdr_len = g.l4 + (g.udp ? 8 : (l4[12] >> 4) * 4u);
	if (g.hdr_len < g.l4 + 8 || (!g.udp && g.hdr_len < g.l4 + 20) || g.hdr_len > p->len)
		return -EINVAL;
	if (get16(ip + 2) != pkt_total(p) - g.l3 || pkt_total(p) == g.hdr_len)
		return -EINVAL;
	g.payload_len = pkt_total(p) - g.hdr_len;
	g.segs = (g.payload_len + g.seg_len - 1) / g.seg_len;
	*ret = g;
	return 0;
}

static void fix_ip(uint8_t *ip, uint32_t total_len, uint32_t i)
{
	uint16_t check;

	put16(ip + 2, total_len);
	put16(ip + 4, get16(ip + 4) + i);
	put16(ip + 10, 0);
	check = csum_of(ip, (ip[0] & 15) * 4u);
	memcpy(ip + 10, &check, 2);
}

static void fix_tcp(uint8_t *tcp, const struct gso_plan *g, uint32_t i)
{
	put32(tcp + 4, get32(tcp + 4) + i * g->seg_len);
	if (i != 0)
		tcp[13] &= (uint8_t)~TCP_CWR;
	if (i != g->segs - 1)
		tcp[13] &= (uint8_t)~(TCP_PSH | TCP_FIN);
}

/* The field gets the pseudo-header sum; finished here or by the device. */
static void fix_csum(struct pkt *s, const uint8_t *ip, uint32_t l4_len, const struct gso_plan *g,
		     bool partial)
{
	uint8_t pseudo[12];
	uint16_t sum;

	memcpy(pseudo, ip + 12, 8);
	pseudo[8] = 0;
	pseudo[9] = ip[9];
	put16(pseudo + 10, l4_len);
	sum = csum_fold(csum_add(0, pseudo, sizeof(pseudo)));
	s->csum_start = s->l4_off;
	s->csum_off = g->udp ? 6 : 16;
	memcpy(s->buf + s->csum_start + s->csum_off, &sum, 2);
	s->csum_state = PKT_CSUM_PARTIAL;
	if (!partial)
		csum_finish(s);
}

struct pkt *gso_segment(struct stack *st, const struct pkt *p, const struct gso_plan *g, uint32_t i,
			bool partial)
{
	uint32_t off = i * g->seg_len, n = g->payload_len - off;
	struct pkt *s;
	uint8_t *ip;

	if (n > g->seg_len)
		n = g->seg_len;
	s = pkt_alloc(st->pool, g->hdr_len + n > PKT_SMALL - PKT_HEADROOM);
	if (!s)
		return NULL;
	memcpy(s->data, p->data, g->hdr_len);
	pkt_copy_out(p, g->hdr_len + off, s->data + g->hdr_len, n);
	s->len = g->hdr_len + n;
	s->l2_off = (uint16_t)(s->data - s->buf);
	s->l3_off = (uint16_t)(s->l2_off + g->l3);
	s->l4_off = (uint16_t)(s->l2_off + g->l4);
	s->queue = p->queue;
	s->rx_us = p->rx_us;
	ip = s->data + g->l3;
	fix_ip(ip, s->len - g->l3, i);
	if (g->udp)
		put16(s->data + g->l4 + 4, s->len - g->l4);
	else
		fix_tcp(s->data + g->l4, g, i);
	fix_csum(s, ip, s->len - g->l4, g, partial);
	return s;
}
