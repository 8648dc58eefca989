/* SPDX-License-Identifier: MIT */
/* tests/unit/opentab_all.h - whole open tables at once; the engine goes through them in steps */
#ifndef TESTS_UNIT_OPENTAB_ALL_H
#define TESTS_UNIT_OPENTAB_ALL_H

#include "shm/opentab.h"

static inline void opentab_clone(const struct shm_seg *seg, uint32_t from, uint32_t to)
{
	int n = shm_proc(seg, from) ? shm_opentab_len(shm_proc(seg, from)) : 0;

	for (int fd = 0; fd < n; fd++)
		shm_opentab_clone_one(seg, from, to, fd);
}

/* Calls @last for each last reference. The table is empty afterwards. */
static inline void opentab_undo(const struct shm_seg *seg, uint32_t proc,
				void (*last)(void *arg, uint32_t slot, uint32_t gen), void *arg)
{
	struct sd_proc *p = shm_proc(seg, proc);
	int fd, n = p ? shm_opentab_len(p) : 0;
	uint32_t slot, gen;

	for (fd = 0; fd < n; fd++)
		if (shm_opentab_undo_one(seg, proc, fd, &slot, &gen))
			last(arg, slot, gen);
	if (p)
		st_rlx(&p->hi_fd, 0);
}

#endif
