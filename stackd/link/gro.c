/* SPDX-License-Identifier: MIT */
/* link/gro.c - merging TCP segments that follow each other within one receive burst
 *
 * Merged is only what gso_segment() would cut into the same frames again: same headers but for
 * sequence number, IP id (counting up), checksums, and PSH or FIN on the last. Timestamps are
 * options and must be equal. Checksums are verified before, so the merged packet needs none.
 * Spec:    RFC 9293 3.1; RFC 791; RFC 3168 (a CWR segment stays alone)
 * In/Out:  IPv4 packets -> link_deliver(), fewer and larger
 * Holds:   R1 packets of one flow are delivered in the order of their arrival
 *          R2 nothing is held after gro_flush()
 *          R3 split(merge(x)) == x byte for byte (tests/unit/link/test_gro.c)
 * Threads: owning worker only
 */
#include "stackd/core/csum.h"
#include "stackd/link/link_int.h"

#define TCP_FIN		0x01u
#define TCP_SYN		0x02u
#define TCP_RST		0x04u
#define TCP_PSH		0x08u
#define TCP_URG		0x20u
#define TCP_CWR		0x80u

enum gro_kind {
	GRO_NOT_TCP,			/* not ours to look at */
	GRO_ALONE,			/* TCP, to be delivered by itself */
	GRO_DATA,			/* may start or continue a merged packet */
};

struct gro_seg {			/* what gro_parse() found */
	uint32_t seq, payload_len;
	uint16_t id, hdr_len;
	uint8_t flags;
};

static uint32_t get32(const uint8_t *p)
{
	return get16(p) << 16 | get16(p + 2);
}

static uint16_t pseudo_sum(const uint8_t *ip, uint32_t tcp_len)
{
	uint8_t b[12];

	memcpy(b, ip + 12, 8);
	b[8] = 0;
	b[9] = 6;
	put16(b + 10, tcp_len);
	return csum_fold(csum_add(0, b, sizeof(b)));
}

static bool sums_ok(struct pkt *p, uint32_t total_len)
{
	if (csum_of(p->data, 20) != 0)
		return false;
	if (p->csum_state == PKT_CSUM_UNNECESSARY)
		return true;
	return csum_done(csum_add(pseudo_sum(p->data, total_len - 20), p->data + 20,
				  total_len - 20)) == 0;
}

/* A packet with a wrong length or sum is somebody else's to judge: it goes on unmerged. */
static enum gro_kind gro_parse(struct pkt *p, struct gro_seg *s)
{
	const uint8_t *ip = p->data, *tcp = ip + 20;
	uint32_t total, hlen;

	if (p->len < 40 || p->frag_cnt || ip[0] != 0x45 || ip[9] != 6 || (get16(ip + 6) & 0x3fff))
		return GRO_NOT_TCP;
	total = get16(ip + 2);
	hlen = 20 + (tcp[12] >> 4) * 4u;
	s->flags = tcp[13];
	if (total > p->len || hlen < 40 || hlen >= total || p->gso_size)
		return GRO_ALONE;
	if (s->flags & (TCP_SYN | TCP_RST | TCP_URG | TCP_CWR) || !sums_ok(p, total))
		return GRO_ALONE;
	s->seq = get32(tcp + 4);
	s->id = (uint16_t)get16(ip + 4);
	s->hdr_len = (uint16_t)hlen;
	s->payload_len = total - hlen;
	p->len = total;				/* padding of short frames */
	p->csum_state = PKT_CSUM_UNNECESSARY;	/* not to be verified twice */
	return GRO_DATA;
}

static bool same_tuple(const struct pkt *a, const struct pkt *b)
{
	return memcmp(a->data + 12, b->data + 12, 12) == 0;	/* addresses and ports */
}

/* Would both be cut from one packet? Ids, sequence, sums and the flags of the last are left out. */
static bool same_headers(const struct gro_flow *f, const struct pkt *p, const struct gro_seg *s)
{
	const uint8_t *a = f->p->data, *b = p->data;

	return s->hdr_len == f->hdr_len && s->id == f->next_id && s->seq == f->next_seq &&
	       get16(a) == get16(b) &&				/* version, length, TOS */
	       memcmp(a + 6, b + 6, 4) == 0 &&			/* DF, TTL, protocol */
	       memcmp(a + 28, b + 28, 5) == 0 &&		/* acknowledgment, data offset */
	       a[33] == (b[33] & ~(TCP_PSH | TCP_FIN)) &&
	       memcmp(a + 34, b + 34, 2) == 0 &&		/* window */
	       memcmp(a + 38, b + 38, s->hdr_len - 38u) == 0;	/* urgent pointer, options */
}

static bool fits(const struct gro_flow *f, const struct pkt *p, const struct gro_seg *s)
{
	return s->payload_len <= f->p->gso_size && f->p->frag_cnt < GRO_FRAGS &&
	       pkt_total(f->p) + s->payload_len <= PKT_MAX_LEN &&
	       same_headers(f, p, s);
}

static void append(struct gro_flow *f, struct pkt *p, const struct gro_seg *s)
{
	struct pkt *first = f->p;

	first->frag[first->frag_cnt++] = (struct iovec){ p->data + s->hdr_len, s->payload_len };
	first->frag_len += s->payload_len;
	first->gso_segs++;
	first->data[33] |= s->flags & (TCP_PSH | TCP_FIN);
	p->next = first->merged;
	first->merged = p;
	f->next_seq += s->payload_len;
	f->next_id++;
}

/* Nothing may follow a segment that is short or ends something. */
static bool is_last(const struct gro_flow *f, const struct gro_seg *s)
{
	return s->payload_len < f->p->gso_size || s->flags & (TCP_PSH | TCP_FIN);
}

static void finish(struct pkt *p)
{
	uint8_t *ip = p->data;
	uint16_t sum;

	put16(ip + 2, pkt_total(p));
	put16(ip + 10, 0);
	sum = csum_of(ip, 20);
	memcpy(ip + 10, &sum, 2);
	sum = pseudo_sum(ip, pkt_total(p) - 20);
	memcpy(ip + 20 + 16, &sum, 2);
	p->gso_type = PKT_GSO_TCP4;
	p->csum_state = PKT_CSUM_UNNECESSARY;
	p->csum_start = (uint16_t)(ip + 20 - p->buf);
	p->csum_off = 16;
}

static void let_go(struct stack *st, struct gro *g, unsigned i)
{
	struct pkt *p = g->flow[i].p;

	g->cnt--;
	memmove(&g->flow[i], &g->flow[i + 1], (g->cnt - i) * sizeof(g->flow[0]));
	if (p->frag_cnt)
		finish(p);
	else
		p->gso_size = 0;
	link_deliver(st, p);
}

static void hold(struct stack *st, struct gro *g, struct pkt *p, const struct gro_seg *s)
{
	if (s->flags & (TCP_PSH | TCP_FIN)) {
		link_deliver(st, p);
		return;
	}
	if (g->cnt == GRO_FLOWS)
		let_go(st, g, 0);
	p->gso_size = (uint16_t)s->payload_len;
	p->gso_segs = 1;
	g->flow[g->cnt++] = (struct gro_flow){ .p = p, .next_seq = s->seq + s->payload_len,
					       .next_id = s->id + 1, .hdr_len = s->hdr_len };
}

void gro_rx(struct stack *st, struct gro *g, struct pkt *p)
{
	struct gro_seg s = { 0 };
	enum gro_kind kind = gro_parse(p, &s);
	unsigned i;

	if (kind == GRO_NOT_TCP) {
		link_deliver(st, p);
		return;
	}
	for (i = 0; i < g->cnt && !same_tuple(g->flow[i].p, p); i++)
		;
	if (i < g->cnt && kind == GRO_DATA && fits(&g->flow[i], p, &s)) {
		append(&g->flow[i], p, &s);
		if (is_last(&g->flow[i], &s))
			let_go(st, g, i);
		return;
	}
	if (i < g->cnt)
		let_go(st, g, i);
	if (kind == GRO_DATA)
		hold(st, g, p, &s);
	else
		link_deliver(st, p);
}

void gro_flush(struct stack *st, struct gro *g)
{
	while (g->cnt)
		let_go(st, g, 0);
}
