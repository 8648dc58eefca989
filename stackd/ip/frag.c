/* SPDX-License-Identifier: MIT */
/* ip/frag.c - reassembly of IPv4 datagrams
 * Spec:    RFC 791 3.2; RFC 815; RFC 5722 (overlap, applied to IPv4 as Linux does); RFC 3168 5.3
 *          (ECN); RFC 1122 3.3.2 (timeout, here Linux's 30 s)
 * Memory is fixed: 64 places of 64 KiB, touched only when used. A fragment is copied to its offset
 * and given back at once, so however small and many the pieces are, they cannot eat the packet
 * pool. A bit per 8-byte unit says what is there. With all places taken the oldest datagram makes
 * room.
 * A datagram with a partial overlap, contradicting lengths or contradicting ECN is dead: its place
 * swallows the rest of its fragments until the timeout. A piece that adds nothing is just dropped.
 * Holds:   FR1 got == bytes of set units (the last one counted to the datagram's end) <= end <=
 *          65535 - 20
 *          FR2 the timer is armed exactly while used
 * Threads: owning worker only; fragments carry no ports and are steered by addresses, so all of a
 *          datagram come to one worker, which hands the whole to the flow's owner (in.c)
 */
#include <errno.h>

#include "stackd/ip/ip_int.h"

#define ECN_CE		3u
#define ECN_NOT_BIT	(1u << 0)
#define ECN_CE_BIT	(1u << ECN_CE)

static void q_free(struct stack *st, struct reasm *q)
{
	uint32_t idx = (uint32_t)(q - st->ip->reasm);

	wheel_cancel(st->wheel, OBJ(OBJ_REASM, idx), &q->timer);
	q->used = false;
	st->ip->reasm_cnt--;
}

/* The first piece's header; hdr_len must be known. */
static struct ip4_hdr *q_hdr(struct ip_state *ip, const struct reasm *q)
{
	return (struct ip4_hdr *)(ip->reasm_buf[q - ip->reasm].b + REASM_HDR - q->hdr_len);
}

/* It will never be whole. Tell the sender if it is the time that ran out and its first piece
 * came. */
static void q_give_up(struct stack *st, struct reasm *q, bool timeout)
{
	if (!q->dead) {
		snmp_inc(st, SNMP_Ip_ReasmFails);
		st->cnt->drop[DROP_IP_REASM]++;
	}
	if (timeout)
		snmp_inc(st, SNMP_Ip_ReasmTimeout);
	if (timeout && !q->dead && q->hdr_len) {
		icmp_error(st, q_hdr(st->ip, q), q->hdr_len + 8u, q->bcast, ICMP_TIME_EXCEEDED,
			   ICMP_EXC_REASM, 0);
	}
	q_free(st, q);
}

static struct wheel_node *timer_node(void *arg, uint32_t id)
{
	struct stack *st = arg;

	return &st->ip->reasm[OBJ_IDX(id)].timer;
}

static void timer_fire(void *arg, uint32_t id)
{
	struct stack *st = arg;

	q_give_up(st, &st->ip->reasm[OBJ_IDX(id)], true);
}

int reasm_init(struct stack *st)
{
	if (!st->wheel)
		return -EINVAL;
	wheel_set_ops(st->wheel, OBJ_REASM, &(struct wheel_ops){ timer_node, timer_fire, st });
	return 0;
}

void reasm_fini(struct stack *st)
{
	for (unsigned i = 0; i < REASM_MAX; i++)
		if (st->ip->reasm[i].used)
			q_free(st, &st->ip->reasm[i]);
}

static struct reasm *q_find(struct ip_state *ip, const struct ip4_hdr *h)
{
	if (!ip->reasm_cnt)
		return NULL;
	for (unsigned i = 0; i < REASM_MAX; i++) {
		struct reasm *q = &ip->reasm[i];

		if (q->used && q->src.v == h->src.v && q->dst.v == h->dst.v && q->id.v == h->id.v &&
		    q->proto == h->proto)
			return q;
	}
	return NULL;
}

static struct reasm *q_new(struct stack *st, const struct ip4_hdr *h)
{
	struct ip_state *ip = st->ip;
	struct reasm *q = ip->reasm;

	for (unsigned i = 0; i < REASM_MAX; i++) {
		struct reasm *c = &ip->reasm[i];

		if (!c->used) {
			q = c;
			break;
		}
		if (c->born_us < q->born_us)
			q = c;
	}
	if (q->used)
		q_give_up(st, q, false);
	*q = (struct reasm){ .src = h->src, .dst = h->dst, .id = h->id, .proto = h->proto,
			     .used = true, .born_us = st->now_us };
	ip->reasm_cnt++;
	wheel_arm(st->wheel, OBJ(OBJ_REASM, q - ip->reasm), &q->timer,
		  st->now_us + REASM_TIMEOUT_US);
	return q;
}

static void q_kill(struct stack *st, struct reasm *q)
{
	q->dead = true;
	snmp_inc(st, SNMP_Ip_ReasmFails);
	st->cnt->drop[DROP_IP_REASM]++;
}

/* Units of [off, off + len) that are there already, of all in it. */
static unsigned units_set(const struct reasm *q, uint32_t off, uint32_t len, unsigned *ret_all)
{
	unsigned first = off / 8, end = (off + len + 7) / 8, set = 0;

	for (unsigned u = first; u < end; u++)
		set += q->map[u / 64] >> u % 64 & 1;
	*ret_all = end - first;
	return set;
}

static void units_mark(struct reasm *q, uint32_t off, uint32_t len)
{
	for (unsigned u = off / 8; u < (off + len + 7) / 8; u++)
		q->map[u / 64] |= 1ull << u % 64;
}

/* One piece, as read from its header. */
struct piece {
	uint32_t off, len;
	bool more;
};

/* Do its lengths fit with what is known of the datagram? Sets total by the last piece. */
static bool piece_fits(struct reasm *q, const struct piece *f)
{
	uint32_t end = f->off + f->len;

	if (!f->more) {
		if (q->end > end || (q->total && q->total != end))
			return false;
		q->total = end;
	} else if (q->total && end > q->total) {
		return false;
	}
	if (end > q->end)
		q->end = end;
	return true;
}

static void piece_store(struct ip_state *ip, struct reasm *q, const struct pkt *p,
			const struct piece *f)
{
	const struct ip4_hdr *h = ip4_hdr(p);
	uint8_t *b = ip->reasm_buf[q - ip->reasm].b;
	unsigned ihl = ip4_ihl(h);

	pkt_copy_out(p, ihl, b + REASM_HDR + f->off, f->len);
	units_mark(q, f->off, f->len);
	q->got += f->len;
	q->ecn_seen |= (uint8_t)(1u << (h->tos & 3));
	q->bcast |= p->bcast;
	if (f->off == 0) {
		memcpy(b + REASM_HDR - ihl, h, ihl);
		q->hdr_len = (uint8_t)ihl;
	}
}

/* Return: false when its pieces disagree about ECN; *tos becomes CE when any piece was marked. */
static bool ecn_join(uint8_t seen, uint8_t *tos)
{
	if (seen & ECN_NOT_BIT && seen != ECN_NOT_BIT)
		return false;
	if (seen & ECN_CE_BIT)
		*tos |= ECN_CE;
	return true;
}

/* All pieces are there: one packet out of them; the place is free again. */
static struct pkt *q_finish(struct stack *st, struct reasm *q, const struct pkt *last)
{
	uint32_t len = q->hdr_len + q->total;
	struct ip4_hdr *h = q_hdr(st->ip, q);
	struct pkt *p;

	if (len > PKT_MAX_LEN || !ecn_join(q->ecn_seen, &h->tos)) {
		q_kill(st, q);
		return NULL;
	}
	p = pkt_alloc(st->pool, len > PKT_SMALL - PKT_HEADROOM);
	if (!p) {
		st->cnt->drop[DROP_NO_BUF]++;
		snmp_inc(st, SNMP_Ip_ReasmFails);
		q_free(st, q);
		return NULL;
	}
	h->len = cpu_to_be16((uint16_t)len);
	h->frag = cpu_to_be16(0);
	ip4_hdr_sum(h);
	memcpy(p->data, h, len);
	p->len = len;
	p->l3_off = (uint16_t)(p->data - p->buf);
	p->bcast = q->bcast;
	p->rx_us = last->rx_us;
	p->queue = last->queue;
	snmp_inc(st, SNMP_Ip_ReasmOKs);
	q_free(st, q);
	return p;
}

static bool piece_parse(const struct ip4_hdr *h, struct piece *f)
{
	uint32_t frag = be16_to_cpu(h->frag);

	f->off = (frag & IP4_OFF_MASK) * 8;
	f->more = frag & IP4_MF;
	f->len = be16_to_cpu(h->len) - ip4_ihl(h);
	return f->len && (!f->more || f->len % 8 == 0) &&
	       f->off + f->len <= PKT_MAX_LEN - sizeof(*h);
}

struct pkt *reasm_rx(struct stack *st, struct pkt *p)
{
	const struct ip4_hdr *h = ip4_hdr(p);
	struct pkt *whole = NULL;
	unsigned set, all;
	struct reasm *q;
	struct piece f;

	snmp_inc(st, SNMP_Ip_ReasmReqds);
	if (!piece_parse(h, &f)) {
		snmp_inc(st, SNMP_Ip_ReasmFails);
		stack_drop(st, p, DROP_IP_FRAG);
		return NULL;
	}
	q = q_find(st->ip, h);
	if (!q)
		q = q_new(st, h);
	if (q->dead)
		goto drop;
	set = units_set(q, f.off, f.len, &all);
	if (!piece_fits(q, &f) || (set && set < all)) {
		q_kill(st, q);
		goto drop;
	}
	if (set)
		goto drop;
	piece_store(st->ip, q, p, &f);
	if (q->total && q->got == q->total)
		whole = q_finish(st, q, p);
	stack_pkt_free(st, p);
	return whole;
drop:
	stack_drop(st, p, DROP_IP_FRAG);
	return NULL;
}
