/* SPDX-License-Identifier: MIT */
/* core/assert.c - the end of a process that found a bug of its own
 * Only write(2) and abort(3): works in any state, under seccomp, in a signal handler. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "stackd/core/assert.h"

static void put(const char *s)
{
	if (write(STDERR_FILENO, s, strlen(s)) < 0)
		return;
}

_Noreturn void assert_fail(const char *file, int line, const char *expr)
{
	char num[12];
	char *p = num + sizeof(num) - 1;

	*p = 0;
	do {
		*--p = (char)('0' + line % 10);
		line /= 10;
	} while (line);
	put(file);
	put(":");
	put(p);
	put(": assertion failed: ");
	put(expr);
	put("\n");
	abort();
}
