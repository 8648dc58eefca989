/* SPDX-License-Identifier: MIT */
/* preload/limits.c - RLIMIT_AS of a program whose address space holds a segment
 * A segment takes tens of GiB of addresses, nearly none of them memory. A program that limits its
 * address space (vsftpd's sessions do) means its own: what it sets is raised by the segment's size
 * on the way to the kernel and lowered again on the way back. A limit that was there before the
 * program attached is the kernel's and stays as it is: if the segment does not fit, attaching
 * fails, and the program is on the kernel's stack.
 * A sanitizer's run time asks for limits before it is ready for code that it instruments: the calls
 * go to the kernel by number, without looking up libc's functions, and are not instrumented.
 * Holds:   lifted is set once this image, or one that it was forked from, has set the limit
 * Threads: any; the word only goes from 0 to 1
 * Spec:    S3 (lowered limits); setrlimit(2), prlimit(2)
 */
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "preload/pl_int.h"

#define EARLY __attribute__((no_sanitize("address", "undefined")))
#define OURS ((rlim_t)(SD_RW_SIZE + SD_RO_SIZE + SD_INFO_SIZE))

static uint32_t lifted;

EARLY static long kernel(long nr, long a, long b, const void *c, const void *d)
{
	register const void *r10 __asm__("r10") = d;
	long r;

	__asm__ volatile("syscall" : "=a"(r) : "0"(nr), "D"(a), "S"(b), "d"(c), "r"(r10)
			 : "rcx", "r11", "memory");
	return r;
}

/* prlimit(2) itself. Return: 0, or -1 and errno. */
EARLY static int ask(pid_t pid, int what, const struct rlimit *set, struct rlimit *ret_old)
{
	long r = kernel(SYS_prlimit64, pid, what, set, ret_old);

	if (r < 0)
		errno = (int)-r;
	return r < 0 ? -1 : 0;
}

EARLY static rlim_t raised(rlim_t v)
{
	return v >= RLIM_INFINITY - OURS ? RLIM_INFINITY : v + OURS;
}

EARLY static rlim_t lowered(rlim_t v)
{
	return v == RLIM_INFINITY ? v : v > OURS ? v - OURS : 0;
}

EARLY static bool own_as(pid_t pid, int what)
{
	return what == RLIMIT_AS && ld_acq(&pl.attached) &&
	       (pid == 0 || pid == (pid_t)kernel(SYS_getpid, 0, 0, NULL, NULL));
}

EARLY static int limits(pid_t pid, int what, const struct rlimit *set, struct rlimit *ret_old)
{
	bool was = ld_rlx(&lifted);
	struct rlimit up;
	int r;

	if (!own_as(pid, what))
		return ask(pid, what, set, ret_old);
	if (set) {
		up = (struct rlimit){ raised(set->rlim_cur), raised(set->rlim_max) };
		set = &up;
	}
	r = ask(pid, what, set, ret_old);
	if (r == 0 && ret_old && was)
		*ret_old = (struct rlimit){ lowered(ret_old->rlim_cur),
					    lowered(ret_old->rlim_max) };
	if (r == 0 && set)
		st_rlx(&lifted, 1);
	return r;
}

static_assert(sizeof(struct rlimit) == sizeof(struct rlimit64), "LP64: one and the same");

PL_EXPORT EARLY int setrlimit(__rlimit_resource_t what, const struct rlimit *set)
{
	return limits(0, (int)what, set, NULL);
}

PL_EXPORT EARLY int setrlimit64(__rlimit_resource_t what, const struct rlimit64 *set)
{
	return limits(0, (int)what, (const void *)set, NULL);
}

PL_EXPORT EARLY int getrlimit(__rlimit_resource_t what, struct rlimit *ret)
{
	return limits(0, (int)what, NULL, ret);
}

PL_EXPORT EARLY int getrlimit64(__rlimit_resource_t what, struct rlimit64 *ret)
{
	return limits(0, (int)what, NULL, (void *)ret);
}

PL_EXPORT EARLY int prlimit(pid_t pid, enum __rlimit_resource what, const struct rlimit *set,
		      struct rlimit *ret_old)
{
	return limits(pid, (int)what, set, ret_old);
}

PL_EXPORT EARLY int prlimit64(pid_t pid, enum __rlimit_resource what, const struct rlimit64 *set,
			struct rlimit64 *ret_old)
{
	return limits(pid, (int)what, (const void *)set, (void *)ret_old);
}
