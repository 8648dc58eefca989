/* SPDX-License-Identifier: MIT */
/* preload/pl.h - what the files of the shim share
 *
 * The shim turns libc calls into reads and writes of a segment. A call on an fd goes:
 *   pl_fd(fd)        one load from the open table; 0 = not ours: the real call
 *   pl_slot_*        positions, flags, options in the slot; FIFO copy; a coalesced KICK command
 *   pl_wait()        when it would block: spin, then sleep so that signals behave as on Linux
 * Rooms inside: attach.c (control socket, segment), fd.c (open table, shim's own fds), sock.c,
 * conn.c, io.c (stream and datagram transfer), opt.c, wait.c + rpc.c (thread mailbox), poll.c,
 * epoll.c, fork.c; calls.def lists every intercepted call once.
 * Holds: P1 every entry is async-signal-safe where libc's is: no malloc, no stdio, no pthread lock
 *        P2 errno is touched only on failure; functions below pl_ return 0 or -errno
 *        P3 a kernel fd costs one load and one branch more
 */
#ifndef PRELOAD_PL_H
#define PRELOAD_PL_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <signal.h>

#include "shm/accept.h"
#include "shm/fifo.h"
#include "shm/lock.h"
#include "shm/mbox.h"
#include "shm/opentab.h"
#include "shm/ring.h"

/* One stock entry of mailboxes: what the engine handed out and nobody uses. */
struct pl_mbox {
	uint32_t mbox;			/* index in the segment */
	int efd;			/* eventfd the engine writes; one of the shim's own fds */
};
/* By mailbox index: the present number of its eventfd. It differs from pl_mbox.efd after the
 * program has dup2()ed onto it; so read the number here right before each use. */
extern int pl_efd[SD_MAX_MBOXES];

/* The attachment of this process; one, process-wide. */
struct pl_state {
	bool attached;			/* st_rel last in attach; ld_acq by users */
	struct shm_seg seg;
	const struct sd_info *info;
	struct sd_proc *proc;		/* our open table and rings */
	uint32_t proc_idx, proc_gen;
	uint32_t workers, home_worker;
	int ctl_fd;
	int doorbell[SD_MAX_WORKERS];
	int placeholder[2];		/* dup'ed for accepted fds: AF_INET, AF_INET6; -1 = none */
	uint64_t mag_lock;		/* guards proc's magazine of chunks */
};
extern struct pl_state pl;

/* ---- confine.c ---- */
/* fork, clone, clone3 by number: what forks gives the child its place. Return: as syscall(). */
long pl_fork_number(long nr, const long *a);
/* The program sets up a seccomp filter: wait with few system calls from now on. */
void pl_confine_begin(void);
extern uint32_t pl_confined;

/* ---- attach.c ---- */
/* Attach on first use. Return: 0, or -errno (absent daemon: -ENOENT/-ECONNREFUSED, said once on
 * stderr). Safe to call from several threads; never called from a signal handler's fast path. */
int pl_attach(void);
/* One request/response on ctl_fd, fds received are made CLOEXEC and moved to the shim's range. */
int pl_ctl_call(const void *req, size_t len, void *resp, size_t resp_len, int *fds,
		unsigned max_fds, unsigned *ret_nfds);

/* ---- fd.c ---- */
static inline struct sd_slot_p *pl_p(uint32_t slot)
{
	return (struct sd_slot_p *)(pl.seg.rw + SD_RW_SLOTS) + (slot < SD_SLOTS ? slot : 0);
}
/* Another process of the family gave @slot to the kernel: so does this one. Return: 0. */
sd_ofd pl_fallen(int fd, uint32_t slot);
/* The open-table entry of @fd; 0 when not ours or not attached. The fast path of every call. */
static inline sd_ofd pl_fd(int fd)
{
	sd_ofd o = __builtin_expect(ld_acq(&pl.attached), 1) ? shm_ofd_get(pl.proc, fd) : 0;

	if (SD_OFD_KIND(o) == SD_OFD_SOCK &&
	    __builtin_expect(ld_rlx(&pl_p(SD_OFD_IDX(o))->flags) & SD_P_FALLEN, 0))
		return pl_fallen(fd, SD_OFD_IDX(o));
	return o;
}
/* Slot of a socket fd, 0 when @fd is not a stackd socket. */
static inline uint32_t pl_fd_slot(int fd)
{
	sd_ofd o = pl_fd(fd);

	return SD_OFD_KIND(o) == SD_OFD_SOCK ? SD_OFD_IDX(o) : 0;
}
/* Move @fd to the shim's own range, CLOEXEC, entered as SD_OFD_SHIM. Takes @fd. Return: new fd or
 * -errno. */
int pl_fd_own(int fd);
/* Close one of the shim's own fds. */
void pl_fd_disown(int fd);
#define PL_HINT_OOBINLINE 1u	/* sd_opts.hints[0]: SO_OOBINLINE */

/* This thread's owner word for shm_lock(). */
uint64_t pl_self(void);

/* ---- slots ---- */
/* Never NULL: an index out of range leads to slot 0, which is memory but nobody's socket. */
static inline struct sd_slot_e *pl_e(uint32_t slot)
{
	return (struct sd_slot_e *)(pl.seg.ro + SD_RO_SLOTS) + (slot < SD_SLOTS ? slot : 0);
}

/* Readiness of a socket now, as SD_EV_* bits (IN, OUT, ERR, HUP, RDHUP, PRI), computed from the
 * slot exactly as Linux's tcp_poll/datagram_poll/listen poll would; a hybrid's kernel side is not
 * included (poll.c and epoll.c ask the kernel for that). Async-signal-safe, no side effect except:
 * when OUT is not set, SD_P_NOSPACE is set and the space re-checked (pairs with the worker's
 * xchg_sc of tx_una). */
uint32_t pl_ready(uint32_t slot);

/* Publish pending work of @slot to its worker: or_sc(pending); push SD_OP_KICK unless some bit was
 * set already; ring the doorbell if the worker sleeps. */
void pl_kick(uint32_t slot, uint32_t pend);
/* Push a command (ring full: doorbell and yield, bounded), then doorbell as needed. */
int pl_cmd(uint32_t worker, const struct sd_cmd *cmd);
/* Wake the napping workers that this thread's commands wait for: a call found nothing to do. */
void pl_settle(void);
/* Wake all that nap, for it may be to let this thread work: right before it sleeps. */
void pl_settle_all(void);

/* ---- wait.c, rpc.c: thread mailbox ---- */
/* This thread's mailbox, made on first use from the stock (CTL_MBOX when it is empty), returned to
 * the stock at thread exit. Return: NULL when none can be had. After fork the child starts without.
 * */
struct pl_mbox *pl_thread_mbox(void);

/**
 * pl_wait() - block until @slot shows one of @ev (ERR and HUP always count)
 * @timeout_ms: -1 = for ever
 * Spins for info->spin_ns first (not at all with one CPU), then sleeps: read(eventfd) when
 * @timeout_ms is -1 (so that SA_RESTART restarts it as it would recv), ppoll otherwise.
 * Cancellation point. @kern_fd: the kernel socket of a hybrid to watch as well, -1 = none.
 * Return: 0 = ready (or spurious: the caller re-checks), -EAGAIN = timed out, -EINTR
 */
int pl_wait(uint32_t slot, uint32_t ev, int timeout_ms, int kern_fd);
/* In @ev: the call has moved some bytes already, so any handler ends it, also with SA_RESTART. */
#define PL_WAIT_PART	0x80000000u
/* The caller will say pl_wait_end() when it has done with the socket: another thread that closes it
 * while this one waits leaves the reference to it. */
#define PL_WAIT_KEEP	0x40000000u
bool pl_wait_owes(void);
void pl_wait_drop_ref(void);
static inline void pl_wait_end(void)
{
	if (__builtin_expect(pl_wait_owes(), 0))
		pl_wait_drop_ref();
}
/* The last fd of @slot is closed. Return: true when a thread waits that will drop the reference. */
bool pl_wait_leave_ref(uint32_t slot);

/* For cancellation and for siglongjmp() out of a signal handler: @fn(@arg) runs when the frame that
 * holds @name is left by either. libc runs these for both; pthread_cleanup_push() serves only the
 * first. Not on the way by return: pop, and call it. */
struct pl_cleanup {			/* libc's struct _pthread_cleanup_buffer */
	void (*fn)(void *);
	void *arg;
	int type;
	struct pl_cleanup *prev;
};
void _pthread_cleanup_push(struct pl_cleanup *c, void (*fn)(void *), void *arg);
void _pthread_cleanup_pop(struct pl_cleanup *c, int execute);

/**
 * pl_rpc() - send @cmd (slot, gen, op, arguments filled in) and wait for the answer
 * @worker: usually 0 for BIND/LISTEN/CONNECT, slot_e.worker otherwise
 * Signals do not interrupt it: the engine answers in microseconds (hang-up of the engine:
 * -ECONNRESET).
 * Return: the reply's err; *ret_len bytes of data copied to @data.
 */
int pl_rpc(uint32_t worker, struct sd_cmd *cmd, void *data, size_t max, size_t *ret_len);

/* fork.c, in the child: the thread's mailbox is the parent's. */
void pl_wait_fork_child(void);

/* ---- epoll.c, poll.c: hooks that fd.c calls ---- */
/* @fd (a socket or an epoll fd of ours) is about to be closed or replaced: forget it in this
 * process's epoll sets, as the kernel does when the last fd of a description goes. */
void pl_epoll_fd_closed(int fd, sd_ofd ofd);
/* Socket @fd (entry @ofd, already taken from the open table) goes on as a plain kernel socket: its
 * members in epoll sets become kernel members. Once per fd number that named the slot. */
void pl_epoll_fd_fallback(int fd, sd_ofd ofd);
/* SD_P_HYBRID of @slot was set or cleared: watch its kernel side in the epoll sets, too, or no
 * more. */
void pl_epoll_hybrid(uint32_t slot);
/* dup(), dup2() ... of an epoll fd: fd.c copies the open-table entry as it is, nothing else. */

/* Around fork: prepare before, parent or child after it. Between them no set is half changed. */
void pl_epoll_fork_prepare(void);
void pl_epoll_fork_parent(void);
void pl_epoll_fork_child(void);
/* @fd stays open but turned from a stackd socket into a plain kernel fd (connect() or bind() to an
 * address that is not stackd's): its registrations go on with the kernel. The open-table entry is
 * cleared already; @ofd is what stood there. */
void pl_epoll_fd_fallback(int fd, sd_ofd ofd);

/* ---- fork.c ---- */
/* A new mailbox from the stock; the stock is refilled by CTL_MBOX. Return: 0 or -errno. */
int pl_mbox_get(struct pl_mbox *ret_mb);
void pl_mbox_put(struct pl_mbox *mb);

/* ---- the real functions ---- */
#include "preload/real.h"		/* struct pl_real real: pointers by name, from calls.def */

/* Failure in libc's way. */
static inline long pl_fail(long err)
{
	errno = (int)-err;
	return -1;
}

#endif
