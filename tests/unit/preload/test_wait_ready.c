/* SPDX-License-Identifier: MIT */
/* Readiness: each situation is made with a pair of kernel sockets and, by hand, in a slot; poll()
 * on both in one call must say the same. */
#include "wait_fx.h"

#include <netinet/tcp.h>

static short both(int kern, int ours, const char *what)
{
	struct pollfd p[2] = { { kern, WX_ALL_EV, 0 }, { ours, WX_ALL_EV, 0 } };

	poll(p, 2, 20);			/* what travels over lo has arrived by then */
	cr_expect_eq(p[0].revents, p[1].revents, "%s: kernel %#x, stackd %#x", what, p[0].revents,
		     p[1].revents);
	return p[0].revents;
}

static void wait_for(int kern, short ev)
{
	struct pollfd p = { kern, ev, 0 };

	cr_assert_eq(real.poll(&p, 1, 10000), 1);
}

#define NEED_PAIR(k) \
	int k[2], s; \
	wx_init(); \
	if (!wx_kernel_pair(k)) \
		cr_skip("needs a network namespace"); \
	s = wx_sock(SOCK_STREAM)

Test(ready, fresh)
{
	wx_init();
	both(real.socket(AF_INET, SOCK_STREAM, 0), wx_fresh(SOCK_STREAM), "fresh TCP");
	both(real.socket(AF_INET, SOCK_DGRAM, 0), wx_fresh(SOCK_DGRAM), "fresh UDP");
}

Test(ready, established_data_read)
{
	NEED_PAIR(k);
	char c;

	cr_expect_eq(both(k[0], s, "idle"), POLLOUT | POLLWRNORM);
	real.write(k[1], "x", 1);
	wait_for(k[0], POLLIN);
	wx_rx(s, 1);
	both(k[0], s, "data");
	real.read(k[0], &c, 1);
	pl_p(wx_slot(s))->rx_head = 1;
	both(k[0], s, "data read");
}

Test(ready, fin_then_shut)
{
	NEED_PAIR(k);

	real.shutdown(k[1], SHUT_WR);
	wait_for(k[0], POLLRDHUP);
	wx_fin(s);
	both(k[0], s, "FIN received");
	real.shutdown(k[0], SHUT_WR);
	or_sc(&pl_p(wx_slot(s))->flags, SD_P_SHUT_WR);
	cr_expect(both(k[0], s, "both shut") & POLLHUP);
}

Test(ready, shut_rd_shut_wr)
{
	NEED_PAIR(k);

	real.shutdown(k[0], SHUT_RD);
	or_sc(&pl_p(wx_slot(s))->flags, SD_P_SHUT_RD);
	both(k[0], s, "SHUT_RD");
	real.shutdown(k[0], SHUT_WR);
	or_sc(&pl_p(wx_slot(s))->flags, SD_P_SHUT_WR);
	both(k[0], s, "SHUT_RD, SHUT_WR");
}

Test(ready, shut_wr_only)
{
	NEED_PAIR(k);

	real.shutdown(k[0], SHUT_WR);
	or_sc(&pl_p(wx_slot(s))->flags, SD_P_SHUT_WR);
	cr_expect_eq(both(k[0], s, "SHUT_WR"), POLLOUT | POLLWRNORM);
}

Test(ready, reset)
{
	struct linger l = { 1, 0 };
	int err = 0;
	socklen_t len = sizeof(err);
	NEED_PAIR(k);

	real.setsockopt(k[1], SOL_SOCKET, SO_LINGER, &l, sizeof(l));
	real.close(k[1]);
	wait_for(k[0], POLLERR);
	wx_rst(s);
	cr_expect(both(k[0], s, "RST") & POLLERR);
	real.getsockopt(k[0], SOL_SOCKET, SO_ERROR, &err, &len);
	cr_expect_eq(pl_err_take(wx_slot(s)), err);
	both(k[0], s, "RST, error taken");
}

Test(ready, send_buffer_full)
{
	struct sd_slot_e *e;
	struct sd_slot_p *p;
	char buf[65536] = { 0 };
	NEED_PAIR(k);

	while (real.send(k[0], buf, sizeof(buf), MSG_DONTWAIT) > 0)
		;
	e = pl_e(wx_slot(s));
	p = pl_p(wx_slot(s));
	p->tx_tail = WX_LIMIT;
	cr_expect_eq(both(k[0], s, "full"), 0);
	cr_expect(p->flags & SD_P_NOSPACE);
	e->tx_una = WX_LIMIT / 3 - 1;			/* less than a third is free */
	cr_expect_not(pl_ready(wx_slot(s)) & SD_EV_OUT);
	e->tx_una = WX_LIMIT / 3;
	cr_expect(pl_ready(wx_slot(s)) & SD_EV_OUT);
}

Test(ready, rcvlowat)
{
	int lowat = 3;
	NEED_PAIR(k);

	real.setsockopt(k[0], SOL_SOCKET, SO_RCVLOWAT, &lowat, sizeof(lowat));
	pl_p(wx_slot(s))->opts.rcvlowat = 3;
	real.write(k[1], "xy", 2);
	wx_rx(s, 2);
	usleep(20000);
	cr_expect_eq(both(k[0], s, "two of three"), POLLOUT | POLLWRNORM);
	real.write(k[1], "z", 1);
	wx_rx(s, 1);
	wait_for(k[0], POLLIN);
	both(k[0], s, "three of three");
}

Test(ready, notsent_lowat)
{
	struct sd_slot_e *e;
	struct sd_slot_p *p;
	int s;

	wx_init();
	s = wx_sock(SOCK_STREAM);
	e = pl_e(wx_slot(s));
	p = pl_p(wx_slot(s));
	p->opts.notsent_lowat = 1000;
	p->tx_tail = 2000;
	e->tx_nxt = 1500;
	cr_expect_not(pl_ready(wx_slot(s)) & SD_EV_OUT, "500 unsent is not less than half of 1000");
	e->tx_nxt = 1501;
	cr_expect(pl_ready(wx_slot(s)) & SD_EV_OUT);
}

Test(ready, syn_sent)
{
	int s;

	wx_init();
	s = wx_sock(SOCK_STREAM);
	pl_e(wx_slot(s))->state = SD_ST_SYN_SENT;
	cr_expect_eq(pl_ready(wx_slot(s)), 0);
}

Test(ready, listener)
{
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t len = sizeof(sin);
	int l, c, s;

	wx_init();
	if (!wx_netns())
		cr_skip("needs a network namespace");
	l = real.socket(AF_INET, SOCK_STREAM, 0);
	real.bind(l, (struct sockaddr *)&sin, len);
	real.listen(l, 8);
	real.getsockname(l, (struct sockaddr *)&sin, &len);
	s = wx_listener();
	cr_expect_eq(both(l, s, "listener"), 0);
	c = real.socket(AF_INET, SOCK_STREAM, 0);
	cr_assert_eq(real.connect(c, (struct sockaddr *)&sin, len), 0);
	wx_conn(s);
	cr_expect_eq(both(l, s, "connection"), POLLIN | POLLRDNORM);
}

Test(ready, udp)
{
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t len = sizeof(sin);
	int k, s;

	wx_init();
	if (!wx_netns())
		cr_skip("needs a network namespace");
	k = real.socket(AF_INET, SOCK_DGRAM, 0);
	s = wx_sock(SOCK_DGRAM);
	real.bind(k, (struct sockaddr *)&sin, len);
	real.getsockname(k, (struct sockaddr *)&sin, &len);
	both(k, s, "idle UDP");
	real.sendto(k, "x", 1, 0, (struct sockaddr *)&sin, len);
	wx_rx(s, 64);
	both(k, s, "UDP data");
}

/* Who got EAGAIN or a short count hears when there is room again, without having polled. */
Test(ready, writer_without_room_asks_for_the_edge)
{
	static char buf[2 * WX_LIMIT];
	struct epoll_event ev = { EPOLLOUT | EPOLLET, { 0 } };
	struct sd_slot_p *p;
	int s, e = epoll_create1(0);

	wx_init();
	s = wx_sock(SOCK_STREAM);
	p = pl_p(wx_slot(s));
	cr_assert_eq(epoll_ctl(e, EPOLL_CTL_ADD, s, &ev), 0);
	cr_assert_eq(epoll_wait(e, &ev, 1, 0), 1);
	cr_expect_eq(send(s, buf, WX_LIMIT / 2, MSG_DONTWAIT), WX_LIMIT / 2);
	cr_expect_not(p->flags & SD_P_NOSPACE);
	cr_expect_eq(send(s, buf, sizeof(buf), MSG_DONTWAIT), WX_LIMIT - WX_LIMIT / 2);
	cr_expect(p->flags & SD_P_NOSPACE);
	and_sc(&p->flags, ~SD_P_NOSPACE);
	cr_expect_eq(send(s, buf, 1, MSG_DONTWAIT), -1);
	cr_expect(errno == EAGAIN && p->flags & SD_P_NOSPACE);
	st_rel(&pl_e(wx_slot(s))->tx_una, WX_LIMIT);
	wx_post(s, SD_EV_OUT);
	cr_expect_eq(epoll_wait(e, &ev, 1, 0), 1);
}
