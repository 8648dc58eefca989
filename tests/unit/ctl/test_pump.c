/* SPDX-License-Identifier: MIT */
/* What a killed engine leaves of a byte's move between FIFO and pair, and the kernel's promise on
 * which the books stand: the count is stored before the process can die. */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "shm/segment.h"
#include "stackd/ctl/ctl_int.h"

#define SLOT 5u

static struct engine *segment(void)
{
	struct engine *eng = mmap(NULL, sizeof(*eng), PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int ro, rw;

	cr_assert_eq(shm_seg_create(1, 1, &ro, &rw), 0);
	cr_assert_eq(shm_seg_map(ro, rw, true, &eng->segs[1]), 0);
	return eng;
}

Test(pump, moves_that_were_on_their_way)
{
	struct engine *eng = segment();
	struct sd_slot_p *p = shm_slot_p(&eng->segs[1], SLOT);
	struct export_rec x = { .seg = 1, .slot = SLOT };

	p->rx_head = 100;
	p->tx_tail = 200;
	x.out = (struct export_move){ .busy = 1, .from = 100, .mm.msg_len = 30 };
	x.in = (struct export_move){ .busy = 1, .from = 200, .mm.msg_len = 7 };
	pump_adopt(eng, &x);
	cr_expect_eq(p->rx_head, 130);
	cr_expect_eq(p->tx_tail, 207);
	cr_expect(x.carries && !x.in.busy && !x.out.busy);
	p->rx_head = 500;
	p->tx_tail = 600;
	pump_adopt(eng, &x);			/* over long ago */
	cr_expect_eq(p->rx_head, 500);
	cr_expect_eq(p->tx_tail, 600);
}

Test(pump, moves_that_had_not_begun)
{
	struct engine *eng = segment();
	struct sd_slot_p *p = shm_slot_p(&eng->segs[1], SLOT);
	struct export_rec x = { .seg = 1, .slot = SLOT };

	p->rx_head = 100;
	p->tx_tail = 200;
	x.out = (struct export_move){ .busy = 1, .from = 100 };
	x.in = (struct export_move){ .busy = 1, .from = 200 };
	pump_adopt(eng, &x);
	cr_expect_eq(p->rx_head, 100);
	cr_expect_eq(p->tx_tail, 200);
	cr_expect_not(x.carries);
}

/* ---- killed at any moment ---- */

struct books {
	struct export_move v;
	uint64_t total;
};

static void mover(struct books *b, int fd, bool sends)
{
	static char buf[3000];
	struct iovec iov = { buf, sizeof(buf) };

	for (;;) {
		b->v.mm.msg_len = 0;
		b->v.mm.msg_hdr = (struct msghdr){ .msg_iov = &iov, .msg_iovlen = 1 };
		b->v.from = b->total;
		st_rel(&b->v.busy, 1);
		if (sends)
			sendmmsg(fd, &b->v.mm, 1, MSG_DONTWAIT);
		else
			recvmmsg(fd, &b->v.mm, 1, MSG_DONTWAIT, NULL);
		st_rel(&b->total, b->v.from + b->v.mm.msg_len);
		st_rel(&b->v.busy, 0);
	}
}

/* Let go of a child that moves, kill it after a while. Return: what the books say. */
static uint64_t run_and_kill(struct books *b, int fd, bool sends, unsigned us)
{
	pid_t pid;

	*b = (struct books){ 0 };
	pid = fork();
	if (!pid)
		mover(b, fd, sends);
	nanosleep(&(struct timespec){ .tv_nsec = 1000l * us }, NULL);
	kill(pid, SIGKILL);
	cr_assert_eq(waitpid(pid, NULL, 0), pid);
	return b->v.busy ? b->v.from + b->v.mm.msg_len : b->total;
}

static uint64_t drain(int fd)
{
	static char buf[65536];
	uint64_t sum = 0;
	ssize_t n;

	while ((n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT)) > 0)
		sum += (uint64_t)n;
	return sum;
}

Test(pump, the_kernel_counts_before_death)
{
	static char block[4096];
	struct books *b = mmap(NULL, sizeof(*b), PROT_READ | PROT_WRITE,
			       MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	for (unsigned i = 0; i < 200; i++) {
		uint64_t put = 0, said;
		ssize_t n;
		int sv[2];

		cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, sv), 0);
		said = run_and_kill(b, sv[0], true, 300 + 7 * i);
		cr_expect_eq(drain(sv[1]), said);
		while ((n = send(sv[1], block, sizeof(block), MSG_DONTWAIT)) > 0)
			put += (uint64_t)n;
		said = run_and_kill(b, sv[0], false, 200 + 3 * i);
		cr_expect_eq(drain(sv[0]), put - said);
		close(sv[0]);
		close(sv[1]);
	}
}
