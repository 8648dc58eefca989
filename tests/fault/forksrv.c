/* SPDX-License-Identifier: MIT */
/* tests/fault/forksrv.c - a server in the ways servers fork
 *   forksrv pre ADDR PORT N    N children accept on one listener; the parent replaces dead ones
 *   forksrv per ADDR PORT      PostgreSQL's way: a child per connection, which the parent closes
 *                              right after fork()
 *   forksrv jail ADDR PORT UID sshd's way: as `per`, and the child makes the directory its root,
 *                              changes its user and installs a seccomp filter before its first read
 * What a peer may ask, each a letter and a number of 4 bytes, little endian:
 *   P  the child's pid, 4 bytes                    S n  n bytes of the pattern
 *   E n  the n bytes that follow come back         N    never read again
 * Byte i of the pattern is block[i % 65521]; tests/fault/test_program_kill.py makes the same block.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define PERIOD 65521u

static uint8_t block[2 * PERIOD];

static void make_block(void)
{
	uint32_t x = 12345;

	for (unsigned i = 0; i < PERIOD; i++) {
		x = x * 1664525u + 1013904223u;
		block[i] = block[i + PERIOD] = (uint8_t)(x >> 24);
	}
}

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static int get(int fd, void *buf, size_t len)
{
	for (size_t n = 0; n < len;) {
		ssize_t r = read(fd, (char *)buf + n, len - n);

		if (r <= 0)
			return -1;
		n += (size_t)r;
	}
	return 0;
}

static int put(int fd, const void *buf, size_t len)
{
	for (size_t n = 0; n < len;) {
		ssize_t r = write(fd, (const char *)buf + n, len - n);

		if (r <= 0)
			return -1;
		n += (size_t)r;
	}
	return 0;
}

static int pattern(int fd, uint32_t len)
{
	for (uint32_t at = 0; at < len;) {
		uint32_t n = len - at < PERIOD ? len - at : PERIOD;

		if (put(fd, block + at % PERIOD, n))
			return -1;
		at += n;
	}
	return 0;
}

static int echo(int fd, uint32_t len)
{
	static char buf[65536];

	while (len) {
		uint32_t n = len < sizeof(buf) ? len : (uint32_t)sizeof(buf);

		if (get(fd, buf, n) || put(fd, buf, n))
			return -1;
		len -= n;
	}
	return 0;
}

static void serve(int fd, uint32_t pid)
{
	struct { char op; uint32_t n; } __attribute__((packed)) q;
	int r = 0;

	while (!r && !get(fd, &q, sizeof(q))) {
		switch (q.op) {
		case 'P': r = put(fd, &pid, sizeof(pid)); break;
		case 'S': r = pattern(fd, q.n); break;
		case 'E': r = echo(fd, q.n); break;
		case 'N':
			for (;;)
				pause();
		default: r = -1;
		}
	}
	close(fd);
}

static int listener(const char *addr, const char *port)
{
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port)) };
	int on = 1, fd = socket(AF_INET, SOCK_STREAM, 0);

	if (fd < 0)
		die("socket");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (inet_pton(AF_INET, addr, &sin.sin_addr) != 1 ||
	    bind(fd, (struct sockaddr *)&sin, sizeof(sin)))
		die("bind");
	if (listen(fd, 128))
		die("listen");
	return fd;
}

static void child_pre(int lfd)
{
	for (;;) {
		int fd = accept(lfd, NULL, NULL);

		if (fd >= 0)
			serve(fd, (uint32_t)getpid());
		else if (errno != ECONNABORTED && errno != EINTR)
			die("accept");
	}
}

static void run_pre(int lfd, unsigned cnt)
{
	for (unsigned live = 0;; live--) {
		for (; live < cnt; live++) {
			pid_t pid = fork();

			if (pid == 0) {
				prctl(PR_SET_PDEATHSIG, SIGKILL);
				child_pre(lfd);
			}
			if (pid < 0)
				die("fork");
		}
		if (wait(NULL) < 0)
			die("wait");
	}
}

#define ALLOW(nr) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_##nr, 0, 1), \
	BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)

/* Only what a child that moves bytes needs; anything else kills it. */
static void jail(uid_t uid)
{
	static struct sock_filter prog[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		ALLOW(read), ALLOW(write), ALLOW(close), ALLOW(futex), ALLOW(ppoll), ALLOW(poll),
		ALLOW(epoll_wait), ALLOW(epoll_pwait), ALLOW(rt_sigprocmask), ALLOW(rt_sigreturn),
		ALLOW(clock_gettime), ALLOW(exit_group),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
	};
	struct sock_fprog fp = { sizeof(prog) / sizeof(prog[0]), prog };

	if (chroot(".") || setgid(uid) || setuid(uid))
		die("jail");
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &fp))
		die("seccomp");
}

static void run_per(int lfd, const char *uid)
{
	signal(SIGCHLD, SIG_IGN);
	for (;;) {
		int fd = accept(lfd, NULL, NULL);
		pid_t pid;

		if (fd < 0)
			continue;
		pid = fork();
		if (pid == 0) {
			uint32_t me = (uint32_t)getpid();

			close(lfd);
			if (uid)
				jail((uid_t)atoi(uid));
			serve(fd, me);
			_exit(0);
		}
		if (pid < 0)
			perror("fork");
		close(fd);
	}
}

int main(int argc, char **argv)
{
	int lfd;

	if (argc < 4) {
		fprintf(stderr, "usage: forksrv pre|per|jail ADDR PORT [N|UID]\n");
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	make_block();
	lfd = listener(argv[2], argv[3]);
	if (!strcmp(argv[1], "pre"))
		run_pre(lfd, argc > 4 ? (unsigned)atoi(argv[4]) : 8);
	run_per(lfd, !strcmp(argv[1], "jail") && argc > 4 ? argv[4] : NULL);
}
