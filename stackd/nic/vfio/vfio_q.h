/* SPDX-License-Identifier: MIT */
/* nic/vfio/vfio_q.h - what every driver's pair of queues begins with
 * Which memory its rings are in, when it wants to be called without an interrupt, what it counts.
 * Threads: owning worker only; vfio_q_new at start-up
 */
#ifndef NIC_VFIO_VFIO_Q_H
#define NIC_VFIO_VFIO_Q_H

#include "stackd/nic/vfio/vfio.h"

#define VFIO_SMALL_ROOM	(PKT_SMALL - PKT_HEADROOM)	/* bytes of a frame in a receive buffer */

struct vfio_q {
	struct nic nic;			/* nic.priv is the driver's structure, which begins here */
	struct vfio *v;
	struct nic_dev *dev;
	bool running, armed;
	uint64_t refill_us;		/* no packets for all buffers: try again then; 0 = full */
	uint64_t tx_since_us;		/* something is out and nothing came back since then */
	uint64_t rx_bad, tx_copied, kicks;
	struct vfio_area mem;		/* rings */
};

/* A driver's zeroed structure of @size bytes with @mem bytes of rings; features are the driver's to
 * set. Return: 0 or -ENOMEM. */
int vfio_q_new(struct nic_dev *dev, struct vfio *v, const struct nic_ops *ops, uint16_t n,
	       size_t size, size_t mem, void *ret);

/* The device took the buffers that were out, or @missing of them are still to be had. */
void vfio_q_refilled(struct vfio_q *q, const struct stack *st, bool missing);
/* Transmit watchdog: with @idle nothing is out. A queue without a completion for too long ends. */
void vfio_q_watch(struct vfio_q *q, const struct stack *st, bool idle);
/* When refill or watchdog want to be called; @idle as above. */
uint64_t vfio_q_next_us(const struct vfio_q *q, bool idle);

/* nic_ops that are the same for all drivers. */
int vfio_q_rx_fd(struct nic *nic);
void vfio_q_close(struct nic *nic);
/* rx_bad, tx_copied, kicks; a driver's own follow. */
void vfio_q_counters(const struct nic *nic, nic_counter_fn fn, void *arg);

#endif
