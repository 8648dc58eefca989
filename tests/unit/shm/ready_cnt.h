/* SPDX-License-Identifier: MIT */
/* tests/unit/shm/ready_cnt.h - connections that wait in an accept ring, claimed ones left out */
#ifndef TESTS_UNIT_SHM_READY_CNT_H
#define TESTS_UNIT_SHM_READY_CNT_H

#include "shm/accept.h"

static inline uint32_t ready_cnt(struct sd_accept_ring *r)
{
	uint32_t n = 0;

	for (unsigned i = 0; i < SD_ACCEPT_ENTRIES; i++)
		n += r->e[i].claim == SD_CLAIM_READY;
	return n;
}

#endif
