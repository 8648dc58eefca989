/* SPDX-License-Identifier: MIT */
/* preload/fd.c - the open table, and the shim's own fds
 * An fd of the program that is a stackd socket has an entry in this process's open table; the entry
 * goes before the number is given back to the kernel and comes after the kernel gave it, so another
 * thread that gets the same number never meets a stale entry.
 *
 * The shim needs fds of its own (control connection, doorbells, mailboxes' eventfds, placeholders).
 * They live above the program's soft NOFILE limit where the hard limit allows: there they neither
 * use up the program's allowance nor can dup2() reach them. Otherwise they sit at the top of the
 * range. Everything treats them as not open: close() says EBADF, loops over all fds go round them,
 * and dup2() onto one moves it away first.
 * Holds:   D1 an entry counts one reference of its slot
 *          D2 each shim fd is CLOEXEC and has an SD_OFD_SHIM entry
 * Spec:    S1, S3
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "preload/pl_int.h"

#define OWN_TOP		4096	/* highest start of the shim's range: keeps kernel tables small */
#define OWN_ROOM	128	/* how far the limit is lifted */

int pl_efd[SD_MAX_MBOXES];

/* ---- this thread ---- */

static __thread uint32_t self_tid __attribute__((tls_model("initial-exec")));
static __thread uint32_t self_proc __attribute__((tls_model("initial-exec")));

uint64_t pl_self(void)
{
	if (!self_tid || self_proc != pl.proc_idx + 1) {	/* first use, or a fork child */
		self_tid = (uint32_t)pl_sys(SYS_gettid);
		self_proc = pl.proc_idx + 1;
	}
	return shm_lock_owner(pl.proc_idx, self_tid);
}

void pl_sig_block(sigset_t *old)
{
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, old);
}

void pl_sig_restore(const sigset_t *old)
{
	pthread_sigmask(SIG_SETMASK, old, NULL);
}

/* ---- the shim's own fds ---- */

void pl_lift_begin(struct pl_lift *l)
{
	struct rlimit rl;

	*l = (struct pl_lift){ 0 };
	if (getrlimit(RLIMIT_NOFILE, &rl) < 0)
		return;
	l->soft = rl.rlim_cur;
	if (rl.rlim_cur > OWN_TOP || rl.rlim_cur + OWN_ROOM > rl.rlim_max)
		return;
	rl.rlim_cur += OWN_ROOM;
	l->on = setrlimit(RLIMIT_NOFILE, &rl) == 0;
}

void pl_lift_end(const struct pl_lift *l)
{
	struct rlimit rl;

	if (!l->on || getrlimit(RLIMIT_NOFILE, &rl) < 0)
		return;
	rl.rlim_cur = l->soft;
	setrlimit(RLIMIT_NOFILE, &rl);
}

/* Lowest number the shim takes under the present limit. */
static int own_base(const struct pl_lift *l)
{
	if (l->on)
		return (int)l->soft;
	if (l->soft > OWN_TOP)
		return OWN_TOP - OWN_ROOM;
	return l->soft > 2 * OWN_ROOM ? (int)l->soft - OWN_ROOM : (int)l->soft / 2;
}

int pl_fd_raise(int fd)
{
	struct pl_lift l;
	int to, err;

	pl_lift_begin(&l);
	to = real.fcntl(fd, F_DUPFD_CLOEXEC, own_base(&l));
	if (to < 0)
		to = real.fcntl(fd, F_DUPFD_CLOEXEC, 3);
	err = errno;
	pl_lift_end(&l);
	real.close(fd);
	return to < 0 ? -err : to;
}

int pl_fd_own(int fd)
{
	int to = pl_fd_raise(fd);

	if (to >= 0 && (unsigned)to < SD_FDS && pl.proc)
		shm_ofd_set(pl.proc, to, SD_OFD(SD_OFD_SHIM, 0, 0));
	return to;
}

void pl_fd_disown(int fd)
{
	if (fd < 0)
		return;
	if ((unsigned)fd < SD_FDS && pl.proc)
		shm_ofd_take(pl.proc, fd);
	real.close(fd);
}

static void moved(int *where, int from, int to)
{
	if (*where == from)
		*where = to;
}

/* The program wants number @fd, which is the shim's. Return: 0, or -errno when it cannot move. */
static int own_move(int fd)
{
	int to = real.fcntl(fd, F_DUPFD_CLOEXEC, fd + 1);

	if (to < 0)
		to = real.fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (to < 0)
		return -errno;
	if ((unsigned)to < SD_FDS)
		shm_ofd_set(pl.proc, to, SD_OFD(SD_OFD_SHIM, 0, 0));
	moved(&pl.ctl_fd, fd, to);
	for (unsigned w = 0; w < pl.workers; w++)
		moved(&pl.doorbell[w], fd, to);
	moved(&pl.placeholder[0], fd, to);
	moved(&pl.placeholder[1], fd, to);
	for (unsigned i = 0; i < SD_MAX_MBOXES; i++)
		moved(&pl_efd[i], fd, to);
	shm_ofd_take(pl.proc, fd);	/* dup2 closes the number itself */
	return 0;
}

/* ---- references ---- */

void pl_fd_enter_counted(int fd, uint32_t slot)
{
	shm_ofd_set(pl.proc, fd, SD_OFD(SD_OFD_SOCK, slot, ld_rlx(&pl_p(slot)->gen)));
	if (__builtin_expect(fd <= 2, 0))
		pl_stdio_std(fd);
}

void pl_fd_enter(int fd, uint32_t slot)
{
	shm_slot_get(&pl.seg, slot);
	pl_fd_enter_counted(fd, slot);
}

void pl_fd_enter_own(int fd, uint32_t slot)
{
	shm_slot_own(&pl.seg, slot);
	pl_fd_enter_counted(fd, slot);
}

void pl_slot_drop(uint32_t slot)
{
	struct sd_cmd cmd = pl_cmd_for(slot, SD_OP_CLOSE);
	uint32_t worker = pl_worker(slot);
	bool used = (pl_eflags(slot) & SD_E_BOUND) || pl_state_of(slot) != SD_ST_CLOSE;

	if (!shm_slot_put(&pl.seg, slot))
		return;
	if (used)
		pl_cmd(worker, &cmd);
	else
		pl_cmd_quiet(worker, &cmd);	/* nobody waits for a slot that was never used */
}

/* An fd is closed, or replaced. */
static void slot_leave(uint32_t slot)
{
	if (ld_rlx(&pl_p(slot)->refs) != 1 || !pl_wait_leave_ref(slot))
		pl_slot_drop(slot);
}

int pl_fd_close(int fd, sd_ofd ofd)
{
	int r;

	if (SD_OFD_KIND(ofd) == SD_OFD_SHIM)
		return -EBADF;
	ofd = shm_ofd_take(pl.proc, fd);
	if (!ofd)			/* another thread was faster */
		return -EBADF;
	pl_epoll_fd_closed(fd, ofd);
	r = (int)pl_sys(SYS_close, fd);		/* no cancellation point any more */
	if (SD_OFD_KIND(ofd) == SD_OFD_SOCK)
		slot_leave(SD_OFD_IDX(ofd));
	return r < 0 ? -errno : 0;
}

static void fallback_one(int fd)
{
	sd_ofd ofd = shm_ofd_take(pl.proc, fd);

	if (!ofd)
		return;
	pl_epoll_fd_fallback(fd, ofd);
	pl_slot_drop(SD_OFD_IDX(ofd));
}

sd_ofd pl_fallen(int fd, uint32_t slot)
{
	int saved = errno;

	pl_fallback(fd, slot);
	errno = saved;
	return 0;
}

void pl_fallback(int fd, uint32_t slot)
{
	sd_ofd ofd = shm_ofd_get(pl.proc, fd);
	bool dups = ld_rlx(&pl_p(slot)->refs) > 1;

	/* Others that share it hear of it when they next touch it. */
	or_sc(&pl_p(slot)->flags, SD_P_FALLEN);
	fallback_one(fd);
	for (uint32_t i = 0; dups && i < ld_rlx(&pl.proc->hi_fd); i++)
		if (shm_ofd_get(pl.proc, (int)i) == ofd)
			fallback_one((int)i);
}

/* ---- close ---- */

PL_EXPORT int close(int fd)
{
	sd_ofd ofd = pl_fd(fd);
	int r;

	if (__builtin_expect(ofd == 0, 1))
		return real.close(fd);
	pthread_testcancel();
	r = pl_fd_close(fd, ofd);
	return r < 0 ? (int)pl_fail(r) : 0;
}

/* Close what is ours in [first, last], and let the kernel close the gaps between the shim's own. */
static int range_close(unsigned first, unsigned last, int flags)
{
	unsigned hi = ld_rlx(&pl.proc->hi_fd), from = first;
	int r = 0;

	for (unsigned fd = first; fd < hi && fd <= last; fd++) {
		sd_ofd ofd = shm_ofd_get(pl.proc, (int)fd);

		if (!ofd)
			continue;
		if (SD_OFD_KIND(ofd) != SD_OFD_SHIM) {
			pl_fd_close((int)fd, ofd);
			continue;
		}
		if (fd > from)
			r |= real.close_range(from, fd - 1, flags);
		from = fd + 1;
	}
	if (from <= last)
		r |= real.close_range(from, last, flags);
	return r;
}

PL_EXPORT int close_range(unsigned first, unsigned last, int flags)
{
	if (!ld_acq(&pl.attached) || first > last || (flags & ~CLOSE_RANGE_UNSHARE))
		return real.close_range(first, last, flags);
	return range_close(first, last, flags) ? -1 : 0;
}

PL_EXPORT void closefrom(int first)
{
	if (!ld_acq(&pl.attached))
		real.closefrom(first);
	else
		range_close(first < 0 ? 0 : (unsigned)first, ~0u, 0);
}

/* ---- dup ---- */

/* @to is a new number of what @ofd describes. */
static void dup_enter(int to, sd_ofd ofd)
{
	if ((unsigned)to >= SD_FDS)
		return;
	if (SD_OFD_KIND(ofd) == SD_OFD_SOCK)
		pl_fd_enter(to, SD_OFD_IDX(ofd));
	else
		shm_ofd_set(pl.proc, to, ofd);
}

int pl_fd_dup(int fd, int cmd, int min)
{
	sd_ofd ofd = pl_fd(fd);
	int to;

	if (SD_OFD_KIND(ofd) == SD_OFD_SHIM)
		return -EBADF;
	to = real.fcntl(fd, cmd, min);
	if (to < 0)
		return -errno;
	if (ofd)
		dup_enter(to, ofd);
	return to;
}

PL_EXPORT int dup(int fd)
{
	int r;

	if (__builtin_expect(pl_fd(fd) == 0, 1))
		return real.dup(fd);
	r = pl_fd_dup(fd, F_DUPFD, 0);
	return r < 0 ? (int)pl_fail(r) : r;
}

/* dup2 and dup3 where one of the numbers is ours. @flags as dup3, -1 = dup2 (same number allowed).
   */
static int dup_onto(int fd, int to, int flags)
{
	sd_ofd src = pl_fd(fd), dst = pl_fd(to), gone = 0;
	int r;

	if (SD_OFD_KIND(src) == SD_OFD_SHIM || real.fcntl(fd, F_GETFD, 0) < 0)
		return -EBADF;
	if (fd == to)
		return flags < 0 ? to : -EINVAL;
	if (flags > 0 && (flags & ~O_CLOEXEC))
		return -EINVAL;
	if (SD_OFD_KIND(dst) == SD_OFD_SHIM) {
		r = own_move(to);
		if (r < 0)
			return r;
	} else if (dst) {
		gone = shm_ofd_take(pl.proc, to);
		if (gone)
			pl_epoll_fd_closed(to, gone);
	}
	r = flags < 0 ? real.dup2(fd, to) : real.dup3(fd, to, flags);
	if (r < 0)
		r = -errno;
	else if (src)
		dup_enter(to, src);
	if (SD_OFD_KIND(gone) == SD_OFD_SOCK)
		slot_leave(SD_OFD_IDX(gone));
	return r;
}

PL_EXPORT int dup2(int fd, int to)
{
	int r;

	if (__builtin_expect(!pl_fd(fd) && !pl_fd(to), 1))
		return real.dup2(fd, to);
	r = dup_onto(fd, to, -1);
	return r < 0 ? (int)pl_fail(r) : r;
}

PL_EXPORT int dup3(int fd, int to, int flags)
{
	int r;

	if (__builtin_expect(!pl_fd(fd) && !pl_fd(to), 1))
		return real.dup3(fd, to, flags);
	r = dup_onto(fd, to, flags);
	return r < 0 ? (int)pl_fail(r) : r;
}
