/* SPDX-License-Identifier: MIT */
/* preload/epctl.c - epoll_create(), epoll_ctl(), and what happens to members when fds change
 * Spec:    S1, S2; the order of checks is Linux's do_epoll_ctl
 * Threads: all
 */
#include "preload/epoll_int.h"

#define EXCLUSIVE_OK \
	(EPOLLIN | EPOLLOUT | EPOLLERR | EPOLLHUP | EPOLLWAKEUP | EPOLLET | EPOLLEXCLUSIVE)

#define EARLY_FDS	4096		/* where dups of epoll fds are looked for */

/* ---- epoll_create ---- */

static int created(int epfd)
{
	bool attached = ld_acq(&pl.attached);
	sd_ofd o;

	if ((unsigned)epfd >= SD_FDS)
		return epfd;
	epbit_set(ep.early, epfd, !attached);
	epbit_set(ep.early_nested, epfd, false);
	if (attached)
		epset_new(epfd, 0, &o);
	return epfd;
}

PL_EXPORT int epoll_create(int size)
{
	return created(real.epoll_create(size));
}

PL_EXPORT int epoll_create1(int flags)
{
	return created(real.epoll_create1(flags));
}

/* ---- epoll_ctl on kernel fds ---- */

static void count_kernel(struct pl_epset *s, int op)
{
	if (op == EPOLL_CTL_ADD)
		add_sc(&s->kern_cnt, 1);
	else if (op == EPOLL_CTL_DEL && ld_rlx(&s->kern_cnt))
		sub_sc(&s->kern_cnt, 1);
}

/* @fd is the kernel's, or an epoll set of ours that becomes a member of another. */
static int ctl_kernel(sd_ofd eo, int epfd, int op, int fd, struct epoll_event *ev)
{
	struct pl_epset *s = epset_of(eo);
	sd_ofd fo = pl_fd(fd);
	int r;

	if (SD_OFD_KIND(fo) == SD_OFD_SHIM)
		return (int)pl_fail(-EBADF);
	if (s && s->fork_gen != ep.fork_gen && epset_active(s) &&
	    !epset_lock(s, SD_OFD_GEN(eo)))
		epset_unlock(s);	/* adopted */
	r = real.epoll_ctl(epfd, op, fd, ev);
	if (r)
		return r;
	if (s)
		count_kernel(s, op);
	if (op == EPOLL_CTL_ADD)
		pl_epset_arm(fo);	/* does nothing unless it is a set */
	else if (op == EPOLL_CTL_DEL)
		pl_epset_disarm(fo);
	if (!fo && op != EPOLL_CTL_MOD && epbit_get(ep.early, fd))
		epbit_set(ep.early_nested, fd, op == EPOLL_CTL_ADD);
	return 0;
}

/* ---- epoll_ctl on sockets ---- */

static int check(int epfd, int op, int fd, const struct epoll_event *ev)
{
	bool has_event = op == EPOLL_CTL_ADD || op == EPOLL_CTL_MOD;

	if (has_event && !ev)
		return -EFAULT;
	if (epfd == fd)
		return -EINVAL;
	if (has_event && ev->events & EPOLLEXCLUSIVE &&
	    (op == EPOLL_CTL_MOD || ev->events & ~EXCLUSIVE_OK))
		return -EINVAL;
	return 0;
}

static int ctl_item(struct pl_epset *s, int op, int fd, sd_ofd fo, const struct epoll_event *ev)
{
	struct pl_epitem *it = epitem_find(s, fd, fo);

	switch (op) {
	case EPOLL_CTL_ADD:
		return it ? -EEXIST : epitem_add(s, fd, fo, ev);
	case EPOLL_CTL_DEL:
		if (!it)
			return -ENOENT;
		epitem_del(s, it);
		return 0;
	case EPOLL_CTL_MOD:
		if (!it)
			return -ENOENT;
		return it->events & EPOLLEXCLUSIVE ? -EINVAL : epitem_mod(s, it, ev);
	default:
		return -EINVAL;
	}
}

/* Fds that were dup'ed from @epfd before the process attached: only this set has the mailbox's
 * eventfd as a member, so only its fds can change that membership. */
static void find_dups(struct pl_epset *s, int epfd, sd_ofd o)
{
	struct epoll_event ev = { .events = EPOLLIN | EPOLLET, .data.u64 = ep.cookie };
	int efd = pl_efd[s->mb.mbox];

	for (int fd = 0; fd < EARLY_FDS; fd++)
		if (fd != epfd && !pl_fd(fd) && !real.epoll_ctl(fd, EPOLL_CTL_MOD, efd, &ev))
			shm_ofd_set(pl.proc, fd, o);
}

/* The set behind @epfd, made if need be, locked and active. */
static int set_for_member(sd_ofd eo, int epfd, struct pl_epset **ret_s)
{
	struct pl_epset *s = epset_of(eo);
	bool made = false, activated = false;
	int r;

	if (!s && SD_OFD_KIND(eo) && SD_OFD_KIND(eo) != SD_OFD_EPOLL)
		return -EINVAL;		/* a socket */
	if (!s) {
		r = epset_new(epfd, 1, &eo);
		if (r)
			return r;
		s = epset_of(eo);
		made = true;
	}
	r = epset_lock(s, SD_OFD_GEN(eo));
	if (r)
		return r == -EDEADLK ? -ENOMEM : r;
	s->epfd = epfd;
	if (!epset_active(s)) {
		r = epset_activate(s);
		activated = !r;
	}
	if (!r && made)
		find_dups(s, epfd, eo);
	if (activated)
		epset_raw_arm(s);
	if (r) {
		if (made) {
			shm_ofd_take(pl.proc, epfd);
			epset_end(s);
		}
		epset_unlock(s);
		return r;
	}
	*ret_s = s;
	return 0;
}

static int ctl_socket(sd_ofd eo, int epfd, int op, int fd, sd_ofd fo, const struct epoll_event *ev)
{
	struct pl_epset *s;
	int r = check(epfd, op, fd, ev);

	if (r)
		return r;
	r = set_for_member(eo, epfd, &s);
	if (r)
		return r;
	r = ctl_item(s, op, fd, fo, ev);
	epset_pass_on(s);
	epset_unlock(s);
	return r;
}

PL_EXPORT int epoll_ctl(int epfd, int op, int fd, struct epoll_event *ev)
{
	sd_ofd fo = pl_fd(fd);
	int r, saved = errno;

	if (SD_OFD_KIND(fo) != SD_OFD_SOCK)
		return ctl_kernel(pl_fd(epfd), epfd, op, fd, ev);
	r = ctl_socket(pl_fd(epfd), epfd, op, fd, fo, ev);
	errno = saved;
	return r ? (int)pl_fail(r) : 0;
}

/* ---- fds that change under a set ---- */

static void set_fd_closed(struct pl_epset *s, int fd, sd_ofd o)
{
	uint32_t hi = ld_rlx(&pl.proc->hi_fd);

	for (uint32_t i = 0; i < hi; i++)
		if ((int)i != fd && epset_of(pl_fd((int)i)) == s)
			return;		/* a dup lives on */
	if (epset_lock(s, SD_OFD_GEN(o)))
		return;
	s->closed = true;
	if (!s->sleepers) {
		if (epset_active(s) && s->fork_gen == ep.fork_gen)
			real.epoll_ctl(fd, EPOLL_CTL_DEL, pl_efd[s->mb.mbox], NULL);
		epset_end(s);
	}
	epset_unlock(s);
}

/* Calls @fn for the item of (@fd, @o) in each set that has one. */
static void each_item(int fd, sd_ofd o, void (*fn)(struct pl_epset *s, struct pl_epitem *it))
{
	for (uint32_t id = 1; id < ld_acq(&ep.end) && ep.fd_items[fd]; id++) {
		struct pl_epset *s = ep.sets[id];
		struct pl_epitem *it;

		if (!ld_rlx(&s->tag) || !epset_active(s) ||
		    !epset_grab(s))
			continue;
		it = s->item_cnt ? epitem_find(s, fd, o) : NULL;
		if (it)
			fn(s, it);
		epset_unlock(s);
	}
}

static void item_closed(struct pl_epset *s, struct pl_epitem *it)
{
	/* Not left to the kernel: an unshimmed process may hold the kernel's socket as well. */
	if (it->hybrid && s->fork_gen == ep.fork_gen)
		real.epoll_ctl(epset_fd(s), EPOLL_CTL_DEL, it->fd, NULL);
	epitem_del(s, it);
}

void pl_epoll_fd_closed(int fd, sd_ofd o)
{
	const struct sd_slot_p *p = pl_p(SD_OFD_IDX(o));
	struct pl_epset *s = epset_of(o);
	int saved = errno;

	if (s)
		set_fd_closed(s, fd, o);
	else if (SD_OFD_KIND(o) == SD_OFD_SOCK && (unsigned)fd < SD_FDS && ep.fd_items[fd] &&
		 p && ld_rlx(&p->refs) <= 1)	/* else the description lives on, and its members */
		each_item(fd, o, item_closed);
	errno = saved;
}

static void item_fallback(struct pl_epset *s, struct pl_epitem *it)
{
	struct epoll_event ev = { .events = it->events, .data.u64 = it->data };
	int fd = it->fd, epfd = epset_fd(s);

	if (s->fork_gen == ep.fork_gen) {
		real.epoll_ctl(epfd, EPOLL_CTL_DEL, fd, NULL);	/* it may have been a hybrid */
		real.epoll_ctl(epfd, EPOLL_CTL_ADD, fd, &ev);
		s->kern_cnt++;
	}
	epitem_del(s, it);
}

void pl_epoll_fd_fallback(int fd, sd_ofd o)
{
	int saved = errno;

	if ((unsigned)fd < SD_FDS && ep.fd_items[fd])
		each_item(fd, o, item_fallback);
	errno = saved;
}

void pl_epoll_hybrid(uint32_t slot)
{
	bool on = ld_acq(&pl_p(slot)->flags) & SD_P_HYBRID;

	for (uint32_t id = 1; id < ld_acq(&ep.end); id++) {
		struct pl_epset *s = ep.sets[id];

		if (!ld_rlx(&s->tag) || !s->item_cnt || s->fork_gen != ep.fork_gen ||
		    !epset_grab(s))
			continue;
		for (uint32_t i = 1; i < s->item_end; i++) {
			struct pl_epitem *it = &s->items[i];

			if (!it->ofd || SD_OFD_IDX(it->ofd) != slot || it->hybrid == on)
				continue;
			epitem_hybrid(s, it, on);
			s->kern_cnt += on;
		}
		epset_unlock(s);
	}
}
