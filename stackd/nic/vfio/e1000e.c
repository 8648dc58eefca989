/* SPDX-License-Identifier: MIT */
/* nic/vfio/e1000e.c - Intel 82574
 * Two queue pairs, MSI-X: vector 0 link, 1 + q queue q. Interrupts are masked by hand: a queue's
 * two causes are unmasked when its worker goes to sleep, and masked again when it polls.
 * Spec:    82574 datasheet (317694) 4.6 (initialization), 7.1 to 7.4, 10.2 (registers)
 * Threads: start-up; worker 0; irq_on, irq_off and the transmit functions the queue's worker
 */
#include "stackd/atomic.h"
#include "stackd/nic/vfio/e1000e_regs.h"
#include "stackd/nic/vfio/intel.h"
#include "stackd/nic/vfio/intel_regs.h"

#define QUEUES		2u
#define ITR_MAX_US	16000u

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
	uint32_t bits = E_INT_RXQ(q->b.nic.queue) | E_INT_TXQ(q->b.nic.queue);

	reg_wr32(q->regs, E_ICR, bits);
	reg_wr32(q->regs, E_IMS, bits);
}

static void irq_off(struct intel_q *q)
{
	reg_wr32(q->regs, E_IMC, E_INT_RXQ(q->b.nic.queue) | E_INT_TXQ(q->b.nic.queue));
}

static void irqs_off(volatile uint8_t *regs)
{
	reg_wr32(regs, E_IMC, UINT32_MAX);
}

/* 10.2.4.7: in 256 ns, 16 bits. */
static void put_itr(volatile uint8_t *regs, unsigned n, uint32_t us)
{
	reg_wr32(regs, E_EITR(1 + n), (us * 1000 + 255) / 256);
}

static void event(volatile uint8_t *regs)
{
	reg_wr32(regs, E_ICR, R_INT_LSC | E_INT_OTHER);
	reg_wr32(regs, E_IMS, R_INT_LSC | E_INT_OTHER);
}

/* 7.1.11.1: UDP is hashed by addresses only. */
const struct intel_family e1000e_family = {
	.name = "e1000e", .queues = QUEUES, .rx_regs = E_RXQ, .tx_regs = E_TXQ,
	.stride = E_Q_STRIDE, .mrqc = E_MRQC_RSS, .reta_shift = E_RETA_QUEUE,
	.mrqc_flow = { [NIC_FLOW_TCP4] = R_MRQC_TCP4, [NIC_FLOW_IP4] = R_MRQC_IP4,
		       [NIC_FLOW_TCP6] = E_MRQC_TCP6, [NIC_FLOW_IP6] = R_MRQC_IP6 },
	.tx_context = tx_context, .tx_data = tx_data, .irq_on = irq_on, .irq_off = irq_off,
	.irqs_off = irqs_off, .put_itr = put_itr, .itr_max_us = ITR_MAX_US, .event = event,
};

/* ---- start ------------------------------------------------------------------------------- */

/* 4.6.5, 4.6.6 */
static void put_queue(struct intel_q *q)
{
	volatile uint8_t *r = q->regs;
	unsigned n = q->b.nic.queue;

	intel_put_rings(q);
	reg_wr32(r, E_RXQ + n * E_Q_STRIDE + R_DCTL, E_RXDCTL_SET);
	reg_wr32(r, E_TXQ + n * E_Q_STRIDE + R_DCTL, E_TXDCTL_SET);
	reg_wr32(r, E_TARC(n), reg_rd32(r, E_TARC(n)) | E_TARC_EN);
}

static void put_irqs(struct intel_dev *d)
{
	volatile uint8_t *r = d->regs;
	uint32_t ivar = E_IVAR_OTHER(0) | E_IVAR_TX_WB, all = E_INT_OTHER;

	for (unsigned n = 0; n < d->dev.grant.queues; n++) {
		ivar |= E_IVAR_RXQ(n, 1 + n) | E_IVAR_TXQ(n, 1 + n);
		all |= E_INT_RXQ(n) | E_INT_TXQ(n);
		put_itr(r, n, d->itr_us);
	}
	reg_wr32(r, R_CTRL_EXT, reg_rd32(r, R_CTRL_EXT) | E_CTRL_EXT_PBA);
	reg_wr32(r, E_IVAR, ivar);
	reg_wr32(r, E_EIAC, all);
	reg_wr32(r, E_IMS, R_INT_LSC | E_INT_OTHER);
}

static int go(struct nic_dev *dev)
{
	struct intel_dev *d = dev->priv;
	volatile uint8_t *r = d->regs;
	int err;

	intel_halt(dev);
	err = intel_link_on(d);
	if (err)
		return err;
	intel_put_addr(d);
	reg_wr32(r, E_RFCTL, reg_rd32(r, E_RFCTL) | E_RFCTL_EXSTEN);
	reg_wr32(r, R_RXCSUM, R_RXCSUM_SET);
	if (dev->grant.queues > 1)
		intel_put_rss(d);
	for (unsigned n = 0; n < dev->grant.queues; n++)
		if (d->q[n])
			put_queue(d->q[n]);
	put_irqs(d);
	reg_wr32(r, E_TIPG, E_TIPG_SET);
	reg_wr32(r, R_TCTL, R_TCTL_SET);
	reg_wr32(r, R_RCTL, R_RCTL_SET);
	intel_put_tails(d);
	return 0;
}

static const struct nic_dev_ops ops = {
	.map = intel_map, .queue = intel_queue, .go = go, .halt = intel_halt, .poll = intel_poll,
	.link = intel_link, .rss_get = intel_rss_get, .rss_set = intel_rss_set,
	.coalesce_get = intel_coalesce_get, .coalesce_set = intel_coalesce_set,
	.ring_set = intel_ring_set, .close = intel_close,
};

int e1000e_probe(struct vfio *v, const struct nic_grant *g, struct nic_dev **ret,
		 char err[NIC_ERR])
{
	return intel_probe(v, g, &e1000e_family, &ops, ret, err);
}
