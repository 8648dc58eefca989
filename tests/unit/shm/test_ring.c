/* SPDX-License-Identifier: MIT */
/* tests/unit/shm/test_ring.c - command rings: order, fullness, wrap, holes, hostile words */
#include <errno.h>

#include "fixture.h"
#include "shm/ring.h"

#define PROC	65	/* second dirty word */
#define WORKER	1

static int push(const struct shm_seg *s, uint32_t slot)
{
	struct sd_cmd c = { .seq = 99, .op = SD_OP_KICK, .slot = slot, .str = "abcdefg" };

	return shm_cmd_push(s, PROC, WORKER, &c);
}

/* Return: the slot popped, 0 for none. */
static uint32_t pop(const struct shm_seg *s, struct shm_cmd_reader *rd)
{
	struct sd_cmd c = { 0 };

	if (!shm_cmd_pop(s, PROC, WORKER, rd, &c))
		return 0;
	cr_assert_eq(c.op, SD_OP_KICK);
	cr_assert_str_eq(c.str, "abcdefg");
	return c.slot;
}

Test(ring, order_fullness_and_dirty_bit)
{
	struct shm_seg s = seg_new();
	struct shm_cmd_reader rd = { 0 };
	uint32_t i;

	cr_expect_eq(pop(&s, &rd), 0);
	for (i = 1; i <= SD_CMD_ENTRIES; i++)
		cr_assert_eq(push(&s, i), 0);
	cr_expect_eq(push(&s, i), -EAGAIN);
	cr_expect_eq(shm_rw_hdr(&s)->dirty[WORKER][PROC / 64], 1ull << PROC % 64);
	cr_expect_eq(shm_rw_hdr(&s)->dirty[0][PROC / 64], 0);
	cr_expect_eq(pop(&s, &rd), 1);
	cr_expect_eq(push(&s, i), -EAGAIN, "not carried out yet");
	cr_expect_eq(pop(&s, &rd), 2);
	cr_expect_eq(push(&s, i), 0);
	cr_expect_eq(push(&s, i), -EAGAIN);
	for (i = 3; i <= SD_CMD_ENTRIES + 1; i++)
		cr_assert_eq(pop(&s, &rd), i);
	cr_expect_eq(pop(&s, &rd), 0);
}

Test(ring, positions_wrap_at_32_bits)
{
	struct shm_seg s = seg_new();
	struct sd_cmd_ring *r = shm_cmd_ring(&s, PROC, WORKER);
	struct shm_cmd_reader rd = { .cons = UINT32_MAX - 1500 };
	uint32_t i;

	r->cons = r->reserve = rd.cons;
	for (i = 1; i < 4000; i += 2) {
		cr_assert_eq(push(&s, i), 0);
		cr_assert_eq(push(&s, i + 1), 0);
		cr_assert_eq(pop(&s, &rd), i);
		cr_assert_eq(pop(&s, &rd), i + 1);
		cr_assert_eq(pop(&s, &rd), 0);
	}
	cr_expect_lt(rd.cons, 3000);
}

Test(ring, entries_behind_a_stopped_producer_are_taken)
{
	struct shm_seg s = seg_new();
	struct sd_cmd_ring *r = shm_cmd_ring(&s, PROC, WORKER);
	struct shm_cmd_reader rd = { 0 };
	uint32_t hole, hole2, i;

	cr_assert_eq(push(&s, 1), 0);
	hole = r->reserve++;		/* a producer stopped here */
	cr_assert_eq(push(&s, 2), 0);
	hole2 = r->reserve++;
	cr_assert_eq(push(&s, 3), 0);
	cr_expect_eq(pop(&s, &rd), 1);
	cr_expect_eq(pop(&s, &rd), 2);
	cr_expect_eq(pop(&s, &rd), 3);
	cr_expect_eq(pop(&s, &rd), 0);
	cr_expect_eq(r->cons, hole, "entries are not given back past the hole");
	r->e[hole % SD_CMD_ENTRIES] = r->e[0];
	r->e[hole % SD_CMD_ENTRIES].slot = 11;
	r->e[hole % SD_CMD_ENTRIES].seq = hole + 1;
	cr_expect_eq(pop(&s, &rd), 11);
	cr_expect_eq(pop(&s, &rd), 0);
	cr_expect_eq(r->cons, hole2);
	r->e[hole2 % SD_CMD_ENTRIES] = r->e[0];
	r->e[hole2 % SD_CMD_ENTRIES].slot = 12;
	r->e[hole2 % SD_CMD_ENTRIES].seq = hole2 + 1;
	cr_expect_eq(pop(&s, &rd), 12);
	cr_expect_eq(r->cons, hole2, "12 is not carried out before the next pop");
	cr_expect_eq(pop(&s, &rd), 0);
	cr_expect_eq(r->cons, r->reserve);
	cr_expect_eq(rd.taken, 0);
	cr_assert_eq(push(&s, 4), 0);
	cr_expect_eq(pop(&s, &rd), 4);
	/* No further ahead than the window. */
	hole = r->reserve++;
	for (i = 0; i < 100; i++)
		cr_assert_eq(push(&s, 100 + i), 0);
	for (i = 0; i < SHM_CMD_AHEAD - 1; i++)
		cr_assert_eq(pop(&s, &rd), 100 + i);
	cr_expect_eq(pop(&s, &rd), 0);
	r->e[hole % SD_CMD_ENTRIES] = r->e[0];
	r->e[hole % SD_CMD_ENTRIES].slot = 13;
	r->e[hole % SD_CMD_ENTRIES].seq = hole + 1;
	cr_expect_eq(pop(&s, &rd), 13);
	for (; i < 100; i++)
		cr_assert_eq(pop(&s, &rd), 100 + i);
	cr_expect_eq(pop(&s, &rd), 0);
}

Test(ring, hostile_words)
{
	struct shm_seg s = seg_new();
	struct sd_cmd_ring *r = shm_cmd_ring(&s, PROC, WORKER);
	struct shm_cmd_reader rd = { 0 };
	struct sd_cmd c;
	uint32_t i, n = 0;

	r->reserve = 0x80000000u;
	cr_expect_eq(push(&s, 1), -EAGAIN);
	cr_expect_eq(pop(&s, &rd), 0);
	r->cons = 12345;
	cr_expect_eq(pop(&s, &rd), 0);
	for (i = 0; i < SD_CMD_ENTRIES; i++)
		r->e[i].seq = i + 1;
	while (n < 3 * SD_CMD_ENTRIES && shm_cmd_pop(&s, PROC, WORKER, &rd, &c))
		n++;
	cr_expect_eq(n, SD_CMD_ENTRIES);
	cr_expect_eq(r->cons, SD_CMD_ENTRIES, "written from the worker's own copy");
}

Test(ring, bad_indices)
{
	struct shm_seg s = seg_new();
	struct shm_cmd_reader rd = { 0 };
	struct sd_cmd c = { .op = SD_OP_KICK };

	cr_expect_eq(shm_cmd_push(&s, SD_MAX_PROCS, 0, &c), -EINVAL);
	cr_expect_eq(shm_cmd_push(&s, 0, SD_MAX_WORKERS, &c), -EINVAL);
	cr_expect_not(shm_cmd_pop(&s, SD_MAX_PROCS, 0, &rd, &c));
}
