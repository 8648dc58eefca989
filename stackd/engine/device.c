/* SPDX-License-Identifier: MIT */
/* engine/device.c - the whole device: start, faults, reset
 * Worker 0 owns the struct nic_dev; each worker owns its queue. A reset goes through four steps,
 * two of which run on every worker as cross calls:
 *   halt (worker 0) -> stop (each) -> start (each) -> go (worker 0)
 * DMA has ended before the first packet goes back to a pool. Resets are RESET_GAP_US apart, so that
 * a device that is broken for good costs one attempt a second and no more.
 * Threads: worker 0, except device_worker() and the two functions of the cross calls
 */
#include "stackd/engine/engine_int.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

#include "stackd/nic/claims.h"
#include "stackd/nic/kport.h"

#define POLL_US		1000000u	/* nic_dev_ops.poll at least that often */
#define RESET_GAP_US	1000000u

enum device_step { DEV_RUNS = 0, DEV_STOPPING, DEV_STARTING };

struct device_state {
	struct xcall call;
	enum device_step step;
	uint32_t start_err;		/* a queue did not start: -errno; any worker */
	bool event;
	uint64_t poll_us, reset_us;	/* when to call poll; not before which to reset */
};

/* The kernel port's queues stand behind the device's fds. */
static int take_kport(struct engine *eng, struct nic_grant *g, const int *fds)
{
	uint64_t seed;

	if (g->kport_queues > g->fd_cnt || g->kport_queues > SD_MAX_WORKERS)
		return -EPROTO;
	g->fd_cnt -= g->kport_queues;
	memcpy(eng->kport_fds, fds + g->fd_cnt, g->kport_queues * sizeof(int));
	if (g->kport_queues == 0)
		return 0;
	if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
		return -EIO;
	eng->claims = claims_create(&eng->conf.netdev.addr, seed);
	eng->client_ports[0] = g->kport_lo;
	eng->client_ports[1] = g->kport_hi;
	return eng->claims ? 0 : -ENOMEM;
}

int device_take(struct engine *eng, const struct nic_grant *granted, const int *fds)
{
	struct nic_grant g = *granted, *grant = &g;
	char err[NIC_ERR] = "";
	int r = take_kport(eng, &g, fds);

	if (r)
		return r;

	eng->dev_state = calloc(1, sizeof(*eng->dev_state));
	r = eng->dev_state ? nic_dev_open(grant, fds, &eng->dev, err) : -ENOMEM;
	if (r) {
		engine_log("device %.15s: %s", grant->name, *err ? err : strerror(-r));
		return r;
	}
	if (eng->dev->ops->claims)
		eng->claims = eng->dev->ops->claims(eng->dev, eng->client_ports);
	if (eng->claims)
		claims_adopt_begin(eng->claims);
	return 0;
}

int device_share(struct worker *w)
{
	struct engine *eng = w->eng;

	w->st.claims = eng->claims;
	if (!eng->claims)
		return 0;
	link_set_shared(&w->st);
	if (w->st.worker != 0 || eng->adopts || !eng->client_ports[0])
		return 0;
	return sock_set_port_range(&w->st, eng->client_ports[0], eng->client_ports[1]);
}

void device_adopted(struct engine *eng)
{
	if (eng->claims)
		claims_adopt_end(eng->claims);
}

/* ---- a worker's queue ---- */

static int impair(struct worker *w, const char *spec)
{
	const char *wrong;
	int r = impair_nic_wrap(w->st.nic, spec, &w->st.nic, &wrong);

	if (r)
		engine_log("--netdev impair=%s: '%s' is not understood", spec, wrong ? wrong : "");
	return r;
}

int device_worker(struct worker *w)
{
	struct nic_dev *dev = w->eng->dev;
	const struct conf_netdev *d = &w->eng->conf.netdev;
	uint16_t q = w->st.worker;
	size_t len;
	void *mem = pkt_pool_mem(w->st.pool, &len);
	int r = dev->ops->map ? dev->ops->map(dev, q, mem, len) : 0;

	w->dev_fd = -1;
	if (r || q >= dev->grant.queues)
		return r;
	r = dev->ops->queue(dev, q, &w->st, &w->queue);
	if (r)
		return r;
	if (w->queue->ops->start)
		r = w->queue->ops->start(w->queue, &w->st);
	if (r)
		return r;
	w->st.nic = w->queue;
	if (w->queue->ops->ring_attach)
		w->ring_frames = !w->queue->ops->ring_attach(w->queue, &w->st, &w->ring,
							     RING_DATA(RING_FRAMES, 0, 0));
	w->dev_fd = w->queue->ops->rx_fd(w->queue);
	if (d->impair[0])
		r = impair(w, d->impair);
	if (!r && q < dev->grant.kport_queues)
		r = kport_nic_wrap(w->st.nic, w->eng->kport_fds[q], w->eng->claims->map,
				   &w->st.nic);
	return r;
}

int device_go(struct engine *eng)
{
	struct nic_dev *dev = eng->dev;

	if (dev->evt_fd >= 0)
		ring_watch(eng->w[0], dev->evt_fd, RING_DEV_EVT, 0);
	return dev->ops->go ? dev->ops->go(dev) : 0;
}

/* ---- reset ---- */

static void queue_stop(struct worker *w, void *arg)
{
	if (w->queue && w->queue->ops->stop)
		w->queue->ops->stop(w->queue, &w->st);
}

static void queue_start(struct worker *w, void *arg)
{
	struct device_state *s = arg;
	int r = 0;

	if (w->queue && w->queue->ops->start)
		r = w->queue->ops->start(w->queue, &w->st);
	if (r)
		st_rel(&s->start_err, (uint32_t)-r);
}

static void started(struct engine *eng, void *arg)
{
	struct device_state *s = arg;
	int r = -(int)xchg_sc(&s->start_err, 0);

	if (!r && eng->dev->ops->go)
		r = eng->dev->ops->go(eng->dev);
	s->step = DEV_RUNS;
	if (r) {
		engine_log("device %s does not start again: %s", eng->dev->grant.name,
			   strerror(-r));
		nic_fault(eng->dev, NIC_FAULT_DEVICE);
	}
}

static void stopped(struct engine *eng, void *arg)
{
	struct device_state *s = arg;

	s->step = DEV_STARTING;
	s->call = (struct xcall){ .fn = queue_start, .done = started, .arg = s };
	xcall_start(eng, &s->call);
}

static void reset(struct engine *eng, enum nic_fault why)
{
	struct device_state *s = eng->dev_state;
	struct nic_dev *dev = eng->dev;

	engine_log("device %s is reset: %s", dev->grant.name, nic_fault_text(why));
	dev->resets++;
	s->step = DEV_STOPPING;
	if (dev->ops->halt)
		dev->ops->halt(dev);
	s->call = (struct xcall){ .fn = queue_stop, .done = stopped, .arg = s };
	xcall_start(eng, &s->call);
}

/* ---- worker 0's loop ---- */

void device_event(struct engine *eng)
{
	eng->dev_state->event = true;
}

unsigned device_poll(struct engine *eng, uint64_t now_us)
{
	struct device_state *s = eng->dev_state;
	struct nic_dev *dev = eng->dev;

	if (s->step != DEV_RUNS)
		return 0;
	if (dev->ops->poll && (s->event || now_us >= s->poll_us)) {
		uint64_t faults = dev->iommu_faults;

		s->event = false;
		s->poll_us = now_us + POLL_US;
		dev->ops->poll(dev, now_us);
		if (dev->iommu_faults != faults)
			engine_log("device %s: the IOMMU refused %llu of its accesses to memory",
				   dev->grant.name,
				   (unsigned long long)(dev->iommu_faults - faults));
		if (dev->announce)
			link_announce(&eng->w[0]->st);
		dev->announce = false;
	}
	if (ld_rlx(&dev->fault) == NIC_OK || now_us < s->reset_us)
		return 0;
	s->reset_us = now_us + RESET_GAP_US;
	reset(eng, (enum nic_fault)xchg_sc(&dev->fault, NIC_OK));
	return 1;
}

uint64_t device_idle_us(struct engine *eng, uint64_t now_us)
{
	const struct device_state *s = eng->dev_state;
	uint64_t at = eng->dev->ops->poll ? s->poll_us : UINT64_MAX;

	if (s->step == DEV_RUNS && ld_rlx(&eng->dev->fault) != NIC_OK && s->reset_us < at)
		at = s->reset_us;
	if (s->event)
		return 0;
	return at == UINT64_MAX ? at : at > now_us ? at - now_us : 0;
}
