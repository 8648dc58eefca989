/* SPDX-License-Identifier: MIT */
/* nic/vfio/igb.c - Intel 82576
 * Sixteen queue pairs, of which as many are used as there are workers and vectors for. MSI-X:
 * vector 0 link, 1 + q queue q, masked by hand in EIMS as in e1000e.c. After a reset the link
 * stays down until auto-negotiation is started again.
 * Spec:    82576 datasheet (320961) 4.5 (initialization), 7.1 to 7.3, 8 (registers)
 * Threads: start-up; worker 0; irq_on, irq_off and the transmit functions the queue's worker
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "stackd/atomic.h"
#include "stackd/core/clock.h"
#include "stackd/core/csum.h"
#include "stackd/nic/vfio/igb_regs.h"
#include "stackd/nic/vfio/intel.h"

#define WAIT_US		100000u
#define QUEUES		8u		/* IVAR's simple half, RSS's eight */

static bool wait_bits(volatile uint8_t *regs, unsigned reg, uint32_t mask, uint32_t want)
{
	uint64_t end = clock_mono_us() + WAIT_US;

	while ((reg_rd32(regs, reg) & mask) != want) {
		if (clock_mono_us() > end)
			return false;
	}
	return true;
}

/* ---- transmit descriptors ---------------------------------------------------------------- */

/* 7.2.2.2 */
static void tx_context(struct intel_desc *d, const struct pkt *p, uint32_t hdr)
{
	uint32_t l4 = (uint32_t)(p->buf + p->csum_start - p->data);
	bool v4 = p->data[ETH_HLEN] >> 4 == 4;
	uint32_t lens = (l4 - ETH_HLEN) | ETH_HLEN << 9;
	uint32_t cmd = IT_CONTEXT | IT_DEXT | (v4 ? IT_IP4 : 0) | (p->csum_off == 16 ? IT_TCP : 0);
	uint32_t mss = (hdr - l4) << 8 | (uint32_t)p->gso_size << 16;

	if (p->gso_type == PKT_GSO_NONE)
		mss &= 0xffff;
	st_rlx(&d->q[0], lens);
	st_rlx(&d->q[1], cmd | (uint64_t)mss << 32);
}

/* 7.2.2.3 */
static void tx_data(struct intel_desc *d, uint64_t iova, uint32_t len, bool last,
		    const struct pkt *p, uint32_t hdr)
{
	bool gso = p->gso_type != PKT_GSO_NONE;
	uint32_t cmd = len | IT_DATA | IT_DEXT | IT_IFCS | (last ? IT_EOP | IT_RS : 0) |
		       (gso ? IT_TSE : 0);
	uint32_t info = (gso ? p->len - hdr : p->len) << IT_PAYLEN | (hdr ? IT_TXSM : 0) |
			(p->gso_type == PKT_GSO_TCP4 ? IT_IXSM : 0);

	st_rlx(&d->q[0], iova);
	st_rlx(&d->q[1], cmd | (uint64_t)info << 32);
}

/* ---- interrupts -------------------------------------------------------------------------- */

static void irq_on(struct intel_q *q)
{
	uint32_t bit = 1u << (1 + q->nic.queue);

	reg_wr32(q->regs, I_EICR, bit);
	reg_wr32(q->regs, I_EIMS, bit);
}

static void irq_off(struct intel_q *q)
{
	reg_wr32(q->regs, I_EIMC, 1u << (1 + q->nic.queue));
}

static const struct intel_family family = {
	.name = "igb", .queues = QUEUES, .tx_context = tx_context, .tx_data = tx_data,
	.irq_on = irq_on, .irq_off = irq_off,
};

/* ---- reset, start ------------------------------------------------------------------------ */

/* 4.3.1, 5.2.3.3 */
static void halt(struct nic_dev *dev)
{
	volatile uint8_t *r = ((struct intel_dev *)dev->priv)->regs;

	reg_wr32(r, I_IMC, UINT32_MAX);
	reg_wr32(r, I_EIMC, UINT32_MAX);
	reg_wr32(r, I_RCTL, 0);
	reg_wr32(r, I_TCTL, 0);
	reg_wr32(r, I_CTRL, reg_rd32(r, I_CTRL) | I_CTRL_GIO_DIS);
	wait_bits(r, I_STATUS, I_STATUS_GIO, 0);
	reg_wr32(r, I_CTRL, (reg_rd32(r, I_CTRL) & ~I_CTRL_GIO_DIS) | I_CTRL_RST);
	wait_bits(r, I_CTRL, I_CTRL_RST, 0);
	reg_wr32(r, I_IMC, UINT32_MAX);
	reg_wr32(r, I_EIMC, UINT32_MAX);
}

/* 7.1.2.8 */
static void put_rss(struct intel_dev *d)
{
	volatile uint8_t *r = d->regs;
	const struct nic_rss *rss = &d->rss;
	const uint8_t *f = rss->fields;
	uint32_t word, types = I_MRQC_RSS;

	for (unsigned i = 0; i < NIC_RSS_KEY / 4; i++) {
		memcpy(&word, rss->key + 4 * i, 4);
		reg_wr32(r, I_RSSRK(i), word);
	}
	for (unsigned i = 0; i < NIC_RSS_INDIR / 4; i++) {
		word = 0;
		for (unsigned n = 0; n < 4; n++)
			word |= (uint32_t)rss->indir[4 * i + n] << (8 * n);
		reg_wr32(r, I_RETA(i), word);
	}
	types |= (f[NIC_FLOW_TCP4] == 15 ? I_MRQC_TCP4 : 0) | (f[NIC_FLOW_IP4] ? I_MRQC_IP4 : 0) |
		 (f[NIC_FLOW_UDP4] == 15 ? I_MRQC_UDP4 : 0) |
		 (f[NIC_FLOW_TCP6] == 15 ? I_MRQC_TCP6 : 0) | (f[NIC_FLOW_IP6] ? I_MRQC_IP6 : 0) |
		 (f[NIC_FLOW_UDP6] == 15 ? I_MRQC_UDP6 : 0);
	reg_wr32(r, I_MRQC, types);
}

/* 4.5.9, 4.5.10: a queue is enabled before its tail is set. */
static int put_queue(volatile uint8_t *r, struct intel_q *q)
{
	unsigned n = q->nic.queue;
	uint32_t len = INTEL_RING * sizeof(struct intel_desc);

	q->rdt = I_RDT(n);
	q->tdt = I_TDT(n);
	reg_wr32(r, I_RDBAL(n), (uint32_t)q->rx_iova);
	reg_wr32(r, I_RDBAH(n), (uint32_t)(q->rx_iova >> 32));
	reg_wr32(r, I_RDLEN(n), len);
	reg_wr32(r, I_SRRCTL(n), I_SRRCTL_SET);
	reg_wr32(r, I_RDH(n), 0);
	reg_wr32(r, I_RDT(n), 0);
	reg_wr32(r, I_RXDCTL(n), reg_rd32(r, I_RXDCTL(n)) | I_RXDCTL_EN);
	reg_wr32(r, I_TDBAL(n), (uint32_t)q->tx_iova);
	reg_wr32(r, I_TDBAH(n), (uint32_t)(q->tx_iova >> 32));
	reg_wr32(r, I_TDLEN(n), len);
	reg_wr32(r, I_TDH(n), 0);
	reg_wr32(r, I_TDT(n), 0);
	reg_wr32(r, I_TXDCTL(n), reg_rd32(r, I_TXDCTL(n)) | I_TXDCTL_EN);
	return wait_bits(r, I_RXDCTL(n), I_RXDCTL_EN, I_RXDCTL_EN) &&
	       wait_bits(r, I_TXDCTL(n), I_TXDCTL_EN, I_TXDCTL_EN) ? 0 : -EIO;
}

/* 7.3.1.2, 8.8.15 */
static void put_irqs(struct intel_dev *d)
{
	volatile uint8_t *r = d->regs;
	uint32_t all = 1;

	reg_wr32(r, I_GPIE, I_GPIE_SET);
	for (unsigned n = 0; n < d->dev.grant.queues; n++) {
		uint32_t v = (1 + n) | I_IVAR_VALID;

		reg_wr32(r, I_IVAR(n), v | v << 8);
		reg_wr32(r, I_EITR(1 + n), 0);
		all |= 1u << (1 + n);
	}
	reg_wr32(r, I_IVAR_MISC, I_IVAR_VALID << 8);
	reg_wr32(r, I_EIAC, all);
	reg_wr32(r, I_IMS, I_INT_LSC);
	reg_wr32(r, I_EIMS, 1);
}

static void put_addr(struct intel_dev *d)
{
	const uint8_t *m = d->dev.grant.mac;

	for (unsigned i = 0; i < 128; i++)
		reg_wr32(d->regs, I_MTA(i), UINT32_MAX);
	reg_wr32(d->regs, I_RAL0, m[0] | (uint32_t)m[1] << 8 | (uint32_t)m[2] << 16 |
				  (uint32_t)m[3] << 24);
	reg_wr32(d->regs, I_RAH0, m[4] | (uint32_t)m[5] << 8 | I_RAH_AV);
}

static int go(struct nic_dev *dev)
{
	struct intel_dev *d = dev->priv;
	volatile uint8_t *r = d->regs;
	int err = 0;

	halt(dev);
	reg_wr32(r, I_CTRL_EXT, reg_rd32(r, I_CTRL_EXT) | I_CTRL_EXT_DRV);
	reg_wr32(r, I_CTRL, reg_rd32(r, I_CTRL) | I_CTRL_SLU);
	reg_wr32(r, I_MDIC, I_MDIC_WRITE | I_MDIC_PHY | I_MDIC_REG(PHY_CTRL) | PHY_CTRL_AUTONEG);
	if (!wait_bits(r, I_MDIC, I_MDIC_READY, I_MDIC_READY))
		return -EIO;
	put_addr(d);
	reg_wr32(r, I_RXCSUM, I_RXCSUM_SET);
	if (dev->grant.queues > 1)
		put_rss(d);
	reg_wr32(r, I_TCTL, I_TCTL_SET);
	reg_wr32(r, I_RCTL, I_RCTL_EN | I_RCTL_BAM | I_RCTL_SECRC);
	for (unsigned n = 0; !err && n < dev->grant.queues; n++)
		err = d->q[n] ? put_queue(r, d->q[n]) : 0;
	if (err)
		return err;
	put_irqs(d);
	for (unsigned n = 0; n < dev->grant.queues; n++)
		if (d->q[n])
			reg_wr32(r, I_RDT(n), d->q[n]->rx_tail);
	return 0;
}

/* ---- events ------------------------------------------------------------------------------ */

static void poll(struct nic_dev *dev, uint64_t now_us)
{
	static const uint32_t mbps[4] = { 10, 100, 1000, 1000 };
	struct intel_dev *d = dev->priv;
	uint32_t status = reg_rd32(d->regs, I_STATUS);
	bool up = status & I_STATUS_LU;

	dev->iommu_faults += vfio_read_faults(d->v);
	if (status == UINT32_MAX) {
		nic_fault(dev, NIC_FAULT_GONE);
		return;
	}
	(void)reg_rd32(d->regs, I_ICR);	/* 8.8.9: cleared by reading */
	reg_wr32(d->regs, I_EIMS, 1);
	d->link.changes += up != d->link.up;
	d->link.up = up;
	d->link.full_duplex = status & I_STATUS_FD;
	d->link.mbps = up ? mbps[(status & I_STATUS_SPEED) >> 6] : 0;
}

/* A type for IP takes every packet of that version which has no type of its own. */
static bool fields_ok(const uint8_t *f, unsigned tcp, unsigned udp, unsigned ip)
{
	return (f[ip] == 0 || f[ip] == 3) && (f[tcp] == 15 || f[tcp] == f[ip]) &&
	       (f[udp] == 15 || f[udp] == f[ip]);
}

static int rss_set(struct nic_dev *dev, const struct nic_rss *rss)
{
	struct intel_dev *d = dev->priv;

	for (unsigned i = 0; i < NIC_RSS_INDIR; i++)
		if (rss->indir[i] >= dev->grant.queues)
			return -EINVAL;
	if (!fields_ok(rss->fields, NIC_FLOW_TCP4, NIC_FLOW_UDP4, NIC_FLOW_IP4) ||
	    !fields_ok(rss->fields, NIC_FLOW_TCP6, NIC_FLOW_UDP6, NIC_FLOW_IP6))
		return -EOPNOTSUPP;
	d->rss = *rss;
	d->rss.indir_len = NIC_RSS_INDIR;
	put_rss(d);
	return 0;
}

static const struct nic_dev_ops ops = {
	.map = intel_map, .queue = intel_queue, .go = go, .halt = halt, .poll = poll,
	.link = intel_link, .rss_get = intel_rss_get, .rss_set = rss_set, .close = intel_close,
};

int igb_probe(struct vfio *v, const struct nic_grant *g, struct nic_dev **ret,
	      char err[NIC_ERR])
{
	struct intel_dev *d;
	uint32_t lo, hi;
	int r = intel_new(v, g, &family, &ops, &d, err);

	if (r)
		return r;
	halt(&d->dev);
	lo = reg_rd32(d->regs, I_RAL0);
	hi = reg_rd32(d->regs, I_RAH0);
	for (unsigned i = 0; i < 6; i++)
		d->dev.grant.mac[i] = (uint8_t)(i < 4 ? lo >> 8 * i : hi >> 8 * (i - 4));
	intel_rss_default(d, true);
	r = vfio_irqs(v);
	if (!r)
		r = vfio_bus_master(v, true);
	if (r) {
		snprintf(err, NIC_ERR, "igb: interrupts or bus mastering cannot be set up");
		free(d);
		return r;
	}
	*ret = &d->dev;
	return 0;
}
