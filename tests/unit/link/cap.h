/* SPDX-License-Identifier: MIT */
/* tests/unit/link/cap.h - a capture's ring in the test's own memory, and its reader */
#ifndef TESTS_UNIT_LINK_CAP_H
#define TESTS_UNIT_LINK_CAP_H

#include "stackd/link/capture.h"
#include "tests/unit/link/fix.h"

#define CAP_SIZE 65536u			/* smaller than any that ctl/ grants: it fills up sooner */

struct cap {
	struct link_cap c;
	struct sd_cap_ring ring;
	uint64_t cons;
	_Alignas(8) uint8_t data[CAP_SIZE], scratch[SD_CAP_SNAP];
};

static inline struct cap *cap_start(uint32_t points)
{
	struct cap *k = calloc(1, sizeof(*k));

	k->c = (struct link_cap){ .ring = &k->ring, .data = k->data, .scratch = k->scratch,
				  .size = CAP_SIZE, .snaplen = SD_CAP_SNAP, .points = points };
	cr_assert_eq(link_cap_add(&fx.h->st[0], &k->c), 0);
	return k;
}

/* The next record, taken; NULL = none. Valid until the ring comes round. */
static inline const struct sd_cap_rec *cap_take(struct cap *k)
{
	while (k->cons != k->ring.prod) {
		const struct sd_cap_rec *r = (void *)(k->data + (k->cons & (CAP_SIZE - 1)));

		cr_assert_eq(r->len % 8, 0);
		cr_assert_leq((k->cons & (CAP_SIZE - 1)) + r->len, CAP_SIZE);
		k->cons += r->len;
		k->ring.cons = k->cons;
		if (r->point != SD_CAP_PAD)
			return r;
	}
	return NULL;
}

static inline void cap_stop(struct cap *k)
{
	link_cap_del(&fx.h->st[0], &k->c);
	free(k);
}

#endif
