/* SPDX-License-Identifier: MIT */
/* preload/scm.c - stackd sockets in SCM_RIGHTS messages
 * The kernel fd behind a connected stackd socket carries nothing, so it is not what travels. Out:
 * the engine gives one end of a socket pair whose other end it holds with a reference of the slot
 * (EXPORT); that end is sent in place of the fd. In: a Unix stream socket that arrives may be such
 * an end; the engine is shown it (IMPORT). If the socket is of our family, the fd number gets a
 * kernel socket of the right kind and an open-table entry, and the pair is forgotten. Otherwise the
 * fd stays what it is, and the engine carries bytes through it.
 * A socket whose kernel half is live (a listener on a wildcard, UDP) travels as its kernel fd:
 * there the receiver has the kernel's half only.
 * Spec:    S3, S3b
 * Threads: any
 */
#include <alloca.h>
#include <string.h>

#include "preload/pl_int.h"
#include "stackd/ctl.h"

#define CONTROL_MAX 8192u	/* the kernel's own limit of fds needs half of that */

static int export_fd(uint32_t slot, uint32_t flags)
{
	struct sd_ctl_slot req = { .h = { CTL_EXPORT, sizeof(req) }, .slot = slot,
				   .gen = ld_rlx(&pl_p(slot)->gen), .flags = flags };
	union { struct sd_ctl_slot r; struct sd_ctl_error e; } resp;
	unsigned n = 0;
	int fd = -1, r;

	r = pl_ctl_call(&req, sizeof(req), &resp, sizeof(resp), &fd, 1, &n);
	if (r)
		return r;
	if (resp.r.h.type == CTL_EXPORT_R && resp.r.slot == slot && n == 1)
		return fd;
	if (n)
		pl_fd_disown(fd);
	return -EINVAL;
}

/* Does the slot travel, or its kernel fd? */
static uint32_t travels(int fd)
{
	uint32_t slot = pl_fd_slot(fd);

	if (!slot || pl_p(slot)->opts.type != SOCK_STREAM || !pl_live(pl_e(slot), pl_p(slot)) ||
	    (ld_rlx(&pl_p(slot)->flags) & SD_P_HYBRID) || pl_state_of(slot) == SD_ST_CLOSE)
		return 0;
	return slot;
}

int pl_scm_export(int fd)
{
	uint32_t slot = travels(fd);

	return slot ? export_fd(slot, SD_EXPORT_CARRY) : -EINVAL;
}

static struct cmsghdr *rights_next(struct msghdr *m, struct cmsghdr *c)
{
	for (c = c ? CMSG_NXTHDR(m, c) : CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c))
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS &&
		    c->cmsg_len >= CMSG_LEN(0))
			return c;
	return NULL;
}

static size_t rights_cnt(const struct cmsghdr *c)
{
	return (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
}

static int *rights(struct cmsghdr *c)
{
	return (int *)(void *)CMSG_DATA(c);
}

static bool any_travels(struct msghdr *m)
{
	for (struct cmsghdr *c = rights_next(m, NULL); c; c = rights_next(m, c))
		for (size_t i = 0; i < rights_cnt(c); i++)
			if (travels(rights(c)[i]))
				return true;
	return false;
}

/* In @m, which is ours: put exports in the place of sockets. @made: fds to close after sending; the
 * same order each time. Return: 0 or -errno. */
static int replace(struct msghdr *m, int *made, size_t *cnt)
{
	for (struct cmsghdr *c = rights_next(m, NULL); c; c = rights_next(m, c)) {
		for (size_t i = 0; i < rights_cnt(c); i++) {
			uint32_t slot = travels(rights(c)[i]);
			int fd = slot ? export_fd(slot, 0) : 0;

			if (!slot)
				continue;
			if (fd < 0)
				return fd;
			rights(c)[i] = made[(*cnt)++] = fd;
		}
	}
	return 0;
}

ssize_t pl_scm_send(int fd, const struct msghdr *m, int flags)
{
	struct msghdr own = *m;
	size_t cnt = 0;
	int *made, saved;
	ssize_t r;

	if (m->msg_controllen > CONTROL_MAX || !any_travels(&own))
		return real.sendmsg(fd, m, flags);
	made = alloca(m->msg_controllen);
	own.msg_control = alloca(m->msg_controllen);
	memcpy(own.msg_control, m->msg_control, m->msg_controllen);
	r = replace(&own, made, &cnt);
	if (!r)
		r = real.sendmsg(fd, &own, flags);
	else
		r = pl_fail(r);
	saved = errno;
	while (cnt)
		pl_fd_disown(made[--cnt]);
	errno = saved;
	return r;
}

/* ---- arrival ---- */

static bool is_unix_stream(int fd)
{
	int v = 0;
	socklen_t len = sizeof(v);

	if (real.getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &v, &len) || v != AF_UNIX)
		return false;
	return !real.getsockopt(fd, SOL_SOCKET, SO_TYPE, &v, &len) && v == SOCK_STREAM;
}

/* The socket of our family that @fd stands for, 0 = none. */
static uint32_t import_slot(int fd)
{
	struct sd_ctl_head req = { CTL_IMPORT, sizeof(req) };
	union { struct sd_ctl_slot r; struct sd_ctl_error e; } resp;

	if (pl_ctl_show(&req, sizeof(req), fd, &resp, sizeof(resp)) ||
	    resp.r.h.type != CTL_IMPORT_R || ld_rlx(&pl_p(resp.r.slot)->gen) != resp.r.gen)
		return 0;
	return resp.r.slot;
}

static void arrived(int fd)
{
	uint32_t slot;
	int fl, own;

	if ((unsigned)fd >= SD_FDS || !is_unix_stream(fd))
		return;
	slot = import_slot(fd);
	if (!slot)
		return;
	fl = real.fcntl(fd, F_GETFD, 0);
	own = real.socket(pl_p(slot)->opts.family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (own < 0)
		return;			/* it works as it came */
	or_sc(&pl_p(slot)->flags, SD_P_PLACEHOLD);
	pl_fd_enter(fd, slot);		/* counted before the pair goes */
	if (real.dup3(own, fd, fl & FD_CLOEXEC ? O_CLOEXEC : 0) < 0) {
		shm_ofd_take(pl.proc, fd);
		pl_slot_drop(slot);
	}
	real.close(own);
}

void pl_scm_recv(struct msghdr *m)
{
	int saved = errno;

	for (struct cmsghdr *c = rights_next(m, NULL); c; c = rights_next(m, c))
		for (size_t i = 0; i < rights_cnt(c); i++)
			arrived(rights(c)[i]);
	errno = saved;
}
