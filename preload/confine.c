/* SPDX-License-Identifier: MIT */
/* preload/confine.c - programs that install a seccomp filter
 * Filters list what the program itself calls; sshd's child may read, write, poll and wait for a
 * futex, and little else. From the moment a program sets up a filter the shim waits with those
 * calls only: it spins no longer than it can without blocking signals, so that it need not look at
 * pending ones, and sleeps by ppoll() or read().
 * Deviation: a signal whose handler has SA_RESTART interrupts a wait on a hybrid listener.
 * Threads: any; the word only goes from 0 to 1
 * Spec:    S3 (privilege separation)
 */
#include <linux/seccomp.h>
#include <stdarg.h>
#include <sys/prctl.h>

#include "preload/pl_int.h"

uint32_t pl_confined;

void pl_confine_begin(void)
{
	pl_self();			/* asks the kernel once */
	st_rlx(&pl_confined, 1);
}

PL_EXPORT int prctl(int op, ...)
{
	unsigned long a[4];
	va_list ap;

	va_start(ap, op);		/* what was not passed is read, and passed on, as garbage */
	for (int i = 0; i < 4; i++)
		a[i] = va_arg(ap, unsigned long);
	va_end(ap);
	if (op == PR_SET_SECCOMP)
		pl_confine_begin();
	return real.prctl(op, a[0], a[1], a[2], a[3]);
}
