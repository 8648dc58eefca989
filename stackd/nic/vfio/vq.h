/* SPDX-License-Identifier: MIT */
/* nic/vfio/vq.h - one virtqueue, split or packed
 * Spec:    virtio 1.2 2.7 (split), 2.8 (packed), 2.7.10 and 2.8.10 (event suppression)
 *
 * The queue's memory is shared with the device, which is not trusted: descriptors are only written,
 * what the device writes is copied once and checked against private state. Everything that says
 * what is out with the device is in struct vq_slot, which it cannot reach.
 * Holds:   Q1 a cookie comes back exactly once: from vq_take() or vq_drain()
 *          Q2 a completion names a chain that is out, or the queue is broken (-EPROTO) until
 *             vq_init()
 * Threads: owning worker only
 */
#ifndef NIC_VFIO_VQ_H
#define NIC_VFIO_VQ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VQ_MAX		1024u		/* descriptors */
#define VQ_CHAIN	40u		/* descriptors of one chain, at most */

struct vq_desc {			/* 2.7.5 */
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};

struct vq_pdesc {			/* 2.8.13 */
	uint64_t addr;
	uint32_t len;
	uint16_t id, flags;
};

struct vq_used_elem {			/* 2.7.8 */
	uint32_t id, len;
};

struct vq_event {			/* 2.8.14 */
	uint16_t off_wrap, flags;
};

/* Private: what is at a descriptor (split: head's index; packed: buffer id). */
struct vq_slot {
	void *cookie;			/* NULL = not out */
	uint16_t cnt;			/* descriptors of the chain */
	uint16_t next;			/* split: of the chain, and of the free list */
};

struct vq_seg {
	uint64_t iova;
	uint32_t len;
};

struct vq {
	uint16_t size;			/* power of two */
	bool packed, event_idx, broken;
	uint16_t free_cnt, free_head;	/* free_head: first free slot, by next */
	uint16_t avail, used;		/* split: free-running; packed: places in the ring */
	bool avail_wrap, used_wrap;	/* packed */
	uint16_t kicked;		/* split: avail when the device was last notified */
	uint16_t added;			/* packed: descriptors since then */
	/* Shared memory and where the device finds it. */
	struct vq_desc *desc;
	struct vq_pdesc *pdesc;
	uint8_t *drv, *dev;		/* areas of driver (avail) and device (used), events */
	uint64_t desc_iova, drv_iova, dev_iova;
	struct vq_slot slot[VQ_MAX];
};

/* Bytes of shared memory for a queue of @size: whole pages. */
size_t vq_mem_size(uint16_t size, bool packed);
/* Fresh: @mem zeroed here, nothing out. @mem is page-aligned and seen by the device at @iova. */
void vq_init(struct vq *q, uint16_t size, bool packed, bool event_idx, void *mem, uint64_t iova);

/* Put a chain of @cnt pieces out; the last @in of them are written by the device, the others read.
 * Return: 0, or -ENOSPC. @cookie is not NULL. */
int vq_add(struct vq *q, const struct vq_seg *seg, unsigned cnt, unsigned in, void *cookie);
/* What was added becomes visible. Return: the device wants to be told (vq_notify). */
bool vq_publish(struct vq *q);

/* Take one completion. Return: 1 with cookie and bytes written, 0 = none, -EPROTO = broken. */
int vq_take(struct vq *q, void **ret_cookie, uint32_t *ret_len);
/* The device does no DMA any more: take what is out, one by one. Return: NULL = nothing left. */
void *vq_drain(struct vq *q);

void vq_irq_off(struct vq *q);
/* Interrupt at the next completion. Return: there is one already. */
bool vq_irq_on(struct vq *q);
/* Is there a completion? */
bool vq_pending(const struct vq *q);

static inline bool vq_idle(const struct vq *q) { return q->free_cnt == q->size; }

#endif
