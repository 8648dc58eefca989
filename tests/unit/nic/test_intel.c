/* SPDX-License-Identifier: MIT */
/* tests/unit/nic/test_intel.c - Intel's descriptor rings against a device that the test plays
 * Registers are plain memory; the device's side follows the datasheets' descriptor formats.
 */
#include "tests/unit/harness.h"

#include "stackd/atomic.h"
#include "stackd/nic/vfio/intel.h"

#define IOVA	0x100000000ull
#define RDT	0x10u
#define TDT	0x20u

struct fx {
	struct hx *h;
	struct stack *st;
	struct vfio v;
	struct nic_dev dev;
	struct intel_q *q;
	unsigned irq_on, irq_off, contexts;
};

static struct fx fx;

static void tx_context(struct intel_desc *d, const struct pkt *p, uint32_t hdr)
{
	fx.contexts++;
	d->q[0] = p->csum_start - (uint64_t)(p->data - p->buf);
	d->q[1] = hdr;
}

static void tx_data(struct intel_desc *d, uint64_t iova, uint32_t len, bool last,
		    const struct pkt *p, uint32_t hdr)
{
	d->q[0] = iova;
	d->q[1] = len | (last ? 1u << 24 : 0);
}

static void irq_on(struct intel_q *q) { fx.irq_on++; }
static void irq_off(struct intel_q *q) { fx.irq_off++; }

static const struct intel_family family = {
	.name = "test", .queues = 1, .tx_context = tx_context, .tx_data = tx_data,
	.irq_on = irq_on, .irq_off = irq_off,
};

static void set_up(void)
{
	size_t len;

	fx.h = hx_init(1);
	fx.st = &fx.h->st[0];
	fx.v.pool[0].va = pkt_pool_mem(fx.st->pool, &len);
	fx.v.pool[0].len = len;
	fx.v.pool[0].iova = IOVA;
	fx.dev.evt_fd = -1;
	fx.q = calloc(1, sizeof(*fx.q));
	fx.q->b.v = &fx.v;
	fx.q->b.dev = &fx.dev;
	fx.q->f = &family;
	fx.q->regs = calloc(1, 4096);
	fx.q->rdt = RDT;
	fx.q->tdt = TDT;
	fx.q->b.nic = (struct nic){ .ops = &intel_q_ops, .priv = fx.q, .dev = &fx.dev };
	fx.q->b.mem.va = aligned_alloc(4096, intel_q_mem());
	cr_assert_eq(intel_q_fill(fx.q, fx.st, INTEL_RING), 0);
}

static void stop(void)
{
	fx.q->b.nic.ops->stop(&fx.q->b.nic, fx.st);
	cr_assert_eq(pkt_pool_used(fx.st->pool), 0, "packets are missing after stop");
}

static void tear_down(void)
{
	stop();
	hx_fini(fx.h);
	free((void *)(uintptr_t)fx.q->regs);
	free(fx.q->b.mem.va);
	free(fx.q);
	fx = (struct fx){ 0 };
}

static uint8_t *at(uint64_t iova)
{
	cr_assert(iova >= IOVA && iova < IOVA + fx.v.pool[0].len, "outside what is mapped");
	return fx.v.pool[0].va + (iova - IOVA);
}

static void deliver(unsigned place, uint8_t fill, uint32_t len, uint32_t status)
{
	struct intel_desc *d = &fx.q->rx[place % INTEL_RING];

	memset(at(d->q[0]), fill, len < 1900 ? len : 1900);
	d->q[0] = 0xabcd000000000001ull;	/* hash, RSS type 1 */
	st_rel(&d->q[1], (uint64_t)len << 32 | status);
}

static unsigned rx(struct pkt **p, unsigned max)
{
	return fx.q->b.nic.ops->rx(&fx.q->b.nic, fx.st, p, max);
}

static struct pkt *frame(uint32_t len, bool big)
{
	struct pkt *p = pkt_alloc(fx.st->pool, big);

	memset(p->data, 7, len);
	p->len = len;
	return p;
}

Test(intel, receive)
{
	struct pkt *p[8];

	set_up();
	for (unsigned i = 0; i < 5000; i++) {
		deliver(i, (uint8_t)i, 60 + i % 1400, RXWB_DD | RXWB_EOP | RXWB_L4CS);
		cr_assert_eq(rx(p, 8), 1);
		cr_assert(p[0]->len == 60 + i % 1400 && p[0]->data[59] == (uint8_t)i);
		cr_assert(p[0]->csum_state == PKT_CSUM_UNNECESSARY && p[0]->hash == 0xabcd0000);
		stack_pkt_free(fx.st, p[0]);
		cr_assert_eq(reg_rd32(fx.q->regs, RDT), fx.q->rx_tail);
	}
	tear_down();
}

/* Another number of descriptors, as after a reset: more turns, and all of the ring is used. */
Test(intel, ring_sizes)
{
	static const uint16_t sizes[] = { INTEL_RING_MIN, 512, 128 };
	struct pkt *p[INTEL_RING_MAX], *out;

	set_up();
	for (unsigned n = 0; n < 3; n++) {
		uint16_t size = sizes[n];

		stop();
		cr_assert_eq(intel_q_fill(fx.q, fx.st, size), 0);
		cr_assert(fx.q->b.nic.rx_ring == size && fx.q->b.nic.held == size - 1u);
		for (unsigned turn = 0; turn < 5; turn++) {
			for (unsigned i = 0; i < size - 1u; i++) {
				struct intel_desc *d = &fx.q->rx[(fx.q->rx_next + i) % size];

				memset(at(d->q[0]), (int)i, 64);
				d->q[0] = 0;
				st_rel(&d->q[1], 64ull << 32 | RXWB_DD | RXWB_EOP);
			}
			cr_assert_eq(rx(p, INTEL_RING_MAX), size - 1u);
			for (unsigned i = 0; i < size - 1u; i++) {
				cr_assert_eq(p[i]->data[63], (uint8_t)i);
				stack_pkt_free(fx.st, p[i]);
			}
			cr_assert_eq(rx(p, 1), 0);
		}
		for (unsigned i = 0; i < 3u * size; i++) {
			out = frame(60, false);
			fx.q->b.nic.ops->tx(&fx.q->b.nic, fx.st, &out, 1);
			cr_assert_lt(fx.q->tx_tail, size);
			fx.q->tx[(fx.q->tx_tail + size - 1u) % size].q[1] |= TXWB_DD;
		}
		cr_assert_eq(fx.st->cnt->drop[DROP_DEV_TX_FULL], 0);
	}
	tear_down();
}

/* A sum that the device calls wrong, or has not looked at, is software's to judge. */
Test(intel, checksum_states)
{
	struct pkt *p[4];

	set_up();
	deliver(0, 1, 60, RXWB_DD | RXWB_EOP);
	deliver(1, 1, 60, RXWB_DD | RXWB_EOP | RXWB_L4CS | RXWB_L4E);
	deliver(2, 1, 60, RXWB_DD | RXWB_EOP | RXWB_L4CS | RXWB_IPE);
	cr_assert_eq(rx(p, 4), 3);
	for (unsigned i = 0; i < 3; i++) {
		cr_assert_eq(p[i]->csum_state, PKT_CSUM_NONE);
		stack_pkt_free(fx.st, p[i]);
	}
	tear_down();
}

Test(intel, bad_frames)
{
	struct pkt *p[8];

	set_up();
	deliver(0, 1, 5000, RXWB_DD | RXWB_EOP);		/* longer than the buffer */
	deliver(1, 1, 3, RXWB_DD | RXWB_EOP);			/* shorter than Ethernet */
	deliver(2, 1, 1900, RXWB_DD);				/* over two buffers ... */
	deliver(3, 1, 60, RXWB_DD | RXWB_EOP);			/* ... its end */
	deliver(4, 1, 60, RXWB_DD | RXWB_EOP | RXWB_RXE);	/* the device found it broken */
	deliver(5, 9, 60, RXWB_DD | RXWB_EOP);
	cr_assert_eq(rx(p, 8), 1);
	cr_assert_eq(p[0]->data[0], 9);
	cr_assert_eq(fx.st->cnt->drop[DROP_DEV_RX_BAD], 5);
	cr_assert_eq(fx.q->b.rx_bad, 5);
	stack_pkt_free(fx.st, p[0]);
	tear_down();
}

Test(intel, transmit)
{
	struct pkt *p, *none[1];

	set_up();
	for (unsigned i = 0; i < 3000; i++) {
		unsigned from = fx.q->tx_tail;

		p = frame(100, false);
		p->csum_state = PKT_CSUM_PARTIAL;
		p->csum_start = (uint16_t)(p->data - p->buf + 34);
		p->csum_off = 6;
		fx.q->b.nic.ops->tx(&fx.q->b.nic, fx.st, &p, 1);
		cr_assert_eq(reg_rd32(fx.q->regs, TDT), (from + 2) % INTEL_RING);
		cr_assert(fx.q->tx[from].q[0] == 34 && fx.q->tx[from].q[1] == 42);
		from = (from + 1) % INTEL_RING;
		cr_assert_eq(fx.q->tx[from].q[1], 100 | 1u << 24);
		cr_assert_eq(at(fx.q->tx[from].q[0])[99], 7);
		fx.q->tx[from].q[1] |= TXWB_DD;
		rx(none, 1);
		cr_assert_eq(fx.q->tx_next, fx.q->tx_tail);
	}
	cr_assert_eq(fx.contexts, 3000);
	tear_down();
}

/* A super-frame is cut at pages: what lies behind their boundaries need not follow in memory, and
 * QEMU's devices silently drop a packet with a piece over two places. Lengths leave its headers and
 * its TCP checksum field. */
Test(intel, segmentation)
{
	uint32_t sum = 0, pieces = 0;
	struct pkt *p;
	uint8_t *d;

	set_up();
	p = frame(20054, true);
	d = p->data;
	d[14] = 0x45;
	d[46] = 5 << 4;
	p->csum_state = PKT_CSUM_PARTIAL;
	p->csum_start = (uint16_t)(d - p->buf + 34);
	p->csum_off = 16;
	p->gso_type = PKT_GSO_TCP4;
	p->gso_size = 1448;
	p->gso_segs = 14;
	d[50] = 0x12;
	d[51] = 0x34;
	fx.q->b.nic.ops->tx(&fx.q->b.nic, fx.st, &p, 1);
	cr_assert_eq(fx.q->tx[0].q[1], 54);
	for (unsigned i = 1; i < fx.q->tx_tail; i++) {
		uint32_t len = fx.q->tx[i].q[1] & 0xffffff;

		cr_assert_eq(at(fx.q->tx[i].q[0]), d + sum);
		cr_assert_leq(fx.q->tx[i].q[0] % INTEL_PAGE + len, INTEL_PAGE);
		sum += len;
		pieces++;
		cr_assert_eq(fx.q->tx[i].q[1] >> 24, sum == 20054);
	}
	cr_assert(sum == 20054 && pieces <= INTEL_TX_MOST - 1);
	cr_assert(d[16] == 0 && d[17] == 0 && d[24] == 0 && d[25] == 0);
	/* 0x1234 less 20020 (0x4e34) in ones' complement. */
	cr_assert_eq(d[50] << 8 | d[51], (0x1234 + 0xffff - 0x4e34) & 0xffff);
	tear_down();
}

Test(intel, silent_stop_and_full_ring)
{
	struct pkt *p;

	set_up();
	for (unsigned i = 0; i < INTEL_RING + 20; i++) {
		p = frame(60, false);
		fx.q->b.nic.ops->tx(&fx.q->b.nic, fx.st, &p, 1);
	}
	cr_assert_gt(fx.st->cnt->drop[DROP_DEV_TX_FULL], 20);
	cr_assert_eq(fx.dev.fault, NIC_OK);
	fx.st->now_us += 5000000;
	rx(&p, 1);
	cr_assert_eq(fx.dev.fault, NIC_FAULT_TX_TIMEOUT);
	stop();
	cr_assert_eq(intel_q_fill(fx.q, fx.st, INTEL_RING), 0);
	deliver(0, 4, 80, RXWB_DD | RXWB_EOP);
	cr_assert_eq(rx(&p, 1), 1, "it works again");
	stack_pkt_free(fx.st, p);
	tear_down();
}

Test(intel, arming)
{
	struct pkt *p;

	set_up();
	cr_assert(!fx.q->b.nic.ops->arm(&fx.q->b.nic, fx.st));
	cr_assert(fx.irq_on == 1 && fx.irq_off == 0);
	deliver(0, 1, 60, RXWB_DD | RXWB_EOP);
	cr_assert(fx.q->b.nic.ops->arm(&fx.q->b.nic, fx.st), "there is something already");
	cr_assert_eq(rx(&p, 1), 1);
	cr_assert_eq(fx.irq_off, 1);
	stack_pkt_free(fx.st, p);
	tear_down();
}

/* All packets are elsewhere: the ring runs dry, and is filled again although nothing interrupts. */
Test(intel, pool_runs_dry)
{
	static struct pkt *kept[2048];
	struct pkt *p[INTEL_RING];
	unsigned cnt = 0, got;

	set_up();
	while ((kept[cnt] = pkt_alloc(fx.st->pool, false)))
		cnt++;
	for (unsigned i = 0; i < INTEL_RING - 1; i++)
		deliver(i, 1, 100, RXWB_DD | RXWB_EOP);
	got = rx(p, INTEL_RING);
	cr_assert_eq(got, INTEL_RING - 1);
	cr_assert_eq(fx.q->b.nic.ops->next_us(&fx.q->b.nic), fx.st->now_us + 1000);
	while (got)
		stack_pkt_free(fx.st, p[--got]);
	fx.st->now_us += 1000;
	cr_assert_eq(rx(p, 8), 0);
	cr_assert_eq(fx.q->b.nic.held, INTEL_RING - 1);
	cr_assert_eq(fx.q->b.nic.ops->next_us(&fx.q->b.nic), UINT64_MAX);
	while (cnt)
		stack_pkt_free(fx.st, kept[--cnt]);
	tear_down();
}

/* The device writes anything into rings and buffers, all the time. */
Test(intel, noise)
{
	for (unsigned seed = 0; seed < 300; seed++) {
		uint64_t state[2];
		struct pkt *p[16];

		set_up();
		rng_seed(state, seed);
		for (unsigned round = 0; round < 60; round++) {
			for (unsigned i = 0; i < 1 + round % 8; i++) {
				uint64_t r = rng_u64(state);

				fx.q->b.mem.va[r % intel_q_mem()] = (uint8_t)(r >> 32);
				fx.q->rx[fx.q->rx_next].q[1] = rng_u64(state);
			}
			p[0] = frame(300, false);
			fx.q->b.nic.ops->tx(&fx.q->b.nic, fx.st, p, 1);
			for (unsigned n = rx(p, 16); n-- > 0;) {
				cr_assert(p[n]->len <= PKT_SMALL);
				stack_pkt_free(fx.st, p[n]);
			}
		}
		tear_down();
	}
}
