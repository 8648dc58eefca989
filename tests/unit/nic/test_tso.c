/* SPDX-License-Identifier: MIT */
/* tests/unit/nic/test_tso.c - what a device makes of its descriptors is what software makes
 * Each driver puts packets into its ring; model.h reads the ring as the datasheet says, cuts and
 * sums as the device does. The result must be byte for byte what nic/gso.c and csum_finish() make
 * of the same packet: a device with offloads and one without cannot be told apart on the wire.
 */
#include "stackd/nic/gso.h"
#include "stackd/nic/vfio/virtio_int.h"
#include "stackd/nic/vnet.h"
#include "tests/unit/nic/frames.h"
#include "tests/unit/nic/model.h"

#define IOVA	0x100000000ull
#define RING	256u

enum kind { KIND_E1000E, KIND_IGB, KIND_SPLIT, KIND_PACKED, KINDS };

static struct fx {
	struct hx *h;
	struct stack *st;
	struct vfio v;
	struct nic_dev dev;
	enum kind kind;
	struct intel_q *iq;
	struct virtio_q *vq;
	struct side side;
	struct vfio_q *q;
	unsigned at;
	uint8_t buf[70000], out[70000];
} fx;

static uint8_t *where(uint64_t iova)
{
	cr_assert(iova >= IOVA && iova < IOVA + fx.v.pool[0].len, "outside what is mapped");
	return fx.v.pool[0].va + (iova - IOVA);
}

static void begin(struct vfio_q *q, void *priv, const struct nic_ops *ops, size_t mem)
{
	fx.q = q;
	q->v = &fx.v;
	q->dev = &fx.dev;
	q->nic = (struct nic){ .ops = ops, .priv = priv, .dev = &fx.dev, .mtu = 1500,
			       .features = NIC_F_CSUM | NIC_F_TSO };
	q->mem.va = aligned_alloc(4096, mem);
}

static void start(enum kind kind)
{
	size_t len;

	fx.h = hx_init(1);
	fx.st = &fx.h->st[0];
	fx.kind = kind;
	fx.at = 0;
	fx.v.pool[0].va = pkt_pool_mem(fx.st->pool, &len);
	fx.v.pool[0].len = len;
	fx.v.pool[0].iova = IOVA;
	fx.dev.evt_fd = -1;
	if (kind < KIND_SPLIT) {
		fx.iq = calloc(1, sizeof(*fx.iq));
		begin(&fx.iq->b, fx.iq, &intel_q_ops, intel_q_mem());
		fx.iq->f = kind == KIND_IGB ? &igb_family : &e1000e_family;
		fx.iq->regs = calloc(1, 0x20000);
		fx.iq->tdt = fx.iq->f->tx_regs + 0x18;
		fx.iq->rdt = fx.iq->f->rx_regs + 0x18;
		cr_assert_eq(intel_q_fill(fx.iq, fx.st, INTEL_RING), 0);
		return;
	}
	fx.vq = calloc(1, sizeof(*fx.vq));
	begin(&fx.vq->b, fx.vq, &virtio_q_ops, 2 * vq_mem_size(RING, true));
	cr_assert_eq(virtio_q_fill(fx.vq, fx.st, RING, VF_MRG_RXBUF |
				   (kind == KIND_PACKED ? VF_RING_PACKED : 0)), 0);
	fx.side = side_of(&fx.vq->tx);
}

static void stop(void)
{
	fx.q->nic.ops->stop(&fx.q->nic, fx.st);
	cr_assert_eq(pkt_pool_used(fx.st->pool), 0);
	free(fx.q->mem.va);
	if (fx.iq)
		free((void *)(uintptr_t)fx.iq->regs);
	free(fx.iq);
	free(fx.vq);
	hx_fini(fx.h);
	fx = (struct fx){ 0 };
}

/* What the ring says of the packet that was just sent; its bytes are in fx.buf. */
static struct intel_tx sent(void)
{
	struct intel_tx t = { 0 };
	struct vq_seg seg = { 0 };
	struct vnet_hdr h;
	uint16_t id = 0;

	if (fx.iq) {
		fx.at = intel_tx_read(fx.iq->tx, fx.at, fx.kind == KIND_IGB, where, fx.buf, &t);
		cr_assert_eq(fx.at % INTEL_RING, reg_rd32(fx.iq->regs, fx.iq->tdt));
		return t;
	}
	cr_assert(side_pop(&fx.side, &id, &seg));
	memcpy(&h, where(seg.iova), sizeof(h));
	t.len = seg.len - fx.vq->hdr_len;
	memcpy(fx.buf, where(seg.iova) + fx.vq->hdr_len, t.len);
	t.sum_l4 = h.flags & 1;
	t.sum_at = h.csum_start + h.csum_off;
	t.l3 = ETH_HLEN;
	t.l4 = h.csum_start;
	t.ip4 = t.sum_ip = h.gso_type != 0;
	t.mss = h.gso_size;
	t.hdr_len = h.hdr_len;
	t.summed_len = t.len - t.l4;
	return t;
}

/* The device is done with all: their packets come home. */
static void done(void)
{
	struct pkt *none[1];

	for (unsigned i = 0; fx.iq && i < INTEL_RING; i++)
		fx.iq->tx[i].q[1] |= TXWB_DD;
	if (fx.vq)
		side_push(&fx.side, fx.kind == KIND_PACKED ? fx.vq->tx.pdesc[fx.side.used].id :
			  ((uint16_t *)fx.vq->tx.drv)[2 + fx.side.used % RING], 0);
	fx.q->nic.ops->rx(&fx.q->nic, fx.st, none, 0);
}

static void same_segments(uint32_t len, uint16_t mss, uint8_t flags, bool frags)
{
	struct pkt *p = frame_tcp_gso(fx.st, len, mss, flags);
	struct pkt *soft = pkt_copy_linear(fx.st->pool, p);
	struct gso_plan plan;
	struct intel_tx t;

	if (frags) {		/* borrowed, as from a send FIFO */
		p->frag[0] = (struct iovec){ p->data + 54, len };
		p->frag_cnt = 1;
		p->frag_len = len;
		p->len = 54;
	}
	nic_tx(&fx.q->nic, fx.st, &p, 1);
	t = sent();
	cr_assert_eq(gso_plan(soft, &plan), 0);
	cr_assert(t.mss == mss && t.hdr_len == 54 && t.len == 54 + len && t.sum_l4 && t.sum_ip);
	for (uint32_t i = 0; i < plan.segs; i++) {
		struct pkt *s = gso_segment(fx.st, soft, &plan, i, false);
		uint32_t n = model_segment(&t, fx.buf, i, fx.out);

		cr_assert_eq(n, s->len, "segment %u of %u x %u", i, len, mss);
		cr_assert_arr_eq(fx.out, s->data, n, "segment %u of %u x %u", i, len, mss);
		stack_pkt_free(fx.st, s);
	}
	stack_pkt_free(fx.st, soft);
	done();
}

Test(tso, device_and_software_make_the_same_segments)
{
	static const struct { uint32_t len; uint16_t mss; } t[] = {
		{ 1449, 1448 }, { 2896, 1448 }, { 8688, 1448 }, { 20000, 1448 }, { 65000, 1448 },
		{ 7777, 536 }, { 30000, 1200 }, { 4042, 1000 }, { 4043, 1000 },
	};

	for (enum kind k = 0; k < KINDS; k++) {
		for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
			start(k);
			same_segments(t[i].len, t[i].mss, 0x18, false);	/* ACK PSH */
			same_segments(t[i].len, t[i].mss, 0x11, true);	/* ACK FIN */
			stop();
		}
	}
}

/* One frame whose checksum is left to the device. */
static void same_sum(struct pkt *p)
{
	struct pkt *soft = pkt_copy_linear(fx.st->pool, p);
	struct intel_tx t;
	uint32_t l4;

	csum_finish(soft);
	nic_tx(&fx.q->nic, fx.st, &p, 1);
	t = sent();
	l4 = t.l4;
	cr_assert(t.sum_l4 && t.len == soft->len);
	model_sum(fx.buf + t.sum_at, fx.buf + l4, t.len - l4);
	/* RFC 768: a UDP sum of zero is sent as all ones; these frames have none. */
	cr_assert_arr_eq(fx.buf, soft->data, t.len);
	stack_pkt_free(fx.st, soft);
	done();
}

Test(tso, device_and_software_make_the_same_sums)
{
	for (enum kind k = 0; k < KINDS; k++) {
		start(k);
		for (uint32_t len = 1; len < 1400; len += 97) {
			struct pkt *p = frame_tcp_gso(fx.st, len, 1448, 0x18);

			p->gso_type = PKT_GSO_NONE;
			p->gso_size = 0;
			p->gso_segs = 1;
			same_sum(p);
			same_sum(frame_udp(fx.st, (uint16_t)len, len));
		}
		stop();
	}
}

/* A final checksum is nobody's business: no context, no bits that ask for one. */
Test(tso, finished_sums_are_left_alone)
{
	for (enum kind k = 0; k < KINDS; k++) {
		struct pkt *p;
		struct intel_tx t;

		start(k);
		p = frame_udp(fx.st, 7, 300);
		p->data[40] = p->data[41] = 0;	/* zero: the sender makes none (RFC 768) */
		p->csum_state = PKT_CSUM_NONE;
		nic_tx(&fx.q->nic, fx.st, &p, 1);
		t = sent();
		cr_assert(!t.sum_l4 && !t.sum_ip && t.mss == 0 && t.len == 342);
		cr_assert(fx.buf[40] == 0 && fx.buf[41] == 0);
		done();
		stop();
	}
}
