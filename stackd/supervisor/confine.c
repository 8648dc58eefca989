/* SPDX-License-Identifier: MIT */
/* supervisor/confine.c - what the supervisor may still do once it is up
 * Capabilities: SETUID and SETGID to start engines as their user, SETPCAP to empty their bounding
 * set, KILL to end one that hangs, DAC_READ_SEARCH to reopen read-only a memfd that belongs to the
 * engine, SYS_PTRACE to see the user namespace of a process that binds a low port (judge.c),
 * IPC_LOCK for engines that pin packet buffers for a device.
 * seccomp: engines are forked from here and inherit the filter, so it cannot be the short list of
 * the supervisor's own calls; it refuses what neither of them ever needs and what an attacker would
 * want most (modules, mounts, tracing, BPF, keys, new namespaces). The engine adds its own
 * allow-list.
 */
#include "stackd/supervisor/supervisor_int.h"

#include <cap-ng.h>
#include <errno.h>
#include <seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>

static void raise_limit(int what, const char *name)
{
	struct rlimit lim, all = { RLIM_INFINITY, RLIM_INFINITY };

	if (what != RLIMIT_NOFILE && !setrlimit(what, &all))
		return;
	if (getrlimit(what, &lim))
		return;
	if (what == RLIMIT_NOFILE) {
		struct rlimit want = { 1u << 20, 1u << 20 };

		if (lim.rlim_max < want.rlim_max && !setrlimit(what, &want))
			return;
	}
	lim.rlim_cur = lim.rlim_max;
	if (setrlimit(what, &lim))
		sup_log("cannot raise RLIMIT_%s to %llu", name, (unsigned long long)lim.rlim_max);
}

void confine_raise_limits(void)
{
	raise_limit(RLIMIT_NOFILE, "NOFILE");
	raise_limit(RLIMIT_MEMLOCK, "MEMLOCK");
}

int confine_caps(bool pins)
{
	static const unsigned kept[] = { CAP_SETUID, CAP_SETGID, CAP_SETPCAP, CAP_KILL,
					 CAP_DAC_READ_SEARCH, CAP_SYS_PTRACE };

	if (capng_get_caps_process())
		return -EPERM;
	for (unsigned c = 0; c <= CAP_LAST_CAP; c++) {
		bool keep = pins && c == CAP_IPC_LOCK;

		for (unsigned i = 0; i < sizeof(kept) / sizeof(kept[0]); i++)
			keep |= kept[i] == c;
		if (!keep)
			capng_update(CAPNG_DROP, CAPNG_EFFECTIVE | CAPNG_PERMITTED |
				     CAPNG_INHERITABLE | CAPNG_BOUNDING_SET, c);
	}
	return capng_apply(CAPNG_SELECT_BOTH) ? -EPERM : 0;
}

static const int refused[] = {
	SCMP_SYS(acct), SCMP_SYS(add_key), SCMP_SYS(bpf), SCMP_SYS(chroot), SCMP_SYS(delete_module),
	SCMP_SYS(finit_module), SCMP_SYS(fsmount), SCMP_SYS(fsopen), SCMP_SYS(init_module),
	SCMP_SYS(ioperm), SCMP_SYS(iopl), SCMP_SYS(kexec_file_load), SCMP_SYS(kexec_load),
	SCMP_SYS(keyctl), SCMP_SYS(mknod), SCMP_SYS(mknodat), SCMP_SYS(mount),
	SCMP_SYS(mount_setattr),
	SCMP_SYS(move_mount), SCMP_SYS(open_by_handle_at), SCMP_SYS(open_tree),
	SCMP_SYS(perf_event_open), SCMP_SYS(pidfd_getfd), SCMP_SYS(pivot_root),
	SCMP_SYS(process_vm_readv), SCMP_SYS(process_vm_writev), SCMP_SYS(ptrace), SCMP_SYS(reboot),
	SCMP_SYS(request_key), SCMP_SYS(setns), SCMP_SYS(settimeofday), SCMP_SYS(swapoff),
	SCMP_SYS(swapon), SCMP_SYS(umount2), SCMP_SYS(unshare), SCMP_SYS(userfaultfd),
};

int confine_seccomp(void)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);
	int r = 0;

	if (!ctx)
		return -ENOMEM;
	for (unsigned i = 0; !r && i < sizeof(refused) / sizeof(refused[0]); i++)
		r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), refused[i], 0);
	if (!r && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		r = -errno;
	if (!r)
		r = seccomp_load(ctx);
	seccomp_release(ctx);
	return r;
}
