/* SPDX-License-Identifier: MIT */
/* tests/fuzz/fuzz_nic.c - drivers against a device that is broken or hostile
 * usage: fuzz-nic [LIVES [SEED]]; prints the seed; the same seed makes the same runs.
 * A life: one queue pair (virtio split or packed, with and without event index and merged buffers,
 * 82574, 82576) from start to stop. The device delivers numbered frames and takes frames; from some
 * moment on it misbehaves: ids out of range or twice, lengths too long or too short, indices far
 * ahead or backwards, bits of rings and buffers changed at random, or it just falls silent.
 * Checked: sanitizers and ASSERT; while the device is honest every frame comes once, in order, with
 * the bytes that were delivered, and nothing is counted bad; later what comes lies inside its
 * buffers and can be cut like any packet; a fault is told and ends the queue; after stop every
 * packet is home, and a new life on the same queue works.
 */
#include <stdio.h>
#include <stdlib.h>

#include "stackd/atomic.h"
#include "stackd/core/rng.h"
#include "stackd/nic/gso.h"
#include "stackd/nic/vfio/virtio_int.h"
#include "stackd/nic/vnet.h"
#include "tests/unit/nic/model.h"

#define LIVES		20000
#define IOVA		0x100000000ull
#define RING		64u
#define MEM		32768u
#define BURST		16u

static struct world {
	struct stack st;
	struct counters cnt;
	struct vfio v;
	struct nic_dev dev;
	uint64_t rng[2];
	/* This life */
	bool intel, mrg, evil;
	struct intel_q iq;
	struct virtio_q vq;
	struct vfio_q *q;
	struct side rx, tx;
	unsigned next;			/* Intel: descriptor to fill */
	uint32_t put, got;		/* frames delivered, come up */
	uint8_t *mem;
	/* All */
	uint64_t frames, faults, bad, cut, silent;
} w;

static uint32_t below(uint32_t n) { return rng_below(w.rng, n); }
static bool chance(uint32_t n) { return below(n) == 0; }

/* The driver gives addresses of what it has mapped; what the device has changed itself may be
 * anything, and is where its IOMMU would stop it. */
static uint8_t *where(uint64_t iova)
{
	static uint8_t nowhere[PKT_BIG];
	bool mapped = iova >= IOVA && iova < IOVA + w.v.pool[0].len - PKT_SMALL;

	ASSERT(mapped || w.evil);
	return mapped ? w.v.pool[0].va + (iova - IOVA) : nowhere;
}

/* As a device does it: past the sanitizer, which would see a write into a free packet. */
__attribute__((no_sanitize("address")))
static void scribble(uint8_t *at, uint8_t what)
{
	*(volatile uint8_t *)at = what;
}

/* ---- lives ---- */

static void begin(void)
{
	static const struct intel_family *family[] = { &e1000e_family, &igb_family };
	uint64_t features;

	w.intel = chance(2);
	w.mrg = w.intel || chance(2);
	w.evil = false;
	w.put = w.got = 0;
	w.next = 0;
	w.dev.fault = NIC_OK;
	w.dev.bad_completions = 0;
	w.q = w.intel ? &w.iq.b : &w.vq.b;
	w.q->rx_bad = 0;
	if (w.intel) {
		w.iq.f = family[below(2)];
		w.iq.tdt = w.iq.f->tx_regs + 0x18;
		w.iq.rdt = w.iq.f->rx_regs + 0x18;
		ASSERT(intel_q_fill(&w.iq, &w.st, INTEL_RING) == 0);
		return;
	}
	features = (chance(2) ? VF_RING_PACKED : 0) | (chance(2) ? VF_EVENT_IDX : 0) |
		   (w.mrg ? VF_MRG_RXBUF : 0) | (chance(2) ? VF_HASH_REPORT : 0);
	ASSERT(virtio_q_fill(&w.vq, &w.st, RING, features) == 0);
	w.rx = side_of(&w.vq.rx);
	w.tx = side_of(&w.vq.tx);
}

static void end(void)
{
	w.q->nic.ops->stop(&w.q->nic, &w.st);
	ASSERT(pkt_pool_used(w.st.pool) == 0 && w.q->nic.held == 0);
	w.faults += w.dev.fault != NIC_OK;
	w.bad += w.q->rx_bad + w.dev.bad_completions;
}

/* ---- what an honest device does ---- */

static uint32_t frame_len(uint32_t number) { return 60 + number * 37 % 1400; }
static uint8_t frame_byte(uint32_t number, uint32_t i) { return (uint8_t)(number * 31 + i); }

static void write_frame(uint8_t *to, uint32_t number)
{
	for (uint32_t i = 0; i < frame_len(number); i++)
		scribble(to + i, frame_byte(number, i));
}

/* Return: false when the driver has given no buffer. */
static bool deliver_virtio(void)
{
	struct vq_seg seg = { 0 };
	uint16_t id = 0;
	uint8_t *m;

	if (!side_pop(&w.rx, &id, &seg))
		return false;
	m = where(seg.iova);
	for (unsigned i = 0; i < w.vq.hdr_len; i++)
		scribble(m + i, 0);
	scribble(m + 10, w.mrg);
	write_frame(m + w.vq.hdr_len, w.put);
	side_push(&w.rx, id, w.vq.hdr_len + frame_len(w.put));
	return true;
}

static bool deliver_intel(void)
{
	struct intel_desc *d = &w.iq.rx[w.next % INTEL_RING];

	if (w.next % INTEL_RING == w.iq.rx_tail)
		return false;
	write_frame(where(d->q[0]), w.put);
	d->q[0] = 0;
	st_rel(&d->q[1], (uint64_t)frame_len(w.put) << 32 | RXWB_DD | RXWB_EOP);
	w.next++;
	return true;
}

static void deliver(void)
{
	if (w.intel ? deliver_intel() : deliver_virtio())
		w.put++;
}

/* Frames that were sent are gone. */
static void take(void)
{
	struct vq_seg seg = { 0 };
	uint16_t id = 0;

	if (w.intel) {
		for (unsigned i = 0; i < INTEL_RING; i++)
			w.iq.tx[i].q[1] |= TXWB_DD;
		return;
	}
	while (side_pop(&w.tx, &id, &seg)) {
		where(seg.iova);
		side_push(&w.tx, id, 0);
	}
}

/* ---- what a broken one does ---- */

static void evil_intel(void)
{
	struct intel_desc *d = &w.iq.rx[(w.next + below(3)) % INTEL_RING];

	switch (below(4)) {
	case 0:			/* a length, several buffers, an error */
		st_rel(&d->q[1], (uint64_t)below(65536) << 32 | RXWB_DD |
				 (chance(2) ? RXWB_EOP : 0) | (chance(4) ? RXWB_RXE : 0));
		break;
	case 1:			/* done although it was not given, or is not its turn */
		w.iq.rx[below(INTEL_RING)].q[1] |= RXWB_DD;
		w.iq.tx[below(INTEL_RING)].q[1] |= TXWB_DD;
		break;
	default:
		d->q[1] = rng_u64(w.rng);
		break;
	}
}

/* A TCP super-frame over several buffers, whose header may or may not fit what comes. */
static void super_frame(struct side *s, uint16_t id, struct vq_seg seg)
{
	static const uint8_t tcp[54] = { [12] = 8, 0, 0x45, [23] = 6, [46] = 0x50, 0x10 };
	uint32_t bufs = 1 + below(chance(8) ? 40 : 4), hdr = w.vq.hdr_len, len = 200 + below(1700);
	struct vnet_hdr h = { 1, 1, 54, (uint16_t)below(2000), 34, 16 };
	uint32_t total = len - 14 + (bufs - 1) * 1000;
	uint8_t *m = where(seg.iova);

	for (unsigned i = 0; i < sizeof(h); i++)
		scribble(m + i, ((uint8_t *)&h)[i]);
	scribble(m + 10, (uint8_t)bufs);
	scribble(m + 11, 0);
	for (unsigned i = 0; i < sizeof(tcp); i++)
		scribble(m + hdr + i, tcp[i]);
	scribble(m + hdr + 16, (uint8_t)(total >> 8));
	scribble(m + hdr + 17, (uint8_t)total);
	side_push(s, id, hdr + len);
	while (--bufs && side_pop(s, &id, &seg))
		side_push(s, id, chance(20) ? below(4000) : 1000);
}

static void evil_virtio(void)
{
	struct side *s = chance(3) ? &w.tx : &w.rx;
	struct vq_seg seg = { 0 };
	uint16_t id = 0, *idx = (uint16_t *)s->q->dev + 1;

	side_pop(s, &id, &seg);
	switch (below(8)) {
	case 0:
		side_push(s, chance(2) ? below(65536) : (uint32_t)rng_u64(w.rng), below(3000));
		break;
	case 1:			/* twice */
		side_push(s, id, 100);
		side_push(s, id, 100);
		break;
	case 2:			/* with any length, any number of buffers */
		scribble(where(seg.iova) + 10, (uint8_t)below(256));
		side_push(s, id, chance(2) ? below(4096) : (uint32_t)rng_u64(w.rng));
		break;
	case 3:
		*idx = (uint16_t)(*idx + (chance(2) ? RING + below(9) : -1u - below(9)));
		break;
	case 4:
		super_frame(s, id, seg);
		break;
	case 5:			/* any header */
		for (unsigned i = 0; i < 12; i++)
			scribble(where(seg.iova) + i, (uint8_t)below(i < 10 ? 64 : 3));
		side_push(s, id, 12 + below(1900));
		break;
	default:
		break;		/* silence */
	}
}

static void misbehave(void)
{
	if (w.intel)
		evil_intel();
	else
		evil_virtio();
	for (uint32_t n = chance(3) ? below(8) : 0; n; n--) {
		w.mem[below(MEM)] = (uint8_t)below(256);
		scribble(w.v.pool[0].va + below(RING * PKT_SMALL), (uint8_t)below(256));
	}
}

/* ---- the driver's turn ---- */

static void look(struct pkt *p)
{
	uint8_t *end = w.v.pool[0].va + w.v.pool[0].len;
	static uint8_t copy[PKT_BIG + PKT_FRAGS * PKT_SMALL];
	struct gso_plan plan;

	ASSERT(p->data >= p->buf && p->data + p->len <= p->buf + p->buf_size);
	ASSERT(p->frag_cnt <= PKT_FRAGS);
	for (unsigned i = 0; i < p->frag_cnt; i++)
		ASSERT((uint8_t *)p->frag[i].iov_base >= w.v.pool[0].va &&
		       (uint8_t *)p->frag[i].iov_base + p->frag[i].iov_len <= end);
	pkt_copy_out(p, 0, copy, pkt_total(p));		/* the sanitizer sees each byte */
	if (p->gso_type == PKT_GSO_TCP4 && gso_plan(p, &plan) == 0 && plan.segs) {
		struct pkt *s = gso_segment(&w.st, p, &plan, plan.segs - 1, false);

		w.cut += s != NULL;
		if (s)
			stack_pkt_free(&w.st, s);
	}
	if (!w.evil) {
		ASSERT(p->len == frame_len(w.got) && p->frag_cnt == 0);
		for (uint32_t i = 0; i < p->len; i++)
			ASSERT(copy[i] == frame_byte(w.got, i));
	}
	w.got++;
}

static void poll_queue(void)
{
	struct pkt *p[BURST];
	unsigned n = w.q->nic.ops->rx(&w.q->nic, &w.st, p, BURST);

	ASSERT(n <= BURST);
	w.frames += n;
	for (unsigned i = 0; i < n; i++) {
		look(p[i]);
		stack_pkt_free(&w.st, p[i]);
	}
	if (w.dev.fault != NIC_OK) {
		ASSERT(w.evil && !w.q->running);
		ASSERT(w.q->nic.ops->rx(&w.q->nic, &w.st, p, BURST) == 0);
	}
	if (!w.evil && w.dev.fault == NIC_OK && chance(2)) {
		while (w.got < w.put && n) {	/* nothing is lost */
			n = w.q->nic.ops->rx(&w.q->nic, &w.st, p, 1);
			for (unsigned i = 0; i < n; i++) {
				look(p[i]);
				stack_pkt_free(&w.st, p[i]);
			}
		}
		ASSERT(w.q->rx_bad == 0 && w.dev.bad_completions == 0);
	}
	if (chance(4))
		w.q->nic.ops->arm(&w.q->nic, &w.st);
}

static void send_one(void)
{
	struct pkt *p = pkt_alloc(w.st.pool, chance(8));
	uint32_t len = 60 + below(p && p->big ? 60000 : 1800);

	if (!p)
		return;
	memset(p->data, 0x45, len < 200 ? len : 200);
	p->len = len;
	if (chance(2) && len > 100) {
		p->csum_state = PKT_CSUM_PARTIAL;
		p->csum_start = (uint16_t)(p->data - p->buf + 34);
		p->csum_off = chance(2) ? 16 : 6;
		if (p->big && p->csum_off == 16) {
			p->gso_type = PKT_GSO_TCP4;
			p->gso_size = 1448;
			p->gso_segs = (uint16_t)(len / 1448 + 1);
		}
	}
	w.q->nic.ops->tx(&w.q->nic, &w.st, &p, 1);
}

static void live(void)
{
	uint32_t rounds = 5 + below(60), turn = below(rounds);

	begin();
	for (uint32_t i = 0; i < rounds && w.dev.fault == NIC_OK; i++) {
		bool silent = false;

		w.evil |= i > turn;
		for (uint32_t n = below(8); n; n--)
			deliver();
		if (w.evil && chance(2))
			misbehave();
		for (uint32_t n = below(4); n; n--)
			send_one();
		if (w.evil && chance(10))
			silent = true;
		else
			take();
		poll_queue();
		w.st.now_us += silent ? 5000000 : below(2000);
		w.silent += silent;
		if (silent)
			w.evil = true;
	}
	end();
}

static void start(uint64_t seed)
{
	struct pkt_pool_conf conf = { .small_cnt = 1024, .big_cnt = 16, .numa_node = -1 };
	size_t len;

	rng_seed(w.rng, seed);
	w.st = (struct stack){ .workers = 1, .cnt = &w.cnt, .now_us = 1000000 };
	ASSERT(pkt_pool_create(&conf, &w.st.pool) == 0);
	w.v.pool[0].va = pkt_pool_mem(w.st.pool, &len);
	w.v.pool[0].len = len;
	w.v.pool[0].iova = IOVA;
	w.dev.evt_fd = -1;
	w.mem = aligned_alloc(4096, MEM);
	w.iq.regs = calloc(1, 0x20000);
	ASSERT(w.mem && w.iq.regs);
	w.iq.b = (struct vfio_q){ .v = &w.v, .dev = &w.dev, .mem.va = w.mem };
	w.iq.b.nic = (struct nic){ .ops = &intel_q_ops, .priv = &w.iq, .dev = &w.dev };
	w.vq.b = (struct vfio_q){ .v = &w.v, .dev = &w.dev, .mem.va = w.mem };
	w.vq.b.nic = (struct nic){ .ops = &virtio_q_ops, .priv = &w.vq, .dev = &w.dev };
}

int main(int argc, char **argv)
{
	unsigned long n = argc > 1 ? strtoul(argv[1], NULL, 0) : LIVES;
	unsigned long seed = argc > 2 ? strtoul(argv[2], NULL, 0) : 1;

	printf("fuzz-nic: seed %lu\n", seed);
	start(seed);
	for (unsigned long i = 0; i < n; i++)
		live();
	free((void *)(uintptr_t)w.iq.regs);
	free(w.mem);
	pkt_pool_destroy(w.st.pool);
	printf("fuzz-nic: %lu lives, %llu frames, %llu faults, %llu bad, %llu cut, %llu silences\n",
	       n,
	       (unsigned long long)w.frames, (unsigned long long)w.faults,
	       (unsigned long long)w.bad, (unsigned long long)w.cut, (unsigned long long)w.silent);
	return w.frames && w.faults && w.bad && w.cut && w.silent ? 0 : 1;
}
