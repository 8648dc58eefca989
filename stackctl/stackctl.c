/* SPDX-License-Identifier: MIT */
/* stackctl/stackctl.c - ask the daemon: one request over the control socket, the answer as text or
 * JSON Exit codes: 0, 1 the daemon said no or cannot be reached, 2 usage.
 */
#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "stackctl/client.h"
#include "stackctl/nic.h"
#include "stackctl/table.h"
#include "stackctl/top.h"
#include "stackctl/why.h"

#define CAPTURE "-capture"

static const char help_text[] =
"Usage: stackctl [--run-dir DIR] [--json] show TOPIC\n"
"       stackctl [--run-dir DIR] [--json] sysctl [-w] NAME[=VALUE] | -a\n"
"       stackctl [--run-dir DIR] capture [-w FILE] [OPTION]... [FILTER]\n"
"       stackctl [--run-dir DIR] [--json] top [-d SECONDS] [-n COUNT]\n"
"       stackctl [--run-dir DIR] why PID\n"
"       stackctl [--run-dir DIR] nic claim|release PCI | reset\n"
"       stackctl [--run-dir DIR] nic rss DEV tcp4|udp4|... sdfn | key HEX | indir QUEUE,...\n"
"       stackctl [--run-dir DIR] nic coalesce DEV rx-usecs N | ring DEV N\n"
"Topics: sockets fds device nic queues rss coalesce\n"
"        netdev snmp softnet neigh route programs users workers drops\n"
"        quarantine\n";

/* As sysctl(8) does. */
static void print_settings(const json_t *top)
{
	const char *name;
	json_t *v;

	json_object_foreach((json_t *)top, name, v) {
		if (json_is_string(v))
			printf("%s = %s\n", name, json_string_value(v));
		else
			printf("%s = %" JSON_INTEGER_FORMAT "\n", name, json_integer_value(v));
	}
}

static int print_answer(const struct request *rq, const char *text)
{
	json_error_t err;
	json_t *top;

	if (rq->json)
		return puts(text) < 0;
	top = json_loads(text, 0, &err);
	if (!top) {
		fprintf(stderr, "stackctl: stackd's answer is not JSON: %s\n", err.text);
		return 1;
	}
	if (rq->type == CTL_SHOW)
		table_print(json_object_get(top, rq->text));
	else
		print_settings(top);
	json_decref(top);
	return 0;
}

static int usage(const char *what)
{
	if (what)
		fprintf(stderr, "stackctl: %s\n", what);
	fputs(help_text, stderr);
	return 2;
}

/* capture is a program of its own beside this one: few need its libraries. Return: exit code. */
static int run_capture(const char *run_dir, char **argv)
{
	char path[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - sizeof(CAPTURE));

	if (n <= 0 || setenv("STACKD_RUN_DIR", run_dir, 1))
		return usage("cannot find myself");
	strcpy(path + n, CAPTURE);
	argv[0] = path;
	execv(path, argv);
	fprintf(stderr, "stackctl: %s: %s (it is built where libwiretap-dev and libpcap0.8-dev "
		"are installed)\n", path, strerror(errno));
	return 1;
}

/* Return: 0, or an exit code + 1. */
static int parse(int argc, char **argv, struct request *rq)
{
	const char *env = getenv("STACKD_RUN_DIR");
	int i;

	*rq = (struct request){ .run_dir = env && *env ? env : "/run/stackd" };
	for (i = 1; i < argc && argv[i][0] == '-'; i++) {
		if (!strcmp(argv[i], "--json")) {
			rq->json = true;
		} else if (!strcmp(argv[i], "--run-dir") && i + 1 < argc) {
			rq->run_dir = argv[++i];
		} else if (!strncmp(argv[i], "--run-dir=", 10)) {
			rq->run_dir = argv[i] + 10;
		} else if (!strcmp(argv[i], "--help")) {
			fputs(help_text, stdout);
			return 1;
		} else {
			fprintf(stderr, "stackctl: %s: unknown option\n", argv[i]);
			return usage(NULL) + 1;
		}
	}
	if (i < argc && !strcmp(argv[i], "capture"))
		return run_capture(rq->run_dir, argv + i) + 1;
	if (i < argc && !strcmp(argv[i], "top"))
		return top_main(argc - i, argv + i, rq->run_dir, rq->json) + 1;
	if (argc - i == 3 && !strcmp(argv[i], "sysctl") && !strcmp(argv[i + 1], "-w")) {
		argv[i + 1] = argv[i];
		i++;
	}
	if (argc - i >= 2 && !strcmp(argv[i], "nic") && nic_is_local(argv[i + 1]))
		return nic_main(argc - i - 1, argv + i + 1, rq->run_dir) + 1;
	if ((argc - i == 4 || argc - i == 5) && !strcmp(argv[i], "nic")) {
		static char words[160];

		snprintf(words, sizeof(words), "%s %s %s%s%s", argv[i + 1], argv[i + 2],
			 argv[i + 3], argc - i == 5 ? " " : "", argc - i == 5 ? argv[i + 4] : "");
		rq->type = CTL_NIC;
		rq->text = words;
		return 0;
	}
	if (argc - i != 2)
		return usage("expected a command and one word") + 1;
	if (!strcmp(argv[i], "why"))
		return why(rq->run_dir, argv[i + 1]) + 1;
	if (!strcmp(argv[i], "show"))
		rq->type = CTL_SHOW;
	else if (!strcmp(argv[i], "sysctl"))
		rq->type = CTL_SYSCTL;
	else if (!strcmp(argv[i], "nic"))
		rq->type = CTL_NIC;
	else
		return usage("unknown command") + 1;
	rq->text = argv[i + 1];
	return 0;
}

int main(int argc, char **argv)
{
	struct request rq;
	char *text;
	int r = parse(argc, argv, &rq);

	if (r)
		return r - 1;
	r = client_ask(&rq, &text) ? 1 : print_answer(&rq, text);
	free(text);
	return r;
}
