/* SPDX-License-Identifier: MIT */
/* ctl/show.c - what stackctl asks for: each worker writes down its own part, worker 0 puts them
 * together Nobody reads another worker's tables: the question travels as a cross call, each worker
 * fills a list of its own, and the answer is made when all are back. Costs a worker as long as its
 * tables are; what may be millions goes in pieces, the next one when the one before is sent.
 */
#include "stackd/ctl/ctl_int.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static const struct show_topic topics[] = {
	{ .name = "sockets", .piece = show_sockets },
	{ .name = "programs", .part = show_programs_part, .finish = show_programs },
	{ .name = "users", .part = show_programs_part, .finish = show_users },
	{ .name = "fds", .finish = show_fds },
	{ .name = "netdev", .part = show_netdev },
	{ .name = "workers", .part = show_workers },
	{ .name = "neigh", .part = show_neigh },
	{ .name = "route", .part = show_route },
	{ .name = "softnet", .part = show_softnet },
	{ .name = "snmp", .finish = show_snmp },
	{ .name = "drops", .finish = show_drops },
	{ .name = "quarantine", .finish = show_quarantine },
	{ .name = "device", .part = show_device_part, .finish = show_device },
	{ .name = "nic", .part = show_device_part, .finish = show_device },
	{ .name = "queues", .part = show_device_part },
	{ .name = "rss", .finish = show_rss },
	{ .name = "coalesce", .finish = show_coalesce },
};

struct show {
	struct xcall call;
	const struct show_topic *topic;
	struct show *next;
	uint32_t idx, gen;		/* who asked */
	json_t *part[SD_MAX_WORKERS];	/* each by its worker, until the answer */
	struct show_pos pos[SD_MAX_WORKERS];	/* in pieces: each by its worker */
	bool begun;			/* in pieces: the first has gone */
	bool comma;			/* an entry was sent before */
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

	struct show_pos *p = &s->pos[w->st.worker];

	s->part[w->st.worker] = json_array();
	if (s->topic->part)
		s->topic->part(w, s->part[w->st.worker]);
	else if (s->topic->piece && !p->end)
		s->topic->piece(w, p, s->part[w->st.worker]);
}

/* Of all workers. */
static json_t *show_list(struct engine *eng, struct show *s)
{
	json_t *list = s->part[0];

	for (uint32_t i = 1; i < eng->workers; i++) {
		json_array_extend(list, s->part[i]);
		json_decref(s->part[i]);
	}
	return list;
}

static char *show_text(struct engine *eng, struct show *s)
{
	json_t *list = show_list(eng, s), *top = json_object();
	char *text;

	if (s->topic->finish)
		list = s->topic->finish(eng, list);
	json_object_set_new(top, s->topic->name, list);
	text = json_dumps(top, JSON_COMPACT);
	json_decref(top);
	return text;
}

/* {"topic":[ before the first entry, ]} after the last. Return: NULL = no memory. */
static char *piece_text(struct engine *eng, struct show *s, bool last)
{
	json_t *list = show_list(eng, s);
	bool some = json_array_size(list) != 0;
	char *entries = json_dumps(list, JSON_COMPACT), *text = NULL;
	int len = entries ? (int)strlen(entries) - 2 : 0;	/* its own brackets are not sent */

	json_decref(list);
	if (!entries || asprintf(&text, "%s%s%s%s%.*s%s", s->begun ? "" : "{\"",
				 s->begun ? "" : s->topic->name, s->begun ? "" : "\":[",
				 s->comma && some ? "," : "", len, entries + 1,
				 last ? "]}" : "") < 0)
		text = NULL;
	free(entries);
	s->begun = true;
	s->comma |= some;
	return text;
}

static bool all_ended(const struct engine *eng, const struct show *s)
{
	for (uint32_t i = 0; s->topic->piece && i < eng->workers; i++)
		if (!s->pos[i].end)
			return false;
	return true;
}

static void show_done(struct engine *eng, void *arg)
{
	struct show *s = arg;
	bool last = all_ended(eng, s);
	char *text = s->topic->piece ? piece_text(eng, s, last) : show_text(eng, s);

	if (!conn_at(eng, s->idx, s->gen) || !text) {
		if (!text && conn_at(eng, s->idx, s->gen))
			conn_refuse(eng, s->idx, -ENOMEM, "no memory for the answer");
		free(text);
		free(s);
	} else if (last) {
		conn_send_text(eng, s->idx, text, strlen(text));
		free(s);
	} else if (!*text) {
		free(text);
		show_more(eng, s);
	} else {
		conn_send_piece(eng, s->idx, text, strlen(text), s);
	}
}

static void ask_workers(struct engine *eng, struct show *s)
{
	s->call = (struct xcall){ .fn = show_part, .done = show_done, .arg = s };
	xcall_start(eng, &s->call);
}

void show_drop(struct show *s)
{
	free(s);
}

void show_more(struct engine *eng, struct show *s)
{
	s->next = eng->ctl->shows;
	eng->ctl->shows = s;
}

unsigned show_poll(struct engine *eng)
{
	struct show *s = eng->ctl->shows;

	if (!s)
		return 0;
	eng->ctl->shows = s->next;
	if (conn_at(eng, s->idx, s->gen))
		ask_workers(eng, s);
	else
		show_drop(s);
	return 1;
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
		ask_workers(eng, s);
		return 0;
	}
	return -ENOENT;
}
