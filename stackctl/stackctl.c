/* SPDX-License-Identifier: MIT */
/* stackctl/stackctl.c - ask the daemon: one request over the control socket, the answer as text or
 * JSON Exit codes: 0, 1 the daemon said no or cannot be reached, 2 usage.
 */
#include <errno.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "stackctl/table.h"
#include "stackd/ctl.h"

#define ANSWER_LIMIT_S 10

static const char help_text[] =
"Usage: stackctl [--run-dir DIR] [--json] show TOPIC\n"
"       stackctl [--run-dir DIR] [--json] sysctl [-w] NAME[=VALUE] | -a\n"
"Topics: sockets netdev snmp softnet neigh route programs workers drops\n";

struct request {
	const char *run_dir;
	bool json;
	uint32_t type;			/* CTL_SHOW or CTL_SYSCTL */
	const char *text;
};

static int open_socket(const char *dir)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	struct timeval limit = { .tv_sec = ANSWER_LIMIT_S };
	int fd;

	if (snprintf(sa.sun_path, sizeof(sa.sun_path), "%s/%s", dir, SD_CTL_SOCK) >=
	    (int)sizeof(sa.sun_path)) {
		fprintf(stderr, "stackctl: %s: path too long\n", dir);
		return -1;
	}
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) ||
	    connect(fd, (struct sockaddr *)&sa, sizeof(sa))) {
		fprintf(stderr, "stackctl: no stackd at %s: %s\n", sa.sun_path, strerror(errno));
		return -1;
	}
	return fd;
}

static int send_request(int fd, const struct request *rq)
{
	struct {
		struct sd_ctl_text t;
		char text[1024];
	} m = { .t = { .h = { .type = rq->type }, .len = (uint32_t)strlen(rq->text) } };

	if (m.t.len >= sizeof(m.text)) {
		fprintf(stderr, "stackctl: %s: too long\n", rq->text);
		return -1;
	}
	memcpy(m.text, rq->text, m.t.len);
	m.t.h.len = (uint32_t)sizeof(m.t) + m.t.len;
	if (send(fd, &m, m.t.h.len, MSG_NOSIGNAL) < 0) {
		fprintf(stderr, "stackctl: cannot ask: %s\n", strerror(errno));
		return -1;
	}
	return 0;
}

/* One part appended. Return: 1 = more to come, 2 = the engine was restarted, ask again, 0 = that
 * was the last, -1 = told. */
static int read_part(int fd, char **text, size_t *len)
{
	static char buf[sizeof(struct sd_ctl_text) + SD_CTL_TEXT_MAX];
	const struct sd_ctl_text *t = (const struct sd_ctl_text *)buf;
	const struct sd_ctl_error *e = (const struct sd_ctl_error *)buf;
	ssize_t n = recv(fd, buf, sizeof(buf), 0);
	char *more;

	if (n <= 0) {
		fprintf(stderr, "stackctl: stackd did not answer: %s\n",
			n ? strerror(errno) : "it closed the connection");
		return -1;
	}
	if (n == sizeof(*e) && e->h.type == CTL_ERROR) {
		fprintf(stderr, "stackctl: stackd says: %.*s\n", (int)sizeof(e->text), e->text);
		return -1;
	}
	if (n == sizeof(t->h) && t->h.type == CTL_AGAIN)
		return 2;
	if (n < (ssize_t)sizeof(*t) || t->h.type != CTL_TEXT_R ||
	    (size_t)n != sizeof(*t) + t->len) {
		fprintf(stderr, "stackctl: stackd's answer is not understood\n");
		return -1;
	}
	more = realloc(*text, *len + t->len + 1);
	if (!more) {
		fprintf(stderr, "stackctl: out of memory\n");
		return -1;
	}
	memcpy(more + *len, t->text, t->len);
	*len += t->len;
	more[*len] = '\0';
	*text = more;
	return t->more ? 1 : 0;
}

static int ask(const struct request *rq, char **ret_text)
{
	int fd = open_socket(rq->run_dir), r;
	size_t len = 0;

	*ret_text = NULL;
	if (fd < 0)
		return -1;
	r = send_request(fd, rq);
	if (!r) {
		do {
			r = read_part(fd, ret_text, &len);
			if (r == 2) {
				len = 0;
				r = send_request(fd, rq) ? -1 : 1;
			}
		} while (r > 0);
	}
	close(fd);
	return r;
}

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
	if (argc - i == 3 && !strcmp(argv[i], "sysctl") && !strcmp(argv[i + 1], "-w")) {
		argv[i + 1] = argv[i];
		i++;
	}
	if (argc - i != 2)
		return usage("expected a command and one word") + 1;
	if (!strcmp(argv[i], "show"))
		rq->type = CTL_SHOW;
	else if (!strcmp(argv[i], "sysctl"))
		rq->type = CTL_SYSCTL;
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
	r = ask(&rq, &text) ? 1 : print_answer(&rq, text);
	free(text);
	return r;
}
