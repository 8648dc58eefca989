/* SPDX-License-Identifier: MIT */
/* preload/exec.c - exec: the next image goes on with the sockets that it inherits
 * When the open table has sockets that stay open, the control connection stays open with them and
 * the environment (env.c) names it to the next image. That image's shim asks on it for a place in
 * the same family (REATTACH): the same segment, a process index of its own with the open table
 * cloned, a connection of its own. Then it closes the inherited connection, and the engine undoes
 * the old image as it would a dead process: locks, claims, mailboxes, its half of the references.
 * What did not survive exec goes from the clone. An image that inherits no socket never hears of
 * its predecessor, which ends with its connection; it attaches afresh with its first socket.
 * Holds:   X1 an entry of the new image's table is an open socket of the slot's family and type
 * Spec:    S3
 * Threads: any may call exec; what is changed for it is put back when it fails
 */
#include <alloca.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "preload/pl_int.h"

extern char **environ;

/* ---- the old image ---- */

static bool survives(int fd, sd_ofd ofd)
{
	int fl = SD_OFD_KIND(ofd) == SD_OFD_SOCK ? real.fcntl(fd, F_GETFD, 0) : FD_CLOEXEC;

	return fl >= 0 && !(fl & FD_CLOEXEC);
}

bool pl_exec_inherits(void)
{
	uint32_t hi;

	if (!ld_acq(&pl.attached))
		return false;
	hi = ld_rlx(&pl.proc->hi_fd);
	for (uint32_t fd = 0; fd < hi; fd++) {
		sd_ofd ofd = shm_ofd_get(pl.proc, (int)fd);

		if (ofd && survives((int)fd, ofd))
			return true;
	}
	return false;
}

/* Keep the control connection open. Return: its fd, -1 when there is nothing to inherit. */
static int keep_ctl(void)
{
	if (!pl_exec_inherits() || real.fcntl(pl.ctl_fd, F_SETFD, 0) < 0)
		return -1;
	return pl.ctl_fd;
}

struct image {
	enum { BY_PATH, BY_NAME, BY_FD, BY_FD_PATH } by;
	int fd, flags;
	const char *path;
	char *const *argv;
};

static int replace(const struct image *im, char *const *envp)
{
	switch (im->by) {
	case BY_PATH:
		return real.execve(im->path, im->argv, envp);
	case BY_NAME:
		return real.execvpe(im->path, im->argv, envp);
	case BY_FD:
		return real.fexecve(im->fd, im->argv, envp);
	default:
		return real.execveat(im->fd, im->path, im->argv, envp, im->flags);
	}
}

static bool fits(const struct image *im)
{
	char path[PATH_MAX];

	if (im->by == BY_NAME)
		return pl_image_fits(AT_FDCWD, pl_image_find(im->path, path), 0);
	return pl_image_fits(im->by == BY_PATH ? AT_FDCWD : im->fd, im->path, im->flags);
}

static int exec_image(const struct image *im, char *const *envp)
{
	struct pl_given given = { .cnt = 0 };
	struct pl_env text;
	char **env;
	int ctl = -1, r, saved;

	if (!pl_env_on())
		return replace(im, envp);
	env = alloca(pl_env_size(envp));
	if (pl_exec_inherits() && !fits(im))
		pl_image_give(&given);
	else
		ctl = keep_ctl();
	pl_env_make(&text, envp, ctl, env);
	r = replace(im, env);
	saved = errno;
	if (ctl >= 0)
		real.fcntl(ctl, F_SETFD, FD_CLOEXEC);
	pl_image_take_back(&given);
	errno = saved;
	return r;
}

/* ---- the entries ---- */

PL_EXPORT int execve(const char *path, char *const argv[], char *const envp[])
{
	return exec_image(&(struct image){ BY_PATH, .path = path, .argv = argv }, envp);
}

PL_EXPORT int execv(const char *path, char *const argv[])
{
	return execve(path, argv, environ);
}

PL_EXPORT int execvpe(const char *file, char *const argv[], char *const envp[])
{
	return exec_image(&(struct image){ BY_NAME, .path = file, .argv = argv }, envp);
}

PL_EXPORT int execvp(const char *file, char *const argv[])
{
	return execvpe(file, argv, environ);
}

PL_EXPORT int fexecve(int fd, char *const argv[], char *const envp[])
{
	return exec_image(&(struct image){ BY_FD, .fd = fd, .argv = argv }, envp);
}

PL_EXPORT int execveat(int fd, const char *path, char *const argv[], char *const envp[], int flags)
{
	return exec_image(&(struct image){ BY_FD_PATH, fd, flags, path, argv }, envp);
}

static size_t arg_cnt(va_list ap)
{
	size_t n = 1;

	while (va_arg(ap, char *))
		n++;
	return n;
}

static void arg_fill(char **argv, const char *first, size_t n, va_list *ap)
{
	argv[0] = (char *)first;
	for (size_t i = 1; i <= n; i++)
		argv[i] = va_arg(*ap, char *);
}

/* The arguments after @first as an array in the caller's frame. */
#define ARGS(argv, ap, first, n) \
	do { \
		va_start(ap, first); \
		n = arg_cnt(ap); \
		va_end(ap); \
		argv = alloca((n + 1) * sizeof(*argv)); \
		va_start(ap, first); \
		arg_fill(argv, first, n, &ap); \
	} while (0)

PL_EXPORT int execl(const char *path, const char *first, ...)
{
	va_list ap;
	char **argv;
	size_t n;

	ARGS(argv, ap, first, n);
	va_end(ap);
	return execve(path, argv, environ);
}

PL_EXPORT int execlp(const char *file, const char *first, ...)
{
	va_list ap;
	char **argv;
	size_t n;

	ARGS(argv, ap, first, n);
	va_end(ap);
	return execvpe(file, argv, environ);
}

PL_EXPORT int execle(const char *path, const char *first, ...)
{
	char **argv, *const *envp;
	va_list ap;
	size_t n;

	ARGS(argv, ap, first, n);
	envp = va_arg(ap, char *const *);
	va_end(ap);
	return execve(path, argv, envp);
}

/* ---- the new image ---- */

void pl_exec_forget(struct sd_proc *p)
{
	uint32_t hi = ld_rlx(&p->hi_fd);

	for (uint32_t fd = 0; fd < hi && fd < SD_FDS; fd++) {
		sd_ofd ofd = shm_ofd_get(p, (int)fd);

		if (ofd && SD_OFD_KIND(ofd) != SD_OFD_SOCK)
			shm_ofd_take(p, (int)fd);
	}
}

static bool is_socket(int fd, int name, int want)
{
	socklen_t len = sizeof(int);
	int v;

	return !real.getsockopt(fd, SOL_SOCKET, name, &v, &len) && v == want;
}

void pl_exec_sweep(void)
{
	uint32_t hi = ld_rlx(&pl.proc->hi_fd);

	for (uint32_t fd = 0; fd < hi && fd < SD_FDS; fd++) {
		sd_ofd ofd = shm_ofd_get(pl.proc, (int)fd);
		const struct sd_opts *o = &pl_p(SD_OFD_IDX(ofd))->opts;

		if (SD_OFD_KIND(ofd) != SD_OFD_SOCK ||
		    (is_socket((int)fd, SO_DOMAIN, o->family) &&
		     is_socket((int)fd, SO_TYPE, o->type)))
			continue;
		shm_ofd_take(pl.proc, (int)fd);
		pl_slot_drop(SD_OFD_IDX(ofd));
	}
}
