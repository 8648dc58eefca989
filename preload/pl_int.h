/* SPDX-License-Identifier: MIT */
/* preload/pl_int.h - what the socket files of the shim share among themselves (not poll and epoll)
 * Functions return 0, a count, or -errno; the wrapper of the libc entry turns that into errno.
 */
#ifndef PRELOAD_PL_INT_H
#define PRELOAD_PL_INT_H

#include <netinet/in.h>
#include <sys/socket.h>

#include "preload/pl.h"

/* ---- addr.c: sockaddrs and routes ---- */

/* Room for any address that the shim reads or writes. */
union pl_sa {
	struct sockaddr sa;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
};

/* Read a program's sockaddr for a socket of @family; a v6 socket also takes v4-mapped addresses.
 * Return: 0, -EINVAL (too short) or -EAFNOSUPPORT; results untouched on failure. */
int pl_addr_in(int family, const struct sockaddr *sa, socklen_t len, struct sd_addr *ret_addr,
	       uint16_t *ret_port);
/* Write one as the kernel does: cut at *@len, *@len = full size. @sa may be NULL (then nothing). */
void pl_addr_out(int family, const struct sd_addr *addr, uint16_t port, struct sockaddr *sa,
		 socklen_t *len);
/* Port of the kernel socket behind @fd, 0 when unbound. */
uint16_t pl_kern_port(int fd);

enum pl_via { PL_VIA_KERNEL, PL_VIA_STACKD, PL_VIA_LOCAL, PL_VIA_BCAST };

#define PL_LOCALS	16		/* of stackd's own addresses: as many as are told */
struct pl_local {
	struct sd_addr addr;
	uint32_t ifindex;		/* in the daemon's network namespace; 0 = none */
	uint8_t plen;			/* of its network, of the 128-bit form */
};
/* Attached only. Return: how many. */
unsigned pl_locals(struct pl_local ret[PL_LOCALS]);
/* Of the device on which a packet to @addr came. */
uint32_t pl_ifindex(const struct sd_addr *addr);
struct ifconf;
/* SIOCGIFCONF with stackd's addresses, on a kernel fd. Return: 0 or -errno. */
int pl_ifconf(int fd, struct ifconf *c);
/* Who reaches @addr: the kernel, stackd by a route; an address of stackd's own, a broadcast. */
enum pl_via pl_route(const struct sd_addr *addr);

/* ---- slot.c: state of a slot as the program sees it ---- */

/* The engine serves the program's generation of this slot. Until then everything it says is old. */
/* Has this process's uid little left of it? SD_SCARCE_* */
static inline bool pl_scarce(uint32_t what)
{
	return ld_rlx(&((const struct sd_seg_ro *)pl.seg.ro)->scarce) & what;
}

static inline bool pl_live(const struct sd_slot_e *e, const struct sd_slot_p *p)
{
	return ld_acq(&e->gen) == ld_rlx(&p->gen);
}
/* enum sd_state; SD_ST_CLOSE when not in service. */
uint32_t pl_state_of(uint32_t slot);
/* SD_E_* ; 0 when not in service. */
uint32_t pl_eflags(uint32_t slot);
/* Which worker takes commands of this slot. */
uint32_t pl_worker(uint32_t slot);
bool pl_err_pending(uint32_t slot);
/* Take the pending asynchronous error. Return: a positive errno, or 0. */
int pl_err_take(uint32_t slot);
/* Bytes that the send FIFO takes now. */
uint64_t pl_tx_space(uint32_t slot);
/* Same; when that is less than @need, the worker will post OUT once there is room again: a writer
 * that gives up has asked for the edge that ends its EAGAIN. */
uint64_t pl_tx_room(uint32_t slot, uint64_t need);
/* A command for @slot with gen filled in. */
struct sd_cmd pl_cmd_for(uint32_t slot, enum sd_op op);
/* As pl_cmd(), but the worker learns of it only with the next pl_cmd(): nobody waits for it. */
int pl_cmd_quiet(uint32_t worker, const struct sd_cmd *cmd);

/* ---- blocking with SO_RCVTIMEO and SO_SNDTIMEO ---- */

struct pl_deadline {
	int64_t end_ms;			/* CLOCK_MONOTONIC, -1 = none */
};
struct pl_deadline pl_deadline_in(uint32_t timeo_ms);	/* 0 = none */
int pl_deadline_left(const struct pl_deadline *d);	/* ms; -1 = for ever; 0 = over */

/* True when a call on @slot with MSG_* @flags must not block. */
static inline bool pl_nonblock(uint32_t slot, int flags)
{
	return (flags & MSG_DONTWAIT) || (ld_rlx(&pl_p(slot)->flags) & SD_P_NONBLOCK);
}

/* ---- attach.c, fd.c ---- */

/* Parent of a fork, not attached yet: the child shares the "already warned" word. */
void pl_attach_prefork(void);
/* Attaching failed once: the kernel's stack for the rest of this process's life. */
extern uint32_t pl_attach_failed;
/* In a fork child: locks of attach.c that another thread of the parent held. */
void pl_attach_child(void);
void pl_stdio_fork_child(void);
/* @fd, 0 to 2, has become a stackd socket: so does the stream of stdio that has it. */
void pl_stdio_std(int fd);
struct sd_ctl_hello_r;
void pl_proc_take(const struct sd_ctl_hello_r *r, const int *fds);
/* While fds are being received or moved, the soft NOFILE limit is lifted, so that the shim's own do
 * not use up the program's. */
struct pl_lift { uint64_t soft; bool on; };
void pl_lift_begin(struct pl_lift *l);
void pl_lift_end(const struct pl_lift *l);
/* pl_fd_own() without the open-table entry; for use before the segment is mapped. */
int pl_fd_raise(int fd);
/* Block all signals / restore. */
void pl_sig_block(sigset_t *old);
void pl_sig_restore(const sigset_t *old);

/* Enter a fresh socket @fd: one more reference for @slot. */
void pl_fd_enter(int fd, uint32_t slot);
/* The same for one that was counted already. */
void pl_fd_enter_counted(int fd, uint32_t slot);
/* Enter @fd as the first and only reference of a slot that this thread has claimed. */
void pl_fd_enter_own(int fd, uint32_t slot);
/* One reference less; closes the slot when it was the last. */
void pl_slot_drop(uint32_t slot);
/* close() without the check for the shim's own fds. Return: as close(), or -errno. */
int pl_fd_close(int fd, sd_ofd ofd);
int pl_fd_dup(int fd, int cmd, int min);
/* The socket behind @fd is the kernel's from now on: slot released, entries of this process
 * cleared. */
void pl_fallback(int fd, uint32_t slot);

/* ---- why.c ---- */
/* Who carries @fd ("stackd", "kernel", "both") and why, when stackrun --why asked for it. */
void pl_why(int fd, const char *carrier, const char *why);
void pl_why_addr(int fd, const char *carrier, const char *what, const struct sd_addr *addr,
		 uint16_t port);
void pl_why_num(int fd, const char *carrier, const char *what, int a, int b);


/* ---- env.c, exec.c ---- */

/* The run directory that the environment names now or named at start; NULL = none. */
const char *pl_env_run_dir(void);
/* STACKD_WHY is set, or was at start. */
bool pl_env_why(void);
#define PL_ENV_ADDED 4			/* variables that pl_env_make() may add */
struct pl_env {				/* text of the added ones; lives until exec */
	char preload[8192], inherit[64];
};
/* This library was preloaded, and should be in what the program runs. */
bool pl_env_on(void);
/* Bytes that pl_env_make() needs at @out for @envp. */
size_t pl_env_size(char *const *envp);
/* @ctl: control connection that the new image takes over, -1 = none. */
void pl_env_make(struct pl_env *e, char *const *envp, int ctl, char **out);
/* Some stackd socket would stay open through exec. */
bool pl_exec_inherits(void);
/* In a table cloned from the image before exec: take out all but sockets. */
void pl_exec_forget(struct sd_proc *p);
/* Drop the sockets that did not stay open. */
void pl_exec_sweep(void);
/* Take the place that the image before exec left to us on connection @ctl (taken). Early in
 * start-up; when it fails the process attaches afresh on its first socket. */
void pl_attach_inherit(int ctl);

/* ---- attach.c ---- */
/* One line on stderr, once per program and its fork children. */
__attribute__((format(printf, 1, 2)))
void pl_warn_once(const char *fmt, ...);
/* The right to bind @port, for the next bind() of it: asked for when it takes a capability. What
 * the answer was shows at the bind(). */
void pl_low_port(uint16_t port);

/* ---- sock.c ---- */
/* The engine did not put the slot into service (its answers are -EBADF), and never will. */
bool pl_unserved(uint32_t slot, int err);
/* Such a socket is the kernel's. */
void pl_give_up(int fd, uint32_t slot);

/* ---- image.c ---- */

#define PL_GIVEN_MAX 64
struct pl_given {			/* sockets replaced by ends of socket pairs */
	unsigned cnt;
	int fd[PL_GIVEN_MAX], keep[PL_GIVEN_MAX];
};
/* Will this program take the shim? @path NULL or "": @dir is the program itself. */
bool pl_image_fits(int dir, const char *path, int flags);
/* @path: PATH_MAX bytes. */
const char *pl_image_find(const char *name, char *path);
/* Before an exec of a program that does not; after it failed. */
void pl_image_give(struct pl_given *g);
void pl_image_take_back(struct pl_given *g);

/* popen.c, in a fork child: nobody in it holds the table's lock. */
void pl_popen_child(void);

/* ---- sock.c, conn.c ---- */

int pl_bind_auto(int fd, uint32_t slot);
/* Replace the kernel socket behind @fd by a fresh one of the same kind, options and flags copied.
   */
#define PL_HINT_NO_PORT	4u	/* sd_opts.hints[0]: IP_BIND_ADDRESS_NO_PORT */
int pl_kern_renew(int fd, uint32_t slot);
/* The kernel socket behind this slot is the program's own, not a dup of a placeholder. */
static inline bool pl_own_kern(uint32_t slot)
{
	return !(ld_rlx(&pl_p(slot)->flags) & SD_P_PLACEHOLD);
}

/* ---- opt.c ---- */

/* Copy the options worth copying from kernel socket @from to @to. */
void pl_opt_copy(int from, int to);
int pl_setsockopt(int fd, uint32_t slot, int level, int name, const void *val, socklen_t len);
int pl_getsockopt(int fd, uint32_t slot, int level, int name, void *val, socklen_t *len);
/* Something ties the socket to stackd: it can no longer become the kernel's. */
bool pl_in_service(uint32_t slot);
/* Options that were refused or that only the kernel could serve; for `why`. */
extern uint32_t pl_opt_refused;

/* ---- io.c, stream.c, dgram.c ---- */

ssize_t pl_send(int fd, uint32_t slot, const struct msghdr *m, int flags);
ssize_t pl_recv(int fd, uint32_t slot, struct msghdr *m, int flags);

/* Walks an array of iovecs. */
struct pl_iter {
	const struct iovec *iov;
	size_t cnt;			/* iovecs left, the current one included */
	size_t off;			/* into the current one */
	size_t left;			/* bytes left in all */
};
int pl_iter_init(struct pl_iter *it, const struct iovec *iov, size_t cnt);
/* The next contiguous piece, at most @max bytes; advances. */
size_t pl_iter_next(struct pl_iter *it, size_t max, void **ret_ptr);

ssize_t pl_stream_send(uint32_t slot, struct pl_iter *it, int flags);
ssize_t pl_stream_recv(uint32_t slot, struct pl_iter *it, int flags);
/* A stream back to unconnected, whatever it was. Return: 0 or -errno. */
int pl_unconnect(uint32_t slot);
/* A port of stackd's for a datagram socket that has none. */
int pl_dgram_autobind(int fd, uint32_t slot);
ssize_t pl_dgram_send(int fd, uint32_t slot, const struct msghdr *m, int flags);
ssize_t pl_dgram_recv(int fd, uint32_t slot, struct msghdr *m, int flags);

/* Chunks for the send FIFO come from the process's magazine, or, when a thread or the code that a
 * signal handler interrupted holds it, from a magazine of the moment. */
/* A slot's lock that is also freed when the frame with @g is left by cancellation or siglongjmp():
 * what it guards is valid at any moment (L1 of shm/lock.h). */
struct pl_guard {
	struct pl_cleanup cu;
	uint64_t *word;
};
/* Handlers wait until the unlock (defer.h). Return: false when one that cannot wait meets the lock
 * of the thread that it interrupted. */
bool pl_lock(struct pl_guard *g, uint64_t *word);
void pl_unlock(struct pl_guard *g);

struct pl_txmem {
	struct pl_cleanup cu;
	struct shm_fifo_mem m;
	struct shm_magazine tmp;
	bool locked;
};
void pl_txmem_get(struct pl_txmem *t);
void pl_txmem_put(struct pl_txmem *t);

/* Stream transmit in steps, for send and sendfile: begin locks and tells the space, end publishes
 * @len bytes written at *ret_pos. */
ssize_t pl_tx_begin(uint32_t slot, struct pl_guard *g, size_t want, uint64_t *ret_pos);
/* Where the next urgent byte lies that the reader has not passed, UINT64_MAX: there is none. */
uint64_t pl_urg_pos(uint32_t slot);
/* It has come, and MSG_OOB has not fetched it. */
bool pl_urg_there(uint32_t slot);
bool pl_oob_inline(uint32_t slot);
void pl_tx_end(uint32_t slot, struct pl_guard *g, uint64_t pos, size_t len, int flags);
/* May the program send? Return: 0, -EAGAIN (still connecting), -EPIPE or the pending error. */
int pl_tx_check(uint32_t slot);
/* Blocks until there is space or something else to see. @part: some bytes went already. */
int pl_tx_wait(uint32_t slot, struct pl_deadline *d, bool part);
/* Receive side alike: bytes there, window update after @n were consumed. */
void pl_rx_consumed(uint32_t slot, uint64_t head);
/* Raise SIGPIPE for -EPIPE unless MSG_NOSIGNAL; returns @r. */
ssize_t pl_pipe_signal(ssize_t r, int flags);

/* ---- scm.c: messages with control data on kernel fds ---- */

ssize_t pl_scm_send(int fd, const struct msghdr *m, int flags);
void pl_scm_recv(struct msghdr *m, int flags);
/* An fd to stand for socket @fd with a holder that has no shim. Return: one of the shim's own fds,
 * or -errno (-EINVAL: its kernel fd stands for it). */
int pl_scm_export(int fd);
/* As pl_ctl_call(), with @fd shown to the engine; no fd comes back. */
int pl_ctl_show(const void *req, size_t len, int fd, void *resp, size_t resp_len);

/* ---- cmsg.c ---- */

struct pl_cmsg_out {			/* what a datagram's control messages asked for */
	struct sd_addr src;		/* IP_PKTINFO; :: = none */
	uint16_t gso_len;		/* UDP_SEGMENT */
	int16_t tos, ttl;		/* -1 = the socket's */
};
int pl_cmsg_parse(const struct msghdr *m, struct pl_cmsg_out *ret);
void pl_cmsg_fill(uint32_t slot, const struct sd_dgram *d, struct msghdr *m, int *ret_flags);

#endif
