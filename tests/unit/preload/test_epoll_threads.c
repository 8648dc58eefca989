/* SPDX-License-Identifier: MIT */
/* One epoll set, many sockets, several threads at once. */
#include "preload/epoll_int.h"
#include "wait_fx.h"

static int e;

enum { POSTS = 20000, SOCKS = 16, WAITERS = 3 };
static int socks[SOCKS];
static unsigned got;

static void watch(int op, int fd)
{
	struct epoll_event v = { EPOLLIN | EPOLLET | EPOLLONESHOT, { .u64 = (uint64_t)fd } };

	cr_assert_eq(epoll_ctl(e, op, fd, &v), 0);
}

static void *poster(void *arg)
{
	for (int i = 0; i < POSTS; i++) {
		wx_rx(socks[i % SOCKS], 1);
		if (i % 64 == 0)
			sched_yield();
	}
	return NULL;
}

/* Edge-triggered, one-shot: one thread at a time handles a socket; all bytes must be seen. */
static void *waiter(void *arg)
{
	while (ld_rlx(&got) < POSTS) {
		struct epoll_event v[4];
		int n = epoll_wait(e, v, 4, 500);

		for (int i = 0; i < n; i++) {
			int fd = (int)v[i].data.u64;
			struct sd_slot_p *sp = pl_p(wx_slot(fd));
			uint64_t tail = ld_acq(&pl_e(wx_slot(fd))->rx_tail);

			add_sc(&got, (unsigned)(tail - sp->rx_head));
			st_rel(&sp->rx_head, tail);
			watch(EPOLL_CTL_MOD, fd);
		}
	}
	return NULL;
}

Test(epoll_threads, all_at_once, .timeout = 60)
{
	pthread_t th[WAITERS + 1];

	wx_init();
	e = epoll_create1(0);
	for (int i = 0; i < SOCKS; i++) {
		socks[i] = wx_sock(SOCK_STREAM);
		watch(EPOLL_CTL_ADD, socks[i]);
	}
	for (int i = 0; i < WAITERS; i++)
		pthread_create(&th[i], NULL, waiter, NULL);
	pthread_create(&th[WAITERS], NULL, poster, NULL);
	for (int i = 0; i <= WAITERS; i++)
		pthread_join(th[i], NULL);
	cr_expect_eq(got, POSTS);
}

/* ---- threads that sleep in the kernel when the set gets its first stackd member ---- */

static void *sleeper(void *arg)
{
	struct timespec ts = { 8, 0 };
	struct epoll_event v = { 0 };
	int n = arg ? epoll_pwait2(e, &v, 1, &ts, NULL) : epoll_wait(e, &v, 1, -1);

	return (void *)(intptr_t)(n == 1 ? (int)v.data.u64 : -1);
}

static void first_member(void)
{
	pthread_t th[WAITERS];
	uint64_t want = 0, seen = 0;
	void *fd;

	for (intptr_t i = 0; i < WAITERS; i++)
		pthread_create(&th[i], NULL, sleeper, (void *)(i & 1));
	usleep(50000);
	for (int i = 0; i < WAITERS; i++) {
		socks[i] = wx_sock(SOCK_STREAM);
		want |= 1ull << socks[i];
		watch(EPOLL_CTL_ADD, socks[i]);
	}
	for (int i = 0; i < WAITERS; i++)
		wx_rx(socks[i], 1);
	for (int i = 0; i < WAITERS; i++) {
		pthread_join(th[i], &fd);
		cr_assert_gt((intptr_t)fd, 0,
			     "slept on, or got an event of the shim's");
		seen |= 1ull << (intptr_t)fd;
	}
	cr_expect_eq(seen, want);
	cr_expect_eq(epset_of(pl_fd(e))->armed, 0, "posts write the eventfd for nobody");
}

Test(epoll_threads, first_member, .timeout = 20)
{
	wx_init();
	e = epoll_create1(0);
	first_member();
}

Test(epoll_threads, first_member_of_an_early_set, .timeout = 20)
{
	e = epoll_create1(0);		/* the process has not attached yet */
	wx_init();
	first_member();
}
