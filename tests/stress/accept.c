/* SPDX-License-Identifier: MIT */
/* tests/stress/accept.c - accept rings: every connection is accepted, by one acceptor
 * Acceptors are killed at any moment; the engine's part (undo the open table, reap the ring, start
 * another) is played by the parent, which is the worker, too. An acceptor that was killed between
 * installing and removing its claim leaves an entry that the next one finds to be stale.
 */
#include "stress.h"

#include <errno.h>

#include "shm/accept.h"

#define ACCEPTORS 4

struct ctx {
	struct shm_seg seg;
	struct sd_accept_ring *r;
	uint32_t total;
	uint32_t accepted;		/* connections installed by acceptors, the dead ones' too */
	uint32_t owner[];		/* of each connection; 0 = nobody yet */
};

struct acceptor {
	struct ctx *c;
	uint32_t proc, gen;
	unsigned seed;
};

static void accept_one(struct acceptor *a)
{
	struct ctx *c = a->c;
	uint32_t slot, gen, idx, nobody = 0;

	if (!shm_accept_claim(c->r, a->proc, a->gen, &slot, &gen, &idx)) {
		sched_yield();
		return;
	}
	CHECK(slot && slot <= c->total && gen == slot + 7, "%u %u", slot, gen);
	if (stress_rand(&a->seed) % 16 == 0) {		/* no fd for it */
		shm_accept_unclaim(c->r, idx);
		return;
	}
	if (cas_sc(&c->owner[slot], &nobody, a->proc << 16 | a->gen))
		add_sc(&c->accepted, 1);
	else	/* the one that installed it must be dead, or it would have removed its claim */
		CHECK(nobody != (a->proc << 16 | a->gen));
	shm_accept_done(c->r, idx);
}

static void acceptor(void *arg)
{
	struct acceptor *a = arg;

	while (ld_acq(&a->c->accepted) < a->c->total)
		accept_one(a);
}

static uint32_t installed(const struct ctx *c)
{
	uint32_t i, n = 0;

	for (i = 1; i <= c->total; i++)
		n += ld_rlx(&c->owner[i]) != 0;
	return n;
}

/* Kill one acceptor, do what the engine does then, start it again with a new generation. */
static void replace(struct ctx *c, struct party *p, struct acceptor *a)
{
	party_kill(p);
	shm_accept_reap(c->r, a->proc, a->gen);
	a->gen++;
	party_start(p, true, acceptor, a);
}

static void run(bool proc, uint32_t total, unsigned kills)
{
	size_t size = sizeof(struct ctx) + (total + 1) * sizeof(uint32_t);
	struct ctx *c = stress_shared(size);
	struct acceptor a[ACCEPTORS];
	struct shm_accept_prod prod;
	struct party p[ACCEPTORS];
	uint32_t i, slot = 1, killed = 0;
	unsigned seed = 5;

	c->seg = stress_seg();
	c->r = shm_accept_ring(&c->seg, 0);
	c->total = total;
	shm_accept_reset(c->r, &prod);
	for (i = 0; i < ACCEPTORS; i++) {
		a[i] = (struct acceptor){ .c = c, .proc = i + 1, .gen = 1 };
		party_start(&p[i], proc, acceptor, &a[i]);
	}
	while (slot <= total || killed < kills) {
		for (i = 0; i < 200 && slot <= total; i++, slot++)
			if (shm_accept_push(c->r, &prod, slot, slot + 7))
				break;
		if (killed < kills && (slot > (uint64_t)total * killed / kills || slot > total)) {
			i = stress_rand(&seed) % ACCEPTORS;
			replace(c, &p[i], &a[i]);
			killed++;
		}
		CHECK(prod.prod - ld_acq(&c->r->cons) <= SD_ACCEPT_ENTRIES, "cons passed prod");
		sched_yield();
	}
	/* A kill between the owner word and the count loses a count: the words decide. */
	while (installed(c) < total)
		usleep(1000);
	st_rel(&c->accepted, total);
	for (i = 0; i < ACCEPTORS; i++)
		party_join(&p[i]);
	while (shm_accept_take_back(c->r, &prod, &i, &slot))
		CHECK(kills, "entry of %u left", i);
	STRESS_OK("accept %s, %u killed", proc ? "processes" : "threads", killed);
	shm_seg_unmap(&c->seg);
	munmap(c, size);
}

int main(void)
{
	stress_start(100);
	run(false, stress_n(300000), 0);
	if (!STRESS_TSAN) {
		run(true, 300000, 0);
		run(true, 200000, 400);
	}
	return 0;
}
