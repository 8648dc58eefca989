/* SPDX-License-Identifier: MIT */
/* preload/attach.c - finding the daemon and becoming one of its programs
 * The first socket that stackd could serve attaches the process: connect to RUN_DIR/stackd.sock,
 * HELLO, map info and segment, keep the control connection open for life. RUN_DIR is
 * STACKD_RUN_DIR, else /run/stackd. Programs that make no such socket never attach. Without a
 * daemon the program gets one line on stderr and the kernel's stack.
 *
 *   NEW --first socket--> (lock held) --ok--> pl.attached
 *                                     --no--> FAILED: the kernel's stack; a socket made later looks
 *                                             again, once a second at most, whether a daemon is
 *                                             there Threads: attach_lock; signals are blocked
 *                                             while it is held, so a handler never finds it taken
 *                                             by
 *          the thread that it interrupted
 * Spec:    S4, Z2; control messages in include/stackd/ctl.h
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/un.h>

#include "preload/pl_int.h"
#include "preload/wait_int.h"
#include "stackd/ctl.h"

#define LOWPORT_TRIES	4	/* two are right, two more for an engine that was restarted */
#define RUN_DIR_DEFAULT "/run/stackd"

struct pl_state pl = { .ctl_fd = -1, .placeholder = { -1, -1 } };

static uint64_t attach_lock, ctl_lock;
uint32_t pl_attach_failed;		/* written under attach_lock */
static uint64_t retry_at_ns;
#define RETRY_NS 1000000000ull
static uint32_t warned_here;
static uint32_t *warned = &warned_here;	/* shared with fork children once there are any */

void pl_attach_prefork(void)
{
	uint32_t *m;

	if (warned != &warned_here || ld_acq(&pl_attach_failed))
		return;
	m = mmap(NULL, SD_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (m != MAP_FAILED) {
		*m = warned_here;
		warned = m;
	}
}

void pl_attach_child(void)
{
	attach_lock = 0;
	ctl_lock = 0;
}

static const char *run_dir(void)
{
	const char *dir = pl_env_run_dir();

	return dir ? dir : RUN_DIR_DEFAULT;
}

void pl_warn_once(const char *fmt, ...)
{
	char line[512];
	va_list ap;
	int n;

	if (xchg_sc(warned, 1))
		return;
	va_start(ap, fmt);
	n = vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	if (n >= (int)sizeof(line))
		n = sizeof(line) - 1;
	if (n > 0 && real.write(2, line, (size_t)n) < 0)
		return;			/* nowhere to say it */
}

static int daemon_connect(const char *dir, int *ret_fd)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	int fd, n = snprintf(un.sun_path, sizeof(un.sun_path), "%s/%s", dir, SD_CTL_SOCK);

	if (n < 0 || n >= (int)sizeof(un.sun_path))
		return -ENAMETOOLONG;
	fd = real.socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (real.connect(fd, (struct sockaddr *)&un, sizeof(un)) < 0) {
		int err = -errno;

		real.close(fd);
		return err;
	}
	*ret_fd = fd;
	return 0;
}

/* ---- one request, one answer ---- */

static unsigned take_fds(struct msghdr *m, int *fds, unsigned max)
{
	unsigned n = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		unsigned cnt = (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (unsigned i = 0; i < cnt; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
			if (n < max)
				fds[n++] = fd;
			else
				real.close(fd);
		}
	}
	return n;
}

struct request {
	const void *msg;
	size_t len;
	int show;			/* fd to send along, -1 = none */
};

static bool request_send(int ctl, const struct request *q)
{
	union { char b[CMSG_SPACE(sizeof(int))]; struct cmsghdr align; } cb = { { 0 } };
	struct iovec iov = { (void *)q->msg, q->len };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (q->show >= 0) {
		cb.align = (struct cmsghdr){ CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS };
		memcpy(CMSG_DATA(&cb.align), &q->show, sizeof(int));
		m.msg_control = &cb;
		m.msg_controllen = sizeof(cb);
	}
	return real.sendmsg(ctl, &m, MSG_NOSIGNAL) == (ssize_t)q->len;
}

/* One message. Return: its length, or -errno. */
static int receive(int ctl, void *resp, size_t resp_len, int *fds, unsigned max_fds,
		   unsigned *ret_nfds, int flags)
{
	union { char b[CMSG_SPACE(SD_CTL_MAXFDS * sizeof(int))]; struct cmsghdr align; } cb;
	struct iovec iov = { resp, resp_len };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &cb,
			    .msg_controllen = sizeof(cb) };
	const struct sd_ctl_head *h = resp;
	ssize_t n;

	do
		n = real.recvmsg(ctl, &m, MSG_CMSG_CLOEXEC | flags);
	while (n < 0 && errno == EINTR);
	if (n < 0 && errno == EAGAIN)
		return -EAGAIN;
	if (n <= 0)
		return -ECONNRESET;
	*ret_nfds = take_fds(&m, fds, max_fds);
	if ((size_t)n < sizeof(*h) || h->len != (size_t)n || (m.msg_flags & MSG_CTRUNC))
		return -EPROTO;
	return (int)n;
}

/* What nobody waited for: CTL_AGAIN of an engine that was restarted, a second answer. */
static void drain(int ctl, int *fds, unsigned max_fds)
{
	union { struct sd_ctl_hello_r r; struct sd_ctl_error e; } old;
	unsigned n = 0;

	int r;

	do {
		r = receive(ctl, &old, sizeof(old), fds, max_fds, &n, MSG_DONTWAIT);
		while (n)
			real.close(fds[--n]);
	} while (r > 0);
}

/* The daemon's last no, in its own words; guarded by attach_lock while attaching. */
static char no_text[sizeof(((struct sd_ctl_error *)0)->text)];

static int told_no(const struct sd_ctl_error *e, size_t len)
{
	if (len < sizeof(*e) || e->err >= 0)
		return -EPROTO;
	snprintf(no_text, sizeof(no_text), "%.*s", (int)sizeof(e->text) - 1, e->text);
	return e->err;
}

static int exchange(int ctl, const struct request *q, void *resp, size_t resp_len, int *fds,
		    unsigned max_fds, unsigned *ret_nfds)
{
	const struct sd_ctl_head *h = resp;
	int n;

	drain(ctl, fds, max_fds);
	do {
		if (!request_send(ctl, q))
			return -ECONNRESET;
		n = receive(ctl, resp, resp_len, fds, max_fds, ret_nfds, 0);
	} while (n > 0 && h->type == CTL_AGAIN);
	if (n < 0)
		return n;
	return h->type == CTL_ERROR ? told_no(resp, (size_t)n) : 0;
}

/* exchange() with the received fds raised out of the program's way. */
static int exchange_raised(int ctl, const struct request *q, void *resp, size_t resp_len,
			   int *fds, unsigned max_fds, unsigned *ret_nfds)
{
	unsigned n = 0;
	struct pl_lift lift;
	int r;

	pl_lift_begin(&lift);
	r = exchange(ctl, q, resp, resp_len, fds, max_fds, &n);
	pl_lift_end(&lift);
	for (unsigned i = 0; i < n; i++) {
		fds[i] = r ? (real.close(fds[i]), -1) : pl_fd_own(fds[i]);
		if (!r && fds[i] < 0) {
			r = fds[i];
			while (i > 0)
				pl_fd_disown(fds[--i]);
			break;
		}
	}
	*ret_nfds = r ? 0 : n;
	return r;
}

static int ctl_call(const struct request *q, void *resp, size_t resp_len, int *fds,
		    unsigned max_fds, unsigned *ret_nfds)
{
	sigset_t old;
	int r;

	pl_sig_block(&old);
	shm_lock(&ctl_lock, pl_self());
	r = exchange_raised(pl.ctl_fd, q, resp, resp_len, fds, max_fds, ret_nfds);
	shm_unlock(&ctl_lock, pl_self());
	pl_sig_restore(&old);
	return r;
}

int pl_ctl_call(const void *req, size_t len, void *resp, size_t resp_len, int *fds,
		unsigned max_fds, unsigned *ret_nfds)
{
	return ctl_call(&(struct request){ req, len, -1 }, resp, resp_len, fds, max_fds,
			ret_nfds);
}

int pl_ctl_show(const void *req, size_t len, int fd, void *resp, size_t resp_len)
{
	unsigned n;

	return ctl_call(&(struct request){ req, len, fd }, resp, resp_len, NULL, 0, &n);
}

void pl_low_port(uint16_t port)
{
	struct sd_ctl_lowport req = { .h = { CTL_LOWPORT, sizeof(req) }, .port = port };
	union { struct sd_ctl_lowport r; struct sd_ctl_error e; } resp;
	unsigned n;

	if (!port || port >= ld_rlx(&pl.info->port_start))
		return;
	for (int i = 0; i < LOWPORT_TRIES; i++) {
		int r = pl_ctl_call(&req, sizeof(req), &resp, sizeof(resp), NULL, 0, &n);

		if (r == -EACCES && req.proof)
			req.proof = 0;		/* the engine was restarted in between */
		else if (r || resp.r.h.type != CTL_LOWPORT_R || !resp.r.proof)
			return;
		else
			req.proof = resp.r.proof;
	}
}

/* ---- attach ---- */

static int map_info(int fd)
{
	const struct sd_info *info = mmap(NULL, SD_INFO_SIZE, PROT_READ, MAP_SHARED, fd, 0);

	if (info == MAP_FAILED)
		return -errno;
	if (ld_acq(&info->magic) != SD_INFO_MAGIC || info->major != SD_ABI_MAJOR) {
		munmap((void *)info, SD_INFO_SIZE);
		return -EPROTO;
	}
	pl.info = info;
	return 0;
}

/* @fds: info, RO, RW, doorbells, eventfds, as CTL_HELLO_R says. All are ours to keep or close.
 * @cloned: the open table is that of the image before exec. */
static int take_hello(const struct sd_ctl_hello_r *r, int *fds, unsigned nfds, bool cloned)
{
	int err;

	if (r->workers == 0 || r->workers > SD_MAX_WORKERS || r->mbox_cnt > SD_CTL_EVENTFDS ||
	    nfds != 3 + r->workers + r->mbox_cnt || r->proc >= SD_MAX_PROCS)
		return -EPROTO;
	err = map_info(fds[0]);
	if (err)
		return err;
	err = shm_seg_map(fds[1], fds[2], false, &pl.seg);
	if (err) {
		munmap((void *)pl.info, SD_INFO_SIZE);
		pl.info = NULL;
		return err;
	}
	pl.seg.id = r->seg;
	for (int i = 0; i < 3; i++)
		real.close(fds[i]);
	if (cloned)
		pl_exec_forget(shm_proc(&pl.seg, r->proc));
	pl_proc_take(r, fds + 3);
	return 0;
}

static int attach_locked(const char *dir)
{
	struct sd_ctl_hello hello = {
		.h = { CTL_HELLO, sizeof(hello) }, .major = SD_ABI_MAJOR, .minor = SD_ABI_MINOR,
	};
	union { struct sd_ctl_hello_r r; struct sd_ctl_error e; } resp;
	int fds[3 + SD_MAX_WORKERS + SD_CTL_EVENTFDS], ctl = -1, err;
	unsigned nfds = 0;

	no_text[0] = '\0';
	strncpy(hello.comm, program_invocation_short_name, sizeof(hello.comm) - 1);
	err = daemon_connect(dir, &ctl);
	if (err)
		return err;
	ctl = pl_fd_raise(ctl);
	if (ctl < 0)
		return ctl;
	err = exchange_raised(ctl, &(struct request){ &hello, sizeof(hello), -1 }, &resp,
			      sizeof(resp), fds, 3 + SD_MAX_WORKERS + SD_CTL_EVENTFDS, &nfds);
	if (!err && resp.r.h.type != CTL_HELLO_R)
		err = -EPROTO;
	if (!err) {
		pl.ctl_fd = ctl;
		err = take_hello(&resp.r, fds, nfds, false);
	}
	if (err) {
		pl.ctl_fd = -1;
		for (unsigned i = 0; i < nfds; i++)
			real.close(fds[i]);
		real.close(ctl);
	}
	return err;
}

static int reattach_locked(int old)
{
	struct sd_ctl_hello req = {
		.h = { CTL_REATTACH, sizeof(req) }, .major = SD_ABI_MAJOR, .minor = SD_ABI_MINOR,
	};
	union { struct sd_ctl_hello_r r; struct sd_ctl_error e; } resp;
	int fds[4 + SD_MAX_WORKERS + SD_CTL_EVENTFDS], err;
	unsigned nfds = 0;

	strncpy(req.comm, program_invocation_short_name, sizeof(req.comm) - 1);
	err = exchange_raised(old, &(struct request){ &req, sizeof(req), -1 }, &resp,
			      sizeof(resp), fds, 4 + SD_MAX_WORKERS + SD_CTL_EVENTFDS, &nfds);
	if (!err && (resp.r.h.type != CTL_REATTACH_R || !nfds))
		err = -EPROTO;
	if (!err) {
		pl.ctl_fd = fds[0];
		err = take_hello(&resp.r, fds + 1, nfds - 1, true);
	}
	if (err) {
		pl.ctl_fd = -1;
		for (unsigned i = 0; i < nfds; i++)
			real.close(fds[i]);
		return err;
	}
	pl_exec_sweep();
	return 0;
}

void pl_attach_inherit(int ctl)
{
	int err, saved = errno;
	sigset_t old;

	pl_sig_block(&old);
	shm_lock(&attach_lock, pl_self());
	err = pl.attached ? -EEXIST : reattach_locked(ctl);
	if (!err)
		st_rel(&pl.attached, true);
	/* What the image before exec held ends with its connection. */
	real.close(ctl);
	shm_unlock(&attach_lock, pl_self());
	pl_sig_restore(&old);
	for (int fd = 0; !err && fd <= 2; fd++)
		if (pl_fd_slot(fd))
			pl_stdio_std(fd);
	if (err)
		pl_warn_once("stackd: %s: inherited sockets are lost (%s)\n",
			     program_invocation_short_name, strerrordesc_np(-err));
	errno = saved;
}

static void explain(const char *dir, int err)
{
	if (err == -ENOENT || err == -ECONNREFUSED)
		pl_warn_once("stackd: no daemon at %s: %s uses the kernel's network stack\n", dir,
			     program_invocation_short_name);
	else
		pl_warn_once("stackd: cannot attach to the daemon at %s (%s): %s uses the "
			     "kernel's network stack\n", dir,
			     *no_text ? no_text : strerrordesc_np(-err),
			     program_invocation_short_name);
}

/* After a failure: is it time to look again, and is there a socket? */
static bool retry_due(void)
{
	uint64_t now = pl_now_ns(), at = ld_rlx(&retry_at_ns);
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	int n;

	if (now < at || !cas_sc(&retry_at_ns, &at, now + RETRY_NS))
		return false;
	n = snprintf(path, sizeof(path), "%s/%s", run_dir(), SD_CTL_SOCK);
	return n > 0 && n < (int)sizeof(path) && pl_sys(SYS_access, path, F_OK) == 0;
}

int pl_attach(void)
{
	int err = 0, saved = errno;
	sigset_t old;

	if (__builtin_expect(ld_acq(&pl.attached), 1))
		return 0;
	if (ld_acq(&pl_attach_failed) && !retry_due())
		return -ENOENT;
	pl_sig_block(&old);
	shm_lock(&attach_lock, pl_self());
	if (!pl.attached) {
		const char *dir = run_dir();

		err = attach_locked(dir);
		if (err) {
			explain(dir, err);
			st_rlx(&retry_at_ns, pl_now_ns() + RETRY_NS);
			st_rel(&pl_attach_failed, 1);
		} else {
			st_rel(&pl.attached, true);
		}
	}
	err = pl.attached ? 0 : -ENOENT;
	shm_unlock(&attach_lock, pl_self());
	pl_sig_restore(&old);
	errno = saved;
	return err;
}
