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
 * Holds:   EX1 an export holds one reference of its slot, its family and its segment
 * Limits:  EXPORTS at once, EXPORTS_FAMILY of a family; they end with the engine (the holder sees
 *          the end of the stream)
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

#define EXPORTS		4096u
static_assert(EXPORTS <= CTL_PLACE(~0u) + 1, "CTL_WATCH()");
#define EXPORTS_FAMILY	1024u
#define GRACE_US	100000u		/* for a receiver to show what it got */
#define NAP_MIN_US	200u		/* between looks at a slot that is pumped */
#define NAP_MAX_US	20000u

int export_init(struct engine *eng)
{
	void *p = mmap(NULL, EXPORTS * sizeof(struct export), PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return -ENOMEM;
	eng->ctl->exports = p;
	return 0;
}

static uint64_t inode(int fd)
{
	struct stat sb;

	return !fstat(fd, &sb) && S_ISSOCK(sb.st_mode) ? sb.st_ino : 0;
}

static struct sock_id export_id(const struct export *x)
{
	return (struct sock_id){ .seg = x->seg, .slot = x->slot, .gen = x->gen };
}

/* Is it a stream socket in service? */
static bool exportable(struct engine *eng, uint16_t seg, uint32_t slot, uint32_t gen)
{
	const struct sd_slot_e *e = shm_slot_e(&eng->segs[seg], slot);

	return e && gen && ld_acq(&e->gen) == gen && !(ld_acq(&e->flags) & SD_E_CLOSED) &&
	       e->type == SOCK_STREAM;
}

/* Exports of one socket are a ring by index, so that they are counted without looking at all. */
static void twin_join(struct ctl_state *c, struct export *x)
{
	uint32_t self = (uint32_t)(x - c->exports);

	x->twin = self;
	for (uint32_t i = 0; i < EXPORTS; i++) {
		struct export *o = &c->exports[i];

		if (!o->live || o == x || o->seg != x->seg || o->slot != x->slot)
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

/* Return: the program's end of the pair, or -errno. */
static int export_new(struct engine *eng, uint16_t seg, uint32_t slot, uint32_t gen, bool carry)
{
	struct ctl_state *c = eng->ctl;
	struct export *x = NULL;
	int sv[2];

	for (uint32_t i = 0; i < EXPORTS && !x; i++)
		x = c->exports[i].live ? NULL : &c->exports[i];
	if (!x || c->seg[seg].exports == EXPORTS_FAMILY)
		return -ENOSPC;
	if (!exportable(eng, seg, slot, gen))
		return -EBADF;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv))
		return -errno;
	*x = (struct export){ .live = 1, .seg = seg, .fd = sv[0], .slot = slot, .gen = gen,
			      .ino = inode(sv[1]), .carries = carry, .tag = ++c->next_tag };
	shm_slot_get(&eng->segs[seg], slot);
	app_family_hold(&eng->w[0]->st, seg);
	c->seg[seg].sessions++;
	c->seg[seg].exports++;
	c->export_cnt++;
	c->export_due_us = 0;
	twin_join(c, x);
	ring_watch(eng->w[0], x->fd, RING_EXPORT, CTL_WATCH(x - c->exports, x->tag));
	return sv[1];
}

static void export_end(struct engine *eng, struct export *x)
{
	struct ctl_state *c = eng->ctl;
	uint16_t seg = x->seg;

	ring_unwatch(eng->w[0], x->fd, RING_EXPORT, CTL_WATCH(x - c->exports, x->tag));
	close(x->fd);
	twin_leave(c, x);
	x->live = 0;
	c->export_cnt--;
	c->seg[seg].exports--;
	if (shm_slot_put(&eng->segs[seg], x->slot))
		app_order(&eng->w[0]->st, export_id(x), SD_OP_CLOSE, 0);
	app_family_let_go(&eng->w[0]->st, seg);
	if (--c->seg[seg].sessions == 0)
		seg_leave(eng, seg);
}

/* ---- requests ---- */

static void reply(struct engine *eng, uint32_t idx, const struct sd_ctl_slot *rep, int fd)
{
	if (sup_send(eng->ctl->conn[idx].fd, rep, sizeof(*rep), &fd, fd >= 0, MSG_DONTWAIT))
		conn_close(eng, idx);
}

void session_export(struct engine *eng, uint32_t idx, const struct sd_ctl_slot *req)
{
	struct sd_ctl_slot rep = { .h = { CTL_EXPORT_R, sizeof(rep) } };
	const struct session *s = eng->ctl->conn[idx].ses;
	int fd;

	if (!s) {
		conn_refuse(eng, idx, -EPROTO, "not attached");
		return;
	}
	fd = export_new(eng, s->seg, req->slot, req->gen, req->flags & SD_EXPORT_CARRY);
	if (fd >= 0) {
		rep.slot = req->slot;
		rep.gen = req->gen;
	}
	reply(eng, idx, &rep, fd);
	if (fd >= 0)
		close(fd);
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
	for (uint32_t i = 0; ino && i < EXPORTS; i++) {
		const struct export *x = &eng->ctl->exports[i];

		if (!x->live || x->ino != ino || x->seg != s->seg || x->carries)
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
	const struct sd_slot_p *p = shm_slot_p(&eng->segs[x->seg], x->slot);
	const struct export *o = x;
	uint32_t refs = 0;

	do {
		refs++;
		o = &eng->ctl->exports[o->twin];
	} while (o != x);
	return p && ld_rlx(&p->refs) <= refs;
}

/* Return: whether something came of it. */
static bool look(struct engine *eng, struct export *x)
{
	uint64_t now = eng->w[0]->st.now_us;
	bool moved = false;

	if (!x->carries && held_by_none(eng, x)) {
		if (!x->alone_us)
			x->alone_us = now;
		x->carries = now - x->alone_us >= GRACE_US;
	} else if (!x->carries) {
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
	struct export *x = &eng->ctl->exports[CTL_PLACE(arg) % EXPORTS];

	if (x->live)
		look(eng, x);
}

unsigned export_poll(struct engine *eng)
{
	struct ctl_state *c = eng->ctl;
	uint64_t now = eng->w[0]->st.now_us, due = UINT64_MAX;
	unsigned n = 0;

	if (now < c->export_due_us)
		return 0;
	for (uint32_t i = 0, left = c->export_cnt; i < EXPORTS && left; i++) {
		struct export *x = &c->exports[i];

		if (!x->live)
			continue;
		left--;
		if (x->next_us <= now)
			n += look(eng, x);
		if (x->live && x->next_us < due)
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
