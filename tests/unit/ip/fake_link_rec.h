/* SPDX-License-Identifier: MIT */
/* tests/unit/ip/fake_link_rec.h - what the fake link writes down */
#ifndef TESTS_FAKE_LINK_REC_H
#define TESTS_FAKE_LINK_REC_H

#include "stackd/link/link.h"

#define FAKE_TX 64

struct fake_tx {
	struct sd_addr next_hop;
	uint32_t len, csum_at;
	uint16_t gso_size;
	uint8_t bcast, csum_state;
	uint8_t data[65536];
};

struct fake_link {
	struct link_up up;
	unsigned addrs;
	unsigned cnt;			/* sent since the test began */
	struct fake_tx tx[FAKE_TX];
};

extern struct fake_link fl;

#endif
