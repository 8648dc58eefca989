/* SPDX-License-Identifier: MIT */
/* preload/stdio.c - streams of stdio on stackd sockets
 * libc's streams read, write and close by calls inside libc that no wrapper sees; worse, fclose()
 * would give the fd number back to the kernel behind the open table's back. So fdopen() of a stackd
 * socket makes a stream with functions of ours, and fileno() finds the socket behind such a stream.
 * Threads: streams_lock guards the list; it is never taken in a signal handler (stdio is not safe
 *          there, either)
 * Spec:    S1
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "preload/pl_int.h"

struct stream {				/* one per stream of ours; on the heap, as stdio's own */
	struct stream *next;
	FILE *f;
	int fd;
};
static struct stream *streams;
static uint64_t streams_lock;

void pl_stdio_fork_child(void)
{
	streams_lock = 0;
}

static ssize_t stream_read(void *cookie, char *buf, size_t n)
{
	return read(((struct stream *)cookie)->fd, buf, n);
}

static ssize_t stream_write(void *cookie, const char *buf, size_t n)
{
	ssize_t r = write(((struct stream *)cookie)->fd, buf, n);

	return r < 0 ? 0 : r;		/* 0 is this interface's failure */
}

static int stream_close(void *cookie)
{
	struct stream *s = cookie, **at;
	int fd = s->fd;

	shm_lock(&streams_lock, pl_self());
	for (at = &streams; *at; at = &(*at)->next) {
		if (*at == s) {
			*at = s->next;
			break;
		}
	}
	shm_unlock(&streams_lock, pl_self());
	free(s);
	return close(fd);
}

PL_EXPORT FILE *fdopen(int fd, const char *mode)
{
	const cookie_io_functions_t io = { stream_read, stream_write, NULL, stream_close };
	struct stream *s;

	if (!pl_fd_slot(fd))
		return real.fdopen(fd, mode);
	s = malloc(sizeof(*s));
	if (!s)
		return NULL;
	s->fd = fd;
	s->f = fopencookie(s, mode, io);
	if (!s->f) {
		free(s);
		return NULL;
	}
	shm_lock(&streams_lock, pl_self());
	s->next = streams;
	streams = s;
	shm_unlock(&streams_lock, pl_self());
	return s->f;
}

/* The socket of stream @f, -1 when it is not ours. */
static int stream_fd(FILE *f)
{
	int fd = -1;

	shm_lock(&streams_lock, pl_self());
	for (const struct stream *s = streams; s; s = s->next)
		if (s->f == f)
			fd = s->fd;
	shm_unlock(&streams_lock, pl_self());
	return fd;
}

static int fileno_by(int (*real_fileno)(FILE *), FILE *f)
{
	int fd = ld_acq(&streams) ? stream_fd(f) : -1;

	return fd >= 0 ? fd : real_fileno(f);
}

PL_EXPORT int fileno(FILE *f)
{
	return fileno_by(real.fileno, f);
}

PL_EXPORT int fileno_unlocked(FILE *f)
{
	return fileno_by(real.fileno_unlocked, f);
}

/* ---- printing straight to an fd ---- */

static int print_socket(int fd, const char *fmt, va_list ap)
{
	char *text;
	int n = vasprintf(&text, fmt, ap), done = 0;

	if (n < 0)
		return -1;
	while (done < n) {
		ssize_t r = write(fd, text + done, (size_t)(n - done));

		if (r < 0) {
			n = -1;
			break;
		}
		done += (int)r;
	}
	free(text);
	return n;
}

PL_EXPORT int vdprintf(int fd, const char *fmt, va_list ap)
{
	return pl_fd_slot(fd) ? print_socket(fd, fmt, ap) : real.vdprintf(fd, fmt, ap);
}

PL_EXPORT int dprintf(int fd, const char *fmt, ...)
{
	va_list ap;
	int r;

	va_start(ap, fmt);
	r = vdprintf(fd, fmt, ap);
	va_end(ap);
	return r;
}

int __vdprintf_chk(int fd, int flag, const char *fmt, va_list ap);
int __dprintf_chk(int fd, int flag, const char *fmt, ...);

PL_EXPORT int __vdprintf_chk(int fd, int flag, const char *fmt, va_list ap)
{
	return pl_fd_slot(fd) ? print_socket(fd, fmt, ap) : real.__vdprintf_chk(fd, flag, fmt, ap);
}

PL_EXPORT int __dprintf_chk(int fd, int flag, const char *fmt, ...)
{
	va_list ap;
	int r;

	va_start(ap, fmt);
	r = __vdprintf_chk(fd, flag, fmt, ap);
	va_end(ap);
	return r;
}
