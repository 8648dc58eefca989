/* SPDX-License-Identifier: MIT */
/* nic/vfio/intel_hw.c - Intel gigabit: registers that both families have
 * What only one of them has, and the order in which a family wants it all, is in its own file.
 * Spec:    82574 datasheet (317694) 4.6, 7.1.11, 10.2; 82576 datasheet (320961) 4.5, 7.1.2.8, 8
 * Threads: start-up; worker 0
 */
#include <errno.h>

#include "stackd/core/clock.h"
#include "stackd/nic/vfio/intel.h"
#include "stackd/nic/vfio/intel_regs.h"

#define WAIT_US 100000u

bool intel_wait(volatile uint8_t *regs, unsigned reg, uint32_t mask, uint32_t want)
{
	uint64_t end = clock_mono_us() + WAIT_US;

	while ((reg_rd32(regs, reg) & mask) != want) {
		if (clock_mono_us() > end)
			return false;
	}
	return true;
}

/* ---- reset, start ------------------------------------------------------------------------ */

/* 82574 4.6.3, 5.2.5.3; 82576 4.3.1, 5.2.3.3: requests end first. */
void intel_halt(struct nic_dev *dev)
{
	struct intel_dev *d = dev->priv;
	volatile uint8_t *r = d->regs;

	d->f->irqs_off(r);
	reg_wr32(r, R_RCTL, 0);
	reg_wr32(r, R_TCTL, 0);
	reg_wr32(r, R_CTRL, reg_rd32(r, R_CTRL) | R_CTRL_GIO_DIS);
	intel_wait(r, R_STATUS, R_STATUS_GIO, 0);
	reg_wr32(r, R_CTRL, (reg_rd32(r, R_CTRL) & ~R_CTRL_GIO_DIS) | R_CTRL_RST);
	intel_wait(r, R_CTRL, R_CTRL_RST, 0);
	d->f->irqs_off(r);
}

int intel_link_on(struct intel_dev *d)
{
	volatile uint8_t *r = d->regs;

	reg_wr32(r, R_CTRL, reg_rd32(r, R_CTRL) | R_CTRL_SLU);
	reg_wr32(r, R_MDIC, R_MDIC_WRITE | R_MDIC_PHY | R_MDIC_REG(PHY_CTRL) | PHY_CTRL_AUTONEG);
	return intel_wait(r, R_MDIC, R_MDIC_READY, R_MDIC_READY) ? 0 : -EIO;
}

void intel_put_addr(struct intel_dev *d)
{
	const uint8_t *m = d->dev.grant.mac;

	for (unsigned i = 0; i < 128; i++)
		reg_wr32(d->regs, R_MTA(i), UINT32_MAX);	/* link/ looks at group addresses */
	reg_wr32(d->regs, R_RAL0, m[0] | (uint32_t)m[1] << 8 | (uint32_t)m[2] << 16 |
				  (uint32_t)m[3] << 24);
	reg_wr32(d->regs, R_RAH0, m[4] | (uint32_t)m[5] << 8 | R_RAH_AV);
}

static void put_ring(volatile uint8_t *regs, unsigned at, uint64_t iova, uint16_t size)
{
	reg_wr32(regs, at + R_DBAL, (uint32_t)iova);
	reg_wr32(regs, at + R_DBAH, (uint32_t)(iova >> 32));
	reg_wr32(regs, at + R_DLEN, size * sizeof(struct intel_desc));
	reg_wr32(regs, at + R_DH, 0);
	reg_wr32(regs, at + R_DT, 0);
}

void intel_put_rings(struct intel_q *q)
{
	put_ring(q->regs, q->rdt - R_DT, q->rx_iova, q->size);
	put_ring(q->regs, q->tdt - R_DT, q->tx_iova, q->size);
}

void intel_put_tails(struct intel_dev *d)
{
	for (unsigned n = 0; n < d->dev.grant.queues; n++)
		if (d->q[n])
			reg_wr32(d->regs, d->q[n]->rdt, d->q[n]->rx_tail);
}

/* ---- spread ------------------------------------------------------------------------------ */

/* 82574 7.1.11, 82576 7.1.2.8: hash key, table and types. */
void intel_put_rss(struct intel_dev *d)
{
	const struct nic_rss *rss = &d->rss;
	uint32_t word, types = d->f->mrqc;

	for (unsigned i = 0; i < NIC_RSS_KEY / 4; i++) {
		memcpy(&word, rss->key + 4 * i, 4);
		reg_wr32(d->regs, R_RSSRK(i), word);
	}
	for (unsigned i = 0; i < NIC_RSS_INDIR / 4; i++) {
		word = 0;
		for (unsigned n = 0; n < 4; n++)
			word |= (uint32_t)rss->indir[4 * i + n] << (8 * n + d->f->reta_shift);
		reg_wr32(d->regs, R_RETA(i), word);
	}
	for (unsigned i = 0; i < NIC_FLOW_MAX; i++) {
		bool ip = i == NIC_FLOW_IP4 || i == NIC_FLOW_IP6;

		if (ip ? rss->fields[i] != 0 : rss->fields[i] == 15)
			types |= d->f->mrqc_flow[i];
	}
	reg_wr32(d->regs, R_MRQC, types);
}

/* A type for IP takes every packet of that version which has no type of its own. */
static bool fields_ok(const struct intel_family *fam, const uint8_t *f, unsigned tcp, unsigned udp,
		      unsigned ip)
{
	return (f[ip] == 0 || f[ip] == 3) && (f[tcp] == 15 || f[tcp] == f[ip]) &&
	       ((f[udp] == 15 && fam->mrqc_flow[udp]) || f[udp] == f[ip]);
}

int intel_rss_set(struct nic_dev *dev, const struct nic_rss *rss)
{
	struct intel_dev *d = dev->priv;

	for (unsigned i = 0; i < NIC_RSS_INDIR; i++)
		if (rss->indir[i] >= dev->grant.queues)
			return -EINVAL;
	if (!fields_ok(d->f, rss->fields, NIC_FLOW_TCP4, NIC_FLOW_UDP4, NIC_FLOW_IP4) ||
	    !fields_ok(d->f, rss->fields, NIC_FLOW_TCP6, NIC_FLOW_UDP6, NIC_FLOW_IP6))
		return -EOPNOTSUPP;
	d->rss = *rss;
	d->rss.indir_len = NIC_RSS_INDIR;
	intel_put_rss(d);
	return 0;
}

/* ---- interrupts --------------------------------------------------------------------------- */

int intel_coalesce_get(struct nic_dev *dev, struct nic_coalesce *ret)
{
	const struct intel_dev *d = dev->priv;

	*ret = (struct nic_coalesce){ .rx_usecs = d->itr_us, .tx_usecs = d->itr_us };
	return 0;
}

int intel_coalesce_set(struct nic_dev *dev, const struct nic_coalesce *c)
{
	struct intel_dev *d = dev->priv;

	if (c->rx_frames || c->tx_frames || c->adaptive_rx || c->rx_usecs != c->tx_usecs)
		return -EOPNOTSUPP;
	if (c->rx_usecs > d->f->itr_max_us)
		return -EINVAL;
	d->itr_us = (uint16_t)c->rx_usecs;
	for (unsigned n = 0; n < dev->grant.queues; n++)
		d->f->put_itr(d->regs, n, d->itr_us);
	return 0;
}

/* ---- events ------------------------------------------------------------------------------ */

void intel_poll(struct nic_dev *dev, uint64_t now_us)
{
	static const uint32_t mbps[4] = { 10, 100, 1000, 1000 };
	struct intel_dev *d = dev->priv;
	uint32_t status = reg_rd32(d->regs, R_STATUS);
	bool up = status & R_STATUS_LU;

	dev->iommu_faults += vfio_read_faults(d->v);
	if (status == UINT32_MAX) {
		nic_fault(dev, NIC_FAULT_GONE);
		return;
	}
	d->f->event(d->regs);
	d->link.changes += up != d->link.up;
	d->link.up = up;
	d->link.full_duplex = status & R_STATUS_FD;
	d->link.mbps = up ? mbps[(status & R_STATUS_SPEED) >> 6] : 0;
}
