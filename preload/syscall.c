/* SPDX-License-Identifier: MIT */
/* preload/syscall.c - programs that call libc's syscall() instead of the named function
 * libuv closes its fds that way; so do some language runtimes. The calls that may touch a socket go
 * to the wrappers, which answer in the same form (-1 and errno); all others to the kernel.
 * The kernel's forms differ from libc's where signal sets are passed: with a size beside them.
 * Spec:    S7
 */
#include <stdarg.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "preload/pl.h"

struct sigset_arg {			/* sixth argument of pselect6 */
	const sigset_t *set;
	size_t size;
};

static long transfer(long nr, const long *a)
{
	int fd = (int)a[0];

	switch (nr) {
	case SYS_read:
		return read(fd, (void *)a[1], (size_t)a[2]);
	case SYS_write:
		return write(fd, (void *)a[1], (size_t)a[2]);
	case SYS_readv:
		return readv(fd, (void *)a[1], (int)a[2]);
	case SYS_writev:
		return writev(fd, (void *)a[1], (int)a[2]);
	case SYS_preadv2:		/* the offset comes in two halves, the upper unused */
		return preadv64v2(fd, (void *)a[1], (int)a[2], a[3], (int)a[5]);
	case SYS_pwritev2:
		return pwritev64v2(fd, (void *)a[1], (int)a[2], a[3], (int)a[5]);
	case SYS_sendto:
		return sendto(fd, (void *)a[1], (size_t)a[2], (int)a[3], (void *)a[4],
			      (socklen_t)a[5]);
	case SYS_recvfrom:
		return recvfrom(fd, (void *)a[1], (size_t)a[2], (int)a[3], (void *)a[4],
				(void *)a[5]);
	case SYS_sendmsg:
		return sendmsg(fd, (void *)a[1], (int)a[2]);
	case SYS_recvmsg:
		return recvmsg(fd, (void *)a[1], (int)a[2]);
	case SYS_sendmmsg:
		return sendmmsg(fd, (void *)a[1], (unsigned)a[2], (int)a[3]);
	case SYS_recvmmsg:
		return recvmmsg(fd, (void *)a[1], (unsigned)a[2], (int)a[3], (void *)a[4]);
	case SYS_sendfile:
		return sendfile64(fd, (int)a[1], (void *)a[2], (size_t)a[3]);
	default:
		return splice(fd, (void *)a[1], (int)a[2], (void *)a[3], (size_t)a[4],
			      (unsigned)a[5]);
	}
}

static long sockets(long nr, const long *a)
{
	int fd = (int)a[0];

	switch (nr) {
	case SYS_socket:
		return socket(fd, (int)a[1], (int)a[2]);
	case SYS_bind:
		return bind(fd, (void *)a[1], (socklen_t)a[2]);
	case SYS_listen:
		return listen(fd, (int)a[1]);
	case SYS_accept:
		return accept(fd, (void *)a[1], (void *)a[2]);
	case SYS_accept4:
		return accept4(fd, (void *)a[1], (void *)a[2], (int)a[3]);
	case SYS_connect:
		return connect(fd, (void *)a[1], (socklen_t)a[2]);
	case SYS_shutdown:
		return shutdown(fd, (int)a[1]);
	case SYS_getsockname:
		return getsockname(fd, (void *)a[1], (void *)a[2]);
	case SYS_getpeername:
		return getpeername(fd, (void *)a[1], (void *)a[2]);
	case SYS_setsockopt:
		return setsockopt(fd, (int)a[1], (int)a[2], (void *)a[3], (socklen_t)a[4]);
	default:
		return getsockopt(fd, (int)a[1], (int)a[2], (void *)a[3], (void *)a[4]);
	}
}

static long fds(long nr, const long *a)
{
	int fd = (int)a[0];

	switch (nr) {
	case SYS_close:
		return close(fd);
	case SYS_close_range:
		return close_range((unsigned)a[0], (unsigned)a[1], (int)a[2]);
	case SYS_dup:
		return dup(fd);
	case SYS_dup2:
		return dup2(fd, (int)a[1]);
	case SYS_dup3:
		return dup3(fd, (int)a[1], (int)a[2]);
	case SYS_fcntl:
		return fcntl(fd, (int)a[1], a[2]);
	default:
		return ioctl(fd, (unsigned long)a[1], (void *)a[2]);
	}
}

static long pselect_raw(const long *a)
{
	const struct sigset_arg *s = (void *)a[5];

	return pselect((int)a[0], (void *)a[1], (void *)a[2], (void *)a[3], (void *)a[4],
		       s ? s->set : NULL);
}

static long readiness(long nr, const long *a)
{
	int fd = (int)a[0];

	switch (nr) {
	case SYS_poll:
		return poll((void *)a[0], (nfds_t)a[1], (int)a[2]);
	case SYS_ppoll:
		return ppoll((void *)a[0], (nfds_t)a[1], (void *)a[2], (void *)a[3]);
	case SYS_select:
		return select(fd, (void *)a[1], (void *)a[2], (void *)a[3], (void *)a[4]);
	case SYS_pselect6:
		return pselect_raw(a);
	case SYS_epoll_create:
		return epoll_create(fd);
	case SYS_epoll_create1:
		return epoll_create1(fd);
	case SYS_epoll_ctl:
		return epoll_ctl(fd, (int)a[1], (int)a[2], (void *)a[3]);
	case SYS_epoll_wait:
		return epoll_wait(fd, (void *)a[1], (int)a[2], (int)a[3]);
	case SYS_epoll_pwait:
		return epoll_pwait(fd, (void *)a[1], (int)a[2], (int)a[3], (void *)a[4]);
	default:
		return epoll_pwait2(fd, (void *)a[1], (int)a[2], (void *)a[3], (void *)a[4]);
	}
}

static long dispatch(long nr, const long *a)
{
	switch (nr) {
	case SYS_read: case SYS_write: case SYS_readv: case SYS_writev:
	case SYS_preadv2: case SYS_pwritev2: case SYS_sendto: case SYS_recvfrom:
	case SYS_sendmsg: case SYS_recvmsg: case SYS_sendmmsg: case SYS_recvmmsg:
	case SYS_sendfile: case SYS_splice:
		return transfer(nr, a);
	case SYS_socket: case SYS_bind: case SYS_listen: case SYS_accept: case SYS_accept4:
	case SYS_connect: case SYS_shutdown: case SYS_getsockname: case SYS_getpeername:
	case SYS_setsockopt: case SYS_getsockopt:
		return sockets(nr, a);
	case SYS_close: case SYS_close_range: case SYS_dup: case SYS_dup2: case SYS_dup3:
	case SYS_fcntl: case SYS_ioctl:
		return fds(nr, a);
	case SYS_poll: case SYS_ppoll: case SYS_select: case SYS_pselect6:
	case SYS_epoll_create: case SYS_epoll_create1: case SYS_epoll_ctl:
	case SYS_epoll_wait: case SYS_epoll_pwait: case SYS_epoll_pwait2:
		return readiness(nr, a);
	case SYS_prctl:
		return prctl((int)a[0], a[1], a[2], a[3], a[4]);
	case SYS_fork: case SYS_clone: case SYS_clone3:
		return pl_fork_number(nr, a);
	case SYS_prlimit64:
		return prlimit((pid_t)a[0], (int)a[1], (void *)a[2], (void *)a[3]);
	case SYS_setrlimit:
		return setrlimit((int)a[0], (void *)a[1]);
	case SYS_getrlimit:
		return getrlimit((int)a[0], (void *)a[1]);
	case SYS_seccomp:
		pl_confine_begin();
		return real.syscall(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
	default:
		return real.syscall(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
	}
}

PL_EXPORT long syscall(long nr, ...)
{
	long a[6];
	va_list ap;

	va_start(ap, nr);		/* what was not passed is read, and passed on, as garbage */
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(ap, long);
	va_end(ap);
	return dispatch(nr, a);
}
