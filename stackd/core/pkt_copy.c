/* SPDX-License-Identifier: MIT */
/* core/pkt_copy.c - reading a packet whose bytes lie in several pieces
 * In/Out:  pkt (linear part, then fragments) -> bytes
 * Holds:   a range outside the packet is the caller's bug (ASSERT), never a read beyond the pieces
 * Threads: owning worker only
 */
#include <string.h>

#include "stackd/core/assert.h"
#include "stackd/core/pkt.h"

static uint32_t min_u32(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

void pkt_copy_out(const struct pkt *p, uint32_t off, void *dst, uint32_t len)
{
	uint8_t *to = dst;
	uint32_t n;

	ASSERT(off <= pkt_total(p) && len <= pkt_total(p) - off);
	if (off < p->len) {
		n = min_u32(len, p->len - off);
		memcpy(to, p->data + off, n);
		to += n;
		len -= n;
		off = 0;
	} else {
		off -= p->len;
	}
	for (unsigned i = 0; len; i++) {
		ASSERT(i < p->frag_cnt);
		if (off >= p->frag[i].iov_len) {
			off -= p->frag[i].iov_len;
			continue;
		}
		n = min_u32(len, p->frag[i].iov_len - off);
		memcpy(to, (const uint8_t *)p->frag[i].iov_base + off, n);
		to += n;
		len -= n;
		off = 0;
	}
}

/* Offsets count from buf and the headroom may differ between the two packets. */
static uint16_t moved_off(uint16_t off, const struct pkt *from, const struct pkt *to)
{
	ptrdiff_t shift = (to->data - to->buf) - (from->data - from->buf);

	return off ? (uint16_t)(off + shift) : 0;
}

struct pkt *pkt_copy_linear(struct pkt_pool *pool, const struct pkt *p)
{
	uint32_t room = (uint32_t)(p->data - p->buf), total = pkt_total(p);
	struct pkt *c;

	if (room < PKT_HEADROOM)
		room = PKT_HEADROOM;
	if (total > PKT_BIG - room)
		return NULL;
	c = pkt_alloc(pool, total > PKT_SMALL - room);
	if (!c)
		return NULL;
	c->data = c->buf + room;
	pkt_copy_out(p, 0, c->data, total);
	c->len = total;
	c->l2_off = moved_off(p->l2_off, p, c);
	c->l3_off = moved_off(p->l3_off, p, c);
	c->l4_off = moved_off(p->l4_off, p, c);
	c->csum_start = moved_off(p->csum_start, p, c);
	c->csum_off = p->csum_off;
	c->csum_state = p->csum_state;
	c->csum = p->csum;
	c->gso_type = p->gso_type;
	c->gso_size = p->gso_size;
	c->gso_segs = p->gso_segs;
	c->vlan = p->vlan;
	c->queue = p->queue;
	c->bcast = p->bcast;
	c->hash = p->hash;
	c->rx_us = p->rx_us;
	return c;
}
