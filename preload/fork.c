/* SPDX-License-Identifier: MIT */
/* preload/fork.c - a process's place in its family: fork, clone, and the stock of mailboxes
 * Before forking, the parent asks the engine for the child's place: a process index with a clone of
 * the parent's open table, a control connection whose hang-up will tell that the child died,
 * doorbells and mailboxes. The child only switches over; it needs no path, uid or control call.
 * When fork() fails the parent closes the child's connection, and the engine undoes the clone.
 * Threads: fork_lock from request to fork; signals blocked, so no handler changes the table between
 *          the clone and the copy of the kernel's fd table. Other threads may; their fds of that
 *          moment are the usual race of fork in a threaded program.
 * Spec:    S3
 */
#include <linux/sched.h>
#include <sched.h>
#include <stdarg.h>
#include <string.h>
#include <sys/syscall.h>

#include "preload/pl_int.h"
#include "stackd/ctl.h"

/* Mailboxes that the engine handed out and nobody uses. */
static struct pl_mbox stock[2 * SD_CTL_EVENTFDS];
static unsigned stock_cnt;
static uint64_t stock_lock;
static uint64_t fork_lock;

/* ---- mailboxes ---- */

static void stock_add(uint32_t mbox, int efd)
{
	if (mbox == 0 || mbox >= SD_MAX_MBOXES || stock_cnt == sizeof(stock) / sizeof(stock[0])) {
		pl_fd_disown(efd);
		return;
	}
	pl_efd[mbox] = efd;
	stock[stock_cnt++] = (struct pl_mbox){ mbox, efd };
}

static bool stock_pop(struct pl_mbox *ret_mb)
{
	if (!stock_cnt)
		return false;
	*ret_mb = stock[--stock_cnt];
	ret_mb->efd = pl_efd[ret_mb->mbox];
	return true;
}

static int stock_refill(void)
{
	struct sd_ctl_head req = { CTL_MBOX, sizeof(req) };
	union { struct sd_ctl_hello_r r; struct sd_ctl_error e; } resp;
	int fds[SD_CTL_EVENTFDS];
	unsigned n = 0;
	int err = pl_ctl_call(&req, sizeof(req), &resp, sizeof(resp), fds, SD_CTL_EVENTFDS, &n);

	if (err)
		return err;
	if (resp.r.h.type != CTL_MBOX_R || resp.r.mbox_cnt != n) {
		while (n)
			pl_fd_disown(fds[--n]);
		return -EPROTO;
	}
	for (unsigned i = 0; i < n; i++)
		stock_add(resp.r.mbox[i], fds[i]);
	return n ? 0 : -ENOMEM;
}

int pl_mbox_get(struct pl_mbox *ret_mb)
{
	sigset_t old;
	int err = 0;

	pl_sig_block(&old);
	shm_lock(&stock_lock, pl_self());
	if (!stock_pop(ret_mb)) {
		err = stock_refill();
		if (!err && !stock_pop(ret_mb))
			err = -ENOMEM;
	}
	shm_unlock(&stock_lock, pl_self());
	pl_sig_restore(&old);
	return err;
}

void pl_mbox_put(struct pl_mbox *mb)
{
	sigset_t old;

	pl_sig_block(&old);
	shm_lock(&stock_lock, pl_self());
	stock_add(mb->mbox, pl_efd[mb->mbox]);
	shm_unlock(&stock_lock, pl_self());
	pl_sig_restore(&old);
	*mb = (struct pl_mbox){ 0, -1 };
}

/* ---- a process's place ---- */

static void own_entry(int fd)
{
	if (fd >= 0 && (unsigned)fd < SD_FDS)
		shm_ofd_set(pl.proc, fd, SD_OFD(SD_OFD_SHIM, 0, 0));
}

/* Become process @r->proc; pl.ctl_fd is set already. @fds: doorbells, then eventfds. */
void pl_proc_take(const struct sd_ctl_hello_r *r, const int *fds)
{
	pl.proc_idx = r->proc;
	pl.proc_gen = r->proc_gen;
	pl.workers = r->workers;
	pl.home_worker = r->home_worker;
	pl.proc = shm_proc(&pl.seg, r->proc);
	st_rlx(&pl.proc->pid, (uint32_t)getpid());
	*shm_proc_magazine(pl.proc) = (struct shm_magazine){ 0 };
	pl.mag_lock = 0;
	/* asks the kernel once, before a seccomp filter may forbid it */
	pl_self();
	own_entry(pl.ctl_fd);
	for (unsigned w = 0; w < r->workers; w++) {
		pl.doorbell[w] = fds[w];
		own_entry(fds[w]);
	}
	stock_cnt = 0;
	stock_lock = 0;
	for (unsigned i = 0; i < r->mbox_cnt; i++) {
		own_entry(fds[r->workers + i]);
		stock_add(r->mbox[i], fds[r->workers + i]);
	}
}

/* What the parent asked for on behalf of the child. */
struct place {
	struct sd_ctl_hello_r r;
	int ctl;
	int fds[SD_MAX_WORKERS + SD_CTL_EVENTFDS];
	unsigned nfds;			/* of fds[] */
};

static void place_drop(struct place *pl_place)
{
	pl_fd_disown(pl_place->ctl);
	for (unsigned i = 0; i < pl_place->nfds; i++)
		pl_fd_disown(pl_place->fds[i]);
}

static int place_ask(struct place *ret)
{
	struct sd_ctl_head req = { CTL_FORK, sizeof(req) };
	union { struct sd_ctl_hello_r r; struct sd_ctl_error e; } resp;
	int fds[1 + SD_MAX_WORKERS + SD_CTL_EVENTFDS];
	unsigned n = 0;
	int err = pl_ctl_call(&req, sizeof(req), &resp, sizeof(resp), fds,
			      1 + SD_MAX_WORKERS + SD_CTL_EVENTFDS, &n);

	if (err)
		return err;
	if (resp.r.h.type != CTL_FORK_R || resp.r.workers != pl.workers ||
	    resp.r.mbox_cnt > SD_CTL_EVENTFDS || resp.r.proc >= SD_MAX_PROCS ||
	    n != 1 + resp.r.workers + resp.r.mbox_cnt) {
		while (n)
			pl_fd_disown(fds[--n]);
		return -EPROTO;
	}
	ret->r = resp.r;
	ret->ctl = fds[0];
	ret->nfds = n - 1;
	memcpy(ret->fds, fds + 1, ret->nfds * sizeof(int));
	return 0;
}

/* Fds of the parent's that the child does not use: control connection, doorbells, all eventfds. */
static void child_forget(int ctl, const int *doorbell, unsigned workers)
{
	pl_fd_disown(ctl);
	for (unsigned w = 0; w < workers; w++)
		pl_fd_disown(doorbell[w]);
	for (unsigned i = 1; i < SD_MAX_MBOXES; i++) {
		if (!pl_efd[i])
			continue;
		pl_fd_disown(pl_efd[i]);
		pl_efd[i] = 0;
	}
}

static void child_switch(const struct place *c)
{
	int ctl = pl.ctl_fd, doorbell[SD_MAX_WORKERS];

	memcpy(doorbell, pl.doorbell, sizeof(doorbell));
	pl.proc = shm_proc(&pl.seg, c->r.proc);
	child_forget(ctl, doorbell, pl.workers);
	pl.ctl_fd = c->ctl;
	pl_proc_take(&c->r, c->fds);
	fork_lock = 0;
	pl_popen_child();
	pl_attach_child();
	pl_stdio_fork_child();
	pl_wait_fork_child();
	pl_epoll_fork_child();
}

/* ---- forking ---- */

/* From before a child is made until both sides go on. The child has a copy of its own. */
struct birth {
	enum { PLAIN, ORPHAN, MEMBER, REFUSED } kind;
	struct place place;		/* MEMBER */
	sigset_t old;			/* not PLAIN */
};

/* PLAIN: not attached. ORPHAN: the daemon is gone for good. REFUSED: errno says why. */
static void birth_begin(struct birth *b)
{
	int err;

	if (!ld_acq(&pl.attached)) {
		b->kind = PLAIN;
		pl_attach_prefork();
		return;
	}
	pl_sig_block(&b->old);
	shm_lock(&fork_lock, pl_self());
	pl_epoll_fork_prepare();
	err = place_ask(&b->place);
	b->kind = !err ? MEMBER : err == -ECONNRESET ? ORPHAN : REFUSED;
	if (b->kind == REFUSED)
		errno = err == -EPROTO ? EAGAIN : -err;
}

static void birth_child(const struct birth *b)
{
	switch (b->kind) {
	case PLAIN:		/* shares the warning; nobody here holds the parent's locks */
		pl_attach_child();
		return;
	case MEMBER:
		child_switch(&b->place);
		break;
	default:			/* on the kernel's stack; sets are copies */
		pl_epoll_fork_parent();
		fork_lock = 0;
		st_rel(&pl_attach_failed, 1);
		st_rel(&pl.attached, false);
		pl_attach_child();
		pl_stdio_fork_child();
	}
	pl_sig_restore(&b->old);
}

/* In the parent, child or no child; errno stays. */
static void birth_end(struct birth *b)
{
	int saved = errno;

	if (b->kind == PLAIN)
		return;
	if (b->kind == MEMBER)
		place_drop(&b->place);
	pl_epoll_fork_parent();
	shm_unlock(&fork_lock, pl_self());
	pl_sig_restore(&b->old);
	errno = saved;
}

static pid_t fork_by(pid_t (*real_fork)(const long *), const long *arg)
{
	struct birth b;
	pid_t pid;

	birth_begin(&b);
	pid = b.kind == REFUSED ? -1 : real_fork(arg);
	if (pid == 0)
		birth_child(&b);
	else
		birth_end(&b);
	return pid;
}

static pid_t by_fork(const long *arg)
{
	return real.fork();
}

static pid_t by_Fork(const long *arg)
{
	return real._Fork();
}

PL_EXPORT pid_t fork(void)
{
	return fork_by(by_fork, NULL);
}

PL_EXPORT pid_t _Fork(void)
{
	return fork_by(by_Fork, NULL);
}

/* ---- clone: a fork when memory and fds are the child's own ---- */

#define SHARES (CLONE_VM | CLONE_FILES | CLONE_THREAD)

/* @a: number and arguments of a system call that goes on on the same stack. */
static pid_t by_number(const long *a)
{
	return (pid_t)real.syscall(a[0], a[1], a[2], a[3], a[4], a[5], a[6]);
}

static bool forks(long nr, const long *a)
{
	const struct clone_args *c = (const void *)a[0];

	switch (nr) {
	case SYS_clone:
		return !(a[0] & SHARES) && !a[1];
	case SYS_clone3:
		return a[0] && (size_t)a[1] >= CLONE_ARGS_SIZE_VER0 && !(c->flags & SHARES) &&
		       !c->stack;
	default:
		return nr == SYS_fork;
	}
}

long pl_fork_number(long nr, const long *a)
{
	const long full[7] = { nr, a[0], a[1], a[2], a[3], a[4], a[5] };

	return forks(nr, a) ? fork_by(by_number, full) : by_number(full);
}

struct entry {
	struct birth b;
	int (*fn)(void *arg);
	void *arg;
};

static int enter(void *arg)
{
	const struct entry *e = arg;	/* the child's copy of the parent's stack */

	birth_child(&e->b);
	return e->fn(e->arg);
}

PL_EXPORT int clone(int (*fn)(void *), void *stack, int flags, void *arg, ...)
{
	struct entry e = { .fn = fn, .arg = arg };
	void *ptid, *tls, *ctid;
	va_list ap;
	int pid;

	va_start(ap, arg);		/* what was not passed is read, and passed on, as garbage */
	ptid = va_arg(ap, void *);
	tls = va_arg(ap, void *);
	ctid = va_arg(ap, void *);
	va_end(ap);
	if (flags & SHARES || !fn || !stack)
		return real.clone(fn, stack, flags, arg, ptid, tls, ctid);
	birth_begin(&e.b);
	pid = e.b.kind == REFUSED ? -1 : real.clone(enter, stack, flags, &e, ptid, tls, ctid);
	birth_end(&e.b);
	return pid;
}
