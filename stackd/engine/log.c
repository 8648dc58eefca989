/* SPDX-License-Identifier: MIT */
/* engine/log.c - the engine's few lines to stderr; never for packets or programs' misdeeds, which
 * are counted. One write per line, so that lines of threads do not mix. */
#include "stackd/engine/engine.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

void engine_log(const char *fmt, ...)
{
	char line[512] = "stackd: engine: ";
	size_t n = strlen(line);
	va_list ap;
	int m;

	va_start(ap, fmt);
	m = vsnprintf(line + n, sizeof(line) - n - 1, fmt, ap);
	va_end(ap);
	n += m < 0 ? 0 : (size_t)m < sizeof(line) - n - 1 ? (size_t)m : sizeof(line) - n - 2;
	line[n++] = '\n';
	if (write(STDERR_FILENO, line, n) < 0)
		return;			/* nobody listens */
}
