/* SPDX-License-Identifier: MIT */
/* poll() and select() over stackd sockets, kernel fds, hybrids and epoll sets. */
#include "wait_fx.h"

#include <sys/resource.h>

static int s, p[2];

static void start(void)
{
	wx_init();
	s = wx_sock(SOCK_STREAM);
	cr_assert_eq(pipe(p), 0);
}

static struct wx_later soon_rx(struct wx_later *l)
{
	wx_later(l, 30, wx_later_rx, (void *)(intptr_t)s);
	return *l;
}

/* ---- poll ---- */

Test(poll, kernel_fds_alone)
{
	start();
	struct pollfd f[2] = { { p[0], POLLIN, 9 }, { p[1], POLLOUT, 9 } };

	cr_expect_eq(poll(f, 2, 0), 1);
	cr_expect_eq(f[0].revents, 0);
	cr_expect_eq(f[1].revents, POLLOUT);
}

Test(poll, mixed_at_once)
{
	start();
	struct pollfd f[4] = { { p[1], POLLOUT, 0 }, { s, POLLIN | POLLOUT, 0 }, { -1, POLLIN, 9 },
			       { 900, POLLIN, 0 } };

	cr_expect_eq(poll(f, 4, -1), 3);
	cr_expect_eq(f[0].revents, POLLOUT);
	cr_expect_eq(f[1].revents, POLLOUT);
	cr_expect_eq(f[2].revents, 0);
	cr_expect_eq(f[3].revents, POLLNVAL);
}

Test(poll, only_what_was_asked)
{
	start();
	struct pollfd f = { s, POLLIN, 9 };

	cr_expect_eq(poll(&f, 1, 0), 0);
	cr_expect_eq(f.revents, 0);
	wx_fin(s);
	cr_expect_eq(poll(&f, 1, 0), 1);
	cr_expect_eq(f.revents, POLLIN, "RDHUP was not asked for");
	wx_rst(s);
	f.events = 0;
	cr_expect_eq(poll(&f, 1, 0), 1);
	cr_expect_eq(f.revents, POLLERR | POLLHUP);
}

Test(poll, same_fd_twice)
{
	start();
	struct pollfd f[2] = { { s, POLLIN, 0 }, { s, POLLOUT, 0 } };

	cr_expect_eq(poll(f, 2, 0), 1);
	cr_expect_eq(f[1].revents, POLLOUT);
}

Test(poll, woken_by_stackd, .timeout = 10)
{
	struct wx_later l;

	start();
	struct pollfd f[2] = { { p[0], POLLIN, 0 }, { s, POLLIN, 0 } };

	soon_rx(&l);
	cr_expect_eq(poll(f, 2, -1), 1);
	cr_expect_eq(f[0].revents, 0);
	cr_expect_eq(f[1].revents, POLLIN);
	cr_expect_eq(wx_subs(s), 0);
	wx_join(&l);
}

Test(poll, woken_by_the_kernel, .timeout = 10)
{
	struct wx_later l;

	start();
	struct pollfd f[2] = { { s, POLLIN, 0 }, { p[0], POLLIN, 0 } };

	wx_later(&l, 30, wx_later_kern, (void *)(intptr_t)p[1]);
	cr_expect_eq(poll(f, 2, 10000), 1);
	cr_expect_eq(f[0].revents, 0);
	cr_expect_eq(f[1].revents, POLLIN);
	wx_join(&l);
}

Test(poll, times_out, .timeout = 10)
{
	start();
	struct pollfd f = { s, POLLIN, 9 };

	cr_expect_eq(poll(&f, 1, 20), 0);
	cr_expect_eq(f.revents, 0);
	cr_expect_eq(wx_subs(s), 0);
}

Test(poll, hybrid_hears_the_kernel, .timeout = 10)
{
	start();
	int t[2];

	/* The kernel fd "behind" the slot is a socket pair's end here: it can become ready. */
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, t), 0);
	cr_assert_eq(real.dup2(t[0], s), s);
	struct pollfd f = { s, POLLIN, 0 };
	real.write(t[1], "x", 1);
	cr_expect_eq(poll(&f, 1, 0), 0, "not a hybrid: the kernel's side does not count");
	or_sc(&pl_p(wx_slot(s))->flags, SD_P_HYBRID);
	cr_expect_eq(poll(&f, 1, 0), 1);
	cr_expect_eq(poll(&f, 1, 10000), 1);
	cr_expect_eq(f.revents, POLLIN);
}

Test(poll, shim_fds_are_left_alone)
{
	start();
	struct pollfd f[2] = { { pl_efd[1], POLLOUT, 0 }, { s, POLLOUT, 0 } };

	cr_expect_eq(poll(f, 2, 0), 2);
}

static volatile sig_atomic_t handled;

static void on_sig(int sig)
{
	handled++;
}

static pthread_t main_th;

static void kick_main(void *arg)
{
	pthread_kill(main_th, SIGUSR1);
}

Test(poll, eintr_even_with_restart, .timeout = 10)
{
	struct sigaction sa = { .sa_handler = on_sig, .sa_flags = SA_RESTART };
	struct wx_later l;

	start();
	struct pollfd f = { s, POLLIN, 9 };

	main_th = pthread_self();
	sigaction(SIGUSR1, &sa, NULL);
	wx_later(&l, 30, kick_main, NULL);
	cr_expect_eq(poll(&f, 1, -1), -1);
	cr_expect_eq(errno, EINTR);
	cr_expect_eq(handled, 1);
	cr_expect_eq(wx_subs(s), 0);
	wx_join(&l);
}

/* A signal that is pending when ppoll() lets it in: both kinds of fd, with and without time. */
Test(poll, ppoll_lets_a_pending_signal_in, .timeout = 10)
{
	struct sigaction sa = { .sa_handler = on_sig };
	struct timespec zero = { 0, 0 };
	sigset_t block, none;

	start();
	struct pollfd f = { s, POLLIN, 0 };

	wx_info.spin_ns = 5000000;
	sigaction(SIGUSR1, &sa, NULL);
	sigemptyset(&none);
	sigemptyset(&block);
	sigaddset(&block, SIGUSR1);
	sigprocmask(SIG_BLOCK, &block, NULL);
	for (int i = 0; i < 2; i++) {
		raise(SIGUSR1);
		cr_expect_eq(handled, i);
		cr_expect_eq(ppoll(&f, 1, i ? &zero : NULL, &none), -1);
		cr_expect_eq(errno, EINTR);
		cr_expect_eq(handled, i + 1);
	}
	sigprocmask(SIG_BLOCK, NULL, &block);
	cr_expect_eq(sigismember(&block, SIGUSR1), 1, "the mask is as before");
}

Test(poll, many_fds, .timeout = 10)
{
	enum { N = 700 };
	static struct pollfd f[N];
	struct wx_later l;

	start();
	for (int i = 0; i < N; i++)
		f[i] = (struct pollfd){ i % 2 ? real.dup(p[0]) : wx_sock(SOCK_STREAM), POLLIN, 0 };
	wx_later(&l, 30, wx_later_rx, (void *)(intptr_t)f[N - 2].fd);
	cr_expect_eq(poll(f, N, -1), 1);
	cr_expect_eq(f[N - 2].revents, POLLIN);
	wx_join(&l);
}

/* As in sshd's child before authentication. */
Test(poll, rlimit_of_one_fd, .timeout = 10)
{
	struct rlimit one;
	struct wx_later l;

	start();
	struct pollfd f = { s, POLLIN, 0 };

	soon_rx(&l);
	getrlimit(RLIMIT_NOFILE, &one);
	one.rlim_cur = 1;
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &one), 0);
	cr_expect_eq(poll(&f, 1, 5000), 1);
	cr_expect_eq(f.revents, POLLIN);
	wx_join(&l);
}

Test(poll, invalid_time)
{
	struct timespec bad = { 0, 1000000000 };

	start();
	struct pollfd f = { s, POLLIN, 0 };

	cr_expect_eq(ppoll(&f, 1, &bad, NULL), -1);
	cr_expect_eq(errno, EINVAL);
}

/* ---- poll on an epoll fd ---- */

Test(poll, epoll_set, .timeout = 10)
{
	struct epoll_event ev = { EPOLLIN, { .fd = 5 } };
	struct wx_later l;
	int e = epoll_create1(0);

	start();
	cr_assert_eq(epoll_ctl(e, EPOLL_CTL_ADD, s, &ev), 0);
	struct pollfd f = { e, POLLIN, 0 };
	cr_expect_eq(poll(&f, 1, 0), 0);
	cr_expect_eq(poll(&f, 1, 20), 0);
	soon_rx(&l);
	cr_expect_eq(poll(&f, 1, -1), 1);
	wx_join(&l);
	cr_expect_eq(poll(&f, 1, 0), 1, "level-triggered");
	pl_p(wx_slot(s))->rx_head = 1;
	cr_expect_eq(poll(&f, 1, 0), 0, "read meanwhile");
	ev.events = EPOLLIN;
	cr_assert_eq(epoll_ctl(e, EPOLL_CTL_ADD, p[0], &ev), 0);
	real.write(p[1], "x", 1);
	cr_expect_eq(poll(&f, 1, 0), 1, "a kernel member");
	cr_expect_eq(epoll_wait(e, &ev, 1, 0), 1);
}

/* ---- select ---- */

static fd_set set_of(int fd)
{
	fd_set f;

	FD_ZERO(&f);
	FD_SET(fd, &f);
	return f;
}

Test(select, at_once)
{
	start();
	fd_set r = set_of(s), w = set_of(s), e = set_of(s);

	FD_SET(p[0], &r);
	FD_SET(p[1], &w);
	cr_expect_eq(select(64, &r, &w, &e, NULL), 2);
	cr_expect_not(FD_ISSET(s, &r) || FD_ISSET(p[0], &r) || FD_ISSET(s, &e));
	cr_expect(FD_ISSET(s, &w) && FD_ISSET(p[1], &w));
}

Test(select, hangup_is_readable_not_writable_unless_so)
{
	start();
	fd_set r = set_of(s), w = set_of(s), e = set_of(s);

	wx_rst(s);
	cr_expect_eq(select(s + 1, &r, &w, &e, NULL), 2);
	cr_expect(FD_ISSET(s, &r) && FD_ISSET(s, &w) && !FD_ISSET(s, &e));
}

Test(select, woken_and_time_left, .timeout = 10)
{
	struct timeval tv = { 5, 0 };
	struct wx_later l;

	start();
	fd_set r = set_of(s);

	FD_SET(p[0], &r);
	soon_rx(&l);
	cr_expect_eq(select(64, &r, NULL, NULL, &tv), 1);
	cr_expect(FD_ISSET(s, &r) && !FD_ISSET(p[0], &r));
	cr_expect(tv.tv_sec < 5 && tv.tv_sec >= 0);
	wx_join(&l);
}

Test(select, woken_by_the_kernel, .timeout = 10)
{
	struct wx_later l;

	start();
	fd_set r = set_of(s);

	FD_SET(p[0], &r);
	wx_later(&l, 30, wx_later_kern, (void *)(intptr_t)p[1]);
	cr_expect_eq(select(64, &r, NULL, NULL, NULL), 1);
	cr_expect(FD_ISSET(p[0], &r) && !FD_ISSET(s, &r));
	wx_join(&l);
}

Test(select, times_out, .timeout = 10)
{
	struct timeval tv = { 0, 20000 };

	start();
	fd_set r = set_of(s);

	cr_expect_eq(select(64, &r, NULL, NULL, &tv), 0);
	cr_expect_not(FD_ISSET(s, &r));
	cr_expect(!tv.tv_sec && !tv.tv_usec);
}

/* A pipe whose writer is gone: poll() says HUP, select() does not call it writable. */
Test(select, kernel_hangup_does_not_spin_the_write_set, .timeout = 10)
{
	struct timeval tv = { 0, 20000 };

	start();
	fd_set r = set_of(s), w = set_of(p[0]);

	real.close(p[1]);
	cr_expect_eq(select(64, &r, &w, NULL, &tv), 0);
}

Test(select, bad_fd_and_bad_time)
{
	struct timeval bad = { -1, 0 };

	start();
	fd_set r = set_of(s);

	cr_expect_eq(select(64, &r, NULL, NULL, &bad), -1);
	cr_expect_eq(errno, EINVAL);
	FD_SET(60, &r);
	cr_expect_eq(select(64, &r, NULL, NULL, NULL), -1);
	cr_expect_eq(errno, EBADF);
	cr_expect(FD_ISSET(s, &r), "untouched");
}

Test(select, beyond_fd_setsize, .timeout = 10)
{
	static uint64_t big[64];		/* 4096 fds */
	struct wx_later l;
	int high;

	start();
	high = dup2(s, 1500);
	cr_assert_eq(high, 1500);
	big[high / 64] |= 1ull << high % 64;
	soon_rx(&l);
	cr_expect_eq(select(high + 1, (fd_set *)big, NULL, NULL, NULL), 1);
	cr_expect_eq(big[high / 64], 1ull << high % 64);
	wx_join(&l);
}

/* The thread's mailbox comes into being, with a number above all others, during the call. */
Test(select, first_wait_of_a_thread, .timeout = 10)
{
	struct wx_later l;

	start();
	fd_set r = set_of(s);

	for (int i = 1; i <= SD_CTL_EVENTFDS; i++) {
		shm_ofd_take(pl.proc, pl_efd[i]);
		pl_efd[i] = real.fcntl(pl_efd[i], F_DUPFD, 5000);
	}
	pl.proc->hi_fd = 64;
	soon_rx(&l);
	cr_expect_eq(select(64, &r, NULL, NULL, NULL), 1);
	wx_join(&l);
}

Test(select, bits_from_n_on_do_not_count)
{
	struct timeval zero = { 0, 0 };

	start();
	fd_set w = set_of(s);

	cr_expect_eq(select(s, NULL, &w, NULL, &zero), 0);
	w = set_of(s);
	cr_expect_eq(select(s + 1, NULL, &w, NULL, &zero), 1);
}

Test(select, pselect_mask, .timeout = 10)
{
	struct sigaction sa = { .sa_handler = on_sig };
	sigset_t block, none;

	start();
	fd_set r = set_of(s);

	sigaction(SIGUSR1, &sa, NULL);
	sigemptyset(&none);
	sigemptyset(&block);
	sigaddset(&block, SIGUSR1);
	sigprocmask(SIG_BLOCK, &block, NULL);
	raise(SIGUSR1);
	cr_expect_eq(pselect(64, &r, NULL, NULL, NULL, &none), -1);
	cr_expect_eq(errno, EINTR);
	cr_expect_eq(handled, 1);
}
