/* SPDX-License-Identifier: MIT */
/* supervisor/daemonize.c - go to the background; the caller's process waits until the daemon is
 * ready The caller exits 0 when the daemon has said that it is ready, and 1 when it ended before.
 */
#include "stackd/supervisor/supervisor_int.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

_Noreturn static void wait_for_daemon(const struct conf *conf, int fd)
{
	char byte;
	ssize_t n;

	do {
		n = read(fd, &byte, 1);
	} while (n < 0 && errno == EINTR);
	if (n != 1)
		sup_log("did not start; %s/stackd.log may say more", conf->run_dir);
	_exit(n == 1 ? 0 : 1);
}

int daemonize_begin(struct supervisor *s)
{
	int p[2];
	pid_t pid;

	if (pipe2(p, O_CLOEXEC))
		return -errno;
	fflush(stderr);
	pid = fork();
	if (pid < 0)
		return -errno;
	if (pid > 0) {
		close(p[1]);
		wait_for_daemon(s->conf, p[0]);
	}
	close(p[0]);
	s->daemon_fd = p[1];
	setsid();
	return 0;
}

int daemonize_log(const struct supervisor *s)
{
	char path[128];
	int log, null = open("/dev/null", O_RDWR | O_CLOEXEC);

	snprintf(path, sizeof(path), "%s/stackd.log", s->conf->run_dir);
	log = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0640);
	if (null < 0 || log < 0 || dup2(null, 0) < 0 || dup2(log, 1) < 0 || dup2(log, 2) < 0) {
		int r = -errno;

		sup_log("%s: %s", path, strerror(-r));
		return r;
	}
	close(log);
	close(null);
	return chdir("/") ? -errno : 0;
}
