/* SPDX-License-Identifier: MIT */
/* preload/conn.c - connect()
 * The routes in the info page say whether stackd reaches the destination; if not, the socket
 * becomes the kernel's for good. States are Linux's, kept in SD_P_CONNECTING and the engine's half:
 *   unconnected --CONNECT--> connecting (SYN_SENT) --> connected, told by the next connect() once
 *        ^                               \--> error, told by SO_ERROR or by connect(), which makes
 *        |                                    it unconnected again
 *        +-- AF_UNSPEC, from any state; shutdown() of a listener or of an attempt
 *   an attempt that failed and is shut down before anybody asked is dead: EINVAL until AF_UNSPEC
 * Spec:    H5
 * Threads: any; two threads connecting one socket see EALREADY or EISCONN as the engine orders them
 */
#include <netinet/in.h>
#include <pthread.h>

#include "preload/pl_int.h"

/* Back to unconnected, shut in no direction; unread data is gone. */
int pl_unconnect(uint32_t slot)
{
	struct sd_slot_p *p = pl_p(slot);
	struct sd_cmd cmd = pl_cmd_for(slot, SD_OP_DISCONNECT);
	int r = pl_rpc(pl_worker(slot), &cmd, NULL, 0, NULL);

	if (r)
		return r;
	and_sc(&p->flags, ~(SD_P_CONNECTING | SD_P_DISCONNECTING | SD_P_SHUT_RD | SD_P_SHUT_WR));
	st_rel(&p->rx_head, ld_acq(&pl_e(slot)->rx_tail));
	return 0;
}

/* The outcome of a finished attempt: 0, or what went wrong; the socket may connect again after
 * that. */
static int outcome(uint32_t slot)
{
	int err;

	and_sc(&pl_p(slot)->flags, ~SD_P_CONNECTING);
	if (pl_state_of(slot) != SD_ST_CLOSE)
		return 0;
	err = pl_err_take(slot);
	pl_unconnect(slot);
	return err ? -err : -ECONNABORTED;
}

static bool in_progress(uint32_t slot)
{
	uint32_t st = pl_state_of(slot);

	return (st == SD_ST_SYN_SENT || st == SD_ST_SYN_RECV) && !pl_err_pending(slot);
}

/* @busy: what a non-blocking caller hears while it is under way. */
static int await(uint32_t slot, int busy)
{
	struct pl_deadline d;
	int r;

	if (in_progress(slot)) {
		if (pl_nonblock(slot, 0))
			return busy;
		d = pl_deadline_in(ld_rlx(&pl_p(slot)->sndtimeo_ms));
		do {
			r = pl_wait(slot, SD_EV_OUT, pl_deadline_left(&d), -1);
			if (r)
				return r == -EAGAIN ? busy : r;
		} while (in_progress(slot));
	}
	return outcome(slot);
}

static int engine_connect(uint32_t slot, const struct sd_addr *addr, uint16_t port)
{
	struct sd_cmd cmd = pl_cmd_for(slot, SD_OP_CONNECT);

	cmd.addr = *addr;
	cmd.port = port;
	return pl_rpc(pl_worker(slot), &cmd, NULL, 0, NULL);
}

/* The wildcard on connect() means this host, which is the kernel's. */
static bool stackd_reaches(uint32_t slot, const struct sd_addr *addr)
{
	const struct sd_slot_e *e = pl_e(slot);

	/* bound to an address of stackd's own: there is no other way out */
	if (pl_eflags(slot) & (SD_E_ADDR_LOCK | SD_E_BOUND) && !sd_addr_is_any(&e->laddr))
		return true;
	return pl_route(addr) != PL_VIA_KERNEL;
}

/* An answer after which the kernel's socket is as fresh as before. */
static bool came_to_nothing(int err)
{
	switch (err) {
	case 0:
	case EINPROGRESS:
	case EINTR:
	case EALREADY:
	case EISCONN:
		return false;
	default:
		return true;
	}
}

/* The socket is the kernel's once the kernel has connected it, or may yet. */
static int connect_kernel(int fd, uint32_t slot, const struct sockaddr *sa, socklen_t len)
{
	int err = real.connect(fd, sa, len) < 0 ? errno : 0;
	struct sd_addr addr;
	uint16_t port;

	if (!pl_addr_in(pl_p(slot)->opts.family, sa, len, &addr, &port))
		pl_why_addr(fd, "kernel", "no route of stackd's leads to", &addr, port);
	if (!came_to_nothing(err))
		pl_fallback(fd, slot);
	else if (err == ECONNREFUSED || err == ETIMEDOUT)	/* an attempt that has failed */
		and_sc(&pl_p(slot)->flags, ~(SD_P_SHUT_RD | SD_P_SHUT_WR));
	return -err;
}

/* The kernel's half says nothing any more. */
static void kern_out(uint32_t slot)
{
	if (and_sc(&pl_p(slot)->flags, ~SD_P_HYBRID) & SD_P_HYBRID)
		pl_epoll_hybrid(slot);
}

static int connect_stream(int fd, uint32_t slot, const struct sockaddr *sa, socklen_t len)
{
	struct sd_slot_p *p = pl_p(slot);
	struct sd_addr addr;
	uint16_t port;
	uint32_t seq;
	int r;

	if (ld_rlx(&p->flags) & SD_P_CONNECTING)
		return await(slot, -EALREADY);
	if (ld_rlx(&p->flags) & SD_P_DISCONNECTING)
		return -EINVAL;
	if (pl_state_of(slot) != SD_ST_CLOSE || pl_eflags(slot) & SD_E_CONNECTED)
		return -EISCONN;
	r = pl_addr_in(p->opts.family, sa, len, &addr, &port);
	if (r)
		return r;
	if (!stackd_reaches(slot, &addr))
		return pl_own_kern(slot) ? connect_kernel(fd, slot, sa, len) : -ENETUNREACH;
	seq = pl_live(pl_e(slot), p) ? ld_acq(&pl_e(slot)->err_seq) : ld_rlx(&p->err_ack);
	pl_why_addr(fd, "stackd", "connects to", &addr, port);
	or_sc(&p->flags, SD_P_CONNECTING);
	r = engine_connect(slot, &addr, port);
	if (r) {
		and_sc(&p->flags, ~SD_P_CONNECTING);
		return r;
	}
	st_rlx(&p->err_ack, seq);	/* an error of before is forgotten, not one of now */
	kern_out(slot);			/* it was a listener once */
	/* A first call that may not block never sees the outcome: on Linux the socket is locked. */
	return pl_nonblock(slot, 0) ? -EINPROGRESS : await(slot, -EINPROGRESS);
}

static int connect_dgram(int fd, uint32_t slot, const struct sockaddr *sa, socklen_t len)
{
	struct sd_slot_p *p = pl_p(slot);
	int family = p->opts.family, r;
	struct sd_addr addr;
	uint16_t port;

	/* unlike a stream, one of IPv6 takes an IPv4 address as it is */
	if (sa->sa_family == AF_INET && !(ld_rlx(&p->flags) & SD_P_V6ONLY))
		family = AF_INET;
	r = pl_addr_in(family, sa, len, &addr, &port);
	if (!r && !stackd_reaches(slot, &addr))
		return connect_kernel(fd, slot, sa, len);
	if (!r && pl_kern_port(fd))
		r = pl_dgram_autobind(fd, slot);
	if (!r)
		pl_why_addr(fd, "stackd", "connects to", &addr, port);
	if (!r)
		r = engine_connect(slot, &addr, port);
	if (r)
		pl_dgram_autobind(fd, slot);	/* as on Linux, before anything else is looked at */
	if (!r)
		kern_out(slot);
	return r;
}

static int disconnect_dgram(int fd, uint32_t slot, const struct sockaddr *sa, socklen_t len)
{
	struct sd_slot_p *p = pl_p(slot);
	struct sd_cmd cmd = pl_cmd_for(slot, SD_OP_DISCONNECT);
	int r = pl_rpc(pl_worker(slot), &cmd, NULL, 0, NULL);

	if (r)
		return r;
	real.connect(fd, sa, len);
	if (!(pl_eflags(slot) & SD_E_ADDR_LOCK) &&
	    !(or_sc(&p->flags, SD_P_HYBRID) & SD_P_HYBRID))
		pl_epoll_hybrid(slot);
	return 0;
}

/* connect(AF_UNSPEC): back to unconnected, on both sides. */
static int disconnect(int fd, uint32_t slot, const struct sockaddr *sa, socklen_t len)
{
	if (pl_p(slot)->opts.type == SOCK_DGRAM)
		return disconnect_dgram(fd, slot, sa, len);
	if (pl_state_of(slot) == SD_ST_LISTEN && ld_rlx(&pl_p(slot)->flags) & SD_P_HYBRID)
		real.connect(fd, sa, len);
	return pl_unconnect(slot);
}

static int sock_connect(int fd, uint32_t slot, const struct sockaddr *sa, socklen_t len)
{
	if (!sa || len < sizeof(sa->sa_family))
		return -EINVAL;
	if (sa->sa_family == AF_UNSPEC)
		return disconnect(fd, slot, sa, len);
	return pl_p(slot)->opts.type == SOCK_STREAM ? connect_stream(fd, slot, sa, len) :
						      connect_dgram(fd, slot, sa, len);
}

PL_EXPORT int connect(int fd, const struct sockaddr *sa, socklen_t len)
{
	uint32_t slot = pl_fd_slot(fd);
	int r;

	if (!slot)
		return real.connect(fd, sa, len);
	pthread_testcancel();
	r = sock_connect(fd, slot, sa, len);
	if (pl_unserved(slot, r)) {
		pl_give_up(fd, slot);
		return real.connect(fd, sa, len);
	}
	return r < 0 ? (int)pl_fail(r) : 0;
}
