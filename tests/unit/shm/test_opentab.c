/* SPDX-License-Identifier: MIT */
/* tests/unit/shm/test_opentab.c - open tables: entries, references, clone and undo */
#include "fixture.h"
#include "tests/unit/opentab_all.h"

struct seen {
	uint32_t slot[8], gen[8];
	unsigned cnt;
};

static void last(void *arg, uint32_t slot, uint32_t gen)
{
	struct seen *s = arg;

	cr_assert_lt(s->cnt, 8);
	s->slot[s->cnt] = slot;
	s->gen[s->cnt++] = gen;
}

static void open_sock(const struct shm_seg *s, uint32_t proc, int fd, uint32_t slot)
{
	shm_slot_get(s, slot);
	shm_ofd_set(shm_proc(s, proc), fd, SD_OFD(SD_OFD_SOCK, slot, slot + 5));
}

Test(opentab, entries)
{
	struct shm_seg s = seg_new();
	struct sd_proc *p = shm_proc(&s, 4);
	sd_ofd o = SD_OFD(SD_OFD_EPOLL, 0xabcdef, 0xffffffff);

	cr_expect_eq(shm_ofd_get(p, 0), 0);
	cr_expect_eq(shm_ofd_get(p, -1), 0);
	cr_expect_eq(shm_ofd_get(p, SD_FDS), 0);
	shm_ofd_set(p, SD_FDS, o);
	shm_ofd_set(p, -1, o);
	cr_expect_eq(p->hi_fd, 0);
	shm_ofd_set(p, 100, o);
	shm_ofd_set(p, 50, o);
	cr_expect_eq(p->hi_fd, 101);
	cr_expect_eq(shm_ofd_get(p, 100), o);
	cr_expect_eq(SD_OFD_KIND(o), SD_OFD_EPOLL);
	cr_expect_eq(SD_OFD_IDX(o), 0xabcdef);
	cr_expect_eq(SD_OFD_GEN(o), 0xffffffff);
	cr_expect_eq(shm_ofd_take(p, 100), o);
	cr_expect_eq(shm_ofd_take(p, 100), 0, "one closer gets it");
	cr_expect_eq(shm_ofd_take(p, -5), 0);
	shm_ofd_set(p, SD_FDS - 1, o);
	cr_expect_eq(shm_ofd_get(p, SD_FDS - 1), o);
}

Test(opentab, references)
{
	struct shm_seg s = seg_new();

	shm_slot_get(&s, 5);
	shm_slot_get(&s, 5);
	cr_expect_not(shm_slot_put(&s, 5));
	cr_expect(shm_slot_put(&s, 5));
	cr_expect_not(shm_slot_put(&s, 5), "does not go below zero");
	cr_expect_eq(shm_slot_p(&s, 5)->refs, 0);
	shm_slot_get(&s, 0);
	cr_expect_not(shm_slot_put(&s, SD_SLOTS));
}

Test(opentab, clone_and_undo)
{
	struct shm_seg s = seg_new();
	struct seen seen = { 0 };
	sd_ofd ep = SD_OFD(SD_OFD_EPOLL, 3, 1), shim = SD_OFD(SD_OFD_SHIM, 0, 0);

	open_sock(&s, 1, 10, 100);
	open_sock(&s, 1, 11, 100);
	open_sock(&s, 1, 2000, 101);
	shm_ofd_set(shm_proc(&s, 1), 12, ep);
	shm_ofd_set(shm_proc(&s, 1), 900, shim);
	opentab_clone(&s, 1, 2);
	cr_expect_eq(shm_slot_p(&s, 100)->refs, 4);
	cr_expect_eq(shm_slot_p(&s, 101)->refs, 2);
	cr_expect_eq(shm_ofd_get(shm_proc(&s, 2), 2000), shm_ofd_get(shm_proc(&s, 1), 2000));
	cr_expect_eq(shm_ofd_get(shm_proc(&s, 2), 12), ep);
	cr_expect_eq(shm_ofd_get(shm_proc(&s, 2), 900), shim);
	cr_expect_eq(shm_ofd_get(shm_proc(&s, 2), 13), 0);

	open_sock(&s, 2, 13, 102);
	opentab_undo(&s, 2, last, &seen);
	cr_assert_eq(seen.cnt, 1);
	cr_expect_eq(seen.slot[0], 102);
	cr_expect_eq(seen.gen[0], 107);
	cr_expect_eq(shm_ofd_get(shm_proc(&s, 2), 12), 0);
	cr_expect_eq(shm_proc(&s, 2)->hi_fd, 0);
	opentab_undo(&s, 1, last, &seen);
	cr_assert_eq(seen.cnt, 3);
	cr_expect_eq(seen.slot[1], 100);
	cr_expect_eq(seen.slot[2], 101);
	opentab_undo(&s, 1, last, &seen);
	cr_expect_eq(seen.cnt, 3);
}

Test(opentab, hostile_tables)
{
	struct shm_seg s = seg_new();
	struct sd_proc *p = shm_proc(&s, 1);
	struct seen seen = { 0 };
	unsigned i;

	for (i = 0; i < 5000; i++)
		p->fds[i] = i * 0x9e3779b97f4a7c15ull | (i % 2);
	p->hi_fd = UINT32_MAX;
	opentab_clone(&s, 1, 2);
	cr_expect_eq(shm_proc(&s, 2)->hi_fd, 5000);
	for (i = 0; i < 5000; i++)
		if (shm_slot_p(&s, SD_OFD_IDX(p->fds[i])))
			shm_slot_p(&s, SD_OFD_IDX(p->fds[i]))->refs = 0;
	opentab_undo(&s, 1, last, &seen);
	cr_expect_eq(seen.cnt, 0);
	opentab_clone(&s, SD_MAX_PROCS, 2);
	opentab_undo(&s, SD_MAX_PROCS, last, &seen);
}
