/* SPDX-License-Identifier: MIT */
/* tests/unit/nic/test_gso.c - nic_tx(): what software does for a device that cannot */
#include "stackd/nic/gso.h"
#include "tests/unit/nic/frames.h"

static struct hx *h;
static struct stack *st;
static struct nic *a, *b;

static void start(uint32_t features)
{
	h = hx_init(1);
	st = &h->st[0];
	cr_assert_eq(mem_nic_pair(1500, features, &a, &b), 0);
}

static void stop(void)
{
	a->ops->close(a);
	b->ops->close(b);
	hx_fini(h);
}

static uint32_t be32_of(const uint8_t *p)
{
	return be16_of(p) << 16 | be16_of(p + 2);
}

/* Segments of frame_tcp_gso(@len, @mss, @flags) as they arrive: every field and byte. */
static void check_segments(uint32_t len, uint16_t mss, uint8_t flags, bool complete)
{
	uint32_t segs = (len + mss - 1) / mss, off = 0;

	for (uint32_t i = 0; i < segs; i++) {
		uint32_t n = len - off < mss ? len - off : mss;
		uint8_t want = flags;
		struct pkt *p;

		cr_assert_eq(b->ops->rx(b, st, &p, 1), 1, "segment %u of %u", i, segs);
		cr_assert_eq(p->len, 54 + n);
		cr_assert_eq(p->gso_size, 0);
		cr_assert_eq(be16_of(p->data + 16), 40 + n, "total length");
		cr_assert_eq(be16_of(p->data + 18), (uint16_t)(0xfffe + i), "id");
		cr_assert_eq(be16_of(p->data + 20), 0x4000, "DF");
		cr_assert_eq(p->data[15], 2, "ECT stays");
		cr_assert_eq(be32_of(p->data + 38), 0xfffffc00u + off, "sequence, over the wrap");
		cr_assert_eq(be32_of(p->data + 42), 0x01020304);
		if (i)
			want &= (uint8_t)~0x80;
		if (i != segs - 1)
			want &= (uint8_t)~0x09;
		cr_assert_eq(p->data[47], want, "flags of segment %u", i);
		cr_assert_eq(be16_of(p->data + 48), 0x1234, "window");
		if (complete)
			cr_assert(frame_sums_ok(p), "segment %u", i);
		else
			cr_assert_eq(p->csum_state, PKT_CSUM_UNNECESSARY);
		for (uint32_t k = 0; k < n; k++)
			cr_assert_eq(p->data[54 + k], frame_byte(off + k), "byte %u", off + k);
		off += n;
		stack_pkt_free(st, p);
	}
	cr_assert_eq(b->ops->rx(b, st, &(struct pkt *){ NULL }, 1), 0);
}

Test(gso, tcp_is_cut_byte_for_byte)
{
	static const struct { uint32_t len; uint16_t mss; } t[] = {
		{ 1, 1000 }, { 1000, 1000 }, { 1001, 1000 }, { 65000, 1448 }, { 7777, 536 },
		{ 5, 1 }, { 30000, 9000 },
	};

	start(0);
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		/* CWR ACK PSH FIN */
		struct pkt *p = frame_tcp_gso(st, t[i].len, t[i].mss, 0x99);

		nic_tx(a, st, &p, 1);
		check_segments(t[i].len, t[i].mss, 0x99, true);
	}
	stop();
}

Test(gso, device_sums_what_software_cuts)
{
	start(NIC_F_CSUM);
	struct pkt *p = frame_tcp_gso(st, 5000, 1448, 0x18);

	nic_tx(a, st, &p, 1);
	check_segments(5000, 1448, 0x18, false);
	stop();
}

Test(gso, payload_may_lie_anywhere)
{
	static const uint32_t cuts[] = { 54, 55, 60, 1000, 1054, 1055, 7000, 8053 };

	start(0);
	for (size_t i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++) {
		struct pkt *p = frame_tcp_gso(st, 8000, 1000, 0x10);
		uint32_t rest = p->len - cuts[i], third = rest / 3 | 1;

		/* The bytes stay where they are; fragments of odd lengths describe them. */
		p->frag[0] = (struct iovec){ p->data + cuts[i], third };
		p->frag[1] = (struct iovec){ p->data + cuts[i] + third,
					     rest > third ? rest - third : 0 };
		p->frag_cnt = 2;
		p->frag_len = rest;
		if (rest <= third) {
			p->frag[0].iov_len = rest;
			p->frag_cnt = 1;
		}
		p->len = cuts[i];
		nic_tx(a, st, &p, 1);
		check_segments(8000, 1000, 0x10, true);
	}
	stop();
}

Test(gso, capable_device_gets_it_whole)
{
	start(NIC_F_CSUM | NIC_F_TSO);
	struct pkt *p = frame_tcp_gso(st, 5000, 1448, 0x18);

	nic_tx(a, st, &p, 1);
	cr_assert_eq(b->ops->rx(b, st, &p, 1), 1);
	cr_assert_eq(p->len, 5054);
	cr_assert_eq(p->gso_size, 1448);
	cr_assert_eq(p->gso_segs, 4);
	stack_pkt_free(st, p);
	cr_assert_eq(h->cnt[0].snmp[SNMP_Dev_TxGsoPackets], 1);
	stop();
}

Test(gso, udp_is_cut_into_datagrams)
{
	start(NIC_F_CSUM | NIC_F_TSO);
	struct pkt *p = frame_udp(st, 5, 1000);

	p->gso_type = PKT_GSO_UDP;
	p->gso_size = 300;
	nic_tx(a, st, &p, 1);
	for (unsigned i = 0; i < 4; i++) {
		uint32_t n = i < 3 ? 300 : 100;

		cr_assert_eq(b->ops->rx(b, st, &p, 1), 1);
		cr_assert_eq(p->len, 42 + n);
		cr_assert_eq(be16_of(p->data + 38), 8 + n);
		cr_assert_eq(be16_of(p->data + 18), (uint16_t)(0xfffe + i));
		for (uint32_t k = 0; k < n; k++)
			cr_assert_eq(p->data[42 + k], (uint8_t)(i * 300 + k + 5));
		stack_pkt_free(st, p);
	}
	stop();
}

Test(gso, checksum_is_finished)
{
	start(0);
	struct pkt *p = frame_udp(st, 5, 333);

	nic_tx(a, st, &p, 1);
	cr_assert_eq(b->ops->rx(b, st, &p, 1), 1);
	cr_assert_eq(p->csum_state, PKT_CSUM_NONE);
	cr_assert(frame_sums_ok(p));
	stack_pkt_free(st, p);
	stop();
}

/* Order among packets that need work and packets that do not. */
Test(gso, order_is_kept)
{
	struct pkt *v[100], *p;

	start(0);
	for (unsigned i = 0; i < 100; i++) {
		v[i] = frame_udp(st, (uint16_t)i, 10 + i);
		if (i % 3 == 0)
			csum_finish(v[i]);
	}
	nic_tx(a, st, v, 100);
	for (unsigned i = 0; i < 100; i++) {
		cr_assert_eq(b->ops->rx(b, st, &p, 1), 1);
		cr_assert_eq(frame_number(p), i);
		cr_assert(frame_sums_ok(p));
		stack_pkt_free(st, p);
	}
	stop();
}

/* Headers that do not fit the offload fields: dropped and counted, never cut. */
Test(gso, nonsense_is_dropped)
{
	start(0);
	for (int i = 0; i < 9; i++) {
		struct pkt *p = frame_tcp_gso(st, 3000, 1000, 0x10);
		struct gso_plan plan;

		switch (i) {
		case 0: p->data[14] = 0x44; break;		/* IHL below 5 */
		case 1: p->data[14] = 0x65; break;		/* version */
		case 2: p->data[23] = 17; break;		/* protocol */
		case 3: p->data[21] = 8; break;			/* fragment */
		case 4: p->data[46] = 0x40; break;		/* data offset */
		case 5: p->data[17]++; break;			/* total length */
		case 6: p->gso_type = PKT_GSO_TCP6; break;
		case 7: p->data[13] = 6; break;			/* EtherType */
		case 8: p->gso_size = 0; break;
		}
		cr_expect_lt(gso_plan(p, &plan), 0, "case %d", i);
		nic_tx(a, st, &p, 1);
		cr_expect_eq(h->cnt[0].drop[DROP_GSO_BAD], (uint64_t)i + 1, "case %d", i);
	}
	stop();
}

Test(gso, empty_pool_is_loss_not_a_crash)
{
	struct pkt *all[2000];
	unsigned n = 0;

	start(0);
	struct pkt *p = frame_tcp_gso(st, 60000, 1000, 0x10);

	while ((all[n] = pkt_alloc(st->pool, false)))
		n++;
	for (int i = 0; i < 5; i++)
		stack_pkt_free(st, all[--n]);
	nic_tx(a, st, &p, 1);
	cr_assert_eq(h->cnt[0].drop[DROP_NO_BUF], 1);
	while (n)
		stack_pkt_free(st, all[--n]);
	while (b->ops->rx(b, st, &p, 1))
		stack_pkt_free(st, p);
	stop();
}

Test(mem, full_ring_drops_and_counts)
{
	start(0);
	for (int i = 0; i < 600; i++) {
		struct pkt *p = frame_udp(st, (uint16_t)i, 10);

		nic_tx(a, st, &p, 1);
	}
	cr_assert_eq(h->cnt[0].drop[DROP_DEV_TX_FULL], 600 - 512);
	for (int i = 0; i < 512; i++) {
		struct pkt *p;

		cr_assert_eq(b->ops->rx(b, st, &p, 1), 1);
		cr_assert_eq(frame_number(p), i);
		stack_pkt_free(st, p);
	}
	stop();
}

Test(steer, is_symmetric_and_spreads)
{
	unsigned cnt[4] = { 0 };

	for (unsigned i = 0; i < 4000; i++) {
		struct sd_addr x = sd_addr_v4(cpu_to_be32(0x0a000000 + i));
		struct sd_addr y = sd_addr_v4(cpu_to_be32(0xc0000201));
		uint32_t hash = nic_steer_hash(&x, (uint16_t)(30000 + i), &y, 80);

		cr_assert_eq(hash, nic_steer_hash(&y, 80, &x, (uint16_t)(30000 + i)));
		cnt[hash % 4]++;
	}
	for (int i = 0; i < 4; i++)
		cr_expect(cnt[i] > 800 && cnt[i] < 1200, "queue %d: %u", i, cnt[i]);
}
