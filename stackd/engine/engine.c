/* SPDX-License-Identifier: MIT */
/* engine/engine.c - start and stop of the engine's process
 * Start-up in this order, each step needing the ones above it:
 *   handed over     settings, device queues, info page, what earlier engines had kept
 *   device          DMA has stopped before anything else is touched
 *   user            the engine's own, no capability: before there are threads
 *   arena, rings shared by the workers; an earlier engine's, if it fits, else a fresh one that is
 *                   deposited with the supervisor
 *   workers         each in its thread: memory next to its core, ring, protocol rooms
 *   adoption        of what the earlier engine left (adopt.c): worker 0 alone, the others wait
 *   seccomp         one filter for all threads, when all rings stand
 *   ready           the supervisor lets programs in
 */
#include "stackd/engine/engine_int.h"

#include <errno.h>
#include <jansson.h>
#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "stackd/core/topo.h"
#include "stackd/ctl/ctl.h"
#include "stackd/engine/start.h"

/* ---- handed over ---- */

static int take_conf(struct engine *eng, const struct sup_conf *c, const int *fds, unsigned cnt)
{
	if (cnt != 2)
		return -EPROTO;
	eng->conf = c->conf;
	eng->epoch = c->epoch;
	eng->crashed = c->crashed;
	eng->crashes = c->crashes;
	eng->unready = c->unready;
	eng->port_start = (uint16_t)c->port_start;
	eng->workers = c->conf.workers;
	eng->info_ro_fd = fds[1];
	eng->info = mmap(NULL, SD_INFO_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fds[0], 0);
	close(fds[0]);
	return eng->info == MAP_FAILED ? -errno : 0;
}

static int take_one(struct engine *eng, const struct sup_conf *c, int len, const int *fds,
		    unsigned cnt)
{
	if (c->h.type == SUP_CONF && len == sizeof(*c))
		return take_conf(eng, c, fds, cnt);
	if (len == sizeof(struct sup_dev_msg) && c->h.type == SUP_DEV) {
		const struct sup_dev_msg *d = (const struct sup_dev_msg *)c;

		return d->grant.fd_cnt == cnt ? device_take(eng, &d->grant, fds) : -EPROTO;
	}
	if (len == sizeof(c->h) && c->h.type == SUP_KEPT)
		return adopt_take(eng, &c->h, fds, cnt);
	return -EPROTO;
}

static int take_all(struct engine *eng)
{
	struct sup_conf c;
	int fds[SUP_BATCH_FDS], len, r;
	unsigned cnt;

	for (;;) {
		len = sup_recv(eng->chan, &c, sizeof(c), fds, SUP_BATCH_FDS, &cnt, 0);
		if (len < (int)sizeof(c.h))
			return len < 0 ? len : -EPIPE;
		if (c.h.type == SUP_GO)
			return eng->workers && eng->dev ? 0 : -EPROTO;
		r = take_one(eng, &c, len, fds, cnt);
		if (r)
			return r;
	}
}

/* ---- the info page ---- */

static void add_route(struct sd_info *info, const struct sd_addr *dst, uint8_t plen, uint8_t flags)
{
	if (info->rt_cnt < SD_MAX_ROUTES)
		info->rt[info->rt_cnt++] = (struct sd_route){ .dst = *dst, .plen = plen,
							    .flags = flags };
}

static struct sd_addr bcast_of(const struct sd_addr *a, unsigned plen)
{
	struct sd_addr b = *a;

	for (unsigned bit = plen; bit < 128; bit++)
		b.b[bit / 8] |= (uint8_t)(0x80u >> bit % 8);
	return b;
}

static void fill_info(struct engine *eng, uint32_t spin_ns, uint32_t cpus)
{
	struct sd_info *info = eng->info;
	const struct conf_netdev *d = &eng->conf.netdev;
	const struct sd_addr any = sd_addr_v4((be32){ 0 });
	const struct sd_addr bcast = bcast_of(&d->addr, d->addr_plen);

	info->major = SD_ABI_MAJOR;
	info->minor = SD_ABI_MINOR;
	info->workers = eng->workers;
	info->spin_ns = spin_ns;
	info->cpus = cpus;
	for (unsigned i = 0; i < SD_MAX_WORKERS; i++)
		st_rlx(&info->worker[i].sleeping, 0);
	add_sc(&info->rt_seq, info->rt_seq & 1 ? 2u : 1u);	/* odd: it changes */
	info->rt_cnt = 0;
	add_route(info, &d->addr, 128, SD_RT_LOCAL);
	info->rt[0].ifindex = eng->dev->grant.ifindex;
	info->rt[0].onlink_plen = d->addr_plen;
	add_route(info, &d->addr, d->addr_plen, 0);
	if (d->addr_plen <= 126)
		add_route(info, &bcast, 128, SD_RT_BCAST);
	for (unsigned i = 0; i < d->route_cnt; i++)
		add_route(info, &d->route[i].dst, d->route[i].plen, 0);
	if (d->has_gw)
		add_route(info, &any, 96, SD_RT_DEFAULT);
	add_sc(&info->rt_seq, 1);
	st_rel(&info->magic, SD_INFO_MAGIC);
}

/* ---- workers ---- */

static int make_workers(struct engine *eng)
{
	for (uint32_t i = 0; i < eng->workers; i++) {
		struct worker *w = mmap(NULL, sizeof(*w), PROT_READ | PROT_WRITE,
					MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (w == MAP_FAILED)
			return -errno;
		w->st.worker = (uint16_t)i;
		w->eng = eng;
		w->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (w->wake_fd < 0)
			return -errno;
		eng->w[i] = w;
	}
	return handoff_create(eng->workers, &eng->rings);
}

static void start_failed(struct worker *w, int r)
{
	engine_log("worker %u cannot start: %s", w->st.worker, strerror(-r));
	st_rel(&w->eng->failed, (uint32_t)-r);
}

/* Rings and rooms first on all workers, then the filter, then packets. */
static void worker_life(struct worker *w)
{
	struct engine *eng = w->eng;
	int r = worker_init(w);

	if (r)
		start_failed(w, r);
	pthread_barrier_wait(&eng->start->built);
	if (w->st.worker == 0 && !ld_acq(&eng->failed)) {
		r = device_go(eng);
		if (r)
			start_failed(w, r);
	}
	if (w->st.worker == 0 && eng->adopts && !ld_acq(&eng->failed)) {
		r = adopt_all(eng);
		if (r)
			start_failed(w, r);
	}
	if (w->st.worker == 0 && !ld_acq(&eng->failed)) {
		device_adopted(eng);
		r = sandbox_seccomp();
		if (r) {
			engine_log("cannot install the seccomp filter: %s", strerror(-r));
			st_rel(&eng->failed, (uint32_t)-r);
		} else {
			if (!eng->adopts)
				w->st.sys->ip_unprivileged_port_start = eng->port_start;
			ctl_sysctl_publish(eng);
			ctl_ready(eng);
		}
	}
	pthread_barrier_wait(&eng->start->confined);
	if (!ld_acq(&eng->failed))
		worker_run(w);
}

static void *worker_thread(void *arg)
{
	worker_life(arg);
	return NULL;
}

static int run_workers(struct engine *eng)
{
	struct engine_start start;
	uint32_t i;
	int r = 0;

	eng->start = &start;
	pthread_barrier_init(&start.built, NULL, eng->workers);
	pthread_barrier_init(&start.confined, NULL, eng->workers);
	for (i = 1; i < eng->workers; i++) {
		char name[20];		/* the kernel takes 15 characters */

		r = -pthread_create(&eng->w[i]->thread, NULL, worker_thread, eng->w[i]);
		if (r) {
			engine_log("cannot start worker %u: %s", i, strerror(-r));
			_exit(1);	/* the others wait for it for ever */
		}
		snprintf(name, sizeof(name), "stackd-w%u", i);
		pthread_setname_np(eng->w[i]->thread, name);
	}
	worker_life(eng->w[0]);
	for (i = 1; i < eng->workers; i++)
		pthread_join(eng->w[i]->thread, NULL);
	return eng->failed ? -(int)eng->failed : 0;
}

static int fail(const char *what, int r)
{
	engine_log("%s: %s", what, strerror(-r));
	return r;
}

/* The earlier engine's, or a fresh one with a fresh secret. */
static int make_arena(struct engine *eng)
{
	struct engine_rec *rec;
	int r;

	if (!adopt_arena(eng)) {
		r = rooms_arena(eng, abi_id);
		if (r)
			return r;
		rec = arena_at(&eng->arena, AR_ENGINE, 1);
		if (getrandom(rec->secret, sizeof(rec->secret), 0) != sizeof(rec->secret))
			return -EIO;
	}
	rec = arena_at(&eng->arena, AR_ENGINE, 1);
	memcpy(eng->secret, rec->secret, sizeof(eng->secret));
	return 0;
}

static int set_up(struct engine *eng)
{
	uint32_t cpus = topo_cpu_cnt(), spin;
	int r;

	crowd_init(&eng->crowd);
	r = sandbox_drop(&eng->conf, eng->dev->grant.pinned);

	if (r)
		return fail("cannot drop privileges", r);
	json_object_seed(0);		/* opens /dev/urandom, so not later */
	spin = calib_spin_ns(eng->workers);
	r = make_arena(eng);
	if (r)
		return fail("arena", r);
	r = make_workers(eng);
	if (!r)
		r = steering_init(eng);
	if (r)
		return fail("workers", r);
	fill_info(eng, spin, cpus);
	r = ctl_init(eng);
	if (!r && eng->adopts)
		r = ctl_adopt_segs(eng);
	return r ? fail("control", r) : 0;
}

int engine_main(int chan)
{
	struct engine *eng = mmap(NULL, sizeof(*eng), PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int r;

	if (eng == MAP_FAILED)
		return 1;
	eng->chan = chan;
	/* A thread's own arena opens a file before it shrinks: the filter would end us. */
	mallopt(M_ARENA_MAX, 1);
	pthread_setname_np(pthread_self(), "stackd-engine");
	r = take_all(eng);
	if (r) {
		fail("nothing usable from the supervisor", r);
		return 1;
	}
	r = set_up(eng);
	if (!r)
		r = run_workers(eng);
	/* The kernel takes everything back; nobody else uses this process's memory. */
	return r ? 1 : 0;
}
