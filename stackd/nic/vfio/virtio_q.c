/* SPDX-License-Identifier: MIT */
/* nic/vfio/virtio_q.c - virtio-net: one worker's receive and transmit queue
 *
 * Receive: each buffer is a small packet of the worker's pool; the device writes its header into
 * the headroom, so that the frame begins where a packet's data does. A frame longer than one buffer
 * (merged TCP segments) becomes a packet with fragments, or is copied into a big one when it has
 * too many. Transmit: the header goes into the headroom too, so a packet is one descriptor. What
 * does not lie in a mapped pool (borrowed bytes of a FIFO) is copied into a packet of ours first.
 * Spec:    virtio 1.2 5.1.6.2 (transmission), 5.1.6.3 (receive buffers), 5.1.6.4 (incoming)
 * In/Out:  rx: buffers -> pkt, data at the Ethernet header; tx: finished pkt -> descriptor
 * Holds:   X1 lengths and counts of the device are checked against what the buffer is
 *          X2 a broken ring ends both directions until start(): nic_fault(), nothing is guessed
 *          X3 nic.held = packets in both rings and in part
 * Threads: owning worker only
 */
#include <errno.h>
#include <stdlib.h>

#include "stackd/atomic.h"
#include "stackd/nic/vfio/virtio_int.h"
#include "stackd/nic/vnet.h"


static void bell(struct virtio_q *q, volatile uint16_t *at, uint16_t idx)
{
	if (!at)
		return;
	q->b.kicks++;
	dma_wmb();
	*at = idx;
}

/* There are buffers again. QEMU moves a packet to the queue that its hash names; when that one has
 * no buffer just then, the packet waits at the queue where it came in, which stands still until its
 * own bell is rung. So with RSS all are rung: a bell says nothing else (4.1.5.2). */
static void rx_bells(struct virtio_q *q)
{
	const struct virtio_dev *d = q->b.dev->priv;

	if (!q->rss) {
		bell(q, q->rx_bell, q->rx_idx);
		return;
	}
	for (unsigned i = 0; i < d->dev.grant.queues; i++)
		if (d->q[i])
			bell(q, d->q[i]->rx_bell, d->q[i]->rx_idx);
}

static void broken(struct virtio_q *q)
{
	q->b.running = false;
	add_sc(&q->b.dev->bad_completions, 1);
	nic_fault(q->b.dev, NIC_FAULT_RING);
}

/* ---- receive ----------------------------------------------------------------------------- */

/* 5.1.6.3.1. Return: buffers put out. */
static unsigned refill(struct virtio_q *q, struct stack *st)
{
	unsigned n = 0;

	while (q->rx.free_cnt) {
		struct pkt *p = pkt_alloc(st->pool, false);
		struct vq_seg s = { .len = q->hdr_len + VFIO_SMALL_ROOM };

		if (!p)
			break;
		s.iova = vfio_iova(q->b.v, p, p->data - q->hdr_len, s.len);
		if (!s.iova || vq_add(&q->rx, &s, 1, 1, p)) {
			pkt_free(st->pool, p);
			break;
		}
		q->b.nic.held++;
		n++;
	}
	return n;
}

static void rx_drop(struct stack *st, struct pkt *p, enum drop_reason why)
{
	snmp_inc(st, SNMP_Dev_RxDropped);
	while (p) {
		struct pkt *next = p->next;

		st->cnt->drop[why] += next == NULL;	/* one frame, however many buffers */
		pkt_free(st->pool, p);
		p = next;
	}
}

/* The buffers of one frame, as fragments of the first: one TCP super-frame. */
static void chain(struct pkt *p)
{
	struct pkt *m = p->next;

	p->next = NULL;
	p->merged = m;
	for (; m; m = m->next) {
		p->frag[p->frag_cnt++] = (struct iovec){ m->data, m->len };
		p->frag_len += m->len;
	}
}

/* Too many buffers, or no TCP: upper rooms want it in one piece. */
static struct pkt *gather(struct stack *st, struct pkt *first)
{
	struct pkt *big = pkt_alloc(st->pool, true);

	if (!big) {
		rx_drop(st, first, DROP_NO_BUF);
		return NULL;
	}
	for (struct pkt *p = first, *next; p; p = next) {
		next = p->next;
		if (big->len + p->len <= PKT_BIG - PKT_HEADROOM) {
			memcpy(big->data + big->len, p->data, p->len);
			big->len += p->len;
		}
		pkt_free(st->pool, p);
	}
	return big;
}

static bool is_tcp_gso(const struct vnet_hdr *h)
{
	uint8_t t = h->gso_type & 0x7f;

	return t == 1 || t == 4;	/* 5.1.6: VIRTIO_NET_HDR_GSO_TCPV4, TCPV6 */
}

/* All buffers of a frame are here, in a list. Return: the packet, NULL = dropped. */
static struct pkt *rx_frame(struct virtio_q *q, struct stack *st, struct pkt *p, uint32_t bufs)
{
	uint8_t raw[VNET_HDR_LEN_HASH];
	struct vnet_hdr h;
	uint32_t hash = 0;

	memcpy(raw, p->data - q->hdr_len, q->hdr_len);	/* once: the device may write it again */
	memcpy(&h, raw, sizeof(h));
	if (q->hdr_len == VNET_HDR_LEN_HASH && (raw[VNET_HDR_REPORT] | raw[VNET_HDR_REPORT + 1]))
		memcpy(&hash, raw + VNET_HDR_HASH, sizeof(hash));
	if (bufs > 1) {
		q->rx_merged++;
		if (bufs - 1 <= PKT_FRAGS && is_tcp_gso(&h))
			chain(p);
		else
			p = gather(st, p);
		if (!p)
			return NULL;
	}
	if (!vnet_apply(&h, p)) {
		q->b.rx_bad++;
		snmp_inc(st, SNMP_Dev_RxDropped);
		stack_drop(st, p, DROP_DEV_RX_BAD);
		return NULL;
	}
	if (p->gso_size)
		p->gso_segs = (uint16_t)((pkt_total(p) + p->gso_size - 1) / p->gso_size);
	p->hash = hash;
	p->queue = q->b.nic.queue;
	p->rx_us = st->now_us;
	snmp_inc(st, SNMP_Dev_RxPackets);
	snmp_add(st, SNMP_Dev_RxBytes, pkt_total(p));
	if (p->gso_size)
		snmp_inc(st, SNMP_Dev_RxGsoPackets);
	return p;
}

/* One buffer came back. Return: a whole frame's first buffer, NULL = not yet or dropped. */
static struct pkt *rx_buffer(struct virtio_q *q, struct stack *st, struct pkt *p, uint32_t len,
			     uint32_t *ret_bufs)
{
	uint32_t skip = q->part ? 0 : q->hdr_len;
	uint16_t bufs = 1;

	q->b.nic.held--;
	if (len > q->hdr_len + VFIO_SMALL_ROOM || len < skip + !q->part) {
		q->b.rx_bad++;
		rx_drop(st, p, DROP_DEV_RX_BAD);
		broken(q);
		return NULL;
	}
	if (q->part) {
		p->data -= q->hdr_len;	/* no header here: bytes begin at the buffer's start */
		p->len = len;
		*q->part_end = p;
		q->part_end = &p->next;
		q->b.nic.held++;
		if (--q->part_left)
			return NULL;
		p = q->part;
		q->part = NULL;
		q->b.nic.held -= q->part_cnt;
		*ret_bufs = q->part_cnt;
		return p;
	}
	if (q->mergeable)
		memcpy(&bufs, p->data - q->hdr_len + VNET_HDR_BUFS, sizeof(bufs));
	if (bufs == 0 || bufs > q->rx.size) {
		q->b.rx_bad++;
		rx_drop(st, p, DROP_DEV_RX_BAD);
		broken(q);
		return NULL;
	}
	p->len = len - skip;
	*ret_bufs = bufs;
	if (bufs == 1)
		return p;
	q->part = p;
	q->part_end = &p->next;
	q->part_left = bufs - 1u;
	q->part_cnt = bufs;
	q->b.nic.held++;
	return NULL;
}

/* ---- transmit ---------------------------------------------------------------------------- */

static void reap(struct virtio_q *q, struct stack *st)
{
	void *p;
	uint32_t len;
	int r;

	while ((r = vq_take(&q->tx, &p, &len)) > 0) {
		q->b.nic.held--;
		q->b.tx_since_us = st->now_us;
		stack_pkt_free(st, p);
	}
	if (r < 0)
		broken(q);
	else
		vfio_q_watch(&q->b, st, vq_idle(&q->tx));
}

/* Something that the device can read in one piece, with room for the header. Takes @p. */
static struct pkt *tx_shape(struct virtio_q *q, struct stack *st, struct pkt *p,
			    uint64_t *ret_iova)
{
	struct pkt *c = p;

	if (p->frag_cnt == 0 && p->data >= p->buf + q->hdr_len) {
		*ret_iova = vfio_iova(q->b.v, p, p->data - q->hdr_len, q->hdr_len + p->len);
		if (*ret_iova)
			return p;
	}
	c = pkt_copy_linear(st->pool, p);
	if (c) {
		q->b.tx_copied++;
		*ret_iova = vfio_iova(q->b.v, c, c->data - q->hdr_len, q->hdr_len + c->len);
	}
	if (!c || !*ret_iova) {
		snmp_inc(st, SNMP_Dev_TxDropped);
		stack_drop(st, p, DROP_NO_BUF);
		if (c)
			stack_pkt_free(st, c);
		return NULL;
	}
	stack_pkt_free(st, p);
	return c;
}

static void tx_one(struct virtio_q *q, struct stack *st, struct pkt *p)
{
	struct vnet_hdr h;
	struct vq_seg s;

	if (q->tx.free_cnt == 0)
		reap(q, st);
	if (!q->b.running || q->tx.free_cnt == 0) {
		snmp_inc(st, SNMP_Dev_TxDropped);
		stack_drop(st, p, DROP_DEV_TX_FULL);
		return;
	}
	p = tx_shape(q, st, p, &s.iova);
	if (!p)
		return;
	vnet_fill(&h, p);
	s.len = q->hdr_len + p->len;
	memset(p->data - q->hdr_len, 0, q->hdr_len);
	memcpy(p->data - q->hdr_len, &h, sizeof(h));
	snmp_inc(st, SNMP_Dev_TxPackets);
	snmp_add(st, SNMP_Dev_TxBytes, p->len);
	if (p->gso_type != PKT_GSO_NONE)
		snmp_inc(st, SNMP_Dev_TxGsoPackets);
	if (vq_idle(&q->tx))
		q->b.tx_since_us = st->now_us;
	vq_add(&q->tx, &s, 1, 0, p);	/* there is room: just looked */
	q->b.nic.held++;
}

static void q_tx(struct nic *nic, struct stack *st, struct pkt **pkts, unsigned cnt)
{
	struct virtio_q *q = nic->priv;

	for (unsigned i = 0; i < cnt; i++) {
		tx_one(q, st, pkts[i]);
		/* A full ring's worth must not wait for the end of the burst. */
		if (q->tx.free_cnt == 0 && vq_publish(&q->tx))
			bell(q, q->tx_bell, q->tx_idx);
	}
	if (vq_publish(&q->tx))
		bell(q, q->tx_bell, q->tx_idx);
}

/* ---- poll -------------------------------------------------------------------------------- */

static unsigned q_rx(struct nic *nic, struct stack *st, struct pkt **pkts, unsigned max)
{
	struct virtio_q *q = nic->priv;
	unsigned cnt = 0;
	void *p;

	if (!q->b.running)
		return 0;
	if (q->b.armed) {
		vq_irq_off(&q->rx);
		vq_irq_off(&q->tx);
		q->b.armed = false;
	}
	reap(q, st);
	/* Bad buffers use up the budget too: a flood of them must not hold the loop. */
	for (unsigned i = 0; i < max && q->b.running; i++) {
		uint32_t len, bufs;
		int r = vq_take(&q->rx, &p, &len);
		struct pkt *frame;

		if (r == 0)
			break;
		if (r < 0) {
			broken(q);
			break;
		}
		frame = rx_buffer(q, st, p, len, &bufs);
		i -= frame == NULL && q->part != NULL;	/* buffers of one frame count once */
		if (frame)
			frame = rx_frame(q, st, frame, bufs);
		if (frame)
			pkts[cnt++] = frame;
	}
	if (q->b.running && refill(q, st) && vq_publish(&q->rx))
		rx_bells(q);
	vfio_q_refilled(&q->b, st, q->rx.free_cnt != 0);
	return cnt;
}

static bool q_arm(struct nic *nic, struct stack *st)
{
	struct virtio_q *q = nic->priv;
	bool more;

	if (!q->b.running)
		return false;
	q->b.armed = true;
	more = vq_irq_on(&q->rx);
	if (!vq_idle(&q->tx))
		more |= vq_irq_on(&q->tx);
	return more;
}

static uint64_t q_next_us(struct nic *nic)
{
	struct virtio_q *q = nic->priv;

	return vfio_q_next_us(&q->b, vq_idle(&q->tx));
}

/* ---- life -------------------------------------------------------------------------------- */

int virtio_q_fill(struct virtio_q *q, struct stack *st, uint16_t size, uint64_t features)
{
	bool packed = features & VF_RING_PACKED, event = features & VF_EVENT_IDX;
	size_t one = vq_mem_size(size, packed);

	vq_init(&q->rx, size, packed, event, q->b.mem.va, q->b.mem.iova);
	vq_init(&q->tx, size, packed, event, q->b.mem.va + one, q->b.mem.iova + one);
	q->b.nic.rx_ring = q->b.nic.tx_ring = size;
	q->hdr_len = features & VF_HASH_REPORT ? VNET_HDR_LEN_HASH : VNET_HDR_LEN;
	q->mergeable = features & VF_MRG_RXBUF;
	q->b.armed = false;
	q->b.refill_us = 0;
	if (refill(q, st) == 0)
		return -ENOMEM;
	vq_publish(&q->rx);		/* told to the device when it goes */
	q->b.running = true;
	return 0;
}

static int q_start(struct nic *nic, struct stack *st)
{
	struct virtio_q *q = nic->priv;
	struct virtio_dev *d = q->b.dev->priv;

	return virtio_q_fill(q, st, d->ring, d->features);
}

static void q_stop(struct nic *nic, struct stack *st)
{
	struct virtio_q *q = nic->priv;
	struct pkt *p;

	q->b.running = false;
	while ((p = vq_drain(&q->rx)))
		pkt_free(st->pool, p);
	while ((p = vq_drain(&q->tx)))
		stack_pkt_free(st, p);
	while ((p = q->part)) {
		q->part = p->next;
		pkt_free(st->pool, p);
	}
	q->b.nic.held = 0;
}

static void q_counters(const struct nic *nic, nic_counter_fn fn, void *arg)
{
	const struct virtio_q *q = nic->priv;

	vfio_q_counters(nic, fn, arg);
	fn(arg, "rx_merged", q->rx_merged);
}

const struct nic_ops virtio_q_ops = {
	.name = "virtio",
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
