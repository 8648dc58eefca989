/* SPDX-License-Identifier: MIT */
/* nic/vfio/virtio_int.h - the virtio-net driver's device and queues */
#ifndef NIC_VFIO_VIRTIO_INT_H
#define NIC_VFIO_VIRTIO_INT_H

#include "stackd/nic/vfio/vfio_q.h"
#include "stackd/nic/vfio/virtio_regs.h"
#include "stackd/nic/vfio/vq.h"

#define VIRTIO_RING	256u		/* descriptors of a ring at first, if there are so many */
#define VIRTIO_RING_MIN	64u

/* One worker's pair of queues. The first part is all that moving packets needs: tests make it by
 * hand, with the device's side played by the test. */
struct virtio_q {
	struct vfio_q b;		/* first */
	uint32_t hdr_len;		/* VNET_HDR_LEN or VNET_HDR_LEN_HASH */
	bool mergeable, rss;
	volatile uint16_t *rx_bell, *tx_bell;	/* 4.1.5.2: write the queue's number */
	uint16_t rx_idx, tx_idx;
	/* A frame in several buffers whose last ones have not come yet. */
	struct pkt *part, **part_end;
	uint32_t part_left, part_cnt;
	uint64_t rx_merged;
	struct vq rx, tx;
};

struct virtio_dev {
	struct nic_dev dev;
	struct vfio *v;
	uint64_t features;
	volatile struct vpci_common *common;
	volatile struct vnet_config *config;
	volatile uint8_t *notify;
	uint32_t notify_mult;
	size_t notify_len;
	uint16_t pairs_max, ctrl_idx;
	uint16_t ring, ring_max;	/* descriptors from the next start on; the device's most */
	struct virtio_q *q[NIC_QUEUES_MAX];
	struct vq *ctrl;
	struct vfio_area ctrl_mem;	/* ring, then CTRL_ROOM bytes of command */
	struct nic_rss rss;
	struct nic_link link;
};

/* ---- virtio_q.c ---- */
extern const struct nic_ops virtio_q_ops;
/* Rings of @size made in q->mem and receive buffers put out. */
int virtio_q_fill(struct virtio_q *q, struct stack *st, uint16_t size, uint64_t features);

/* ---- virtio_ctl.c: worker 0 ---- */
/* Command of @class, @cmd with @len bytes. Return: 0, -EIO refused, -ETIMEDOUT. */
int virtio_ctl(struct virtio_dev *d, uint8_t class, uint8_t cmd, const void *data, uint32_t len);
size_t virtio_ctl_size(void);
void virtio_ctl_init(struct virtio_dev *d);
/* Queue pairs in use, and how flows are spread over them. */
int virtio_spread(struct virtio_dev *d);
int virtio_rss_get(struct nic_dev *dev, struct nic_rss *ret);
int virtio_rss_set(struct nic_dev *dev, const struct nic_rss *rss);

#endif
