/* SPDX-License-Identifier: MIT */
/* tests/fault/sigs.h - what signals.c and cancel.c share: sockets to block on
 * A struct sock is a socket, what is at its other end, and how a call that blocks on it is let go.
 * Everything is within one process, on one address: the kernel's own, or stackd's.
 */
#ifndef FAULT_SIGS_H
#define FAULT_SIGS_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static const char *own_addr, *dead_addr;	/* nobody has the second */

enum kind { LISTENER, LISTENER_ANY, DIALLER, STREAM, STREAM_FULL, DGRAM, DGRAM_ANY };

struct sock {
	enum kind kind;
	int fd, peer, ep;
	char buf[64];
};

__attribute__((unused)) static void die(const char *what)
{
	printf("%s: %s\n", what, strerror(errno));
	exit(1);
}

static struct sockaddr_in at(const char *addr, int port)
{
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };

	inet_pton(AF_INET, addr, &sa.sin_addr);
	return sa;
}

static int bound(int type, const char *addr)
{
	struct sockaddr_in sa = at(addr, 0);
	int fd = socket(AF_INET, type, 0);

	if (fd < 0 || bind(fd, (void *)&sa, sizeof(sa)))
		die("bind");
	if (type == SOCK_STREAM && listen(fd, 16))
		die("listen");
	return fd;
}

static int port_of(int fd)
{
	struct sockaddr_in sa;
	socklen_t len = sizeof(sa);

	if (getsockname(fd, (void *)&sa, &len))
		die("getsockname");
	return ntohs(sa.sin_port);
}

static int dial(int type, const char *addr, int port)
{
	struct sockaddr_in sa = at(addr, port);
	int fd = socket(AF_INET, type, 0);

	if (fd < 0 || connect(fd, (void *)&sa, sizeof(sa)))
		die("connect");
	return fd;
}

static void stream_pair(int *a, int *b)
{
	int l = bound(SOCK_STREAM, own_addr), small = 32768;

	setsockopt(l, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	*a = dial(SOCK_STREAM, own_addr, port_of(l));
	*b = accept(l, NULL, NULL);
	if (*b < 0)
		die("accept");
	close(l);
}

/* Pairs whose sender is full for good: once zero-window probes push nothing more into the peer. All
 * are filled at once, at the first use, since that takes a while. */
#define FULL_CNT 28
#define FULL_ROUNDS 12			/* of 50 ms in a row without a byte taken */

static int full[FULL_CNT][2], full_left = -1;

static void full_fill(void)
{
	static char junk[65536];
	const struct timespec nap = { .tv_nsec = 50000000 };
	int small = 65536;

	for (int i = 0; i < FULL_CNT; i++) {
		stream_pair(&full[i][0], &full[i][1]);
		setsockopt(full[i][0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	}
	for (int quiet = 0; quiet < FULL_ROUNDS; quiet++) {
		for (int i = 0; i < FULL_CNT; i++)
			while (send(full[i][0], junk, sizeof(junk), MSG_DONTWAIT) > 0)
				quiet = 0;
		nanosleep(&nap, NULL);
	}
	full_left = FULL_CNT;
}

static void full_pair(int *a, int *b)
{
	if (full_left < 0)
		full_fill();
	if (!full_left)
		die("FULL_CNT");
	*a = full[--full_left][0];
	*b = full[full_left][1];
}

static void full_close(void)
{
	for (; full_left > 0; full_left--) {
		close(full[full_left - 1][0]);
		close(full[full_left - 1][1]);
	}
}

static void sock_open(struct sock *s, enum kind kind)
{
	*s = (struct sock){ .kind = kind, .peer = -1, .ep = -1 };
	switch (kind) {
	case LISTENER:
	case LISTENER_ANY:
		s->fd = bound(SOCK_STREAM, kind == LISTENER ? own_addr : "0.0.0.0");
		break;
	case DIALLER:
		s->fd = socket(AF_INET, SOCK_STREAM, 0);
		break;
	case STREAM:
		stream_pair(&s->fd, &s->peer);
		break;
	case STREAM_FULL:
		full_pair(&s->fd, &s->peer);
		break;
	case DGRAM:
	case DGRAM_ANY:
		s->fd = bound(SOCK_DGRAM, kind == DGRAM ? own_addr : "0.0.0.0");
		s->peer = dial(SOCK_DGRAM, own_addr, port_of(s->fd));
		/* known to both stacks from here on */
		send(s->peer, "hello", 5, 0);
		recv(s->fd, s->buf, sizeof(s->buf), 0);
		break;
	}
	s->ep = epoll_create1(0);
	epoll_ctl(s->ep, EPOLL_CTL_ADD, s->fd,
		  &(struct epoll_event){ .events = kind == STREAM_FULL ? EPOLLOUT : EPOLLIN });
}

static void sock_close(struct sock *s)
{
	close(s->ep);
	close(s->fd);
	if (s->peer >= 0)
		close(s->peer);
}

/* What a call waits for on this socket happens. */
static void sock_release(struct sock *s)
{
	static __thread char junk[65536];
	int fd, quiet = 0;

	switch (s->kind) {
	case LISTENER:
	case LISTENER_ANY:
		fd = dial(SOCK_STREAM, own_addr, port_of(s->fd));
		if (s->peer >= 0)
			close(s->peer);
		s->peer = fd;
		break;
	case DIALLER:
		shutdown(s->fd, SHUT_RDWR);
		break;
	case STREAM_FULL:
		while (quiet < 5) {
			struct pollfd p = { s->peer, POLLIN, 0 };

			if (poll(&p, 1, 4) == 1)
				recv(s->peer, junk, sizeof(junk), MSG_DONTWAIT);
			else
				quiet++;
		}
		break;
	default:
		send(s->peer, "data", 4, 0);
	}
}

/* ---- the calls that block ---- */

static long call_accept(struct sock *s)
{
	int fd = accept(s->fd, NULL, NULL);

	if (fd >= 0)
		close(fd);
	return fd < 0 ? fd : 0;
}

static long call_accept4(struct sock *s)
{
	struct sockaddr_in sa;
	socklen_t len = sizeof(sa);
	int fd = accept4(s->fd, (void *)&sa, &len, SOCK_CLOEXEC);

	if (fd >= 0)
		close(fd);
	return fd < 0 ? fd : (long)len;
}

static long call_connect(struct sock *s)
{
	struct sockaddr_in sa = at(dead_addr, 9);

	return connect(s->fd, (void *)&sa, sizeof(sa));
}

static long call_recv(struct sock *s)
{
	return recv(s->fd, s->buf, sizeof(s->buf), 0);
}

static long call_waitall(struct sock *s)
{
	return recv(s->fd, s->buf, 4, MSG_WAITALL);
}

static long call_read(struct sock *s)
{
	return read(s->fd, s->buf, sizeof(s->buf));
}

static long call_readv(struct sock *s)
{
	struct iovec v[2] = { { s->buf, 2 }, { s->buf + 2, 60 } };

	return readv(s->fd, v, 2);
}

static long call_recvfrom(struct sock *s)
{
	struct sockaddr_in sa;
	socklen_t len = sizeof(sa);

	return recvfrom(s->fd, s->buf, sizeof(s->buf), 0, (void *)&sa, &len);
}

static long call_recvmsg(struct sock *s)
{
	struct iovec v = { s->buf, sizeof(s->buf) };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };

	return recvmsg(s->fd, &m, 0);
}

static long call_send(struct sock *s)
{
	return send(s->fd, s->buf, 10, 0);
}

static long call_write(struct sock *s)
{
	return write(s->fd, s->buf, 10);
}

static long call_writev(struct sock *s)
{
	struct iovec v[2] = { { s->buf, 4 }, { s->buf + 4, 6 } };

	return writev(s->fd, v, 2);
}

static long call_sendmsg(struct sock *s)
{
	struct iovec v = { s->buf, 10 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };

	return sendmsg(s->fd, &m, 0);
}

static long call_poll(struct sock *s)
{
	struct pollfd p = { s->fd, s->kind == STREAM_FULL ? POLLOUT : POLLIN, 0 };

	return poll(&p, 1, -1);
}

static long call_ppoll(struct sock *s)
{
	struct pollfd p = { s->fd, s->kind == STREAM_FULL ? POLLOUT : POLLIN, 0 };

	return ppoll(&p, 1, &(struct timespec){ .tv_sec = 9 }, NULL);
}

static long call_select(struct sock *s)
{
	fd_set set;

	FD_ZERO(&set);
	FD_SET(s->fd, &set);
	return s->kind == STREAM_FULL ? select(s->fd + 1, NULL, &set, NULL, NULL) :
					select(s->fd + 1, &set, NULL, NULL, NULL);
}

static long call_epoll(struct sock *s)
{
	struct epoll_event ev;

	return epoll_wait(s->ep, &ev, 1, -1);
}

static const struct call {
	const char *name;
	enum kind kind;
	long (*fn)(struct sock *s);
} calls[] = {
	{ "accept", LISTENER, call_accept },
	{ "accept4 any", LISTENER_ANY, call_accept4 },
	{ "connect", DIALLER, call_connect },
	{ "recv", STREAM, call_recv },
	{ "recv waitall", STREAM, call_waitall },
	{ "read", STREAM, call_read },
	{ "readv", STREAM, call_readv },
	{ "recvmsg", STREAM, call_recvmsg },
	{ "send", STREAM_FULL, call_send },
	{ "write", STREAM_FULL, call_write },
	{ "writev", STREAM_FULL, call_writev },
	{ "sendmsg", STREAM_FULL, call_sendmsg },
	{ "udp recvfrom", DGRAM, call_recvfrom },
	{ "udp recvmsg any", DGRAM_ANY, call_recvmsg },
	{ "poll", STREAM, call_poll },
	{ "poll out", STREAM_FULL, call_poll },
	{ "poll any", LISTENER_ANY, call_poll },
	{ "ppoll", DGRAM, call_ppoll },
	{ "select", STREAM, call_select },
	{ "select out", STREAM_FULL, call_select },
	{ "epoll_wait", STREAM, call_epoll },
	{ "epoll_wait any", LISTENER_ANY, call_epoll },
};
#define CALLS (sizeof(calls) / sizeof(calls[0]))

/* ---- telling when a thread sleeps ---- */

static bool thread_asleep(int tid)
{
	char path[64], text[256], *p;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", tid);
	f = fopen(path, "r");
	if (!f)
		return false;
	p = fgets(text, sizeof(text), f) ? strrchr(text, ')') : NULL;
	fclose(f);
	return p && p[2] == 'S';
}

/* Until @tid slept each time in a row of looks, or *@done. */
static void wait_asleep(int tid, const bool *done)
{
	const struct timespec nap = { .tv_nsec = 500000 };

	for (int row = 0; row < 6 && !__atomic_load_n(done, __ATOMIC_ACQUIRE);) {
		row = thread_asleep(tid) ? row + 1 : 0;
		nanosleep(&nap, NULL);
	}
}

static const char *err_name(long r, int err)
{
	return r < 0 ? strerrorname_np(err) : "-";
}

#endif
