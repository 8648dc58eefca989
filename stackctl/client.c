/* SPDX-License-Identifier: MIT */
/* stackctl/client.c - one request over the control socket, and its answer */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "stackctl/client.h"

#define ANSWER_LIMIT_S 10

int client_open(const char *dir)
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

int client_ask(const struct request *rq, char **ret_text)
{
	int fd = client_open(rq->run_dir), r;
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
