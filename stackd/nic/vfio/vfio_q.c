/* SPDX-License-Identifier: MIT */
/* nic/vfio/vfio_q.c - what every driver's pair of queues does the same way
 * Threads: owning worker only; vfio_q_new at start-up
 */
#include <errno.h>
#include <stdlib.h>

#include "stackd/atomic.h"
#include "stackd/nic/vfio/vfio_q.h"

#define REFILL_US	1000u
#define TX_LIMIT_US	5000000u	/* no completion for so long: the device is dead */

int vfio_q_new(struct nic_dev *dev, struct vfio *v, const struct nic_ops *ops, uint16_t n,
	       size_t size, size_t mem, void *ret)
{
	struct vfio_q *q = calloc(1, size);
	int r;

	if (!q)
		return -ENOMEM;
	r = vfio_ring_mem(v, mem, &q->mem);
	if (r) {
		free(q);
		return r;
	}
	q->v = v;
	q->dev = dev;
	q->nic = (struct nic){
		.ops = ops, .mtu = dev->grant.mtu, .queue = n, .queues = dev->grant.queues,
		.priv = q, .dev = dev,
	};
	memcpy(q->nic.mac, dev->grant.mac, 6);
	memcpy(q->nic.ifname, dev->grant.name, sizeof(q->nic.ifname));
	*(void **)ret = q;
	return 0;
}

/* Without buffers the device has nothing to interrupt for. */
void vfio_q_refilled(struct vfio_q *q, const struct stack *st, bool missing)
{
	q->refill_us = missing ? st->now_us + REFILL_US : 0;
}

void vfio_q_watch(struct vfio_q *q, const struct stack *st, bool idle)
{
	if (idle || st->now_us < q->tx_since_us + TX_LIMIT_US)
		return;
	q->running = false;
	add_sc(&q->dev->tx_timeouts, 1);
	nic_fault(q->dev, NIC_FAULT_TX_TIMEOUT);
}

uint64_t vfio_q_next_us(const struct vfio_q *q, bool idle)
{
	uint64_t at = q->refill_us ? q->refill_us : UINT64_MAX;
	uint64_t tx = q->tx_since_us + TX_LIMIT_US;

	if (!q->running)
		return UINT64_MAX;
	return !idle && tx < at ? tx : at;
}

int vfio_q_rx_fd(struct nic *nic)
{
	const struct vfio_q *q = nic->priv;

	return q->v->irq[nic->queue];
}

void vfio_q_close(struct nic *nic)
{
	free(nic->priv);
}

void vfio_q_counters(const struct nic *nic, nic_counter_fn fn, void *arg)
{
	const struct vfio_q *q = nic->priv;

	fn(arg, "rx_bad", q->rx_bad);
	fn(arg, "tx_copied", q->tx_copied);
	fn(arg, "kicks", q->kicks);
}
