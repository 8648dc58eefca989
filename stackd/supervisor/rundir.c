/* SPDX-License-Identifier: MIT */
/* supervisor/rundir.c - run directory, the lock against a second daemon, the control socket
 * The lock is a file that stays: removing it would let two daemons hold locks on two files of one
 * name. Who holds it may take over the socket, so a socket left behind by a killed daemon is simply
 * replaced.
 */
#include "stackd/supervisor/supervisor_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "stackd/ctl.h"

#define LISTEN_BACKLOG 512

static void who_holds(int fd, const char *dir)
{
	char pid[16] = "";
	ssize_t n = pread(fd, pid, sizeof(pid) - 1, 0);

	if (n > 0)
		pid[strcspn(pid, "\n")] = '\0';
	sup_log("%s: another stackd runs there (pid %s)", dir, *pid ? pid : "unknown");
}

int rundir_lock(const char *dir, int *ret_fd)
{
	char path[128], pid[16];
	int fd, r;

	if (mkdir(dir, 0755) && errno != EEXIST) {
		r = -errno;
		sup_log("%s: cannot create the run directory: %s", dir, strerror(errno));
		return r;
	}
	snprintf(path, sizeof(path), "%s/stackd.lock", dir);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
	if (fd < 0) {
		r = -errno;
		sup_log("%s: %s", path, strerror(errno));
		return r;
	}
	if (flock(fd, LOCK_EX | LOCK_NB)) {
		r = -errno;
		who_holds(fd, dir);
		close(fd);
		return r;
	}
	snprintf(pid, sizeof(pid), "%d\n", getpid());
	if (ftruncate(fd, 0) || pwrite(fd, pid, strlen(pid), 0) < 0)
		sup_log("%s: %s", path, strerror(errno));
	*ret_fd = fd;
	return 0;
}

static void socket_path(const char *dir, struct sockaddr_un *sa)
{
	*sa = (struct sockaddr_un){ .sun_family = AF_UNIX };
	snprintf(sa->sun_path, sizeof(sa->sun_path), "%.92s/%s", dir, SD_CTL_SOCK);
}

int rundir_listen(const char *dir, int *ret_fd)
{
	struct sockaddr_un sa;
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), r;

	socket_path(dir, &sa);
	if (fd < 0)
		return -errno;
	/* Every program may ask; who it is tells the kernel. */
	if ((unlink(sa.sun_path) && errno != ENOENT) ||
	    bind(fd, (struct sockaddr *)&sa, sizeof(sa)) || chmod(sa.sun_path, 0666) ||
	    listen(fd, LISTEN_BACKLOG)) {
		r = -errno;
		sup_log("%s: %s", sa.sun_path, strerror(errno));
		close(fd);
		return r;
	}
	*ret_fd = fd;
	return 0;
}

void rundir_unlink(const char *dir)
{
	struct sockaddr_un sa;

	socket_path(dir, &sa);
	unlink(sa.sun_path);
}
