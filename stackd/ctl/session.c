/* SPDX-License-Identifier: MIT */
/* ctl/session.c - sessions: attach a program, a forked child, more mailboxes; the end of it
 *
 * A grant is a request on its way: what was made for the program is deposited with the supervisor,
 * and when all deposits are confirmed the answer goes out with the fds. Between the two the program
 * may hang up; its session is then ended as any other, and the grant finds its connection gone.
 * Fds that the engine keeps: doorbells (watched by the workers), mailbox eventfds (eng->mbox_fd).
 * With the segment it keeps the two that a REATTACH hands out (ctl_int.h). What it does not keep:
 * the segment's writable RO fd, the child's end of its control connection.
 */
#include "stackd/ctl/ctl_int.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "stackd/atomic.h"

struct grant {
	struct deposit dep[3];
	uint32_t waits;			/* deposits not answered yet; a clone that goes on */
	int err;
	uint32_t idx, gen;		/* who asked */
	uint32_t type;			/* CTL_HELLO_R, CTL_FORK_R, CTL_REATTACH_R, CTL_MBOX_R */
	struct session *ses;		/* whose fds they are; borrowed while ses_gen holds */
	uint32_t ses_idx, ses_gen;	/* its connection: the new one for FORK and REATTACH */
	int ro_fd;			/* HELLO: ours to close */
	int child_fd;			/* FORK, REATTACH: ours to close */
	uint32_t mbox_cnt, mbox[SD_CTL_EVENTFDS];	/* new in this grant */
};

static void close_fd(int fd)
{
	if (fd >= 0)
		close(fd);
}

static void grant_free(struct grant *g)
{
	close_fd(g->ro_fd);
	close_fd(g->child_fd);
	free(g);
}

static struct grant *grant_new(struct engine *eng, uint32_t idx, uint32_t type)
{
	struct grant *g = calloc(1, sizeof(*g));

	if (!g)
		return NULL;
	g->idx = idx;
	g->gen = eng->ctl->conn[idx].gen;
	g->type = type;
	g->ro_fd = g->child_fd = -1;
	return g;
}

/* ---- what a process gets ---- */

static int make_doorbells(struct engine *eng, struct session *s)
{
	while (s->doorbells < eng->workers) {
		int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

		if (fd < 0)
			return -errno;
		s->doorbell[s->doorbells++] = fd;
	}
	return 0;
}

/* SD_CTL_EVENTFDS more mailboxes. Their eventfds block: see engine/wake.h. */
static int make_mboxes(struct engine *eng, struct session *s, struct grant *g)
{
	uint32_t *all = realloc(s->mbox, (s->mbox_cnt + SD_CTL_EVENTFDS) * sizeof(*all));
	int r;

	if (!all)
		return -ENOMEM;
	s->mbox = all;
	r = app_mbox_alloc(&eng->w[0]->st, s->proc, g->mbox, SD_CTL_EVENTFDS);
	if (r)
		return r;
	for (unsigned i = 0; i < SD_CTL_EVENTFDS; i++) {
		int fd = eventfd(0, EFD_CLOEXEC);

		if (fd < 0)
			return -errno;
		st_rel(&eng->mbox_fd[s->seg][g->mbox[i]], fd);
		s->mbox[s->mbox_cnt++] = g->mbox[i];
		g->mbox_cnt++;
	}
	return 0;
}

/* The call outlives neither: a session's retirement is a later call, and calls come in order. */
struct watch {
	struct xcall call;
	const struct session *s;
};

static void watch_doorbell(struct worker *w, void *arg)
{
	const struct session *s = ((struct watch *)arg)->s;

	ring_watch(w, s->doorbell[w->st.worker], RING_DOORBELL, (uint32_t)s->key);
}

static void watched(struct engine *eng, void *arg)
{
	free(arg);
}

/* ---- deposits ---- */

static void grant_done(struct engine *eng, struct grant *g);

static void deposited(struct engine *eng, struct deposit *d, int err, int ro_fd)
{
	struct grant *g = d->arg;

	if (err)
		g->err = err;
	if (d == &g->dep[0] && g->type == CTL_HELLO_R && conn_at(eng, g->ses_idx, g->ses_gen))
		eng->ctl->seg[g->ses->seg].ro_fd = ro_fd;
	else
		close_fd(ro_fd);
	if (--g->waits == 0)
		grant_done(eng, g);
}

/* A large open table is cloned. */
static void cloned(struct stack *st, void *arg)
{
	struct grant *g = arg;

	if (--g->waits == 0)
		grant_done(((struct worker *)st->up_arg)->eng, g);
}

static int deposit(struct engine *eng, struct grant *g, unsigned nr, uint64_t key, uint32_t kind,
		   const void *meta, size_t meta_len, const int *fds, unsigned cnt)
{
	int r;

	g->dep[nr].done = deposited;
	g->dep[nr].arg = g;
	r = ctl_keep(eng, &g->dep[nr], key, kind, meta, meta_len, fds, cnt,
		     kind == KEEP_SEG ? SUP_F_READ_ONLY : 0);
	if (!r)
		g->waits++;
	return r;
}

static unsigned mbox_fds(struct engine *eng, const struct grant *g, int *fds)
{
	for (unsigned i = 0; i < g->mbox_cnt; i++)
		fds[i] = eng->mbox_fd[g->ses->seg][g->mbox[i]];
	return g->mbox_cnt;
}

/* Doorbells (when they are new) and the grant's mailboxes. */
static int deposit_proc(struct engine *eng, struct grant *g, unsigned nr, bool doorbells)
{
	struct session *s = g->ses;
	struct keep_proc kp = { .proc = s->proc, .workers = doorbells ? s->doorbells : 0,
				.mbox_cnt = g->mbox_cnt };
	int fds[SUP_MAXFDS];
	unsigned n = kp.workers;

	memcpy(fds, s->doorbell, n * sizeof(int));
	memcpy(kp.mbox, g->mbox, sizeof(kp.mbox));
	n += mbox_fds(eng, g, fds + n);
	return deposit(eng, g, nr, s->key, KEEP_PROC, &kp, sizeof(kp), fds, n);
}

/* ---- answers ---- */

static void fill_reply(struct engine *eng, const struct grant *g, struct sd_ctl_hello_r *r)
{
	const struct session *s = g->ses;
	const struct app_proc *p = arena_at(&eng->arena, AR_PROC, s->proc);

	*r = (struct sd_ctl_hello_r){
		.h = { g->type, sizeof(*r) }, .proc = p->idx, .proc_gen = p->gen,
		.workers = eng->workers,
		.home_worker = p->home, .seg = s->seg, .mbox_cnt = g->mbox_cnt,
	};
	memcpy(r->mbox, g->mbox, sizeof(r->mbox));
}

static void grant_send(struct engine *eng, struct grant *g)
{
	struct sd_ctl_hello_r rep;
	int fds[SD_CTL_MAXFDS];
	unsigned n = 0;

	fill_reply(eng, g, &rep);
	if (g->child_fd >= 0)
		fds[n++] = g->child_fd;
	if (g->type == CTL_HELLO_R || g->type == CTL_REATTACH_R) {
		const struct seg_ctl *sc = &eng->ctl->seg[g->ses->seg];

		fds[n++] = eng->info_ro_fd;
		fds[n++] = sc->ro_fd;
		fds[n++] = sc->rw_fd;
	}
	if (g->type != CTL_MBOX_R) {
		memcpy(fds + n, g->ses->doorbell, g->ses->doorbells * sizeof(int));
		n += g->ses->doorbells;
	}
	n += mbox_fds(eng, g, fds + n);
	eng->ctl->conn[g->idx].state = CONN_OPEN;
	if (sup_send(eng->ctl->conn[g->idx].fd, &rep, sizeof(rep), fds, n, MSG_DONTWAIT))
		conn_close(eng, g->idx);
}

/* A process that is attached already stays so when there is nothing more for it. */
static void grant_refuse(struct engine *eng, uint32_t idx, uint32_t type, int err)
{
	if (type == CTL_FORK_R)
		conn_deny(eng, idx, err, "no room for another process in the family");
	else if (type == CTL_MBOX_R)
		conn_deny(eng, idx, err, "no more mailboxes for the family");
	else
		conn_refuse(eng, idx, err, err == -ENOSPC ? "too many program families" :
			    "the engine is out of resources");
}

static void grant_done(struct engine *eng, struct grant *g)
{
	bool asker = conn_at(eng, g->idx, g->gen), child = conn_at(eng, g->ses_idx, g->ses_gen);

	if (asker && child && !g->err) {
		grant_send(eng, g);
	} else if (asker) {
		grant_refuse(eng, g->idx, g->type, g->err ? g->err : -ECONNABORTED);
	}
	/* A child that will never be told of its connection closes it with our copy of its end. */
	grant_free(g);
}

/* Nothing was sent, or some deposits are still to be answered: then the last answer ends it. */
static void grant_fail(struct engine *eng, struct grant *g, uint32_t idx, int err)
{
	uint32_t type = g ? g->type : 0;
	bool waits = g && g->waits;

	if (waits)
		g->err = err;
	else if (g)
		grant_free(g);
	if (!waits)
		grant_refuse(eng, idx, type, err);
}

/* ---- requests ---- */

static struct session *session_new(struct engine *eng, struct conn *cn)
{
	struct session *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->key = ctl_new_key(eng);
	cn->ses = s;
	return s;
}

int session_watch(struct engine *eng, struct session *s)
{
	struct watch *t = calloc(1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	t->s = s;
	t->call = (struct xcall){ .fn = watch_doorbell, .done = watched, .arg = t };
	xcall_start(eng, &t->call);
	return 0;
}

static void rename_proc(struct engine *eng, const struct session *s, const char *comm)
{
	struct app_proc *p = app_proc_at(&eng->w[0]->st, s->proc);

	ASSERT(p);
	memcpy(p->comm, comm, sizeof(p->comm));
	p->comm[sizeof(p->comm) - 1] = '\0';
}

/* A process of its family's uid, until retire(). */
void session_count(struct engine *eng, struct session *s)
{
	s->acct = eng->ctl->seg[s->seg].acct;
	s->acct->procs++;
}

static int attach(struct engine *eng, struct grant *g, struct conn *cn, const char *comm)
{
	struct session *s = g->ses;
	struct app_proc who = { .pid = cn->cred.pid, .uid = cn->cred.uid, .gid = cn->cred.gid,
				.fd_key = s->key, .conn_key = cn->key };
	int r = seg_open(eng, cn->acct, &s->seg, &g->ro_fd);

	if (r)
		return r;
	eng->ctl->seg[s->seg].sessions++;
	session_count(eng, s);
	who.seg = s->seg;
	r = app_attach(&eng->w[0]->st, s->seg, &who, &s->proc);
	if (!r)
		rename_proc(eng, s, comm);
	if (!r)
		r = make_doorbells(eng, s);
	if (!r)
		r = make_mboxes(eng, s, g);
	return r ? r : session_watch(eng, s);
}

void session_hello(struct engine *eng, uint32_t idx, const struct sd_ctl_hello *h)
{
	struct conn *cn = &eng->ctl->conn[idx];
	struct grant *g;
	char text[80];
	int r;

	if (cn->ses && cn->adopted) {	/* it was never told of that one */
		struct session *old = cn->ses;

		cn->ses = NULL;
		session_end(eng, old);
	}
	if (cn->ses || h->major != SD_ABI_MAJOR || h->flags) {
		conn_refuse(eng, idx, -EPROTO, cn->ses ? "attached already" :
			    "the program's libstackd does not fit this stackd");
		return;
	}
	r = uid_admit(eng, cn, text, sizeof(text));
	if (r) {
		conn_refuse(eng, idx, r, text);
		return;
	}
	g = grant_new(eng, idx, CTL_HELLO_R);
	r = g && (g->ses = session_new(eng, cn)) ? 0 : -ENOMEM;
	if (!r) {
		g->ses_idx = idx;
		g->ses_gen = cn->gen;
		cn->state = CONN_WAITS;
		r = attach(eng, g, cn, h->comm);
	}
	if (!r) {
		struct keep_seg ks = { .seg = g->ses->seg };
		int fds[2] = { g->ro_fd, eng->ctl->seg[ks.seg].rw_fd };

		r = deposit(eng, g, 0, eng->ctl->seg[ks.seg].key, KEEP_SEG, &ks,
			    sizeof(ks), fds, 2);
	}
	if (!r)
		r = deposit_proc(eng, g, 1, true);
	if (r)
		grant_fail(eng, g, idx, r);
}

/* The child's connection and session. */
static int make_child(struct engine *eng, struct grant *g, const struct conn *parent)
{
	struct sup_cred cred = parent->cred;
	struct session *ps = parent->ses, *s;
	struct app_proc *p;
	uint64_t key = ctl_new_key(eng);
	int sv[2], r;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv))
		return -errno;
	g->child_fd = sv[0];
	cred.pid = 0;			/* there is no such process yet */
	g->ses_idx = conn_open(eng, sv[1], key, &cred);
	if (!g->ses_idx)
		return -ENOSPC;
	g->ses_gen = eng->ctl->conn[g->ses_idx].gen;
	s = g->ses = session_new(eng, &eng->ctl->conn[g->ses_idx]);
	if (!s)
		return -ENOMEM;
	r = app_fork(&eng->w[0]->st, ps->proc, &s->proc, cloned, g);
	if (r < 0)
		return r;
	g->waits += (uint32_t)r;
	s->seg = ps->seg;
	eng->ctl->seg[s->seg].sessions++;
	session_count(eng, s);
	cred.proc = s->proc;
	p = arena_at(&eng->arena, AR_PROC, s->proc);
	p->fd_key = s->key;
	p->conn_key = key;
	return deposit(eng, g, 0, key, KEEP_CONN, &cred, sizeof(cred), &sv[1], 1);
}

/* Another process of the sender's family. @comm: its name, NULL = the sender's. */
static void new_member(struct engine *eng, uint32_t idx, uint32_t type, const char *comm)
{
	struct conn *cn = &eng->ctl->conn[idx];
	struct grant *g;
	int r;

	if (!cn->ses) {
		conn_refuse(eng, idx, -EPROTO, "not attached");
		return;
	}
	g = grant_new(eng, idx, type);
	cn->state = CONN_WAITS;
	r = g ? make_child(eng, g, cn) : -ENOMEM;
	if (!r && comm)
		rename_proc(eng, g->ses, comm);
	if (!r)
		r = make_doorbells(eng, g->ses);
	if (!r)
		r = make_mboxes(eng, g->ses, g);
	if (!r)
		r = session_watch(eng, g->ses);
	if (!r)
		r = deposit_proc(eng, g, 1, true);
	if (r)
		grant_fail(eng, g, idx, r);
}

void session_fork(struct engine *eng, uint32_t idx)
{
	const struct session *s = eng->ctl->conn[idx].ses;
	int r = s ? uid_fork_room(s->acct) : 0;

	if (r)
		conn_deny(eng, idx, r, "the uid has its processes on stackd already");
	else
		new_member(eng, idx, CTL_FORK_R, NULL);
}

void session_reattach(struct engine *eng, uint32_t idx, const struct sd_ctl_hello *h)
{
	const struct session *s = eng->ctl->conn[idx].ses;

	if (h->major != SD_ABI_MAJOR || h->flags)
		conn_refuse(eng, idx, -EPROTO, "the program's libstackd does not fit this stackd");
	else if (s && eng->ctl->seg[s->seg].ro_fd < 0)
		conn_refuse(eng, idx, -EAGAIN, "the family's segment cannot be handed out again");
	else
		new_member(eng, idx, CTL_REATTACH_R, h->comm);
}

void session_mbox(struct engine *eng, uint32_t idx)
{
	struct conn *cn = &eng->ctl->conn[idx];
	struct grant *g;
	int r;

	if (!cn->ses) {
		conn_refuse(eng, idx, -EPROTO, "not attached");
		return;
	}
	g = grant_new(eng, idx, CTL_MBOX_R);
	cn->state = CONN_WAITS;
	r = g ? 0 : -ENOMEM;
	if (!r) {
		g->ses = cn->ses;
		g->ses_idx = idx;
		g->ses_gen = cn->gen;
		r = make_mboxes(eng, g->ses, g);
	}
	if (!r)
		r = deposit_proc(eng, g, 0, false);
	if (r)
		grant_fail(eng, g, idx, r);
}

/* ---- the end ---- */

struct retired {
	struct xcall call;
	struct session *s;
	int *mbox_fd;			/* [s->mbox_cnt], taken out of the table */
};

static void unwatch(struct worker *w, void *arg)
{
	const struct session *s = ((struct retired *)arg)->s;

	if (w->st.worker < s->doorbells)
		ring_unwatch(w, s->doorbell[w->st.worker], RING_DOORBELL, (uint32_t)s->key);
}

static void retire(struct engine *eng, void *arg)
{
	struct retired *t = arg;
	struct session *s = t->s;
	uint16_t seg = s->seg;

	for (uint32_t i = 0; i < s->mbox_cnt; i++)
		close_fd(t->mbox_fd[i]);
	sup_close_fds(s->doorbell, s->doorbells);
	ctl_drop(eng, s->key);
	if (s->acct)
		s->acct->procs--;
	free(s->mbox);
	free(s);
	free(t);
	if (seg && --eng->ctl->seg[seg].sessions == 0)
		seg_leave(eng, seg);
	else if (seg && eng->ctl->seg[seg].sessions == eng->ctl->seg[seg].exports)
		export_alone(eng, seg);
}

void session_end(struct engine *eng, struct session *s)
{
	struct retired *t = calloc(1, sizeof(*t) + s->mbox_cnt * sizeof(int));
	bool last;

	ASSERT(t);
	t->s = s;
	t->mbox_fd = (int *)(t + 1);
	t->call = (struct xcall){ .fn = unwatch, .done = retire, .arg = t };
	for (uint32_t i = 0; i < s->mbox_cnt; i++)
		t->mbox_fd[i] = xchg_sc(&eng->mbox_fd[s->seg][s->mbox[i]], -1);
	if (s->proc)
		app_detach(&eng->w[0]->st, s->proc, &last);
	xcall_start(eng, &t->call);
}
