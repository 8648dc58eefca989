/* SPDX-License-Identifier: MIT */
/* tests/unit/preload/test_fd.c - fd numbers, the shim's own fds, fork */
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "mock.h"

TestSuite(fd, .init = mock_start, .fini = mock_stop, .timeout = 10);

static void wait_until(uint32_t *word, uint32_t v)
{
	while (ld_acq(word) != v)
		usleep(100);
}

static uint32_t closes(void)
{
	/* a command that answers comes after all that were pushed before it */
	int err, fd = socket(AF_INET, SOCK_STREAM, 0);
	socklen_t len = sizeof(err);
	struct { int v[40]; } info;

	len = sizeof(info);
	getsockopt(fd, IPPROTO_TCP, 11, &info, &len);
	err = (int)ld_acq(&mock_ops[SD_OP_CLOSE]);
	close(fd);
	return (uint32_t)err;
}

Test(fd, last_close_closes)
{
	uint32_t before;
	int sv[2], d;

	mock_pair(sv);
	before = closes();
	d = dup(sv[0]);
	cr_assert_eq(pl_fd_slot(d), pl_fd_slot(sv[0]));
	cr_assert_eq(close(sv[0]), 0);
	cr_assert_eq(closes(), before + 1);	/* only closes()' own socket */
	cr_assert_eq(write(d, "x", 1), 1);
	cr_assert_eq(close(d), 0);
	cr_assert_eq(closes(), before + 3);
	cr_assert_eq(close(d), -1);
	cr_assert_eq(errno, EBADF);
}

Test(fd, dup2_replaces)
{
	int a[2], b[2], file = open("/dev/null", O_RDWR);
	char c;

	mock_pair(a);
	mock_pair(b);
	cr_assert_eq(dup2(a[0], b[0]), b[0]);
	cr_assert_eq(read(b[1], &c, 1), 0);		/* b's client is gone */
	cr_assert_eq(write(b[0], "y", 1), 1);
	cr_assert_eq(read(a[1], &c, 1), 1);
	cr_assert_eq(dup2(file, a[0]), a[0]);
	cr_assert_eq(pl_fd_slot(a[0]), 0);
	cr_assert_eq(write(b[0], "z", 1), 1);
	cr_assert_eq(dup3(b[0], b[0], 0), -1);
	cr_assert_eq(errno, EINVAL);
	cr_assert_eq(dup2(b[0], b[0]), b[0]);
	cr_assert_eq(dup2(999, b[0]), -1);
	cr_assert_eq(errno, EBADF);
	cr_assert_neq(pl_fd_slot(b[0]), 0);
}

Test(fd, own_fds_are_out_of_reach)
{
	struct rlimit rl;
	int sv[2], top = 0;
	char c;

	mock_pair(sv);
	getrlimit(RLIMIT_NOFILE, &rl);
	for (int fd = 3; fd < 5000; fd++)
		if (SD_OFD_KIND(pl_fd(fd)) == SD_OFD_SHIM) {
			cr_assert_gt(fd, 100);
			cr_assert_eq(close(fd), -1);
			cr_assert_eq(errno, EBADF);
			cr_assert_eq(dup(fd), -1);
			cr_assert_eq(fcntl(fd, F_GETFD), -1);
			top = fd;
		}
	cr_assert_neq(top, 0);
	cr_assert_eq(close_range((unsigned)sv[1] + 1, ~0u, 0), 0);
	closefrom(sv[1] + 1);
	cr_assert_eq(write(sv[0], "x", 1), 1);	/* still attached */
	cr_assert_eq(read(sv[1], &c, 1), 1);
}

Test(fd, dup2_onto_own)
{
	int sv[2], fd = pl.doorbell[0];
	char c;

	mock_pair(sv);
	fd = pl.doorbell[0];
	cr_assert_eq(dup2(sv[0], fd), fd);
	cr_assert_neq(pl.doorbell[0], fd);
	cr_assert_eq(write(fd, "x", 1), 1);
	cr_assert_eq(read(sv[1], &c, 1), 1);
	cr_assert_eq(close(fd), 0);
}

Test(fd, close_range_closes_ours)
{
	int sv[2];

	mock_pair(sv);
	cr_assert_eq(close_range((unsigned)sv[1], (unsigned)sv[1], 0), 0);
	cr_assert_eq(pl_fd_slot(sv[1]), 0);
	cr_assert_eq(fcntl(sv[1], F_GETFD), -1);
}

Test(fd, low_limit)
{
	struct rlimit rl;
	int n = 0, fds[64];

	getrlimit(RLIMIT_NOFILE, &rl);
	rl.rlim_cur = 40;
	setrlimit(RLIMIT_NOFILE, &rl);
	while (n < 64 && (fds[n] = socket(AF_INET, SOCK_STREAM, 0)) >= 0)
		n++;
	cr_assert_eq(errno, EMFILE);
	for (int fd = 0; fd < 40; fd++)
		cr_assert_neq(SD_OFD_KIND(pl_fd(fd)), SD_OFD_SHIM);
	getrlimit(RLIMIT_NOFILE, &rl);
	cr_assert_eq(rl.rlim_cur, 40);
}

Test(fd, fork_shares)
{
	int sv[2], st;
	char c;

	mock_pair(sv);
	if (fork() == 0) {
		/* the parent's copy stays; the child talks on the same connection */
		if (read(sv[1], &c, 1) != 1 || write(sv[1], &c, 1) != 1)
			_exit(1);
		_exit(0);
	}
	close(sv[1]);
	cr_assert_eq(write(sv[0], "q", 1), 1);
	cr_assert_eq(read(sv[0], &c, 1), 1);
	cr_assert_eq(c, 'q');
	cr_assert_eq(read(sv[0], &c, 1), 0);	/* the child's exit closed the last reference */
	wait(&st);
	cr_assert(WIFEXITED(st) && WEXITSTATUS(st) == 0);
	wait_until(&mock_procs, 1);
}

Test(fd, grandchild_accepts)
{
	int l = mock_listener(7600), fd = socket(AF_INET, SOCK_STREAM, 0);
	struct sockaddr_in in = mock_sin(MOCK_ADDR, 7600);
	char c;

	if (fork() == 0) {
		if (fork() == 0) {
			int a = accept(l, NULL, NULL);

			_exit(write(a, "g", 1) != 1);
		}
		_exit(0);
	}
	close(l);
	cr_assert_eq(connect(fd, (struct sockaddr *)&in, sizeof(in)), 0);
	cr_assert_eq(read(fd, &c, 1), 1);
	cr_assert_eq(c, 'g');
	wait(NULL);
	wait_until(&mock_procs, 1);
}

/* libuv closes by number; the kernel must not learn of a close that the open table missed. */
Test(fd, close_by_syscall)
{
	uint32_t before;
	char c;
	int sv[2];

	mock_pair(sv);
	before = closes();
	cr_assert_eq(syscall(SYS_write, sv[0], "s", 1), 1);
	cr_assert_eq(syscall(SYS_close, sv[0]), 0);
	cr_assert_eq(pl_fd_slot(sv[0]), 0);
	cr_assert_eq(closes(), before + 2);
	cr_assert_eq(syscall(SYS_recvfrom, sv[1], &c, 1, 0, NULL, NULL), 1);
	cr_assert_eq(syscall(SYS_read, sv[1], &c, 1), 0);
	cr_assert_eq(syscall(SYS_close, sv[0]), -1);
	cr_assert_eq(errno, EBADF);
}
