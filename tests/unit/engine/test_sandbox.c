/* SPDX-License-Identifier: MIT */
/* What the engine may not do, tried: every system call that is not on its list, each in a process
 * of its own that has entered the engine's own filter; and its ring, as ring_open() makes it. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "stackd/engine/engine_int.h"

#define NR_END 470			/* beyond the last that Linux has */
#define NR_X32 0x40000000L
#define IORING_OP_SOCKET_NR 45	/* of Linux 5.19; not in every header */
#define IORING_OP_READ_MULTISHOT_NR 49	/* of Linux 6.7 */

static const struct {
	long nr;
	const char *name;
} listed[] = {
#define SYSCALL(name, why) { SYS_##name, #name },
#define SYSCALL_ARG(name, nr, mask, value, why) { SYS_##name, #name },
#include "stackd/engine/syscalls.def"
#undef SYSCALL
#undef SYSCALL_ARG
};

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
static const bool logs_only = true;
#else
static const bool logs_only = false;
#endif

/* uretprobe() and uprobe(): the kernel itself lets these by. They do nothing but return to where a
 * probe stands that only root can have set. */
#define NR_URETPROBE 335
#define NR_UPROBE 336

static bool on_list(long nr)
{
	if (nr == NR_URETPROBE || nr == NR_UPROBE)
		return true;
	for (unsigned i = 0; i < sizeof(listed) / sizeof(listed[0]); i++)
		if (listed[i].nr == nr)
			return true;
	return false;
}

/* Enter the filter in a child and do @fn(@arg). Return: its wait status; exit code 0 = it came
 * back from @fn. */
static int confined(void (*fn)(long arg), long arg)
{
	static const struct rlimit no_core;
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		setrlimit(RLIMIT_CORE, &no_core);
		if (sandbox_seccomp())
			syscall(SYS_exit_group, 99);
		fn(arg);
		syscall(SYS_exit_group, 0);
	}
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	return status;
}

/* Arguments that no call can do harm with, should it be let through. */
static void try_call(long nr)
{
	syscall(nr, -1L, 0L, 0L, 0L, 0L, 0L);
}

static bool killed(int status)
{
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS;
}

Test(sandbox, every_call_off_the_list_ends_the_engine, .timeout = 60)
{
	if (logs_only)
		cr_skip_test("with sanitizers a call off the list is only logged");
	for (long nr = 0; nr < NR_END; nr++)
		if (!on_list(nr))
			cr_expect(killed(confined(try_call, nr)), "call %ld was let through", nr);
}

Test(sandbox, nor_by_another_door, .timeout = 10)
{
	if (logs_only)
		cr_skip_test("with sanitizers a call off the list is only logged");
	cr_expect(killed(confined(try_call, NR_X32 | SYS_getpid)), "x32");
	cr_expect(killed(confined(try_call, NR_X32 | SYS_write)), "x32, a number on the list");
}

static void i386_getpid(long nr)
{
	long r = nr;

	__asm__ volatile("int $0x80" : "+a"(r) : : "memory", "r8", "r9", "r10", "r11");
}

Test(sandbox, nor_as_32_bit, .timeout = 10)
{
	if (logs_only)
		cr_skip_test("with sanitizers a call off the list is only logged");
	cr_expect(killed(confined(i386_getpid, 20)));
}

/* Calls that are on the list with certain arguments only. */
static void map_code(long arg)
{
	syscall(SYS_mmap, 0L, 4096L, arg, 0x22L, -1L, 0L);
}

static void protect_code(long arg)
{
	syscall(SYS_mprotect, 0L, 0L, arg);
}

static void make_pair(long family)
{
	int sv[2];

	syscall(SYS_socketpair, family, SOCK_STREAM, 0, sv);
}

Test(sandbox, pairs_are_unix_ones, .timeout = 10)
{
	if (logs_only)
		cr_skip_test("with sanitizers a call off the list is only logged");
	cr_expect(killed(confined(make_pair, AF_TIPC)));
	cr_expect_eq(confined(make_pair, AF_UNIX), 0);
}

Test(sandbox, no_new_code, .timeout = 10)
{
	if (logs_only)
		cr_skip_test("with sanitizers a call off the list is only logged");
	cr_expect(killed(confined(map_code, 7)), "mmap(PROT_EXEC)");
	cr_expect(killed(confined(protect_code, 5)), "mprotect(PROT_EXEC)");
	cr_expect_eq(confined(map_code, 3), 0);
	cr_expect_eq(confined(protect_code, 3), 0);
}

/* ---- the ring ---- */

static int ring_try(struct worker *w, const struct io_uring_sqe *what)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&w->ring);
	struct io_uring_cqe *cqe;
	int r;

	*sqe = *what;
	cr_assert_eq(io_uring_submit(&w->ring), 1);
	cr_assert_eq(io_uring_wait_cqe(&w->ring, &cqe), 0);
	r = cqe->res;
	io_uring_cqe_seen(&w->ring, cqe);
	return r;
}

/* Numbers that this kernel does not know are invalid to it before they are forbidden. */
static bool refused(int res, unsigned op)
{
	return res == -EACCES || (res == -EINVAL && op > IORING_OP_SOCKET_NR);
}

/* What would be done if it were let through fails with another errno, or does not fail. */
static struct io_uring_sqe harmless(unsigned op)
{
	static const char path[] = "/etc/passwd";
	static const struct sockaddr_in sa = { .sin_family = AF_INET };
	struct io_uring_sqe sqe = { .opcode = (uint8_t)op, .fd = -1 };

	if (op == IORING_OP_OPENAT) {
		sqe.fd = AT_FDCWD;
		sqe.addr = (uintptr_t)path;
	} else if (op == IORING_OP_CONNECT) {
		sqe.addr = (uintptr_t)&sa;
	} else if (op == IORING_OP_SOCKET_NR) {
		sqe.fd = AF_INET;
	}
	return sqe;
}

static void ring_only(bool frames, const char *may, size_t len)
{
	struct worker *w = calloc(1, sizeof(*w));

	cr_assert_eq(ring_open(w), 0);
	w->ring_frames = frames;
	if (ring_start(w)) {
		cr_assert(frames, "the kernel lacks operations that every engine needs");
		return;
	}
	for (unsigned op = 0; op < 64; op++) {
		struct io_uring_sqe sqe = harmless(op);

		if (!memchr(may, (int)op, len))
			cr_expect(refused(ring_try(w, &sqe), op), "operation %u", op);
	}
	cr_expect_eq(ring_try(w, &(struct io_uring_sqe){ .opcode = IORING_OP_NOP }), 0);
	cr_expect_eq(ring_try(w, &(struct io_uring_sqe){ .opcode = IORING_OP_NOP,
							 .flags = IOSQE_ASYNC }), -EACCES);
	cr_expect_lt(syscall(SYS_io_uring_register, w->ring.ring_fd,
			     IORING_REGISTER_RESTRICTIONS, NULL, 0), 0, "enabled rings are fixed");
}

Test(sandbox, ring_does_what_it_is_for_and_nothing_else, .timeout = 30)
{
	static const char ops[] = { IORING_OP_NOP, IORING_OP_POLL_ADD, IORING_OP_POLL_REMOVE,
				    IORING_OP_WRITE, IORING_OP_WRITEV,
				    IORING_OP_READ_MULTISHOT_NR };

	ring_only(false, ops, 4);
	ring_only(true, ops, sizeof(ops));
}
