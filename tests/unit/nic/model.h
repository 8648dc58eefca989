/* SPDX-License-Identifier: MIT */
/* tests/unit/nic/model.h - the device's side of a virtqueue, and of Intel's transmit descriptors
 * Written from the specifications (virtio 1.2 2.7, 2.8; 82574 datasheet 7.2, 7.3; 82576 datasheet
 * 7.2), not with the driver's functions. Nothing here is checked: a device may write what it wants.
 */
#ifndef TESTS_UNIT_NIC_MODEL_H
#define TESTS_UNIT_NIC_MODEL_H

#include <string.h>

#include "stackd/core/csum.h"
#include "stackd/nic/vfio/intel.h"
#include "stackd/nic/vfio/vq.h"

/* ---- virtqueues ---- */

/* One queue as the device sees it. */
struct side {
	struct vq *q;
	uint16_t seen, used;
	bool seen_wrap, used_wrap;
};

static inline struct side side_of(struct vq *q)
{
	return (struct side){ .q = q, .seen_wrap = true, .used_wrap = true };
}

/* Next buffer that the driver has put out. Return: false when there is none. */
static inline bool side_pop(struct side *s, uint16_t *ret_id, struct vq_seg *ret)
{
	struct vq *q = s->q;

	if (q->packed) {
		struct vq_pdesc *d = &q->pdesc[s->seen];
		bool avail = d->flags & 0x80, used = d->flags & 0x8000;

		if (avail == used || avail != s->seen_wrap)
			return false;
		*ret_id = d->id;
		*ret = (struct vq_seg){ d->addr, d->len };
		if (++s->seen == q->size) {
			s->seen = 0;
			s->seen_wrap = !s->seen_wrap;
		}
		return true;
	}
	if (((uint16_t *)q->drv)[1] == s->seen)
		return false;
	*ret_id = ((uint16_t *)q->drv)[2 + s->seen++ % q->size];
	*ret = (struct vq_seg){ q->desc[*ret_id % q->size].addr,
				 q->desc[*ret_id % q->size].len };
	return true;
}

static inline void side_push(struct side *s, uint32_t id, uint32_t len)
{
	struct vq *q = s->q;

	if (q->packed) {
		struct vq_pdesc *d = &q->pdesc[s->used];

		d->id = (uint16_t)id;
		d->len = len;
		d->flags = s->used_wrap ? 0x8080 : 0;
		if (++s->used == q->size) {
			s->used = 0;
			s->used_wrap = !s->used_wrap;
		}
		return;
	}
	((struct vq_used_elem *)(q->dev + 4))[s->used % q->size] = (struct vq_used_elem){ id, len };
	((uint16_t *)q->dev)[1] = ++s->used;
}

/* ---- Intel: what a packet's descriptors say ---- */

struct intel_tx {
	uint32_t hdr_len, mss, l3, l4;	/* from the context descriptor; mss 0 = no segmentation */
	bool tcp, ip4, sum_l4, sum_ip;
	uint32_t sum_at;		/* where the transport checksum goes */
	uint32_t len, pieces;
	uint32_t summed_len;		/* what of a length the checksum field holds already */
};

static inline void intel_context_82574(struct intel_tx *t, const struct intel_desc *d)
{
	uint32_t cmd = (uint32_t)d->q[1];

	t->l3 = d->q[0] & 0xff;
	t->l4 = d->q[0] >> 32 & 0xff;
	t->sum_at = d->q[0] >> 40 & 0xff;
	t->tcp = cmd & 1u << 24;
	t->ip4 = cmd & 1u << 25;
	t->hdr_len = d->q[1] >> 40 & 0xff;
	t->mss = cmd & 1u << 26 ? d->q[1] >> 48 : 0;
}

static inline void intel_context_82576(struct intel_tx *t, const struct intel_desc *d)
{
	uint32_t l4_len = d->q[1] >> 40 & 0xff;

	t->l3 = d->q[0] >> 9 & 0x7f;
	t->l4 = t->l3 + (d->q[0] & 0x1ff);
	t->tcp = d->q[1] & 1u << 11;
	t->ip4 = d->q[1] & 1u << 10;
	t->sum_at = t->l4 + (t->tcp ? 16 : 6);
	t->mss = d->q[1] >> 48;
	t->hdr_len = t->l4 + (t->tcp ? l4_len : 8);
}

/* The packet whose descriptors begin at @at: its bytes go to @buf, what is to be done with them to
 * @t. Return: the place behind it. */
static inline unsigned intel_tx_read(const struct intel_desc *ring, unsigned at, bool is_82576,
				     uint8_t *(*where)(uint64_t iova), uint8_t *buf,
				     struct intel_tx *t)
{
	const struct intel_desc *d = &ring[at % INTEL_RING];
	uint32_t dtyp = d->q[1] >> 20 & 15;

	memset(t, 0, sizeof(*t));
	if (dtyp == (is_82576 ? 2 : 0)) {
		if (is_82576)
			intel_context_82576(t, d);
		else
			intel_context_82574(t, d);
		at++;
	}
	for (bool last = false; !last; at++) {
		uint32_t n, popts;

		d = &ring[at % INTEL_RING];
		n = d->q[1] & (is_82576 ? 0xffff : 0xfffff);
		popts = d->q[1] >> 40 & 3;
		last = d->q[1] & 1u << 24;
		t->sum_ip |= popts & 1;
		t->sum_l4 |= popts & 2;
		memcpy(buf + t->len, where(d->q[0]), n);
		t->len += n;
		t->pieces++;
	}
	return at;
}

/* ---- what TSO makes of it: 82574 7.3, 82576 7.2.4 ---- */

static inline void model_put16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

/* The ones' complement sum over @len bytes in front of @at's own, stored inverted. */
static inline void model_sum(uint8_t *field, const uint8_t *from, uint32_t len)
{
	uint16_t sum = csum_done(csum_add(0, from, len));

	memcpy(field, &sum, 2);
}

/* Segment @i of the packet in @buf, into @out. Return: its length. */
static inline uint32_t model_segment(const struct intel_tx *t, const uint8_t *buf, uint32_t i,
				     uint8_t *out)
{
	uint32_t pay = t->len - t->hdr_len, off = i * t->mss;
	uint32_t n = pay - off < t->mss ? pay - off : t->mss;
	uint32_t l4_len = t->hdr_len - t->l4 + n, sum, seq;

	memcpy(out, buf, t->hdr_len);
	memcpy(out + t->hdr_len, buf + t->hdr_len + off, n);
	if (t->ip4) {
		model_put16(out + t->l3 + 2, t->hdr_len - t->l3 + n);
		model_put16(out + t->l3 + 4, (buf[t->l3 + 4] << 8 | buf[t->l3 + 5]) + i);
		if (t->sum_ip) {
			model_put16(out + t->l3 + 10, 0);
			model_sum(out + t->l3 + 10, out + t->l3, t->l4 - t->l3);
		}
	} else {
		model_put16(out + t->l3 + 4, t->hdr_len - t->l3 - 40 + n);
	}
	seq = (uint32_t)buf[t->l4 + 4] << 24 | (uint32_t)buf[t->l4 + 5] << 16 |
	      (uint32_t)buf[t->l4 + 6] << 8 | buf[t->l4 + 7];
	model_put16(out + t->l4 + 4, (seq + off) >> 16);
	model_put16(out + t->l4 + 6, seq + off);
	if (off + n < pay)
		out[t->l4 + 13] &= (uint8_t)~0x09;	/* FIN and PSH are the last one's */
	if (t->sum_l4) {
		sum = ((uint32_t)out[t->sum_at] << 8 | out[t->sum_at + 1]) + l4_len +
		      (0xffff & ~t->summed_len);
		sum = (sum & 0xffff) + (sum >> 16);
		sum = (sum & 0xffff) + (sum >> 16);
		model_put16(out + t->sum_at, sum);
		model_sum(out + t->sum_at, out + t->l4, l4_len);
	}
	return t->hdr_len + n;
}

#endif
