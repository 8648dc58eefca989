/* SPDX-License-Identifier: MIT */
/* ctl/export.c - sockets that leave their process as fds (SCM_RIGHTS, images without the shim)
 * A stackd socket is an entry in a program's open table; what another process can be given is one
 * end of a socket pair whose other end is kept here, with a reference of the slot. Hang-up means
 * that the last holder anywhere is gone: the reference goes, and the socket with it if it was the
 * last.
 *   A shimmed receiver of the same family shows the fd that it got (IMPORT). It is recognised by
 *   the pair's inode, which nobody can show who does not hold the fd; the receiver enters the slot
 *   and forgets the pair.
 *   Any other holder reads and writes the pair: pump.c carries the bytes.
 * Which of the two it is nobody says, unless it is an image that cannot take the shim. The pump
 * begins when somebody has written into the pair, or when no program has held the slot for
 * GRACE_US; from then on the socket is the pair's, IMPORT says no.
 *   A socket whose own kernel fd travels (a wildcard's listener, UDP, not connected: there the fd
 * serves the kernel's peers wherever it arrives) has no pair: the slot is kept until its receiver
 * says that it arrived, TRANSIT_US at most (TRANSIT), and while the family has a program.
 *   The pair's end is deposited with the supervisor before the other is given away, and AR_EXPORT
 * has the rest: the next engine goes on (export_adopt(), pump_adopt()).
 * Holds:   EX1 an export holds one reference of its slot, its family and its segment; the slot's is
 *              counted before the record is live, and given back after: a kill leaves one too many
 *              at worst, which the sweep corrects
 *          EX2 once a byte was moved, the record says `carries`
 * Limits:  CTL_EXPORTS at once, EXPORTS_FAMILY of a family
 * Threads: worker 0
 */
#include "shm/opentab.h"
#include "stackd/core/clock.h"
#include "stackd/ctl/ctl_int.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static_assert(CTL_EXPORTS <= CTL_PLACE(~0u) + 1, "CTL_WATCH()");
#define EXPORTS_FAMILY	1024u
#define GRACE_US	100000u		/* for a receiver to show what it got */
#define TRANSIT_US	30000000u	/* for a message that nobody takes */
#define NAP_MIN_US	200u		/* between looks at a slot that is pumped */
#define NAP_MAX_US	20000u

int export_init(struct engine *eng)
{
	void *p = mmap(NULL, CTL_EXPORTS * sizeof(struct export), PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return -ENOMEM;
	eng->ctl->exports = p;
	return 0;
}

/* 0 for what is no Unix socket. A file of a program's own file system could keep fstat() waiting.
 */
static uint64_t inode(int fd)
{
	socklen_t len = sizeof(int);
	struct stat sb;
	int domain;

	if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) || domain != AF_UNIX)
		return 0;
	return fstat(fd, &sb) ? 0 : sb.st_ino;
}

uint32_t export_rec_size(void)
{
	return sizeof(struct export_rec);
}

static struct sock_id export_id(const struct export *x)
{
	return (struct sock_id){ .seg = x->rec->seg, .slot = x->rec->slot, .gen = x->rec->gen };
}

/* Is it in service, and can a pair stand for it? */
static bool exportable(struct engine *eng, uint16_t seg, uint32_t slot, uint32_t gen, bool transit)
{
	const struct sd_slot_e *e = shm_slot_e(&eng->segs[seg], slot);

	return e && gen && ld_acq(&e->gen) == gen && !(ld_acq(&e->flags) & SD_E_CLOSED) &&
	       (transit || e->type == SOCK_STREAM);
}

/* Exports of one socket are a ring by index, so that they are counted without looking at all. */
static void twin_join(struct ctl_state *c, struct export *x)
{
	uint32_t self = (uint32_t)(x - c->exports);

	x->twin = self;
	for (uint32_t i = 0; i < CTL_EXPORTS; i++) {
		struct export *o = &c->exports[i];

		if (!o->rec || o == x || o->rec->seg != x->rec->seg ||
		    o->rec->slot != x->rec->slot)
			continue;
		x->twin = o->twin;
		o->twin = self;
		return;
	}
}

static void twin_leave(struct ctl_state *c, struct export *x)
{
	struct export *o = x;

	while (&c->exports[o->twin] != x)
		o = &c->exports[o->twin];
	o->twin = x->twin;
}

/* The export in @x counts from now on. Its record stands. */
static void export_count(struct engine *eng, struct export *x)
{
	struct ctl_state *c = eng->ctl;
	uint16_t seg = x->rec->seg;

	app_family_hold(&eng->w[0]->st, seg);
	c->seg[seg].sessions++;
	c->seg[seg].exports++;
	c->export_cnt++;
	c->export_due_us = 0;
	x->tag = ++c->next_tag;
	twin_join(c, x);
	if (x->fd >= 0)
		ring_watch(eng->w[0], x->fd, RING_EXPORT,
			   CTL_WATCH(x - c->exports, x->tag));
}

static struct export *free_place(struct ctl_state *c)
{
	for (uint32_t i = 0; i < CTL_EXPORTS; i++)
		if (!c->exports[i].rec)
			return &c->exports[i];
	return NULL;
}

/* Of our end @fd, -1 = TRANSIT. Return: 0 or -errno. */
static int export_new(struct engine *eng, uint16_t seg, const struct sd_ctl_slot *req, int fd,
		      uint64_t ino, struct export **ret)
{
	struct ctl_state *c = eng->ctl;
	struct export *x = free_place(c);
	struct export_rec *rec;

	if (!x || c->seg[seg].exports == EXPORTS_FAMILY)
		return -ENOSPC;
	if (!exportable(eng, seg, req->slot, req->gen, fd < 0))
		return -EBADF;
	rec = arena_at(&eng->arena, AR_EXPORT, (uint32_t)(x - c->exports) + 1);
	*rec = (struct export_rec){ .seg = seg, .slot = req->slot, .gen = req->gen, .ino = ino,
				    .key = fd < 0 ? 0 : ctl_new_key(eng), .transit = fd < 0,
				    .until_us = eng->w[0]->st.now_us + TRANSIT_US,
				    .carries = fd >= 0 && req->flags & SD_EXPORT_CARRY };
	*x = (struct export){ .rec = rec, .fd = fd };
	shm_slot_get(&eng->segs[seg], req->slot);
	st_rel(&rec->live, 1);		/* EX1 */
	export_count(eng, x);
	if (ret)
		*ret = x;
	return 0;
}

static void pair_end(struct engine *eng, struct export *x)
{
	ring_unwatch(eng->w[0], x->fd, RING_EXPORT, CTL_WATCH(x - eng->ctl->exports, x->tag));
	shutdown(x->fd, SHUT_RDWR);	/* the supervisor has a dup */
	ctl_drop_later(eng, x->fd, x->rec->key);
}

static void export_end(struct engine *eng, struct export *x)
{
	struct ctl_state *c = eng->ctl;
	struct sock_id id = export_id(x);

	if (x->fd >= 0)
		pair_end(eng, x);
	twin_leave(c, x);
	st_rel(&x->rec->live, 0);	/* EX1 */
	x->rec = NULL;
	c->export_cnt--;
	c->seg[id.seg].exports--;
	if (shm_slot_put(&eng->segs[id.seg], id.slot))
		app_order(&eng->w[0]->st, id, SD_OP_CLOSE, 0);
	app_family_let_go(&eng->w[0]->st, id.seg);
	if (--c->seg[id.seg].sessions == 0)
		seg_leave(eng, id.seg);
}

/* ---- requests ---- */

struct export_grant {			/* an answer that waits for its deposit */
	struct deposit dep;
	uint32_t idx, gen;		/* who asked */
	uint32_t place, tag;		/* what for */
	int fd;				/* the program's end; ours to close */
};

static void reply(struct engine *eng, uint32_t idx, const struct sd_ctl_slot *rep, int fd)
{
	eng->ctl->conn[idx].state = CONN_OPEN;
	if (sup_send(eng->ctl->conn[idx].fd, rep, sizeof(*rep), &fd, fd >= 0, MSG_DONTWAIT))
		conn_close(eng, idx);
}

static void kept(struct engine *eng, struct deposit *d, int err, int ro_fd)
{
	struct sd_ctl_slot rep = { .h = { CTL_EXPORT_R, sizeof(rep) } };
	struct export_grant *g = d->arg;
	struct export *x = &eng->ctl->exports[g->place];
	bool there = x->rec && x->tag == g->tag, asker = conn_at(eng, g->idx, g->gen);

	if (there && (err || !asker)) {
		export_end(eng, x);
	} else if (there) {
		rep.slot = x->rec->slot;
		rep.gen = x->rec->gen;
	}
	if (asker)
		reply(eng, g->idx, &rep, rep.gen ? g->fd : -1);
	close(g->fd);
	free(g);
	if (ro_fd >= 0)
		close(ro_fd);
}

/* @sv: both ends of the pair. Return: 0, then the answer comes later and both are taken, or
 * -errno. */
static int export_grant(struct engine *eng, uint32_t idx, const struct sd_ctl_slot *req, int sv[2])
{
	struct conn *cn = &eng->ctl->conn[idx];
	struct export_grant *g = calloc(1, sizeof(*g));
	struct keep_export ke;
	struct export *x = NULL;
	int r = g ? export_new(eng, cn->ses->seg, req, sv[0], inode(sv[1]), &x) : -ENOMEM;

	if (r) {
		free(g);
		return r;
	}
	*g = (struct export_grant){ .dep = { .done = kept, .arg = g }, .fd = sv[1], .idx = idx,
				    .gen = cn->gen, .place = (uint32_t)(x - eng->ctl->exports),
				    .tag = x->tag };
	ke.place = g->place + 1;
	cn->state = CONN_WAITS;
	r = ctl_keep(eng, &g->dep, x->rec->key, KEEP_EXPORT, &ke, sizeof(ke), &x->fd, 1, 0);
	if (r)
		kept(eng, &g->dep, r, -1);
	return 0;
}

/* Return: as export_grant(). */
static int export_pair(struct engine *eng, uint32_t idx, const struct sd_ctl_slot *req)
{
	int sv[2], r;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv))
		return -errno;
	r = export_grant(eng, idx, req, sv);
	if (r) {
		close(sv[0]);
		close(sv[1]);
	}
	return r;
}

/* A TRANSIT of this socket is over. Return: 0 or -ENOENT. */
static int export_arrived(struct engine *eng, uint16_t seg, const struct sd_ctl_slot *req)
{
	for (uint32_t i = 0; i < CTL_EXPORTS; i++) {
		struct export *x = &eng->ctl->exports[i];

		if (!x->rec || !x->rec->transit || x->rec->seg != seg ||
		    x->rec->slot != req->slot || x->rec->gen != req->gen)
			continue;
		export_end(eng, x);
		return 0;
	}
	return -ENOENT;
}

void session_export(struct engine *eng, uint32_t idx, const struct sd_ctl_slot *req)
{
	struct sd_ctl_slot rep = { .h = { CTL_EXPORT_R, sizeof(rep) } };
	const struct session *s = eng->ctl->conn[idx].ses;
	int r;

	if (!s) {
		conn_refuse(eng, idx, -EPROTO, "not attached");
		return;
	}
	if (req->flags & SD_EXPORT_TRANSIT) {
		app_catch_up(&eng->w[0]->st, s->proc);	/* it may be new */
		r = export_new(eng, s->seg, req, -1, 0, NULL);
	} else if (req->flags & SD_EXPORT_ARRIVED) {
		r = export_arrived(eng, s->seg, req);
	} else {
		r = export_pair(eng, idx, req);
		if (!r)
			return;
	}
	if (!r) {
		rep.slot = req->slot;
		rep.gen = req->gen;
	}
	reply(eng, idx, &rep, -1);
}

void session_import(struct engine *eng, uint32_t idx, int fd)
{
	struct sd_ctl_slot rep = { .h = { CTL_IMPORT_R, sizeof(rep) } };
	const struct session *s = eng->ctl->conn[idx].ses;
	uint64_t ino = fd >= 0 ? inode(fd) : 0;

	if (!s) {
		conn_refuse(eng, idx, -EPROTO, "not attached");
		return;
	}
	for (uint32_t i = 0; ino && i < CTL_EXPORTS; i++) {
		const struct export_rec *x = eng->ctl->exports[i].rec;

		if (!x || x->transit || x->ino != ino || x->seg != s->seg || x->carries)
			continue;
		rep.slot = x->slot;
		rep.gen = x->gen;
	}
	reply(eng, idx, &rep, -1);
}

/* ---- the loop ---- */

/* Exports are all that holds the slot. */
static bool held_by_none(struct engine *eng, const struct export *x)
{
	const struct sd_slot_p *p = shm_slot_p(&eng->segs[x->rec->seg], x->rec->slot);
	const struct export *o = x;
	uint32_t refs = 0;

	do {
		refs++;
		o = &eng->ctl->exports[o->twin];
	} while (o != x);
	return p && ld_rlx(&p->refs) <= refs;
}

static bool look_transit(struct engine *eng, struct export *x)
{
	const struct seg_ctl *sc = &eng->ctl->seg[x->rec->seg];

	/* Without a program of the family nobody can take it out of its message. */
	if (eng->w[0]->st.now_us >= x->rec->until_us || sc->sessions == sc->exports) {
		export_end(eng, x);
		return true;
	}
	x->next_us = x->rec->until_us;
	if (x->next_us < eng->ctl->export_due_us)
		eng->ctl->export_due_us = x->next_us;
	return false;
}

void export_alone(struct engine *eng, uint16_t seg)
{
	struct ctl_state *c = eng->ctl;

	for (uint32_t i = 0; i < CTL_EXPORTS; i++)
		if (c->exports[i].rec && c->exports[i].rec->seg == seg)
			c->exports[i].next_us = 0;
	c->export_due_us = 0;
}

/* Return: whether something came of it. */
static bool look(struct engine *eng, struct export *x)
{
	uint64_t now = eng->w[0]->st.now_us;
	bool moved = false;

	if (x->rec->transit)
		return look_transit(eng, x);
	if (!x->rec->carries && held_by_none(eng, x)) {
		if (!x->alone_us)
			x->alone_us = now;
		st_rel(&x->rec->carries, now - x->alone_us >= GRACE_US);
	} else if (!x->rec->carries) {
		x->alone_us = 0;
	}
	x->nap_us = x->nap_us * 2 < NAP_MIN_US ? NAP_MIN_US :
		    x->nap_us * 2 > NAP_MAX_US ? NAP_MAX_US : x->nap_us * 2;
	switch (pump(eng, x, export_id(x))) {
	case PUMP_MOVED:
		x->nap_us = NAP_MIN_US;
		moved = true;
		break;
	case PUMP_IDLE:
		break;
	case PUMP_OVER:
		export_end(eng, x);
		return true;
	}
	x->next_us = now + x->nap_us;
	if (x->next_us < eng->ctl->export_due_us)
		eng->ctl->export_due_us = x->next_us;
	return moved;
}

void export_ready(struct engine *eng, uint32_t arg)
{
	struct export *x = &eng->ctl->exports[CTL_PLACE(arg) % CTL_EXPORTS];

	if (x->rec)
		look(eng, x);
}

unsigned export_poll(struct engine *eng)
{
	struct ctl_state *c = eng->ctl;
	uint64_t now = eng->w[0]->st.now_us, due = UINT64_MAX;
	unsigned n = 0;

	if (now < c->export_due_us)
		return 0;
	for (uint32_t i = 0, left = c->export_cnt; i < CTL_EXPORTS && left; i++) {
		struct export *x = &c->exports[i];

		if (!x->rec)
			continue;
		left--;
		if (x->next_us <= now)
			n += look(eng, x);
		if (x->rec && x->next_us < due)
			due = x->next_us;
	}
	c->export_due_us = due;
	return n;
}

uint64_t export_idle_us(struct engine *eng)
{
	uint64_t due = eng->ctl->export_due_us, now = clock_mono_us();

	return due == UINT64_MAX ? due : due > now ? due - now : 0;
}

/* ---- the next engine ---- */

bool export_adopt(struct engine *eng, const struct kept *k)
{
	struct keep_export ke;
	struct export_rec *rec;
	struct export *x;

	memcpy(&ke, k->m.meta, sizeof(ke));
	rec = arena_at(&eng->arena, AR_EXPORT, ke.place);
	if (!rec || !rec->live || rec->key != k->m.key || k->cnt != 1 ||
	    eng->ctl->exports[ke.place - 1].rec || !stack_seg(&eng->w[0]->st, rec->seg) ||
	    !exportable(eng, rec->seg, rec->slot, rec->gen, false))
		return false;
	pump_adopt(eng, rec);
	x = &eng->ctl->exports[ke.place - 1];
	*x = (struct export){ .rec = rec, .fd = k->fds[0] };
	export_count(eng, x);
	return true;
}

void export_adopt_rest(struct engine *eng)
{
	struct arena_iter it;
	struct export_rec *rec;
	uint32_t i;

	arena_iter_init(&it, &eng->arena, AR_EXPORT, 1, CTL_EXPORTS + 1);
	while ((rec = arena_iter_next(&it, &i))) {
		struct export *x = &eng->ctl->exports[i - 1];
		bool good = rec->live && !x->rec && stack_seg(&eng->w[0]->st, rec->seg) &&
			    exportable(eng, rec->seg, rec->slot, rec->gen, rec->transit);

		if (good && rec->transit) {
			*x = (struct export){ .rec = rec, .fd = -1 };
			export_count(eng, x);
		} else if (!x->rec) {
			st_rel(&rec->live, 0);
			if (good)
				shm_slot_put(&eng->segs[rec->seg], rec->slot);
		}
	}
}
