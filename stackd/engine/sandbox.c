/* SPDX-License-Identifier: MIT */
/* engine/sandbox.c - give up everything that is not needed to process packets
 * Order: user and capabilities before threads exist (they are per thread), the rings in each
 * thread, then one filter for all threads. With a device that does DMA, CAP_IPC_LOCK stays until
 * the thread has shown its packet pool to the device. From then on no file can be opened, no socket
 * made, nothing executed. The list and its reasons are in syscalls.def; anything else ends the
 * process, and the kernel's audit log says what it was. Sanitizers make calls of their own: with
 * them a call off the list is only logged.
 */
#include "stackd/engine/engine_int.h"

#include <cap-ng.h>
#include <errno.h>
#include <seccomp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define OFF_LIST SCMP_ACT_LOG
#else
#define OFF_LIST SCMP_ACT_KILL_PROCESS
#endif

int sandbox_drop(const struct conf *conf, bool pins)
{
	int r;

	capng_clear(CAPNG_SELECT_BOTH);
	if (pins)
		capng_update(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED, CAP_IPC_LOCK);
	r = capng_change_id((int)conf->uid, (int)conf->gid,
			    CAPNG_DROP_SUPP_GRP | CAPNG_CLEAR_BOUNDING);
	if (r) {
		engine_log("cannot become user %u (step %d)", conf->uid, r);
		return -EPERM;
	}
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_PDEATHSIG, SIGKILL))
		return -errno;
	return 0;
}

int sandbox_pinned(void)
{
	capng_clear(CAPNG_SELECT_CAPS);
	return capng_apply(CAPNG_SELECT_CAPS) ? -EPERM : 0;
}

int sandbox_seccomp(void)
{
	static const int allowed[] = {
#define SYSCALL(name, why) SCMP_SYS(name),
#define SYSCALL_ARG(name, nr, mask, value, why)
#include "stackd/engine/syscalls.def"
#undef SYSCALL
#undef SYSCALL_ARG
	};
	static const struct {
		int call;
		struct scmp_arg_cmp arg;
	} with_arg[] = {
#define SYSCALL(name, why)
#define SYSCALL_ARG(name, nr, mask, value, why) \
		{ SCMP_SYS(name), { nr, SCMP_CMP_MASKED_EQ, mask, value } },
#include "stackd/engine/syscalls.def"
#undef SYSCALL
#undef SYSCALL_ARG
	};
	scmp_filter_ctx ctx = seccomp_init(OFF_LIST);
	int r;

	if (!ctx)
		return -ENOMEM;
	r = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_TSYNC, 1);
	if (!r)
		r = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_LOG, 1);
	for (unsigned i = 0; !r && i < sizeof(allowed) / sizeof(allowed[0]); i++)
		r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, allowed[i], 0);
	for (unsigned i = 0; !r && i < sizeof(with_arg) / sizeof(with_arg[0]); i++)
		r = seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW, with_arg[i].call, 1,
					   &with_arg[i].arg);
	if (!r)
		r = seccomp_load(ctx);
	seccomp_release(ctx);
	return r;
}
