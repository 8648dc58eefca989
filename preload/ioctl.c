/* SPDX-License-Identifier: MIT */
/* preload/ioctl.c - fcntl and ioctl
 * O_NONBLOCK of a stackd socket lives in the slot: all fds that duplicate one
 * placeholder share the kernel's flags. A socket with a kernel socket of its own has them there as
 * well, so that fallback keeps them; save a hybrid listener, whose kernel side must stay
 * non-blocking.
 * Spec:    S1
 */
#include <linux/sockios.h>
#include <netinet/in.h>
#include <stdarg.h>

#include "preload/pl_int.h"

static bool kern_flags_follow(uint32_t slot)
{
	return pl_own_kern(slot) && pl_state_of(slot) != SD_ST_LISTEN;
}

static void flag(uint32_t slot, uint32_t bit, bool on)
{
	if (on)
		or_sc(&pl_p(slot)->flags, bit);
	else
		and_sc(&pl_p(slot)->flags, ~bit);
}

/* ---- fcntl ---- */

static int getfl(uint32_t slot)
{
	uint32_t f = ld_rlx(&pl_p(slot)->flags);

	return O_RDWR | (f & SD_P_NONBLOCK ? O_NONBLOCK : 0);
}

/* stackd sends no SIGIO: who asks for it gets a socket of the kernel's, or a refusal. */
static bool async_refused(uint32_t slot, bool on)
{
	if (!on || !pl_in_service(slot))
		return false;
	add_sc(&pl_opt_refused, 1);
	return true;
}

static int setfl(int fd, uint32_t slot, int fl)
{
	if (async_refused(slot, fl & O_ASYNC))
		return -EOPNOTSUPP;
	if (kern_flags_follow(slot) && real.fcntl(fd, F_SETFL, fl) < 0)
		return -errno;
	flag(slot, SD_P_NONBLOCK, fl & O_NONBLOCK);
	if (fl & O_ASYNC) {
		pl_fallback(fd, slot);
		pl_why(fd, "kernel", "O_ASYNC: only the kernel sends SIGIO");
	}
	return 0;
}

static int sock_fcntl(int fd, uint32_t slot, int cmd, long arg)
{
	int r;

	switch (cmd) {
	case F_GETFL:
		return getfl(slot);
	case F_SETFL:
		return setfl(fd, slot, (int)arg);
	case F_GETOWN:
		return (int)ld_rlx(&pl_p(slot)->owner);
	case F_SETOWN:
		if (pl_own_kern(slot) && real.fcntl(fd, cmd, arg) < 0)
			return -errno;
		st_rlx(&pl_p(slot)->owner, (uint32_t)arg);
		return 0;
	default:
		r = real.fcntl(fd, cmd, arg);
		return r < 0 ? -errno : r;
	}
}

static int fcntl_any(int fd, int cmd, long arg)
{
	sd_ofd ofd = pl_fd(fd);
	int r;

	if (__builtin_expect(ofd == 0, 1))
		return real.fcntl(fd, cmd, arg);
	if (cmd == F_DUPFD || cmd == F_DUPFD_CLOEXEC)
		r = pl_fd_dup(fd, cmd, (int)arg);
	else if (SD_OFD_KIND(ofd) == SD_OFD_SHIM)
		r = -EBADF;
	else if (SD_OFD_KIND(ofd) == SD_OFD_SOCK)
		r = sock_fcntl(fd, SD_OFD_IDX(ofd), cmd, arg);
	else
		return real.fcntl(fd, cmd, arg);
	return r < 0 ? (int)pl_fail(r) : r;
}

PL_EXPORT int fcntl(int fd, int cmd, ...)
{
	va_list ap;
	long arg;

	va_start(ap, cmd);
	arg = va_arg(ap, long);
	va_end(ap);
	return fcntl_any(fd, cmd, arg);
}

PL_EXPORT int fcntl64(int fd, int cmd, ...)
{
	va_list ap;
	long arg;

	va_start(ap, cmd);
	arg = va_arg(ap, long);
	va_end(ap);
	return fcntl_any(fd, cmd, arg);
}

/* ---- ioctl ---- */

static int clamp_int(uint64_t v)
{
	return v > INT32_MAX ? INT32_MAX : (int)v;
}

/* Bytes of the next datagram; of a hybrid the kernel's when the slot has none. */
static int inq_dgram(int fd, uint32_t slot, int *arg)
{
	struct sd_slot_e *e = pl_e(slot);
	uint64_t head = ld_rlx(&pl_p(slot)->rx_head);
	struct sd_dgram d;

	if (pl_live(e, pl_p(slot)) && ld_acq(&e->rx_tail) - head >= sizeof(d) &&
	    shm_fifo_read(&pl.seg, SD_FIFO_RX, &e->rx, head, &d, sizeof(d)) == sizeof(d)) {
		*arg = (int)d.len;
		return 0;
	}
	return real.ioctl(fd, FIONREAD, arg) < 0 ? -errno : 0;
}

static int inq(int fd, uint32_t slot, int *arg)
{
	struct sd_slot_e *e = pl_e(slot);
	uint64_t end, urg;

	if (pl_p(slot)->opts.type == SOCK_DGRAM)
		return inq_dgram(fd, slot, arg);
	if (pl_state_of(slot) == SD_ST_LISTEN)
		return -EINVAL;
	if (!pl_live(e, pl_p(slot))) {
		*arg = 0;
		return 0;
	}
	end = ld_acq(&e->rx_tail);
	urg = pl_urg_pos(slot);
	if (urg < end && !pl_oob_inline(slot))
		end = urg;		/* what one read may give */
	*arg = clamp_int(end - ld_rlx(&pl_p(slot)->rx_head));
	return 0;
}

/* Linux counts a FIN that is on its way. */
static bool fin_unacked(uint32_t slot)
{
	uint32_t st = pl_state_of(slot);

	return st == SD_ST_FIN_WAIT1 || st == SD_ST_CLOSING || st == SD_ST_LAST_ACK;
}

/* @unsent: SIOCOUTQNSD, only what was never sent. */
static int outq(uint32_t slot, bool unsent, int *arg)
{
	struct sd_slot_e *e = pl_e(slot);
	uint64_t from;

	if (unsent && pl_p(slot)->opts.type != SOCK_STREAM)
		return -ENOTTY;
	if (pl_state_of(slot) == SD_ST_LISTEN)
		return -EINVAL;
	from = ld_acq(unsent ? &e->tx_nxt : &e->tx_una);
	*arg = pl_live(e, pl_p(slot)) ? clamp_int(ld_rlx(&pl_p(slot)->tx_tail) - from) : 0;
	if (!unsent && fin_unacked(slot))
		++*arg;
	return 0;
}

static int at_mark(uint32_t slot, int *arg)
{
	const struct sd_slot_e *e = pl_e(slot);

	if (pl_p(slot)->opts.type != SOCK_STREAM)
		return -ENOTTY;
	*arg = (pl_eflags(slot) & SD_E_URG) && e->rx_urg == ld_rlx(&pl_p(slot)->rx_head) + 1;
	return 0;
}

static int sock_ioctl(int fd, uint32_t slot, unsigned long req, void *arg)
{
	int r;

	switch (req) {
	case FIONBIO:
		if (kern_flags_follow(slot) && real.ioctl(fd, req, arg) < 0)
			return -errno;
		flag(slot, SD_P_NONBLOCK, *(int *)arg);
		return 0;
	case FIOASYNC:
		r = getfl(slot);
		return setfl(fd, slot, *(int *)arg ? r | O_ASYNC : r & ~O_ASYNC);
	case FIONREAD:
		return inq(fd, slot, arg);
	case SIOCOUTQ:
		return outq(slot, false, arg);
	case SIOCOUTQNSD:
		return outq(slot, true, arg);
	case SIOCATMARK:
		return at_mark(slot, arg);
	case SIOCGPGRP:
	case FIOGETOWN:
		*(int *)arg = (int)ld_rlx(&pl_p(slot)->owner);
		return 0;
	case SIOCSPGRP:
	case FIOSETOWN:
		st_rlx(&pl_p(slot)->owner, (uint32_t)*(int *)arg);
		return 0;
	default:	/* interface queries: any socket answers; FIOCLEX: the fd's own */
		r = real.ioctl(fd, req, arg);
		return r < 0 ? -errno : r;
	}
}

static int ioctl_any(int fd, unsigned long req, void *arg)
{
	sd_ofd ofd = pl_fd(fd);
	int r;

	if (req == SIOCGIFCONF && arg && SD_OFD_KIND(ofd) != SD_OFD_SHIM) {
		r = pl_ifconf(fd, arg);
		return r < 0 ? (int)pl_fail(r) : r;
	}
	if (__builtin_expect(ofd == 0, 1))
		return real.ioctl(fd, req, arg);
	if (SD_OFD_KIND(ofd) == SD_OFD_EPOLL)
		return real.ioctl(fd, req, arg);
	r = SD_OFD_KIND(ofd) == SD_OFD_SHIM ? -EBADF : sock_ioctl(fd, SD_OFD_IDX(ofd), req, arg);
	return r < 0 ? (int)pl_fail(r) : r;
}

PL_EXPORT int ioctl(int fd, unsigned long req, ...)
{
	va_list ap;
	void *arg;

	va_start(ap, req);
	arg = va_arg(ap, void *);
	va_end(ap);
	return ioctl_any(fd, req, arg);
}

PL_EXPORT int sockatmark(int fd)
{
	int mark;

	return ioctl_any(fd, SIOCATMARK, &mark) < 0 ? -1 : mark;
}
