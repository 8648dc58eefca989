/* SPDX-License-Identifier: MIT */
/* tests/unit/tcp/test_parts.c - options, ranges, RTO arithmetic, states, scales: each alone */
#include <criterion/criterion.h>
#include <string.h>

#include "stackd/core/rng.h"
#include "stackd/tcp/tcp_int.h"

/* ---- options ---- */

Test(opts, syn_round_trip)
{
	uint8_t b[TCP_OPTS_MAX];
	struct tcp_opts o;
	unsigned n = tcp_opts_syn(b, 1460, 7, true, true, 0x11223344, 0x55667788);

	cr_assert_leq(n, TCP_OPTS_MAX);
	cr_assert_eq(n % 4, 0);
	cr_assert(tcp_opts_parse(b, n, &o));
	cr_expect_eq(o.mss, 1460);
	cr_expect(o.has_ws && o.wscale == 7);
	cr_expect(o.sack_ok);
	cr_expect(o.has_ts && o.tsval == 0x11223344 && o.tsecr == 0x55667788);
	n = tcp_opts_syn(b, 536, -1, false, false, 0, 0);
	cr_assert(tcp_opts_parse(b, n, &o));
	cr_expect(o.mss == 536 && !o.has_ws && !o.sack_ok && !o.has_ts);
}

Test(opts, sack_round_trip)
{
	uint32_t blk[3][2] = { { 1, 2 }, { 0xfffffff0, 5 }, { 100, 200 } };
	uint8_t b[TCP_OPTS_MAX];
	struct tcp_opts o;
	unsigned n = tcp_opts_ts(b, 1, 2);

	n += tcp_opts_sack(b + n, blk, 3);
	cr_assert_eq(n, TCP_OPTS_MAX);
	cr_assert(tcp_opts_parse(b, n, &o));
	cr_assert_eq(o.sack_cnt, 3);
	for (unsigned i = 0; i < 3; i++)
		cr_expect(o.sack[i].lo == blk[i][0] && o.sack[i].hi == blk[i][1]);
}

Test(opts, broken_ones)
{
	static const struct { uint8_t b[8]; unsigned len; bool ok; } t[] = {
		{ { 2 }, 1, false },			/* no length */
		{ { 2, 0, 5 }, 3, false },		/* length 0 would loop */
		{ { 2, 1, 5 }, 3, false },
		{ { 2, 4, 5 }, 3, false },		/* runs over the end */
		{ { 0, 2, 1 }, 3, true },		/* after END anything goes */
		{ { 1, 1, 1 }, 3, true },
		{ { 2, 3, 5, 1 }, 4, true },		/* MSS of a wrong length is ignored */
		{ { 253, 4, 1, 2 }, 4, true },		/* unknown */
		{ { 5, 8, 1, 2, 3, 4, 5, 6 }, 8, true },	/* SACK without a whole block */
	};
	struct tcp_opts o;

	for (unsigned i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		cr_expect_eq(tcp_opts_parse(t[i].b, t[i].len, &o), t[i].ok, "case %u", i);
		cr_expect(o.mss == 0 && !o.sack_cnt, "case %u", i);
	}
}

Test(opts, window_scale_is_capped)
{
	static const uint8_t b[] = { 3, 3, 15, 0 };
	struct tcp_opts o;

	cr_assert(tcp_opts_parse(b, 4, &o));
	cr_expect_eq(o.wscale, 14);
}

/* ---- ranges, against a byte map ---- */

#define SPACE 256

static void same(const struct tcp_ranges *r, const bool *map, uint64_t base)
{
	bool m[SPACE] = { false };

	for (unsigned i = 0; i < r->cnt; i++) {
		cr_assert(pos_lt(r->r[i].lo, r->r[i].hi));
		if (i)
			cr_assert(pos_lt(r->r[i - 1].hi, r->r[i].lo));
		for (uint64_t p = r->r[i].lo; p != r->r[i].hi; p++)
			m[p - base] = true;
	}
	cr_assert_arr_eq(m, map, sizeof(m));
}

Test(ranges, like_a_byte_map)
{
	uint64_t base = UINT64_MAX - 100, rng[2], fresh;	/* positions that wrap, too */
	struct tcp_ranges r;
	bool map[SPACE];

	rng_seed(rng, 5);
	for (unsigned round = 0; round < 300; round++) {
		memset(&r, 0, sizeof(r));
		memset(map, 0, sizeof(map));
		for (unsigned k = 0; k < 40; k++) {
			unsigned lo = rng_below(rng, SPACE - 1), news = 0;
			unsigned n = 1 + rng_below(rng, 20);

			if (rng_below(rng, 10) == 0) {
				memset(map, 0, lo);
				tcp_ranges_trim(&r, base + lo);
				same(&r, map, base);
				continue;
			}
			n = lo + n > SPACE ? SPACE - lo : n;
			for (unsigned i = lo; i < lo + n; i++)
				news += !map[i];
			cr_assert_eq(tcp_ranges_sum(&r, base + lo, base + lo + n), n - news);
			memset(map + lo, 1, n);
			cr_assert(tcp_ranges_add(&r, base + lo, base + lo + n, &fresh));
			cr_assert_eq(fresh, news);
			same(&r, map, base);
		}
	}
}

Test(ranges, full_list_still_grows_what_it_has)
{
	struct tcp_ranges r = { 0 };
	uint64_t fresh;

	for (unsigned i = 0; i < TCP_RANGES; i++)
		cr_assert(tcp_ranges_add(&r, 10 * i, 10 * i + 5, &fresh));
	cr_expect_not(tcp_ranges_add(&r, 10000, 10005, &fresh));
	cr_expect(tcp_ranges_add(&r, 5, 12, &fresh));
	cr_expect_eq(r.cnt, TCP_RANGES - 1);
	cr_expect_eq(fresh, 5);
	cr_expect(tcp_ranges_add(&r, 10000, 10005, &fresh));
}

/* ---- RTO (RFC 6298, Linux's form) ---- */

Test(rto, samples)
{
	struct sysctl sys;
	struct stack st = { .sys = &sys, .now_us = 1000000 };
	struct tcb t = { 0 };

	sysctl_defaults(&sys);
	tcp_rto_reset(&st, &t);
	cr_expect_eq(t.rto_us, 1000000);
	tcp_rtt_sample(&st, &t, 400000);
	cr_expect_eq(tcp_srtt_us(&t), 400000);
	cr_expect_eq(t.rto_us, 1200000);
	t.snd_nxt = 1000;
	t.snd_una = 500;
	tcp_rtt_sample(&st, &t, 400000);	/* the deviation falls once per flight */
	cr_expect_eq(t.rto_us, 1200000);
	t.snd_nxt = 2000;
	t.snd_una = 1500;
	tcp_rtt_sample(&st, &t, 400000);
	cr_expect_lt(t.rto_us, 1200000);
	tcp_rtt_sample(&st, &t, 1200000);
	cr_expect_eq(tcp_srtt_us(&t), 500000);
	for (unsigned i = 0; i < 500; i++) {
		t.snd_una = t.snd_nxt;
		t.snd_nxt += 1000;
		tcp_rtt_sample(&st, &t, 10);
	}
	cr_expect_leq(t.rto_us, 200000 + 100, "the minimum above the average");
	cr_expect_geq(t.rto_us, 200000 + 10);
}

/* ---- states ---- */

Test(states, only_the_edges_of_the_diagram)
{
	static const uint8_t edges[][2] = {
		{ SD_ST_FREE, SD_ST_SYN_SENT }, { SD_ST_FREE, SD_ST_SYN_RECV },
		{ SD_ST_SYN_SENT, SD_ST_ESTABLISHED }, { SD_ST_SYN_SENT, SD_ST_SYN_RECV },
		{ SD_ST_SYN_SENT, SD_ST_CLOSE }, { SD_ST_SYN_RECV, SD_ST_ESTABLISHED },
		{ SD_ST_SYN_RECV, SD_ST_FIN_WAIT1 }, { SD_ST_SYN_RECV, SD_ST_CLOSE },
		{ SD_ST_ESTABLISHED, SD_ST_FIN_WAIT1 }, { SD_ST_ESTABLISHED, SD_ST_CLOSE_WAIT },
		{ SD_ST_ESTABLISHED, SD_ST_CLOSE }, { SD_ST_FIN_WAIT1, SD_ST_FIN_WAIT2 },
		{ SD_ST_FIN_WAIT1, SD_ST_CLOSING }, { SD_ST_FIN_WAIT1, SD_ST_TIME_WAIT },
		{ SD_ST_FIN_WAIT1, SD_ST_CLOSE }, { SD_ST_FIN_WAIT2, SD_ST_TIME_WAIT },
		{ SD_ST_FIN_WAIT2, SD_ST_CLOSE }, { SD_ST_TIME_WAIT, SD_ST_CLOSE },
		{ SD_ST_CLOSE_WAIT, SD_ST_LAST_ACK }, { SD_ST_CLOSE_WAIT, SD_ST_CLOSE },
		{ SD_ST_CLOSING, SD_ST_TIME_WAIT }, { SD_ST_CLOSING, SD_ST_CLOSE },
		{ SD_ST_LAST_ACK, SD_ST_CLOSE }, { SD_ST_CLOSE, SD_ST_FREE },
	};
	unsigned cnt = 0;

	for (unsigned i = 0; i < sizeof(edges) / sizeof(edges[0]); i++)
		cr_expect(tcp_state_edge(edges[i][0], edges[i][1]), "%s -> %s",
			  tcp_state_name(edges[i][0]), tcp_state_name(edges[i][1]));
	for (unsigned a = 0; a < 20; a++)
		for (unsigned b = 0; b < 20; b++)
			cnt += tcp_state_edge((uint8_t)a, (uint8_t)b);
	cr_expect_eq(cnt, sizeof(edges) / sizeof(edges[0]));
}

/* ---- sizes ---- */

Test(sizes, window_scale_covers_the_buffer)
{
	cr_expect_eq(tcp_wscale_for(65535), 0);
	cr_expect_eq(tcp_wscale_for(65536), 1);
	cr_expect_eq(tcp_wscale_for(6291456), 7);
	cr_expect_eq(tcp_wscale_for(UINT32_MAX), TCP_WSCALE_MAX);
}

Test(sizes, idle_connection)
{
	cr_expect_lt(sizeof(struct tcb) + sizeof(struct sd_slot_e) +
		     sizeof(struct sd_slot_p), 1152);
}
