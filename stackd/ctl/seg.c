/* SPDX-License-Identifier: MIT */
/* ctl/seg.c - segments come and go
 * A segment's life: created and mapped; pools of all workers made; its id stored (st_rel), which is
 * what makes it visible. When its last process left: app and transports let go of it on all workers
 * (app_seg_drain, asked again until they have); the id goes; a cross call brings every worker past
 * its last look; then pools and mappings go, and the supervisor drops the fds.
 */
#include "stackd/ctl/ctl_int.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define SEG_CHUNKS	(1u << 18)	/* 1 GiB of receive data for a family, split by worker */
#define SEG_MBOX_SIZE	(SD_MAX_MBOXES * sizeof(int32_t))

static uint16_t free_id(const struct engine *eng)
{
	for (uint16_t i = 1; i < STACK_MAX_SEGS; i++) {
		if (!eng->segs[i].id && !eng->segs[i].ro && !eng->ctl->seg[i].draining)
			return i;
	}
	return 0;
}

static struct seg_rec *rec_of(struct engine *eng, uint16_t seg)
{
	return arena_at(&eng->arena, AR_SEG, seg);
}

int seg_pools(struct engine *eng, uint16_t seg)
{
	for (uint32_t i = 0; i < eng->workers; i++) {
		struct shm_epool *p = &eng->w[i]->st.epools[seg];
		int r = shm_epool_init(p, &rec_of(eng, seg)->span);

		if (r) {
			while (i--)
				shm_epool_fini(&eng->w[i]->st.epools[seg]);
			return r;
		}
		p->chunk_max = SEG_CHUNKS / eng->workers;
		p->budget = &eng->ctl->seg[seg].acct->budget;
	}
	return 0;
}

static int make_mbox_table(struct engine *eng, uint16_t seg)
{
	int32_t *t = mmap(NULL, SEG_MBOX_SIZE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (t == MAP_FAILED)
		return -ENOMEM;
	memset(t, 0xff, SEG_MBOX_SIZE);
	st_rel(&eng->mbox_fd[seg], t);
	return 0;
}

int seg_show(struct engine *eng, uint16_t id, const struct shm_seg *s, const struct seg_ctl *c)
{
	struct uid_acct *acct = eng->ctl->seg[id].acct;
	int r = make_mbox_table(eng, id);

	if (r)
		return r;
	eng->segs[id].ro = s->ro;
	eng->segs[id].rw = s->rw;
	eng->segs[id].rw_fd = c->rw_fd;
	rec_of(eng, id)->live = 1;
	st_rel(&eng->segs[id].id, id);
	eng->ctl->seg[id] = *c;
	eng->ctl->seg[id].acct = acct;
	uid_family_tell(eng, id);
	return 0;
}

int seg_open(struct engine *eng, struct uid_acct *acct, uint16_t *ret_seg, int *ret_ro)
{
	uint16_t id = free_id(eng);
	struct seg_ctl c;
	struct shm_seg s;
	int ro, rw, r;

	if (!id)
		return -ENOSPC;
	r = shm_seg_create(id, eng->workers, &ro, &rw);
	if (r)
		return r;
	r = shm_seg_map(ro, rw, true, &s);
	if (r)
		goto out_close;
	shm_pool_limit(&s, uid_family_chunks(acct));
	*rec_of(eng, id) = (struct seg_rec){ .uid = acct->uid };
	shm_espan_init(&rec_of(eng, id)->span);
	uid_family_open(eng, id, acct);
	r = seg_pools(eng, id);
	if (r)
		goto out_unmap;
	c = (struct seg_ctl){ .key = ctl_new_key(eng), .ro_fd = -1, .rw_fd = rw };
	r = seg_show(eng, id, &s, &c);
	if (r)
		goto out_pools;
	*ret_seg = id;
	*ret_ro = ro;
	return 0;
out_pools:
	for (uint32_t i = 0; i < eng->workers; i++)
		shm_epool_fini(&eng->w[i]->st.epools[id]);
out_unmap:
	uid_family_gone(eng, id);
	shm_seg_unmap(&s);
out_close:
	close(ro);
	close(rw);
	return r;
}

void seg_leave(struct engine *eng, uint16_t seg)
{
	eng->ctl->seg[seg].draining = 1;
	eng->ctl->draining++;
}

/* ---- the end ---- */

struct seg_end {
	struct xcall call;
	uint16_t seg;
};

static void seg_unseen(struct worker *w, void *arg)
{
	/* Having come here, the worker has left every loop in which it could look the segment up.
	 * */
}

static void seg_gone(struct engine *eng, void *arg)
{
	struct seg_end *e = arg;
	struct shm_seg *s = &eng->segs[e->seg];

	for (uint32_t i = 0; i < eng->workers; i++)
		shm_epool_fini(&eng->w[i]->st.epools[e->seg]);
	uid_family_gone(eng, e->seg);
	munmap(eng->mbox_fd[e->seg], SEG_MBOX_SIZE);
	eng->mbox_fd[e->seg] = NULL;
	shm_seg_unmap(s);
	app_pslots_clear(&eng->w[0]->st, e->seg);
	*rec_of(eng, e->seg) = (struct seg_rec){ 0 };
	*s = (struct shm_seg){ 0 };
	close(eng->ctl->seg[e->seg].rw_fd);
	if (eng->ctl->seg[e->seg].ro_fd >= 0)
		close(eng->ctl->seg[e->seg].ro_fd);
	ctl_drop(eng, eng->ctl->seg[e->seg].key);
	free(e);
}

static void seg_destroy(struct engine *eng, uint16_t seg)
{
	struct seg_end *e = calloc(1, sizeof(*e));

	ASSERT(e);
	e->seg = seg;
	e->call = (struct xcall){ .fn = seg_unseen, .done = seg_gone, .arg = e };
	st_rel(&eng->segs[seg].id, 0);
	xcall_start(eng, &e->call);
}

unsigned seg_poll(struct engine *eng)
{
	struct ctl_state *c = eng->ctl;
	uint64_t now = eng->w[0]->st.now_us;
	unsigned n = 0;

	/* each question is a message to every worker */
	if (now < c->drain_due_us)
		return 0;
	c->drain_due_us = now + CTL_DRAIN_US;
	for (uint16_t i = 1; i < STACK_MAX_SEGS; i++) {
		if (!c->seg[i].draining || !app_seg_drain(&eng->w[0]->st, i))
			continue;
		c->seg[i].draining = 0;
		c->draining--;
		seg_destroy(eng, i);
		n++;
	}
	return n;
}
