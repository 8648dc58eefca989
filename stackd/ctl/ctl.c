/* SPDX-License-Identifier: MIT */
/* ctl/ctl.c - the supervisor's channel, and what the control path does once per loop
 * Nothing here waits: a full channel leaves drops in a list that ctl_poll() empties; a deposit that
 * does not fit fails its request, and the program is told.
 */
#include "stackd/ctl/ctl_int.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define CTL_RETRY_US	1000u		/* look again at what waits for a full ring or channel */

int ctl_init(struct engine *eng)
{
	struct ctl_state *c = calloc(1, sizeof(*c));
	int r;

	if (!c)
		return -ENOMEM;
	c->conn = mmap(NULL, CTL_CONNS * sizeof(*c->conn), PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (c->conn == MAP_FAILED) {
		free(c);
		return -ENOMEM;
	}
	c->dep_tail = &c->dep_head;
	/* Keys of earlier engines are never used again: answers and drops cannot be confused. */
	c->next_key = eng->epoch << 32;
	eng->ctl = c;
	r = uid_init(eng);
	if (!r)
		r = closer_init(eng);
	return r ? r : export_init(eng);
}

/* ---- the store ---- */

int ctl_keep(struct engine *eng, struct deposit *d, uint64_t key, uint32_t kind, const void *meta,
	     size_t meta_len, const int *fds, unsigned cnt, uint32_t flags)
{
	struct sup_msg m = { .type = ENG_KEEP, .kind = kind, .key = key, .flags = flags };
	int r;

	ASSERT(meta_len <= sizeof(m.meta) && cnt <= SUP_MAXFDS);
	if (meta_len)
		memcpy(m.meta, meta, meta_len);
	r = sup_send(eng->chan, &m, sizeof(m), fds, cnt, MSG_DONTWAIT);
	if (r)
		return r;
	d->next = NULL;
	*eng->ctl->dep_tail = d;
	eng->ctl->dep_tail = &d->next;
	return 0;
}

static int send_drop(struct engine *eng, uint64_t key)
{
	struct sup_msg m = { .type = ENG_DROP, .key = key };

	return sup_send(eng->chan, &m, sizeof(m), NULL, 0, MSG_DONTWAIT);
}

void ctl_drop(struct engine *eng, uint64_t key)
{
	struct ctl_state *c = eng->ctl;

	if (!key || (!c->drop_cnt && send_drop(eng, key) == 0))
		return;
	if (c->drop_cnt == c->drop_room) {
		uint32_t room = c->drop_room ? 2 * c->drop_room : 64;
		uint64_t *more = realloc(c->drops, room * sizeof(*more));

		ASSERT(more);		/* 8 bytes per fd set: memory is gone altogether */
		c->drops = more;
		c->drop_room = room;
	}
	c->drops[c->drop_cnt++] = key;
}

/* ---- closed later ----
 * The last close of a socket that programs write into is the supervisor's (closer.c). The ring's
 * poll holds the file, too, until its removal has gone through, which takes a loop or two. */

#define LATE_US		10000u
#define LATE_LOOPS	4u

struct late {
	struct late *next;
	uint64_t key, due_us;
	uint32_t loops;
	int fd;
};

void ctl_drop_later(struct engine *eng, int fd, uint64_t key)
{
	struct ctl_state *c = eng->ctl;
	struct late *l = malloc(sizeof(*l));

	ASSERT(l);			/* as ctl_drop() */
	*l = (struct late){ .fd = fd, .key = key, .due_us = eng->w[0]->st.now_us + LATE_US };
	if (!c->late)
		c->late_tail = &c->late;
	*c->late_tail = l;
	c->late_tail = &l->next;
}

static unsigned late_poll(struct engine *eng)
{
	struct ctl_state *c = eng->ctl;
	uint64_t now = eng->w[0]->st.now_us;
	unsigned n = 0;

	for (struct late *l = c->late; l; l = l->next)
		l->loops++;
	while (c->late && c->late->due_us <= now && c->late->loops >= LATE_LOOPS) {
		struct late *l = c->late;

		c->late = l->next;
		close(l->fd);
		ctl_drop(eng, l->key);
		free(l);
		n++;
	}
	return n;
}

static unsigned retry_drops(struct engine *eng)
{
	struct ctl_state *c = eng->ctl;
	unsigned n = 0;

	while (n < c->drop_cnt && send_drop(eng, c->drops[n]) == 0)
		n++;
	if (n) {
		c->drop_cnt -= n;
		memmove(c->drops, c->drops + n, c->drop_cnt * sizeof(*c->drops));
	}
	return n;
}

/* ---- from the supervisor ---- */

static void stop(struct engine *eng)
{
	st_rel(&eng->stop, 1);
	for (uint32_t i = 0; i < eng->workers; i++) {
		uint64_t one = 1;

		if (write(eng->w[i]->wake_fd, &one, sizeof(one)) < 0)
			continue;	/* it cannot be asleep with a full counter */
	}
}

static void answered(struct engine *eng, const struct sup_msg *m, const int *fds, unsigned cnt)
{
	struct ctl_state *c = eng->ctl;
	struct deposit *d = c->dep_head;

	if (!d) {
		sup_close_fds(fds, cnt);
		return;
	}
	c->dep_head = d->next;
	if (!c->dep_head)
		c->dep_tail = &c->dep_head;
	sup_close_fds(fds + 1, cnt > 1 ? cnt - 1 : 0);
	d->done(eng, d, m->err, cnt ? fds[0] : -1);
}

static void new_conn(struct engine *eng, int fd, const struct sup_msg *m)
{
	struct sup_cred cred;
	uint32_t idx;

	memcpy(&cred, m->meta, sizeof(cred));
	idx = conn_open(eng, fd, m->key, &cred);
	if (idx && !uid_conn_room(eng, &eng->ctl->conn[idx]))
		conn_refuse(eng, idx, -EAGAIN, "the uid has too many connections to stackd");
}

static bool one_message(struct engine *eng)
{
	int fds[SUP_MAXFDS];
	unsigned cnt;
	struct sup_msg m;
	int n = sup_recv(eng->chan, &m, sizeof(m), fds, SUP_MAXFDS, &cnt, MSG_DONTWAIT);

	if (n == -EAGAIN)
		return false;
	if (n == sizeof(m) && m.type == SUP_CONN && cnt == 1) {
		new_conn(eng, fds[0], &m);
		return true;
	}
	if (n == sizeof(m) && m.type == SUP_LOW_R) {
		sup_close_fds(fds, cnt);
		lowport_judged(eng, &m);
		return true;
	}
	if (n == sizeof(m) && m.type == SUP_KEPT_R) {
		answered(eng, &m, fds, cnt);
		return true;
	}
	/* SUP_STOP, or a supervisor that is gone: no fd would outlive us any more. */
	sup_close_fds(fds, cnt);
	stop(eng);
	return false;
}

void ctl_chan_ready(struct engine *eng)
{
	while (!ld_acq(&eng->stop) && one_message(eng))
		;
}

/* ---- start, loop ---- */

static void arena_kept(struct engine *eng, struct deposit *d, int err, int ro_fd)
{
	if (ro_fd >= 0)
		close(ro_fd);
	if (err)
		engine_log("the arena could not be deposited: %s", strerror(-err));
	free(d);
}

static int keep_arena(struct engine *eng)
{
	struct deposit *d = calloc(1, sizeof(*d));

	ASSERT(d);
	d->done = arena_kept;
	return ctl_keep(eng, d, ctl_new_key(eng), KEEP_ARENA, NULL, 0, &eng->arena.fd, 1, 0);
}

void ctl_ready(struct engine *eng)
{
	struct sup_msg m = { .type = ENG_READY };
	int r = eng->adopts ? 0 : keep_arena(eng);

	ring_watch(eng->w[0], eng->chan, RING_CHAN, 0);
	if (!r)
		r = sup_send(eng->chan, &m, sizeof(m), NULL, 0, 0);
	if (r) {
		engine_log("cannot talk to the supervisor: %s", strerror(-r));
		stop(eng);
	}
}

void ctl_proc_bad(struct engine *eng, uint32_t proc_rec)
{
	struct ctl_state *c = eng->ctl;

	for (uint32_t i = 1; i < CTL_CONNS; i++) {
		struct conn *cn = &c->conn[i];

		if (cn->state == CONN_FREE || !cn->ses || cn->ses->proc != proc_rec || cn->bad)
			continue;
		cn->bad = CONN_BAD_CONTRACT;
		c->bad_cnt++;
		return;
	}
}

unsigned ctl_family_bad(struct engine *eng, uint16_t seg, enum conn_bad why)
{
	unsigned n = 0;

	for (uint32_t i = 1; i < CTL_CONNS; i++) {
		struct conn *cn = &eng->ctl->conn[i];

		if (cn->state == CONN_FREE || !cn->ses || cn->ses->seg != seg || cn->bad)
			continue;
		cn->bad = (uint8_t)why;
		eng->ctl->bad_cnt++;
		n++;
	}
	return n;
}

static unsigned end_bad(struct engine *eng)
{
	struct ctl_state *c = eng->ctl;
	unsigned n = 0;

	for (uint32_t i = 1; c->bad_cnt && i < CTL_CONNS; i++) {
		if (c->conn[i].state == CONN_FREE || !c->conn[i].bad)
			continue;
		if (c->conn[i].bad == CONN_BAD_MEMORY)
			conn_refuse(eng, i, -ENOMEM,
				    "the uid has taken far more memory than it may");
		else
			conn_refuse(eng, i, -EPROTO,
				    "the program broke the shared-memory contract");
		n++;
	}
	return n;
}

unsigned ctl_poll(struct engine *eng)
{
	struct ctl_state *c = eng->ctl;
	unsigned n = 0;

	if (c->late)
		n += late_poll(eng);
	if (c->drop_cnt)
		n += retry_drops(eng);
	if (c->bad_cnt)
		n += end_bad(eng);
	if (c->draining)
		n += seg_poll(eng);
	if (c->export_cnt)
		n += export_poll(eng);
	n += show_poll(eng);
	if (eng->unsent)
		xcall_retry(eng);
	return n + uid_poll(eng);
}

uint64_t ctl_idle_us(struct engine *eng)
{
	const struct ctl_state *c = eng->ctl;
	uint64_t most, uids;

	if (c->bad_cnt || c->shows)
		return 0;
	if (c->drop_cnt || c->late || eng->unsent)
		return CTL_RETRY_US;
	most = c->export_cnt ? export_idle_us(eng) : UINT64_MAX;
	uids = uid_idle_us(eng);
	most = uids < most ? uids : most;
	return c->draining && most > CTL_DRAIN_US ? CTL_DRAIN_US : most;
}
