/* SPDX-License-Identifier: MIT */
/* tests/stress/ring.c - command rings under several producers
 * Each producer numbers its commands; the worker checks that every producer's come in order, once
 * each. In the last scenario a signal handler sends a command and waits for its answer, whatever
 * the thread it interrupted was about to do.
 */
#include "stress.h"

#include <errno.h>
#include <sys/time.h>

#include "shm/ring.h"

#define PRODUCERS 4
#define PROC 3

struct ctx {
	struct shm_seg seg;
	uint32_t id, cnt;
	uint32_t acked;			/* newest number of the handler that the worker has seen */
	uint32_t stop;
};

static void push(const struct ctx *c, uint32_t id, uint32_t number)
{
	struct sd_cmd cmd = { .op = SD_OP_KICK, .slot = id, .gen = number, .u32 = { ~number } };
	int err;

	while ((err = shm_cmd_push(&c->seg, PROC, 0, &cmd)) == -EAGAIN)
		sched_yield();
	CHECK(!err);
}

static void produce(void *arg)
{
	struct ctx *c = arg;
	uint32_t i;

	for (i = 1; i <= c->cnt; i++)
		push(c, c->id, i);
}

/* Pop what there is. Return: number of commands. */
static uint32_t drain(struct ctx *c, struct shm_cmd_reader *rd, uint32_t *next)
{
	struct sd_cmd cmd;
	uint32_t n = 0;

	while (shm_cmd_pop(&c->seg, PROC, 0, rd, &cmd)) {
		CHECK(cmd.op == SD_OP_KICK && cmd.slot <= PRODUCERS);
		CHECK(cmd.gen == next[cmd.slot], "%u of %u", cmd.gen, cmd.slot);
		CHECK(cmd.u32[0] == ~cmd.gen);
		next[cmd.slot]++;
		n++;
	}
	return n;
}

static void run(bool proc)
{
	struct ctx c[PRODUCERS];
	struct party p[PRODUCERS];
	struct shm_cmd_reader rd = { 0 };
	struct shm_seg seg = stress_seg();
	uint32_t i, next[PRODUCERS + 1], left = 0;
	uint64_t *dirty = shm_rw_hdr(&seg)->dirty[0];

	for (i = 0; i < PRODUCERS; i++) {
		next[i] = 1;
		c[i] = (struct ctx){ .seg = seg, .id = i, .cnt = stress_n(400000) };
		left += c[i].cnt;
		party_start(&p[i], proc, produce, &c[i]);
	}
	while (left) {
		if (!ld_rlx(&dirty[0]) || !(xchg_sc(&dirty[0], 0) & 1ull << PROC))
			sched_yield();
		else
			left -= drain(&c[0], &rd, next);
	}
	for (i = 0; i < PRODUCERS; i++)
		party_join(&p[i]);
	CHECK(drain(&c[0], &rd, next) == 0);
	STRESS_OK("ring %s", proc ? "processes" : "threads");
	shm_seg_unmap(&seg);
}

/* ---- signal handlers ---- */

static struct ctx *handler_ctx;
static uint32_t handler_cnt;

static void on_signal(int sig)
{
	uint32_t number = ++handler_cnt;

	(void)sig;
	push(handler_ctx, 1, number);
	while (ld_acq(&handler_ctx->acked) != number)
		sched_yield();
}

static void worker(void *arg)
{
	struct ctx *c = arg;
	struct shm_cmd_reader rd = { 0 };
	uint32_t next[PRODUCERS + 1] = { 1, 1, 1, 1, 1 };

	while (!ld_acq(&c->stop)) {
		if (!drain(c, &rd, next))
			sched_yield();
		st_rel(&c->acked, next[1] - 1);		/* pairs with ld_acq in on_signal() */
	}
}

static void signals(void)
{
	struct itimerval it = { { 0, 211 }, { 0, 211 } }, off = { 0 };
	struct sigaction sa = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
	struct ctx *c = stress_shared(sizeof(*c));
	struct party p;
	uint32_t i;

	*c = (struct ctx){ .seg = stress_seg() };
	party_start(&p, true, worker, c);
	handler_ctx = c;
	sigaction(SIGVTALRM, &sa, NULL);
	setitimer(ITIMER_VIRTUAL, &it, NULL);
	for (i = 1; i < 8000000 && handler_cnt < 200; i++)
		push(c, 0, i);
	setitimer(ITIMER_VIRTUAL, &off, NULL);
	st_rel(&c->stop, 1);
	party_join(&p);
	CHECK(handler_cnt > 0);
	STRESS_OK("ring handlers, %u", handler_cnt);
	shm_seg_unmap(&c->seg);
}

int main(void)
{
	stress_start(100);
	stress_both(run);
	if (!STRESS_TSAN)
		signals();
	return 0;
}
