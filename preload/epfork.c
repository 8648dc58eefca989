/* SPDX-License-Identifier: MIT */
/* preload/epfork.c - epoll sets after fork
 * fork copies a set's state, but its mailbox and its subscriptions stay the parent's, and the real
 * epoll fd behind it is one object for both. A child that never touches the set leaves all of it
 * alone. On first use the child *adopts* it: a real epoll fd of its own behind the same number,
 * with the same kernel members (the kernel lists them in /proc/self/fdinfo), a mailbox of its own,
 * and subscriptions anew. So parent and child each see every event, where Linux would let them
 * share one set: what a child expects that goes on with an inherited loop, without harm to the
 * parent's.
 * Spec:    S3
 * Threads: between prepare and parent/child only the forking one
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

#include "preload/epoll_int.h"

#define LINE_MAX_LEN 256

void pl_epoll_fork_prepare(void)
{
	shm_lock(&ep.lock, pl_self());
	for (uint32_t id = 1; id < ep.end; id++)
		if (ep.sets[id]->tag)
			shm_lock(&ep.sets[id]->lock, pl_self());
}

void pl_epoll_fork_parent(void)
{
	for (uint32_t id = 1; id < ep.end; id++)
		if (ep.sets[id]->tag)
			shm_unlock(&ep.sets[id]->lock, pl_self());
	shm_unlock(&ep.lock, pl_self());
}

void pl_epoll_fork_child(void)
{
	ep.fork_gen++;
	for (uint32_t id = 1; id < ep.end; id++) {
		struct pl_epset *s = ep.sets[id];

		s->sleepers = 0;	/* the parent's threads */
		s->spinning = 0;
		s->lock = 0;
	}
	ep.lock = 0;
}

/* One line of fdinfo: "tfd: F events: HEX data: HEX pos:... ino:HEX ...". */
static bool parse_member(const char *line, int *ret_fd, struct epoll_event *ret_ev,
			 unsigned long *ret_ino)
{
	const char *events = strstr(line, "events:"), *data = strstr(line, "data:");
	const char *ino = strstr(line, "ino:");

	if (strncmp(line, "tfd:", 4) || !events || !data || !ino)
		return false;
	*ret_fd = (int)strtol(line + 4, NULL, 10);
	ret_ev->events = (uint32_t)strtoul(events + 7, NULL, 16);
	ret_ev->data.u64 = strtoull(data + 5, NULL, 16);
	*ret_ino = strtoul(ino + 4, NULL, 16);
	return true;
}

static void copy_member(const char *line, int to)
{
	struct epoll_event ev;
	unsigned long ino;
	struct stat st;
	int fd;

	if (!parse_member(line, &fd, &ev, &ino) || ev.data.u64 == ep.cookie)
		return;
	if (!fstat(fd, &st) && st.st_ino == ino)
		real.epoll_ctl(to, EPOLL_CTL_ADD, fd, &ev);
}

/* Kernel members of @from into @to. Without /proc there are none to be found. */
static void copy_members(int from, int to)
{
	char path[64], buf[4096];
	size_t have = 0;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", from);
	fd = (int)pl_sys(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	while ((n = pl_sys(SYS_read, fd, buf + have, sizeof(buf) - 1 - have)) > 0) {
		char *at = buf, *nl;

		have += (size_t)n;
		buf[have] = 0;
		for (; (nl = strchr(at, '\n')); at = nl + 1) {
			*nl = 0;
			copy_member(at, to);
		}
		have -= (size_t)(at - buf);
		memmove(buf, at, have);
		if (have > LINE_MAX_LEN)
			have = 0;	/* no line of an epoll fd is that long */
	}
	pl_sys(SYS_close, fd);
}

int epset_privatise(struct pl_epset *s)
{
	int old = epset_fd(s), fd, r = 0;
	uint32_t hi = ld_rlx(&pl.proc->hi_fd);

	if (old < 0)
		return -EBADF;
	fd = real.epoll_create1(EPOLL_CLOEXEC);
	if (fd < 0)
		return -errno;
	copy_members(old, fd);
	for (uint32_t i = 0; i < hi && !r; i++) {
		int flags;

		if (epset_of(pl_fd((int)i)) != s)
			continue;
		flags = real.fcntl((int)i, F_GETFD, 0);
		if (real.dup3(fd, (int)i, flags & FD_CLOEXEC ? O_CLOEXEC : 0) < 0)
			r = -errno;
	}
	real.close(fd);
	return r;
}

int epset_adopt(struct pl_epset *s)
{
	int r;

	st_rel(&s->mb.mbox, 0);		/* the parent's */
	s->m = NULL;
	s->ready_head = s->ready_tail = s->ready_cnt = 0;
	r = epset_activate(s);
	if (r)
		return r;
	for (uint32_t i = 1; i < s->item_end; i++) {
		struct pl_epitem *it = &s->items[i];

		it->queued = false;
		it->next_ready = 0;
		if (it->ofd && epitem_subscribe(s, it))
			epitem_del(s, it);
	}
	return 0;
}
