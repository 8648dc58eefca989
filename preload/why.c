/* SPDX-License-Identifier: MIT */
/* preload/why.c - STACKD_WHY (stackrun --why): says on stderr who carries each socket, and why
 * Off, a call costs a load and a branch, and only where a socket is made or changes hands: bind,
 * connect, accept, options, never where bytes move.
 * Threads: any; a line is one write
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "preload/pl_int.h"
#include "preload/real.h"
#include "stackd/atomic.h"

static int32_t on = -1;			/* -1 = the environment has not been looked at */

static bool wanted_why(void)
{
	int32_t v = ld_rlx(&on);

	if (__builtin_expect(v < 0, 0)) {
		v = pl_env_why();
		st_rlx(&on, v);
	}
	return __builtin_expect(v, 0);
}

static void say(int fd, const char *carrier, const char *why)
{
	char line[256];
	int err = errno, n;

	n = snprintf(line, sizeof(line), "stackd: %s[%d] fd %d: %s: %s\n",
		     program_invocation_short_name, (int)getpid(), fd, carrier, why);
	n = n < (int)sizeof(line) ? n : (int)sizeof(line) - 1;
	if (n > 0 && real.write(STDERR_FILENO, line, (size_t)n) < 0)
		st_rlx(&on, 0);		/* nobody listens */
	errno = err;
}

void pl_why(int fd, const char *carrier, const char *why)
{
	if (wanted_why())
		say(fd, carrier, why);
}

void pl_why_addr(int fd, const char *carrier, const char *what, const struct sd_addr *addr,
		 uint16_t port)
{
	char a[INET6_ADDRSTRLEN] = "?", why[160];

	if (!wanted_why())
		return;
	if (sd_addr_is_v4(addr))
		inet_ntop(AF_INET, &addr->w[3], a, sizeof(a));
	else
		inet_ntop(AF_INET6, addr->b, a, sizeof(a));
	snprintf(why, sizeof(why), "%s %s port %u", what, a, port);
	say(fd, carrier, why);
}

void pl_why_num(int fd, const char *carrier, const char *what, int a, int b)
{
	char why[160];

	if (!wanted_why())
		return;
	snprintf(why, sizeof(why), "%s %d, %d", what, a, b);
	say(fd, carrier, why);
}
