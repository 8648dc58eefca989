/* SPDX-License-Identifier: MIT */
/* tests/unit/shm/fixture.h - a segment of one's own for each test */
#ifndef TESTS_SHM_FIXTURE_H
#define TESTS_SHM_FIXTURE_H

#include <criterion/criterion.h>
#include <unistd.h>

#include "shm/segment.h"

/* Both memfds mapped writable, as engine and simulator do. */
static inline struct shm_seg seg_new(void)
{
	struct shm_seg seg = { 0 };
	int ro, rw;

	cr_assert_eq(shm_seg_create(7, 2, &ro, &rw), 0);
	cr_assert_eq(shm_seg_map(ro, rw, true, &seg), 0);
	close(ro);
	close(rw);
	return seg;
}

#endif
