/* SPDX-License-Identifier: MIT */
/* supervisor/check.c - stackd --check: can it run here, and with what
 * A line per thing looked at; "no" is fatal, "poor" costs speed or size only.
 */
#include "stackd/supervisor/supervisor_int.h"

#include <fcntl.h>
#include <liburing.h>
#include <linux/aio_abi.h>
#include <seccomp.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "stackd/core/topo.h"

#define NOFILE_FEW 4096u

enum verdict { CHECK_OK, CHECK_POOR, CHECK_NO };

static enum verdict say(enum verdict v, const char *what, const char *detail)
{
	static const char *const word[] = { "ok", "poor", "no" };

	printf("%-4s  %s%s%s\n", word[v], what, *detail ? ": " : "", detail);
	return v;
}

static enum verdict check_root(void)
{
	return geteuid() == 0 ? say(CHECK_OK, "started as root", "") :
	       say(CHECK_NO, "started as root", "devices need it");
}

static enum verdict check_tun(void)
{
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return say(CHECK_NO, "/dev/net/tun", "cannot be opened");
	close(fd);
	return say(CHECK_OK, "/dev/net/tun", "");
}

static enum verdict check_ring(void)
{
	struct io_uring_params p = { .flags = IORING_SETUP_R_DISABLED | IORING_SETUP_SINGLE_ISSUER |
					      IORING_SETUP_DEFER_TASKRUN };
	struct io_uring ring;

	if (io_uring_queue_init_params(8, &ring, &p))
		return say(CHECK_NO, "io_uring", "missing, older than Linux 6.1, "
			   "or disabled (sysctl kernel.io_uring_disabled)");
	io_uring_queue_exit(&ring);
	return say(CHECK_OK, "io_uring", "");
}

static enum verdict check_aio(void)
{
	aio_context_t ctx = 0;

	if (syscall(SYS_io_setup, 8, &ctx))
		return say(CHECK_POOR, "aio", "missing: programs are woken one by one");
	syscall(SYS_io_destroy, ctx);
	return say(CHECK_OK, "aio", "");
}

static enum verdict check_seccomp(void)
{
	return seccomp_api_get() >= 2 ? say(CHECK_OK, "seccomp", "") :
	       say(CHECK_NO, "seccomp", "filters for all threads are missing");
}

static enum verdict check_files(void)
{
	struct rlimit lim = { 0 };
	char text[64];

	getrlimit(RLIMIT_NOFILE, &lim);
	snprintf(text, sizeof(text), "limit %llu", (unsigned long long)lim.rlim_max);
	return say(lim.rlim_max < NOFILE_FEW ? CHECK_POOR : CHECK_OK, "open files", text);
}

static enum verdict check_cpus(const struct conf *conf)
{
	unsigned cpus = topo_cpu_cnt();
	char text[64];

	snprintf(text, sizeof(text), "%u for %u workers", cpus, conf->workers);
	return say(conf->workers + 1 > cpus ? CHECK_POOR : CHECK_OK, "CPUs", text);
}

int supervisor_check(const struct conf *conf)
{
	enum verdict v[] = { check_root(), check_tun(), check_ring(), check_aio(), check_seccomp(),
			     check_files(), check_cpus(conf) };

	for (unsigned i = 0; i < sizeof(v) / sizeof(v[0]); i++) {
		if (v[i] == CHECK_NO)
			return 1;
	}
	return 0;
}
