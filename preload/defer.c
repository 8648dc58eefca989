/* SPDX-License-Identifier: MIT */
/* preload/defer.c - signals that come while the shim is at work, and the program's handlers
 * A handler must not run in the middle of a copy: it may send on the very socket, or leave by
 * siglongjmp(). Blocking signals around a copy would cost two system calls. So the kernel is given
 * one handler of the shim's for all handlers of the program; it looks whether the thread it
 * interrupted is between begin and end (defer.h). If not, it calls the program's. If so, it keeps
 * the signal, and returns with all signals blocked in the interrupted context: none can come
 * after it out of order. At the end the signal is queued to the thread again, with what came along
 * with it, and the mask is restored: the kernel delivers it, on the right stack, with the right
 * mask and flags. Real-time signals must not change their order, and those that came meanwhile are
 * in the queue already: they are called from here, unless they want the alternate stack. No system
 * call is added unless a signal did come.
 *   Faults, and signals of system call filters, are the thread's own doing and cannot wait: their
 * handlers are the kernel's to call. So are those that a program installs past libc.
 * Holds:   F1 the program never sees the shim's handler: every call that tells an old handler is
 *             wrapped. Those that do not (siginterrupt(), abort()) may read and write it back
 *          F2 a thread that has left a begin by longjmp() out of a fault's handler is found out by
 *             its stack pointer, which is above the frame of the begin then
 * Spec:    S3
 * Threads: any; async-signal-safe
 */
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>

#include "preload/wait_int.h"

#define KERNEL_SIGSET	8		/* bytes of the kernel's sigset_t */
#define BIT(sig)	(1ull << ((sig) - 1))
#define FAULTS		(BIT(SIGSEGV) | BIT(SIGBUS) | BIT(SIGFPE) | BIT(SIGILL) | BIT(SIGTRAP) | \
			 BIT(SIGABRT) | BIT(SIGSYS))
#define LIBCS		(BIT(32) | BIT(33))
#define ASKED_INFO	(1ull << 63)	/* beside a handler: installed with SA_SIGINFO */

__thread struct pl_defer pl_defer __attribute__((tls_model("initial-exec")));

/* The program's handlers, ASKED_INFO in the top bit; those of DFL and IGN are the last before. */
static uint64_t handlers[65];
static uint64_t no_restart;		/* siginterrupt()'s wishes, for signal() */

typedef void (*handler_fn)(int sig, siginfo_t *info, void *ctx);

/* ---- delivery ---- */

static bool inside(const ucontext_t *uc)
{
	if (!pl_defer.depth || ld_rlx(&pl_confined))
		return false;
	if ((uintptr_t)uc->uc_mcontext.gregs[REG_RSP] <= pl_defer.frame)
		return true;
	pl_defer.depth = 0;		/* F2 */
	return false;
}

static void keep(int sig, const siginfo_t *info, ucontext_t *uc)
{
	uint64_t all = ~FAULTS;

	pl_defer.sig = sig;
	pl_defer.info = *info;
	memcpy(&pl_defer.mask, &uc->uc_sigmask, KERNEL_SIGSET);
	memcpy(&uc->uc_sigmask, &all, KERNEL_SIGSET);
	pl_defer_barrier();
	pl_defer.hit = 1;
}

static void on_signal(int sig, siginfo_t *info, void *ctx)
{
	uintptr_t frame = pl_defer.frame;
	uint64_t h;

	if (inside(ctx)) {
		keep(sig, info, ctx);
		return;
	}
	h = ld_acq(&handlers[sig]) & ~ASKED_INFO;
	if (h)
		((handler_fn)h)(sig, info, ctx);
	pl_defer.frame = frame;		/* of a begin that is half done */
}

/* Delivery has taken a handler of SA_RESETHAND away. */
static void install_again(int sig)
{
	struct sigaction sa;

	if (real.sigaction(sig, NULL, &sa) || sa.sa_handler != SIG_DFL)
		return;
	sa.sa_sigaction = on_signal;
	sa.sa_flags |= SA_SIGINFO;
	if (sa.sa_flags & SA_RESETHAND)
		real.sigaction(sig, &sa, NULL);
}

static void queue_again(void)
{
	long pid = pl_sys(SYS_getpid), tid = pl_sys(SYS_gettid);

	install_again(pl_defer.sig);
	if (pl_sys(SYS_rt_tgsigqueueinfo, pid, tid, pl_defer.sig, &pl_defer.info))
		pl_sys(SYS_tgkill, pid, tid, pl_defer.sig);
	pl_defer.hit = 0;
}

static void set_mask(uint64_t mask)
{
	pl_sys(SYS_rt_sigprocmask, SIG_SETMASK, &mask, NULL, KERNEL_SIGSET);
}

/* As the kernel would call @sa's handler. */
static void call_here(const struct sigaction *sa)
{
	int sig = pl_defer.sig, saved = errno;
	const uint64_t before = pl_defer.mask;
	uint64_t more, after;
	siginfo_t info = pl_defer.info;
	ucontext_t uc;

	memset(&uc, 0, sizeof(uc));
	getcontext(&uc);
	memcpy(&uc.uc_sigmask, &before, KERNEL_SIGSET);
	memcpy(&more, &sa->sa_mask, KERNEL_SIGSET);
	pl_defer.hit = 0;
	errno = saved;
	set_mask(before | more | (sa->sa_flags & SA_NODEFER ? 0 : BIT(sig)));
	on_signal(sig, &info, &uc);
	memcpy(&after, &uc.uc_sigmask, KERNEL_SIGSET);
	set_mask(after);
}

static bool can_call_here(struct sigaction *sa)
{
	stack_t alt;

	if (pl_defer.sig < 32 || real.sigaction(pl_defer.sig, NULL, sa))
		return false;
	if (sa->sa_sigaction != on_signal && !(sa->sa_flags & SA_RESETHAND))
		return false;		/* changed meanwhile */
	return !(sa->sa_flags & SA_ONSTACK) || sigaltstack(NULL, &alt) ||
	       alt.ss_flags & (SS_DISABLE | SS_ONSTACK);
}

void pl_defer_deliver(void)
{
	uint64_t mask = pl_defer.mask;
	struct sigaction sa;
	int saved = errno;

	if (can_call_here(&sa)) {
		call_here(&sa);
		return;
	}
	queue_again();
	errno = saved;
	set_mask(mask);
}

void pl_defer_reset(void)
{
	pl_defer.depth = 0;
	pl_defer_barrier();
	if (pl_defer.hit)
		pl_defer_deliver();
}

struct pl_defer_at pl_defer_pause(struct pl_sigs *sg)
{
	struct pl_defer_at at = { pl_defer.depth, pl_defer.frame };
	struct sigaction sa;
	int saved = errno;

	pl_defer_barrier();
	pl_defer.depth = 0;
	pl_defer_barrier();
	if (!pl_defer.hit)
		return at;
	if (can_call_here(&sa)) {
		sg->ran = sa.sa_flags & SA_RESTART ? PL_RAN_RESTART : PL_RAN;
		call_here(&sa);
		return at;
	}
	memcpy(&sg->orig, &pl_defer.mask, KERNEL_SIGSET);
	sg->blocked = true;
	queue_again();
	errno = saved;
	return at;
}

void pl_defer_resume(struct pl_defer_at at)
{
	pl_defer.frame = at.frame;
	pl_defer_barrier();
	pl_defer.depth = at.depth;
}

/* ---- the program's handlers ---- */

static bool ours(int sig)
{
	return sig >= 1 && sig <= 64 &&
	       !(BIT(sig) & (FAULTS | LIBCS | BIT(SIGKILL) | BIT(SIGSTOP)));
}

static bool is_handler(const struct sigaction *sa)
{
	return sa->sa_handler != SIG_DFL && sa->sa_handler != SIG_IGN;
}

/* What the kernel has of us, as the program knows it. */
static void as_installed(struct sigaction *sa, uint64_t h)
{
	if (sa->sa_sigaction == on_signal)
		sa->sa_sigaction = (handler_fn)(h & ~ASKED_INFO);
	if (!(h & ASKED_INFO))		/* also when SA_RESETHAND has taken the handler away */
		sa->sa_flags &= ~SA_SIGINFO;
}

static uint64_t asked(const struct sigaction *sa)
{
	return sa->sa_flags & SA_SIGINFO ? ASKED_INFO : 0;
}

PL_EXPORT int sigaction(int sig, const struct sigaction *sa, struct sigaction *old)
{
	struct sigaction k;
	uint64_t was;
	int r;

	if (!ours(sig))
		return real.sigaction(sig, sa, old);
	was = ld_acq(&handlers[sig]);
	if (sa && is_handler(sa)) {
		k = *sa;
		k.sa_sigaction = on_signal;
		k.sa_flags |= SA_SIGINFO;
		st_rel(&handlers[sig], (uint64_t)sa->sa_sigaction | asked(sa));
		sa = &k;
	} else if (sa) {
		st_rel(&handlers[sig], (was & ~ASKED_INFO) | asked(sa));
	}
	r = real.sigaction(sig, sa, old);
	if (!r && old)
		as_installed(old, was);
	return r;
}

/* signal() and its kin. Return: the old handler, or SIG_ERR. */
static sighandler_t simple(int sig, sighandler_t fn, int flags, bool masks_itself)
{
	struct sigaction sa = { .sa_handler = fn, .sa_flags = flags }, old;

	if (fn == SIG_ERR || sig < 1 || sig > 64)
		return (sighandler_t)pl_fail(-EINVAL);
	if (masks_itself)
		sigaddset(&sa.sa_mask, sig);
	return sigaction(sig, &sa, &old) ? SIG_ERR : old.sa_handler;
}

PL_EXPORT sighandler_t signal(int sig, sighandler_t fn)
{
	bool intr = sig >= 1 && sig <= 64 && ld_rlx(&no_restart) & BIT(sig);

	return simple(sig, fn, intr ? 0 : SA_RESTART, true);
}

sighandler_t bsd_signal(int sig, sighandler_t fn);	/* no header has it any more */
PL_EXPORT sighandler_t bsd_signal(int sig, sighandler_t fn)
{
	return signal(sig, fn);
}

PL_EXPORT sighandler_t ssignal(int sig, sighandler_t fn)
{
	return signal(sig, fn);
}

PL_EXPORT sighandler_t sysv_signal(int sig, sighandler_t fn)
{
	return simple(sig, fn, SA_RESETHAND | SA_NODEFER | SA_INTERRUPT, false);
}

PL_EXPORT sighandler_t __sysv_signal(int sig, sighandler_t fn)
{
	return sysv_signal(sig, fn);
}

PL_EXPORT int siginterrupt(int sig, int interrupt)
{
	int r = real.siginterrupt(sig, interrupt);

	if (!r && interrupt)
		or_sc(&no_restart, BIT(sig));
	else if (!r)
		and_sc(&no_restart, ~BIT(sig));
	return r;
}

/* Blocks, or installs and unblocks. Return: SIG_HOLD when it was blocked, else the old handler. */
PL_EXPORT sighandler_t sigset(int sig, sighandler_t fn)
{
	struct sigaction sa;
	sighandler_t old;
	sigset_t set, was;

	if (!ours(sig))
		return real.sigset(sig, fn);
	sigemptyset(&set);
	sigaddset(&set, sig);
	if (fn == SIG_HOLD) {
		if (sigprocmask(SIG_BLOCK, &set, &was) || sigaction(sig, NULL, &sa))
			return SIG_ERR;
		old = sa.sa_handler;
	} else {
		old = simple(sig, fn, 0, false);
		if (old == SIG_ERR || sigprocmask(SIG_UNBLOCK, &set, &was))
			return SIG_ERR;
	}
	return sigismember(&was, sig) ? SIG_HOLD : old;
}
