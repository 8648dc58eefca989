/* SPDX-License-Identifier: MIT */
/* engine/worker.c - a worker: its memory, its loop, its sleep
 *
 * One loop: completions; a burst from the device; commands of programs; messages of other workers;
 * packets to ourselves; timers; then one flush each: TCP's output and ACKs, the transmit vector,
 * wake-ups of programs and of other workers.
 * While there is work it loops; after that it spins or naps for a while (idle.h), at most for what
 * a wake-up costs here (calib.c); then it says in the info page that it sleeps, looks once more for
 * what came before that could be seen, and waits in its ring.
 * Pairs:   xchg_sc(sleeping = 1) then ld_sc of dirty words and hand-off rings, with: program
 * or_sc(dirty)
 *          then ld_sc(sleeping); other worker st_rel(prod) then xchg_sc(sleeping = 0)
 * Holds:   W1 a worker sleeps only after it has looked, with its sleeping word set, at every source
 *             that does not complete in its ring; device and eventfds complete there
 *          W2 whoever swaps the word from 1 to 0 writes the eventfd
 */
#include "stackd/engine/engine_int.h"

#include <errno.h>
#include <linux/futex.h>
#include <numa.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "stackd/core/clock.h"
#include "stackd/core/rng.h"
#include "stackd/core/topo.h"
#include "stackd/ctl/ctl.h"

#define CMD_BUDGET	256u
/* When more frames than that came in: commands send some, which bring more, and those must not pile
 * up. */
#define CMD_BUDGET_RX	32u
#define TIMER_SLACK_NS	5000ul		/* naps are short; the default is 50 us */
#define MSG_BUDGET	256u		/* per sender and loop */
#define POOL_SMALL	8192u
#define POOL_BIG	256u
#define WAKES_AT_ONCE	64u

/* ---- sending ---- */

static void wake_worker(struct worker *w, unsigned to)
{
	struct engine *eng = w->eng;
	uint32_t *sleeping = &eng->info->worker[to].sleeping;

	switch (xchg_sc(sleeping, 0)) {
	case SD_SLEEPING:
		ring_wake(w, eng->w[to]->wake_fd);
		return;
	case SD_NAPPING:
		syscall(SYS_futex, sleeping, FUTEX_WAKE, 1, NULL, NULL, 0);
	}
}

bool worker_send(struct stack *st, uint16_t to, const struct stack_msg *msg)
{
	struct worker *w = st->up_arg;

	if (!handoff_push(handoff_ring(w->eng->rings, w->eng->workers, st->worker, to), msg)) {
		/* The caller may try until there is room: the receiver must not sleep meanwhile. */
		wake_worker(w, to);
		ring_submit(w);
		return false;
	}
	snmp_inc(st, SNMP_Worker_HandoffOut);
	w->wake_workers |= 1ull << to;
	return true;
}

static void proc_bad(struct stack *st, uint32_t proc_rec)
{
	struct worker *w = st->up_arg;

	ctl_proc_bad(w->eng, proc_rec);
}

static const struct stack_up worker_up = {
	.reply = app_reply, .event = app_event, .send = worker_send, .proc_bad = proc_bad,
};

/* ---- memory ---- */

static void pin(struct worker *w)
{
	unsigned cpus = topo_cpu_cnt();
	cpu_set_t set;
	int cpu;

	w->cpu = -1;
	/* With two cores or none to spare, programs run where the scheduler finds room. */
	if (cpus <= 2 || w->eng->workers >= cpus)
		return;
	cpu = topo_worker_cpu(w->st.worker, w->eng->workers, w->eng->dev->grant.numa_node);
	if (cpu < 0 || cpu >= CPU_SETSIZE)
		return;
	CPU_ZERO(&set);
	CPU_SET((unsigned)cpu, &set);
	if (!sched_setaffinity(0, sizeof(set), &set))
		w->cpu = cpu;
}

static int make_pool(struct worker *w)
{
	struct pkt_pool_conf conf = { .small_cnt = POOL_SMALL, .big_cnt = POOL_BIG, .numa_node = -1,
				      .worker = (uint8_t)w->st.worker };

	if (w->cpu >= 0 && numa_available() >= 0) {
		numa_set_localalloc();
		conf.numa_node = numa_node_of_cpu(w->cpu);
	}
	return pkt_pool_create(&conf, &w->st.pool);
}

static int make_epools(struct stack *st)
{
	void *p = mmap(NULL, STACK_MAX_SEGS * sizeof(struct shm_epool), PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return -errno;
	st->epools = p;
	return 0;
}

/* What every room finds in struct stack. */
static int fill_stack(struct worker *w)
{
	struct stack *st = &w->st;
	struct engine *eng = w->eng;
	uint64_t seed;

	if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
		return -EIO;
	rng_seed(st->rng_state, seed);
	memcpy(st->boot_secret, eng->secret, sizeof(st->boot_secret));
	st->workers = (uint16_t)eng->workers;
	st->now_us = clock_mono_us();
	st->arena = &eng->arena;
	st->cnt = arena_at(&eng->arena, AR_COUNTERS, st->worker + 1u);
	st->intent = arena_at(&eng->arena, AR_INTENT, st->worker + 1u);
	st->quar = arena_at(&eng->arena, AR_QUAR, 1);
	ASSERT(st->cnt && st->intent && st->quar);
	st->segs = eng->segs;
	st->up = &worker_up;
	st->up_arg = w;
	return 0;
}

int worker_init(struct worker *w)
{
	int r;

	pin(w);
	prctl(PR_SET_TIMERSLACK, TIMER_SLACK_NS);
	r = fill_stack(w);
	if (!r)
		r = quarantine_watch(&w->st);
	if (!r)
		r = make_pool(w);
	if (!r)
		r = make_epools(&w->st);
	if (!r)
		r = wheel_create(w->st.now_us, &w->st.wheel);
	if (!r)
		r = wake_init(&w->wake);
	if (!r && !w->wake.ctx && w->st.worker == 0)
		engine_log("no aio here: programs are woken one by one, and one that fills up its "
			   "eventfd can make a worker wait");
	if (!r)
		r = ring_open(w);
	if (!r)
		r = rooms_init(w);
	if (!r)
		r = ring_start(w);
	if (r)
		return r;
	xcall_init(w);
	ring_watch(w, w->wake_fd, RING_WAKE, 0);
	if (w->dev_fd >= 0)
		ring_watch(w, w->dev_fd, RING_DEVICE, 0);
	if (w->st.worker < w->eng->dev->grant.kport_queues)
		ring_watch(w, w->eng->kport_fds[w->st.worker], RING_DEVICE, 1);
	return 0;
}

/* ---- the loop ---- */

static unsigned take_messages(struct worker *w)
{
	struct engine *eng = w->eng;
	unsigned total = 0;

	for (uint32_t from = 0; from < eng->workers; from++) {
		struct handoff *h = handoff_ring(eng->rings, eng->workers, from, w->st.worker);
		struct stack_msg msg;

		for (unsigned n = 0; n < MSG_BUDGET && handoff_pop(h, &msg); n++) {
			stack_recv(&w->st, &msg);
			total++;
		}
	}
	snmp_add(&w->st, SNMP_Worker_HandoffIn, total);
	return total;
}

static void wake_programs(struct worker *w)
{
	struct app_wake wakes[WAKES_AT_ONCE];
	unsigned n;

	do {
		n = app_take_wakes(&w->st, wakes, WAKES_AT_ONCE);
		for (unsigned i = 0; i < n; i++) {
			int32_t *fds = ld_acq(&w->eng->mbox_fd[wakes[i].seg % STACK_MAX_SEGS]);
			int fd = fds ? ld_acq(&fds[wakes[i].mbox % SD_MAX_MBOXES]) : -1;

			if (fd >= 0)
				wake_add(&w->wake, fd);
		}
	} while (n == WAKES_AT_ONCE);
	w->idle.same = app_told_here(&w->st);
	if (!w->wake.cnt)
		return;
	wake_flush(&w->wake);
	w->idle.woke = true;
}

static void flush(struct worker *w)
{
	tcp_flush(&w->st);
	link_flush(&w->st);
	stack_flush_home(&w->st);
	wake_programs(w);
	while (w->wake_workers) {
		unsigned to = (unsigned)__builtin_ctzll(w->wake_workers);

		w->wake_workers &= w->wake_workers - 1;
		wake_worker(w, to);
	}
	ring_submit(w);
	if (!w->idle.same)
		ring_fetch(w);
}

/* Programs that run on the same core do not spin for us. */
static void tell_cpu(struct worker *w)
{
	int cpu = sched_getcpu();

	if (cpu == w->runs_on)
		return;
	w->runs_on = cpu;
	app_runs_on(&w->st, cpu);
	st_rlx(&w->eng->info->worker[w->st.worker].cpu, (uint32_t)(cpu + 1));
}

static void tell_crowd(struct worker *w)
{
	struct sd_info *info = w->eng->info;
	bool crowded = crowd_poll(&w->eng->crowd, w->st.now_us);

	if (ld_rlx(&info->crowded) != crowded)
		st_rlx(&info->crowded, crowded);
}

/* A burst from the device. Full ones that follow each other are a run; one that exceeds its budget
 * of frames or time is what Linux calls a squeeze: there is more to do than gets done at once. */
static unsigned poll_device(struct worker *w)
{
	struct stack *st = &w->st;
	const struct sysctl *s = st->sys;
	uint32_t weight = ld_rlx(&s->dev_weight), budget = ld_rlx(&s->netdev_budget);
	unsigned most = weight < budget ? weight : budget, n = link_poll(st, most);

	if (n < most) {
		w->run_frames = 0;
		return n;
	}
	if (w->run_frames == 0)
		w->run_us = st->now_us;
	w->run_frames += n;
	if (w->run_frames >= budget || st->now_us - w->run_us >= ld_rlx(&s->netdev_budget_usecs)) {
		snmp_inc(st, SNMP_Worker_TimeSqueeze);
		w->run_frames = 0;
	}
	return n;
}

/* Return: whether there was anything to do. */
static bool loop_once(struct worker *w)
{
	struct stack *st = &w->st;
	unsigned work, frames;

	st->now_us = clock_mono_us();
	snmp_inc(st, SNMP_Worker_Loops);
	tell_cpu(w);
	work = ring_reap(w);
	frames = poll_device(w);
	work += frames;
	work += app_poll(st, frames > CMD_BUDGET_RX ? CMD_BUDGET_RX : CMD_BUDGET);
	work += take_messages(w);
	work += ip_poll_local(st);
	work += wheel_advance(st->wheel, st->now_us);
	if (st->worker == 0)
		work += ctl_poll(w->eng) + device_poll(w->eng, st->now_us);
	if (st->worker == 0)
		tell_crowd(w);
	flush(w);
	return work != 0;
}

static bool messages_pending(struct worker *w)
{
	struct engine *eng = w->eng;

	for (uint32_t from = 0; from < eng->workers; from++) {
		if (handoff_pending(handoff_ring(eng->rings, eng->workers, from, w->st.worker)))
			return true;
	}
	return false;
}

/* How long there is nothing to do by the clock. UINT64_MAX = for ever. */
static uint64_t idle_us(struct worker *w)
{
	uint64_t now = clock_mono_us(), next = wheel_next_us(w->st.wheel), most = UINT64_MAX;

	if (w->st.worker == 0) {
		uint64_t app = app_idle_us(&w->st), dev = device_idle_us(w->eng, now);

		most = ctl_idle_us(w->eng);
		most = app < most ? app : most;
		most = dev < most ? dev : most;
	}
	if (w->st.stranded || sock_backlog(&w->st))
		most = 0;
	if (next == UINT64_MAX)
		return most;
	next = next > now ? next - now : 0;
	return next < most ? next : most;
}

/* The device interrupts from now on. Return: it has something already. */
static bool arm_device(struct worker *w)
{
	return w->queue && w->queue->ops->arm && w->queue->ops->arm(w->queue, &w->st);
}

/* Nobody but a program that has done its part, or time, ends this: what arrives from the device
 * meanwhile is handled with what the program has to say. A program whose word came between the last
 * look and here is heard when time is up. */
static void nap(struct worker *w, uint32_t *sleeping, uint64_t us)
{
	struct timespec ts = { .tv_nsec = (long)us * 1000 };

	snmp_inc(&w->st, SNMP_Worker_Naps);
	syscall(SYS_futex, sleeping, FUTEX_WAIT, SD_NAPPING, &ts, NULL, 0);
}

/* @what: IDLE_NAP or IDLE_SLEEP. */
static void sleep_until_work(struct worker *w, enum idle_what what)
{
	uint32_t *sleeping = &w->eng->info->worker[w->st.worker].sleeping;
	uint64_t us, from;

	/* Who was woken and took the core at once may have nothing to say and sleep again. */
	if (what == IDLE_NAP && app_forget_here(&w->st))
		return;
	xchg_sc(sleeping, what == IDLE_NAP ? SD_NAPPING : SD_SLEEPING);
	us = idle_us(w);
	if (what == IDLE_NAP && us > IDLE_NAP_US)
		us = IDLE_NAP_US;
	if (us && !app_pending(&w->st) && !messages_pending(w) && !ld_acq(&w->eng->stop)) {
		if (what == IDLE_NAP) {
			nap(w, sleeping, us);
		} else if (!arm_device(w)) {
			snmp_inc(&w->st, SNMP_Worker_Sleeps);
			from = clock_mono_ns();
			ring_sleep(w, us);
			idle_slept(&w->idle, clock_mono_ns() - from);
		}
	}
	xchg_sc(sleeping, 0);
}

void worker_run(struct worker *w)
{
	idle_init(&w->idle, w->eng->info->spin_ns, &w->eng->info->crowded);
	w->runs_on = -1;
	while (!ld_acq(&w->eng->stop)) {
		enum idle_what what = loop_once(w) ? idle_busy(&w->idle) : idle_pass(&w->idle);

		if (what != IDLE_ON)
			sleep_until_work(w, what);
	}
}
