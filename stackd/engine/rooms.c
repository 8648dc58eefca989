/* SPDX-License-Identifier: MIT */
/* engine/rooms.c - the protocol rooms of a worker, and the arena they share
 * Bottom up, each registering with the ones below. Sizes of the arena's regions
 * are address space: records never touched cost nothing.
 */
#include "stackd/engine/engine_int.h"

#include <errno.h>
#include <unistd.h>

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
		[AR_PROC] = { sizeof(struct app_proc), PROCS },
		[AR_ENGINE] = { sizeof(struct engine_rec), 2 },
		[AR_SYSCTL] = { sizeof(struct sysctl), 2 },
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

static int open_nic(struct worker *w)
{
	struct engine *eng = w->eng;
	const struct conf_netdev *d = &eng->conf.netdev;
	unsigned q = w->st.worker;
	const char *wrong;
	int r;

	if (q >= eng->dev_cnt)
		return 0;
	r = tap_nic_create(eng->dev_fds[q], d->name, eng->mac, d->mtu, (uint16_t)q,
			   (uint16_t)eng->dev_cnt, &w->st.nic);
	if (r)
		return r;
	w->dev_fd = w->st.nic->ops->rx_fd(w->st.nic);
	if (!d->impair[0])
		return 0;
	r = impair_nic_wrap(w->st.nic, d->impair, &w->st.nic, &wrong);
	if (r)
		engine_log("--netdev impair=%s: '%s' is not understood", d->impair,
			   wrong ? wrong : "");
	return r;
}

int rooms_init(struct worker *w)
{
	struct stack *st = &w->st;
	const struct conf_netdev *d = &w->eng->conf.netdev;
	int r;

	w->dev_fd = -1;
	r = open_nic(w);
	if (!r)
		r = link_init(st);
	if (!r)
		link_set_dev(st, w->eng->mac, d->mtu, (uint16_t)w->eng->dev_cnt);
	if (!r)
		r = ip_init(st);
	if (!r)
		r = sock_init(st);
	if (!r)
		r = tcp_init(st);
	if (!r)
		r = udp_init(st);
	if (!r)
		r = app_init(st);
	if (!r)
		r = ip_add_addr(st, &d->addr, d->addr_plen);
	return r ? r : add_routes(st, d);
}
