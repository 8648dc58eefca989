/* SPDX-License-Identifier: MIT */
/* shm/sub.c - subscriptions of a slot
 * A slot has a few subscriptions inline and, when these do not suffice, one chunk with 512 more,
 * kept until the slot goes out of service: the poster reads without the lock, and a chunk that was
 * reused under its eyes would look like other subscriptions.
 * Exclusive ones (EPOLLEXCLUSIVE, several acceptors): one is posted to, if possible one whose
 * consumer sleeps, else one that has nothing pending for this slot, else the first; thus waiters
 * take turns without a counter.
 * Pairs:   add_sc(sub_seq) of a subscriber with or_sc(sub_seq, 0) of a poster (see mbox.h)
 * Threads: changes by programs under sub_lock; shm_subs_post() by any poster, without
 */
#include <errno.h>
#include <string.h>

#include "shm/lock.h"
#include "shm/mbox.h"

#define EV_ALWAYS	(SD_EV_ERR | SD_EV_HUP)

/* One subscription with its mailbox, after all checks. */
struct target {
	struct sd_mbox *mb;
	uint32_t mbox, bit;
	unsigned rank;			/* how good a choice among exclusive ones; 0 = none yet */
};

static unsigned excl_rank(struct sd_mbox *mb, uint32_t bit)
{
	if (ld_rlx(&mb->sleeping) != SD_MBOX_AWAKE)
		return 3;
	return ld_rlx(&mb->leaf[bit / 64]) >> bit % 64 & 1 ? 1 : 2;
}

/* Does @s ask for @ev, and of a mailbox and bit that exist? */
static bool sub_target(const struct shm_seg *seg, sd_sub s, uint32_t ev, struct target *ret_t)
{
	struct target t = { .mbox = SD_SUB_MBOX(s), .bit = SD_SUB_BIT(s) };

	if (!s || !((SD_SUB_EV(s) | EV_ALWAYS) & ev) || t.bit >= SD_MBOX_BITS)
		return false;
	t.mb = shm_mbox(seg, t.mbox);
	if (!t.mb)
		return false;
	*ret_t = t;
	return true;
}

struct post {
	const struct shm_seg *seg;
	uint32_t ev, cpu;
	uint32_t here;			/* a mailbox whose consumer was last seen on that CPU */
	void (*wake)(void *arg, uint32_t mbox);
	void *arg;
	struct target best;		/* of the exclusive ones */
};

static void post_target(struct post *p, const struct target *t)
{
	if (p->cpu && ld_rlx(&t->mb->cpu) == p->cpu && !shm_mbox_any(t->mb))
		p->here = t->mbox;
	if (shm_mbox_post(t->mb, t->bit))
		p->wake(p->arg, t->mbox);
}

static void post_subs(struct post *p, const sd_sub *subs, unsigned cnt)
{
	struct target t;
	unsigned i;
	sd_sub s;

	for (i = 0; i < cnt; i++) {
		s = ld_rlx(&subs[i]);
		if (!sub_target(p->seg, s, p->ev, &t))
			continue;
		if (!SD_SUB_EXCL(s)) {
			post_target(p, &t);
			continue;
		}
		t.rank = excl_rank(t.mb, t.bit);
		if (t.rank > p->best.rank)
			p->best = t;
	}
}

static sd_sub *ext_subs(const struct shm_seg *seg, uint32_t chunk)
{
	return (sd_sub *)(void *)shm_chunk(seg, SD_FIFO_TX, chunk);
}

uint32_t shm_subs_post(const struct shm_seg *seg, struct sd_slot_p *sp, uint32_t ev, uint32_t cpu,
		       void (*wake)(void *arg, uint32_t mbox), void *arg)
{
	struct post p = { .seg = seg, .ev = ev, .cpu = cpu, .wake = wake, .arg = arg };
	const sd_sub *ext;

	or_sc(&sp->sub_seq, 0);		/* pairs with add_sc in shm_sub_add() */
	post_subs(&p, sp->subs, SD_SUBS_INLINE);
	ext = ext_subs(seg, ld_acq(&sp->sub_ext));	/* pairs with st_rel in ext_make() */
	if (ext)
		post_subs(&p, ext, SD_SUBS_EXT);
	if (p.best.rank)
		post_target(&p, &p.best);
	return p.here;
}

/* The entry for (@mbox, @bit) in @subs, else a free one into *@ret_free if that is still NULL. */
static sd_sub *find(sd_sub *subs, unsigned cnt, uint32_t mbox, uint32_t bit, sd_sub **ret_free)
{
	unsigned i;
	sd_sub s;

	for (i = 0; i < cnt; i++) {
		s = ld_rlx(&subs[i]);
		if (s && SD_SUB_MBOX(s) == mbox && SD_SUB_BIT(s) == bit)
			return &subs[i];
		if (!s && !*ret_free)
			*ret_free = &subs[i];
	}
	return NULL;
}

/* Same over inline and extension. */
static sd_sub *find_all(const struct shm_seg *seg, struct sd_slot_p *sp, uint32_t mbox,
			uint32_t bit, sd_sub **ret_free)
{
	sd_sub *ext = ext_subs(seg, ld_rlx(&sp->sub_ext)), *s;

	s = find(sp->subs, SD_SUBS_INLINE, mbox, bit, ret_free);
	return s || !ext ? s : find(ext, SD_SUBS_EXT, mbox, bit, ret_free);
}

static sd_sub *ext_make(const struct shm_seg *seg, struct sd_slot_p *sp, struct shm_magazine *mag)
{
	uint32_t chunk = mag ? shm_pchunk_alloc(seg, mag) : 0;
	sd_sub *ext = ext_subs(seg, chunk);

	if (!ext)
		return NULL;
	memset(ext, 0, SD_CHUNK_SIZE);
	st_rel(&sp->sub_ext, chunk);	/* pairs with ld_acq in shm_subs_post() */
	return ext;
}

/* Where to store (@mbox, @bit). */
static int place(const struct shm_seg *seg, struct sd_slot_p *sp, uint32_t mbox, uint32_t bit,
		 struct shm_magazine *mag, sd_sub **ret_s)
{
	sd_sub *spare = NULL, *s = find_all(seg, sp, mbox, bit, &spare);

	if (!s)
		s = spare;
	if (!s && ld_rlx(&sp->sub_ext))
		return -ENOSPC;
	if (!s)
		s = ext_make(seg, sp, mag);
	if (!s)
		return -ENOMEM;
	*ret_s = s;
	return 0;
}

int shm_sub_add(const struct shm_seg *seg, uint32_t slot, sd_sub sub, uint64_t owner,
		struct shm_magazine *mag)
{
	struct sd_slot_p *sp = shm_slot_p(seg, slot);
	sd_sub *s;
	int err;

	if (!sp || !shm_mbox(seg, SD_SUB_MBOX(sub)) || SD_SUB_BIT(sub) >= SD_MBOX_BITS)
		return -EINVAL;
	if (shm_lock(&sp->sub_lock, owner) == -EDEADLK)
		return -EDEADLK;
	err = place(seg, sp, SD_SUB_MBOX(sub), SD_SUB_BIT(sub), mag, &s);
	if (!err) {
		st_rel(s, sub);
		add_sc(&sp->sub_seq, 1);	/* pairs with or_sc in shm_subs_post() */
	}
	shm_unlock(&sp->sub_lock, owner);
	return err;
}

void shm_sub_del(const struct shm_seg *seg, uint32_t slot, uint32_t mbox, uint32_t bit,
		 uint64_t owner)
{
	struct sd_slot_p *sp = shm_slot_p(seg, slot);
	sd_sub *spare = NULL, *s;

	if (!sp || shm_lock(&sp->sub_lock, owner) == -EDEADLK)
		return;
	s = find_all(seg, sp, mbox, bit, &spare);
	if (s)
		st_rel(s, 0);
	shm_unlock(&sp->sub_lock, owner);
}

void shm_subs_fini(const struct shm_seg *seg, struct sd_slot_p *sp)
{
	uint32_t ext = ld_rlx(&sp->sub_ext);
	unsigned i;

	for (i = 0; i < SD_SUBS_INLINE; i++)
		st_rlx(&sp->subs[i], 0);
	st_rlx(&sp->sub_ext, 0);
	shm_pchunk_free(seg, ext);
}
