/* SPDX-License-Identifier: MIT */
/* tests/unit/preload/test_opt.c - options, fcntl, ioctl */
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>

#include "mock.h"

TestSuite(opt, .init = mock_start, .fini = mock_stop, .timeout = 10);

static int get(int fd, int level, int name)
{
	int v = -1;
	socklen_t len = sizeof(v);

	return getsockopt(fd, level, name, &v, &len) ? -errno : v;
}

static int set(int fd, int level, int name, int v)
{
	return setsockopt(fd, level, name, &v, sizeof(v)) ? -errno : 0;
}

Test(opt, what_the_socket_is)
{
	int sv[2], l = mock_listener(7700);

	mock_pair(sv);
	cr_assert_eq(get(sv[1], SOL_SOCKET, SO_TYPE), SOCK_STREAM);
	cr_assert_eq(get(sv[1], SOL_SOCKET, SO_DOMAIN), AF_INET);
	cr_assert_eq(get(sv[1], SOL_SOCKET, SO_PROTOCOL), IPPROTO_TCP);
	cr_assert_eq(get(l, SOL_SOCKET, SO_ACCEPTCONN), 1);
	cr_assert_eq(get(sv[1], SOL_SOCKET, SO_ACCEPTCONN), 0);
}

/* Set and read back, on a fresh socket (kernel checks) and on an accepted one (the table checks).
   */
Test(opt, round_trips)
{
	static const struct { int level, name, v, shown; } t[] = {
		{ SOL_SOCKET, SO_KEEPALIVE, 5, 1 }, { SOL_SOCKET, SO_REUSEADDR, 1, 1 },
		{ IPPROTO_TCP, TCP_NODELAY, 1, 1 }, { IPPROTO_TCP, TCP_CORK, 1, 1 },
		{ IPPROTO_TCP, TCP_KEEPIDLE, 30, 30 }, { IPPROTO_TCP, TCP_KEEPINTVL, 7, 7 },
		{ IPPROTO_TCP, TCP_KEEPCNT, 4, 4 }, { IPPROTO_TCP, TCP_USER_TIMEOUT, 9000, 9000 },
		{ SOL_SOCKET, SO_SNDBUF, 50000, 100000 }, { SOL_SOCKET, SO_RCVBUF, 1, 2304 },
		{ IPPROTO_IP, IP_TOS, 16, 16 }, { IPPROTO_IP, IP_TTL, 9, 9 },
	};
	int sv[2], fd[2];

	mock_pair(sv);
	fd[0] = socket(AF_INET, SOCK_STREAM, 0);
	fd[1] = sv[1];
	for (int i = 0; i < 2; i++)
		for (size_t k = 0; k < sizeof(t) / sizeof(t[0]); k++) {
			cr_assert_eq(set(fd[i], t[k].level, t[k].name, t[k].v), 0, "%zu", k);
			cr_assert_eq(get(fd[i], t[k].level, t[k].name), t[k].shown, "%zu", k);
		}
	cr_assert_eq(set(fd[1], IPPROTO_TCP, TCP_KEEPCNT, 128), -EINVAL);
	cr_assert_eq(set(fd[0], IPPROTO_TCP, TCP_KEEPCNT, 128), -EINVAL);
	cr_assert_eq(setsockopt(fd[1], IPPROTO_TCP, TCP_NODELAY, "", 1), -1);
	cr_assert_eq(errno, EINVAL);
}

Test(opt, unknown_is_refused)
{
	int sv[2], udp = socket(AF_INET, SOCK_DGRAM, 0);

	mock_pair(sv);
	cr_assert_eq(set(sv[1], IPPROTO_TCP, 9999, 1), -ENOPROTOOPT);
	cr_assert_eq(get(sv[1], IPPROTO_TCP, 9999), -ENOPROTOOPT);
	cr_assert_eq(set(sv[1], IPPROTO_TCP, TCP_ULP, 1), -ENOENT);
	cr_assert_eq(set(sv[1], SOL_SOCKET, SO_TYPE, 1), -ENOPROTOOPT);
	cr_assert_lt(set(udp, IPPROTO_TCP, TCP_NODELAY, 1), 0);
	cr_assert_lt(set(sv[1], IPPROTO_IPV6, 26, 1), 0);
}

/* sshd asks an accepted socket for both. */
Test(opt, never_set_is_empty)
{
	char buf[16];
	socklen_t len = sizeof(buf);
	int sv[2];

	mock_pair(sv);
	cr_assert_eq(getsockopt(sv[1], SOL_SOCKET, SO_BINDTODEVICE, buf, &len), 0);
	cr_assert_eq(len, 0);
	len = sizeof(buf);
	cr_assert_eq(getsockopt(sv[1], IPPROTO_IP, IP_OPTIONS, buf, &len), 0);
	cr_assert_eq(len, 0);
}

Test(opt, linger_and_congestion)
{
	struct linger l = { 1, 3 }, g = { 0, 0 };
	socklen_t len = sizeof(g);
	char cc[16];
	int sv[2];

	mock_pair(sv);
	cr_assert_eq(setsockopt(sv[1], SOL_SOCKET, SO_LINGER, &l, sizeof(l)), 0);
	cr_assert_eq(getsockopt(sv[1], SOL_SOCKET, SO_LINGER, &g, &len), 0);
	cr_assert(g.l_onoff == 1 && g.l_linger == 3);
	len = sizeof(cc);
	cr_assert_eq(getsockopt(sv[1], IPPROTO_TCP, TCP_CONGESTION, cc, &len), 0);
	cr_assert_str_eq(cc, "reno");
	cr_assert_eq(setsockopt(sv[1], IPPROTO_TCP, TCP_CONGESTION, "cubic", 5), 0);
	cr_assert_eq(getsockopt(sv[1], IPPROTO_TCP, TCP_CONGESTION, cc, &len), 0);
	cr_assert_str_eq(cc, "cubic");
	cr_assert_eq(setsockopt(sv[1], IPPROTO_TCP, TCP_CONGESTION, "nonesuch", 8), -1);
	cr_assert_eq(errno, ENOENT);
}

Test(opt, nonblock_is_per_socket)
{
	int a[2], b[2], on = 1;
	char c;

	mock_pair(a);
	mock_pair(b);	/* a[1] and b[1] duplicate one placeholder */
	cr_assert_eq(ioctl(a[1], FIONBIO, &on), 0);
	cr_assert(fcntl(a[1], F_GETFL) & O_NONBLOCK);
	cr_assert_eq(fcntl(b[1], F_GETFL), O_RDWR);
	cr_assert_eq(read(a[1], &c, 1), -1);
	cr_assert_eq(errno, EAGAIN);
	on = 0;
	cr_assert_eq(ioctl(a[1], FIONBIO, &on), 0);
	cr_assert_eq(fcntl(a[1], F_GETFL), O_RDWR);
}

Test(opt, queues)
{
	int sv[2], v = -1;
	char c;

	mock_pair(sv);
	cr_assert_eq(write(sv[0], "abc", 3), 3);
	cr_assert_eq(recv(sv[1], &c, 1, 0), 1);
	cr_assert_eq(ioctl(sv[1], FIONREAD, &v), 0);
	cr_assert_eq(v, 2);
	cr_assert_eq(ioctl(sv[0], TIOCOUTQ, &v), 0);
	cr_assert_eq(v, 0);
}
