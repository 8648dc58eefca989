/* SPDX-License-Identifier: MIT */
/* sock/dests.c - which local ports are in use towards a destination, as bitmaps
 *
 * One bitmap of 8 KiB for each (source, destination, destination port) that has connections. It
 * only saves the search for a port from asking about those in use, one by one: a clear bit is
 * still asked for in the table of connections, which alone decides. So a destination that found no
 * room here is served as well, at the cost of a search that walks.
 * Holds:   DS1 a set bit is a connection in st->sock->conn with that tuple
 * Limits:  4096 destinations; two pages each, touched as ports are used
 * Threads: worker 0
 */
#include "stackd/core/siphash.h"
#include "stackd/sock/sock_int.h"

#define DESTS_MAX	4096u
#define DEST_HEADS	4096u
#define DEST_WORDS	(65536u / 64)

struct sock_dest {
	struct sock_tuple t;		/* lport 0 */
	uint32_t cnt;
	uint32_t next;
};

static uint32_t *head_of(struct stack *st, const struct sock_tuple *t)
{
	return &st->sock->dest_heads[siphash13(st->boot_secret, t, sizeof(*t)) % DEST_HEADS];
}

static uint64_t *bits_of(struct sock_state *s, uint32_t idx)
{
	return s->dest_bits + (size_t)idx * DEST_WORDS;
}

/* @t: with lport 0. Return: index or 0. */
static uint32_t find(struct stack *st, const struct sock_tuple *t)
{
	const struct sock_dest *d = st->sock->dests;
	uint32_t i = *head_of(st, t);

	while (i && memcmp(&d[i].t, t, sizeof(*t)))
		i = d[i].next;
	return i;
}

const uint64_t *dests_used(struct stack *st, const struct sock_tuple *t)
{
	uint32_t i = find(st, t);

	return i ? bits_of(st->sock, i) : NULL;
}

void dests_add(struct stack *st, const struct sock_tuple *tuple)
{
	struct sock_state *s = st->sock;
	struct sock_tuple t = *tuple;
	uint32_t i;

	t.lport = 0;
	i = find(st, &t);
	if (!i) {
		i = idx_alloc(&s->dest_pool);
		if (!i)
			return;
		s->dests[i] = (struct sock_dest){ .t = t, .next = *head_of(st, &t) };
		*head_of(st, &t) = i;
	}
	bits_of(s, i)[tuple->lport / 64] |= 1ull << tuple->lport % 64;
	s->dests[i].cnt++;
}

void dests_del(struct stack *st, const struct sock_tuple *tuple)
{
	struct sock_state *s = st->sock;
	struct sock_tuple t = *tuple;
	uint64_t bit = 1ull << tuple->lport % 64, *word;
	uint32_t i, *link;

	t.lport = 0;
	i = find(st, &t);
	if (!i)
		return;
	word = &bits_of(s, i)[tuple->lport / 64];
	if (!(*word & bit))
		return;			/* made before there was room for its destination */
	*word &= ~bit;
	if (--s->dests[i].cnt)
		return;
	for (link = head_of(st, &t); *link != i; link = &s->dests[*link].next)
		ASSERT(*link);
	*link = s->dests[i].next;
	idx_free(&s->dest_pool, i);
}

int dests_init(struct sock_state *s)
{
	s->dests = sock_map(DESTS_MAX * sizeof(*s->dests));
	s->dest_heads = sock_map(DEST_HEADS * sizeof(*s->dest_heads));
	s->dest_bits = sock_map((size_t)DESTS_MAX * DEST_WORDS * 8);
	if (!s->dests || !s->dest_heads || !s->dest_bits)
		return -ENOMEM;
	return idx_pool_init(&s->dest_pool, 0, DESTS_MAX);
}

void dests_fini(struct sock_state *s)
{
	sock_unmap(s->dests, DESTS_MAX * sizeof(*s->dests));
	sock_unmap(s->dest_heads, DEST_HEADS * sizeof(*s->dest_heads));
	sock_unmap(s->dest_bits, (size_t)DESTS_MAX * DEST_WORDS * 8);
	idx_pool_fini(&s->dest_pool);
}
