/* SPDX-License-Identifier: MIT */
/* bench/micro/kernel_fd.c - what the shim adds to a call on a kernel fd
 * Run under stackrun, attached: batches of read() through the shim and of the bare system call
 * alternate; prints the median of both and of their difference, ns per call. The one-byte read of
 * /dev/zero is about the cheapest call that there is, so the difference stands out.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define ROUNDS	301
#define CALLS	2000

static double now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static long bare_read(int fd, void *buf, size_t n)
{
	long r;

	__asm__ volatile("syscall"
			 : "=a"(r)
			 : "a"(SYS_read), "D"(fd), "S"(buf), "d"(n)
			 : "rcx", "r11", "memory");
	return r;
}

static double batch(int fd, int bare)
{
	double from = now_ns();
	char c;

	for (int i = 0; i < CALLS; i++)
		if ((bare ? bare_read(fd, &c, 1) : read(fd, &c, 1)) != 1)
			abort();
	return (now_ns() - from) / CALLS;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *v)
{
	qsort(v, ROUNDS, sizeof(*v), by_value);
	return v[ROUNDS / 2];
}

int main(void)
{
	static double shim[ROUNDS], bare[ROUNDS], more[ROUNDS];
	int zero = open("/dev/zero", O_RDONLY);

	if (zero < 0 || socket(AF_INET, SOCK_STREAM, 0) < 0)	/* the socket makes the shim attach */
		return 1;
	for (int i = 0; i < ROUNDS; i++) {
		bare[i] = batch(zero, 1);
		shim[i] = batch(zero, 0);
		more[i] = shim[i] - bare[i];
	}
	printf("read() of a kernel fd: bare %.1f ns, through the shim %.1f ns, more %.1f ns\n",
	       median(bare), median(shim), median(more));
	return 0;
}
