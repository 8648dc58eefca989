/* SPDX-License-Identifier: MIT */
/* tests/unit/nic/frames.h - frames for the device tests */
#ifndef TESTS_UNIT_NIC_FRAMES_H
#define TESTS_UNIT_NIC_FRAMES_H

#include "stackd/core/csum.h"
#include "tests/unit/harness.h"

static inline void be16_at(uint8_t *b, uint32_t v)
{
	b[0] = (uint8_t)(v >> 8);
	b[1] = (uint8_t)v;
}

static inline uint32_t be16_of(const uint8_t *b)
{
	return (uint32_t)b[0] << 8 | b[1];
}

static inline uint16_t frame_pseudo(const uint8_t *ip, uint32_t l4_len)
{
	uint8_t ps[12];

	memcpy(ps, ip + 12, 8);
	ps[8] = 0;
	ps[9] = ip[9];
	be16_at(ps + 10, l4_len);
	return csum_fold(csum_add(0, ps, 12));
}

/* Ethernet and IP headers, checksum PARTIAL. */
static inline struct pkt *frame_begin(struct stack *st, uint8_t proto, uint32_t l4_len, bool big)
{
	static const uint8_t head[34] = {
		2, 's', 't', 'k', 0, 1, 2, 's', 't', 'k', 0, 2, 8, 0,
		0x45, 0x02, 0, 0, 0xff, 0xfe, 0x40, 0, 64, 0, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2,
	};
	struct pkt *p = pkt_alloc(st->pool, big);
	uint16_t sum;

	cr_assert(p);
	memcpy(p->data, head, sizeof(head));
	be16_at(p->data + 16, 20 + l4_len);
	p->data[23] = proto;
	sum = csum_of(p->data + 14, 20);
	memcpy(p->data + 24, &sum, 2);
	p->l3_off = (uint16_t)(p->data + 14 - p->buf);
	p->csum_start = p->l4_off = (uint16_t)(p->l3_off + 20);
	p->csum_off = proto == 17 ? 6 : 16;
	p->csum_state = PKT_CSUM_PARTIAL;
	sum = frame_pseudo(p->data + 14, l4_len);
	memset(p->data + 34, 0, 20);
	memcpy(p->data + 34 + p->csum_off, &sum, 2);
	p->len = 34;
	return p;
}

/* A UDP frame whose payload begins with @number (its source port says it too). */
static inline struct pkt *frame_udp(struct stack *st, uint16_t number, uint32_t len)
{
	struct pkt *p = frame_begin(st, 17, 8 + len, false);

	be16_at(p->data + 34, number);
	be16_at(p->data + 36, 9);
	be16_at(p->data + 38, 8 + len);
	for (uint32_t i = 0; i < len; i++)
		p->data[42 + i] = (uint8_t)(i + number);
	p->len = 42 + len;
	return p;
}

static inline uint16_t frame_number(const struct pkt *p)
{
	return (uint16_t)be16_of(p->data + 34);
}

static inline uint8_t frame_byte(uint32_t i)
{
	return (uint8_t)(i * 7 + (i >> 8));
}

/* TCP, @len payload bytes of frame_byte(), all in the linear part. */
static inline struct pkt *frame_tcp_gso(struct stack *st, uint32_t len, uint16_t mss, uint8_t flags)
{
	struct pkt *p = frame_begin(st, 6, 20 + len, len > 1500);
	static const uint8_t tcp[16] = { 0x1f, 0x90, 0x30, 0x39, 0xff, 0xff, 0xfc, 0x00,
					 1, 2, 3, 4, 0x50, 0, 0x12, 0x34 };

	memcpy(p->data + 34, tcp, sizeof(tcp));
	p->data[47] = flags;
	for (uint32_t i = 0; i < len; i++)
		p->data[54 + i] = frame_byte(i);
	p->len = 54 + len;
	p->gso_type = PKT_GSO_TCP4;
	p->gso_size = mss;
	p->gso_segs = (uint16_t)((len + mss - 1) / mss);
	return p;
}

/* IP header and complete transport checksum of a frame in one piece. */
static inline bool frame_sums_ok(const struct pkt *p)
{
	const uint8_t *ip = p->data + 14;
	uint32_t l4_len = be16_of(ip + 2) - 20;

	if (p->len < 34 || ip[0] != 0x45 || 34 + l4_len != p->len || csum_of(ip, 20) != 0)
		return false;
	return csum_done(csum_add(frame_pseudo(ip, l4_len), ip + 20, l4_len)) == 0;
}

#endif
