/* SPDX-License-Identifier: MIT */
/* engine/rooms.c - the protocol rooms of a worker, and the arena they share
 * Bottom up, each registering with the ones below. Sizes of the arena's regions
 * are address space: records never touched cost nothing.
 */
#include "stackd/engine/engine_int.h"

#include <errno.h>
#include <unistd.h>

#include "stackd/core/quarantine.h"
#include "stackd/ctl/ctl.h"

#define TCBS		(1u << 21)
#define TWS		(1u << 21)
#define BOUNDS		(1u << 21)
#define LISTENERS	(1u << 16)
#define UDPS		(1u << 18)
#define PROCS		(1u << 16)

int rooms_arena(struct engine *eng, uint64_t id)
{
	const struct arena_region_def defs[AR_MAX] = {
		[AR_INTENT] = { sizeof(struct arena_intent), eng->workers + 1 },
		[AR_COUNTERS] = { sizeof(struct counters), eng->workers + 1 },
		[AR_BOUND] = { sizeof(struct sock_bound), BOUNDS },
		[AR_LISTENER] = { sizeof(struct sock_listener), LISTENERS },
		[AR_TCB] = { tcp_tcb_size(), TCBS },
		[AR_TW] = { tcp_tw_size(), TWS },
		[AR_UDP] = { udp_sock_size(), UDPS },
		[AR_NEIGH] = { sizeof(struct neigh_rec), NEIGH_MAX },
		[AR_ROUTE] = { sizeof(struct sd_route), SD_MAX_ROUTES },
		[AR_SEG] = { sizeof(struct seg_rec), STACK_MAX_SEGS },
		[AR_PSLOTS] = { sizeof(struct seg_pslots), STACK_MAX_SEGS },
		[AR_PROC] = { sizeof(struct app_proc), PROCS },
		[AR_ENGINE] = { sizeof(struct engine_rec), 2 },
		[AR_SYSCTL] = { sizeof(struct sysctl), 2 },
		[AR_EXPORT] = { export_rec_size(), CTL_EXPORTS + 1 },
		[AR_QUAR] = { sizeof(struct quarantine), 2 },
	};

	return arena_create(eng->workers, defs, id, &eng->arena);
}

static int add_routes(struct stack *st, const struct conf_netdev *d)
{
	const struct sd_addr any = sd_addr_v4((be32){ 0 });
	int r = d->has_gw ? ip_add_route(st, &any, 96, &d->gw) : 0;

	for (unsigned i = 0; !r && i < d->route_cnt; i++) {
		const struct conf_route *rt = &d->route[i];

		r = ip_add_route(st, &rt->dst, rt->plen, sd_addr_is_any(&rt->gw) ? &any : &rt->gw);
	}
	return r;
}

int rooms_init(struct worker *w)
{
	struct stack *st = &w->st;
	const struct conf_netdev *d = &w->eng->conf.netdev;
	const struct nic_grant *g = &w->eng->dev->grant;
	int r;

	steering_worker(w);
	r = device_worker(w);
	if (!r && g->pinned)
		r = sandbox_pinned();
	if (!r)
		r = link_init(st);
	if (!r)
		link_set_dev(st, g->mac, g->mtu, g->queues);
	if (!r)
		r = ip_init(st);
	if (!r)
		ip_set_mtu(st, g->mtu);
	if (!r)
		r = sock_init(st);
	if (!r)
		r = tcp_init(st);
	if (!r)
		r = udp_init(st);
	if (!r)
		r = app_init(st);
	if (!r)
		r = device_share(w);
	if (!r)
		r = ip_add_addr(st, &d->addr, d->addr_plen);
	return r ? r : add_routes(st, d);
}
