/* SPDX-License-Identifier: MIT */
/* nic/vfio/intel_q.c - one worker's descriptor rings on an Intel gigabit card
 *
 * Receive: each descriptor points at a small packet's data; "descriptor done" in the write-back
 * says that it was filled. Only descriptors between rx_next and rx_tail are looked at, the
 * write-back is read once, and the descriptor is rewritten before it is given again. Transmit: a
 * context descriptor if there is a checksum to finish, then the packet page by page; only its last
 * descriptor reports. Pages that follow each other in I/O addresses need not do so in memory, and
 * QEMU's devices drop a packet without a word when a piece does not map in one go.
 * Spec:    82574 datasheet 7.1 (receive), 7.2 (transmit); 82576 datasheet 7.1, 7.2
 * In/Out:  rx: descriptors -> pkt, data at the Ethernet header; tx: finished pkt -> descriptors
 * Holds:   X1 a length is checked against the buffer; a frame over several buffers is dropped whole
 *          X2 rings are never full: one descriptor stays free, so that equal indices mean empty
 *          X3 nic.held = packets in rx_pkt and tx_pkt
 * Threads: owning worker only
 */
#include <errno.h>
#include <stdlib.h>

#include "stackd/atomic.h"
#include "stackd/core/csum.h"
#include "stackd/nic/vfio/intel.h"

/* Place in a ring. */
static uint16_t at(const struct intel_q *q, uint32_t i)
{
	return (uint16_t)(i & (q->size - 1u));
}

size_t intel_q_mem(void)
{
	return 2 * INTEL_RING_MAX * sizeof(struct intel_desc);
}

static void put_tail(struct intel_q *q, unsigned reg, uint16_t tail)
{
	q->b.kicks++;
	dma_wmb();
	reg_wr32(q->regs, reg, tail);
}

/* ---- receive ----------------------------------------------------------------------------- */

/* Return: buffers put in. */
static unsigned refill(struct intel_q *q, struct stack *st)
{
	unsigned n = 0;

	while (at(q, q->rx_tail + 1u) != q->rx_next) {
		struct pkt *p = pkt_alloc(st->pool, false);
		uint64_t iova;

		if (!p)
			break;
		iova = vfio_iova(q->b.v, p, p->data, VFIO_SMALL_ROOM);
		if (!iova) {
			pkt_free(st->pool, p);
			break;
		}
		q->rx_pkt[q->rx_tail] = p;
		st_rlx(&q->rx[q->rx_tail].q[0], iova);
		st_rlx(&q->rx[q->rx_tail].q[1], 0);
		q->rx_tail = at(q, q->rx_tail + 1u);
		q->b.nic.held++;
		n++;
	}
	return n;
}

static void rx_drop(struct intel_q *q, struct stack *st, struct pkt *p)
{
	q->b.rx_bad++;
	snmp_inc(st, SNMP_Dev_RxDropped);
	stack_drop(st, p, DROP_DEV_RX_BAD);
}

/* @wb: the write-back, read once. Return: false when the frame was dropped. */
static bool rx_take(struct intel_q *q, struct stack *st, struct pkt *p, const uint64_t wb[2])
{
	uint32_t status = (uint32_t)wb[1], len = (uint32_t)(wb[1] >> 32) & 0xffff;
	bool whole = status & RXWB_EOP && !q->skip;

	q->skip = !(status & RXWB_EOP);
	if (!whole || len < ETH_HLEN || len > VFIO_SMALL_ROOM || status & RXWB_RXE) {
		q->rx_errors += (status & RXWB_RXE) != 0;
		rx_drop(q, st, p);
		return false;
	}
	p->len = len;
	p->csum_state = PKT_CSUM_NONE;
	/* A sum that the device calls wrong is looked at by software, which counts it. */
	if (status & RXWB_L4CS && !(status & (RXWB_L4E | RXWB_IPE)))
		p->csum_state = PKT_CSUM_UNNECESSARY;
	if (wb[0] & RXWB_RSS_TYPE)
		p->hash = (uint32_t)(wb[0] >> 32);
	p->queue = q->b.nic.queue;
	p->rx_us = st->now_us;
	snmp_inc(st, SNMP_Dev_RxPackets);
	snmp_add(st, SNMP_Dev_RxBytes, len);
	return true;
}

/* ---- transmit ---------------------------------------------------------------------------- */

static unsigned tx_free(const struct intel_q *q)
{
	return at(q, q->tx_next - q->tx_tail - 1u);
}

static bool tx_idle(const struct intel_q *q)
{
	return q->tx_next == q->tx_tail;
}

/* The next packet's last descriptor, q->size = none out. */
static unsigned tx_last(const struct intel_q *q)
{
	unsigned i = q->tx_next;

	while (i != q->tx_tail && !q->tx_pkt[i])
		i = at(q, i + 1u);
	return i == q->tx_tail ? q->size : i;
}

static void reap(struct intel_q *q, struct stack *st)
{
	unsigned i;

	while ((i = tx_last(q)) != q->size && ld_acq(&q->tx[i].q[1]) & TXWB_DD) {
		stack_pkt_free(st, q->tx_pkt[i]);
		q->tx_pkt[i] = NULL;
		q->tx_next = at(q, i + 1u);
		q->b.nic.held--;
		q->b.tx_since_us = st->now_us;
	}
	vfio_q_watch(&q->b, st, tx_idle(q));
}

/* 82574 7.2.7.2, 82576 7.2.4.6: for segmentation the device adds lengths itself: the total length
 * is 0 and the TCP field holds the pseudo-header's sum without one. */
static void tso_headers(struct pkt *p)
{
	uint8_t *ip = p->data + ETH_HLEN, *field = p->buf + p->csum_start + p->csum_off;
	uint32_t l4_len = pkt_total(p) - (uint32_t)(p->buf + p->csum_start - p->data), sum;

	if (p->gso_type == PKT_GSO_TCP4)
		ip[2] = ip[3] = ip[10] = ip[11] = 0;
	else
		ip[4] = ip[5] = 0;
	sum = ((uint32_t)field[0] << 8 | field[1]) + (0xffff & ~l4_len) +
	      (0xffff & ~(l4_len >> 16));
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	field[0] = (uint8_t)(sum >> 8);
	field[1] = (uint8_t)sum;
}

/* In one piece that the device sees; a checksum that it cannot make is made. Takes @p. */
static struct pkt *tx_shape(struct intel_q *q, struct stack *st, struct pkt *p, uint64_t *ret_iova)
{
	struct pkt *c = p;

	*ret_iova = p->frag_cnt ? 0 : vfio_iova(q->b.v, p, p->data, p->len);
	if (!*ret_iova) {
		c = pkt_copy_linear(st->pool, p);
		if (c)
			*ret_iova = vfio_iova(q->b.v, c, c->data, c->len);
		q->b.tx_copied++;
		stack_pkt_free(st, p);
	}
	if (c && !*ret_iova) {
		stack_pkt_free(st, c);
		c = NULL;
	}
	if (!c) {
		st->cnt->drop[DROP_NO_BUF]++;
		snmp_inc(st, SNMP_Dev_TxDropped);
		return NULL;
	}
	if (c->csum_state == PKT_CSUM_PARTIAL && c->csum_off != 16 && c->csum_off != 6)
		csum_finish(c);
	if (c->gso_type != PKT_GSO_NONE)
		tso_headers(c);
	return c;
}

/* Bytes in front of the payload. */
static uint32_t hdr_len_of(const struct pkt *p)
{
	uint32_t l4 = (uint32_t)(p->buf + p->csum_start - p->data);

	if (p->csum_state != PKT_CSUM_PARTIAL)
		return 0;
	return p->csum_off == 16 ? l4 + (p->data[l4 + 12] >> 4) * 4u : l4 + 8;
}

static void tx_one(struct intel_q *q, struct stack *st, struct pkt *p)
{
	uint32_t hdr, off = 0, total = pkt_total(p), segs = p->gso_segs;
	bool gso = p->gso_type != PKT_GSO_NONE;
	uint64_t iova;

	if (tx_free(q) < INTEL_TX_MOST)
		reap(q, st);
	if (!q->b.running || tx_free(q) < INTEL_TX_MOST) {
		snmp_inc(st, SNMP_Dev_TxDropped);
		stack_drop(st, p, DROP_DEV_TX_FULL);
		return;
	}
	p = tx_shape(q, st, p, &iova);
	if (!p)
		return;
	if (tx_idle(q))
		q->b.tx_since_us = st->now_us;
	hdr = hdr_len_of(p);
	if (hdr) {
		q->f->tx_context(&q->tx[q->tx_tail], p, hdr);
		q->tx_tail = at(q, q->tx_tail + 1u);
	}
	while (off < p->len) {
		uint32_t page = INTEL_PAGE - (uint32_t)((iova + off) % INTEL_PAGE);
		uint32_t n = p->len - off < page ? p->len - off : page;
		bool last = off + n == p->len;

		q->f->tx_data(&q->tx[q->tx_tail], iova + off, n, last, p, hdr);
		if (last)
			q->tx_pkt[q->tx_tail] = p;
		q->tx_tail = at(q, q->tx_tail + 1u);
		off += n;
	}
	q->b.nic.held++;
	snmp_inc(st, SNMP_Dev_TxPackets);
	snmp_add(st, SNMP_Dev_TxBytes, total);
	if (gso && segs)
		snmp_inc(st, SNMP_Dev_TxGsoPackets);
}

static void q_tx(struct nic *nic, struct stack *st, struct pkt **pkts, unsigned cnt)
{
	struct intel_q *q = nic->priv;
	uint16_t told = q->tx_tail;

	for (unsigned i = 0; i < cnt; i++) {
		tx_one(q, st, pkts[i]);
		if (tx_free(q) < INTEL_TX_MOST && told != q->tx_tail)
			put_tail(q, q->tdt, told = q->tx_tail);
	}
	if (q->b.running && told != q->tx_tail)
		put_tail(q, q->tdt, q->tx_tail);
}

/* ---- poll -------------------------------------------------------------------------------- */

static unsigned q_rx(struct nic *nic, struct stack *st, struct pkt **pkts, unsigned max)
{
	struct intel_q *q = nic->priv;
	unsigned cnt = 0;

	if (!q->b.running)
		return 0;
	if (q->b.armed) {
		q->f->irq_off(q);
		q->b.armed = false;
	}
	reap(q, st);
	for (unsigned i = 0; i < max && q->rx_next != q->rx_tail; i++) {
		struct intel_desc *d = &q->rx[q->rx_next];
		uint64_t wb[2] = { 0, ld_acq(&d->q[1]) };
		struct pkt *p = q->rx_pkt[q->rx_next];

		if (!(wb[1] & RXWB_DD))
			break;
		wb[0] = ld_rlx(&d->q[0]);
		q->rx_pkt[q->rx_next] = NULL;
		q->rx_next = at(q, q->rx_next + 1u);
		q->b.nic.held--;
		if (rx_take(q, st, p, wb))
			pkts[cnt++] = p;
	}
	if (q->b.running && refill(q, st))
		put_tail(q, q->rdt, q->rx_tail);
	vfio_q_refilled(&q->b, st, at(q, q->rx_tail + 1u) != q->rx_next);
	return cnt;
}

static bool q_arm(struct nic *nic, struct stack *st)
{
	struct intel_q *q = nic->priv;
	unsigned i;

	if (!q->b.running)
		return false;
	q->b.armed = true;
	q->f->irq_on(q);
	dma_mb();
	if (q->rx_next != q->rx_tail && ld_acq(&q->rx[q->rx_next].q[1]) & RXWB_DD)
		return true;
	i = tx_last(q);
	return i != q->size && ld_acq(&q->tx[i].q[1]) & TXWB_DD;
}

static uint64_t q_next_us(struct nic *nic)
{
	struct intel_q *q = nic->priv;

	return vfio_q_next_us(&q->b, tx_idle(q));
}

/* ---- life -------------------------------------------------------------------------------- */

int intel_q_fill(struct intel_q *q, struct stack *st, uint16_t size)
{
	memset(q->b.mem.va, 0, intel_q_mem());
	q->rx = (struct intel_desc *)q->b.mem.va;
	q->tx = q->rx + size;
	q->rx_iova = q->b.mem.iova;
	q->tx_iova = q->b.mem.iova + size * sizeof(struct intel_desc);
	q->rx_next = q->rx_tail = q->tx_next = q->tx_tail = 0;
	q->b.armed = q->skip = false;
	q->b.refill_us = 0;
	q->b.nic.rx_ring = q->b.nic.tx_ring = q->size = size;
	if (refill(q, st) == 0)
		return -ENOMEM;
	q->b.running = true;
	return 0;
}

static int q_start(struct nic *nic, struct stack *st)
{
	const struct intel_dev *d = nic->dev->priv;

	return intel_q_fill(nic->priv, st, d->ring);
}

static void q_stop(struct nic *nic, struct stack *st)
{
	struct intel_q *q = nic->priv;

	q->b.running = false;
	for (unsigned i = 0; i < INTEL_RING_MAX; i++) {
		if (q->rx_pkt[i])
			pkt_free(st->pool, q->rx_pkt[i]);
		if (q->tx_pkt[i])
			stack_pkt_free(st, q->tx_pkt[i]);
		q->rx_pkt[i] = q->tx_pkt[i] = NULL;
	}
	q->b.nic.held = 0;
}

static void q_counters(const struct nic *nic, nic_counter_fn fn, void *arg)
{
	const struct intel_q *q = nic->priv;

	vfio_q_counters(nic, fn, arg);
	fn(arg, "rx_errors", q->rx_errors);
}

const struct nic_ops intel_q_ops = {
	.name = "intel",
	.rx = q_rx,
	.tx = q_tx,
	.rx_fd = vfio_q_rx_fd,
	.next_us = q_next_us,
	.close = vfio_q_close,
	.arm = q_arm,
	.start = q_start,
	.stop = q_stop,
	.counters = q_counters,
};
