/* SPDX-License-Identifier: MIT */
/* nic/vfio/e1000e.c - Intel 82574
 * Two queue pairs, MSI-X: vector 0 link, 1 + q queue q. Interrupts are masked by hand: a queue's
 * two causes are unmasked when its worker goes to sleep, and masked again when it polls.
 * Spec:    82574 datasheet (317694) 4.6 (initialization), 7.1 to 7.4, 10.2 (registers)
 * Threads: start-up; worker 0; irq_on, irq_off and the transmit functions the queue's worker
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "stackd/atomic.h"
#include "stackd/core/clock.h"
#include "stackd/core/csum.h"
#include "stackd/nic/vfio/e1000e_regs.h"
#include "stackd/nic/vfio/intel.h"

#define WAIT_US		100000u
#define QUEUES		2u

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

/* 7.2.6: where the checksums start and go; for segmentation also what to repeat. */
static void tx_context(struct intel_desc *d, const struct pkt *p, uint32_t hdr)
{
	uint32_t l3 = ETH_HLEN, l4 = (uint32_t)(p->buf + p->csum_start - p->data);
	bool gso = p->gso_type != PKT_GSO_NONE, v4 = p->data[l3] >> 4 == 4;
	uint32_t cmd = ET_DEXT | (p->csum_off == 16 ? ET_TCP : 0) | (v4 ? ET_IP4 : 0);
	uint32_t pay = 0, mss = 0;

	if (gso) {
		cmd |= ET_TSE | ET_RS;
		pay = p->len - hdr;
		mss = p->gso_size;
	}
	st_rlx(&d->q[0], (uint64_t)(l3 | (l3 + 10) << 8 | (l4 - 1) << 16) |
			 (uint64_t)(l4 | (l4 + p->csum_off) << 8) << 32);
	st_rlx(&d->q[1], (uint64_t)(pay | cmd) | (uint64_t)(hdr << 8 | mss << 16) << 32);
}

/* 7.2.11 */
static void tx_data(struct intel_desc *d, uint64_t iova, uint32_t len, bool last,
		    const struct pkt *p, uint32_t hdr)
{
	uint64_t w = len | ET_DATA | ET_DEXT | ET_IFCS | (last ? ET_EOP | ET_RS : 0);

	if (hdr)
		w |= ET_TXSM;
	if (p->gso_type != PKT_GSO_NONE)
		w |= ET_TSE | (p->gso_type == PKT_GSO_TCP4 ? ET_IXSM : 0);
	st_rlx(&d->q[0], iova);
	st_rlx(&d->q[1], w);
}

/* ---- interrupts -------------------------------------------------------------------------- */

/* 10.2.4: what happened while masked is still in ICR and would fire at once: the caller looks at
 * the rings after this. */
static void irq_on(struct intel_q *q)
{
	uint32_t bits = E_INT_RXQ(q->nic.queue) | E_INT_TXQ(q->nic.queue);

	reg_wr32(q->regs, E_ICR, bits);
	reg_wr32(q->regs, E_IMS, bits);
}

static void irq_off(struct intel_q *q)
{
	reg_wr32(q->regs, E_IMC, E_INT_RXQ(q->nic.queue) | E_INT_TXQ(q->nic.queue));
}

static const struct intel_family family = {
	.name = "e1000e", .queues = QUEUES, .tx_context = tx_context, .tx_data = tx_data,
	.irq_on = irq_on, .irq_off = irq_off,
};

/* ---- reset, start ------------------------------------------------------------------------ */

/* 4.6.3, 5.2.5.3: requests end first, then everything goes back to its defaults. */
static void halt(struct nic_dev *dev)
{
	volatile uint8_t *r = ((struct intel_dev *)dev->priv)->regs;

	reg_wr32(r, E_IMC, UINT32_MAX);
	reg_wr32(r, E_RCTL, 0);
	reg_wr32(r, E_TCTL, 0);
	reg_wr32(r, E_CTRL, reg_rd32(r, E_CTRL) | E_CTRL_GIO_DIS);
	wait_bits(r, E_STATUS, E_STATUS_GIO, 0);
	reg_wr32(r, E_CTRL, (reg_rd32(r, E_CTRL) & ~E_CTRL_GIO_DIS) | E_CTRL_RST);
	wait_bits(r, E_CTRL, E_CTRL_RST, 0);
	reg_wr32(r, E_IMC, UINT32_MAX);
}

/* 7.1.11: hash key, table and types. */
static void put_rss(struct intel_dev *d)
{
	volatile uint8_t *r = d->regs;
	const struct nic_rss *rss = &d->rss;
	uint32_t word, types = E_MRQC_RSS;

	for (unsigned i = 0; i < NIC_RSS_KEY / 4; i++) {
		memcpy(&word, rss->key + 4 * i, 4);
		reg_wr32(r, E_RSSRK(i), word);
	}
	for (unsigned i = 0; i < NIC_RSS_INDIR / 4; i++) {
		word = 0;
		for (unsigned n = 0; n < 4; n++)
			word |= (uint32_t)(rss->indir[4 * i + n] & 1) << (8 * n + 7);
		reg_wr32(r, E_RETA(i), word);
	}
	types |= rss->fields[NIC_FLOW_TCP4] == 15 ? E_MRQC_TCP4 : 0;
	types |= rss->fields[NIC_FLOW_IP4] ? E_MRQC_IP4 : 0;
	types |= rss->fields[NIC_FLOW_TCP6] == 15 ? E_MRQC_TCP6 : 0;
	types |= rss->fields[NIC_FLOW_IP6] ? E_MRQC_IP6 : 0;
	reg_wr32(r, E_MRQC, types);
}

/* 4.6.5, 4.6.6 */
static void put_queue(volatile uint8_t *r, struct intel_q *q)
{
	unsigned n = q->nic.queue;
	uint32_t len = INTEL_RING * sizeof(struct intel_desc);

	q->rdt = E_RDT(n);
	q->tdt = E_TDT(n);
	reg_wr32(r, E_RDBAL(n), (uint32_t)q->rx_iova);
	reg_wr32(r, E_RDBAH(n), (uint32_t)(q->rx_iova >> 32));
	reg_wr32(r, E_RDLEN(n), len);
	reg_wr32(r, E_RDH(n), 0);
	reg_wr32(r, E_RDT(n), 0);
	reg_wr32(r, E_RXDCTL(n), E_RXDCTL_SET);
	reg_wr32(r, E_TDBAL(n), (uint32_t)q->tx_iova);
	reg_wr32(r, E_TDBAH(n), (uint32_t)(q->tx_iova >> 32));
	reg_wr32(r, E_TDLEN(n), len);
	reg_wr32(r, E_TDH(n), 0);
	reg_wr32(r, E_TDT(n), 0);
	reg_wr32(r, E_TXDCTL(n), E_TXDCTL_SET);
	reg_wr32(r, E_TARC(n), reg_rd32(r, E_TARC(n)) | E_TARC_EN);
}

static void put_irqs(struct intel_dev *d)
{
	volatile uint8_t *r = d->regs;
	uint32_t ivar = E_IVAR_OTHER(0) | E_IVAR_TX_WB, all = E_INT_OTHER;

	for (unsigned n = 0; n < d->dev.grant.queues; n++) {
		ivar |= E_IVAR_RXQ(n, 1 + n) | E_IVAR_TXQ(n, 1 + n);
		all |= E_INT_RXQ(n) | E_INT_TXQ(n);
		reg_wr32(r, E_EITR(1 + n), 0);
	}
	reg_wr32(r, E_CTRL_EXT, reg_rd32(r, E_CTRL_EXT) | E_CTRL_EXT_PBA);
	reg_wr32(r, E_IVAR, ivar);
	reg_wr32(r, E_EIAC, all);
	reg_wr32(r, E_IMS, E_INT_LSC | E_INT_OTHER);
}

static void put_addr(struct intel_dev *d)
{
	const uint8_t *m = d->dev.grant.mac;

	for (unsigned i = 0; i < 128; i++)
		reg_wr32(d->regs, E_MTA(i), UINT32_MAX);	/* link/ looks at group addresses */
	reg_wr32(d->regs, E_RAL0, m[0] | (uint32_t)m[1] << 8 | (uint32_t)m[2] << 16 |
				  (uint32_t)m[3] << 24);
	reg_wr32(d->regs, E_RAH0, m[4] | (uint32_t)m[5] << 8 | E_RAH_AV);
}

static int go(struct nic_dev *dev)
{
	struct intel_dev *d = dev->priv;
	volatile uint8_t *r = d->regs;

	halt(dev);
	reg_wr32(r, E_CTRL, reg_rd32(r, E_CTRL) | E_CTRL_SLU);
	reg_wr32(r, E_MDIC, E_MDIC_WRITE | E_MDIC_PHY | E_MDIC_REG(PHY_CTRL) | PHY_CTRL_AUTONEG);
	if (!wait_bits(r, E_MDIC, E_MDIC_READY, E_MDIC_READY))
		return -EIO;
	put_addr(d);
	reg_wr32(r, E_RFCTL, reg_rd32(r, E_RFCTL) | E_RFCTL_EXSTEN);
	reg_wr32(r, E_RXCSUM, E_RXCSUM_SET);
	if (dev->grant.queues > 1)
		put_rss(d);
	for (unsigned n = 0; n < dev->grant.queues; n++)
		if (d->q[n])
			put_queue(r, d->q[n]);
	put_irqs(d);
	reg_wr32(r, E_TIPG, E_TIPG_SET);
	reg_wr32(r, E_TCTL, E_TCTL_SET);
	reg_wr32(r, E_RCTL, E_RCTL_EN | E_RCTL_BAM | E_RCTL_SECRC);
	for (unsigned n = 0; n < dev->grant.queues; n++)
		if (d->q[n])
			reg_wr32(r, E_RDT(n), d->q[n]->rx_tail);
	return 0;
}

/* ---- events ------------------------------------------------------------------------------ */

static void poll(struct nic_dev *dev, uint64_t now_us)
{
	static const uint32_t mbps[4] = { 10, 100, 1000, 1000 };
	struct intel_dev *d = dev->priv;
	uint32_t status = reg_rd32(d->regs, E_STATUS);
	bool up = status & E_STATUS_LU;

	dev->iommu_faults += vfio_read_faults(d->v);
	if (status == UINT32_MAX) {
		nic_fault(dev, NIC_FAULT_GONE);
		return;
	}
	reg_wr32(d->regs, E_ICR, E_INT_LSC | E_INT_OTHER);
	reg_wr32(d->regs, E_IMS, E_INT_LSC | E_INT_OTHER);
	d->link.changes += up != d->link.up;
	d->link.up = up;
	d->link.full_duplex = status & E_STATUS_FD;
	d->link.mbps = up ? mbps[(status & E_STATUS_SPEED) >> 6] : 0;
}

/* 7.1.11.1: UDP is hashed by addresses only, and every IP packet that no TCP type takes with it. */
static int rss_set(struct nic_dev *dev, const struct nic_rss *rss)
{
	struct intel_dev *d = dev->priv;
	const uint8_t *f = rss->fields;

	for (unsigned i = 0; i < NIC_RSS_INDIR; i++)
		if (rss->indir[i] >= dev->grant.queues)
			return -EINVAL;
	for (unsigned i = 0; i < NIC_FLOW_MAX; i++)
		if (f[i] != 0 && f[i] != 3 && !(f[i] == 15 && (i == NIC_FLOW_TCP4 ||
							       i == NIC_FLOW_TCP6)))
			return -EOPNOTSUPP;
	if (f[NIC_FLOW_UDP4] != f[NIC_FLOW_IP4] || f[NIC_FLOW_UDP6] != f[NIC_FLOW_IP6] ||
	    (f[NIC_FLOW_TCP4] != 15 && f[NIC_FLOW_TCP4] != f[NIC_FLOW_IP4]) ||
	    (f[NIC_FLOW_TCP6] != 15 && f[NIC_FLOW_TCP6] != f[NIC_FLOW_IP6]))
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

int e1000e_probe(struct vfio *v, const struct nic_grant *g, struct nic_dev **ret,
		 char err[NIC_ERR])
{
	struct intel_dev *d;
	uint32_t lo, hi;
	int r = intel_new(v, g, &family, &ops, &d, err);

	if (r)
		return r;
	halt(&d->dev);
	lo = reg_rd32(d->regs, E_RAL0);	/* 4.6.1: the address is loaded from the NVM at reset */
	hi = reg_rd32(d->regs, E_RAH0);
	for (unsigned i = 0; i < 6; i++)
		d->dev.grant.mac[i] = (uint8_t)(i < 4 ? lo >> 8 * i : hi >> 8 * (i - 4));
	intel_rss_default(d, false);
	r = vfio_irqs(v);
	if (!r)
		r = vfio_bus_master(v, true);
	if (r) {
		snprintf(err, NIC_ERR, "e1000e: interrupts or bus mastering cannot be set up");
		free(d);
		return r;
	}
	*ret = &d->dev;
	return 0;
}
