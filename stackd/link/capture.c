/* SPDX-License-Identifier: MIT */
/* link/capture.c - taps: before GRO, after it, and what goes to the device
 *
 * Off, a tap costs a load and a branch that is never taken per burst or packet (link_tapped()). On,
 * a frame is put to each capture's filter and copied into its ring, which is this worker's alone;
 * there is no wake-up: the reader comes by. A full ring loses the frame and counts that. Impairment
 * (nic/impair.c) lies between the taps and the wire.
 * Spec:    R5
 * Holds:   C1 prod - cons <= size for a reader that keeps to the rules; for others frames are lost
 *          C2 nothing of the ring is used as an index but this worker's own prod
 * Threads: owning worker only
 */
#include <errno.h>
#include <string.h>

#include "stackd/atomic.h"
#include "stackd/core/clock.h"
#include "stackd/link/link_int.h"

static void set_points(struct link_state *ls)
{
	ls->cap_points = 0;
	for (unsigned i = 0; i < ls->cap_cnt; i++)
		ls->cap_points |= ls->caps[i]->points;
}

int link_cap_add(struct stack *st, struct link_cap *cap)
{
	struct link_state *ls = st->link;

	if (ls->cap_cnt == LINK_CAPS)
		return -EBUSY;
	ls->caps[ls->cap_cnt++] = cap;
	set_points(ls);
	return 0;
}

void link_cap_del(struct stack *st, struct link_cap *cap)
{
	struct link_state *ls = st->link;

	for (unsigned i = 0; i < ls->cap_cnt; i++) {
		if (ls->caps[i] != cap)
			continue;
		ls->caps[i] = ls->caps[--ls->cap_cnt];
		break;
	}
	set_points(ls);
}

/* Room for @len bytes in one piece, a PAD before it where the end of the ring is too near. */
static struct sd_cap_rec *reserve(struct link_cap *cap, uint32_t len)
{
	uint64_t cons = ld_acq(&cap->ring->cons);	/* pairs with the reader's st_rel */
	uint32_t at = (uint32_t)cap->prod & (cap->size - 1), end = cap->size - at;
	uint32_t skip = len > end ? end : 0;
	struct sd_cap_rec *r = (struct sd_cap_rec *)(cap->data + at);

	if (cap->prod - cons > cap->size || cap->size - (cap->prod - cons) < (uint64_t)skip + len)
		return NULL;
	if (!skip)
		return r;
	r->len = skip;			/* at least 8 bytes are left: lengths are multiples of 8 */
	r->point = SD_CAP_PAD;
	cap->prod += skip;
	return (struct sd_cap_rec *)cap->data;
}

static void copy_frame(const struct pkt *p, uint32_t back, uint8_t *dst, uint32_t len)
{
	uint32_t linear = p->len + back;

	memcpy(dst, p->data - back, len < linear ? len : linear);
	if (len > linear)
		pkt_copy_out(p, p->len, dst + linear, len - linear);
}

static void one_capture(struct link_cap *cap, const struct pkt *p, uint32_t back,
			enum sd_cap_point point)
{
	uint32_t wire = pkt_total(p) + back, keep = wire < cap->snaplen ? wire : cap->snaplen, room;
	struct sd_cap_rec *r;

	if (cap->match) {
		const uint8_t *frame = p->data - back;
		uint32_t len = wire < SD_CAP_SNAP ? wire : SD_CAP_SNAP, want;

		if (p->frag_cnt) {
			copy_frame(p, back, cap->scratch, len);
			frame = cap->scratch;
		}
		want = cap->match(cap->arg, frame, wire, len);
		if (!want)
			return;
		keep = keep < want ? keep : want;
	}
	cap->ring->seen[point]++;
	room = ((uint32_t)sizeof(*r) + keep + 7) & ~7u;
	r = reserve(cap, room);
	if (!r) {
		cap->ring->dropped[point]++;
		return;
	}
	*r = (struct sd_cap_rec){ .len = room, .point = (uint16_t)point, .cap_len = keep,
				  .wire_len = wire, .time_ns = clock_real_ns() };
	copy_frame(p, back, (uint8_t *)(r + 1), keep);
	cap->prod += room;
	st_rel(&cap->ring->prod, cap->prod);
}

void link_capture(struct stack *st, const struct pkt *p, uint32_t back, enum sd_cap_point point)
{
	struct link_state *ls = st->link;

	for (unsigned i = 0; i < ls->cap_cnt; i++) {
		if (ls->caps[i]->points & SD_CAP_BIT(point))
			one_capture(ls->caps[i], p, back, point);
	}
}
