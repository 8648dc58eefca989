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

static void warn_full(void)
{
	pl_warn_once("stackd: %s: this user has as many sockets on stackd as it may have: more of "
		     "them use the kernel's network stack\n", program_invocation_short_name);
}

/* No slot to be had: the socket is the kernel's, as if there were no stackd. */
static void sock_new(int fd, int domain, int type, int proto)
{
	uint32_t slot;
	struct sd_cmd cmd;
	int r;

	if ((unsigned)fd >= SD_FDS)
		return;
	slot = shm_pslot_alloc(&pl.seg);
	if (!slot)
		return;
	slot_init(pl_p(slot), domain, type, proto);
	cmd = pl_cmd_for(slot, SD_OP_ATTACH);
	/* First the fd: a slot in service to which nothing refers is one that was closed. */
	pl_fd_enter(fd, slot);
	r = pl_scarce(SD_SCARCE_SLOTS) ? pl_rpc(0, &cmd, NULL, 0, NULL) : pl_cmd_quiet(0, &cmd);
	if (!r)
		return;
	shm_ofd_take(pl.proc, fd);
	shm_slot_put(&pl.seg, slot);
	shm_pslot_free(&pl.seg, slot);
	if (r == -ENOBUFS)
		warn_full();
}

bool pl_unserved(uint32_t slot, int err)
{
	return err == -EBADF && !pl_live(pl_e(slot), pl_p(slot));
}

void pl_give_up(int fd, uint32_t slot)
{
	warn_full();
	pl_fallback(fd, slot);
}

PL_EXPORT int socket(int domain, int type, int protocol)
{
	int fd = real.socket(domain, type, protocol), proto;

	if (fd < 0)
		return fd;
	proto = wanted(domain, type, protocol);
	if (proto && pl_attach() == 0)
		sock_new(fd, domain, type, proto);
	else if (proto)
		pl_why(fd, "kernel", "there is no daemon to attach to");
	else if (domain == AF_INET || domain == AF_INET6)
		pl_why_num(fd, "kernel", "stackd has no such socket: type, protocol", type & 15,
			   protocol);
	return fd;
}

/* ---- the kernel socket behind ---- */

static int renew_one(int fd, int fresh)
{
	int fl = real.fcntl(fd, F_GETFD, 0);

	return real.dup3(fresh, fd, fl & FD_CLOEXEC ? O_CLOEXEC : 0) < 0 ? -errno : 0;
}

int pl_kern_renew(int fd, uint32_t slot)
{
	const struct sd_opts *o = &pl_p(slot)->opts;
	sd_ofd ofd = shm_ofd_get(pl.proc, fd);
	int stfl = real.fcntl(fd, F_GETFL, 0), r;
	int fresh = real.socket(o->family, o->type | SOCK_CLOEXEC, o->proto);

	if (fresh < 0)
		return -errno;
	st_rel(&pl_p(slot)->kern_ino, 0);	/* one on its way is the old one */
	pl_opt_copy(fd, fresh);
	real.fcntl(fresh, F_SETFL, stfl & (O_NONBLOCK | O_ASYNC));
	r = renew_one(fd, fresh);
	for (uint32_t i = 0; ld_rlx(&pl_p(slot)->refs) > 1 && i < ld_rlx(&pl.proc->hi_fd); i++)
		if ((int)i != fd && shm_ofd_get(pl.proc, (int)i) == ofd)
			renew_one((int)i, fresh);
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
	pl_low_port(port);
	r = pl_rpc(0, &cmd, NULL, 0, NULL);
	if (!r && port)
		or_sc(&pl_p(slot)->flags, SD_P_BOUND_PORT);
	return r;
}

/* As on Linux: a bind() that fails takes the name of an earlier connection with it. */
static void forget_name(uint32_t slot)
{
	struct sd_cmd cmd = pl_cmd_for(slot, SD_OP_DISCONNECT);

	cmd.u32[0] = SD_DISC_NAME;
	pl_rpc(pl_worker(slot), &cmd, NULL, 0, NULL);
}

/* Wildcard: kernel and engine hold the same port, or neither. A port that the kernel picked may be
 * one that it can share (SO_REUSEADDR) but that stackd has connections on, also in TIME_WAIT: then
 * another is tried, or a connect() from it could fail. */
static int bind_both(int fd, uint32_t slot, const struct sockaddr *sa, socklen_t len,
		     const struct sd_addr *addr, uint16_t port)
{
	int r = 0;

	for (int i = 0; i < BIND_TRIES; i++) {
		if (real.bind(fd, sa, len) < 0) {
			r = -errno;
			if (r == -EADDRINUSE && pl_eflags(slot) & SD_E_RESET)
				forget_name(slot);
			return r;
		}
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
	pl_why(fd, "kernel", "bound to an address that is not stackd's");
	return 0;
}

static bool bound_or_busy(uint32_t slot)
{
	return (pl_eflags(slot) & SD_E_BOUND) || pl_state_of(slot) != SD_ST_CLOSE;
}

/* What the kernel says to a bind() of another socket. Return: 0 or -errno. */
static int kernel_says(be32 addr, uint16_t port)
{
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_addr.s_addr = addr.v,
				   .sin_port = htons(port) };
	int fd = real.socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), r;

	if (fd < 0)
		return 0;
	r = real.bind(fd, (const struct sockaddr *)&sin, sizeof(sin)) < 0 ? -errno : 0;
	real.close(fd);
	return r;
}

/* What a socket that cannot be bound is told: Linux looks at an IPv4 address before it looks at the
 * socket, and at an IPv6 address after it; at the port's privilege always before. */
static int bind_refused(uint32_t slot, const struct sd_addr *addr, uint16_t port)
{
	bool v6 = pl_p(slot)->opts.family == AF_INET6;

	if (!v6 && !sd_addr_is_any(addr) && pl_route(addr) != PL_VIA_LOCAL &&
	    kernel_says(sd_addr_to_v4(addr), 0) == -EADDRNOTAVAIL)
		return -EADDRNOTAVAIL;
	if (port && port < IPPORT_RESERVED && kernel_says((be32){ 0 }, port) == -EACCES)
		return -EACCES;
	return -EINVAL;
}

/* The kernel's socket behind a stream still holds what stackd's has let go of, after a connection
 * from a port that bind() did not name. Return: false when a bind() in the kernel stands. */
static bool unhold(int fd, uint32_t slot)
{
	const struct sd_slot_e *e = pl_e(slot);

	if (!pl_own_kern(slot) || !pl_live(e, pl_p(slot)) || !e->lport ||
	    pl_kern_port(fd) != e->lport)
		return true;
	return pl_kern_renew(fd, slot) == 0;
}

static bool no_port(uint32_t slot)
{
	return pl_p(slot)->opts.hints[0] & PL_HINT_NO_PORT;
}

/* The wildcard; without a port and with IP_BIND_ADDRESS_NO_PORT that means nothing at all. */
static int bind_any(int fd, uint32_t slot, const struct sockaddr *sa, socklen_t len,
		    const struct sd_addr *addr, uint16_t port)
{
	if (!pl_own_kern(slot))
		return bind_engine(slot, addr, port, 0);
	if (!port && no_port(slot))
		return real.bind(fd, sa, len) < 0 ? -errno : 0;
	return bind_both(fd, slot, sa, len, addr, port);
}

static int sock_bind(int fd, uint32_t slot, const struct sockaddr *sa, socklen_t len)
{
	struct sd_addr addr;
	uint16_t port;
	int r;

	if (pl_addr_in(pl_p(slot)->opts.family, sa, len, &addr, &port))
		return bind_kernel(fd, slot, sa, len);	/* its errno; AF_UNSPEC it takes */
	if (bound_or_busy(slot))
		return bind_refused(slot, &addr, port);
	if (pl_p(slot)->opts.type == SOCK_STREAM && !unhold(fd, slot))
		return -EINVAL;
	if (sd_addr_is_any(&addr)) {
		r = bind_any(fd, slot, sa, len, &addr, port);
		if (!r)
			pl_why_addr(fd, "both", "stackd for its addresses, the kernel for others:",
				    &addr, port);
		return r;
	}
	if (pl_route(&addr) != PL_VIA_LOCAL)
		return bind_kernel(fd, slot, sa, len);
	if (pl_p(slot)->opts.type == SOCK_DGRAM && pl_kern_port(fd))
		return -EINVAL;
	if (ld_rlx(&pl_p(slot)->flags) & SD_P_HYBRID) {
		and_sc(&pl_p(slot)->flags, ~SD_P_HYBRID);
		pl_epoll_hybrid(slot);
	}
	r = bind_engine(slot, &addr, port, no_port(slot) ? SD_BIND_DEFER_PORT : 0);
	if (!r)
		pl_why_addr(fd, "stackd", "bound to stackd's address", &addr, port);
	return r;
}

PL_EXPORT int bind(int fd, const struct sockaddr *sa, socklen_t len)
{
	uint32_t slot = pl_fd_slot(fd);
	int r;

	if (!slot)
		return real.bind(fd, sa, len);
	r = sock_bind(fd, slot, sa, len);
	if (pl_unserved(slot, r)) {
		pl_give_up(fd, slot);
		return real.bind(fd, sa, len);
	}
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
	if ((st != SD_ST_CLOSE && st != SD_ST_LISTEN) || (pl_eflags(slot) & SD_E_CONNECTED) ||
	    (ld_rlx(&pl_p(slot)->flags) & (SD_P_CONNECTING | SD_P_DISCONNECTING)))
		return -EINVAL;
	if (!(pl_eflags(slot) & (SD_E_BOUND | SD_E_ADDR_LOCK))) {
		r = unhold(fd, slot) ? pl_bind_auto(fd, slot) : -EINVAL;
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
	if (pl_unserved(slot, r)) {
		pl_give_up(fd, slot);
		return real.listen(fd, backlog);
	}
	return r < 0 ? (int)pl_fail(r) : 0;
}

/* ---- names ---- */

PL_EXPORT int getsockname(int fd, struct sockaddr *sa, socklen_t *len)
{
	uint32_t slot = pl_fd_slot(fd);
	const struct sd_slot_e *e = slot ? pl_e(slot) : NULL;

	if (!slot || (!(pl_eflags(slot) & (SD_E_BOUND | SD_E_ADDR_LOCK)) && pl_own_kern(slot) &&
		      !(pl_live(e, pl_p(slot)) && e->lport)))
		return real.getsockname(fd, sa, len);
	if ((int)*len < 0)
		return (int)pl_fail(-EINVAL);
	pl_addr_out(pl_p(slot)->opts.family, &e->laddr, e->lport, sa, len);
	return 0;
}

static bool has_peer(uint32_t slot)
{
	uint32_t st = pl_state_of(slot);

	if (pl_p(slot)->opts.type == SOCK_DGRAM)
		return pl_eflags(slot) & SD_E_CONNECTED && pl_e(slot)->rport;
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

static const uint32_t shut_bits[] = { SD_P_SHUT_RD, SD_P_SHUT_WR, SD_P_SHUT_RD | SD_P_SHUT_WR };

static int shutdown_dgram(int fd, uint32_t slot, int how)
{
	struct sd_cmd cmd = pl_cmd_for(slot, SD_OP_SHUTDOWN);

	or_sc(&pl_p(slot)->flags, shut_bits[how]);
	if (!(pl_eflags(slot) & SD_E_CONNECTED))
		return real.shutdown(fd, how) < 0 ? -errno : 0;
	cmd.u32[0] = (uint32_t)how;
	return pl_cmd(pl_worker(slot), &cmd);
}

/* A listener or an attempt: back to unconnected, shut in no direction. */
static int shutdown_ends(int fd, uint32_t slot, struct sd_cmd *cmd)
{
	struct sd_slot_p *p = pl_p(slot);

	if (pl_state_of(slot) == SD_ST_LISTEN && ld_rlx(&p->flags) & SD_P_HYBRID)
		real.shutdown(fd, (int)cmd->u32[0]);
	and_sc(&p->flags, ~(SD_P_CONNECTING | SD_P_DISCONNECTING | SD_P_SHUT_RD | SD_P_SHUT_WR));
	return pl_rpc(pl_worker(slot), cmd, NULL, 0, NULL);
}

static int sock_shutdown(int fd, uint32_t slot, int how)
{
	struct sd_slot_p *p = pl_p(slot);
	struct sd_cmd cmd = pl_cmd_for(slot, SD_OP_SHUTDOWN);
	uint32_t st = pl_state_of(slot);

	if (how < SHUT_RD || how > SHUT_RDWR)
		return -EINVAL;
	if (p->opts.type == SOCK_DGRAM)
		return shutdown_dgram(fd, slot, how);
	cmd.u32[0] = (uint32_t)how;
	if (st == SD_ST_LISTEN && how == SHUT_WR)
		return 0;
	if (st == SD_ST_LISTEN || st == SD_ST_SYN_SENT)
		return shutdown_ends(fd, slot, &cmd);
	if (and_sc(&p->flags, ~SD_P_CONNECTING) & SD_P_CONNECTING &&
	    (st == SD_ST_CLOSE || st == SD_ST_SYN_RECV))
		or_sc(&p->flags, SD_P_DISCONNECTING);
	or_sc(&p->flags, shut_bits[how]);
	if (st == SD_ST_CLOSE && pl_own_kern(slot))
		real.shutdown(fd, how);		/* should it become the kernel's */
	pl_cmd(pl_worker(slot), &cmd);
	return st == SD_ST_CLOSE ? -ENOTCONN : 0;
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
