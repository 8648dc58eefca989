/* SPDX-License-Identifier: MIT */
/* The fd store, and messages that carry fds. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "stackd/supervisor/store.h"

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

static struct store store;
static const uint8_t meta[SUP_META] = { 1, 2, 3 };

Test(store, keeps_and_drops, .timeout = 10)
{
	int a[2] = { eventfd(0, 0), eventfd(0, 0) }, b = eventfd(0, 0);

	cr_assert_eq(store_put(&store, 7, KEEP_SEG, meta, a, 2), 0);
	cr_assert_eq(store_put(&store, SUP_KEY_CONN | 7, KEEP_CONN, meta, &b, 1), 0);
	cr_assert_eq(store.fds, 3u);
	cr_assert_eq(store_drop(&store, 7), 1u);
	cr_assert_not(is_open(a[0]) || is_open(a[1]));
	cr_assert(is_open(b), "another key's fd");
	cr_assert_eq(store_drop(&store, 7), 0u);
	store_fini(&store);
	cr_assert_not(is_open(b));
	cr_assert_eq(store.ents, 0u);
	cr_assert_eq(store.fds, 0u);
}

Test(store, one_key_several_times, .timeout = 10)
{
	int a = eventfd(0, 0), b = eventfd(0, 0);

	cr_assert_eq(store_put(&store, 9, KEEP_PROC, meta, &a, 1), 0);
	cr_assert_eq(store_put(&store, 9, KEEP_PROC, meta, &b, 1), 0);
	cr_assert_eq(store_drop(&store, 9), 2u);
	cr_assert_not(is_open(a) || is_open(b));
}

Test(store, refuses_nonsense, .timeout = 10)
{
	int fds[SUP_MAXFDS + 1] = { 0 };

	cr_assert_eq(store_put(&store, 1, KEEP_SEG, meta, fds, 0), -EINVAL);
	cr_assert_eq(store_put(&store, 1, KEEP_SEG, meta, fds, SUP_MAXFDS + 1), -EINVAL);
	cr_assert_eq(store.ents, 0u);
}

struct seen {
	unsigned cnt;
	uint64_t keys;
};

static int look(void *arg, const struct store_ent *e)
{
	struct seen *s = arg;

	s->cnt++;
	s->keys += e->key;
	cr_assert_arr_eq(e->meta, meta, SUP_META);
	return e->key == 99 ? -1 : 0;
}

Test(store, walk, .timeout = 10)
{
	struct seen s = { 0 };

	for (uint64_t k = 1; k <= 50; k++) {
		int fd = eventfd(0, 0);

		cr_assert_eq(store_put(&store, k, KEEP_SEG, meta, &fd, 1), 0);
	}
	cr_assert_eq(store_walk(&store, look, &s), 0);
	cr_assert_eq(s.cnt, 50u);
	cr_assert_eq(s.keys, 50u * 51 / 2);
	store_fini(&store);
}

Test(proto, fds_travel, .timeout = 10)
{
	int sv[2], fds[3], got[2] = { -1, -1 }, extra = dup(0);
	struct sup_msg m = { .type = ENG_KEEP, .key = 5 }, r;
	unsigned cnt;
	int first_free;

	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, sv), 0);
	for (int i = 0; i < 3; i++)
		fds[i] = eventfd((unsigned)i, EFD_NONBLOCK);
	cr_assert_eq(sup_send(sv[0], &m, sizeof(m), fds, 3, 0), 0);
	cr_assert_eq(sup_recv(sv[1], &r, sizeof(r), got, 2, &cnt, 0), (int)sizeof(r));
	cr_assert_eq(cnt, 2u);
	cr_assert_eq(r.key, 5u);
	cr_assert(fcntl(got[0], F_GETFD) & FD_CLOEXEC);
	/* The third did not fit: it must have been closed, so its number is free again. */
	first_free = dup(0);
	cr_assert_leq(first_free, got[1] + 1);
	close(first_free);
	close(extra);
}

Test(proto, too_long_is_refused, .timeout = 10)
{
	int sv[2], fd = eventfd(0, 0), got[4];
	uint8_t small[8];
	struct sup_msg m = { .type = ENG_KEEP };
	unsigned cnt;

	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, sv), 0);
	cr_assert_eq(sup_send(sv[0], &m, sizeof(m), &fd, 1, 0), 0);
	cr_assert_eq(sup_recv(sv[1], small, sizeof(small), got, 4, &cnt, 0), -EMSGSIZE);
	cr_assert_eq(cnt, 0u, "its fds are closed");
	cr_assert_eq(sup_recv(sv[1], &m, sizeof(m), got, 4, &cnt, MSG_DONTWAIT), -EAGAIN);
	close(sv[0]);
	cr_assert_eq(sup_recv(sv[1], &m, sizeof(m), got, 4, &cnt, 0), 0, "hang-up");
}
