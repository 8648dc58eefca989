/* SPDX-License-Identifier: MIT */
/* tests/unit/nic/test_virtio.c - virtio-net's queues against a device that the test plays
 * The device's side (model.h) can misbehave in every way that a ring allows. After each fault the
 * queue is stopped, all packets must be back (hx_fini counts them), and a fresh start must work.
 */
#include "tests/unit/harness.h"

#include "stackd/atomic.h"
#include "stackd/nic/vfio/virtio_int.h"
#include "stackd/nic/vnet.h"
#include "tests/unit/nic/model.h"

#define IOVA	0x100000000ull
#define RING	64u

struct fx {
	struct hx *h;
	struct stack *st;
	struct vfio v;
	struct nic_dev dev;
	struct virtio_q *q;
	uint64_t features;
};

static struct fx fx;

static void start(void)
{
	cr_assert_eq(virtio_q_fill(fx.q, fx.st, RING, fx.features), 0);
	fx.dev.fault = NIC_OK;
}

static void set_up(uint64_t features)
{
	size_t len;

	fx.h = hx_init(1);
	fx.st = &fx.h->st[0];
	fx.features = features | VF_MRG_RXBUF;
	fx.v.pool[0].va = pkt_pool_mem(fx.st->pool, &len);
	fx.v.pool[0].len = len;
	fx.v.pool[0].iova = IOVA;
	fx.dev.evt_fd = -1;
	fx.q = calloc(1, sizeof(*fx.q));
	fx.q->b.v = &fx.v;
	fx.q->b.dev = &fx.dev;
	fx.q->b.nic = (struct nic){ .ops = &virtio_q_ops, .priv = fx.q, .dev = &fx.dev };
	fx.q->b.mem.va = aligned_alloc(4096, 16384);
	fx.q->b.mem.iova = 0x1000000;
	start();
}

static void stop(void)
{
	fx.q->b.nic.ops->stop(&fx.q->b.nic, fx.st);
	cr_assert_eq(pkt_pool_used(fx.st->pool), 0, "packets are missing after stop");
	cr_assert_eq(fx.q->b.nic.held, 0);
}

static void tear_down(void)
{
	stop();
	hx_fini(fx.h);
	free(fx.q->b.mem.va);
	free(fx.q);
	fx = (struct fx){ 0 };
}

static uint8_t *at(uint64_t iova)
{
	cr_assert(iova >= IOVA && iova < IOVA + fx.v.pool[0].len, "outside what is mapped");
	return fx.v.pool[0].va + (iova - IOVA);
}

/* A frame of @len bytes, all @fill, as one of @bufs buffers. */
static void deliver(struct side *s, uint8_t fill, uint32_t len, uint16_t bufs)
{
	struct vq_seg seg = { 0 };
	uint16_t id = 0;

	cr_assert(side_pop(s, &id, &seg));
	memset(at(seg.iova), 0, VNET_HDR_LEN);
	memcpy(at(seg.iova) + VNET_HDR_BUFS, &bufs, 2);
	memset(at(seg.iova) + VNET_HDR_LEN, fill, len);
	side_push(s, id, VNET_HDR_LEN + len);
}

static unsigned rx(struct pkt **p, unsigned max)
{
	return fx.q->b.nic.ops->rx(&fx.q->b.nic, fx.st, p, max);
}

static const uint64_t kinds[] = { 0, VF_EVENT_IDX, VF_RING_PACKED, VF_RING_PACKED | VF_EVENT_IDX };
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

static struct pkt *frame(uint8_t fill, uint32_t len)
{
	struct pkt *p = pkt_alloc(fx.st->pool, false);

	memset(p->data, fill, len);
	p->len = len;
	return p;
}

/* More packets than the ring's index has values (split), many turns of it (packed): @one of number
 * i, for each kind of ring. */
static void many(bool tx, void (*one)(struct side *s, unsigned i))
{
	for (unsigned k = 0; k < KINDS; k++) {
		struct side s;

		set_up(kinds[k]);
		s = side_of(tx ? &fx.q->tx : &fx.q->rx);
		for (unsigned i = 0; i < 70000; i++)
			one(&s, i);
		cr_assert_eq(fx.st->cnt->drop[DROP_DEV_TX_FULL], 0);
		cr_assert_eq(fx.dev.fault, NIC_OK);
		tear_down();
	}
}

static void receive_one(struct side *s, unsigned i)
{
	struct pkt *p[8];

	deliver(s, (uint8_t)i, 60 + i % 1400, 1);
	cr_assert_eq(rx(p, 8), 1);
	cr_assert_eq(p[0]->len, 60 + i % 1400);
	cr_assert_eq(p[0]->data[59], (uint8_t)i);
	cr_assert_eq(p[0]->data[0], (uint8_t)i);
	stack_pkt_free(fx.st, p[0]);
}

Test(virtio, receive)
{
	many(false, receive_one);
}

static void transmit_one(struct side *s, unsigned i)
{
	struct pkt *p = frame((uint8_t)i, 100), *none[1];
	struct vq_seg seg;
	struct vnet_hdr h;
	uint16_t id;

	p->csum_state = PKT_CSUM_PARTIAL;
	p->csum_start = (uint16_t)(p->data - p->buf + 34);
	p->csum_off = 16;
	fx.q->b.nic.ops->tx(&fx.q->b.nic, fx.st, &p, 1);
	cr_assert(side_pop(s, &id, &seg));
	cr_assert_eq(seg.len, VNET_HDR_LEN + 100);
	memcpy(&h, at(seg.iova), sizeof(h));
	cr_assert(h.flags == 1 && h.csum_start == 34 && h.csum_off == 16);
	cr_assert_eq(at(seg.iova)[VNET_HDR_LEN + 99], (uint8_t)i);
	side_push(s, id, 0);
	rx(none, 1);
}

Test(virtio, transmit)
{
	many(true, transmit_one);
}

/* Bytes that lie where the device cannot see them are copied; a full ring drops and counts. */
Test(virtio, transmit_borrowed_and_full)
{
	static uint8_t far[3000];
	struct vq_seg seg;
	struct side s;
	uint16_t id;

	set_up(0);
	s = side_of(&fx.q->tx);
	memset(far, 0x5a, sizeof(far));
	for (unsigned i = 0; i < RING + 5; i++) {
		struct pkt *p = frame(1, 54);

		p->frag[p->frag_cnt++] = (struct iovec){ far, 900 };
		p->frag_len = 900;
		fx.q->b.nic.ops->tx(&fx.q->b.nic, fx.st, &p, 1);
	}
	cr_assert_eq(fx.st->cnt->drop[DROP_DEV_TX_FULL], 5);
	cr_assert(side_pop(&s, &id, &seg));
	cr_assert_eq(seg.len, VNET_HDR_LEN + 954);
	cr_assert_eq(at(seg.iova)[VNET_HDR_LEN + 953], 0x5a);
	tear_down();
}

/* A frame over several buffers: TCP segments become fragments, anything else one piece. */
Test(virtio, merged_buffers)
{
	struct pkt *p[4];
	struct vq_seg seg;
	struct side s;
	uint16_t id;

	set_up(0);
	s = side_of(&fx.q->rx);
	deliver(&s, 7, 1900, 3);
	cr_assert_eq(rx(p, 4), 0, "not whole yet");
	for (unsigned i = 0; i < 2; i++) {
		cr_assert(side_pop(&s, &id, &seg));
		memset(at(seg.iova), 8 + (int)i, 1000);
		side_push(&s, id, 1000);
	}
	cr_assert_eq(rx(p, 4), 1);
	cr_assert_eq(p[0]->len, 3900);
	cr_assert_eq(p[0]->frag_cnt, 0);
	cr_assert(p[0]->data[1899] == 7 && p[0]->data[1900] == 8 && p[0]->data[3899] == 9);
	stack_pkt_free(fx.st, p[0]);

	deliver(&s, 0x50, 1900, 2);
	{
		/* The header of the first buffer says TCPv4, 1000 bytes each. */
		struct vnet_hdr h = { .flags = 1, .gso_type = 1, .gso_size = 1000,
				      .csum_start = 34, .csum_off = 16 };
		uint32_t prev = (uint32_t)(s.seen - 1) % RING;

		memcpy(at(fx.q->rx.desc[((uint16_t *)fx.q->rx.drv)[2 + prev]].addr), &h, sizeof(h));
	}
	cr_assert(side_pop(&s, &id, &seg));
	side_push(&s, id, 500);
	cr_assert_eq(rx(p, 4), 1);
	cr_assert(p[0]->len == 1900 && p[0]->frag_cnt == 1 && p[0]->frag_len == 500);
	cr_assert_eq(p[0]->gso_type, PKT_GSO_TCP4);
	stack_pkt_free(fx.st, p[0]);
	tear_down();
}

enum evil { ID_RANGE, ID_TWICE, LEN_LONG, LEN_SHORT, BUFS_ZERO, BUFS_MANY, IDX_FAR, IDX_BACK,
	    EVILS };

static void misbehave(struct side *s, enum evil e)
{
	struct vq_seg seg;
	uint16_t id, bufs = e == BUFS_ZERO ? 0 : e == BUFS_MANY ? RING + 1 : 1;

	cr_assert(side_pop(s, &id, &seg));
	memset(at(seg.iova), 0, VNET_HDR_LEN);
	memcpy(at(seg.iova) + VNET_HDR_BUFS, &bufs, 2);
	switch (e) {
	case ID_RANGE:
		side_push(s, s->q->packed ? 0xffff : 0x10003, 100);
		break;
	case ID_TWICE:
		side_push(s, id, 100);
		side_push(s, id, 100);
		break;
	case LEN_LONG:
		side_push(s, id, 100000);
		break;
	case LEN_SHORT:
		side_push(s, id, 3);
		break;
	case IDX_FAR:
		((uint16_t *)s->q->dev)[1] = (uint16_t)(s->used + RING + 1);
		break;
	case IDX_BACK:
		((uint16_t *)s->q->dev)[1] = (uint16_t)(s->used - 1);
		break;
	default:
		side_push(s, id, 100);
		break;
	}
}

Test(virtio, misbehaving_device)
{
	for (unsigned k = 0; k < KINDS; k++) {
		for (enum evil e = 0; e < EVILS; e++) {
			struct side s;
			struct pkt *p[8];
			unsigned n;

			if (kinds[k] & VF_RING_PACKED && (e == IDX_FAR || e == IDX_BACK))
				continue;	/* packed rings have no index */
			set_up(kinds[k]);
			s = side_of(&fx.q->rx);
			deliver(&s, 1, 100, 1);
			n = rx(p, 8);
			misbehave(&s, e);
			n += rx(p + n, 8 - n);
			for (unsigned i = 0; i < n; i++) {
				cr_assert_eq(p[i]->len, i ? 88 : 100);
				stack_pkt_free(fx.st, p[i]);
			}
			cr_assert_eq(n, e == ID_TWICE ? 2 : 1, "evil %u", e);
			cr_assert_eq(fx.dev.fault, NIC_FAULT_RING, "evil %u goes unseen", e);
			cr_assert_eq(fx.dev.bad_completions, 1);
			cr_assert_eq(rx(p, 8), 0);
			cr_assert(!fx.q->b.nic.ops->arm(&fx.q->b.nic, fx.st));
			stop();
			start();
			s = side_of(&fx.q->rx);
			deliver(&s, 2, 200, 1);
			cr_assert_eq(rx(p, 8), 1, "it works again after evil %u", e);
			stack_pkt_free(fx.st, p[0]);
			tear_down();
		}
	}
}

/* The device takes frames and never says that they are gone. */
Test(virtio, silent_stop)
{
	struct pkt *p[1];

	set_up(VF_EVENT_IDX);
	p[0] = frame(1, 60);
	fx.q->b.nic.ops->tx(&fx.q->b.nic, fx.st, p, 1);
	cr_assert_eq(fx.q->b.nic.ops->next_us(&fx.q->b.nic), fx.st->now_us + 5000000);
	fx.st->now_us += 4999999;
	rx(p, 1);
	cr_assert_eq(fx.dev.fault, NIC_OK);
	fx.st->now_us += 1;
	rx(p, 1);
	cr_assert_eq(fx.dev.fault, NIC_FAULT_TX_TIMEOUT);
	cr_assert_eq(fx.dev.tx_timeouts, 1);
	p[0] = frame(1, 60);
	fx.q->b.nic.ops->tx(&fx.q->b.nic, fx.st, p, 1);
	cr_assert_eq(fx.st->cnt->drop[DROP_DEV_TX_FULL], 1);
	tear_down();
}

/* All packets are elsewhere: the ring runs dry, and is filled again although nothing interrupts. */
Test(virtio, pool_runs_dry)
{
	static struct pkt *kept[2048];
	struct pkt *p[RING];
	unsigned cnt = 0, got;
	struct side s;

	set_up(0);
	s = side_of(&fx.q->rx);
	while ((kept[cnt] = pkt_alloc(fx.st->pool, false)))
		cnt++;
	for (unsigned i = 0; i < RING; i++)
		deliver(&s, 1, 100, 1);
	got = rx(p, RING);
	cr_assert_eq(got, RING);
	cr_assert_eq(fx.q->b.nic.held, 0);
	cr_assert_eq(fx.q->b.nic.ops->next_us(&fx.q->b.nic), fx.st->now_us + 1000);
	while (got)
		stack_pkt_free(fx.st, p[--got]);
	fx.st->now_us += 1000;
	cr_assert_eq(rx(p, 8), 0);
	cr_assert_eq(fx.q->b.nic.held, RING);
	cr_assert_eq(fx.q->b.nic.ops->next_us(&fx.q->b.nic), UINT64_MAX);
	deliver(&s, 5, 100, 1);
	cr_assert_eq(rx(p, 8), 1);
	stack_pkt_free(fx.st, p[0]);
	while (cnt)
		stack_pkt_free(fx.st, kept[--cnt]);
	tear_down();
}

/* As a device does it: past the sanitizer, which would see a write into a free packet. */
__attribute__((no_sanitize("address")))
static void scribble(uint8_t *where, uint8_t what)
{
	*(volatile uint8_t *)where = what;
}

/* Seeds: the device writes anything anywhere that it can see, all the time. */
Test(virtio, noise)
{
	for (unsigned seed = 0; seed < 400; seed++) {
		uint64_t state[2];
		struct pkt *p[16];

		set_up(kinds[seed % KINDS]);
		rng_seed(state, seed);
		for (unsigned round = 0; round < 60; round++) {
			for (unsigned i = 0; i < 1 + round % 8; i++) {
				uint64_t r = rng_u64(state);

				fx.q->b.mem.va[r % 16384] = (uint8_t)(r >> 32);
				scribble(fx.v.pool[0].va + (r >> 20) % (RING * PKT_SMALL),
					 (uint8_t)(r >> 56));
			}
			p[0] = frame(3, 300);
			fx.q->b.nic.ops->tx(&fx.q->b.nic, fx.st, p, 1);
			for (unsigned n = rx(p, 16); n-- > 0;) {
				cr_assert(pkt_total(p[n]) <= 65u * 2048);
				stack_pkt_free(fx.st, p[n]);
			}
			fx.q->b.nic.ops->arm(&fx.q->b.nic, fx.st);
			if (fx.dev.fault != NIC_OK) {
				stop();
				start();
			}
		}
		tear_down();
	}
}

/* Interrupts: asked for when armed, not while polling. */
Test(virtio, arming)
{
	for (unsigned k = 0; k < KINDS; k++) {
		struct side s;
		struct pkt *p[2];

		set_up(kinds[k]);
		s = side_of(&fx.q->rx);
		cr_assert(!fx.q->b.nic.ops->arm(&fx.q->b.nic, fx.st));
		if (kinds[k] == 0)
			cr_assert_eq(((uint16_t *)fx.q->rx.drv)[0], 0);
		if (kinds[k] == VF_EVENT_IDX)
			cr_assert_eq(((uint16_t *)fx.q->rx.drv)[2 + RING], s.used);
		if (kinds[k] == VF_RING_PACKED)
			cr_assert_eq(((uint16_t *)fx.q->rx.drv)[1], 0);
		if (kinds[k] == (VF_RING_PACKED | VF_EVENT_IDX))
			cr_assert_eq(((uint16_t *)fx.q->rx.drv)[1], 2);
		deliver(&s, 1, 60, 1);
		cr_assert(fx.q->b.nic.ops->arm(&fx.q->b.nic, fx.st), "there is something already");
		cr_assert_eq(rx(p, 2), 1);
		stack_pkt_free(fx.st, p[0]);
		if (kinds[k] == 0)
			cr_assert_eq(((uint16_t *)fx.q->rx.drv)[0], 1);
		tear_down();
	}
}
