/* SPDX-License-Identifier: MIT */
/* preload/io.c - read, write, send, recv and their kin
 * Each wrapper asks the open table; a kernel fd goes straight to the real call. For a stackd socket
 * all forms become one of two: pl_send() and pl_recv() with a msghdr. read() and write() of a
 * stream, the hot ones, skip the msghdr.
 * Spec:    S1
 */
#include <limits.h>
#include <netinet/in.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

#include "preload/pl_int.h"

static inline bool is_stream(uint32_t slot)
{
	return pl_p(slot)->opts.type == SOCK_STREAM;
}

static inline ssize_t ret(ssize_t r)
{
	return r < 0 ? pl_fail(r) : r;
}

ssize_t pl_send(int fd, uint32_t slot, const struct msghdr *m, int flags)
{
	struct pl_iter it;
	int r;

	pthread_testcancel();
	if (!is_stream(slot))
		return pl_dgram_send(fd, slot, m, flags);
	r = pl_iter_init(&it, m->msg_iov, m->msg_iovlen);
	if (r)
		return r;
	return pl_stream_send(slot, &it, flags);
}

ssize_t pl_recv(int fd, uint32_t slot, struct msghdr *m, int flags)
{
	struct pl_iter it;
	int r;

	pthread_testcancel();
	if (!is_stream(slot))
		return pl_dgram_recv(fd, slot, m, flags);
	r = pl_iter_init(&it, m->msg_iov, m->msg_iovlen);
	if (r)
		return r;
	m->msg_namelen = 0;		/* a stream tells no name */
	m->msg_controllen = 0;
	m->msg_flags = 0;
	return pl_stream_recv(slot, &it, flags);
}

/* One buffer, no name. */
static ssize_t send_buf(int fd, uint32_t slot, const void *buf, size_t n, int flags)
{
	struct iovec iov = { (void *)buf, n };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct pl_iter it = { &iov, 1, 0, n };

	pthread_testcancel();
	if (n > SSIZE_MAX)
		return -EINVAL;
	return is_stream(slot) ? pl_stream_send(slot, &it, flags) :
				 pl_dgram_send(fd, slot, &m, flags);
}

static ssize_t recv_buf(int fd, uint32_t slot, void *buf, size_t n, int flags)
{
	struct iovec iov = { buf, n };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct pl_iter it = { &iov, 1, 0, n };

	pthread_testcancel();
	if (n > SSIZE_MAX)
		return -EINVAL;
	return is_stream(slot) ? pl_stream_recv(slot, &it, flags) :
				 pl_dgram_recv(fd, slot, &m, flags);
}

PL_EXPORT ssize_t read(int fd, void *buf, size_t n)
{
	uint32_t slot = pl_fd_slot(fd);

	if (__builtin_expect(!slot, 1))
		return real.read(fd, buf, n);
	return n ? ret(recv_buf(fd, slot, buf, n, 0)) : 0;
}

PL_EXPORT ssize_t write(int fd, const void *buf, size_t n)
{
	uint32_t slot = pl_fd_slot(fd);

	if (__builtin_expect(!slot, 1))
		return real.write(fd, buf, n);
	return ret(send_buf(fd, slot, buf, n, 0));
}

PL_EXPORT ssize_t recv(int fd, void *buf, size_t n, int flags)
{
	uint32_t slot = pl_fd_slot(fd);

	if (!slot)
		return real.recv(fd, buf, n, flags);
	return ret(recv_buf(fd, slot, buf, n, flags));
}

PL_EXPORT ssize_t send(int fd, const void *buf, size_t n, int flags)
{
	uint32_t slot = pl_fd_slot(fd);

	if (!slot)
		return real.send(fd, buf, n, flags);
	return ret(send_buf(fd, slot, buf, n, flags));
}

/* ---- vectors ---- */

static ssize_t readv_flags(int fd, uint32_t slot, const struct iovec *iov, int cnt, int flags)
{
	struct msghdr m = { .msg_iov = (struct iovec *)iov, .msg_iovlen = (size_t)cnt };

	if (cnt < 0 || cnt > IOV_MAX)
		return -EINVAL;
	return pl_recv(fd, slot, &m, flags);
}

static ssize_t writev_flags(int fd, uint32_t slot, const struct iovec *iov, int cnt, int flags)
{
	struct msghdr m = { .msg_iov = (struct iovec *)iov, .msg_iovlen = (size_t)cnt };

	if (cnt < 0 || cnt > IOV_MAX)
		return -EINVAL;
	return pl_send(fd, slot, &m, flags);
}

PL_EXPORT ssize_t readv(int fd, const struct iovec *iov, int cnt)
{
	uint32_t slot = pl_fd_slot(fd);

	if (!slot)
		return real.readv(fd, iov, cnt);
	return ret(readv_flags(fd, slot, iov, cnt, 0));
}

PL_EXPORT ssize_t writev(int fd, const struct iovec *iov, int cnt)
{
	uint32_t slot = pl_fd_slot(fd);

	if (!slot)
		return real.writev(fd, iov, cnt);
	return ret(writev_flags(fd, slot, iov, cnt, 0));
}

/* preadv2 and pwritev2 reach sockets with offset -1 only. Return: MSG_* flags, or -errno. */
static int rwf_flags(off64_t off, int flags)
{
	if (off != -1)
		return off < 0 ? -EINVAL : -ESPIPE;
	if (flags & ~(RWF_HIPRI | RWF_DSYNC | RWF_SYNC | RWF_NOWAIT))
		return -EOPNOTSUPP;
	return flags & RWF_NOWAIT ? MSG_DONTWAIT : 0;
}

PL_EXPORT ssize_t preadv64v2(int fd, const struct iovec *iov, int cnt, off64_t off, int flags)
{
	uint32_t slot = pl_fd_slot(fd);
	int mf;

	if (!slot)
		return real.preadv64v2(fd, iov, cnt, off, flags);
	mf = rwf_flags(off, flags);
	return ret(mf < 0 ? mf : readv_flags(fd, slot, iov, cnt, mf));
}

PL_EXPORT ssize_t preadv2(int fd, const struct iovec *iov, int cnt, off_t off, int flags)
{
	return preadv64v2(fd, iov, cnt, off, flags);
}

PL_EXPORT ssize_t pwritev64v2(int fd, const struct iovec *iov, int cnt, off64_t off, int flags)
{
	uint32_t slot = pl_fd_slot(fd);
	int mf;

	if (!slot)
		return real.pwritev64v2(fd, iov, cnt, off, flags);
	mf = rwf_flags(off, flags);
	return ret(mf < 0 ? mf : writev_flags(fd, slot, iov, cnt, mf));
}

PL_EXPORT ssize_t pwritev2(int fd, const struct iovec *iov, int cnt, off_t off, int flags)
{
	return pwritev64v2(fd, iov, cnt, off, flags);
}

/* ---- names and messages ---- */

PL_EXPORT ssize_t recvfrom(int fd, void *buf, size_t n, int flags, struct sockaddr *sa,
			   socklen_t *len)
{
	uint32_t slot = pl_fd_slot(fd);
	struct iovec iov = { buf, n };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_name = sa };
	ssize_t r;

	if (!slot)
		return real.recvfrom(fd, buf, n, flags, sa, len);
	if (sa && len)
		m.msg_namelen = *len;
	r = pl_recv(fd, slot, &m, flags);
	if (r >= 0 && sa && len)
		*len = m.msg_namelen;
	return ret(r);
}

PL_EXPORT ssize_t sendto(int fd, const void *buf, size_t n, int flags, const struct sockaddr *sa,
			 socklen_t len)
{
	uint32_t slot = pl_fd_slot(fd);
	struct iovec iov = { (void *)buf, n };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_name = (void *)sa,
			    .msg_namelen = sa ? len : 0 };

	if (!slot)
		return real.sendto(fd, buf, n, flags, sa, len);
	return ret(pl_send(fd, slot, &m, flags));
}

static ssize_t recvmsg_kernel(int fd, struct msghdr *m, int flags)
{
	ssize_t r = real.recvmsg(fd, m, flags);

	if (__builtin_expect(r >= 0 && m->msg_controllen && ld_acq(&pl.attached), 0))
		pl_scm_recv(m, flags);
	return r;
}

PL_EXPORT ssize_t recvmsg(int fd, struct msghdr *m, int flags)
{
	uint32_t slot = pl_fd_slot(fd);

	if (!slot)
		return recvmsg_kernel(fd, m, flags);
	return ret(pl_recv(fd, slot, m, flags));
}

PL_EXPORT ssize_t sendmsg(int fd, const struct msghdr *m, int flags)
{
	uint32_t slot = pl_fd_slot(fd);

	if (!slot)
		return __builtin_expect(m->msg_controllen && ld_acq(&pl.attached), 0) ?
		       pl_scm_send(fd, m, flags) : real.sendmsg(fd, m, flags);
	return ret(pl_send(fd, slot, m, flags));
}

/* The kernel's own odd rule: the time-out is looked at only after a message has come. */
static bool over(const struct timespec *timeout, const struct timespec *from)
{
	struct timespec now;
	int64_t ns;

	if (!timeout)
		return false;
	clock_gettime(CLOCK_MONOTONIC, &now);
	ns = (now.tv_sec - from->tv_sec) * 1000000000ll + now.tv_nsec - from->tv_nsec;
	return ns >= timeout->tv_sec * 1000000000ll + timeout->tv_nsec;
}

PL_EXPORT int recvmmsg(int fd, struct mmsghdr *v, unsigned n, int flags, struct timespec *timeout)
{
	uint32_t slot = pl_fd_slot(fd);
	struct timespec from = { 0 };
	unsigned i;
	ssize_t r = 0;

	if (!slot)
		return real.recvmmsg(fd, v, n, flags, timeout);
	if (timeout)
		clock_gettime(CLOCK_MONOTONIC, &from);
	for (i = 0; i < n && !(i && over(timeout, &from)); i++) {
		r = pl_recv(fd, slot, &v[i].msg_hdr, flags & ~MSG_WAITFORONE);
		if (r < 0)
			break;
		v[i].msg_len = (unsigned)r;
		if (flags & MSG_WAITFORONE)
			flags |= MSG_DONTWAIT;
	}
	return i ? (int)i : (int)ret(r);
}

PL_EXPORT int sendmmsg(int fd, struct mmsghdr *v, unsigned n, int flags)
{
	uint32_t slot = pl_fd_slot(fd);
	unsigned i;
	ssize_t r = 0;

	if (!slot)
		return real.sendmmsg(fd, v, n, flags);
	for (i = 0; i < n && i < IOV_MAX; i++) {
		r = pl_send(fd, slot, &v[i].msg_hdr, flags);
		if (r < 0)
			break;
		v[i].msg_len = (unsigned)r;
	}
	return i ? (int)i : (int)ret(r);
}
