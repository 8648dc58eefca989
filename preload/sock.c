/* SPDX-License-Identifier: MIT */
/* preload/sock.c - socket, bind, listen, names, shutdown
 * A stackd socket is a kernel socket of the same kind and, beside it, a slot. Which of the two
 * carries bytes is decided by what the program does:
 *   bind to a wildcard      both: the kernel first, so that its errno and its port count (hybrid)
 *   bind to stackd's own    the slot alone
 *   bind to anything else   the kernel alone, for good (pl_fallback)
 *   listen                  both for a hybrid; else the slot
 * A datagram socket is a hybrid from birth: both sides receive until connect() or bind() decides.
 * Spec:    S1, S4, H2
 * Threads: any
 */
#include <netinet/in.h>
#include <string.h>

#include "preload/pl_int.h"

#define BIND_TRIES 32

/* ---- socket ---- */

/* Return: protocol number that stackd could serve, 0 = the kernel's. */
static int wanted(int domain, int type, int protocol)
{
	type &= ~(SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (domain != AF_INET && domain != AF_INET6)
		return 0;
	if (type == SOCK_STREAM && (protocol == 0 || protocol == IPPROTO_TCP))
		return IPPROTO_TCP;
	if (type == SOCK_DGRAM && (protocol == 0 || protocol == IPPROTO_UDP))
		return IPPROTO_UDP;
	return 0;
}

static void slot_init(struct sd_slot_p *p, int domain, int type, int proto)
{
	uint32_t gen = ld_rlx(&p->gen) + 1;

	memset(p, 0, sizeof(*p));
	p->opts.family = (uint8_t)domain;
	p->opts.type = (uint8_t)(type & ~(SOCK_NONBLOCK | SOCK_CLOEXEC));
	p->opts.proto = (uint8_t)proto;
	p->opts.rcvlowat = 1;
	p->opts.pmtudisc = IP_PMTUDISC_WANT;
	if (type & SOCK_NONBLOCK)
		p->flags |= SD_P_NONBLOCK;
	if (proto == IPPROTO_UDP)
		p->flags |= SD_P_HYBRID;
	st_rel(&p->gen, gen ? gen : 1);
}

/* No slot to be had: the socket is the kernel's, as if there were no stackd. */
static void sock_new(int fd, int domain, int type, int proto)
{
	uint32_t slot;
	struct sd_cmd cmd;

	if ((unsigned)fd >= SD_FDS)
		return;
	slot = shm_pslot_alloc(&pl.seg);
	if (!slot)
		return;
	slot_init(pl_p(slot), domain, type, proto);
	cmd = pl_cmd_for(slot, SD_OP_ATTACH);
	/* First the fd: a slot in service to which nothing refers is one that was closed. */
	pl_fd_enter(fd, slot);
	if (pl_cmd_quiet(0, &cmd)) {
		shm_ofd_take(pl.proc, fd);
		shm_slot_put(&pl.seg, slot);
		shm_pslot_free(&pl.seg, slot);
	}
}

PL_EXPORT int socket(int domain, int type, int protocol)
{
	int fd = real.socket(domain, type, protocol), proto;

	if (fd < 0)
		return fd;
	proto = wanted(domain, type, protocol);
	if (proto && pl_attach() == 0)
		sock_new(fd, domain, type, proto);
	return fd;
}

/* ---- the kernel socket behind ---- */

int pl_kern_renew(int fd, uint32_t slot)
{
	const struct sd_opts *o = &pl_p(slot)->opts;
	int fdfl = real.fcntl(fd, F_GETFD, 0), stfl = real.fcntl(fd, F_GETFL, 0), r = 0;
	int fresh = real.socket(o->family, o->type | SOCK_CLOEXEC, o->proto);

	if (fresh < 0)
		return -errno;
	pl_opt_copy(fd, fresh);
	real.fcntl(fresh, F_SETFL, stfl & (O_NONBLOCK | O_ASYNC));
	if (real.dup3(fresh, fd, fdfl & FD_CLOEXEC ? O_CLOEXEC : 0) < 0)
		r = -errno;
	real.close(fresh);
	return r;
}

/* ---- bind ---- */

static int bind_engine(uint32_t slot, const struct sd_addr *addr, uint16_t port, uint32_t how)
{
	struct sd_cmd cmd = pl_cmd_for(slot, SD_OP_BIND);
	int r;

	cmd.addr = *addr;
	cmd.port = port;
	cmd.u32[0] = how;
	r = pl_rpc(0, &cmd, NULL, 0, NULL);
	if (!r && port)
		or_sc(&pl_p(slot)->flags, SD_P_BOUND_PORT);
	return r;
}

/* Wildcard: kernel and engine hold the same port, or neither. A port that the kernel picked may be
 * one that it can share (SO_REUSEADDR) but that stackd has connections on, also in TIME_WAIT: then
 * another is tried, or a connect() from it could fail. */
static int bind_both(int fd, uint32_t slot, const struct sockaddr *sa, socklen_t len,
		     const struct sd_addr *addr, uint16_t port)
{
	int r = 0;

	for (int i = 0; i < BIND_TRIES; i++) {
		if (real.bind(fd, sa, len) < 0)
			return -errno;
		r = port ? bind_engine(slot, addr, port, 0) :
			   bind_engine(slot, addr, pl_kern_port(fd), SD_BIND_PICKED);
		if (!r)
			return 0;
		if (pl_kern_renew(fd, slot) || port || r != -EADDRINUSE)
			break;
	}
	return r;
}

/* bind() to the wildcard and port 0 on the program's behalf. */
int pl_bind_auto(int fd, uint32_t slot)
{
	int family = pl_p(slot)->opts.family;
	union pl_sa u = { .sa.sa_family = (sa_family_t)family };
	socklen_t len = sizeof(u.in6);
	struct sd_addr any = { 0 };

	if (family == AF_INET) {
		any = sd_addr_v4((be32){ 0 });
		len = sizeof(u.in);
	}
	return bind_both(fd, slot, &u.sa, len, &any, 0);
}

static int bind_kernel(int fd, uint32_t slot, const struct sockaddr *sa, socklen_t len)
{
	if (real.bind(fd, sa, len) < 0)
		return -errno;
	pl_fallback(fd, slot);
	return 0;
}

static int sock_bind(int fd, uint32_t slot, const struct sockaddr *sa, socklen_t len)
{
	struct sd_addr addr;
	uint16_t port;

	if (!pl_own_kern(slot) || (pl_eflags(slot) & SD_E_BOUND))
		return -EINVAL;
	if (pl_addr_in(pl_p(slot)->opts.family, sa, len, &addr, &port))
		return bind_kernel(fd, slot, sa, len);	/* its errno; AF_UNSPEC it takes */
	if (sd_addr_is_any(&addr))
		return bind_both(fd, slot, sa, len, &addr, port);
	if (pl_route(&addr) != PL_VIA_LOCAL)
		return bind_kernel(fd, slot, sa, len);
	if (pl_kern_port(fd))
		return -EINVAL;
	if (ld_rlx(&pl_p(slot)->flags) & SD_P_HYBRID) {
		and_sc(&pl_p(slot)->flags, ~SD_P_HYBRID);
		pl_epoll_hybrid(slot);
	}
	return bind_engine(slot, &addr, port, 0);
}

PL_EXPORT int bind(int fd, const struct sockaddr *sa, socklen_t len)
{
	uint32_t slot = pl_fd_slot(fd);
	int r;

	if (!slot)
		return real.bind(fd, sa, len);
	r = sock_bind(fd, slot, sa, len);
	return r < 0 ? (int)pl_fail(r) : 0;
}

/* ---- listen ---- */

static int listen_engine(uint32_t slot, int backlog)
{
	struct sd_cmd cmd = pl_cmd_for(slot, SD_OP_LISTEN);

	cmd.u32[0] = (uint32_t)backlog;
	return pl_rpc(0, &cmd, NULL, 0, NULL);
}

/* The kernel's side of a hybrid listener: accept() there must never block, whatever the program
 * chose for its fd, so the real fd is non-blocking from now on; the program's choice is in the
 * slot. */
static int listen_kernel(int fd, uint32_t slot, int backlog)
{
	int fl = real.fcntl(fd, F_GETFL, 0);

	if (real.listen(fd, backlog) < 0)
		return -errno;
	if (!(fl & O_NONBLOCK))
		real.fcntl(fd, F_SETFL, fl | O_NONBLOCK);
	if (!(or_sc(&pl_p(slot)->flags, SD_P_HYBRID) & SD_P_HYBRID))
		pl_epoll_hybrid(slot);
	return 0;
}

static int sock_listen(int fd, uint32_t slot, int backlog)
{
	uint32_t st = pl_state_of(slot);
	int r;

	if (pl_p(slot)->opts.type != SOCK_STREAM)
		return -EOPNOTSUPP;
	if (st != SD_ST_CLOSE && st != SD_ST_LISTEN)
		return -EINVAL;
	if (!(pl_eflags(slot) & SD_E_BOUND)) {
		r = pl_bind_auto(fd, slot);
		if (r)
			return r;
	}
	if (sd_addr_is_any(&pl_e(slot)->laddr)) {
		r = listen_kernel(fd, slot, backlog);
		if (r)
			return r;
	}
	return listen_engine(slot, backlog);
}

PL_EXPORT int listen(int fd, int backlog)
{
	uint32_t slot = pl_fd_slot(fd);
	int r;

	if (!slot)
		return real.listen(fd, backlog);
	r = sock_listen(fd, slot, backlog);
	return r < 0 ? (int)pl_fail(r) : 0;
}

/* ---- names ---- */

PL_EXPORT int getsockname(int fd, struct sockaddr *sa, socklen_t *len)
{
	uint32_t slot = pl_fd_slot(fd);
	const struct sd_slot_e *e;

	if (!slot || (!(pl_eflags(slot) & SD_E_BOUND) && pl_own_kern(slot)))
		return real.getsockname(fd, sa, len);
	if ((int)*len < 0)
		return (int)pl_fail(-EINVAL);
	e = pl_e(slot);
	pl_addr_out(pl_p(slot)->opts.family, &e->laddr, e->lport, sa, len);
	return 0;
}

static bool has_peer(uint32_t slot)
{
	uint32_t st = pl_state_of(slot);

	if (pl_p(slot)->opts.type == SOCK_DGRAM)
		return pl_eflags(slot) & SD_E_CONNECTED;
	return st != SD_ST_CLOSE && st != SD_ST_SYN_SENT && st != SD_ST_LISTEN;
}

PL_EXPORT int getpeername(int fd, struct sockaddr *sa, socklen_t *len)
{
	uint32_t slot = pl_fd_slot(fd);
	const struct sd_slot_e *e;

	if (!slot)
		return real.getpeername(fd, sa, len);
	if (!has_peer(slot))
		return (int)pl_fail(-ENOTCONN);
	if ((int)*len < 0)
		return (int)pl_fail(-EINVAL);
	e = pl_e(slot);
	pl_addr_out(pl_p(slot)->opts.family, &e->raddr, e->rport, sa, len);
	return 0;
}

/* ---- shutdown ---- */

static int sock_shutdown(int fd, uint32_t slot, int how)
{
	static const uint32_t bits[] = { SD_P_SHUT_RD, SD_P_SHUT_WR, SD_P_SHUT_RD | SD_P_SHUT_WR };
	struct sd_cmd cmd = pl_cmd_for(slot, SD_OP_SHUTDOWN);
	uint32_t st = pl_state_of(slot);

	if (how < SHUT_RD || how > SHUT_RDWR)
		return -EINVAL;
	if (pl_p(slot)->opts.type == SOCK_DGRAM && !(pl_eflags(slot) & SD_E_CONNECTED)) {
		or_sc(&pl_p(slot)->flags, bits[how]);
		return real.shutdown(fd, how) < 0 ? -errno : 0;
	}
	if (pl_p(slot)->opts.type == SOCK_STREAM && st == SD_ST_CLOSE)
		return -ENOTCONN;
	cmd.u32[0] = (uint32_t)how;
	if (st == SD_ST_LISTEN || st == SD_ST_SYN_SENT) {	/* back to unconnected, not shut */
		if (how == SHUT_WR)
			return 0;
		if (ld_rlx(&pl_p(slot)->flags) & SD_P_HYBRID)
			real.shutdown(fd, how);
	} else {
		or_sc(&pl_p(slot)->flags, bits[how]);
	}
	return pl_cmd(pl_worker(slot), &cmd);
}

PL_EXPORT int shutdown(int fd, int how)
{
	uint32_t slot = pl_fd_slot(fd);
	int r;

	if (!slot)
		return real.shutdown(fd, how);
	r = sock_shutdown(fd, slot, how);
	return r < 0 ? (int)pl_fail(r) : 0;
}
