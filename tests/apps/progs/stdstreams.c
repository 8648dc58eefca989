/* SPDX-License-Identifier: MIT */
/* tests/apps/progs/stdstreams.c - a socket as stdin, stdout and stderr of stdio
 * Usage: stdstreams ADDRESS PORT. What it says there and on the pipes that it was given is to be
 * the same on each stack. In the end it runs itself with the socket as fd 0 and 1, as inetd does.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void check(int ok, const char *what)
{
	if (!ok) {
		perror(what);
		exit(1);
	}
}

static int served(void)
{
	char line[100];

	puts("go on");
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin))
		printf("served %d %d: %s", fileno(stdin), fileno(stdout), line);
	puts("served to the end");	/* exit() is to flush it */
	return 0;
}

static int connected(const char *addr, const char *port)
{
	struct sockaddr_in sin = { .sin_family = AF_INET,
				   .sin_port = htons((uint16_t)atoi(port)) };
	int s = socket(AF_INET, SOCK_STREAM, 0);

	check(s >= 0 && inet_pton(AF_INET, addr, &sin.sin_addr) == 1, "socket");
	check(!connect(s, (struct sockaddr *)&sin, sizeof(sin)), "connect");
	return s;
}

int main(int argc, char **argv)
{
	int s, out, err;
	char line[100];

	if (argc < 3)
		return served();
	out = dup(1);
	err = dup(2);
	s = connected(argv[1], argv[2]);
	printf("written before dup2, ");
	check(dup2(s, 1) == 1, "dup2");
	printf("flushed after it, number %d\n", fileno(stdout));
	fflush(stdout);
	check(dup2(s, 2) == 2, "dup2");
	fputs("stderr does not wait\n", stderr);
	printf("written while it was the socket, ");
	check(dup2(out, 1) == 1 && dup2(err, 2) == 2, "dup2");
	printf("flushed when it no longer was\n");
	fputs("the old stderr\n", stderr);
	fflush(stdout);

	printf("first of the old input: %c\n", getchar());
	check(dup2(s, 0) == 0, "dup2");
	for (int i = 0; i < 4 && fgets(line, sizeof(line), stdin); i++)
		printf("line %d: %s", i, line);
	check(!fflush(stdout) && freopen("/dev/null", "r", stdin) == stdin, "freopen");
	printf("freopen: %d, then %d\n", fileno(stdin), getchar());
	fflush(stdout);

	check(dup2(s, 0) == 0 && dup2(s, 1) == 1, "dup2");
	execl("/proc/self/exe", "served", NULL);
	return 1;
}
