/* SPDX-License-Identifier: MIT */
/* preload/spawn.c - vfork, forkpty, posix_spawn, system, popen, daemon
 * libc makes these children without calling fork() or execve() by name, so a child would neither
 * get a place in the family nor the sockets that it inherits. When the process has sockets to
 * inherit they are done here, by the wrappers of fork and exec; otherwise libc does them, with the
 * environment completed.
 *
 * vfork is fork with the parent waiting: the child holds the write end of a pipe that exec and exit
 * close. The child has memory of its own: what it stores the parent does not see.
 * Spec:    S3; POSIX posix_spawn, system, popen; daemon(3)
 * Threads: any; popen's table has a lock
 */
#include <alloca.h>
#include <paths.h>
#include <pty.h>
#include <sched.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <utmp.h>

#include "preload/pl_int.h"

extern char **environ;

/* ---- a pipe from the child, out of the program's way ---- */

static int pipe_own(int p[2])
{
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	p[0] = pl_fd_own(fds[0]);
	p[1] = pl_fd_own(fds[1]);
	if (p[0] >= 0 && p[1] >= 0)
		return 0;
	pl_fd_disown(p[0]);
	pl_fd_disown(p[1]);
	return -EMFILE;
}

/* Wait for the other end: *ret_err as the child wrote it, 0 when it was only closed. */
static void pipe_wait(int fd, int *ret_err)
{
	ssize_t n;

	*ret_err = 0;
	do
		n = real.read(fd, ret_err, sizeof(*ret_err));
	while (n < 0 && errno == EINTR);
	if (n != sizeof(*ret_err))
		*ret_err = 0;
}

/* A function cannot return twice on a borrowed stack, so the child gets a copy of its own. */
PL_EXPORT pid_t vfork(void)
{
	int p[2], none, saved;
	pid_t pid;

	if (pipe_own(p))
		return _Fork();
	pid = _Fork();
	if (pid == 0) {
		pl_fd_disown(p[0]);	/* the other end goes with exec or exit */
		return 0;
	}
	saved = errno;
	pl_fd_disown(p[1]);
	if (pid > 0)
		pipe_wait(p[0], &none);
	pl_fd_disown(p[0]);
	errno = saved;
	return pid;
}

PL_EXPORT pid_t forkpty(int *ret_fd, char *name, const struct termios *tp,
			const struct winsize *wp)
{
	int master, slave, saved;
	pid_t pid;

	if (openpty(&master, &slave, name, tp, wp) < 0)
		return -1;
	pid = fork();
	if (pid == 0) {
		close(master);
		if (login_tty(slave) < 0)
			_exit(1);
		return 0;
	}
	saved = errno;
	close(slave);
	if (pid > 0)
		*ret_fd = master;
	else
		close(master);
	errno = saved;
	return pid;
}

/* ---- posix_spawn ---- */

/* What <spawn.h> declares but does not show: one file action of glibc, unchanged since 2.1 but for
 * new tags at the end. */
struct action {
	enum { ACT_CLOSE, ACT_DUP2, ACT_OPEN, ACT_CHDIR, ACT_FCHDIR, ACT_CLOSEFROM, ACT_TCSETPGRP,
	       ACT_TAGS } tag;
	union {
		int fd;
		const char *path;
		struct { int from, to; } dup;
		struct { int fd; const char *path; int flags; mode_t mode; } open;
	} u;
};

struct spawn {
	const char *path;
	bool by_name;			/* posix_spawnp: look in PATH */
	const posix_spawn_file_actions_t *acts;
	const posix_spawnattr_t *attr;
	char *const *argv, *const *envp;
};

static const struct action *act_at(const struct spawn *sp, int i)
{
	return (const struct action *)sp->acts->__actions + i;
}

static int act_cnt(const struct spawn *sp)
{
	return sp->acts ? sp->acts->__used : 0;
}

static int act_open(const struct action *a)
{
	int fd = open(a->u.open.path, a->u.open.flags, a->u.open.mode), r = 0;

	if (fd < 0)
		return -1;
	if (fd != a->u.open.fd) {
		r = dup2(fd, a->u.open.fd);
		close(fd);
	}
	return r;
}

static int act_do(const struct action *a)
{
	switch (a->tag) {
	case ACT_CLOSE:
		close(a->u.fd);		/* one that is not open is no error */
		return 0;
	case ACT_DUP2:
		return a->u.dup.from == a->u.dup.to ? fcntl(a->u.dup.to, F_SETFD, 0) :
		       dup2(a->u.dup.from, a->u.dup.to);
	case ACT_OPEN:
		close(a->u.open.fd);
		return act_open(a);
	case ACT_CHDIR:
		return chdir(a->u.path);
	case ACT_FCHDIR:
		return fchdir(a->u.fd);
	case ACT_CLOSEFROM:
		closefrom(a->u.fd);
		return 0;
	default:
		return tcsetpgrp(a->u.fd, getpgrp());
	}
}

static void attr_signals(const posix_spawnattr_t *attr, short flags)
{
	sigset_t set;

	if (flags & POSIX_SPAWN_SETSIGDEF) {
		posix_spawnattr_getsigdefault(attr, &set);
		for (int s = 1; s < NSIG; s++)
			if (sigismember(&set, s) == 1)
				signal(s, SIG_DFL);
	}
	if (flags & POSIX_SPAWN_SETSIGMASK) {
		posix_spawnattr_getsigmask(attr, &set);
		pthread_sigmask(SIG_SETMASK, &set, NULL);
	}
}

static int attr_do(const posix_spawnattr_t *attr)
{
	struct sched_param param;
	short flags;
	pid_t group;
	int policy;

	if (!attr)
		return 0;
	posix_spawnattr_getflags(attr, &flags);
	posix_spawnattr_getschedpolicy(attr, &policy);
	posix_spawnattr_getschedparam(attr, &param);
	posix_spawnattr_getpgroup(attr, &group);
	if (((flags & POSIX_SPAWN_SETSCHEDULER) && sched_setscheduler(0, policy, &param) < 0) ||
	    ((flags & (POSIX_SPAWN_SETSCHEDULER | POSIX_SPAWN_SETSCHEDPARAM)) ==
	     POSIX_SPAWN_SETSCHEDPARAM && sched_setparam(0, &param) < 0) ||
	    ((flags & POSIX_SPAWN_SETSID) && setsid() < 0) ||
	    ((flags & POSIX_SPAWN_SETPGROUP) && setpgid(0, group) < 0) ||
	    ((flags & POSIX_SPAWN_RESETIDS) && (setegid(getgid()) || seteuid(getuid()))))
		return -1;
	attr_signals(attr, flags);
	return 0;
}

/* In the child. Returns only when it failed. */
static void spawn_child(const struct spawn *sp)
{
	if (attr_do(sp->attr))
		return;
	for (int i = 0; i < act_cnt(sp); i++)
		if (act_do(act_at(sp, i)) < 0)
			return;
	if (sp->by_name)
		execvpe(sp->path, sp->argv, sp->envp);
	else
		execve(sp->path, sp->argv, sp->envp);
}

/* Signals stay blocked in the child until its attributes are done: no handler of the program's runs
 * there. */
static int spawn_here(const struct spawn *sp, pid_t *ret_pid)
{
	sigset_t old;
	int p[2], r = pipe_own(p);
	struct sigaction sa;
	pid_t pid;

	if (r)
		return -r;
	pl_sig_block(&old);
	pid = _Fork();
	if (pid == 0) {
		pl_fd_disown(p[0]);
		for (int s = 1; s < NSIG; s++)
			if (!sigaction(s, NULL, &sa) && sa.sa_handler != SIG_IGN)
				signal(s, SIG_DFL);
		pl_sig_restore(&old);
		spawn_child(sp);
		r = errno;
		if (real.write(p[1], &r, sizeof(r)) < 0)
			_exit(126);
		_exit(127);
	}
	r = pid < 0 ? errno : 0;
	pl_fd_disown(p[1]);
	if (pid > 0)
		pipe_wait(p[0], &r);
	pl_fd_disown(p[0]);
	if (pid > 0 && r)
		waitpid(pid, NULL, 0);
	else if (!r && ret_pid)
		*ret_pid = pid;
	pl_sig_restore(&old);
	return r;
}

static int spawn_libc(const struct spawn *sp, pid_t *ret_pid)
{
	struct pl_env text;
	char *const *env = sp->envp;

	if (pl_env_on()) {
		char **full = alloca(pl_env_size(sp->envp));

		pl_env_make(&text, sp->envp, -1, full);
		env = full;
	}
	return (sp->by_name ? real.posix_spawnp : real.posix_spawn)
		(ret_pid, sp->path, sp->acts, sp->attr, sp->argv, env);
}

/* Will the child have a stackd socket open, and can we do all that it asks for? */
static bool inherits(const struct spawn *sp)
{
	bool r = pl_exec_inherits();

	for (int i = 0; i < act_cnt(sp); i++) {
		const struct action *a = act_at(sp, i);

		if ((unsigned)a->tag >= ACT_TAGS)
			return false;
		if (a->tag == ACT_DUP2 && pl_fd_slot(a->u.dup.from))
			r = true;
	}
	return r;
}

static int spawn(const struct spawn *sp, pid_t *ret_pid)
{
	int saved = errno, r;

	r = inherits(sp) ? spawn_here(sp, ret_pid) : spawn_libc(sp, ret_pid);
	errno = saved;
	return r;
}

PL_EXPORT int posix_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *acts,
			  const posix_spawnattr_t *attr, char *const argv[], char *const envp[])
{
	return spawn(&(struct spawn){ path, false, acts, attr, argv, envp }, pid);
}

PL_EXPORT int posix_spawnp(pid_t *pid, const char *file, const posix_spawn_file_actions_t *acts,
			   const posix_spawnattr_t *attr, char *const argv[], char *const envp[])
{
	return spawn(&(struct spawn){ file, true, acts, attr, argv, envp }, pid);
}

/* ---- system ---- */

static int shell(pid_t *ret_pid, const char *cmd, const posix_spawn_file_actions_t *acts,
		 const posix_spawnattr_t *attr)
{
	char *const argv[] = { (char *)"sh", (char *)"-c", (char *)cmd, NULL };

	return posix_spawn(ret_pid, _PATH_BSHELL, acts, attr, argv, environ);
}

static int wait_child(pid_t pid)
{
	int status;
	pid_t r;

	do
		r = waitpid(pid, &status, 0);
	while (r < 0 && errno == EINTR);
	return r < 0 ? -1 : status;
}

/* The child has the caller's signals; the caller ignores INT and QUIT and holds CHLD meanwhile. */
static int shell_signals(const char *cmd)
{
	struct sigaction ign = { .sa_handler = SIG_IGN }, intr, quit;
	posix_spawnattr_t attr;
	sigset_t chld, old, def;
	pid_t pid;
	int r;

	sigaction(SIGINT, &ign, &intr);
	sigaction(SIGQUIT, &ign, &quit);
	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	pthread_sigmask(SIG_BLOCK, &chld, &old);
	sigemptyset(&def);
	if (intr.sa_handler != SIG_IGN)
		sigaddset(&def, SIGINT);
	if (quit.sa_handler != SIG_IGN)
		sigaddset(&def, SIGQUIT);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setsigmask(&attr, &old);
	posix_spawnattr_setsigdefault(&attr, &def);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
	r = shell(&pid, cmd, NULL, &attr);
	posix_spawnattr_destroy(&attr);
	r = r ? W_EXITCODE(127, 0) : wait_child(pid);
	sigaction(SIGINT, &intr, NULL);
	sigaction(SIGQUIT, &quit, NULL);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return r;
}

PL_EXPORT int system(const char *cmd)
{
	return cmd && pl_exec_inherits() ? shell_signals(cmd) : real.system(cmd);
}

/* ---- daemon ---- */

PL_EXPORT int daemon(int nochdir, int noclose)
{
	int fd;

	if (!ld_acq(&pl.attached))
		return real.daemon(nochdir, noclose);
	switch (fork()) {
	case -1:
		return -1;
	case 0:
		break;
	default:
		_exit(0);
	}
	if (setsid() < 0 || (!nochdir && chdir("/") < 0))
		return -1;
	if (noclose)
		return 0;
	fd = open(_PATH_DEVNULL, O_RDWR);
	if (fd < 0)
		return -1;
	for (int i = 0; i < 3; i++)
		dup2(fd, i);
	if (fd > 2)
		close(fd);
	return 0;
}
