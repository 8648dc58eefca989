/* SPDX-License-Identifier: MIT */
/* bench/micro/kernel_fd.c - what the shim adds to a call on a kernel fd
 * Run under stackrun, attached: batches of read() through the shim and of libc's own read()
 * alternate; prints the median of both and of their difference, ns per call. The one-byte read of
 * /dev/zero is about the cheapest call that there is, so the difference stands out.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
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

typedef ssize_t (*read_fn)(int fd, void *buf, size_t n);

static double batch(int fd, read_fn fn)
{
	double from = now_ns();
	char c;

	for (int i = 0; i < CALLS; i++)
		if (fn(fd, &c, 1) != 1)
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
	static double shim[ROUNDS], plain[ROUNDS], more[ROUNDS];
	int zero = open("/dev/zero", O_RDONLY);
	void *libc = dlopen("libc.so.6", RTLD_NOW | RTLD_NOLOAD);
	read_fn libc_read = libc ? (read_fn)dlsym(libc, "read") : NULL;

	/* the socket makes the shim attach */
	if (zero < 0 || !libc_read || socket(AF_INET, SOCK_STREAM, 0) < 0)
		return 1;
	for (int i = 0; i < ROUNDS; i++) {
		plain[i] = batch(zero, libc_read);
		shim[i] = batch(zero, read);
		more[i] = shim[i] - plain[i];
	}
	printf("read() of a kernel fd: libc %.1f ns, through the shim %.1f ns, more %.1f ns\n",
	       median(plain), median(shim), median(more));
	return 0;
}
