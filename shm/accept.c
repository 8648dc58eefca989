/* SPDX-License-Identifier: MIT */
/* shm/accept.c - accept rings
 * One worker pushes established connections; acceptors of several processes claim them by
 * compare-and-swap on the entry, oldest first, and free the entry when the fd stands in their open
 * table. cons is a lower bound of where entries in use begin. Everybody who finds FREE entries at
 * cons helps it on, reaping included, so that a killed acceptor cannot leave the ring looking full.
 * Pairs and invariants: see accept.h
 * Threads: push, len, take_back, reap the owning worker; the rest any thread of the family
 */
#include <errno.h>

#include "shm/accept.h"

#define N SD_ACCEPT_ENTRIES
static_assert((N & (N - 1)) == 0, "positions wrap with the ring");

/* The claim of the engine itself while it takes an entry back; no process has this index. */
#define CLAIM_ENGINE	SD_CLAIM(0xffffffu, 0)

static struct sd_accept_ent *ent(struct sd_accept_ring *r, uint32_t pos)
{
	return &r->e[pos % N];
}

/* Entries in [cons, prod) as far as that can be true. */
static uint32_t fill(uint32_t cons, uint32_t prod)
{
	return prod - cons < N ? prod - cons : N;
}

/* Move cons over what is FREE, at most up to @prod, which may be older than cons: an entry above it
 * is FREE because it has not been pushed. The compare-and-swap fails when cons moved since it was
 * read, and until it moves no new entry takes the place of the one that was seen FREE (Q2). */
static void cons_advance(struct sd_accept_ring *r, uint32_t prod)
{
	uint32_t cons = ld_acq(&r->cons), steps;

	for (steps = 0; steps < N && (int32_t)(prod - cons) > 0; steps++) {
		if (ld_acq(&ent(r, cons)->claim) != SD_CLAIM_FREE)
			return;
		if (cas_sc(&r->cons, &cons, cons + 1))	/* pairs with ld_acq in push */
			cons++;
	}
}

/* ---- engine ---- */

void shm_accept_reset(struct sd_accept_ring *r, struct shm_accept_prod *p)
{
	unsigned i;

	for (i = 0; i < N; i++)
		st_rlx(&r->e[i].claim, SD_CLAIM_FREE);
	st_rlx(&r->cons, 0);
	st_rel(&r->prod, 0);
	*p = (struct shm_accept_prod){ 0 };
}

int shm_accept_push(struct sd_accept_ring *r, struct shm_accept_prod *p, uint32_t slot,
		    uint32_t gen)
{
	struct sd_accept_ent *e = ent(r, p->prod);

	/* pairs with cas_sc in cons_advance(), xchg_sc in shm_accept_done() */
	if (p->prod - ld_acq(&r->cons) >= N || ld_acq(&e->claim) != SD_CLAIM_FREE)
		return -EAGAIN;
	st_rlx(&e->slot, slot);
	st_rlx(&e->gen, gen);
	st_rel(&e->claim, SD_CLAIM_READY);	/* pairs with cas_sc in claim_at() */
	st_rel(&r->prod, ++p->prod);		/* pairs with ld_acq(prod) of acceptors */
	return 0;
}

void shm_accept_adopt(struct sd_accept_ring *r, struct shm_accept_prod *p)
{
	uint32_t prod = ld_acq(&r->prod);

	if (prod - ld_acq(&r->cons) < N && ld_acq(&ent(r, prod)->claim) == SD_CLAIM_READY)
		st_rel(&r->prod, ++prod);
	*p = (struct shm_accept_prod){ .prod = prod };
}

void shm_accept_walk(struct sd_accept_ring *r, void (*fn)(void *arg, uint32_t slot, uint32_t gen),
		     void *arg)
{
	for (unsigned i = 0; i < N; i++) {
		if (ld_acq(&r->e[i].claim) != SD_CLAIM_FREE)
			fn(arg, ld_rlx(&r->e[i].slot), ld_rlx(&r->e[i].gen));
	}
}

/* READY -> @claim. Return: true, and what the entry names. */
static bool claim_at(struct sd_accept_ent *e, uint64_t claim, uint32_t *ret_slot, uint32_t *ret_gen)
{
	uint64_t want = SD_CLAIM_READY;

	/* pairs with st_rel in push, or the cas_sc that made it READY again */
	if (ld_rlx(&e->claim) != SD_CLAIM_READY || !cas_sc(&e->claim, &want, claim))
		return false;
	*ret_slot = ld_rlx(&e->slot);
	*ret_gen = ld_rlx(&e->gen);
	return true;
}

bool shm_accept_take_back(struct sd_accept_ring *r, struct shm_accept_prod *p, uint32_t *ret_slot,
			  uint32_t *ret_gen)
{
	struct sd_accept_ent *e;

	/* All N entries, oldest first: cons is not believed. */
	while (p->back < N) {
		e = ent(r, p->prod + p->back++);
		if (claim_at(e, CLAIM_ENGINE, ret_slot, ret_gen)) {
			xchg_sc(&e->claim, SD_CLAIM_FREE);
			return true;
		}
	}
	p->back = 0;
	cons_advance(r, p->prod);
	return false;
}

unsigned shm_accept_reap(struct sd_accept_ring *r, uint32_t proc, uint32_t gen)
{
	uint64_t dead = SD_CLAIM(proc, gen), cur;
	unsigned i, n = 0;

	for (i = 0; i < N; i++) {
		cur = dead;
		if (ld_rlx(&r->e[i].claim) == dead && cas_sc(&r->e[i].claim, &cur, SD_CLAIM_READY))
			n++;
	}
	cons_advance(r, ld_rlx(&r->prod));
	return n;
}

/* ---- acceptors ---- */

bool shm_accept_claim(struct sd_accept_ring *r, uint32_t proc, uint32_t proc_gen,
		      uint32_t *ret_slot, uint32_t *ret_gen, uint32_t *ret_idx)
{
	uint64_t claim = SD_CLAIM(proc, proc_gen);
	uint32_t cons = ld_acq(&r->cons), prod = ld_acq(&r->prod), i, n = fill(cons, prod);

	for (i = 0; i < n; i++) {
		if (claim_at(ent(r, cons + i), claim, ret_slot, ret_gen)) {
			*ret_idx = (cons + i) % N;
			return true;
		}
	}
	if (n)
		cons_advance(r, prod);
	return false;
}

void shm_accept_done(struct sd_accept_ring *r, uint32_t idx)
{
	xchg_sc(&ent(r, idx)->claim, SD_CLAIM_FREE);	/* pairs with ld_acq in push */
	cons_advance(r, ld_acq(&r->prod));
}

void shm_accept_unclaim(struct sd_accept_ring *r, uint32_t idx)
{
	xchg_sc(&ent(r, idx)->claim, SD_CLAIM_READY);	/* pairs with cas_sc in claim_at() */
}

bool shm_accept_any(struct sd_accept_ring *r)
{
	uint32_t cons = ld_acq(&r->cons), prod = ld_acq(&r->prod), i, n = fill(cons, prod);

	for (i = 0; i < n; i++)
		if (ld_acq(&ent(r, cons + i)->claim) == SD_CLAIM_READY)
			return true;
	return false;
}
