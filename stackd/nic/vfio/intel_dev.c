/* SPDX-License-Identifier: MIT */
/* nic/vfio/intel_dev.c - Intel gigabit: what both families do the same way as a whole device
 * Threads: start-up; worker 0
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#include "stackd/core/toeplitz.h"
#include "stackd/nic/vfio/intel.h"
#include "stackd/nic/vfio/intel_regs.h"

#define BAR0_MIN 0x20000u		/* 128 KiB of registers in both families */

int intel_map(struct nic_dev *dev, uint16_t worker, void *mem, size_t len)
{
	struct intel_dev *d = dev->priv;

	return vfio_map_pool(d->v, worker, mem, len);
}

int intel_queue(struct nic_dev *dev, uint16_t n, struct stack *st, struct nic **ret)
{
	struct intel_dev *d = dev->priv;
	struct intel_q *q;
	int r = vfio_q_new(dev, d->v, &intel_q_ops, n, sizeof(*q), intel_q_mem(), &q);

	if (r)
		return r;
	q->f = d->f;
	q->regs = d->regs;
	q->rdt = d->f->rx_regs + n * d->f->stride + R_DT;
	q->tdt = d->f->tx_regs + n * d->f->stride + R_DT;
	q->b.nic.features = NIC_F_CSUM | NIC_F_TSO | NIC_F_TSO6 | NIC_F_RX_CSUM | NIC_F_RX_HASH;
	d->q[n] = q;
	*ret = &q->b.nic;
	return 0;
}

void intel_link(struct nic_dev *dev, struct nic_link *ret)
{
	struct intel_dev *d = dev->priv;

	*ret = d->link;
}

int intel_rss_get(struct nic_dev *dev, struct nic_rss *ret)
{
	struct intel_dev *d = dev->priv;

	*ret = d->rss;
	return 0;
}

int intel_ring_set(struct nic_dev *dev, uint32_t n)
{
	struct intel_dev *d = dev->priv;

	if (n < INTEL_RING_MIN || n > INTEL_RING_MAX || n & (n - 1))
		return -EINVAL;
	d->ring = (uint16_t)n;
	return 0;
}

void intel_close(struct nic_dev *dev)
{
	struct intel_dev *d = dev->priv;

	dev->ops->halt(dev);
	vfio_close(d->v);
	free(d);
}

/* Even spread, random key, ports wherever the device can. */
static void rss_default(struct intel_dev *d)
{
	static const uint8_t ported[] = { NIC_FLOW_TCP4, NIC_FLOW_TCP6, NIC_FLOW_UDP4,
					  NIC_FLOW_UDP6 };
	struct nic_rss *rss = &d->rss;

	rss->indir_len = NIC_RSS_INDIR;
	for (unsigned i = 0; i < NIC_RSS_INDIR; i++)
		rss->indir[i] = (uint16_t)(i % d->dev.grant.queues);
	if (getrandom(rss->key, sizeof(rss->key), 0) != sizeof(rss->key))
		memcpy(rss->key, toeplitz_default_key, sizeof(rss->key));
	for (unsigned i = 0; i < NIC_FLOW_MAX; i++)
		rss->fields[i] = NIC_HASH_SRC | NIC_HASH_DST;
	for (unsigned i = 0; i < sizeof(ported); i++)
		if (d->f->mrqc_flow[ported[i]])
			rss->fields[ported[i]] |= NIC_HASH_SPORT | NIC_HASH_DPORT;
}

/* The address is loaded from the NVM at reset (82574 4.6.1). */
static void read_addr(struct intel_dev *d)
{
	uint32_t lo = reg_rd32(d->regs, R_RAL0), hi = reg_rd32(d->regs, R_RAH0);

	for (unsigned i = 0; i < 6; i++)
		d->dev.grant.mac[i] = (uint8_t)(i < 4 ? lo >> 8 * i : hi >> 8 * (i - 4));
}

/* What does not depend on registers. */
static struct intel_dev *make(struct vfio *v, const struct nic_grant *g,
			      const struct intel_family *f, const struct nic_dev_ops *ops)
{
	struct intel_dev *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	d->v = v;
	d->f = f;
	d->regs = v->bar[0];
	d->ring = INTEL_RING;
	d->dev = (struct nic_dev){ .ops = ops, .driver = f->name, .grant = *g, .evt_fd = v->evt,
				   .priv = d };
	if (d->dev.grant.queues > f->queues)
		d->dev.grant.queues = f->queues;
	if (d->dev.grant.mtu > INTEL_MTU)
		d->dev.grant.mtu = INTEL_MTU;
	return d;
}

int intel_probe(struct vfio *v, const struct nic_grant *g, const struct intel_family *f,
		const struct nic_dev_ops *ops, struct nic_dev **ret, char err[NIC_ERR])
{
	struct intel_dev *d;
	int r;

	if (!v->bar[0] || v->bar_len[0] < BAR0_MIN) {
		snprintf(err, NIC_ERR, "%s: no registers at BAR 0", f->name);
		return -ENODEV;
	}
	d = make(v, g, f, ops);
	if (!d)
		return -ENOMEM;
	intel_halt(&d->dev);
	read_addr(d);
	rss_default(d);
	r = vfio_irqs(v);
	if (!r)
		r = vfio_bus_master(v, true);
	if (r) {
		snprintf(err, NIC_ERR, "%s: interrupts or bus mastering cannot be set up", f->name);
		free(d);
		return r;
	}
	*ret = &d->dev;
	return 0;
}
