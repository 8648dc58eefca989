/* SPDX-License-Identifier: MIT */
/* preload/real.h - the real functions behind the wrappers
 * Holds:   every member is callable at any time, also before the shim's constructor has run: it
 *          starts as a function that resolves all members and then calls the real one
 */
#ifndef PRELOAD_REAL_H
#define PRELOAD_REAL_H

#include <fcntl.h>
#include <ifaddrs.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define PL_EXPORT __attribute__((visibility("default")))

struct pl_real {
#define PL_CALL(ret, name, params, args) ret(*name) params;
#include "preload/calls.def"
#undef PL_CALL
};
extern struct pl_real real;

/* A system call past all wrappers, syscall() being one: pl_sys(SYS_read, fd, buf, n). */
#define pl_sys(...) PL_SYS_PAD(__VA_ARGS__, 0, 0, 0, 0, 0, 0, 0)
#define PL_SYS_PAD(nr, a, b, c, d, e, f, ...) \
	real.syscall((long)(nr), (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))

#endif
