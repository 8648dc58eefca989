/* SPDX-License-Identifier: MIT */
/* nic/vfio/vq.c - virtqueues: the ring formats of virtio 1.2
 * Spec:    2.7 split virtqueues, 2.8 packed virtqueues; the section stands at each function
 * Holds:   Q1, Q2 of vq.h
 * Threads: owning worker only
 */
#include <errno.h>
#include <string.h>

#include "stackd/atomic.h"
#include "stackd/core/assert.h"
#include "stackd/nic/vfio/vfio.h"
#include "stackd/nic/vfio/vq.h"

#define DESC_NEXT	1u		/* 2.7.5 */
#define DESC_WRITE	2u
#define PDESC_AVAIL	(1u << 7)	/* 2.8.1 */
#define PDESC_USED	(1u << 15)
#define AVAIL_NO_IRQ	1u		/* 2.7.6 VIRTQ_AVAIL_F_NO_INTERRUPT */
#define USED_NO_NOTIFY	1u		/* 2.7.8 VIRTQ_USED_F_NO_NOTIFY */
#define EVENT_ENABLE	0u		/* 2.8.14 */
#define EVENT_DISABLE	1u
#define EVENT_DESC	2u

/* Split ring, driver area: flags, idx, ring[size], used_event (2.7.6). */
static uint16_t *avail_word(struct vq *q, unsigned i) { return (uint16_t *)q->drv + i; }
/* Split ring, device area: flags, idx, ring[size] of 8 bytes, avail_event (2.7.8). */
static uint16_t *used_word(const struct vq *q, unsigned i) { return (uint16_t *)q->dev + i; }
static struct vq_event *drv_event(struct vq *q) { return (struct vq_event *)q->drv; }
static struct vq_event *dev_event(struct vq *q) { return (struct vq_event *)q->dev; }

static size_t round_up(size_t v, size_t to)
{
	return (v + to - 1) / to * to;
}

/* 16 bytes per descriptor in both formats; then the driver's area, then the device's. */
static size_t drv_off(uint16_t size)
{
	return (size_t)size * 16;
}

static size_t dev_off(uint16_t size, bool packed)
{
	return round_up(drv_off(size) + (packed ? 4 : 6 + 2 * (size_t)size), 64);
}

size_t vq_mem_size(uint16_t size, bool packed)
{
	return round_up(dev_off(size, packed) + (packed ? 4 : 6 + 8 * (size_t)size), 4096);
}

void vq_init(struct vq *q, uint16_t size, bool packed, bool event_idx, void *mem, uint64_t iova)
{
	ASSERT(size && size <= VQ_MAX && (size & (size - 1)) == 0);
	memset(q, 0, sizeof(*q));
	memset(mem, 0, vq_mem_size(size, packed));
	q->size = size;
	q->packed = packed;
	q->event_idx = event_idx;
	q->avail_wrap = q->used_wrap = true;		/* 2.8.1 */
	q->desc = mem;
	q->pdesc = mem;
	q->drv = (uint8_t *)mem + drv_off(size);
	q->dev = (uint8_t *)mem + dev_off(size, packed);
	q->desc_iova = iova;
	q->drv_iova = iova + drv_off(size);
	q->dev_iova = iova + dev_off(size, packed);
	q->free_cnt = size;
	for (unsigned i = 0; i < size; i++)
		q->slot[i].next = (uint16_t)(i + 1);
	vq_irq_off(q);
}

/* ---- driver to device ---- */

/* 2.7.13: a chain through the descriptor table, then its head into the available ring. */
static void split_add(struct vq *q, const struct vq_seg *seg, unsigned cnt, unsigned in,
		      void *cookie)
{
	uint16_t head = q->free_head, i = head;

	for (unsigned n = 0; n < cnt; n++) {
		uint16_t next = q->slot[i].next;
		bool more = n + 1 < cnt;

		q->desc[i] = (struct vq_desc){
			.addr = seg[n].iova, .len = seg[n].len, .next = more ? next : 0,
			.flags = (uint16_t)((more ? DESC_NEXT : 0) |
					    (cnt - n <= in ? DESC_WRITE : 0)),
		};
		if (!more)
			q->free_head = next;
		else
			i = next;
	}
	q->slot[head].cookie = cookie;
	q->slot[head].cnt = (uint16_t)cnt;
	*avail_word(q, 2 + q->avail % q->size) = head;
	q->avail++;
}

static uint16_t packed_flags(bool wrap)
{
	return (uint16_t)(wrap ? PDESC_AVAIL : PDESC_USED);
}

/* 2.8.21: descriptors in ring order; the first one's flags last, they make the chain visible. */
static void packed_add(struct vq *q, const struct vq_seg *seg, unsigned cnt, unsigned in,
		       void *cookie)
{
	uint16_t id = q->free_head, at = q->avail, first = 0;
	bool wrap = q->avail_wrap;

	for (unsigned n = 0; n < cnt; n++) {
		struct vq_pdesc *d = &q->pdesc[at];
		uint16_t flags = (uint16_t)(packed_flags(wrap) | (n + 1 < cnt ? DESC_NEXT : 0) |
					    (cnt - n <= in ? DESC_WRITE : 0));

		d->addr = seg[n].iova;
		d->len = seg[n].len;
		d->id = id;
		if (n)
			st_rlx(&d->flags, flags);
		else
			first = flags;
		if (++at == q->size) {
			at = 0;
			wrap = !wrap;
		}
	}
	q->free_head = q->slot[id].next;
	q->slot[id].cookie = cookie;
	q->slot[id].cnt = (uint16_t)cnt;
	st_rel(&q->pdesc[q->avail].flags, first);	/* pairs with the device, 2.8.21.3 */
	q->avail = at;
	q->avail_wrap = wrap;
	q->added = (uint16_t)(q->added + cnt);
}

int vq_add(struct vq *q, const struct vq_seg *seg, unsigned cnt, unsigned in, void *cookie)
{
	ASSERT(cnt && cnt <= VQ_CHAIN && cookie);
	if (cnt > q->free_cnt || q->broken)
		return -ENOSPC;
	q->free_cnt = (uint16_t)(q->free_cnt - cnt);
	if (q->packed)
		packed_add(q, seg, cnt, in, cookie);
	else
		split_add(q, seg, cnt, in, cookie);
	return 0;
}

/* Did @now pass @event on its way from @old (all free-running; 2.7.10)? */
static bool event_passed(uint16_t event, uint16_t now, uint16_t old)
{
	return (uint16_t)(now - event - 1) < (uint16_t)(now - old);
}

static bool split_publish(struct vq *q)
{
	uint16_t old = q->kicked;

	if (old == q->avail)
		return false;
	st_rel(avail_word(q, 1), q->avail);	/* the ring's entries before the index (2.7.13.3) */
	dma_mb();
	q->kicked = q->avail;
	if (q->event_idx)
		return event_passed(ld_rlx(used_word(q, 2 + 4u * q->size)), q->avail, old);
	return !(ld_rlx(used_word(q, 0)) & USED_NO_NOTIFY);
}

/* 2.8.10: off_wrap counts in ring places, with the wrap counter in its top bit. */
static bool packed_publish(struct vq *q)
{
	uint16_t added = q->added, off_wrap, off;

	if (added == 0)
		return false;
	q->added = 0;
	dma_mb();
	switch (ld_rlx(&dev_event(q)->flags) & 3) {
	case EVENT_DISABLE:
		return false;
	case EVENT_DESC:
		break;
	default:
		return true;
	}
	off_wrap = ld_rlx(&dev_event(q)->off_wrap);
	off = off_wrap & 0x7fff;
	if ((off_wrap >> 15) != q->avail_wrap)
		off = (uint16_t)(off - q->size);
	return event_passed(off, q->avail, (uint16_t)(q->avail - added));
}

bool vq_publish(struct vq *q)
{
	return q->packed ? packed_publish(q) : split_publish(q);
}

/* ---- device to driver ---- */

static int breaks(struct vq *q)
{
	q->broken = true;
	return -EPROTO;
}

/* The chain of slot @id is ours again. */
static void split_free(struct vq *q, uint16_t id)
{
	uint16_t last = id;

	for (unsigned n = 1; n < q->slot[id].cnt; n++)
		last = q->slot[last].next;
	q->slot[last].next = q->free_head;
	q->free_head = id;
}

static void packed_free(struct vq *q, uint16_t id)
{
	q->slot[id].next = q->free_head;
	q->free_head = id;
	q->used = (uint16_t)(q->used + q->slot[id].cnt);
	if (q->used >= q->size) {
		q->used = (uint16_t)(q->used - q->size);
		q->used_wrap = !q->used_wrap;
	}
}

static void *slot_free(struct vq *q, uint16_t id)
{
	void *cookie = q->slot[id].cookie;

	q->slot[id].cookie = NULL;
	q->free_cnt = (uint16_t)(q->free_cnt + q->slot[id].cnt);
	if (q->packed)
		packed_free(q, id);
	else
		split_free(q, id);
	return cookie;
}

/* 2.7.14. How many completions can wait is bounded by what is out: an index further ahead, or one
 * that went back, is nonsense. */
static int split_next(struct vq *q, uint32_t *ret_id, uint32_t *ret_len)
{
	uint16_t ahead = (uint16_t)(ld_acq(used_word(q, 1)) - q->used);
	const struct vq_used_elem *e;

	if (ahead == 0)
		return 0;
	if (ahead > q->size - q->free_cnt)
		return breaks(q);
	e = (const struct vq_used_elem *)used_word(q, 2) + q->used % q->size;
	*ret_id = ld_rlx(&e->id);
	*ret_len = ld_rlx(&e->len);
	q->used++;
	return 1;
}

/* 2.8.1: used when both bits equal the wrap counter. */
static bool packed_used(const struct vq *q, uint16_t flags)
{
	bool avail = flags & PDESC_AVAIL, used = flags & PDESC_USED;

	return avail == used && used == q->used_wrap;
}

static int packed_next(struct vq *q, uint32_t *ret_id, uint32_t *ret_len)
{
	const struct vq_pdesc *d = &q->pdesc[q->used];

	if (q->free_cnt == q->size || !packed_used(q, ld_acq(&d->flags)))
		return 0;
	*ret_id = ld_rlx(&d->id);
	*ret_len = ld_rlx(&d->len);
	return 1;
}

int vq_take(struct vq *q, void **ret_cookie, uint32_t *ret_len)
{
	uint32_t id = 0;
	int r;

	if (q->broken)
		return -EPROTO;
	r = q->packed ? packed_next(q, &id, ret_len) : split_next(q, &id, ret_len);
	if (r <= 0)
		return r;
	if (id >= q->size || !q->slot[id].cookie)
		return breaks(q);
	*ret_cookie = slot_free(q, (uint16_t)id);
	return 1;
}

void *vq_drain(struct vq *q)
{
	q->broken = true;
	for (unsigned i = 0; i < q->size; i++)
		if (q->slot[i].cookie)
			return slot_free(q, (uint16_t)i);
	return NULL;
}

bool vq_pending(const struct vq *q)
{
	if (q->broken)
		return false;
	if (q->packed)
		return q->free_cnt != q->size &&
		       packed_used(q, ld_acq(&q->pdesc[q->used].flags));
	return ld_acq(used_word(q, 1)) != q->used;
}

/* 2.7.7, 2.8.10. With event indices, "off" is an index that was just passed: it is reached again
 * only after 65,535 more completions, and by then somebody has looked. */
void vq_irq_off(struct vq *q)
{
	if (q->packed)
		st_rlx(&drv_event(q)->flags, EVENT_DISABLE);
	else if (q->event_idx)
		st_rlx(avail_word(q, 2u + q->size), (uint16_t)(q->used - 1));
	else
		st_rlx(avail_word(q, 0), AVAIL_NO_IRQ);
}

bool vq_irq_on(struct vq *q)
{
	if (q->packed && q->event_idx) {
		st_rlx(&drv_event(q)->off_wrap, (uint16_t)(q->used | q->used_wrap << 15));
		st_rel(&drv_event(q)->flags, EVENT_DESC);
	} else if (q->packed) {
		st_rlx(&drv_event(q)->flags, EVENT_ENABLE);
	} else if (q->event_idx) {
		st_rlx(avail_word(q, 2u + q->size), q->used);
	} else {
		st_rlx(avail_word(q, 0), 0);
	}
	dma_mb();
	return vq_pending(q);
}
