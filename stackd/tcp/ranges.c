/* SPDX-License-Identifier: MIT */
/* tcp/ranges.c - bounded lists of position ranges
 * Holds:   I5 sorted, disjoint, not touching (tests/unit/tcp/test_ranges.c)
 * Limits:  TCP_RANGES per list; lists come from a pool in private memory and may be lost
 */
#include <string.h>

#include "stackd/tcp/tcp_int.h"

/* First range that ends at or after @pos: it may grow, or @pos goes before it. */
static unsigned first_reaching(const struct tcp_ranges *r, uint64_t pos)
{
	unsigned i = 0;

	while (i < r->cnt && pos_lt(r->r[i].hi, pos))
		i++;
	return i;
}

static void cut_out(struct tcp_ranges *r, unsigned i, unsigned n)
{
	memmove(&r->r[i], &r->r[i + n], (r->cnt - i - n) * sizeof(r->r[0]));
	r->cnt -= n;
}

bool tcp_ranges_add(struct tcp_ranges *r, uint64_t lo, uint64_t hi, uint64_t *ret_new)
{
	unsigned i = first_reaching(r, lo), j = i;
	uint64_t known = tcp_ranges_sum(r, lo, hi);

	while (j < r->cnt && pos_le(r->r[j].lo, hi))
		j++;
	if (i == j) {
		if (r->cnt == TCP_RANGES)
			return false;
		memmove(&r->r[i + 1], &r->r[i], (r->cnt - i) * sizeof(r->r[0]));
		r->r[i] = (struct tcp_range){ lo, hi };
		r->cnt++;
	} else {
		r->r[i].lo = pos_min(r->r[i].lo, lo);
		r->r[i].hi = pos_max(r->r[j - 1].hi, hi);
		cut_out(r, i + 1, j - i - 1);
	}
	*ret_new = hi - lo - known;
	return true;
}

void tcp_ranges_trim(struct tcp_ranges *r, uint64_t below)
{
	unsigned n = 0;

	while (n < r->cnt && pos_le(r->r[n].hi, below))
		n++;
	cut_out(r, 0, n);
	if (r->cnt)
		r->r[0].lo = pos_max(r->r[0].lo, below);
}

uint64_t tcp_ranges_sum(const struct tcp_ranges *r, uint64_t lo, uint64_t hi)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < r->cnt; i++)
		sum += pos_span(pos_max(r->r[i].lo, lo), pos_min(r->r[i].hi, hi));
	return sum;
}

bool tcp_ranges_overlap(const struct tcp_ranges *r, struct tcp_range *io)
{
	uint64_t lo = 0, hi = 0;
	bool any = false;

	for (unsigned i = 0; i < r->cnt; i++) {
		uint64_t l = pos_max(r->r[i].lo, io->lo), h = pos_min(r->r[i].hi, io->hi);

		if (!pos_lt(l, h))
			continue;
		lo = any ? lo : l;
		hi = h;
		any = true;
	}
	if (any)
		*io = (struct tcp_range){ lo, hi };
	return any;
}

/* ---- the pool ---- */

struct tcp_ranges *tcp_ranges_at(struct stack *st, uint32_t idx)
{
	return idx ? &st->tcp->ranges[idx] : NULL;
}

struct tcp_ranges *tcp_ranges_get(struct stack *st, uint32_t *idx)
{
	if (!*idx) {
		*idx = idx_alloc(&st->tcp->rngs);
		if (!*idx)
			return NULL;
		st->tcp->ranges[*idx].cnt = 0;
	}
	return &st->tcp->ranges[*idx];
}

void tcp_ranges_put(struct stack *st, uint32_t *idx)
{
	if (*idx)
		idx_free(&st->tcp->rngs, *idx);
	*idx = 0;
}
