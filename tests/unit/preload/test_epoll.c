/* SPDX-License-Identifier: MIT */
/* epoll sets with stackd members; where it can be, the same is done to a kernel set. */
#include "wait_fx.h"
#include "tests/unit/opentab_all.h"

#include <sys/wait.h>

static int e, s, p[2];
static struct epoll_event ev[64];

static void add(int set, int fd, uint32_t events)
{
	struct epoll_event v = { events, { .u64 = (uint64_t)fd } };

	cr_assert_eq(epoll_ctl(set, EPOLL_CTL_ADD, fd, &v), 0, "%d: %s", fd, strerror(errno));
}

static void mod(int set, int fd, uint32_t events)
{
	struct epoll_event v = { events, { .u64 = (uint64_t)fd } };

	cr_assert_eq(epoll_ctl(set, EPOLL_CTL_MOD, fd, &v), 0);
}

static void start(void)
{
	wx_init();
	e = epoll_create1(0);
	s = wx_sock(SOCK_STREAM);
	cr_assert_eq(pipe(p), 0);
}

static void expect_one(int set, int timeout, int fd, uint32_t events)
{
	cr_expect_eq(epoll_wait(set, ev, 64, timeout), 1);
	cr_expect_eq(ev[0].data.u64, (uint64_t)fd, "%d is not %d", ev[0].data.fd, fd);
	cr_expect_eq(ev[0].events, events, "%#x is not %#x", ev[0].events, events);
}

static void expect_none(int set)
{
	cr_expect_eq(epoll_wait(set, ev, 64, 0), 0);
}

/* ---- epoll_ctl ---- */

static int ctl(int set, int op, int fd, struct epoll_event *v)
{
	return epoll_ctl(set, op, fd, v) ? errno : 0;
}

/* The same sequence on a kernel socket in a kernel set and on ours. */
Test(epoll, errors_are_linux)
{
	int k = epoll_create1(0), ks = real.socket(AF_INET, SOCK_STREAM, 0);

	start();
	for (int ours = 0; ours < 2; ours++) {
		int set = ours ? e : k, fd = ours ? s : ks;
		struct epoll_event in = { EPOLLIN, { 0 } };
		struct epoll_event ex = { EPOLLIN | EPOLLEXCLUSIVE, { 0 } };
		struct epoll_event odd = { EPOLLIN | EPOLLEXCLUSIVE | EPOLLONESHOT, { 0 } };

		cr_expect_eq(ctl(set, EPOLL_CTL_MOD, fd, &in), ENOENT);
		cr_expect_eq(ctl(set, EPOLL_CTL_DEL, fd, &in), ENOENT);
		cr_expect_eq(ctl(set, EPOLL_CTL_ADD, fd, NULL), EFAULT);
		cr_expect_eq(ctl(set, EPOLL_CTL_ADD, fd, &odd), EINVAL);
		cr_expect_eq(ctl(set, EPOLL_CTL_ADD, fd, &in), 0);
		cr_expect_eq(ctl(set, EPOLL_CTL_ADD, fd, &in), EEXIST);
		cr_expect_eq(ctl(set, EPOLL_CTL_MOD, fd, &ex), EINVAL);
		cr_expect_eq(ctl(set, 17, fd, &in), EINVAL);
		cr_expect_eq(ctl(set, EPOLL_CTL_DEL, fd, NULL), 0);
		cr_expect_eq(ctl(set, EPOLL_CTL_ADD, fd, &ex), 0);
		cr_expect_eq(ctl(set, EPOLL_CTL_MOD, fd, &in), EINVAL);
		cr_expect_eq(ctl(fd, EPOLL_CTL_ADD, fd, &in), EINVAL);
		cr_expect_eq(ctl(p[0], EPOLL_CTL_ADD, fd, &in), EINVAL);
		cr_expect_eq(ctl(900, EPOLL_CTL_ADD, fd, &in), EBADF);
		cr_expect_eq(ctl(set, EPOLL_CTL_ADD, 900, &in), EBADF);
		cr_expect_eq(epoll_wait(set, ev, 0, 0), -1);
		cr_expect_eq(errno, EINVAL);
	}
}

/* ---- triggers ---- */

Test(epoll, level_triggered)
{
	start();
	add(e, s, EPOLLIN);
	expect_none(e);
	wx_rx(s, 2);
	expect_one(e, 0, s, EPOLLIN);
	expect_one(e, 0, s, EPOLLIN);
	pl_p(wx_slot(s))->rx_head = 2;
	expect_none(e);
}

Test(epoll, edge_triggered)
{
	start();
	wx_rx(s, 1);
	add(e, s, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
	expect_one(e, 0, s, EPOLLIN | EPOLLOUT);
	expect_none(e);
	wx_rx(s, 1);
	expect_one(e, 0, s, EPOLLIN | EPOLLOUT);
	expect_none(e);
	wx_fin(s);
	expect_one(e, 0, s, EPOLLIN | EPOLLOUT | EPOLLRDHUP);
	mod(e, s, EPOLLIN | EPOLLET);
	expect_one(e, 0, s, EPOLLIN);
	expect_none(e);
}

Test(epoll, one_shot)
{
	start();
	add(e, s, EPOLLIN | EPOLLONESHOT);
	wx_rx(s, 1);
	expect_one(e, 0, s, EPOLLIN);
	wx_rx(s, 1);
	expect_none(e);
	mod(e, s, EPOLLIN | EPOLLONESHOT);
	expect_one(e, 0, s, EPOLLIN);
	wx_rst(s);
	expect_none(e);
}

Test(epoll, hangup_and_error_are_always_told)
{
	start();
	add(e, s, 0);
	expect_none(e);
	wx_rst(s);
	expect_one(e, 0, s, EPOLLERR | EPOLLHUP);
}

Test(epoll, mod_changes_what_wakes, .timeout = 10)
{
	start();
	pl_p(wx_slot(s))->tx_tail = WX_LIMIT;
	add(e, s, EPOLLIN);
	wx_rx(s, 1);
	mod(e, s, EPOLLOUT);
	expect_none(e);
	st_rel(&pl_e(wx_slot(s))->tx_una, WX_LIMIT);
	wx_post(s, SD_EV_OUT);
	expect_one(e, -1, s, EPOLLOUT);
}

Test(epoll, deleted_member_is_silent)
{
	start();
	add(e, s, EPOLLIN);
	wx_rx(s, 1);
	cr_expect_eq(epoll_ctl(e, EPOLL_CTL_DEL, s, NULL), 0);
	expect_none(e);
	cr_expect_eq(wx_subs(s), 0);
	add(e, s, EPOLLIN);
	expect_one(e, 0, s, EPOLLIN);
}

Test(epoll, data_comes_back_whole)
{
	struct epoll_event v = { EPOLLOUT, { .u64 = 0xfedcba9876543210ull } };

	start();
	cr_assert_eq(epoll_ctl(e, EPOLL_CTL_ADD, s, &v), 0);
	cr_expect_eq(epoll_wait(e, ev, 1, 0), 1);
	cr_expect_eq(ev[0].data.u64, 0xfedcba9876543210ull);
}

Test(epoll, many_members_take_turns)
{
	enum { N = 300 };
	unsigned seen[N] = { 0 };
	int fd[N];

	start();
	for (int i = 0; i < N; i++) {
		struct epoll_event v = { EPOLLOUT, { .u32 = (uint32_t)i } };

		fd[i] = wx_sock(SOCK_STREAM);
		cr_assert_eq(epoll_ctl(e, EPOLL_CTL_ADD, fd[i], &v), 0);
	}
	for (int round = 0; round < N / 50; round++) {
		cr_expect_eq(epoll_wait(e, ev, 50, -1), 50);
		for (int i = 0; i < 50; i++)
			seen[ev[i].data.u32]++;
	}
	for (int i = 0; i < N; i++)
		cr_expect_eq(seen[i], 1, "%d seen %u times", i, seen[i]);
	for (int i = 0; i < N; i += 2)
		cr_assert_eq(epoll_ctl(e, EPOLL_CTL_DEL, fd[i], NULL), 0);
	for (int round = 0; round < 3; round++)
		cr_expect_eq(epoll_wait(e, ev, 50, -1), 50);
}

/* ---- kernel members ---- */

Test(epoll, mixed, .timeout = 10)
{
	start();
	add(e, p[0], EPOLLIN);
	add(e, s, EPOLLIN);
	expect_none(e);
	real.write(p[1], "x", 1);
	expect_one(e, 0, p[0], EPOLLIN);
	expect_one(e, -1, p[0], EPOLLIN);
	wx_rx(s, 1);
	cr_expect_geq(epoll_wait(e, ev, 64, 0), 1);
}

/* Both the pipe and the socket show up, and nothing else. */
static void expect_both(int max)
{
	bool kernel = false, stackd = false;

	for (int i = 0; i < 20; i++) {
		int n = epoll_wait(e, ev, max, -1);

		cr_assert_geq(n, 1);
		for (int k = 0; k < n; k++) {
			kernel |= ev[k].data.u64 == (uint64_t)p[0];
			stackd |= ev[k].data.u64 == (uint64_t)s;
		}
	}
	cr_expect(kernel && stackd, "kernel %d, stackd %d", kernel, stackd);
}

static void starve(int max)
{
	start();
	add(e, p[0], EPOLLIN);
	add(e, s, EPOLLOUT);
	real.write(p[1], "x", 1);
	expect_both(max);
}

Test(epoll, nobody_starves_one_event, .timeout = 10)
{
	starve(1);
}

Test(epoll, nobody_starves, .timeout = 10)
{
	starve(8);
}

Test(epoll, kernel_set_alone)
{
	start();
	add(e, p[1], EPOLLOUT);
	expect_one(e, 0, p[1], EPOLLOUT);
	cr_expect_eq(epoll_ctl(e, EPOLL_CTL_DEL, p[1], NULL), 0);
	expect_none(e);
}

Test(epoll, shim_fds_are_not_open)
{
	start();
	cr_expect_eq(ctl(e, EPOLL_CTL_ADD, pl_efd[1], ev), EBADF);
}

/* ---- sleeping ---- */

Test(epoll, woken_by_stackd, .timeout = 10)
{
	struct wx_later l;

	start();
	add(e, s, EPOLLIN | EPOLLET);
	for (int i = 0; i < 3; i++) {
		wx_later(&l, 20, wx_later_rx, (void *)(intptr_t)s);
		expect_one(e, i == 1 ? 10000 : -1, s, EPOLLIN);
		wx_join(&l);
	}
}

Test(epoll, woken_by_the_kernel, .timeout = 10)
{
	struct wx_later l;

	start();
	add(e, s, EPOLLIN);
	add(e, p[0], EPOLLIN);
	wx_later(&l, 30, wx_later_kern, (void *)(intptr_t)p[1]);
	expect_one(e, -1, p[0], EPOLLIN);
	wx_join(&l);
}

Test(epoll, times_out, .timeout = 10)
{
	struct timespec ts = { 0, 2000000 };

	start();
	add(e, s, EPOLLIN);
	cr_expect_eq(epoll_wait(e, ev, 64, 20), 0);
	cr_expect_eq(epoll_pwait2(e, ev, 64, &ts, NULL), 0);
}

struct late_add {
	int set, fd;
};

static void add_later(void *arg)
{
	struct late_add *a = arg;

	add(a->set, a->fd, EPOLLOUT);
}

Test(epoll, member_added_while_another_thread_sleeps, .timeout = 10)
{
	struct late_add a;
	struct wx_later l;

	start();
	add(e, s, EPOLLIN);
	a = (struct late_add){ e, wx_sock(SOCK_STREAM) };
	wx_later(&l, 30, add_later, &a);
	expect_one(e, -1, a.fd, EPOLLOUT);
	wx_join(&l);
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

Test(epoll, eintr, .timeout = 10)
{
	struct sigaction sa = { .sa_handler = on_sig, .sa_flags = SA_RESTART };
	struct wx_later l;

	start();
	add(e, s, EPOLLIN);
	main_th = pthread_self();
	sigaction(SIGUSR1, &sa, NULL);
	for (int i = 0; i < 2; i++) {		/* asleep; spinning */
		wx_later(&l, 30, kick_main, NULL);
		cr_expect_eq(epoll_wait(e, ev, 64, -1), -1);
		cr_expect_eq(errno, EINTR);
		cr_expect_eq(handled, i + 1);
		wx_join(&l);
		wx_info.spin_ns = 200000000;
	}
}

Test(epoll, pwait_lets_a_pending_signal_in, .timeout = 10)
{
	struct sigaction sa = { .sa_handler = on_sig };
	sigset_t block, none;

	start();
	add(e, s, EPOLLIN);
	sigaction(SIGUSR1, &sa, NULL);
	sigemptyset(&none);
	sigemptyset(&block);
	sigaddset(&block, SIGUSR1);
	sigprocmask(SIG_BLOCK, &block, NULL);
	raise(SIGUSR1);
	cr_expect_eq(epoll_pwait(e, ev, 64, -1, &none), -1);
	cr_expect_eq(errno, EINTR);
	cr_expect_eq(handled, 1);
}

static void *wait_one(void *set)
{
	struct epoll_event v;

	return (void *)(intptr_t)epoll_wait((int)(intptr_t)set, &v, 1, -1);
}

/* Each of two sleepers gets one of two events; and both get a level-triggered one. */
Test(epoll, several_sleepers, .timeout = 10)
{
	pthread_t th[2];
	int s2;

	start();
	s2 = wx_sock(SOCK_STREAM);
	add(e, s, EPOLLIN | EPOLLET);
	add(e, s2, EPOLLIN | EPOLLET);
	for (int i = 0; i < 2; i++)
		pthread_create(&th[i], NULL, wait_one, (void *)(intptr_t)e);
	usleep(50000);
	wx_rx(s, 1);
	wx_rx(s2, 1);
	for (int i = 0; i < 2; i++)
		pthread_join(th[i], NULL);
	mod(e, s, EPOLLIN);
	cr_expect_eq(epoll_wait(e, ev, 1, -1), 1);
	pl_p(wx_slot(s))->rx_head = 1;
	for (int i = 0; i < 2; i++)
		pthread_create(&th[i], NULL, wait_one, (void *)(intptr_t)e);
	usleep(50000);
	wx_rx(s, 1);
	for (int i = 0; i < 2; i++)
		pthread_join(th[i], NULL);
}

Test(epoll, cancelled_sleeper, .timeout = 10)
{
	pthread_t th;
	void *res;

	start();
	add(e, s, EPOLLIN);
	pthread_create(&th, NULL, wait_one, (void *)(intptr_t)e);
	usleep(50000);
	pthread_cancel(th);
	pthread_join(th, &res);
	cr_expect_eq(res, PTHREAD_CANCELED);
	cr_expect_eq(shm_mbox(&pl.seg, SD_CTL_EVENTFDS)->sleeping, SD_MBOX_AWAKE);
	wx_rx(s, 1);
	expect_one(e, -1, s, EPOLLIN);
}

/* ---- fds that come and go ---- */

Test(epoll, closed_member_goes)
{
	start();
	add(e, s, EPOLLOUT);
	cr_assert_eq(close(s), 0);
	expect_none(e);
	cr_expect_eq(ctl(e, EPOLL_CTL_DEL, s, NULL), EBADF);
}

Test(epoll, dup_keeps_the_member)
{
	int d;

	start();
	add(e, s, EPOLLOUT);
	d = dup(s);
	cr_assert_eq(close(s), 0);
	expect_one(e, 0, s, EPOLLOUT);
	cr_assert_eq(close(d), 0);
	expect_none(e);
}

Test(epoll, number_reused_by_another_socket)
{
	int d, n;

	start();
	add(e, s, EPOLLIN);
	d = dup(s);
	cr_assert_eq(close(s), 0);
	n = wx_sock(SOCK_STREAM);
	cr_assert_eq(n, s);
	add(e, n, EPOLLOUT);
	expect_one(e, 0, n, EPOLLOUT);
	wx_rx(d, 1);
	cr_expect_eq(epoll_wait(e, ev, 64, 0), 2, "the old description's member is still there");
}

Test(epoll, dup_of_the_set)
{
	int d;

	start();
	d = dup(e);
	add(e, s, EPOLLOUT);
	expect_one(d, 0, s, EPOLLOUT);
	cr_assert_eq(close(e), 0);
	expect_one(d, 0, s, EPOLLOUT);
	mod(d, s, EPOLLIN);
	expect_none(d);
	cr_assert_eq(close(d), 0);
	cr_expect_eq(wx_subs(s), 0);
}

/* As Rust's mio does before the first socket exists. */
Test(epoll, dup_of_a_set_made_before_attaching)
{
	int d;

	e = epoll_create1(0);
	d = dup(e);
	wx_init();
	s = wx_sock(SOCK_STREAM);
	add(d, s, EPOLLOUT);
	expect_one(e, 0, s, EPOLLOUT);
	expect_one(d, 0, s, EPOLLOUT);
}

Test(epoll, sets_come_and_go)
{
	start();
	for (int i = 0; i < 50; i++) {
		int set = epoll_create1(0);

		add(set, s, EPOLLOUT);
		expect_one(set, 0, s, EPOLLOUT);
		cr_assert_eq(close(set), 0);
	}
	cr_expect_eq(wx_subs(s), 0);
}

static void close_later(void *set)
{
	close((int)(intptr_t)set);
}

Test(epoll, set_closed_while_a_thread_sleeps, .timeout = 10)
{
	struct wx_later l;

	start();
	add(e, s, EPOLLIN);
	wx_later(&l, 20, close_later, (void *)(intptr_t)e);
	epoll_wait(e, ev, 64, 100);
	wx_join(&l);
	cr_expect_eq(wx_subs(s), 0);
}

Test(epoll, socket_falls_back_to_the_kernel, .timeout = 10)
{
	int t[2], d;
	sd_ofd o;

	start();
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, t), 0);
	add(e, s, EPOLLIN);
	d = s;
	o = shm_ofd_take(pl.proc, d);
	cr_assert_eq(real.dup2(t[0], d), d);
	pl_epoll_fd_fallback(d, o);
	expect_none(e);
	real.write(t[1], "x", 1);
	expect_one(e, -1, d, EPOLLIN);
	mod(e, d, EPOLLOUT);
	expect_one(e, -1, d, EPOLLOUT);
}

/* ---- hybrids ---- */

static int hybrid(int *ret_peer)
{
	int t[2];

	start();
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, t), 0);
	cr_assert_eq(real.dup2(t[0], s), s);
	or_sc(&pl_p(wx_slot(s))->flags, SD_P_HYBRID);
	*ret_peer = t[1];
	return s;
}

Test(epoll, hybrid_either_side, .timeout = 10)
{
	struct wx_later l;
	int peer;

	hybrid(&peer);
	add(e, s, EPOLLIN);
	wx_later(&l, 30, wx_later_kern, (void *)(intptr_t)peer);
	expect_one(e, -1, s, EPOLLIN);
	wx_join(&l);
	wx_rx(s, 1);
	for (int i = 0; i < 40; i++)
		expect_one(e, -1, s, EPOLLIN);
	mod(e, s, EPOLLRDHUP);
	expect_none(e);
	cr_expect_eq(epoll_ctl(e, EPOLL_CTL_DEL, s, NULL), 0);
	expect_none(e);
}

Test(epoll, hybrid_one_shot)
{
	int peer;

	hybrid(&peer);
	add(e, s, EPOLLIN | EPOLLONESHOT);
	real.write(peer, "x", 1);
	expect_one(e, 0, s, EPOLLIN);
	wx_rx(s, 1);
	expect_none(e);
	mod(e, s, EPOLLIN | EPOLLONESHOT);
	cr_expect_eq(epoll_wait(e, ev, 64, 0), 1);
	expect_none(e);
}

Test(epoll, becomes_a_hybrid_later)
{
	int peer;

	hybrid(&peer);
	and_sc(&pl_p(wx_slot(s))->flags, ~SD_P_HYBRID);
	add(e, s, EPOLLIN);
	real.write(peer, "x", 1);
	expect_none(e);
	or_sc(&pl_p(wx_slot(s))->flags, SD_P_HYBRID);
	pl_epoll_hybrid(wx_slot(s));
	expect_one(e, 0, s, EPOLLIN);
	and_sc(&pl_p(wx_slot(s))->flags, ~SD_P_HYBRID);
	pl_epoll_hybrid(wx_slot(s));
	expect_none(e);
}

/* ---- nesting ---- */

static void nested(bool outer_ours, bool late)
{
	struct wx_later l;
	int outer;

	start();
	outer = epoll_create1(0);
	if (outer_ours)
		add(outer, wx_sock(SOCK_STREAM), EPOLLIN);
	if (!late)
		add(e, s, EPOLLIN);
	add(outer, e, EPOLLIN);
	if (late)
		add(e, s, EPOLLIN);
	expect_none(outer);
	wx_later(&l, 30, wx_later_rx, (void *)(intptr_t)s);
	expect_one(outer, -1, e, EPOLLIN);
	wx_join(&l);
	expect_one(e, 0, s, EPOLLIN);
	expect_one(outer, 0, e, EPOLLIN);
	pl_p(wx_slot(s))->rx_head = 1;
	expect_none(e);
	expect_none(outer);
	cr_expect_eq(epoll_ctl(outer, EPOLL_CTL_DEL, e, NULL), 0);
	wx_later(&l, 30, wx_later_rx, (void *)(intptr_t)s);
	expect_one(e, -1, s, EPOLLIN);
	wx_join(&l);
}

Test(epoll, nested_in_a_kernel_set, .timeout = 10)
{
	nested(false, false);
}

Test(epoll, nested_in_one_of_ours, .timeout = 10)
{
	nested(true, false);
}

Test(epoll, nested_before_it_has_members, .timeout = 10)
{
	nested(false, true);
}

/* ---- fork ---- */

/* The child's place in the family, as fork.c makes it, without an engine to ask. */
static void become_child(void)
{
	struct sd_ctl_hello_r r = { .proc = 2, .proc_gen = 2, .workers = 1, .seg = 1,
				    .mbox_cnt = 2 };
	int fds[3];

	fds[0] = eventfd(0, 0);
	opentab_clone(&pl.seg, 1, 2);
	for (unsigned i = 0; i < 2; i++) {
		r.mbox[i] = 20 + i;
		fds[1 + i] = real.fcntl(eventfd(0, 0), F_DUPFD_CLOEXEC, 2100);
	}
	pl_proc_take(&r, fds);
	pl_wait_fork_child();
	pl_epoll_fork_child();
}

static int child_use(void)
{
	int n = 0;

	become_child();
	n |= epoll_wait(e, ev, 64, 0) != 0;
	wx_rx(s, 1);
	real.write(p[1], "x", 1);
	n |= epoll_wait(e, ev, 64, -1) < 1 ? 2 : 0;
	n |= epoll_ctl(e, EPOLL_CTL_DEL, p[0], NULL) ? 4 : 0;
	n |= epoll_ctl(e, EPOLL_CTL_DEL, s, NULL) ? 8 : 0;
	n |= epoll_wait(e, ev, 64, 0) != 0 ? 16 : 0;
	return n;
}

Test(epoll, child_uses_an_inherited_set, .timeout = 10)
{
	int st;
	pid_t pid;

	start();
	add(e, s, EPOLLIN);
	add(e, p[0], EPOLLIN);
	pl_epoll_fork_prepare();
	pid = real.fork();
	if (!pid)
		_exit(child_use());
	pl_epoll_fork_parent();
	cr_assert_eq(waitpid(pid, &st, 0), pid);
	cr_expect_eq(st, 0, "status %#x", st);
	expect_both(64);	/* the parent's set is whole, and heard what the child did */
}

Test(epoll, child_closes_an_inherited_set, .timeout = 10)
{
	struct wx_later l;
	int st;
	pid_t pid;

	start();
	add(e, s, EPOLLIN);
	pl_epoll_fork_prepare();
	pid = real.fork();
	if (!pid) {
		become_child();
		_exit(close(e) || close(s));
	}
	pl_epoll_fork_parent();
	cr_assert_eq(waitpid(pid, &st, 0), pid);
	cr_expect_eq(st, 0);
	cr_expect_eq(wx_subs(s), 1);
	wx_later(&l, 30, wx_later_rx, (void *)(intptr_t)s);
	expect_one(e, -1, s, EPOLLIN);
	wx_join(&l);
}

/* A set that had only kernel members when it was inherited gets its first socket in the child. */
Test(epoll, child_adds_to_an_inherited_kernel_set, .timeout = 10)
{
	int st;
	pid_t pid;

	start();
	add(e, p[0], EPOLLIN);
	real.write(p[1], "x", 1);
	pl_epoll_fork_prepare();
	pid = real.fork();
	if (!pid) {
		become_child();
		add(e, s, EPOLLOUT);
		wx_post(s, SD_EV_OUT);
		_exit(epoll_wait(e, ev, 64, -1) + epoll_wait(e, ev, 64, -1) < 2);
	}
	pl_epoll_fork_parent();
	cr_assert_eq(waitpid(pid, &st, 0), pid);
	cr_expect_eq(st, 0);
	expect_one(e, 0, p[0], EPOLLIN);
}
