/* SPDX-License-Identifier: MIT */
/* preload/popen.c - popen and pclose for a process whose sockets a child would inherit
 * libc's popen() makes its child by calls that no wrapper sees; this one makes it by posix_spawn()
 * and remembers whose stream it is. A stream that is not in the table is libc's.
 * Spec:    S3; POSIX popen, pclose
 * Threads: the table's lock, signals blocked while it is held
 */
#include <paths.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "preload/pl_int.h"

#define STREAMS	64			/* at once; more are libc's */

extern char **environ;

static struct { FILE *f; pid_t pid; } child[STREAMS];
static uint64_t child_lock;

/* Put @new where @old is; @old NULL: in a free place. Return: the pid that is there then, or, with
 * @new NULL, was there; 0 = no such place. */
static pid_t child_swap(FILE *old, FILE *new, pid_t pid)
{
	sigset_t sigs;
	pid_t r = 0;

	pl_sig_block(&sigs);
	shm_lock(&child_lock, pl_self());
	for (unsigned i = 0; i < STREAMS && !r; i++) {
		if (child[i].f != old)
			continue;
		r = new ? pid : child[i].pid;
		child[i].f = new;
		child[i].pid = pid;
	}
	shm_unlock(&child_lock, pl_self());
	pl_sig_restore(&sigs);
	return r;
}

void pl_popen_child(void)
{
	child_lock = 0;
}

/* The shell with @theirs as its @std. Return: pid or -1. */
static pid_t run(const char *cmd, int theirs, int std)
{
	char *const argv[] = { (char *)"sh", (char *)"-c", (char *)cmd, NULL };
	posix_spawn_file_actions_t acts;
	pid_t pid;
	int r;

	posix_spawn_file_actions_init(&acts);
	r = posix_spawn_file_actions_adddup2(&acts, theirs, std);
	if (!r)
		r = posix_spawn(&pid, _PATH_BSHELL, &acts, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&acts);
	if (r)
		errno = r;
	return r ? -1 : pid;
}

static FILE *open_here(const char *cmd, bool rd, bool cloexec)
{
	FILE *f = NULL;
	pid_t pid;
	int p[2];

	if (pipe2(p, O_CLOEXEC) < 0)
		return NULL;
	f = fdopen(p[!rd], rd ? "r" : "w");
	if (f && !child_swap(NULL, f, -1)) {
		fclose(f);
		close(p[rd]);
		return real.popen(cmd, rd ? "r" : "w");
	}
	pid = f ? run(cmd, p[rd], rd ? 1 : 0) : -1;
	close(p[rd]);
	if (pid < 0) {
		if (f) {
			child_swap(f, NULL, 0);
			fclose(f);
		} else {
			close(p[!rd]);
		}
		return NULL;
	}
	if (!cloexec)
		fcntl(p[!rd], F_SETFD, 0);
	child_swap(f, f, pid);
	return f;
}

PL_EXPORT FILE *popen(const char *cmd, const char *mode)
{
	bool rd = *mode == 'r', cloexec = strchr(mode, 'e');

	if (!pl_exec_inherits() || (!rd && *mode != 'w'))
		return real.popen(cmd, mode);
	return open_here(cmd, rd, cloexec);
}

PL_EXPORT int pclose(FILE *f)
{
	pid_t pid = child_swap(f, NULL, 0), r;
	int status;

	if (!pid)
		return real.pclose(f);
	fclose(f);
	do
		r = waitpid(pid, &status, 0);
	while (r < 0 && errno == EINTR);
	return r < 0 ? -1 : status;
}
