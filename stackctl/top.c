/* SPDX-License-Identifier: MIT */
/* stackctl/top.c - live view: workers, TCP, programs, busiest sockets; rates between two looks
 * A look is the daemon's topics workers, netdev, snmp, drops, programs and, up to SOCKETS_MAX
 * connections, sockets. A socket that came since the last look counts with all its bytes, one that
 * went with none; so short connections show in the workers' rates only. A family of processes
 * shares its sockets: it is one line, by its first process.
 * Spec:    O1
 */
#include "stackctl/top.h"

#include <getopt.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "stackctl/table.h"
#include "stackctl/topic.h"

#define SOCKETS_MAX	20000		/* about 300 bytes of text each */
#define BUSIEST		10u
#define INTERVAL_MIN	0.1
#define INTERVAL_MAX	3600.0

struct look {
	double at;			/* seconds */
	json_t *workers, *netdev, *snmp, *drops, *programs, *sockets;
};

struct top {
	const char *run_dir;
	bool json;
	double interval;
	unsigned long count;		/* 0 = until a signal */
};

static double now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* ---- looking ---- */

static json_int_t num(const json_t *o, const char *key)
{
	return json_integer_value(json_object_get(o, key));
}

static json_int_t sum(const json_t *list, const char *key)
{
	json_int_t n = 0;
	json_t *o;
	size_t i;

	json_array_foreach(list, i, o)
		n += num(o, key);
	return n;
}

static void look_free(struct look *l)
{
	json_decref(l->workers);
	json_decref(l->netdev);
	json_decref(l->snmp);
	json_decref(l->drops);
	json_decref(l->programs);
	json_decref(l->sockets);
}

/* Return: 0, or -1 = told. */
static int look(const char *run_dir, struct look *ret)
{
	*ret = (struct look){
		.at = now_s(),
		.workers = topic_ask(run_dir, "workers"),
	};
	if (!ret->workers)
		return -1;
	ret->netdev = topic_ask(run_dir, "netdev");
	ret->snmp = topic_ask(run_dir, "snmp");
	ret->drops = topic_ask(run_dir, "drops");
	ret->programs = topic_ask(run_dir, "programs");
	if (sum(ret->workers, "tcbs") <= SOCKETS_MAX)
		ret->sockets = topic_ask(run_dir, "sockets");
	if (ret->netdev && ret->snmp && ret->drops && ret->programs)
		return 0;
	look_free(ret);
	return -1;
}

/* ---- rates ---- */

/* Events per second; none when a new engine has begun to count anew. */
static double rate(json_int_t then, json_int_t now, double s)
{
	return now > then ? round((double)(now - then) / s) : 0;
}

static json_t *mbit(json_int_t then, json_int_t now, double s)
{
	return json_real(now > then ? (double)(now - then) * 8 / 1e6 / s : 0);
}

static void add_rate(json_t *o, const char *name, json_int_t then, json_int_t now, double s)
{
	json_object_set_new(o, name, json_integer((json_int_t)rate(then, now, s)));
}

static const json_t *find(const json_t *list, const char *key, json_int_t v)
{
	json_t *o;
	size_t i;

	json_array_foreach(list, i, o)
		if (num(o, key) == v)
			return o;
	return NULL;
}

static json_t *worker_rows(const struct look *a, const struct look *b)
{
	json_t *list = json_array(), *w;
	double s = b->at - a->at;
	size_t i;

	json_array_foreach(b->workers, i, w) {
		json_int_t id = num(w, "worker");
		const json_t *was = find(a->workers, "worker", id);
		const json_t *q0 = find(a->netdev, "queue", id);
		const json_t *q = find(b->netdev, "queue", id);
		double cpu = rate(num(was, "cpu_us"), num(w, "cpu_us"), s) / 1e4;
		json_t *o = json_pack("{sI sf}", "worker", id, "cpu_%", round(cpu * 10) / 10);

		add_rate(o, "rx_pkt/s", num(q0, "rx_packets"), num(q, "rx_packets"), s);
		add_rate(o, "tx_pkt/s", num(q0, "tx_packets"), num(q, "tx_packets"), s);
		json_object_set_new(o, "rx_Mbit/s",
				    mbit(num(q0, "rx_bytes"), num(q, "rx_bytes"), s));
		json_object_set_new(o, "tx_Mbit/s",
				    mbit(num(q0, "tx_bytes"), num(q, "tx_bytes"), s));
		add_rate(o, "commands/s", num(was, "commands"), num(w, "commands"), s);
		add_rate(o, "wakes/s", num(was, "wakes"), num(w, "wakes"), s);
		add_rate(o, "sleeps/s", num(was, "sleeps"), num(w, "sleeps"), s);
		json_object_set_new(o, "connections", json_integer(num(w, "tcbs")));
		json_object_set_new(o, "timewait", json_integer(num(w, "timewait")));
		json_array_append_new(list, o);
	}
	return list;
}

static json_int_t all_of(const json_t *o)
{
	json_int_t n = 0;
	const char *key;
	json_t *v;

	json_object_foreach((json_t *)o, key, v)
		n += json_integer_value(v);
	return n;
}

static json_t *tcp_row(const struct look *a, const struct look *b)
{
	static const struct { const char *name, *key; } what[] = {
		{ "connects/s", "ActiveOpens" }, { "accepts/s", "PassiveOpens" },
		{ "fails/s", "AttemptFails" }, { "resets/s", "EstabResets" },
		{ "retrans/s", "RetransSegs" }, { "errors/s", "InErrs" },
	};
	const json_t *t = json_object_get(b->snmp, "Tcp"), *t0 = json_object_get(a->snmp, "Tcp");
	double s = b->at - a->at;
	json_t *o = json_object(), *list = json_array();

	for (size_t i = 0; i < sizeof(what) / sizeof(what[0]); i++)
		add_rate(o, what[i].name, num(t0, what[i].key), num(t, what[i].key), s);
	add_rate(o, "drops/s", all_of(a->drops), all_of(b->drops), s);
	json_array_append_new(list, o);
	return list;
}

/* ---- sockets and programs ---- */

static void sock_key(const json_t *o, char buf[128])
{
	snprintf(buf, 128, "%s %lld %s %lld %lld/%lld",
		 json_string_value(json_object_get(o, "laddr")), (long long)num(o, "lport"),
		 json_string_value(json_object_get(o, "raddr")), (long long)num(o, "rport"),
		 (long long)num(o, "segment"), (long long)num(o, "slot"));
}

/* The last look's sockets by key. */
static json_t *sock_map(const json_t *list)
{
	json_t *map = json_object(), *o;
	char key[128];
	size_t i;

	json_array_foreach(list, i, o) {
		sock_key(o, key);
		json_object_set(map, key, o);
	}
	return map;
}

static json_t *end_name(const json_t *o, const char *addr, const char *port)
{
	return json_sprintf("%s:%lld", json_string_value(json_object_get(o, addr)),
			    (long long)num(o, port));
}

static json_t *sock_row(const json_t *o, const json_t *was, double s)
{
	return json_pack("{ss ss so so so so sI sI sI}",
		"proto", json_string_value(json_object_get(o, "proto")),
		"state", json_string_value(json_object_get(o, "state")),
		"local", end_name(o, "laddr", "lport"), "remote", end_name(o, "raddr", "rport"),
		"in_Mbit/s", mbit(num(was, "bytes_in"), num(o, "bytes_in"), s),
		"out_Mbit/s", mbit(num(was, "bytes_out"), num(o, "bytes_out"), s),
		"srtt_us", num(o, "srtt_us"), "cwnd", num(o, "cwnd"), "retrans", num(o, "retrans"));
}

static double weight(const json_t *row)
{
	return json_real_value(json_object_get(row, "in_Mbit/s")) +
	       json_real_value(json_object_get(row, "out_Mbit/s"));
}

static int by_weight(const void *a, const void *b)
{
	double x = weight(*(json_t *const *)a), y = weight(*(json_t *const *)b);

	return x < y ? 1 : x > y ? -1 : 0;
}

/* The BUSIEST of @rows that carried anything. Takes @rows. */
static json_t *busiest(json_t *rows)
{
	size_t cnt = json_array_size(rows), i;
	json_t **v = calloc(cnt ? cnt : 1, sizeof(*v)), *list = json_array();

	for (i = 0; v && i < cnt; i++)
		v[i] = json_array_get(rows, i);
	if (v)
		qsort(v, cnt, sizeof(*v), by_weight);
	for (i = 0; v && i < cnt && i < BUSIEST && weight(v[i]) > 0; i++)
		json_array_append(list, v[i]);
	free(v);
	json_decref(rows);
	return list;
}

/* A line per segment. */
static json_t *program_rows(const struct look *b)
{
	json_t *list = json_array(), *p, *row;
	size_t i;

	json_array_foreach(b->programs, i, p) {
		row = (json_t *)find(list, "segment", num(p, "segment"));
		if (!row) {
			row = json_pack("{sI sI ss sI sI sf sf}", "segment", num(p, "segment"),
				"pid", num(p, "pid"),
				"program", json_string_value(json_object_get(p, "comm")),
				"processes", (json_int_t)0, "sockets", num(p, "slots"),
				"in_Mbit/s", 0.0, "out_Mbit/s", 0.0);
			json_array_append_new(list, row);
		}
		json_object_set_new(row, "processes", json_integer(num(row, "processes") + 1));
	}
	return list;
}

static void add_mbit(json_t *row, const char *key, const json_t *from)
{
	double v = json_real_value(json_object_get(row, key)) +
		   json_real_value(json_object_get(from, key));

	json_object_set_new(row, key, json_real(v));
}

/* Rows of all sockets; what they carried is added to their programs. */
static json_t *sock_rows(const struct look *a, const struct look *b, json_t *programs)
{
	json_t *list = json_array(), *map = sock_map(a->sockets), *o;
	char key[128];
	size_t i;

	json_array_foreach(b->sockets, i, o) {
		json_t *row, *p;

		sock_key(o, key);
		row = sock_row(o, json_object_get(map, key), b->at - a->at);
		p = (json_t *)find(programs, "segment", num(o, "segment"));
		if (p) {
			add_mbit(p, "in_Mbit/s", row);
			add_mbit(p, "out_Mbit/s", row);
		}
		json_array_append_new(list, row);
	}
	json_decref(map);
	return list;
}

/* ---- showing ---- */

static json_t *compare(const struct look *a, const struct look *b)
{
	json_t *programs = program_rows(b), *sockets = NULL;

	if (a->sockets && b->sockets)
		sockets = busiest(sock_rows(a, b, programs));
	return json_pack("{so so so so*}", "workers", worker_rows(a, b), "tcp", tcp_row(a, b),
			 "programs", programs, "sockets", sockets);
}

static void print_part(const json_t *all, const char *name)
{
	const json_t *list = json_object_get(all, name);

	putchar('\n');
	if (list)
		table_print(list);
	else
		printf("(%s: more than %d, not looked at)\n", name, SOCKETS_MAX);
}

static void show(const struct top *t, const json_t *all, double s)
{
	char clock[16];
	time_t now = time(NULL);

	if (t->json) {
		json_dumpf(all, stdout, JSON_COMPACT | JSON_REAL_PRECISION(6));
		putchar('\n');
	} else {
		strftime(clock, sizeof(clock), "%T", localtime(&now));
		printf("%sstackd, the last %.1f s at %s\n",
		       isatty(STDOUT_FILENO) ? "\033[H\033[J" : "", s, clock);
		print_part(all, "workers");
		print_part(all, "tcp");
		print_part(all, "programs");
		print_part(all, "sockets");
		putchar('\n');
	}
	fflush(stdout);
}

/* Return: exit code. */
static int run(const struct top *t)
{
	struct look a, b;

	if (look(t->run_dir, &a))
		return 1;
	for (unsigned long i = 0; !t->count || i < t->count; i++) {
		json_t *all;

		usleep((useconds_t)(t->interval * 1e6));
		if (look(t->run_dir, &b)) {
			look_free(&a);
			return 1;
		}
		all = compare(&a, &b);
		show(t, all, b.at - a.at);
		json_decref(all);
		look_free(&a);
		a = b;
		if (ferror(stdout))
			break;
	}
	look_free(&a);
	return ferror(stdout) ? 1 : 0;
}

static int usage(void)
{
	fputs("Usage: stackctl [--run-dir DIR] [--json] top [-d SECONDS] [-n COUNT]\n"
	      "  -d SECONDS  between two looks, 0.1 to 3600 (default 2)\n"
	      "  -n COUNT    end after so many (default: go on)\n", stderr);
	return 2;
}

int top_main(int argc, char **argv, const char *run_dir, bool json)
{
	struct top t = { .run_dir = run_dir, .json = json, .interval = 2 };
	char *end;
	int c;

	optind = 1;
	while ((c = getopt(argc, argv, "d:n:")) != -1) {
		if (c == 'd')
			t.interval = strtod(optarg, &end);
		else if (c == 'n')
			t.count = strtoul(optarg, &end, 10);
		else
			return usage();
		if (*end || end == optarg || (c == 'n' && !t.count) || *optarg == '-' ||
		    !(t.interval >= INTERVAL_MIN && t.interval <= INTERVAL_MAX)) {
			fprintf(stderr, "stackctl: top -%c %s: not a number in range\n", c, optarg);
			return usage();
		}
	}
	return optind < argc ? usage() : run(&t);
}
