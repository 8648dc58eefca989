/* SPDX-License-Identifier: MIT */
/* The control path against a supervisor and programs played by the test: malformed messages,
 * answers to deposits in order, drops that wait for a full channel, text in parts. One worker, one
 * real ring. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "stackd/core/clock.h"
#include "stackd/ctl/ctl_int.h"
#include "stackd/engine/engine_int.h"

static struct engine *eng;
static struct worker *w;
static int sup;				/* the supervisor's end of the channel */
static uint32_t uid = 1000;		/* whose the next program is */
static struct sysctl sys;

static void start(void)
{
	int sv[2];

	eng = mmap(NULL, sizeof(*eng), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	w = calloc(1, sizeof(*w));
	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, sv), 0);
	eng->chan = sv[0];
	sup = sv[1];
	eng->workers = 1;
	eng->epoch = 1;
	eng->w[0] = w;
	eng->info = calloc(1, SD_INFO_SIZE);
	w->eng = eng;
	sysctl_defaults(&sys);
	w->st.sys = &sys;
	w->st.cnt = calloc(1, sizeof(*w->st.cnt));
	w->st.intent = calloc(1, sizeof(*w->st.intent));
	cr_assert_eq(ring_open(w), 0);
	cr_assert_eq(ring_start(w), 0);
	cr_assert_eq(ctl_init(eng), 0);
}

/* A program connects. Return: its end. */
static int program(uint64_t key)
{
	struct sup_msg m = { .type = SUP_CONN, .kind = KEEP_CONN, .key = key };
	struct sup_cred cred = { .pid = 42, .uid = uid };
	int sv[2];

	memcpy(m.meta, &cred, sizeof(cred));
	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, sv), 0);
	cr_assert_eq(sup_send(sup, &m, sizeof(m), &sv[1], 1, 0), 0);
	close(sv[1]);
	ctl_chan_ready(eng);
	return sv[0];
}

/* Run the ring until the program's end has something to read. */
static void run_until(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	while (poll(&p, 1, 0) == 0) {
		ring_sleep(w, 1000);
		w->st.now_us = clock_mono_us();
		ring_reap(w);
		ctl_poll(eng);
	}
}

static void expect_error(int fd, int err)
{
	struct sd_ctl_error e;
	char more;

	run_until(fd);
	cr_assert_eq(recv(fd, &e, sizeof(e), 0), (ssize_t)sizeof(e));
	cr_assert_eq(e.h.type, (uint32_t)CTL_ERROR);
	cr_assert_eq(e.err, err);
	run_until(fd);
	cr_assert_leq(recv(fd, &more, 1, 0), 0, "hang-up after the error");
}

static void expect_drop(uint64_t key)
{
	struct sup_msg m;

	run_until(sup);
	cr_assert_eq(recv(sup, &m, sizeof(m), 0), (ssize_t)sizeof(m));
	cr_assert_eq(m.type, (uint32_t)ENG_DROP);
	cr_assert_eq(m.key, key);
}

TestSuite(ctl, .init = start, .timeout = 10);

Test(ctl, malformed)
{
	struct sd_ctl_head bad[] = {
		{ 0, 8 }, { CTL_HELLO, 8 }, { CTL_HELLO, 9 }, { CTL_HELLO_R, 8 }, { 1u << 31, 8 },
		{ CTL_SHOW, 8 }, { CTL_SHOW, 0 }, { CTL_FORK, 8 }, { CTL_MBOX, 8 },
	};

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		int fd = program(SUP_KEY_CONN | (i + 1));

		cr_assert_eq(send(fd, &bad[i], sizeof(bad[i]), 0), (ssize_t)sizeof(bad[i]));
		expect_error(fd, -EPROTO);
		expect_drop(SUP_KEY_CONN | (i + 1));
		close(fd);
	}
	cr_assert_eq(eng->ctl->conn_cnt, 0u);
}

Test(ctl, shorter_than_a_head)
{
	int fd = program(SUP_KEY_CONN | 1);

	cr_assert_eq(send(fd, "abc", 3, 0), 3);
	expect_error(fd, -EPROTO);
}

Test(ctl, longer_than_allowed)
{
	static char big[CTL_MSG_MAX + 1];
	int fd = program(SUP_KEY_CONN | 1);

	cr_assert_eq(send(fd, big, sizeof(big), 0), (ssize_t)sizeof(big));
	expect_error(fd, -EPROTO);
}

Test(ctl, fds_that_come_along_are_closed)
{
	struct sd_ctl_head h = { 99, sizeof(h) };
	int fd = program(SUP_KEY_CONN | 1), ev = eventfd(0, 0), before = dup(0), after;

	close(before);
	cr_assert_eq(sup_send(fd, &h, sizeof(h), &ev, 1, 0), 0);
	expect_error(fd, -EPERM);
	after = dup(0);
	cr_assert_leq(after, before, "the engine kept an fd");
}

Test(ctl, wrong_version)
{
	struct sd_ctl_hello h = { .h = { CTL_HELLO, sizeof(h) }, .major = SD_ABI_MAJOR + 1 };
	int fd = program(SUP_KEY_CONN | 1);

	cr_assert_eq(send(fd, &h, sizeof(h), 0), (ssize_t)sizeof(h));
	expect_error(fd, -EPROTO);
}

static void ask(int fd, uint32_t type, const char *text)
{
	struct {
		struct sd_ctl_text t;
		char text[200];
	} m = { .t = { .h = { type, (uint32_t)(sizeof(m.t) + strlen(text)) },
		       .len = (uint32_t)strlen(text) } };

	memcpy(m.text, text, strlen(text));
	cr_assert_eq(send(fd, &m, m.t.h.len, 0), (ssize_t)m.t.h.len);
}

static void set_and_see(int fd, const char *what, const char *want)
{
	char buf[512];
	struct sd_ctl_text *t = (struct sd_ctl_text *)buf;

	ask(fd, CTL_SYSCTL, what);
	run_until(fd);
	cr_assert_gt(recv(fd, buf, sizeof(buf) - 1, 0), (ssize_t)sizeof(*t));
	t->text[t->len] = '\0';
	cr_assert_str_eq(t->text, want);
}

Test(ctl, settings)
{
	char buf[512];
	struct sd_ctl_text *t = (struct sd_ctl_text *)buf;
	int fd;

	uid = 0;
	fd = program(SUP_KEY_CONN | 1);
	eng->info->spin_ns = 1234;
	ask(fd, CTL_SYSCTL, "stackd.spin_ns");
	run_until(fd);
	cr_assert_gt(recv(fd, buf, sizeof(buf) - 1, 0), (ssize_t)sizeof(*t));
	t->text[t->len] = '\0';
	cr_assert_str_eq(t->text, "{\"stackd.spin_ns\":1234}");
	cr_assert_eq(t->more, 0u);
	set_and_see(fd, "net.ipv4.tcp_sack=0", "{\"net.ipv4.tcp_sack\":0}");
	cr_assert_eq(sys.tcp_sack, 0u);
	set_and_see(fd, "net.ipv4.tcp_rmem=4096 87380 6291456",
		    "{\"net.ipv4.tcp_rmem\":\"4096\\t87380\\t6291456\"}");
	cr_assert_eq(eng->info->def_rcvbuf, 87380u);
	ask(fd, CTL_SYSCTL, "net.ipv4.tcp_sack=2");
	expect_error(fd, -EINVAL);
	uid = 1000;
	fd = program(SUP_KEY_CONN | 4);
	ask(fd, CTL_SYSCTL, "net.ipv4.tcp_sack=1");
	expect_error(fd, -EPERM);
	fd = program(SUP_KEY_CONN | 2);
	ask(fd, CTL_SYSCTL, "stackd.spin");
	expect_error(fd, -ENOENT);
	fd = program(SUP_KEY_CONN | 3);
	ask(fd, CTL_SHOW, "nonsense");
	expect_error(fd, -ENOENT);
}

Test(ctl, text_in_parts_to_a_slow_reader)
{
	enum { LEN = 1000000 };
	static char buf[sizeof(struct sd_ctl_text) + SD_CTL_TEXT_MAX];
	struct sd_ctl_text *t = (struct sd_ctl_text *)buf;
	char *text = malloc(LEN);
	size_t got = 0;
	int fd = program(SUP_KEY_CONN | 1);
	uint32_t idx = 0;

	while (eng->ctl->conn[++idx].state == CONN_FREE)
		;
	for (size_t i = 0; i < LEN; i++)
		text[i] = (char)('a' + i % 23);
	eng->ctl->conn[idx].state = CONN_WAITS;
	conn_send_text(eng, idx, text, LEN);
	cr_assert_not_null(eng->ctl->conn[idx].out, "more than the socket takes: the rest waits");
	do {
		run_until(fd);
		cr_assert_gt(recv(fd, buf, sizeof(buf), 0), 0);
		for (uint32_t i = 0; i < t->len; i++)
			cr_assert_eq(t->text[i], (char)('a' + (got + i) % 23));
		got += t->len;
	} while (t->more);
	cr_assert_eq(got, (size_t)LEN);
	cr_assert_null(eng->ctl->conn[idx].out);
	cr_assert_eq(eng->ctl->conn[idx].state, CONN_OPEN);
}

static unsigned answers[3], answer_cnt;

static void answered(struct engine *e, struct deposit *d, int err, int ro_fd)
{
	cr_assert_eq(err, answer_cnt == 1 ? -EMFILE : 0);
	answers[answer_cnt++] = *(unsigned *)d->arg;
}

Test(ctl, deposits_are_answered_in_order)
{
	static unsigned nr[3] = { 1, 2, 3 };
	struct deposit d[3] = { 0 };
	int fd = eventfd(0, 0);

	for (unsigned i = 0; i < 3; i++) {
		struct sup_msg m;
		int got[1];
		unsigned cnt;

		d[i].done = answered;
		d[i].arg = &nr[i];
		cr_assert_eq(ctl_keep(eng, &d[i], 10 + i, KEEP_SEG, NULL, 0, &fd, 1, 0), 0);
		cr_assert_eq(sup_recv(sup, &m, sizeof(m), got, 1, &cnt, 0), (int)sizeof(m));
		cr_assert_eq(m.key, 10u + i);
		cr_assert_eq(cnt, 1u);
	}
	for (unsigned i = 0; i < 3; i++) {
		struct sup_msg m = { .type = SUP_KEPT_R, .err = i == 1 ? -EMFILE : 0 };

		cr_assert_eq(sup_send(sup, &m, sizeof(m), NULL, 0, 0), 0);
	}
	ctl_chan_ready(eng);
	cr_assert_eq(answer_cnt, 3u);
	cr_assert(answers[0] == 1 && answers[1] == 2 && answers[2] == 3);
}

Test(ctl, drops_wait_for_a_full_channel)
{
	struct sup_msg m;
	uint64_t key = 0, seen = 0;

	while (!eng->ctl->drop_cnt)
		ctl_drop(eng, ++key);
	for (unsigned i = 0; i < 100; i++)
		ctl_drop(eng, ++key);
	cr_assert_lt(ctl_idle_us(eng), UINT64_MAX, "somebody must try again");
	while (seen < key) {
		while (recv(sup, &m, sizeof(m), 0) == sizeof(m))
			cr_assert_eq(m.key, ++seen, "in order");
		ctl_poll(eng);
	}
	cr_assert_eq(eng->ctl->drop_cnt, 0u);
	cr_assert_eq(ctl_idle_us(eng), UINT64_MAX);
}

Test(ctl, stop)
{
	struct sup_msg m = { .type = SUP_STOP };

	w->wake_fd = eventfd(0, EFD_NONBLOCK);
	cr_assert_eq(sup_send(sup, &m, sizeof(m), NULL, 0, 0), 0);
	ctl_chan_ready(eng);
	cr_assert_eq(eng->stop, 1u);
}
