/* SPDX-License-Identifier: MIT */
/* preload/image.c - images that cannot take the shim, and the sockets that they inherit
 * A static program does not know what a preload is; a setuid program or one with file capabilities
 * refuses it. What such an image inherits is made ready before exec: behind each number the kernel
 * fd is replaced by an end of the engine's socket pair (scm.c), through which the engine carries
 * bytes as soon as the image runs. When exec fails the old fds come back. What cannot be told (a
 * script, a file that may be executed but not read) is taken for one that takes the shim.
 * Spec:    S3, S3b
 * Threads: as exec.c
 */
#include <elf.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/xattr.h>

#include "preload/pl_int.h"

static bool is_dynamic(int fd)
{
	Elf64_Ehdr eh;
	Elf64_Phdr ph;

	if (pread(fd, &eh, sizeof(eh), 0) != sizeof(eh) || memcmp(eh.e_ident, ELFMAG, SELFMAG))
		return true;		/* no program by itself: its interpreter decides */
	if (eh.e_ident[EI_CLASS] != ELFCLASS64 || eh.e_phentsize != sizeof(ph))
		return false;
	for (unsigned i = 0; i < eh.e_phnum; i++) {
		off_t at = (off_t)(eh.e_phoff + i * sizeof(ph));

		if (pread(fd, &ph, sizeof(ph), at) == sizeof(ph) && ph.p_type == PT_INTERP)
			return true;
	}
	return false;
}

static bool gains_rights(int fd)
{
	struct stat sb;

	if (fstat(fd, &sb))
		return false;
	return (sb.st_mode & S_ISUID && sb.st_uid != geteuid()) ||
	       (sb.st_mode & S_ISGID && sb.st_gid != getegid()) ||
	       (geteuid() && fgetxattr(fd, "security.capability", NULL, 0) > 0);
}

bool pl_image_fits(int dir, const char *path, int flags)
{
	int how = O_RDONLY | O_CLOEXEC | (flags & AT_SYMLINK_NOFOLLOW ? O_NOFOLLOW : 0);
	bool own = path && *path;
	int fd = own ? (int)pl_sys(SYS_openat, dir, path, how) : dir;
	bool fits = fd < 0 || (is_dynamic(fd) && !gains_rights(fd));

	if (own && fd >= 0)
		real.close(fd);
	return fits;
}

/* Where execvp() would find @name; itself when it has a slash or is not found. */
const char *pl_image_find(const char *name, char *path)
{
	const char *dirs = getenv("PATH");

	for (dirs = dirs ? dirs : "/bin:/usr/bin"; !strchr(name, '/') && *dirs; ) {
		size_t n = strcspn(dirs, ":");

		if (snprintf(path, PATH_MAX, "%.*s%s%s", (int)n, dirs, n ? "/" : "./", name) <
		    PATH_MAX && !access(path, X_OK))
			return path;
		dirs += n + (dirs[n] == ':');
	}
	return name;
}

/* One pair for all numbers of a socket. Return: one of the shim's own fds, or -errno. */
static int pair_for(const struct pl_given *g, int fd)
{
	for (unsigned i = 0; i < g->cnt; i++)
		if (pl_fd_slot(g->fd[i]) == pl_fd_slot(fd))
			return pl_fd_own(real.fcntl(g->fd[i], F_DUPFD_CLOEXEC, 0));
	return pl_scm_export(fd);
}

void pl_image_give(struct pl_given *g)
{
	uint32_t hi = ld_acq(&pl.attached) ? ld_rlx(&pl.proc->hi_fd) : 0;

	g->cnt = 0;
	for (uint32_t fd = 0; fd < hi && g->cnt < PL_GIVEN_MAX; fd++) {
		int fl = pl_fd_slot((int)fd) ? real.fcntl((int)fd, F_GETFD, 0) : -1;
		int pair = fl >= 0 && !(fl & FD_CLOEXEC) ? pair_for(g, (int)fd) : -1, keep;

		if (pair < 0)
			continue;
		keep = pl_fd_own(real.fcntl((int)fd, F_DUPFD_CLOEXEC, 0));
		if (keep >= 0 && real.dup2(pair, (int)fd) >= 0) {
			g->fd[g->cnt] = (int)fd;
			g->keep[g->cnt++] = keep;
		} else {
			pl_fd_disown(keep);
		}
		pl_fd_disown(pair);
	}
}

void pl_image_take_back(struct pl_given *g)
{
	while (g->cnt) {
		g->cnt--;
		real.dup2(g->keep[g->cnt], g->fd[g->cnt]);
		pl_fd_disown(g->keep[g->cnt]);
	}
}
