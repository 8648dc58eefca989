/* SPDX-License-Identifier: MIT */
/* preload/stdio.c - streams of stdio on stackd sockets
 * libc's streams read, write and close by calls inside libc that no wrapper sees; worse, fclose()
 * would give the fd number back to the kernel behind the open table's back. So fdopen() of a stackd
 * socket makes a stream with functions of ours, and fileno() finds the socket behind such a stream.
 * Likewise, when a stackd socket becomes fd 0, 1 or 2 (by dup2, or in the image that an inetd
 * runs), stdin, stdout or stderr becomes a stream of ours, with what the old one had buffered. It
 * reads and writes that number by our wrappers, so it stays right when that is a file again.
 * Holds:   a pointer to libc's own stream that the program kept from before dup2() stays libc's
 * Threads: streams_lock guards the list; it is never taken in a signal handler (stdio is not safe
 *          there, either)
 * Spec:    S1
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <wchar.h>

#include "preload/pl_int.h"

struct stream {				/* one per stream of ours; on the heap, as stdio's own */
	struct stream *next;
	FILE *f;
	char *ahead;			/* what the stream in whose place it is had read; owned */
	size_t ahead_len, ahead_off;
	FILE **std, *old;		/* it stands there in the place of this stream of libc's */
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
	struct stream *s = cookie;
	size_t left = s->ahead_len - s->ahead_off;

	if (!left)
		return read(s->fd, buf, n);
	n = n < left ? n : left;
	memcpy(buf, s->ahead + s->ahead_off, n);
	s->ahead_off += n;
	return (ssize_t)n;
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
	if (s->std && ld_acq(s->std) == s->f)
		st_rel(s->std, s->old);
	free(s->ahead);
	free(s);
	return fd < 0 ? 0 : close(fd);
}

static struct stream *stream_new(int fd, const char *mode)
{
	const cookie_io_functions_t io = { stream_read, stream_write, NULL, stream_close };
	struct stream *s = calloc(1, sizeof(*s));

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
	st_rel(&streams, s);
	shm_unlock(&streams_lock, pl_self());
	return s;
}

PL_EXPORT FILE *fdopen(int fd, const char *mode)
{
	struct stream *s;

	if (!pl_fd_slot(fd))
		return real.fdopen(fd, mode);
	s = stream_new(fd, mode);
	return s ? s->f : NULL;
}

/* @f as one of ours, NULL when it is not. */
static struct stream *stream_of(FILE *f)
{
	struct stream *s;

	if (!ld_acq(&streams))
		return NULL;
	shm_lock(&streams_lock, pl_self());
	for (s = streams; s && s->f != f;)
		s = s->next;
	shm_unlock(&streams_lock, pl_self());
	return s;
}

static int fileno_by(int (*real_fileno)(FILE *), FILE *f)
{
	const struct stream *s = stream_of(f);

	return s ? s->fd : real_fileno(f);
}

PL_EXPORT int fileno(FILE *f)
{
	return fileno_by(real.fileno, f);
}

PL_EXPORT int fileno_unlocked(FILE *f)
{
	return fileno_by(real.fileno_unlocked, f);
}

/* ---- stdin, stdout, stderr ---- */

/* What @old holds goes on in @s: text not yet written, or bytes not yet read. */
static void std_hand_over(FILE *old, struct stream *s)
{
	size_t in = __freading(old) ? (size_t)(old->_IO_read_end - old->_IO_read_ptr) : 0;
	size_t out = __fwriting(old) ? __fpending(old) : 0;

	if (fwide(old, 0) > 0)		/* of wide characters there is no way to see them */
		return;
	if (in) {
		s->ahead = malloc(in);
		if (!s->ahead)
			return;
		memcpy(s->ahead, old->_IO_read_ptr, in);
		s->ahead_len = in;
	}
	if (out)
		fwrite(old->_IO_write_base, 1, out, s->f);
	__fpurge(old);
}

/* stderr has no buffer as long as the program does not say otherwise. */
static int std_mode(FILE *old)
{
	if (__flbf(old))
		return _IOLBF;
	return __fbufsize(old) == 1 || (old == stderr && !__fbufsize(old)) ? _IONBF : _IOFBF;
}

static void std_replace(FILE **std, int fd)
{
	FILE *old = ld_acq(std);
	struct stream *s = stream_new(fd, std == &stdin ? "r" : "w");

	if (!s)
		return;
	s->std = std;
	s->old = old;
	setvbuf(s->f, NULL, std_mode(old), 0);
	if (!ftrylockfile(old)) {	/* else another thread sleeps in it: nothing is buffered */
		std_hand_over(old, s);
		funlockfile(old);
	}
	st_rel(std, s->f);
}

void pl_stdio_std(int fd)
{
	FILE **std[] = { &stdin, &stdout, &stderr };
	int saved = errno;

	for (unsigned i = 0; i < 3; i++) {
		FILE *f = ld_acq(std[i]);

		if (f && !stream_of(f) && real.fileno(f) == fd)
			std_replace(std[i], fd);
	}
	errno = saved;
}

/* ---- freopen ---- */

/* @fd is to become a file by calls inside libc: what it is now goes by ours. */
static void vacate(int fd)
{
	int n = (int)pl_sys(SYS_eventfd2, 0, EFD_CLOEXEC);

	if (n < 0)
		return;
	dup2(n, fd);
	real.close(n);
}

/* A stream of fdopen()'s stays what it is, on another file. */
static FILE *reopen_ours(struct stream *s, const char *path, const char *mode)
{
	FILE *n = path ? fopen64(path, mode) : NULL;
	int err = path ? errno : ENXIO;

	if (!n) {
		fclose(s->f);
		errno = err;
		return NULL;
	}
	fflush(s->f);
	__fpurge(s->f);
	clearerr(s->f);
	dup2(real.fileno(n), s->fd);
	fclose(n);
	return s->f;
}

static FILE *reopen(FILE *(*real_freopen)(const char *, const char *, FILE *), const char *path,
		    const char *mode, FILE *f)
{
	struct stream *s = stream_of(f);
	int fd = s ? s->fd : real.fileno(f);

	if (s && !s->old)
		return reopen_ours(s, path, mode);
	if (s) {			/* libc's own again */
		f = s->old;
		fflush(s->f);
		s->fd = -1;
		fclose(s->f);
	}
	if (pl_fd_slot(fd))
		vacate(fd);
	return real_freopen(path, mode, f);
}

PL_EXPORT FILE *freopen(const char *path, const char *mode, FILE *f)
{
	return reopen(real.freopen, path, mode, f);
}

PL_EXPORT FILE *freopen64(const char *path, const char *mode, FILE *f)
{
	return reopen(real.freopen64, path, mode, f);
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
