/* SPDX-License-Identifier: MIT */
/* tests/unit/preload/test_conn.c - bind, listen, accept, connect: which side carries a socket, and
 * Linux's errnos */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>

#include "mock.h"

TestSuite(conn, .init = mock_start, .fini = mock_stop, .timeout = 10);

static int tcp(int flags)
{
	int fd = socket(AF_INET, SOCK_STREAM | flags, 0);

	cr_assert_geq(fd, 0);
	return fd;
}

static int conn(int fd, const char *ip, uint16_t port)
{
	struct sockaddr_in in = mock_sin(ip, port);

	return connect(fd, (struct sockaddr *)&in, sizeof(in)) ? -errno : 0;
}

static int bind_to(int fd, const char *ip, uint16_t port)
{
	struct sockaddr_in in = mock_sin(ip, port);

	return bind(fd, (struct sockaddr *)&in, sizeof(in)) ? -errno : 0;
}

static uint16_t port_of(int fd)
{
	struct sockaddr_in in = { 0 };
	socklen_t len = sizeof(in);

	cr_assert_eq(getsockname(fd, (struct sockaddr *)&in, &len), 0);
	cr_assert_eq(len, sizeof(in));
	return ntohs(in.sin_port);
}

Test(conn, names)
{
	struct sockaddr_in in;
	socklen_t len = sizeof(in);
	char text[32];
	int sv[2];

	mock_pair(sv);
	cr_assert_eq(getpeername(sv[0], (struct sockaddr *)&in, &len), 0);
	cr_assert_str_eq(inet_ntop(AF_INET, &in.sin_addr, text, sizeof(text)), MOCK_ADDR);
	cr_assert_eq(ntohs(in.sin_port), port_of(sv[1]));
	len = 4;
	cr_assert_eq(getsockname(sv[1], (struct sockaddr *)&in, &len), 0);
	cr_assert_eq(len, sizeof(in));	/* cut, with the full size told */
}

Test(conn, v6_socket_shows_mapped)
{
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_port = htons(7100) };
	int l = mock_listener(7100), fd = socket(AF_INET6, SOCK_STREAM, 0);
	socklen_t len = sizeof(in6);
	char text[64];

	inet_pton(AF_INET6, "::ffff:" MOCK_ADDR, &in6.sin6_addr);
	cr_assert_eq(connect(fd, (struct sockaddr *)&in6, sizeof(in6)), 0);
	cr_assert_eq(getpeername(fd, (struct sockaddr *)&in6, &len), 0);
	cr_assert_eq(in6.sin6_family, AF_INET6);
	inet_ntop(AF_INET6, &in6.sin6_addr, text, sizeof(text));
	cr_assert_str_eq(text, "::ffff:" MOCK_ADDR);
	close(l);
}

Test(conn, refused_then_again)
{
	int fd = tcp(0), l;

	cr_assert_eq(conn(fd, MOCK_ADDR, 7200), -ECONNREFUSED);
	l = mock_listener(7200);
	cr_assert_eq(conn(fd, MOCK_ADDR, 7200), 0);
	cr_assert_eq(conn(fd, MOCK_ADDR, 7200), -EISCONN);
	close(l);
}

Test(conn, nonblocking)
{
	int l = mock_listener(7201), fd = tcp(SOCK_NONBLOCK), err, r;
	struct pollfd p = { fd, POLLOUT, 0 };
	socklen_t len = sizeof(err);

	r = conn(fd, MOCK_ADDR, 7201);
	cr_assert(r == -EINPROGRESS || r == 0);
	cr_assert_eq(poll(&p, 1, 5000), 1);
	cr_assert_eq(getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len), 0);
	cr_assert_eq(err, 0);
	cr_assert_eq(conn(fd, MOCK_ADDR, 7201), r ? 0 : -EISCONN);	/* Linux tells once */
	cr_assert_eq(conn(fd, MOCK_ADDR, 7201), -EISCONN);
	fd = tcp(SOCK_NONBLOCK);
	cr_assert_eq(conn(fd, MOCK_SILENT, 1), -EINPROGRESS);
	cr_assert_eq(conn(fd, MOCK_SILENT, 1), -EALREADY);
	mock_abort(pl_fd_slot(fd), ETIMEDOUT);
	cr_assert_eq(conn(fd, MOCK_SILENT, 1), -ETIMEDOUT);
	close(l);
}

Test(conn, elsewhere_is_the_kernels)
{
	int l = tcp(0), fd = tcp(0), a;
	char c;

	cr_assert_eq(bind_to(l, "127.0.0.1", 0), 0);
	cr_assert_eq(pl_fd_slot(l), 0);
	cr_assert_eq(listen(l, 1), 0);
	cr_assert_neq(pl_fd_slot(fd), 0);
	cr_assert_eq(conn(fd, "127.0.0.1", port_of(l)), 0);
	cr_assert_eq(pl_fd_slot(fd), 0);
	a = accept(l, NULL, NULL);
	cr_assert_eq(write(fd, "k", 1), 1);
	cr_assert_eq(read(a, &c, 1), 1);
	cr_assert_eq(bind_to(tcp(0), "198.51.100.1", 80), -EADDRNOTAVAIL);	/* kernel's errno */
}

Test(conn, hybrid_listener_serves_both)
{
	int l = tcp(0), a, b, k = tcp(0), s = tcp(0);
	uint16_t port;

	cr_assert_eq(bind_to(l, "0.0.0.0", 0), 0);
	cr_assert_eq(listen(l, 5), 0);
	cr_assert_eq(fcntl(l, F_GETFL) & O_NONBLOCK, 0);
	port = port_of(l);
	cr_assert_eq(conn(s, MOCK_ADDR, port), 0);
	cr_assert_eq(conn(k, "127.0.0.1", port), 0);
	a = accept4(l, NULL, NULL, SOCK_NONBLOCK);
	b = accept4(l, NULL, NULL, SOCK_NONBLOCK);
	cr_assert(a >= 0 && b >= 0);
	cr_assert_eq((pl_fd_slot(a) != 0) + (pl_fd_slot(b) != 0), 1);
	cr_assert(fcntl(a, F_GETFL) & O_NONBLOCK);
	cr_assert(fcntl(b, F_GETFL) & O_NONBLOCK);
	cr_assert_eq(fcntl(l, F_SETFL, O_NONBLOCK), 0);
	cr_assert_eq(accept(l, NULL, NULL), -1);
	cr_assert_eq(errno, EAGAIN);
}

static void *late_connect(void *arg)
{
	usleep(20000);
	return (void *)(intptr_t)conn(tcp(0), arg ? "127.0.0.1" : MOCK_ADDR, 7300);
}

Test(conn, blocking_accept_wakes_for_either)
{
	int l = tcp(0), one = 1;
	pthread_t t;

	setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	cr_assert_eq(bind_to(l, "0.0.0.0", 7300), 0);
	cr_assert_eq(listen(l, 5), 0);
	for (uintptr_t kern = 0; kern < 2; kern++) {
		pthread_create(&t, NULL, late_connect, (void *)kern);
		cr_assert_geq(accept(l, NULL, NULL), 0);
		pthread_join(t, NULL);
	}
}

Test(conn, listen_without_bind)
{
	int l = tcp(0);

	cr_assert_eq(listen(l, 5), 0);
	cr_assert_neq(port_of(l), 0);
	cr_assert_eq(conn(tcp(0), MOCK_ADDR, port_of(l)), 0);
}

Test(conn, bind_errors)
{
	struct sockaddr_in in = mock_sin(MOCK_ADDR, 7400);
	int fd = tcp(0), other = tcp(0);

	cr_assert_eq(bind(fd, (struct sockaddr *)&in, 4), -1);
	cr_assert_eq(errno, EINVAL);
	in.sin_family = AF_INET6;
	cr_assert_eq(bind(fd, (struct sockaddr *)&in, sizeof(in)), -1);
	cr_assert_eq(errno, EAFNOSUPPORT);
	cr_assert_eq(bind_to(fd, MOCK_ADDR, 7400), 0);
	cr_assert_eq(bind_to(fd, MOCK_ADDR, 7401), -EINVAL);
	cr_assert_eq(bind_to(other, MOCK_ADDR, 7400), -EADDRINUSE);
	/* the engine refuses what the kernel had granted: nobody holds the port then */
	cr_assert_eq(bind_to(other, "0.0.0.0", 7400), -EADDRINUSE);
	cr_assert_eq(bind_to(other, "0.0.0.0", 7402), 0);
}

Test(conn, not_connected)
{
	int fd = tcp(0), l = mock_listener(7500);
	struct sockaddr_in in;
	socklen_t len = sizeof(in);

	cr_assert_eq(getpeername(fd, (struct sockaddr *)&in, &len), -1);
	cr_assert_eq(errno, ENOTCONN);
	cr_assert_eq(shutdown(fd, SHUT_RDWR), -1);
	cr_assert_eq(errno, ENOTCONN);
	cr_assert_eq(accept(fd, NULL, NULL), -1);
	cr_assert_eq(errno, EINVAL);
	cr_assert_eq(conn(l, MOCK_ADDR, 1), -EISCONN);
}
