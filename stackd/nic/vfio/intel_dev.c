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

#define BAR0_MIN 0x20000u		/* 128 KiB of registers in both families */

int intel_map(struct nic_dev *dev, uint16_t worker, void *mem, size_t len)
{
	struct intel_dev *d = dev->priv;

	return vfio_map_pool(d->v, worker, mem, len);
}

int intel_queue(struct nic_dev *dev, uint16_t n, struct stack *st, struct nic **ret)
{
	struct intel_dev *d = dev->priv;
	struct intel_q *q = calloc(1, sizeof(*q));
	int r;

	if (!q)
		return -ENOMEM;
	r = vfio_ring_mem(d->v, intel_q_mem(), &q->mem);
	if (r) {
		free(q);
		return r;
	}
	q->dev = dev;
	q->v = d->v;
	q->f = d->f;
	q->regs = d->regs;
	q->nic = (struct nic){
		.ops = &intel_q_ops, .mtu = dev->grant.mtu, .queue = n,
		.features = NIC_F_CSUM | NIC_F_TSO | NIC_F_TSO6 | NIC_F_RX_CSUM | NIC_F_RX_HASH,
		.queues = dev->grant.queues, .priv = q, .dev = dev,
	};
	memcpy(q->nic.mac, dev->grant.mac, 6);
	memcpy(q->nic.ifname, dev->grant.name, sizeof(q->nic.ifname));
	d->q[n] = q;
	*ret = &q->nic;
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

void intel_close(struct nic_dev *dev)
{
	struct intel_dev *d = dev->priv;

	dev->ops->halt(dev);
	vfio_close(d->v);
	free(d);
}

void intel_rss_default(struct intel_dev *d, bool udp_ports)
{
	struct nic_rss *rss = &d->rss;

	rss->indir_len = NIC_RSS_INDIR;
	for (unsigned i = 0; i < NIC_RSS_INDIR; i++)
		rss->indir[i] = (uint16_t)(i % d->dev.grant.queues);
	if (getrandom(rss->key, sizeof(rss->key), 0) != sizeof(rss->key))
		memcpy(rss->key, toeplitz_default_key, sizeof(rss->key));
	for (unsigned i = 0; i < NIC_FLOW_MAX; i++)
		rss->fields[i] = NIC_HASH_SRC | NIC_HASH_DST;
	rss->fields[NIC_FLOW_TCP4] |= NIC_HASH_SPORT | NIC_HASH_DPORT;
	rss->fields[NIC_FLOW_TCP6] |= NIC_HASH_SPORT | NIC_HASH_DPORT;
	if (udp_ports) {
		rss->fields[NIC_FLOW_UDP4] |= NIC_HASH_SPORT | NIC_HASH_DPORT;
		rss->fields[NIC_FLOW_UDP6] |= NIC_HASH_SPORT | NIC_HASH_DPORT;
	}
}

int intel_new(struct vfio *v, const struct nic_grant *g, const struct intel_family *f,
	      const struct nic_dev_ops *ops, struct intel_dev **ret, char err[NIC_ERR])
{
	struct intel_dev *d;

	if (!v->bar[0] || v->bar_len[0] < BAR0_MIN) {
		snprintf(err, NIC_ERR, "%s: no registers at BAR 0", f->name);
		return -ENODEV;
	}
	d = calloc(1, sizeof(*d));
	if (!d)
		return -ENOMEM;
	d->v = v;
	d->f = f;
	d->regs = v->bar[0];
	d->dev = (struct nic_dev){ .ops = ops, .driver = f->name, .grant = *g, .evt_fd = v->evt,
				   .priv = d };
	if (d->dev.grant.queues > f->queues)
		d->dev.grant.queues = f->queues;
	if (d->dev.grant.mtu > INTEL_MTU)
		d->dev.grant.mtu = INTEL_MTU;
	*ret = d;
	return 0;
}
