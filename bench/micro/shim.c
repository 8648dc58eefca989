/* SPDX-License-Identifier: MIT */
/* bench/micro/shim.c - what the shim costs per call; runs under stackrun
 * Calls on a kernel fd go through the shim to libc: the limit is libc's own read() of /dev/zero,
 * about the cheapest call that there is. Calls that stackd answers without the kernel: the limit
 * is the emptiest system call, which they save.
 */
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <netinet/in.h>
#include <unistd.h>

#include "bench/micro/micro.h"

static int zero, udp;
static ssize_t (*libc_read)(int fd, void *buf, size_t n);

static void shim_read(unsigned n)
{
	char c;

	while (n--)
		if (read(zero, &c, 1) != 1)
			abort();
}

static void own_read(unsigned n)
{
	char c;

	while (n--)
		if (libc_read(zero, &c, 1) != 1)
			abort();
}

static void empty_recv(unsigned n)
{
	char c;

	while (n--)
		if (recv(udp, &c, 1, MSG_DONTWAIT) != -1 || errno != EAGAIN)
			abort();
}

static void poll_now(unsigned n)
{
	struct pollfd p = { .fd = udp, .events = POLLIN | POLLOUT };

	while (n--)
		if (poll(&p, 1, 0) != 1 || p.revents != POLLOUT)
			abort();
}

static void getppid_call(unsigned n)
{
	while (n--)
		syscall(SYS_getppid);
}

static const struct micro all[] = {
	{ "read() of a kernel fd", "libc's read()", shim_read, own_read, 2000 },
	{ "recv() of nothing, stackd", "a system call", empty_recv, getppid_call, 2000 },
	{ "poll() of one socket, stackd", "a system call", poll_now, getppid_call, 2000 },
};

/* ADDR of the daemon. */
int main(int argc, char **argv)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(7777) };
	void *libc = dlopen("libc.so.6", RTLD_NOW | RTLD_NOLOAD);

	zero = open("/dev/zero", O_RDONLY);
	udp = socket(AF_INET, SOCK_DGRAM, 0);
	libc_read = libc ? (ssize_t (*)(int, void *, size_t))dlsym(libc, "read") : NULL;
	if (argc != 2 || zero < 0 || !libc_read || inet_pton(AF_INET, argv[1], &a.sin_addr) != 1 ||
	    bind(udp, (struct sockaddr *)&a, sizeof(a)))
		return 1;
	micro_print(all, sizeof(all) / sizeof(all[0]));
	return 0;
}
