/* SPDX-License-Identifier: MIT */
/* ctl/show.c - what stackctl asks for: each worker writes down its own part, worker 0 puts them
 * together Nobody reads another worker's tables: the question travels as a cross call, each worker
 * fills a list of its own, and the answer is made when all are back. Costs a worker as long as its
 * tables are.
 */
#include "stackd/ctl/ctl_int.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static const struct show_topic topics[] = {
	{ "sockets", show_sockets, NULL },
	{ "programs", show_programs_part, show_programs },
	{ "netdev", show_netdev, NULL },
	{ "workers", show_workers, NULL },
	{ "neigh", show_neigh, NULL },
	{ "route", show_route, NULL },
	{ "softnet", show_softnet, NULL },
	{ "snmp", NULL, show_snmp },
	{ "drops", NULL, show_drops },
	{ "device", show_device_part, show_device },
};

struct show {
	struct xcall call;
	const struct show_topic *topic;
	uint32_t idx, gen;		/* who asked */
	json_t *part[SD_MAX_WORKERS];	/* each by its worker, until the answer */
};

const char *show_addr(const struct sd_addr *a, char *buf)
{
	if (sd_addr_is_any(a))
		return strcpy(buf, "*");
	if (sd_addr_is_v4(a))
		inet_ntop(AF_INET, &a->w[3], buf, INET6_ADDRSTRLEN);
	else
		inet_ntop(AF_INET6, a->b, buf, INET6_ADDRSTRLEN);
	return buf;
}

static void show_part(struct worker *w, void *arg)
{
	struct show *s = arg;

	s->part[w->st.worker] = json_array();
	if (s->topic->part)
		s->topic->part(w, s->part[w->st.worker]);
}

static char *show_text(struct engine *eng, struct show *s)
{
	json_t *list = s->part[0], *top = json_object();
	char *text;

	for (uint32_t i = 1; i < eng->workers; i++) {
		json_array_extend(list, s->part[i]);
		json_decref(s->part[i]);
	}
	if (s->topic->finish)
		list = s->topic->finish(eng, list);
	json_object_set_new(top, s->topic->name, list);
	text = json_dumps(top, JSON_COMPACT);
	json_decref(top);
	return text;
}

static void show_done(struct engine *eng, void *arg)
{
	struct show *s = arg;
	char *text = show_text(eng, s);

	if (!conn_at(eng, s->idx, s->gen))
		free(text);
	else if (text)
		conn_send_text(eng, s->idx, text, strlen(text));
	else
		conn_refuse(eng, s->idx, -ENOMEM, "no memory for the answer");
	free(s);
}

int show_start(struct engine *eng, uint32_t idx, const char *topic)
{
	struct show *s;

	for (unsigned i = 0; i < sizeof(topics) / sizeof(topics[0]); i++) {
		if (strcmp(topic, topics[i].name))
			continue;
		s = calloc(1, sizeof(*s));
		if (!s)
			return -ENOMEM;
		s->topic = &topics[i];
		s->idx = idx;
		s->gen = eng->ctl->conn[idx].gen;
		s->call = (struct xcall){ .fn = show_part, .done = show_done, .arg = s };
		xcall_start(eng, &s->call);
		return 0;
	}
	return -ENOENT;
}
