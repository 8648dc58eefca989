/* SPDX-License-Identifier: MIT */
/* preload/accept.c - accept, accept4
 * A listener has one ring per worker; acceptors start at a ring of their own and go round. An
 * accepted socket gets its fd by duplicating a placeholder socket of the listener's family: one
 * system call. A hybrid listener has the kernel's queue as well; what comes from there is a plain
 * kernel fd.
 * Holds:   A1 an entry is claimed until the fd stands in the open table: who dies in between loses
 *          nothing
 * Spec:    S1, H4
 */
#include <netinet/in.h>
#include <pthread.h>

#include "preload/pl_int.h"

#define KERN_TURN 16		/* every so many accepts the kernel's queue is asked first */

static uint32_t rotor;			/* relaxed; only spreads acceptors over rings */

/* A dup of the placeholder of @family. Return: fd or -errno. */
static int placeholder_dup(int family, bool cloexec)
{
	int *ph = &pl.placeholder[family == AF_INET6], fd;

	if (__builtin_expect(ld_rlx(ph) < 0, 0)) {
		fd = real.socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (fd < 0)
			return -errno;
		fd = pl_fd_own(fd);
		if (fd < 0)
			return fd;
		int none = -1;
		if (!cas_sc(ph, &none, fd))
			pl_fd_disown(fd);	/* another thread was faster */
	}
	fd = real.fcntl(ld_rlx(ph), cloexec ? F_DUPFD_CLOEXEC : F_DUPFD, 0);
	return fd < 0 ? -errno : fd;
}

/* Give the claimed connection @slot an fd. */
static int install(uint32_t slot, uint32_t gen, int family, int flags)
{
	struct sd_slot_p *p = pl_p(slot);
	int fd;

	if (ld_rlx(&p->gen) != gen)
		return -ECONNABORTED;
	fd = placeholder_dup(family, flags & SOCK_CLOEXEC);
	if (fd < 0)
		return fd;
	if ((unsigned)fd >= SD_FDS) {
		real.close(fd);
		return -EMFILE;
	}
	or_sc(&p->flags, SD_P_PLACEHOLD | (flags & SOCK_NONBLOCK ? SD_P_NONBLOCK : 0));
	pl_fd_enter_own(fd, slot);
	pl_why(fd, "stackd", "accepted");
	return fd;
}

/* Return: fd, -EAGAIN when all rings are empty, or -errno. */
static int from_rings(uint32_t lslot, struct sockaddr *sa, socklen_t *len, int flags)
{
	const struct sd_slot_e *e = pl_e(lslot);
	uint32_t base = ld_rlx(&e->accept_base), cnt = ld_rlx(&e->accept_cnt);
	uint32_t first = rotor++, slot, gen, idx;
	int family = pl_p(lslot)->opts.family, fd;

	for (uint32_t i = 0; i < cnt && i < SD_MAX_WORKERS; i++) {
		struct sd_accept_ring *r = shm_accept_ring(&pl.seg, base + (first + i) % cnt);

		if (!r || !shm_accept_claim(r, pl.proc_idx, pl.proc_gen, &slot, &gen, &idx))
			continue;
		fd = install(slot, gen, family, flags);
		if (fd < 0 && fd != -ECONNABORTED) {
			shm_accept_unclaim(r, idx);
			return fd;
		}
		shm_accept_done(r, idx);
		if (fd >= 0)
			pl_addr_out(family, &pl_e(slot)->raddr, pl_e(slot)->rport, sa, len);
		return fd;
	}
	return -EAGAIN;
}

static int from_kernel(int fd, struct sockaddr *sa, socklen_t *len, int flags)
{
	int r = real.accept4(fd, sa, len, flags);

	return r < 0 ? -errno : r;
}

/* Both sources once. */
static int try_accept(int fd, uint32_t slot, struct sockaddr *sa, socklen_t *len, int flags)
{
	bool hybrid = ld_rlx(&pl_p(slot)->flags) & SD_P_HYBRID;
	bool kern_first = hybrid && rotor % KERN_TURN == 0;
	int r = kern_first ? from_kernel(fd, sa, len, flags) : -EAGAIN;

	if (r == -EAGAIN)
		r = from_rings(slot, sa, len, flags);
	if (r == -EAGAIN && hybrid && !kern_first)
		r = from_kernel(fd, sa, len, flags);
	return r;
}

static int sock_accept(int fd, uint32_t slot, struct sockaddr *sa, socklen_t *len, int flags)
{
	struct sd_slot_p *p = pl_p(slot);
	struct pl_deadline d;
	int r, kern;

	pthread_testcancel();
	if (flags & ~(SOCK_NONBLOCK | SOCK_CLOEXEC))
		return -EINVAL;
	if (p->opts.type != SOCK_STREAM)
		return -EOPNOTSUPP;
	if (sa && len && (int)*len < 0)
		return -EINVAL;
	if (pl_state_of(slot) != SD_ST_LISTEN)
		return -EINVAL;
	d = pl_deadline_in(ld_rlx(&p->rcvtimeo_ms));
	for (;;) {
		r = try_accept(fd, slot, sa, len, flags);
		if (r != -EAGAIN || pl_nonblock(slot, 0))
			return r;
		kern = ld_rlx(&p->flags) & SD_P_HYBRID ? fd : -1;
		r = pl_wait(slot, SD_EV_IN | PL_WAIT_KEEP, pl_deadline_left(&d), kern);
		if (r)
			return r;
		if (pl_state_of(slot) != SD_ST_LISTEN)
			return -EINVAL;
	}
}

PL_EXPORT int accept4(int fd, struct sockaddr *sa, socklen_t *len, int flags)
{
	uint32_t slot = pl_fd_slot(fd);
	int r;

	if (!slot)
		return real.accept4(fd, sa, len, flags);
	r = sock_accept(fd, slot, sa, len, flags);
	pl_wait_end();
	return r < 0 ? (int)pl_fail(r) : r;
}

PL_EXPORT int accept(int fd, struct sockaddr *sa, socklen_t *len)
{
	uint32_t slot = pl_fd_slot(fd);
	int r;

	if (!slot)
		return real.accept(fd, sa, len);
	r = sock_accept(fd, slot, sa, len, 0);
	pl_wait_end();
	return r < 0 ? (int)pl_fail(r) : r;
}
