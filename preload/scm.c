/* SPDX-License-Identifier: MIT */
/* preload/scm.c - stackd sockets in SCM_RIGHTS messages
 * The kernel fd behind a connected stackd socket carries nothing, so it is not what travels. Out:
 * the engine gives one end of a socket pair whose other end it holds with a reference of the slot
 * (EXPORT); that end is sent in place of the fd. In: a Unix stream socket that arrives may be such
 * an end; the engine is shown it (IMPORT). If the socket is of our family, the fd number gets a
 * kernel socket of the right kind and an open-table entry, and the pair is forgotten. Otherwise the
 * fd stays what it is, and the engine carries bytes through it.
 * A socket whose kernel half is its own (a listener on a wildcard, UDP, one not connected) travels
 * as its kernel fd, whose inode stands in the slot: a receiver of the family finds the slot by it
 * and enters it; the engine keeps the slot on the way (TRANSIT). Another holder has the kernel's
 * half.
 * Spec:    S3, S3b
 * Threads: any
 */
#include <alloca.h>
#include <string.h>
#include <sys/stat.h>

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

/* Does the slot travel as a pair, or as its kernel fd? */
static bool by_pair(uint32_t slot)
{
	const struct sd_slot_p *p = pl_p(slot);

	if (p->opts.type != SOCK_STREAM || !pl_live(pl_e(slot), p))
		return false;
	return !pl_own_kern(slot) || (!(ld_rlx(&p->flags) & SD_P_HYBRID) &&
				      pl_state_of(slot) != SD_ST_CLOSE);
}

static uint64_t inode(int fd)
{
	struct stat sb;

	return !fstat(fd, &sb) && S_ISSOCK(sb.st_mode) ? sb.st_ino : 0;
}

static int transit(uint32_t slot, uint32_t flags)
{
	struct sd_ctl_slot req = { .h = { CTL_EXPORT, sizeof(req) }, .slot = slot,
				   .gen = ld_rlx(&pl_p(slot)->gen), .flags = flags };
	union { struct sd_ctl_slot r; struct sd_ctl_error e; } resp;
	unsigned n;

	return pl_ctl_call(&req, sizeof(req), &resp, sizeof(resp), NULL, 0, &n);
}

/* @fd itself is sent. Without the engine's word it arrives if somebody still has the socket open
 * then. */
static void depart(int fd, uint32_t slot)
{
	st_rel(&pl_p(slot)->kern_ino, inode(fd));
	transit(slot, SD_EXPORT_TRANSIT);
}

int pl_scm_export(int fd)
{
	uint32_t slot = pl_fd_slot(fd);

	return slot && by_pair(slot) ? export_fd(slot, SD_EXPORT_CARRY) : -EINVAL;
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
			if (pl_fd_slot(rights(c)[i]))
				return true;
	return false;
}

/* In @m, which is ours: put exports in the place of sockets. @made: fds to close after sending; the
 * same order each time. Return: 0 or -errno. */
static int replace(struct msghdr *m, int *made, size_t *cnt)
{
	for (struct cmsghdr *c = rights_next(m, NULL); c; c = rights_next(m, c)) {
		for (size_t i = 0; i < rights_cnt(c); i++) {
			uint32_t slot = pl_fd_slot(rights(c)[i]);
			int fd;

			if (slot && !by_pair(slot))
				depart(rights(c)[i], slot);
			if (!slot || !by_pair(slot))
				continue;
			fd = export_fd(slot, 0);
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

static int option(int fd, int name)
{
	int v = 0;
	socklen_t len = sizeof(v);

	return real.getsockopt(fd, SOL_SOCKET, name, &v, &len) ? -1 : v;
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

/* The family's socket whose kernel half is @fd, counted once more; 0 = none. */
static uint32_t find_slot(int fd)
{
	uint64_t ino = inode(fd);
	uint32_t slot = 0;

	while (ino && (slot = shm_pslot_taken(&pl.seg, slot + 1)) != 0) {
		struct sd_slot_p *p = pl_p(slot);

		if (ld_acq(&p->kern_ino) != ino || !shm_slot_join(&pl.seg, slot))
			continue;
		if (ld_acq(&p->kern_ino) == ino && !(ld_rlx(&p->flags) & SD_P_FALLEN))
			return slot;
		pl_slot_drop(slot);
	}
	return 0;
}

/* @peek: it will arrive once more. */
static void arrived_itself(int fd, bool peek)
{
	uint32_t slot = find_slot(fd);

	if (!slot)
		return;
	pl_fd_enter_counted(fd, slot);
	if (!peek)
		transit(slot, SD_EXPORT_ARRIVED);
}

static void arrived_pair(int fd)
{
	uint32_t slot;
	int fl, own;

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

static void arrived(int fd, bool peek)
{
	int domain = (unsigned)fd < SD_FDS ? option(fd, SO_DOMAIN) : -1;

	if (domain == AF_UNIX && option(fd, SO_TYPE) == SOCK_STREAM)
		arrived_pair(fd);
	else if (domain == AF_INET || domain == AF_INET6)
		arrived_itself(fd, peek);
}

void pl_scm_recv(struct msghdr *m, int flags)
{
	int saved = errno;

	for (struct cmsghdr *c = rights_next(m, NULL); c; c = rights_next(m, c))
		for (size_t i = 0; i < rights_cnt(c); i++)
			arrived(rights(c)[i], flags & MSG_PEEK);
	errno = saved;
}
