/* SPDX-License-Identifier: MIT */
/* sock/strays.c - connections that live elsewhere than the device's steering says
 *
 * A connection stays on the worker that it was made on. When the device's key, table or fields
 * change, its packets arrive at another one, which does not know it. So each worker keeps count of
 * its strays, with a filter of their hashes that the others may read; who gets a segment of a
 * connection that it does not know asks those whose filter has it, one after the other, by
 * handing the packet on (struct pkt.asked); back at the first, it is nobody's.
 * The entry of a stray in the established table is marked, so that counting is exact whatever
 * happens in between. When the steering changes, all entries are looked at anew, some at a time;
 * as long as that takes (asking), every worker is asked, filter or not.
 * Holds:   ST1 a worker's count is the number of marked entries of its established table
 *          ST2 while not asking, an entry is marked iff the steering names another worker for it
 * Pairs:   st_rel(cnt) after the filter's bit, with ld_acq(cnt) before it
 * Threads: each worker its own part, the others read it; asking: worker 0
 */
#include "stackd/nic/steer.h"
#include "stackd/sock/sock_int.h"

#define FILTER_BITS	65536u

struct strays_part {
	uint32_t cnt;
	uint8_t pad[60];
	uint64_t filter[FILTER_BITS / 64];
};
struct sock_strays {
	uint32_t asking;
	uint8_t pad[60];
	struct strays_part w[SD_MAX_WORKERS];
};
static_assert(sizeof(struct strays_part) % 64 == 0, "nothing of two workers shares a line");

struct sock_strays *sock_strays_create(void)
{
	return sock_map(sizeof(struct sock_strays));
}

void sock_strays_destroy(struct sock_strays *s)
{
	sock_unmap(s, sizeof(*s));
}

void sock_strays_ask(struct stack *st, bool on)
{
	st_rel(&st->strays->asking, on);
}

bool stray_is(struct stack *st, const struct sock_tuple *t)
{
	return st->steer && st->strays &&
	       nic_flow_worker(st, IPPROTO_TCP, &t->raddr, t->rport, &t->laddr, t->lport) !=
	       st->worker;
}

void stray_add(struct stack *st, uint32_t hash)
{
	struct strays_part *p = &st->strays->w[st->worker];
	uint64_t *word = &p->filter[hash % FILTER_BITS / 64];

	st_rlx(word, *word | 1ull << hash % 64);
	st_rel(&p->cnt, p->cnt + 1);
}

void stray_del(struct stack *st)
{
	struct strays_part *p = &st->strays->w[st->worker];

	ASSERT(p->cnt);
	st_rel(&p->cnt, p->cnt - 1);
	for (unsigned i = 0; p->cnt == 0 && i < FILTER_BITS / 64; i++)
		st_rlx(&p->filter[i], 0);
}

uint32_t sock_strays(const struct stack *st)
{
	return st->strays ? st->strays->w[st->worker].cnt : 0;
}

static bool may_have(const struct sock_strays *s, uint32_t worker, uint32_t hash)
{
	const struct strays_part *p = &s->w[worker];

	if (ld_acq(&s->asking))
		return true;
	return ld_acq(&p->cnt) && ld_rlx(&p->filter[hash % FILTER_BITS / 64]) >> hash % 64 & 1;
}

bool sock_elsewhere(struct stack *st, const struct sock_tuple *t, uint8_t *asked, uint16_t *ret_to)
{
	uint32_t first, hash, w;

	if (!st->strays || !st->steer || *asked == st->worker + 1)
		return false;		/* there are none, or it has been everywhere */
	first = *asked ? *asked - 1u : st->worker;
	if (first >= st->workers)
		return false;
	hash = etab_hash(st, t);
	for (w = (st->worker + 1u) % st->workers; w != first; w = (w + 1) % st->workers)
		if (may_have(st->strays, w, hash))
			break;
	if (w == st->worker || (w == first && !*asked))
		return false;
	*asked = (uint8_t)(first + 1);
	*ret_to = (uint16_t)w;
	return true;
}

bool sock_strays_recount(struct stack *st, uint32_t *at, uint32_t max)
{
	struct etab *t = &st->sock->eh;

	for (; max && *at <= t->mask + t->split; max--, ++*at)
		etab_remark(st, t, *at);
	return *at <= t->mask + t->split;
}
