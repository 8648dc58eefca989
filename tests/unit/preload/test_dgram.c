/* SPDX-License-Identifier: MIT */
/* tests/unit/preload/test_dgram.c - datagrams by stackd and by the kernel on one socket */
#include <fcntl.h>
#include <sys/uio.h>

#include "mock.h"

TestSuite(dgram, .init = mock_start, .fini = mock_stop, .timeout = 10);

Test(dgram, to_stackd_and_back)
{
	struct sockaddr_in to = mock_sin("192.0.2.1", 7), from;
	socklen_t len = sizeof(from);
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	char buf[32];

	cr_assert_eq(sendto(fd, "ping", 4, 0, (struct sockaddr *)&to, sizeof(to)), 4);
	cr_assert_eq(recvfrom(fd, buf, sizeof(buf), 0, (struct sockaddr *)&from, &len), 4);
	cr_assert_arr_eq(buf, "ping", 4);
	cr_assert_eq(from.sin_port, to.sin_port);
	cr_assert_eq(from.sin_addr.s_addr, to.sin_addr.s_addr);
	cr_assert_eq(sendto(fd, "", 0, 0, (struct sockaddr *)&to, sizeof(to)), 0);
	cr_assert_eq(recv(fd, buf, sizeof(buf), 0), 0);	/* empty datagrams count */
	cr_assert_eq(sendto(fd, "truncated", 9, 0, (struct sockaddr *)&to, sizeof(to)), 9);
	cr_assert_eq(recv(fd, buf, 3, MSG_TRUNC), 9);
	cr_assert_eq(recv(fd, buf, 3, MSG_DONTWAIT), -1);
	cr_assert_eq(errno, EAGAIN);
}

Test(dgram, kernel_destinations)
{
	int a = socket(AF_INET, SOCK_DGRAM, 0), b = socket(AF_INET, SOCK_DGRAM, 0);
	struct sockaddr_in in = mock_sin("127.0.0.1", 0), to = mock_sin("192.0.2.1", 7);
	socklen_t len = sizeof(in);
	char buf[8];

	cr_assert_eq(bind(b, (struct sockaddr *)&in, sizeof(in)), 0);
	cr_assert_eq(getsockname(b, (struct sockaddr *)&in, &len), 0);
	cr_assert_eq(sendto(a, "k", 1, 0, (struct sockaddr *)&in, sizeof(in)), 1);
	cr_assert_eq(recvfrom(b, buf, 8, 0, (struct sockaddr *)&in, &len), 1);
	/* the same socket now sends by stackd, too, and hears both */
	cr_assert_eq(sendto(a, "s", 1, 0, (struct sockaddr *)&to, sizeof(to)), 1);
	cr_assert_eq(recv(a, buf, 8, 0), 1);
	cr_assert_eq(sendto(b, "back", 4, 0, (struct sockaddr *)&in, len), 4);
	cr_assert_eq(recv(a, buf, 8, 0), 4);
}

Test(dgram, connected)
{
	struct sockaddr_in to = mock_sin("192.0.2.1", 7), none = { .sin_family = AF_UNSPEC };
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	char buf[8];

	cr_assert_eq(send(fd, "x", 1, 0), -1);
	cr_assert_eq(errno, EDESTADDRREQ);
	cr_assert_eq(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	cr_assert_eq(send(fd, "abc", 3, 0), 3);
	cr_assert_eq(read(fd, buf, 8), 3);
	mock_abort(pl_fd_slot(fd), ECONNREFUSED);
	cr_assert_eq(recv(fd, buf, 8, 0), -1);
	cr_assert_eq(errno, ECONNREFUSED);
	cr_assert_eq(connect(fd, (struct sockaddr *)&none, sizeof(none)), 0);
	cr_assert_eq(send(fd, "x", 1, 0), -1);
	cr_assert_eq(errno, EDESTADDRREQ);
}

Test(dgram, pktinfo_and_size)
{
	struct sockaddr_in to = mock_sin("192.0.2.1", 7);
	union { char b[64]; struct cmsghdr h; } cb;
	static char big[65508];
	struct iovec iov = { big, 4 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &cb,
			    .msg_controllen = sizeof(cb) };
	int fd = socket(AF_INET, SOCK_DGRAM, 0), on = 1;

	cr_assert_eq(setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof(on)), 0);
	cr_assert_eq(sendto(fd, big, sizeof(big), 0, (struct sockaddr *)&to, sizeof(to)), -1);
	cr_assert_eq(errno, EMSGSIZE);
	cr_assert_eq(sendto(fd, big, 4, 0, (struct sockaddr *)&to, sizeof(to)), 4);
	cr_assert_eq(recvmsg(fd, &m, 0), 4);
	cr_assert_eq(cb.h.cmsg_type, IP_PKTINFO);
	cr_assert_eq(m.msg_controllen, CMSG_SPACE(sizeof(struct in_pktinfo)));
}

Test(dgram, mmsg)
{
	struct sockaddr_in to = mock_sin("192.0.2.1", 7);
	char in[3][8];
	struct iovec iov[3] = { { "a", 1 }, { "bb", 2 }, { "ccc", 3 } };
	struct iovec riov[3] = { { in[0], 8 }, { in[1], 8 }, { in[2], 8 } };
	struct mmsghdr v[3] = { 0 };
	int fd = socket(AF_INET, SOCK_DGRAM, 0), n = 0;

	for (int i = 0; i < 3; i++)
		v[i].msg_hdr = (struct msghdr){ .msg_name = &to, .msg_namelen = sizeof(to),
						.msg_iov = &iov[i], .msg_iovlen = 1 };
	cr_assert_eq(sendmmsg(fd, v, 3, 0), 3);
	for (int i = 0; i < 3; i++)
		v[i].msg_hdr = (struct msghdr){ .msg_iov = &riov[i], .msg_iovlen = 1 };
	while (n < 3) {
		int r = recvmmsg(fd, v + n, (unsigned)(3 - n), MSG_WAITFORONE, NULL);

		cr_assert_gt(r, 0);
		n += r;
	}
	for (int i = 0; i < 3; i++)
		cr_assert_eq(v[i].msg_len, (unsigned)i + 1);
}
