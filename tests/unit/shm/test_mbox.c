/* SPDX-License-Identifier: MIT */
/* tests/unit/shm/test_mbox.c - mailboxes: bits, order, fairness, sleep states */
#include <stdlib.h>
#include <string.h>

#include "fixture.h"
#include "shm/mbox.h"

static struct sd_mbox *mbox_new(struct shm_seg *s)
{
	*s = seg_new();
	return shm_mbox(s, 3);
}

Test(mbox, takes_lowest_first_across_all_levels)
{
	static const uint32_t in[] = { 5, 63, 64, 4095, 4096, 262143, 262144, 700000,
				       SD_MBOX_BITS - 1 };
	struct shm_seg s;
	struct sd_mbox *mb = mbox_new(&s);
	unsigned i, n = sizeof(in) / sizeof(*in);
	uint32_t out[32];

	cr_expect_not(shm_mbox_any(mb));
	for (i = n; i-- > 0;)
		cr_expect_not(shm_mbox_post(mb, in[i]));
	cr_expect(shm_mbox_any(mb));
	cr_assert_eq(shm_mbox_take(mb, out, 32), n);
	cr_expect_arr_eq(out, in, sizeof(in));
	cr_expect_not(shm_mbox_any(mb));
	cr_expect_eq(shm_mbox_take(mb, out, 32), 0);
}

Test(mbox, out_of_range_is_ignored)
{
	struct shm_seg s;
	struct sd_mbox *mb = mbox_new(&s);

	shm_mbox_post(mb, SD_MBOX_BITS);
	shm_mbox_post(mb, UINT32_MAX);
	shm_mbox_clear(mb, UINT32_MAX);
	cr_expect_not(shm_mbox_any(mb));
}

Test(mbox, a_short_take_leaves_the_rest)
{
	static const uint32_t in[] = { 1, 2, 3, 70, 5000, 5001, 300000 };
	struct shm_seg s;
	struct sd_mbox *mb = mbox_new(&s);
	uint32_t out[7];
	unsigned i, step, got;

	for (step = 1; step <= 4; step++) {
		for (i = 0; i < 7; i++)
			shm_mbox_post(mb, in[i]);
		for (got = 0; got < 7;) {
			cr_assert(shm_mbox_any(mb));
			i = shm_mbox_take(mb, out + got, step < 7 - got ? step : 7 - got);
			cr_assert_gt(i, 0);
			got += i;
		}
		cr_expect_arr_eq(out, in, sizeof(in));
		cr_expect_eq(shm_mbox_take(mb, out, 7), 0);
	}
	cr_expect_eq(shm_mbox_take(mb, out, 0), 0);
}

Test(mbox, busy_low_bits_do_not_starve_high_ones)
{
	static const uint32_t bit[] = { 0, 1, 66, 4097, 4098, 600000 };
	struct shm_seg s;
	struct sd_mbox *mb = mbox_new(&s);
	unsigned i, k, n = sizeof(bit) / sizeof(*bit), seen[6] = { 0 };
	uint32_t out;

	for (i = 0; i < 10 * n; i++) {
		for (k = 0; k < n; k++)
			shm_mbox_post(mb, bit[k]);
		cr_assert_eq(shm_mbox_take(mb, &out, 1), 1);
		for (k = 0; k < n; k++)
			seen[k] += out == bit[k];
	}
	for (k = 0; k < n; k++)
		cr_expect_eq(seen[k], 10, "bit %u taken %u times", bit[k], seen[k]);
}

Test(mbox, takes_after_a_wild_cursor)
{
	struct shm_seg s;
	struct sd_mbox *mb = mbox_new(&s);
	uint32_t out[4];

	mb->cursor = UINT32_MAX;
	shm_mbox_post(mb, 9);
	shm_mbox_post(mb, SD_MBOX_BITS - 1);
	cr_assert_eq(shm_mbox_take(mb, out, 4), 2);
	cr_expect_eq(out[0], SD_MBOX_BITS - 1);
	cr_expect_eq(out[1], 9);
	cr_expect_eq(mb->cursor, 0);
}

Test(mbox, random_against_a_set)
{
	static uint8_t set[SD_MBOX_BITS];
	static uint32_t out[512];
	struct shm_seg s;
	struct sd_mbox *mb = mbox_new(&s);
	unsigned seed = 4711, i, k, n, want = 0;
	uint32_t bit;

	for (i = 0; i < 20000; i++) {
		bit = (uint32_t)rand_r(&seed) >> rand_r(&seed) % 31;
		if (bit < SD_MBOX_BITS && rand_r(&seed) % 8) {
			want += !set[bit];
			set[bit] = 1;
			shm_mbox_post(mb, bit);
			continue;
		}
		n = shm_mbox_take(mb, out, (unsigned)rand_r(&seed) % 512);
		for (k = 0; k < n; k++) {
			cr_assert(set[out[k]], "bit %u was not set", out[k]);
			set[out[k]] = 0;
		}
		want -= n;
	}
	while ((n = shm_mbox_take(mb, out, 512)) != 0)
		want -= n;
	cr_expect_eq(want, 0);
}

Test(mbox, cleared_bits_are_not_taken)
{
	struct shm_seg s;
	struct sd_mbox *mb = mbox_new(&s);
	uint32_t out[4];

	shm_mbox_post(mb, 100);
	shm_mbox_post(mb, 101);
	shm_mbox_clear(mb, 100);
	cr_assert_eq(shm_mbox_take(mb, out, 4), 1);
	cr_expect_eq(out[0], 101);
	shm_mbox_post(mb, 100);
	shm_mbox_clear(mb, 100);
	cr_expect_eq(shm_mbox_take(mb, out, 4), 0);
	cr_expect_not(shm_mbox_any(mb), "the take removed the empty summaries");
}

Test(mbox, sleep_states)
{
	struct shm_seg s;
	struct sd_mbox *mb = mbox_new(&s);
	uint32_t out[4];

	cr_expect(shm_mbox_sleep(mb));
	cr_expect_eq(mb->sleeping, SD_MBOX_ASLEEP);
	cr_expect(shm_mbox_sleep(mb), "twice is the same");
	cr_expect(shm_mbox_post(mb, 1), "the first poster wakes");
	cr_expect_eq(mb->sleeping, SD_MBOX_AWAKE);
	cr_expect_not(shm_mbox_post(mb, 2), "the second does not");
	cr_expect_not(shm_mbox_sleep(mb), "there are bits");
	cr_expect_eq(mb->sleeping, SD_MBOX_AWAKE);
	cr_expect_eq(shm_mbox_take(mb, out, 4), 2);
	cr_expect(shm_mbox_sleep(mb));
	shm_mbox_awake(mb);
	cr_expect_not(shm_mbox_post(mb, 2));
}

Test(mbox, armed_always_wakes)
{
	struct shm_seg s;
	struct sd_mbox *mb = mbox_new(&s);
	uint32_t out[4];

	shm_mbox_arm(mb, true);
	cr_expect(shm_mbox_post(mb, 2));
	cr_expect(shm_mbox_post(mb, 2));
	cr_expect_not(shm_mbox_sleep(mb));
	cr_expect_eq(shm_mbox_take(mb, out, 4), 1);
	cr_expect(shm_mbox_sleep(mb));
	shm_mbox_awake(mb);
	cr_expect_eq(mb->sleeping, SD_MBOX_ARMED);
	shm_mbox_arm(mb, false);
	cr_expect_not(shm_mbox_post(mb, 2));
}
