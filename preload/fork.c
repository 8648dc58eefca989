/* SPDX-License-Identifier: MIT */
/* preload/fork.c - a process's place in its family: fork, and the stock of mailboxes
 * Before forking, the parent asks the engine for the child's place: a process index with a clone of
 * the parent's open table, a control connection whose hang-up will tell that the child died,
 * doorbells and mailboxes. The child only switches over; it needs no path, uid or control call.
 * When fork() fails the parent closes the child's connection, and the engine undoes the clone.
 * Threads: fork_lock from request to fork; signals blocked, so no handler changes the table between
 *          the clone and the copy of the kernel's fd table. Other threads may; their fds of that
 *          moment are the usual race of fork in a threaded program.
 * Spec:    S3
 */
#include <string.h>

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

/* Not attached: the child shares the warning, and nobody in it holds the parent's locks. */
static pid_t fork_plain(pid_t (*real_fork)(void))
{
	pid_t pid;

	pl_attach_prefork();
	pid = real_fork();
	if (pid == 0)
		pl_attach_child();
	return pid;
}

/* The daemon is gone for good: the child is on the kernel's stack. */
static pid_t fork_orphan(pid_t (*real_fork)(void))
{
	pid_t pid = real_fork();

	if (pid == 0) {
		st_rel(&pl_attach_failed, 1);
		st_rel(&pl.attached, false);
		pl_attach_child();
		pl_stdio_fork_child();
	}
	return pid;
}

static pid_t fork_by(pid_t (*real_fork)(void))
{
	struct place child;
	sigset_t old;
	pid_t pid;
	int err;

	if (!ld_acq(&pl.attached))
		return fork_plain(real_fork);
	pl_sig_block(&old);
	shm_lock(&fork_lock, pl_self());
	pl_epoll_fork_prepare();
	err = place_ask(&child);
	if (err == -ECONNRESET)
		pid = fork_orphan(real_fork);
	else
		pid = err ? -1 : real_fork();
	if (pid == 0 && !err) {
		child_switch(&child);
		pl_sig_restore(&old);
		return 0;
	}
	if (!err) {
		int saved = errno;

		place_drop(&child);
		errno = saved;
	} else if (err != -ECONNRESET) {
		errno = err == -EPROTO ? EAGAIN : -err;
	}
	pl_epoll_fork_parent();
	shm_unlock(&fork_lock, pl_self());
	pl_sig_restore(&old);
	return pid;
}

PL_EXPORT pid_t fork(void)
{
	return fork_by(real.fork);
}

PL_EXPORT pid_t _Fork(void)
{
	return fork_by(real._Fork);
}
