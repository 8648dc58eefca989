/* SPDX-License-Identifier: MIT */
/* nic/vfio/igb.c - Intel 82576
 * Sixteen queue pairs, of which as many are used as there are workers and vectors for. MSI-X:
 * vector 0 link, 1 + q queue q, masked by hand in EIMS as in e1000e.c. After a reset the link
 * stays down until auto-negotiation is started again.
 * Spec:    82576 datasheet (320961) 4.5 (initialization), 7.1 to 7.3, 8 (registers)
 * Threads: start-up; worker 0; irq_on, irq_off and the transmit functions the queue's worker
 */
#include <errno.h>

#include "stackd/atomic.h"
#include "stackd/nic/vfio/igb_regs.h"
#include "stackd/nic/vfio/intel.h"
#include "stackd/nic/vfio/intel_regs.h"

#define QUEUES		8u		/* IVAR's simple half, RSS's eight */
#define ITR_MAX_US	8000u

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
	uint32_t bit = 1u << (1 + q->b.nic.queue);

	reg_wr32(q->regs, I_EICR, bit);
	reg_wr32(q->regs, I_EIMS, bit);
}

static void irq_off(struct intel_q *q)
{
	reg_wr32(q->regs, I_EIMC, 1u << (1 + q->b.nic.queue));
}

static void irqs_off(volatile uint8_t *regs)
{
	reg_wr32(regs, I_IMC, UINT32_MAX);
	reg_wr32(regs, I_EIMC, UINT32_MAX);
}

/* 8.8.14 */
static void put_itr(volatile uint8_t *regs, unsigned n, uint32_t us)
{
	reg_wr32(regs, I_EITR(1 + n), us << 2);
}

static void event(volatile uint8_t *regs)
{
	(void)reg_rd32(regs, I_ICR);	/* 8.8.9: cleared by reading */
	reg_wr32(regs, I_EIMS, 1);
}

const struct intel_family igb_family = {
	.name = "igb", .queues = QUEUES, .rx_regs = I_RXQ, .tx_regs = I_TXQ,
	.stride = I_Q_STRIDE, .mrqc = I_MRQC_RSS,
	.mrqc_flow = { [NIC_FLOW_TCP4] = R_MRQC_TCP4, [NIC_FLOW_UDP4] = I_MRQC_UDP4,
		       [NIC_FLOW_IP4] = R_MRQC_IP4, [NIC_FLOW_TCP6] = I_MRQC_TCP6,
		       [NIC_FLOW_UDP6] = I_MRQC_UDP6, [NIC_FLOW_IP6] = R_MRQC_IP6 },
	.tx_context = tx_context, .tx_data = tx_data, .irq_on = irq_on, .irq_off = irq_off,
	.irqs_off = irqs_off, .put_itr = put_itr, .itr_max_us = ITR_MAX_US, .event = event,
};

/* ---- start ------------------------------------------------------------------------------- */

/* 4.5.9, 4.5.10: a queue is enabled before its tail is set. */
static int put_queue(struct intel_q *q)
{
	volatile uint8_t *r = q->regs;
	unsigned n = q->b.nic.queue;
	unsigned rx = I_RXQ + n * I_Q_STRIDE + R_DCTL, tx = I_TXQ + n * I_Q_STRIDE + R_DCTL;

	intel_put_rings(q);
	reg_wr32(r, I_SRRCTL(n), I_SRRCTL_SET);
	reg_wr32(r, rx, reg_rd32(r, rx) | I_DCTL_EN);
	reg_wr32(r, tx, reg_rd32(r, tx) | I_DCTL_EN);
	return intel_wait(r, rx, I_DCTL_EN, I_DCTL_EN) &&
	       intel_wait(r, tx, I_DCTL_EN, I_DCTL_EN) ? 0 : -EIO;
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
		put_itr(r, n, d->itr_us);
		all |= 1u << (1 + n);
	}
	reg_wr32(r, I_IVAR_MISC, I_IVAR_VALID << 8);
	reg_wr32(r, I_EIAC, all);
	reg_wr32(r, I_IMS, R_INT_LSC);
	reg_wr32(r, I_EIMS, 1);
}

static int go(struct nic_dev *dev)
{
	struct intel_dev *d = dev->priv;
	volatile uint8_t *r = d->regs;
	int err;

	intel_halt(dev);
	reg_wr32(r, R_CTRL_EXT, reg_rd32(r, R_CTRL_EXT) | I_CTRL_EXT_DRV);
	err = intel_link_on(d);
	if (err)
		return err;
	intel_put_addr(d);
	reg_wr32(r, R_RXCSUM, R_RXCSUM_SET);
	if (dev->grant.queues > 1)
		intel_put_rss(d);
	reg_wr32(r, R_TCTL, R_TCTL_SET);
	reg_wr32(r, R_RCTL, R_RCTL_SET);
	for (unsigned n = 0; !err && n < dev->grant.queues; n++)
		err = d->q[n] ? put_queue(d->q[n]) : 0;
	if (err)
		return err;
	put_irqs(d);
	intel_put_tails(d);
	return 0;
}

static const struct nic_dev_ops ops = {
	.map = intel_map, .queue = intel_queue, .go = go, .halt = intel_halt, .poll = intel_poll,
	.link = intel_link, .rss_get = intel_rss_get, .rss_set = intel_rss_set,
	.coalesce_get = intel_coalesce_get, .coalesce_set = intel_coalesce_set,
	.ring_set = intel_ring_set, .close = intel_close,
};

int igb_probe(struct vfio *v, const struct nic_grant *g, struct nic_dev **ret,
	      char err[NIC_ERR])
{
	return intel_probe(v, g, &igb_family, &ops, ret, err);
}
