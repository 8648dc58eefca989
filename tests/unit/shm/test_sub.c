/* SPDX-License-Identifier: MIT */
/* tests/unit/shm/test_sub.c - subscriptions: masks, exclusives, the extension, hostile entries */
#include <errno.h>
#include <string.h>

#include "fixture.h"
#include "shm/lock.h"
#include "shm/mbox.h"

#define ME shm_lock_owner(2, 1234)
#define SLOT 8

static unsigned woken[SD_MAX_MBOXES];

static void wake(void *arg, uint32_t mbox)
{
	cr_assert_lt(mbox, SD_MAX_MBOXES);
	woken[mbox]++;
	++*(unsigned *)arg;
}

/* Return: wakes. */
static unsigned post(const struct shm_seg *s, uint32_t ev)
{
	unsigned n = 0;

	memset(woken, 0, sizeof(woken));
	shm_subs_post(s, shm_slot_p(s, SLOT), ev, 0, wake, &n);
	return n;
}

static unsigned bits(const struct shm_seg *s, uint32_t mbox)
{
	uint32_t out[64];

	return shm_mbox_take(shm_mbox(s, mbox), out, 64);
}

static int add(const struct shm_seg *s, uint32_t mbox, uint32_t bit, uint32_t ev, bool excl,
	       struct shm_magazine *m)
{
	return shm_sub_add(s, SLOT, SD_SUB(mbox, bit, ev, excl), ME, m);
}

Test(sub, masks)
{
	struct shm_seg s = seg_new();

	cr_assert_eq(add(&s, 1, 10, SD_EV_IN, false, NULL), 0);
	cr_assert_eq(add(&s, 2, 11, SD_EV_OUT, false, NULL), 0);
	cr_assert_eq(add(&s, 3, 12, 0, false, NULL), 0);
	cr_expect_eq(post(&s, SD_EV_IN), 0, "nobody sleeps");
	cr_expect_eq(bits(&s, 1), 1);
	cr_expect_eq(bits(&s, 2), 0);
	post(&s, SD_EV_IN | SD_EV_OUT);
	cr_expect_eq(bits(&s, 1), 1);
	cr_expect_eq(bits(&s, 2), 1);
	cr_expect_eq(bits(&s, 3), 0);
	post(&s, SD_EV_HUP);
	cr_expect_eq(bits(&s, 1) + bits(&s, 2) + bits(&s, 3), 3, "HUP and ERR always match");
	post(&s, SD_EV_RDHUP);
	cr_expect_eq(bits(&s, 1) + bits(&s, 2) + bits(&s, 3), 0);
}

Test(sub, sleepers_are_woken_once)
{
	struct shm_seg s = seg_new();

	cr_assert_eq(add(&s, 1, 10, SD_EV_IN, false, NULL), 0);
	cr_assert_eq(add(&s, 2, 10, SD_EV_IN, false, NULL), 0);
	cr_assert(shm_mbox_sleep(shm_mbox(&s, 2)));
	cr_expect_eq(post(&s, SD_EV_IN), 1);
	cr_expect_eq(woken[2], 1);
	cr_expect_eq(post(&s, SD_EV_IN), 0);
}

Test(sub, consumers_on_a_cpu_are_told_apart)
{
	struct shm_seg s = seg_new();
	struct sd_slot_p *sp = shm_slot_p(&s, SLOT);
	unsigned n = 0;

	cr_assert_eq(add(&s, 1, 10, SD_EV_IN, false, NULL), 0);
	cr_expect_not(shm_subs_post(&s, sp, SD_EV_IN, 3, wake, &n), "not known yet");
	bits(&s, 1);
	shm_mbox(&s, 1)->cpu = 3;
	cr_expect_not(shm_subs_post(&s, sp, SD_EV_IN, 2, wake, &n));
	cr_expect_not(shm_subs_post(&s, sp, SD_EV_IN, 3, wake, &n), "it has that to take already");
	bits(&s, 1);
	shm_mbox(&s, 1)->cpu = 3;
	cr_expect(shm_subs_post(&s, sp, SD_EV_IN, 3, wake, &n));
	bits(&s, 1);
	cr_expect_neq(shm_mbox(&s, 1)->cpu, 0, "who takes says where");
}

Test(sub, one_exclusive_is_chosen)
{
	struct shm_seg s = seg_new();

	cr_assert_eq(add(&s, 1, 1, SD_EV_IN, true, NULL), 0);
	cr_assert_eq(add(&s, 2, 1, SD_EV_IN, true, NULL), 0);
	cr_assert_eq(add(&s, 3, 1, SD_EV_IN, true, NULL), 0);
	cr_assert(shm_mbox_sleep(shm_mbox(&s, 2)));
	cr_expect_eq(post(&s, SD_EV_IN), 1, "the sleeping one");
	cr_expect_eq(woken[2], 1);
	post(&s, SD_EV_IN);
	post(&s, SD_EV_IN);
	cr_expect_eq(bits(&s, 1), 1, "then those with nothing pending, in turn");
	cr_expect_eq(bits(&s, 2), 1);
	cr_expect_eq(bits(&s, 3), 1);
	cr_assert_eq(add(&s, 3, 1, SD_EV_IN, false, NULL), 0);
	post(&s, SD_EV_IN);
	cr_expect_eq(bits(&s, 1), 1, "beside the others");
	cr_expect_eq(bits(&s, 2), 0);
	cr_expect_eq(bits(&s, 3), 1);
}

Test(sub, replace_and_delete)
{
	struct shm_seg s = seg_new();
	struct sd_slot_p *sp = shm_slot_p(&s, SLOT);
	uint32_t seq = sp->sub_seq;

	cr_assert_eq(add(&s, 1, 10, SD_EV_IN, false, NULL), 0);
	cr_assert_eq(add(&s, 1, 10, SD_EV_OUT, false, NULL), 0);
	cr_expect_eq(sp->subs[1], 0);
	cr_expect_neq(sp->sub_seq, seq);
	post(&s, SD_EV_IN);
	cr_expect_eq(bits(&s, 1), 0);
	shm_sub_del(&s, SLOT, 1, 11, ME);
	post(&s, SD_EV_OUT);
	cr_expect_eq(bits(&s, 1), 1);
	shm_sub_del(&s, SLOT, 1, 10, ME);
	post(&s, SD_EV_OUT);
	cr_expect_eq(bits(&s, 1), 0);
	cr_expect_eq(sp->sub_lock, 0);
}

Test(sub, extension)
{
	struct shm_seg s = seg_new();
	struct shm_magazine m = { 0 };
	uint32_t free0 = shm_pchunk_free_cnt(&s);
	unsigned i, n = SD_SUBS_INLINE + SD_SUBS_EXT;

	for (i = 0; i < SD_SUBS_INLINE; i++)
		cr_assert_eq(add(&s, i + 1, 5, SD_EV_IN, false, &m), 0);
	cr_expect_eq(add(&s, i + 1, 5, SD_EV_IN, false, NULL), -ENOMEM);
	cr_expect_eq(shm_slot_p(&s, SLOT)->sub_ext, 0);
	for (; i < n; i++)
		cr_assert_eq(add(&s, i + 1, 5, SD_EV_IN, false, &m), 0);
	cr_expect_eq(add(&s, i + 1, 5, SD_EV_IN, false, &m), -ENOSPC);
	cr_expect_eq(add(&s, i, 5, SD_EV_OUT, false, &m), 0, "a replacement needs no room");
	post(&s, SD_EV_IN | SD_EV_OUT);
	for (i = 0; i < n; i++)
		cr_assert_eq(bits(&s, i + 1), 1);
	shm_sub_del(&s, SLOT, 300, 5, ME);
	post(&s, SD_EV_IN);
	cr_expect_eq(bits(&s, 300), 0);
	cr_expect_eq(bits(&s, 301), 1);
	cr_expect_eq(bits(&s, 1), 1);
	shm_subs_fini(&s, shm_slot_p(&s, SLOT));
	post(&s, SD_EV_IN);
	cr_expect_eq(bits(&s, 1), 0);
	shm_magazine_flush(&s, &m);
	cr_expect_eq(shm_pchunk_free_cnt(&s), free0);
}

Test(sub, bad_arguments)
{
	struct shm_seg s = seg_new();

	cr_expect_eq(add(&s, 0, 1, SD_EV_IN, false, NULL), -EINVAL);
	cr_expect_eq(add(&s, SD_MAX_MBOXES, 1, SD_EV_IN, false, NULL), -EINVAL);
	cr_expect_eq(add(&s, 1, SD_MBOX_BITS, SD_EV_IN, false, NULL), -EINVAL);
	cr_expect_eq(shm_sub_add(&s, 0, SD_SUB(1, 1, 1, 0), ME, NULL), -EINVAL);
	shm_sub_del(&s, SD_SLOTS, 1, 1, ME);
	cr_assert(shm_trylock(&shm_slot_p(&s, SLOT)->sub_lock, ME));
	cr_expect_eq(add(&s, 1, 1, SD_EV_IN, false, NULL), -EDEADLK, "from a signal handler");
	shm_sub_del(&s, SLOT, 1, 1, ME);
}

Test(sub, hostile_entries)
{
	struct shm_seg s = seg_new();
	struct sd_slot_p *sp = shm_slot_p(&s, SLOT);
	uint64_t *ext;
	unsigned i;

	sp->subs[0] = ~0ull;
	sp->subs[1] = SD_SUB(0xffff, 1, SD_EV_IN, 0);
	sp->subs[2] = SD_SUB(1, 0xffffff, SD_EV_IN, 1);
	sp->sub_ext = 0xffffffff;
	cr_expect_eq(post(&s, ~0u), 0);
	sp->sub_ext = 7;
	ext = (uint64_t *)shm_chunk(&s, SD_FIFO_TX, 7);
	for (i = 0; i < 512; i++)
		ext[i] = i * 0x9e3779b97f4a7c15ull;
	post(&s, ~0u);
}
