/* SPDX-License-Identifier: MIT */
/* link/capture.h - taps: copies of frames into rings that another process reads */
#ifndef LINK_CAPTURE_H
#define LINK_CAPTURE_H

#include "stackd/capture.h"
#include "stackd/core/stack.h"

#define LINK_CAPS	4		/* captures at once */

/* One capture as one worker sees it. The caller's memory from link_cap_add() until the worker has
 * come back from link_cap_del(). */
struct link_cap {
	struct sd_cap_ring *ring;
	uint8_t *data;			/* the ring's records */
	uint8_t *scratch;		/* SD_CAP_SNAP bytes, for frames in pieces */
	uint64_t prod;
	uint32_t size;			/* of data, a power of two */
	uint32_t snaplen, points;
	/* Bytes of the frame to keep, 0 = none of it; it is @wire long, @len are there. NULL = all
	 * frames. */
	uint32_t (*match)(const void *arg, const uint8_t *frame, uint32_t wire,
			  uint32_t len);
	const void *arg;
};

/* Owning worker. Return: 0, or -EBUSY when there are LINK_CAPS already. */
int link_cap_add(struct stack *st, struct link_cap *cap);
/* What is not there is ignored. */
void link_cap_del(struct stack *st, struct link_cap *cap);

#endif
