/* SPDX-License-Identifier: MIT */
/* Wake-ups in batches: each eventfd signalled once, nothing ever blocks, stale numbers do no harm.
 * */
#include <criterion/criterion.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "stackd/engine/wake.h"

static struct wake_batch b;

static uint64_t count(int fd)
{
	uint64_t v = 0;

	return read(fd, &v, sizeof(v)) == sizeof(v) ? v : 0;
}

static void start(void)
{
	cr_assert_eq(wake_init(&b), 0);
	if (!b.ctx)
		cr_skip_test("no aio here");
}

Test(wake, more_than_a_batch, .timeout = 10, .init = start)
{
	enum { CNT = 2 * WAKE_BATCH + 3 };
	int fd[CNT];

	for (unsigned round = 0; round < 5; round++) {
		for (unsigned i = 0; i < CNT; i++)
			fd[i] = eventfd(0, EFD_NONBLOCK);
		for (unsigned i = 0; i < CNT; i++)
			wake_add(&b, fd[i]);
		wake_flush(&b);
		for (unsigned i = 0; i < CNT; i++) {
			cr_assert_eq(count(fd[i]), 1u, "round %u, fd %u", round, i);
			close(fd[i]);
		}
	}
	wake_fini(&b);
}

Test(wake, full_counter_does_not_block, .timeout = 10, .init = start)
{
	uint64_t full = UINT64_MAX - 1;
	int fd = eventfd(0, 0);

	cr_assert_eq(write(fd, &full, sizeof(full)), (ssize_t)sizeof(full));
	wake_add(&b, fd);
	wake_flush(&b);
	wake_add(&b, fd);
	wake_flush(&b);
	wake_fini(&b);
}

Test(wake, stale_numbers_are_skipped, .timeout = 10, .init = start)
{
	int sv[2], good[2] = { eventfd(0, EFD_NONBLOCK), eventfd(0, EFD_NONBLOCK) };
	char byte;

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, sv), 0);
	wake_add(&b, good[0]);
	wake_add(&b, sv[0]);		/* no eventfd any more */
	wake_add(&b, 123456);		/* not open */
	wake_add(&b, good[1]);
	wake_flush(&b);
	cr_assert_eq(count(good[0]), 1u);
	cr_assert_eq(count(good[1]), 1u);
	cr_assert_lt(read(sv[1], &byte, 1), 0, "nothing was written to the socket");
	cr_assert_eq(b.cnt, 0u);
	wake_fini(&b);
}
