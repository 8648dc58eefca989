/* SPDX-License-Identifier: MIT */
/* shm/ring.c - command rings
 * Positions are free-running 32-bit counters; the ring's size divides 2^32, so position p is always
 * entry p % N and p - cons is the fill level across the wrap. An entry carries its position + 1:
 * what an earlier lap left there never looks like this lap's entry.
 * Pairs and invariants: see ring.h
 * Threads: push any thread of the process, signal handlers included; pop the ring's worker
 */
#include <errno.h>
#include <string.h>

#include "shm/ring.h"

static_assert((SD_CMD_ENTRIES & (SD_CMD_ENTRIES - 1)) == 0, "positions wrap with the ring");

int shm_cmd_publish(const struct shm_seg *seg, uint32_t proc, uint32_t worker,
		    const struct sd_cmd *cmd)
{
	struct sd_cmd_ring *r = shm_cmd_ring(seg, proc, worker);
	struct sd_cmd *e;
	uint32_t pos, cons;

	if (!r)
		return -EINVAL;
	pos = ld_rlx(&r->reserve);
	do {
		cons = ld_acq(&r->cons);	/* pairs with st_rel in shm_cmd_pop() */
		if (pos - cons >= SD_CMD_ENTRIES)
			return -EAGAIN;
	} while (!cas_sc(&r->reserve, &pos, pos + 1));

	e = &r->e[pos % SD_CMD_ENTRIES];
	memcpy(&e->op, &cmd->op, sizeof(*e) - offsetof(struct sd_cmd, op));
	st_rel(&e->seq, pos + 1);		/* pairs with ld_acq in take_at() */
	return 0;
}

bool shm_cmd_notice(const struct shm_seg *seg, uint32_t proc, uint32_t worker)
{
	uint64_t bit = 1ull << proc % 64;

	return !(or_sc(&shm_rw_hdr(seg)->dirty[worker][proc / 64], bit) & bit);
}

int shm_cmd_push(const struct shm_seg *seg, uint32_t proc, uint32_t worker,
		 const struct sd_cmd *cmd)
{
	int err = shm_cmd_publish(seg, proc, worker, cmd);

	if (!err)
		shm_cmd_notice(seg, proc, worker);
	return err;
}

/* Has the entry at @pos been published? */
static bool ready(const struct sd_cmd_ring *r, uint32_t pos)
{
	return ld_acq(&r->e[pos % SD_CMD_ENTRIES].seq) == pos + 1; /* pairs with shm_cmd_push() */
}

/* The first of the @n entries from cons that is published and not taken. Return: @n for none. */
static uint32_t first_ready(const struct sd_cmd_ring *r, const struct shm_cmd_reader *rd,
			    uint32_t n)
{
	uint32_t i;

	for (i = 0; i < n; i++)
		if (!(rd->taken >> i & 1) && ready(r, rd->cons + i))
			break;
	return i;
}

/* The entry at cons is done with: move on, also over what was taken ahead. */
static void reader_next(struct shm_cmd_reader *rd)
{
	do {
		rd->cons++;
		rd->taken >>= 1;
	} while (rd->taken & 1);
}

bool shm_cmd_pop(const struct shm_seg *seg, uint32_t proc, uint32_t worker,
		 struct shm_cmd_reader *rd, struct sd_cmd *ret_cmd)
{
	struct sd_cmd_ring *r = shm_cmd_ring(seg, proc, worker);
	uint32_t i = 0, n, earlier;

	if (!r)
		return false;
	if (ld_rlx(&r->cons) != rd->cons)
		st_rel(&r->cons, rd->cons);	/* pairs with ld_acq in shm_cmd_publish() */
	if (!ready(r, rd->cons)) {
		n = ld_rlx(&r->reserve) - rd->cons;
		if (n > SHM_CMD_AHEAD)
			n = SHM_CMD_AHEAD;
		i = first_ready(r, rd, n);
		if (i == n)
			return false;
		/* What was published before it may have come after we looked there: look again. */
		while ((earlier = first_ready(r, rd, i)) < i)
			i = earlier;
	}
	*ret_cmd = r->e[(rd->cons + i) % SD_CMD_ENTRIES];
	if (i)
		rd->taken |= 1ull << i;
	else
		reader_next(rd);
	return true;
}
