/* SPDX-License-Identifier: MIT */
/* supervisor/judge.c - what the kernel says of a program: may it attach, may it bind low ports
 * Who may attach is decided by the connection's peer as it was at connect(): uid, gid and
 * supplementary groups. Whether a process may bind a port below
 * net.ipv4.ip_unprivileged_port_start is decided when it binds, for programs drop privileges: its
 * effective set must have CAP_NET_BIND_SERVICE, in the user namespace of this process; one who is
 * root of a namespace of his own has no say over stackd's ports.
 * A process is named by a number, which another may have a moment later: the answer carries the
 * time that it was started at, and the engine asks before and after the process has answered a
 * question (ctl/lowport.c).
 * Seeing a namespace needs CAP_SYS_PTRACE. Where this process could not keep it, the maps of user
 * numbers are compared: then a namespace with the very same map counts as ours.
 * Spec:    Z2; capabilities(7), user_namespaces(7), proc(5)
 */
#include "stackd/supervisor/supervisor_int.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define PORT_START_FILE	"/proc/sys/net/ipv4/ip_unprivileged_port_start"
#define PORT_START	1024u		/* where the kernel has no such setting */
#define GROUPS_MAX	65536u		/* NGROUPS_MAX */
#define STATUS_SIZE	8192u
#define START_FIELD	20u		/* "starttime" of /proc/PID/stat, counted behind "comm)" */

/* ---- attach ---- */

static bool groups_allow(const struct conf_access *a, int fd, const struct ucred *uc)
{
	socklen_t len = GROUPS_MAX * sizeof(gid_t);
	gid_t *gids = malloc(len + sizeof(gid_t));
	bool ok;

	static_assert(sizeof(gid_t) == sizeof(uint32_t), "compared as numbers");
	if (!gids)
		return false;
	gids[0] = uc->gid;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, gids + 1, &len))
		len = 0;
	ok = conf_allows(a, uc->uid, gids, 1 + len / sizeof(gid_t));
	free(gids);
	return ok;
}

int judge_conn(const struct supervisor *s, int fd, struct sup_cred *ret)
{
	struct ucred uc;
	socklen_t len = sizeof(uc);
	int one = 1;
	bool ok;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &uc, &len) ||
	    setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &one, sizeof(one)))
		return -errno;
	ok = s->conf->access.group_cnt && !s->conf->access.allow_all ?
	     groups_allow(&s->conf->access, fd, &uc) :
	     conf_allows(&s->conf->access, uc.uid, NULL, 0);
	*ret = (struct sup_cred){ .pid = (uint32_t)uc.pid, .uid = uc.uid, .gid = uc.gid,
				  .flags = ok ? SUP_C_ADMITTED : 0 };
	return 0;
}

/* ---- low ports ---- */

/* Return: bytes, text ends in NUL; or -errno. */
static int read_text(int dir, const char *name, char *buf, size_t size)
{
	int fd = openat(dir, name, O_RDONLY | O_CLOEXEC), err;
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = read(fd, buf, size - 1);
	err = n < 0 ? -errno : (int)n;
	close(fd);
	buf[n > 0 ? n : 0] = '\0';
	return err;
}

uint16_t judge_port_start(void)
{
	char buf[16];

	if (read_text(AT_FDCWD, PORT_START_FILE, buf, sizeof(buf)) <= 0)
		return PORT_START;
	return (uint16_t)strtoul(buf, NULL, 10);
}

static bool same_map(int dir)
{
	static char theirs[STATUS_SIZE], ours[STATUS_SIZE];

	return read_text(dir, "uid_map", theirs, sizeof(theirs)) > 0 &&
	       read_text(AT_FDCWD, "/proc/self/uid_map", ours, sizeof(ours)) > 0 &&
	       !strcmp(theirs, ours);
}

static bool same_userns(int dir)
{
	struct stat a, b;

	if (stat("/proc/self/ns/user", &b))
		return false;
	if (fstatat(dir, "ns/user", &a, 0))
		return errno == EACCES && same_map(dir);
	return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

/* CapEff of /proc/PID/status. The name of the program stands in a line of its own before. */
static bool may_bind_low(int dir)
{
	static char text[STATUS_SIZE];
	const char *line;

	if (read_text(dir, "status", text, sizeof(text)) <= 0)
		return false;
	line = strstr(text, "\nCapEff:");
	return line && strtoull(line + 8, NULL, 16) >> CAP_NET_BIND_SERVICE & 1;
}

/* When it was started, clock ticks since boot. 0 = not to be found out. The name of the program,
 * in brackets, may have any character in it. */
static uint64_t start_time(int dir)
{
	char text[1024], *p;

	if (read_text(dir, "stat", text, sizeof(text)) <= 0)
		return 0;
	p = strrchr(text, ')');
	for (unsigned i = 0; p && i < START_FIELD; i++)
		p = strchr(p + 1, ' ');
	return p ? strtoull(p, NULL, 10) : 0;
}

int judge_low_port(uint32_t pid, uint64_t *ret_start)
{
	char path[32];
	int dir, r = -EACCES;

	snprintf(path, sizeof(path), "/proc/%u", pid);
	dir = pid ? open(path, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
	if (dir < 0)
		return -EACCES;
	*ret_start = start_time(dir);
	if (*ret_start && may_bind_low(dir) && same_userns(dir))
		r = 0;
	close(dir);
	return r;
}
