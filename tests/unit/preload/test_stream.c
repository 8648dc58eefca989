/* SPDX-License-Identifier: MIT */
/* tests/unit/preload/test_stream.c - bytes of stream sockets through the shim */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/time.h>
#include <sys/uio.h>

#include "mock.h"

TestSuite(stream, .init = mock_start, .fini = mock_stop, .timeout = 10);

static uint8_t pattern(size_t i)
{
	return (uint8_t)(i * 131 + (i >> 8));
}

static void fill(uint8_t *b, size_t n, size_t from)
{
	for (size_t i = 0; i < n; i++)
		b[i] = pattern(from + i);
}

static size_t wrong(const uint8_t *b, size_t n, size_t from)
{
	for (size_t i = 0; i < n; i++)
		if (b[i] != pattern(from + i))
			return i + 1;
	return 0;
}

Test(stream, echo_and_eof)
{
	char buf[16];
	int sv[2];

	mock_pair(sv);
	cr_assert(pl_fd_slot(sv[0]) && pl_fd_slot(sv[1]));
	cr_assert_eq(write(sv[0], "hello", 5), 5);
	cr_assert_eq(read(sv[1], buf, sizeof(buf)), 5);
	cr_assert_arr_eq(buf, "hello", 5);
	cr_assert_eq(recv(sv[1], buf, sizeof(buf), MSG_DONTWAIT), -1);
	cr_assert_eq(errno, EAGAIN);
	cr_assert_eq(shutdown(sv[0], SHUT_WR), 0);
	cr_assert_eq(read(sv[1], buf, sizeof(buf)), 0);
	cr_assert_eq(send(sv[1], "x", 1, 0), 1);	/* half closed: the other way still works */
	cr_assert_eq(read(sv[0], buf, sizeof(buf)), 1);
}

/* A napping worker is rung for before the thread waits, and when it finds nothing to do. */
Test(stream, napping_worker_is_rung_for)
{
	char buf[16];
	int sv[2];

	mock_pair(sv);
	st_rel(&mock_naps, 1);
	for (int i = 0; i < 200; i++) {
		cr_assert_eq(write(sv[0], "hello", 5), 5);
		if (i & 1)
			usleep(100);	/* let it fall asleep again */
		if (i & 2)
			while (recv(sv[1], buf, sizeof(buf), MSG_DONTWAIT) != 5)
				cr_assert_eq(errno, EAGAIN);
		else
			cr_assert_eq(read(sv[1], buf, sizeof(buf)), 5);
		cr_assert_arr_eq(buf, "hello", 5);
	}
	st_rel(&mock_naps, 0);
	cr_assert_lt(ld_acq(&mock_overslept), 50, "%u", ld_acq(&mock_overslept));
	cr_assert_eq(shutdown(sv[0], SHUT_RDWR), 0);
}

static void *writer(void *arg)
{
	int fd = *(int *)arg;
	static uint8_t buf[100000];
	size_t done = 0, total = 8u << 20;

	while (done < total) {
		size_t n = total - done < sizeof(buf) ? total - done : sizeof(buf);

		fill(buf, n, done);
		if (send(fd, buf, n, 0) != (ssize_t)n)
			return (void *)1;
		done += n;
	}
	close(fd);
	return NULL;
}

Test(stream, eight_mib_blocking)
{
	static uint8_t buf[70001];
	pthread_t t;
	size_t done = 0;
	ssize_t n;
	void *r;
	int sv[2];

	mock_pair(sv);
	pthread_create(&t, NULL, writer, &sv[0]);
	while ((n = read(sv[1], buf, sizeof(buf))) > 0) {
		cr_assert_eq(wrong(buf, (size_t)n, done), 0);
		done += (size_t)n;
	}
	cr_assert_eq(n, 0);
	cr_assert_eq(done, 8u << 20);
	pthread_join(t, &r);
	cr_assert_null(r);
}

Test(stream, nonblocking_fills_up)
{
	static uint8_t buf[1 << 20];
	size_t sent = 0, got = 0;
	ssize_t n;
	int sv[2], q;

	mock_pair(sv);
	cr_assert_eq(fcntl(sv[0], F_SETFL, O_NONBLOCK), 0);
	cr_assert(fcntl(sv[0], F_GETFL) & O_NONBLOCK);
	for (int idle = 0; idle < 50;) {
		n = write(sv[0], buf, sizeof(buf));
		idle = n < 0 ? idle + 1 : 0;
		sent += n > 0 ? (size_t)n : 0;
		if (n < 0)
			usleep(1000);
	}
	cr_assert_eq(errno, EAGAIN);
	cr_assert_eq(sent, 2 * mock_limit);	/* both buffers */
	cr_assert_eq(ioctl(sv[1], FIONREAD, &q), 0);
	cr_assert_eq(q, (int)mock_limit);
	while (got < sent && (n = read(sv[1], buf, sizeof(buf))) > 0)
		got += (size_t)n;
	cr_assert_eq(got, sent);
}

Test(stream, peek_waitall_trunc)
{
	char buf[16] = { 0 };
	int sv[2];

	mock_pair(sv);
	cr_assert_eq(write(sv[0], "abcdef", 6), 6);
	cr_assert_eq(recv(sv[1], buf, 3, MSG_PEEK), 3);
	cr_assert_eq(recv(sv[1], buf, 3, MSG_WAITALL), 3);
	cr_assert_arr_eq(buf, "abc", 3);
	cr_assert_eq(recv(sv[1], NULL, 2, MSG_TRUNC), 2);
	cr_assert_eq(recv(sv[1], buf, 10, 0), 1);
	cr_assert_eq(buf[0], 'f');
}

Test(stream, vectors)
{
	char a[3], b[5], c[10];
	struct iovec out[2] = { { "one", 3 }, { "three", 5 } };
	struct iovec in[3] = { { a, 3 }, { NULL, 0 }, { b, 5 } };
	struct msghdr m = { .msg_iov = in, .msg_iovlen = 3 };
	int sv[2];

	mock_pair(sv);
	cr_assert_eq(writev(sv[0], out, 2), 8);
	usleep(10000);
	cr_assert_eq(recvmsg(sv[1], &m, MSG_WAITALL), 8);
	cr_assert_arr_eq(a, "one", 3);
	cr_assert_arr_eq(b, "three", 5);
	cr_assert_eq(pread(sv[1], c, 1, 0), -1);
	cr_assert_eq(errno, ESPIPE);
}

static volatile sig_atomic_t pipes;

static void on_pipe(int sig)
{
	pipes++;
}

Test(stream, epipe)
{
	int sv[2], fresh = socket(AF_INET, SOCK_STREAM, 0);
	char c;

	signal(SIGPIPE, on_pipe);
	mock_pair(sv);
	shutdown(sv[0], SHUT_WR);
	cr_assert_eq(send(sv[0], "x", 1, MSG_NOSIGNAL), -1);
	cr_assert(errno == EPIPE && pipes == 0);
	cr_assert_eq(write(sv[0], "x", 1), -1);
	cr_assert(errno == EPIPE && pipes == 1);
	cr_assert_eq(write(fresh, "x", 1), -1);
	cr_assert(errno == EPIPE && pipes == 2);
	cr_assert_eq(read(fresh, &c, 1), -1);
	cr_assert_eq(errno, ENOTCONN);
}

Test(stream, reset)
{
	int sv[2], err;
	socklen_t len = sizeof(err);
	char c;

	mock_pair(sv);
	mock_abort(pl_fd_slot(sv[0]), ECONNRESET);
	cr_assert_eq(read(sv[0], &c, 1), -1);
	cr_assert_eq(errno, ECONNRESET);
	cr_assert_eq(read(sv[0], &c, 1), 0);
	mock_abort(pl_fd_slot(sv[1]), ETIMEDOUT);
	cr_assert_eq(getsockopt(sv[1], SOL_SOCKET, SO_ERROR, &err, &len), 0);
	cr_assert_eq(err, ETIMEDOUT);
	cr_assert_eq(getsockopt(sv[1], SOL_SOCKET, SO_ERROR, &err, &len), 0);
	cr_assert_eq(err, 0);
}

Test(stream, timeouts)
{
	struct timeval tv = { 0, 20000 };
	int sv[2];
	char c;

	mock_pair(sv);
	cr_assert_eq(setsockopt(sv[1], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)), 0);
	cr_assert_eq(read(sv[1], &c, 1), -1);
	cr_assert_eq(errno, EAGAIN);
}

static int temp_file(size_t size)
{
	static uint8_t buf[4096];
	int fd = memfd_create("file", MFD_CLOEXEC);

	for (size_t at = 0; at < size; at += sizeof(buf)) {
		fill(buf, sizeof(buf), at);
		cr_assert_eq(write(fd, buf, sizeof(buf)), (ssize_t)sizeof(buf));
	}
	return fd;
}

struct sf { int sock, file; size_t len; off_t off; ssize_t r; };

static void *sender(void *arg)
{
	struct sf *s = arg;

	s->r = sendfile(s->sock, s->file, &s->off, s->len);
	close(s->sock);
	return NULL;
}

Test(stream, sendfile_whole)
{
	static uint8_t buf[65536];
	struct sf s = { .len = (2u << 20) + 5, .off = 3 };	/* more than there is */
	size_t done = 0;
	pthread_t t;
	ssize_t n;
	int sv[2];

	mock_pair(sv);
	s.sock = sv[0];
	s.file = temp_file(2u << 20);
	pthread_create(&t, NULL, sender, &s);
	while ((n = read(sv[1], buf, sizeof(buf))) > 0) {
		cr_assert_eq(wrong(buf, (size_t)n, done + 3), 0);
		done += (size_t)n;
	}
	pthread_join(t, NULL);
	cr_assert_eq(s.r, (2 << 20) - 3);
	cr_assert_eq(s.off, 2 << 20);
	cr_assert_eq(done, (2u << 20) - 3);
}

Test(stream, splice_both_ways)
{
	char buf[32];
	int sv[2], pp[2];

	mock_pair(sv);
	cr_assert_eq(pipe(pp), 0);
	cr_assert_eq(write(pp[1], "through a pipe", 14), 14);
	cr_assert_eq(splice(pp[0], NULL, sv[0], NULL, 100, 0), 14);
	cr_assert_eq(splice(sv[1], NULL, pp[1], NULL, 100, 0), 14);
	cr_assert_eq(read(pp[0], buf, sizeof(buf)), 14);
	cr_assert_arr_eq(buf, "through a pipe", 14);
	cr_assert_eq(splice(sv[1], NULL, pp[1], NULL, 100, SPLICE_F_NONBLOCK), -1);
	cr_assert_eq(errno, EAGAIN);
	close(sv[0]);
	cr_assert_eq(splice(sv[1], NULL, pp[1], NULL, 100, 0), 0);
}

Test(stream, stdio)
{
	char line[64];
	int sv[2], low;
	FILE *f;

	mock_pair(sv);
	f = fdopen(sv[0], "w");
	cr_assert_not_null(f);
	cr_assert_eq(fileno(f), sv[0]);
	cr_assert_gt(fprintf(f, "line %d\n", 1), 0);
	cr_assert_eq(fflush(f), 0);
	cr_assert_eq(dprintf(sv[0], "two\n"), 4);
	cr_assert_eq(fclose(f), 0);
	cr_assert_eq(pl_fd_slot(sv[0]), 0);
	low = open("/dev/null", O_RDONLY);	/* the number is the kernel's again */
	cr_assert_eq(read(low, line, 1), 0);
	f = fdopen(sv[1], "r");
	cr_assert_str_eq(fgets(line, sizeof(line), f), "line 1\n");
	cr_assert_str_eq(fgets(line, sizeof(line), f), "two\n");
	cr_assert_null(fgets(line, sizeof(line), f));
	cr_assert(feof(f));
	cr_assert_eq(fclose(f), 0);
}
