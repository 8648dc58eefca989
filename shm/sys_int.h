/* SPDX-License-Identifier: MIT */
/* shm/sys_int.h - system calls that must reach the kernel itself
 * This code also lives inside libstackd.so, where the C library's names are intercepted and errno
 * belongs to the program: calls made from a lock or while attaching bypass both.
 */
#ifndef SHM_SYS_INT_H
#define SHM_SYS_INT_H

/* Return: the kernel's, -errno on failure. */
static inline long shm_sys4(long nr, long a, long b, long c, long d)
{
	register long r10 __asm__("r10") = d;
	long ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10)
			 : "rcx", "r11", "memory");
	return ret;
}

#endif
