/* SPDX-License-Identifier: MIT */
/* bench/micro/tables.c - the table of connections beside DPDK's rte_hash and a plain chained table
 *
 *   micro-tables [ENTRIES ...]
 *
 * Each table holds the same tuples (36 bytes as key). Ours finds an object by index and compares
 * the tuple there, one object a cache line; rte_hash keeps its keys, hashes them without a secret
 * and is asked one by one and 64 at a time (its bulk lookup prefetches); the chained table has as
 * many heads as entries and our keyed hash. Queries are in random order: memory beyond the caches
 * is what large tables cost. Medians of alternating batches, ns per operation, as JSON.
 */
#include <rte_eal.h>
#include <rte_hash.h>
#include <rte_jhash.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "stackd/core/clock.h"
#include "stackd/core/rng.h"
#include "stackd/sock/sock_int.h"

#define BATCH	100000u
#define BATCHES	9
#define BULK	64u
#define LINE	64u

struct node {
	struct sock_tuple t;
	uint32_t next;
};

static struct stack st;
static struct arena arena;
static struct etab tab;
static struct rte_hash *rte;
static struct node *nodes;
static uint32_t *heads, heads_mask, entries, extra;
static struct sock_tuple *asked;		/* [BATCH] */
static uint64_t rng[2];

static struct sock_tuple tuple_of(uint32_t i, bool there)
{
	be32 us = cpu_to_be32(0xc0000202u);
	be32 them = cpu_to_be32((there ? 0x0a000000u : 0x0b000000u) + i / 50000);

	return (struct sock_tuple){ .laddr = sd_addr_v4(us), .raddr = sd_addr_v4(them),
				    .lport = 80, .rport = (uint16_t)(i % 50000 + 1024) };
}

static void *big(size_t size)
{
	void *p = sock_map(size);

	if (!p)
		exit(1);
	madvise(p, size, MADV_HUGEPAGE);
	return p;
}

/* ---- the three tables ---- */

static uint32_t *chain_of(const struct sock_tuple *t)
{
	return &heads[etab_hash(&st, t) & heads_mask];
}

static bool chained_find(const struct sock_tuple *t)
{
	uint32_t i = *chain_of(t);

	while (i && memcmp(&nodes[i].t, t, sizeof(*t)))
		i = nodes[i].next;
	return i != 0;
}

static void chained_insert(uint32_t i)
{
	uint32_t *head = chain_of(&nodes[i].t);

	nodes[i].next = *head;
	*head = i;
}

static void chained_remove(uint32_t i)
{
	uint32_t *link = chain_of(&nodes[i].t);

	while (*link != i)
		link = &nodes[*link].next;
	*link = nodes[i].next;
}

static unsigned ours_find(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i < BATCH; i++)
		n += etab_find(&st, &tab, &asked[i]) != 0;
	return n;
}

static unsigned all_chained_find(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i < BATCH; i++)
		n += chained_find(&asked[i]);
	return n;
}

static unsigned rte_find(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i < BATCH; i++)
		n += rte_hash_lookup(rte, &asked[i]) >= 0;
	return n;
}

static unsigned rte_find_bulk(void)
{
	const void *keys[BULK];
	int32_t pos[BULK];
	unsigned n = 0;

	for (unsigned i = 0; i + BULK <= BATCH; i += BULK) {
		for (unsigned k = 0; k < BULK; k++)
			keys[k] = &asked[i + k];
		rte_hash_lookup_bulk(rte, keys, BULK, pos);
		for (unsigned k = 0; k < BULK; k++)
			n += pos[k] >= 0;
	}
	return n;
}

/* ---- entries beyond the table's, in and out again ---- */

static void insert_batch(int which)
{
	for (uint32_t i = entries + 1; i <= entries + extra; i++) {
		struct sock_tuple *t = arena_at(&arena, AR_TCB, i);

		if (which == 0)
			etab_insert(&st, &tab, t, OBJ(OBJ_TCB, i));
		else if (which == 1)
			rte_hash_add_key(rte, t);
		else
			chained_insert(i);
	}
}

static void remove_batch(int which)
{
	for (uint32_t i = entries + 1; i <= entries + extra; i++) {
		struct sock_tuple *t = arena_at(&arena, AR_TCB, i);

		if (which == 0)
			etab_remove(&st, &tab, t, OBJ(OBJ_TCB, i));
		else if (which == 1)
			rte_hash_del_key(rte, t);
		else
			chained_remove(i);
	}
}

/* ---- a size ---- */

static void fill(void)
{
	struct rte_hash_parameters p = { .name = "tuples", .entries = entries + 2 * BATCH,
					 .key_len = sizeof(struct sock_tuple),
					 .hash_func = rte_jhash };
	struct arena_region_def defs[AR_MAX];

	for (int i = 0; i < AR_MAX; i++)
		defs[i] = (struct arena_region_def){ LINE, 2 };
	defs[AR_TCB] = (struct arena_region_def){ LINE, entries + BATCH + 1 };
	if (arena_create(1, defs, 1, &arena) || etab_init(&tab, 1u << 22))
		exit(1);
	rte = rte_hash_create(&p);
	if (!rte) {
		fprintf(stderr, "rte_hash: no memory for %u\n", entries);
		exit(1);
	}
	st.arena = &arena;
	heads_mask = 1;
	while (heads_mask < entries)
		heads_mask = heads_mask << 1 | 1;
	heads = big(((size_t)heads_mask + 1) * sizeof(*heads));
	nodes = big((entries + BATCH + 1) * sizeof(*nodes));
	for (uint32_t i = 1; i <= entries + BATCH; i++) {
		nodes[i].t = tuple_of(i, true);
		memcpy(arena_at(&arena, AR_TCB, i), &nodes[i].t, sizeof(struct sock_tuple));
		if (i > entries)
			continue;
		etab_insert(&st, &tab, &nodes[i].t, OBJ(OBJ_TCB, i));
		rte_hash_add_key(rte, &nodes[i].t);
		chained_insert(i);
	}
}

static void empty(void)
{
	rte_hash_free(rte);
	etab_fini(&tab);
	arena_unmap(&arena);
	close(arena.fd);
	sock_unmap(heads, ((size_t)heads_mask + 1) * sizeof(*heads));
	sock_unmap(nodes, (entries + BATCH + 1) * sizeof(*nodes));
}

static void ask(bool there)
{
	for (unsigned i = 0; i < BATCH; i++)
		asked[i] = tuple_of(1 + rng_below(rng, entries), there);
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *v)
{
	qsort(v, BATCHES, sizeof(*v), by_value);
	return v[BATCHES / 2];
}

static void print_row(const char *what, double *ours, double *one, double *bulk, double *chained)
{
	static bool more;

	printf("%s{\"entries\": %u, \"what\": \"%s\", \"stackd\": %.1f, \"rte_hash\": %.1f, ",
	       more ? ",\n " : "", entries, what, median(ours),
	       median(one));
	if (bulk)
		printf("\"rte_hash_bulk\": %.1f, ", median(bulk));
	printf("\"chained\": %.1f}", median(chained));
	more = true;
}

static double timed(unsigned (*find)(void), unsigned want)
{
	uint64_t begin = clock_mono_ns();
	unsigned n = find();

	if (n > BATCH || n < want) {
		fprintf(stderr, "%u of %u found\n", n, want);
		exit(1);
	}
	return (double)(clock_mono_ns() - begin) / BATCH;
}

static void lookups(bool there)
{
	double ours[BATCHES], one[BATCHES], bulk[BATCHES], chained[BATCHES];
	unsigned want = there ? BATCH - BATCH % BULK : 0;

	for (unsigned b = 0; b < BATCHES; b++) {
		ask(there);
		ours[b] = timed(ours_find, want);
		ask(there);
		one[b] = timed(rte_find, want);
		ask(there);
		bulk[b] = timed(rte_find_bulk, want);
		ask(there);
		chained[b] = timed(all_chained_find, want);
	}
	print_row(there ? "hit" : "miss", ours, one, bulk, chained);
}

static void changes(void)
{
	double in[3][BATCHES], out[3][BATCHES];

	for (unsigned b = 0; b < BATCHES; b++) {
		for (int which = 0; which < 3; which++) {
			uint64_t t0 = clock_mono_ns(), t1;

			insert_batch(which);
			t1 = clock_mono_ns();
			remove_batch(which);
			in[which][b] = (double)(t1 - t0) / extra;
			out[which][b] = (double)(clock_mono_ns() - t1) / extra;
		}
	}
	print_row("insert", in[0], in[1], NULL, in[2]);
	print_row("remove", out[0], out[1], NULL, out[2]);
}

int main(int argc, char **argv)
{
	char *eal[] = { argv[0], (char *)"--no-huge", (char *)"--no-pci", (char *)"--no-shconf",
			(char *)"-m", (char *)"3072", (char *)"--log-level=error" };
	const char *sizes[] = { argv[0], "1000", "10000", "100000", "1000000" };

	if (rte_eal_init(7, eal) < 0) {
		fprintf(stderr, "DPDK does not start\n");
		return 1;
	}
	st.boot_secret[0] = 0x0123456789abcdefull;
	st.boot_secret[1] = 0xfedcba9876543210ull;
	rng_seed(rng, 1);
	asked = big(BATCH * sizeof(*asked));
	if (argc < 2) {
		argc = sizeof(sizes) / sizeof(sizes[0]);
		argv = (char **)sizes;
	}
	printf("[");
	for (int i = 1; i < argc; i++) {
		entries = (uint32_t)strtoul(argv[i], NULL, 0);
		extra = entries / 10 < BATCH ? entries / 10 + 1 : BATCH;
		fill();
		lookups(true);
		lookups(false);
		changes();
		empty();
	}
	printf("]\n");
	return 0;
}
