/* SPDX-License-Identifier: MIT */
/* tests/unit/nic/test_impair.c - the impairment device between two ends of a memory link */
#include <errno.h>

#include "stackd/core/csum.h"
#include "tests/unit/harness.h"
#include "tests/unit/nic/frames.h"

static struct hx *h;
static struct nic *far, *im;

static void start(const char *spec, uint32_t features)
{
	const char *bad = "";
	struct nic *near;

	h = hx_init(1);
	cr_assert_eq(mem_nic_pair(1500, features, &near, &far), 0);
	cr_assert_eq(impair_nic_wrap(near, spec, &im, &bad), 0, "%s", bad);
}

static void stop(void)
{
	struct pkt *p;

	while (far->ops->rx(far, &h->st[0], &p, 1))
		stack_pkt_free(&h->st[0], p);
	im->ops->close(im);
	far->ops->close(far);
	hx_fini(h);
}

/* @n numbered frames through @from; what arrives at @to, as numbers. */
static unsigned pass(struct nic *from, struct nic *to, unsigned n, uint16_t *got, unsigned max)
{
	struct stack *st = &h->st[0];
	unsigned cnt = 0;

	for (unsigned i = 0; i < n + 100; i++) {
		struct pkt *p;

		if (i < n) {
			p = frame_udp(st, (uint16_t)i, 100);
			nic_tx(from, st, &p, 1);
		}
		h->now_us += 100;
		st->now_us = h->now_us;
		if (from->ops->next_us && i >= n)
			from->ops->rx(from, st, &p, 0);
		while (to->ops->rx(to, st, &p, 1)) {
			cr_assert_lt(cnt, max);
			got[cnt++] = frame_number(p);
			stack_pkt_free(st, p);
		}
	}
	return cnt;
}

static uint16_t got[4000];

Test(impair, every_tenth_is_dropped_each_way)
{
	start("drop-every=10", 0);
	for (int way = 0; way < 2; way++) {
		unsigned n = pass(way ? im : far, way ? far : im, 100, got, 4000);

		cr_assert_eq(n, 90);
		for (unsigned i = 0; i < n; i++)
			cr_assert_neq(got[i] % 10, 9);
	}
	cr_assert_eq(h->cnt[0].drop[DROP_IMPAIR], 20);
	stop();
}

Test(impair, only_the_chosen_direction)
{
	start("drop-every=2,dir=tx", NIC_F_CSUM | NIC_F_TSO | NIC_F_GRO);
	cr_assert_eq(im->features, NIC_F_GRO);
	cr_assert_eq(pass(far, im, 100, got, 4000), 100);
	cr_assert_eq(pass(im, far, 100, got, 4000), 50);
	stop();
	start("drop-every=2,dir=rx", NIC_F_CSUM | NIC_F_TSO | NIC_F_GRO);
	cr_assert_eq(im->features, NIC_F_CSUM | NIC_F_TSO);
	cr_assert_eq(pass(far, im, 100, got, 4000), 50);
	cr_assert_eq(pass(im, far, 100, got, 4000), 100);
	stop();
}

/* P1 */
Test(impair, a_seed_replays)
{
	static uint16_t first[4000];
	unsigned n[3];

	for (int run = 0; run < 3; run++) {
		start(run == 2 ? "loss=1/10,dup=1/20,reorder=1/15,seed=8" :
				 "loss=1/10,dup=1/20,reorder=1/15,seed=7", 0);
		n[run] = pass(im, far, 1000, got, 4000);
		if (run == 0)
			memcpy(first, got, sizeof(got));
		else
			cr_assert_eq(n[0] == n[run] && memcmp(first, got, n[0] * 2) == 0, run == 1);
		stop();
	}
	cr_assert_gt(n[0], 800);
	cr_assert_lt(n[0], 1050);
}

Test(impair, doubles_and_reorders)
{
	unsigned seen[1000] = { 0 }, twice = 0, back = 0, n;

	start("dup=1/10,reorder=1/10,seed=3", 0);
	n = pass(im, far, 1000, got, 4000);
	for (unsigned i = 0; i < n; i++) {
		twice += seen[got[i]]++;
		back += i && got[i] < got[i - 1];
	}
	for (unsigned i = 0; i < 1000; i++)
		cr_assert_geq(seen[i], 1, "none is lost");
	cr_assert(twice > 50 && twice < 150, "%u", twice);
	cr_assert(back > 50, "%u", back);
	stop();
}

Test(impair, delays)
{
	struct stack *st;
	struct pkt *p;

	start("delay=5ms", 0);
	st = &h->st[0];
	p = frame_udp(st, 1, 100);
	nic_tx(im, st, &p, 1);
	p = frame_udp(st, 2, 100);
	nic_tx(far, st, &p, 1);
	cr_assert_eq(im->ops->rx(im, st, &p, 1), 0);
	cr_assert_eq(far->ops->rx(far, st, &p, 1), 0);
	cr_assert_eq(im->ops->next_us(im), st->now_us + 5000);
	st->now_us += 4999;
	cr_assert_eq(im->ops->rx(im, st, &p, 1), 0);
	cr_assert_eq(far->ops->rx(far, st, &p, 1), 0);
	st->now_us += 1;
	cr_assert_eq(im->ops->rx(im, st, &p, 1), 1);
	cr_assert_eq(frame_number(p), 2);
	stack_pkt_free(st, p);
	cr_assert_eq(far->ops->rx(far, st, &p, 1), 1);
	cr_assert_eq(frame_number(p), 1);
	stack_pkt_free(st, p);
	cr_assert_eq(im->ops->next_us(im), UINT64_MAX);
	stop();
}

/* What is still held when the device closes goes back to the pool (hx_fini checks). */
Test(impair, close_frees_what_is_held)
{
	struct pkt *p;

	start("delay=1s", 0);
	for (int i = 0; i < 10; i++) {
		p = frame_udp(&h->st[0], 1, 100);
		nic_tx(im, &h->st[0], &p, 1);
	}
	stop();
}

/* Each corrupted frame is found by its checksums, although the device vouched for it. */
Test(impair, corruption_is_found)
{
	struct stack *st;
	struct pkt *p;

	start("corrupt=1/1,seed=5", NIC_F_CSUM | NIC_F_RX_CSUM);
	st = &h->st[0];
	for (int i = 0; i < 200; i++) {
		p = frame_udp(st, (uint16_t)i, 200);
		cr_assert_eq(p->csum_state, PKT_CSUM_PARTIAL);
		nic_tx(far, st, &p, 1);
		cr_assert_eq(im->ops->rx(im, st, &p, 1), 1);
		cr_assert_eq(p->csum_state, PKT_CSUM_NONE);
		cr_assert_not(frame_sums_ok(p), "frame %d", i);
		stack_pkt_free(st, p);
	}
	stop();
}

/* P3: a fragment belongs to somebody else. */
Test(impair, corruption_leaves_borrowed_bytes_alone)
{
	char outside[300], before[300];
	struct stack *st;
	struct pkt *p;

	start("corrupt=1/1", 0);
	st = &h->st[0];
	memset(outside, 7, sizeof(outside));
	memcpy(before, outside, sizeof(outside));
	for (int i = 0; i < 100; i++) {
		p = frame_udp(st, 1, 0);
		p->frag[0] = (struct iovec){ outside, sizeof(outside) };
		p->frag_cnt = 1;
		p->frag_len = sizeof(outside);
		nic_tx(im, st, &p, 1);
		cr_assert_eq(memcmp(before, outside, sizeof(outside)), 0);
		cr_assert_eq(far->ops->rx(far, st, &p, 1), 1);
		cr_assert_eq(p->len, 42 + sizeof(outside));
		stack_pkt_free(st, p);
	}
	stop();
}

/* A GSO packet is as many chances as it has segments, both ways. */
Test(impair, works_on_segments)
{
	struct stack *st;
	struct pkt *p;
	unsigned n;

	start("drop-every=4", NIC_F_CSUM | NIC_F_TSO | NIC_F_RX_CSUM | NIC_F_GRO);
	st = &h->st[0];
	for (int way = 0; way < 2; way++) {
		p = frame_tcp_gso(st, 8000, 1000, 0x18);
		nic_tx(way ? im : far, st, &p, 1);
		for (n = 0; (way ? far : im)->ops->rx(way ? far : im, st, &p, 1); n++) {
			cr_assert_eq(p->len, 54 + 1000);
			cr_assert_eq(p->gso_size, 0);
			cr_assert(frame_sums_ok(p));
			stack_pkt_free(st, p);
		}
		cr_assert_eq(n, 6);
	}
	stop();
}

Test(impair, bad_spec_is_named)
{
	static const struct { const char *spec; unsigned at; } bad[] = {
		{ "", 0 }, { "loss", 0 }, { "loss=", 0 }, { "loss=1", 0 }, { "loss=1/0", 0 },
		{ "loss=2/1", 0 }, { "loss=1/2x", 0 }, { "loss=1/2,", 9 },
		{ "loss=1/2,los=1/2", 9 },
		{ "drop-every=0", 0 }, { "drop-every=-1", 0 }, { "delay=5m", 0 }, { "delay=ms", 0 },
		{ "delay=99999999s", 0 }, { "seed=1,dir=up", 7 }, { "seed=x", 0 },
		{ "dup=1/99999999999", 0 }, { "seed=1,,dup=1/2", 7 },
	};
	struct nic *a, *b, *out = NULL;

	cr_assert_eq(mem_nic_pair(1500, 0, &a, &b), 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		const char *where = NULL;

		int rc = impair_nic_wrap(a, bad[i].spec, &out, &where);

		cr_expect_eq(rc, -EINVAL, "%s", bad[i].spec);
		cr_expect_eq(where, bad[i].spec + bad[i].at, "%s: %s", bad[i].spec, where);
	}
	cr_assert_null(out);
	const char *ok = "loss=1/100,dup=1/1000,reorder=1/500,corrupt=1/1000,delay=250us,dir=both,"
			 "drop-every=7,seed=7";

	cr_assert_eq(impair_nic_wrap(a, ok, &out, &ok), 0);
	out->ops->close(out);
	b->ops->close(b);
}
