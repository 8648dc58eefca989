/* SPDX-License-Identifier: MIT */
/* ctl/show_dev.c - show netdev, workers, neigh, route, softnet, snmp, drops, quarantine
 * Threads: the part functions on their worker's thread; the rest on worker 0's, from counters,
 * which have one writer each and are only added up here
 */
#include "stackd/ctl/ctl_int.h"

#include <arpa/inet.h>
#include <stdio.h>

#include "stackd/core/clock.h"
#include "stackd/core/quarantine.h"

static json_int_t snmp(const struct worker *w, enum snmp_id id)
{
	return (json_int_t)w->st.cnt->snmp[id];
}

static json_t *json_mac(const uint8_t m[6])
{
	char buf[18];

	snprintf(buf, sizeof(buf), "%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3],
		 m[4], m[5]);
	return json_string(buf);
}

static json_t *json_prefix(const struct sd_addr *a, uint8_t plen)
{
	char buf[INET6_ADDRSTRLEN], both[INET6_ADDRSTRLEN + 5];
	bool v4 = sd_addr_is_v4(a);

	if (sd_addr_is_any(a) && plen == (v4 ? 96 : 0))
		return json_string("default");
	snprintf(both, sizeof(both), "%s/%u", show_addr(a, buf),
		 v4 && plen >= 96 ? plen - 96u : plen);
	return json_string(both);
}

void show_netdev(struct worker *w, json_t *list)
{
	const struct conf_netdev *d = &w->eng->conf.netdev;
	const struct nic_grant *g = &w->eng->dev->grant;

	if (w->st.worker >= g->queues)
		return;
	json_array_append_new(list, json_pack("{ss ss si so sI so sI sI sI sI sI sI sI sI}",
		"name", g->name, "kind", d->kind, "queue", w->st.worker,
		"mac", json_mac(g->mac),
		"mtu", (json_int_t)g->mtu, "addr", json_prefix(&d->addr, d->addr_plen),
		"rx_packets", snmp(w, SNMP_Dev_RxPackets), "rx_bytes", snmp(w, SNMP_Dev_RxBytes),
		"rx_dropped", snmp(w, SNMP_Dev_RxDropped), "rx_gso", snmp(w, SNMP_Dev_RxGsoPackets),
		"tx_packets", snmp(w, SNMP_Dev_TxPackets), "tx_bytes", snmp(w, SNMP_Dev_TxBytes),
		"tx_dropped", snmp(w, SNMP_Dev_TxDropped),
		"tx_gso", snmp(w, SNMP_Dev_TxGsoPackets)));
}

/* Processor time of the calling worker. */
static json_int_t cpu_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (json_int_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

void show_workers(struct worker *w, json_t *list)
{
	struct stack *st = &w->st;
	json_int_t chunks = 0, slots = 0;

	for (uint16_t i = 1; i < STACK_MAX_SEGS; i++) {
		if (!stack_seg(st, i))
			continue;
		chunks += st->epools[i].chunk_used;
		slots += st->epools[i].slot_used;
	}
	json_array_append_new(list, json_pack("{si si sI sI sI sI sI sI sI sI sI sI sI sI sI}",
		"worker", st->worker, "cpu", w->cpu, "cpu_us", cpu_us(),
		"loops", snmp(w, SNMP_Worker_Loops), "sleeps", snmp(w, SNMP_Worker_Sleeps),
		"packets", (json_int_t)pkt_pool_used(st->pool) - (w->queue ? w->queue->held : 0),
		"tcbs", (json_int_t)tcp_tcb_used(st),
		"timewait", (json_int_t)tcp_tw_used(st), "timers", (json_int_t)wheel_cnt(st->wheel),
		"chunks", chunks, "slots", slots,
		"commands", snmp(w, SNMP_App_Commands), "wakes", snmp(w, SNMP_App_Wakes),
		"handoff_in", snmp(w, SNMP_Worker_HandoffIn),
		"handoff_out", snmp(w, SNMP_Worker_HandoffOut)));
}

static void one_neigh(void *arg, const struct link_neigh_info *n)
{
	char buf[INET6_ADDRSTRLEN];

	json_array_append_new(arg, json_pack("{ss so ss sI}", "addr", show_addr(&n->addr, buf),
		"mac", json_mac(n->mac), "state", n->state, "queued", (json_int_t)n->queued));
}

/* Worker 0 decides; what the others have are copies. */
void show_neigh(struct worker *w, json_t *list)
{
	if (w->st.worker == 0)
		link_neigh_walk(&w->st, one_neigh, list);
}

static void one_route(void *arg, const struct ip_route_info *r)
{
	char gw[INET6_ADDRSTRLEN], src[INET6_ADDRSTRLEN];

	json_array_append_new(arg, json_pack("{so ss ss ss}", "dst", json_prefix(&r->dst, r->plen),
		"type", r->local ? "local" : "unicast",
		"gw", sd_addr_is_any(&r->gw) ? "" : show_addr(&r->gw, gw),
		"src", show_addr(&r->src, src)));
}

void show_route(struct worker *w, json_t *list)
{
	if (w->st.worker == 0)
		ip_route_walk(&w->st, one_route, list);
}

void show_softnet(struct worker *w, json_t *list)
{
	const struct counters *c = w->st.cnt;

	json_array_append_new(list, json_pack("{si sI sI sI si sI si si si}",
		"worker", w->st.worker,
		"processed", snmp(w, SNMP_Dev_RxPackets),
		"dropped", (json_int_t)(c->drop[DROP_NO_BUF] + c->drop[DROP_HANDOFF_FULL]),
		"time_squeeze", snmp(w, SNMP_Worker_TimeSqueeze), "cpu_collision", 0,
		"received_rps", snmp(w, SNMP_Worker_RpsIn), "flow_limit_count", 0,
		"softnet_backlog_len", 0, "cpu", w->cpu));
}

static json_int_t sum_snmp(const struct engine *eng, unsigned id)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < eng->workers; i++)
		n += ld_rlx(&eng->w[i]->st.cnt->snmp[id]);
	return (json_int_t)n;
}

/* { "Ip": { "InReceives": 1, ... }, ... } */
json_t *show_snmp(struct engine *eng, json_t *list)
{
	json_t *top = json_object();

	json_decref(list);
	for (unsigned id = 0; id < SNMP_MAX; id++) {
		json_t *group = json_object_get(top, snmp_group[id]);

		if (!group) {
			group = json_object();
			json_object_set_new(top, snmp_group[id], group);
		}
		json_object_set_new(group, snmp_name[id], json_integer(sum_snmp(eng, id)));
	}
	return top;
}

json_t *show_drops(struct engine *eng, json_t *list)
{
	for (unsigned why = DROP_NONE + 1; why < DROP_MAX; why++) {
		uint64_t n = 0;

		for (uint32_t i = 0; i < eng->workers; i++)
			n += ld_rlx(&eng->w[i]->st.cnt->drop[why]);
		if (n)
			json_array_append_new(list, json_pack("{ss sI ss}",
				"reason", drop_name[why], "count", (json_int_t)n,
				"text", drop_text[why]));
	}
	return list;
}

/* What crashed the engine twice. Times in seconds from now. */
json_t *show_quarantine(struct engine *eng, json_t *list)
{
	static const char *const what[] = {
		[QUAR_PACKET] = "packet", [QUAR_COMMAND] = "command", [QUAR_REQUEST] = "request",
		[QUAR_CONN] = "connection",
	};
	const struct quarantine *q = eng->w[0]->st.quar;
	uint64_t now = clock_mono_us();

	for (unsigned i = 0; i < QUAR_MAX; i++) {
		const struct quar_ent *e = &q->e[i];
		uint64_t left = e->until_us > now ? e->until_us - now : 0;

		if (e->what == QUAR_NONE)
			continue;
		json_array_append_new(list, json_pack("{ss ss sI sI sI sI}",
			"what", what[e->what], "which", e->text,
			"crashes", (json_int_t)e->crashes,
			"dropped", (json_int_t)ld_rlx(&e->dropped),
			"since", (json_int_t)((now - e->since_us) / 1000000),
			"left", (json_int_t)(left / 1000000)));
	}
	return list;
}
