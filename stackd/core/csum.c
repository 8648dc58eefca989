/* SPDX-License-Identifier: MIT */
/* core/csum.c - summing bytes
 * 16 bytes a step: the two 32-bit halves of each 64-bit lane are added to separate 64-bit lanes, so
 * that no carry is lost before 2^32 steps; lanes are joined with end-around carry at the end.
 */
#include <string.h>

#include "stackd/core/assert.h"
#include "stackd/core/csum.h"

typedef uint64_t v2u64 __attribute__((vector_size(16)));

static inline v2u64 load16(const uint8_t *p)
{
	v2u64 v;

	memcpy(&v, p, sizeof(v));
	return v;
}

uint64_t csum_add(uint64_t sum, const void *data, size_t len)
{
	const v2u64 low = { 0xffffffffu, 0xffffffffu };
	v2u64 a = { 0, 0 }, b = { 0, 0 };
	const uint8_t *p = data;
	uint64_t rest = 0;

	for (; len >= 32; len -= 32, p += 32) {
		v2u64 x = load16(p), y = load16(p + 16);

		a += (x & low) + (x >> 32);
		b += (y & low) + (y >> 32);
	}
	if (len >= 16) {
		v2u64 x = load16(p);

		a += (x & low) + (x >> 32);
		len -= 16;
		p += 16;
	}
	a += b;
	sum = csum_add64(sum, csum_add64(a[0], a[1]));
	if (len >= 8) {
		uint64_t w;

		memcpy(&w, p, 8);
		sum = csum_add64(sum, w);
		len -= 8;
		p += 8;
	}
	memcpy(&rest, p, len);
	return csum_add64(sum, rest);
}

/* Add a block that starts at stream offset @pos. */
static uint64_t add_at(uint64_t sum, uint64_t pos, const void *p, size_t len)
{
	if (!(pos & 1))
		return csum_add(sum, p, len);
	return csum_add64(sum, __builtin_bswap16(csum_fold(csum_add(0, p, len))));
}

uint64_t csum_pkt(const struct pkt *p, uint32_t off)
{
	const uint8_t *from = p->buf + off, *end = p->data + p->len;
	uint64_t pos = (uint64_t)(end - from), sum;

	ASSERT(from >= p->buf && from <= end);
	sum = csum_add(0, from, pos);
	for (unsigned i = 0; i < p->frag_cnt; i++) {
		sum = add_at(sum, pos, p->frag[i].iov_base, p->frag[i].iov_len);
		pos += p->frag[i].iov_len;
	}
	return sum;
}

void csum_finish(struct pkt *p)
{
	uint32_t field = (uint32_t)p->csum_start + p->csum_off;
	uint16_t v;

	if (p->csum_state != PKT_CSUM_PARTIAL)
		return;
	ASSERT(p->buf + field + 2 <= p->data + p->len);
	v = csum_done(csum_pkt(p, p->csum_start));
	if (!v)
		v = 0xffff;
	memcpy(p->buf + field, &v, 2);
	p->csum_state = PKT_CSUM_NONE;
}

bool csum_rx_ok(struct pkt *p, uint16_t pseudo)
{
	if (p->csum_state == PKT_CSUM_UNNECESSARY)
		return true;
	if (p->csum_state == PKT_CSUM_COMPLETE && csum_done((uint64_t)p->csum + pseudo) == 0) {
		p->csum_state = PKT_CSUM_UNNECESSARY;
		return true;
	}
	if (csum_done(csum_add64(csum_pkt(p, p->l4_off), pseudo)) != 0)
		return false;
	p->csum_state = PKT_CSUM_UNNECESSARY;
	return true;
}
