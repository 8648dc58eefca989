/* SPDX-License-Identifier: MIT */
/* tests/unit/ip/test_frag.c - reassembly: every order, overlaps, limits, timeout, the way to the
 * owner */
#include "stackd/core/rng.h"
#include "tests/unit/ip/ipt.h"

static uint8_t body[65536];

static void fill(void)
{
	for (unsigned i = 0; i < sizeof(body); i++)
		body[i] = (uint8_t)(i * 7 + i / 256);
}

/* Bytes [off, off + len) of the body as a fragment. */
static void piece(struct stack *st, uint16_t id, unsigned off, unsigned len, bool more)
{
	ipt_in(st, &(struct ipt_pkt){ .id = id, .frag = (uint16_t)(off / 8 | (more ? IP4_MF : 0)),
				      .body = body + off, .len = len });
}

static void permute(struct hx *h, unsigned *order, unsigned at, unsigned *ret_cnt)
{
	static const unsigned off[5] = { 0, 16, 24, 120, 128 }, len[5] = { 16, 8, 96, 8, 13 };

	if (at < 5) {
		for (unsigned i = at; i < 5; i++) {
			unsigned t = order[at];

			order[at] = order[i];
			order[i] = t;
			permute(h, order, at + 1, ret_cnt);
			order[i] = order[at];
			order[at] = t;
		}
		return;
	}
	got.cnt = 0;
	for (unsigned i = 0; i < 5; i++) {
		cr_assert_eq(got.cnt, 0);
		piece(&h->st[0], (uint16_t)*ret_cnt, off[order[i]], len[order[i]], order[i] != 4);
	}
	cr_assert_eq(got.cnt, 1);
	cr_assert_eq(got.len, 141);
	cr_assert_arr_eq(got.data, body, 141);
	++*ret_cnt;
}

Test(ip_frag, all_orders_of_five_pieces)
{
	unsigned order[5] = { 0, 1, 2, 3, 4 }, cnt = 0;
	struct hx *h = ipt_start(1);

	fill();
	permute(h, order, 0, &cnt);
	cr_assert_eq(cnt, 120);
	cr_assert_eq(h->cnt[0].snmp[SNMP_Ip_ReasmOKs], 120);
	cr_assert_eq(wheel_cnt(h->st[0].wheel), 0);
	ipt_stop(h);
}

Test(ip_frag, random_cuts_with_duplicates_interleaved)
{
	struct hx *h = ipt_start(1);
	uint64_t s[2];

	fill();
	rng_seed(s, 9);
	for (unsigned round = 0; round < 60; round++) {
		unsigned total = 1000 + rng_below(s, 30000), n = 0;
		unsigned step = 8 * (1 + rng_below(s, 180));
		unsigned off[4096];

		if (total / step > 400)
			step = 128;
		for (unsigned o = 0; o < total; o += step)
			off[n++] = o;
		for (unsigned i = n; i > 1; i--) {
			unsigned j = rng_below(s, i), t = off[i - 1];

			off[i - 1] = off[j];
			off[j] = t;
		}
		got.cnt = 0;
		for (unsigned i = 0; i < n; i++) {
			unsigned len = total - off[i] < step ? total - off[i] : step;
			bool more = off[i] + len < total;

			piece(&h->st[0], (uint16_t)round, off[i], len, more);
			if (i + 1 < n && rng_below(s, 4) == 0)
				piece(&h->st[0], (uint16_t)round, off[i], len, more);
		}
		cr_assert_eq(got.cnt, 1, "round %u", round);
		cr_assert_eq(got.len, total);
		cr_assert_arr_eq(got.data, body, total);
	}
	ipt_stop(h);
}

Test(ip_frag, largest_datagram_and_one_byte_more)
{
	struct hx *h = ipt_start(1);

	fill();
	for (unsigned o = 0; o < 65515; o += 1480)
		piece(&h->st[0], 1, o, 65515 - o < 1480 ? 65515 - o : 1480, o + 1480 < 65515);
	cr_assert_eq(got.cnt, 1);
	cr_assert_eq(got.len, 65515);
	cr_assert_arr_eq(got.data, body, 65515);
	piece(&h->st[0], 2, 65512, 4, false);
	cr_assert_eq(h->cnt[0].drop[DROP_IP_FRAG], 1);
	ipt_stop(h);
}

/* Pieces { offset, length, more } that must kill the datagram; the missing rest must not revive
 * it. */
static const struct {
	unsigned p[3][3];
} killers[] = {
	{ { { 0, 16, 1 }, { 8, 16, 1 }, { 24, 8, 0 } } },	/* overlap from the left */
	{ { { 8, 16, 1 }, { 0, 16, 1 }, { 24, 8, 0 } } },	/* from the right */
	{ { { 8, 8, 1 }, { 0, 24, 1 }, { 24, 8, 0 } } },	/* around */
	{ { { 8, 8, 0 }, { 8, 16, 1 }, { 0, 8, 1 } } },		/* beyond the end, overlapping */
	{ { { 8, 8, 0 }, { 16, 8, 1 }, { 0, 8, 1 } } },		/* beyond the end */
	{ { { 8, 8, 0 }, { 16, 8, 0 }, { 0, 8, 1 } } },		/* two ends */
	{ { { 16, 8, 1 }, { 8, 8, 0 }, { 0, 8, 1 } } },		/* end before what is there */
	{ { { 8, 4, 0 }, { 8, 8, 1 }, { 0, 8, 1 } } },		/* longer than the end it repeats */
};

Test(ip_frag, contradictions_kill_the_datagram)
{
	fill();
	for (unsigned i = 0; i < sizeof(killers) / sizeof(killers[0]); i++) {
		struct hx *h = ipt_start(1);

		for (unsigned k = 0; k < 3; k++) {
			const unsigned *f = killers[i].p[k];

			piece(&h->st[0], 5, f[0], f[1], f[2]);
		}
		piece(&h->st[0], 5, 0, 8, true);
		piece(&h->st[0], 5, 8, 8, true);
		piece(&h->st[0], 5, 16, 8, true);
		cr_assert_eq(h->cnt[0].drop[DROP_IP_REASM], 1, "case %u", i);
		cr_assert_eq(got.cnt, 0, "case %u", i);
		cr_assert(h->cnt[0].drop[DROP_IP_FRAG] >= 1, "case %u", i);
		ipt_stop(h);
	}
}

Test(ip_frag, timeout_frees_and_tells)
{
	struct hx *h = ipt_start(1);
	const struct icmp_hdr *ic = (const struct icmp_hdr *)(fl.tx[0].data + 20);

	fill();
	piece(&h->st[0], 5, 0, 16, true);
	hx_pass(h, 29900000);
	cr_assert_eq(wheel_cnt(h->st[0].wheel), 1);
	hx_pass(h, 200000);
	cr_assert_eq(wheel_cnt(h->st[0].wheel), 0);
	cr_assert_eq(h->cnt[0].snmp[SNMP_Ip_ReasmTimeout], 1);
	cr_assert_eq(h->cnt[0].drop[DROP_IP_REASM], 1);
	cr_assert_eq(fl.cnt, 1);
	cr_assert_eq(ic->type, ICMP_TIME_EXCEEDED);
	cr_assert_eq(ic->code, ICMP_EXC_REASM);
	cr_assert_arr_eq(fl.tx[0].data + 20 + 8 + 20, body, 8);
	piece(&h->st[0], 5, 16, 16, false);
	cr_assert_eq(got.cnt, 0, "late piece starts a new datagram");
	hx_pass(h, 31000000);
	cr_assert_eq(fl.cnt, 1, "without the first piece nobody is told");
	ipt_stop(h);
}

Test(ip_frag, flood_is_bounded_and_the_newest_survive)
{
	struct hx *h = ipt_start(1);

	fill();
	for (unsigned i = 0; i < 5000; i++) {
		h->st[0].now_us++;
		piece(&h->st[0], (uint16_t)i, 0, 8, true);
	}
	cr_assert_eq(pkt_pool_used(h->st[0].pool), 0, "no buffer is held");
	cr_assert_eq(h->st[0].ip->reasm_cnt, REASM_MAX);
	piece(&h->st[0], 4999, 8, 8, false);
	cr_assert_eq(got.cnt, 1);
	piece(&h->st[0], 10, 8, 8, false);
	cr_assert_eq(got.cnt, 1);
	ipt_stop(h);
}

Test(ip_frag, datagrams_are_told_apart)
{
	struct hx *h = ipt_start(1);

	fill();
	piece(&h->st[0], 1, 0, 8, true);
	piece(&h->st[0], 2, 8, 8, false);
	ipt_in(&h->st[0], &(struct ipt_pkt){ .src = FAR, .id = 1, .frag = 1, .body = body,
					     .len = 8 });
	ipt_in(&h->st[0], &(struct ipt_pkt){ .proto = 99, .id = 1, .frag = 1, .body = body,
					     .len = 8 });
	cr_assert_eq(got.cnt, 0);
	piece(&h->st[0], 1, 8, 8, false);
	cr_assert_eq(got.cnt, 1);
	ipt_stop(h);
}

static unsigned ecn_try(uint8_t a, uint8_t b)
{
	struct hx *h = ipt_start(1);
	unsigned n;

	ipt_in(&h->st[0], &(struct ipt_pkt){ .tos = a, .id = 1, .frag = IP4_MF, .body = body,
					     .len = 8 });
	ipt_in(&h->st[0], &(struct ipt_pkt){ .tos = b, .id = 1, .frag = 1, .body = body,
					     .len = 8 });
	n = got.cnt;
	ipt_stop(h);
	return n;
}

Test(ip_frag, ecn_marks_are_kept_and_contradictions_dropped)
{
	cr_assert_eq(ecn_try(2, 3), 1);
	cr_assert_eq(got.info.tos & 3, 3);
	cr_assert_eq(ecn_try(3, 2), 1);
	cr_assert_eq(got.info.tos & 3, 3);
	cr_assert_eq(ecn_try(0, 0), 1);
	cr_assert_eq(got.info.tos & 3, 0);
	cr_assert_eq(ecn_try(0, 3), 0);
	cr_assert_eq(ecn_try(2, 0), 0);
}

Test(ip_frag, whole_datagram_goes_to_the_owner_of_its_flow)
{
	struct hx *h = ipt_start(3);

	fill();
	memcpy(body, (uint8_t[]){ 0, 5, 0, 6 }, 4);	/* ports 5 and 6: worker (5 + 6) % 3 */
	piece(&h->st[0], 7, 0, 1400, true);
	piece(&h->st[0], 7, 1400, 1000, false);
	cr_assert_eq(got.cnt, 0);
	hx_pump(h);
	cr_assert_eq(got.cnt, 1);
	cr_assert_eq(got.worker, 2);
	cr_assert_eq(got.len, 2400);
	cr_assert_eq(h->cnt[2].snmp[SNMP_Ip_InReceives], 0, "counted once, where it arrived");
	ipt_stop(h);
}

Test(ip_frag, no_buffer_for_the_whole)
{
	struct hx *h = ipt_start(1);
	struct pkt *hold = NULL, *x;

	fill();
	while ((x = pkt_alloc(h->st[0].pool, true))) {
		x->next = hold;
		hold = x;
	}
	piece(&h->st[0], 7, 0, 1400, true);
	piece(&h->st[0], 7, 1400, 1000, false);
	cr_assert_eq(got.cnt, 0);
	cr_assert_eq(h->cnt[0].drop[DROP_NO_BUF], 1);
	cr_assert_eq(h->st[0].ip->reasm_cnt, 0);
	while ((x = hold)) {
		hold = x->next;
		pkt_free(h->st[0].pool, x);
	}
	ipt_stop(h);
}
