/* SPDX-License-Identifier: MIT */
/* engine/handoff.c - see handoff.h */
#include "stackd/engine/handoff.h"

#include <errno.h>
#include <sys/mman.h>

static size_t rings_size(uint32_t workers)
{
	return (size_t)workers * workers * sizeof(struct handoff);
}

int handoff_create(uint32_t workers, struct handoff **ret_rings)
{
	void *p = mmap(NULL, rings_size(workers), PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return -errno;
	*ret_rings = p;
	return 0;
}

void handoff_destroy(struct handoff *rings, uint32_t workers)
{
	munmap(rings, rings_size(workers));
}

bool handoff_push(struct handoff *h, const struct stack_msg *msg)
{
	uint32_t prod = h->prod;

	if (prod - h->seen == HANDOFF_ENTRIES) {
		h->seen = ld_acq(&h->cons);
		if (prod - h->seen == HANDOFF_ENTRIES)
			return false;
	}
	h->e[prod % HANDOFF_ENTRIES] = *msg;
	st_rel(&h->prod, prod + 1);
	return true;
}

bool handoff_pop(struct handoff *h, struct stack_msg *ret_msg)
{
	uint32_t cons = h->cons;

	if (ld_acq(&h->prod) == cons)
		return false;
	*ret_msg = h->e[cons % HANDOFF_ENTRIES];
	st_rel(&h->cons, cons + 1);
	return true;
}
