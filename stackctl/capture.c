/* SPDX-License-Identifier: MIT */
/* stackctl/capture.c - stackctl-capture: what `stackctl capture` starts. Asks the engine for a
 * capture, takes records out of its rings and writes pcapng
 *
 * A program of its own, so that only it needs libpcap (the filter's compiler) and libwiretap (the
 * format). The rings are looked at every 10 ms while they are empty; the engine wakes nobody. What
 * stands in them is checked: a frame is copied only from inside its ring. When the engine is
 * replaced (CTL_AGAIN) the old rings are emptied and a new capture is asked for.
 * Exit codes: 0 ended by a signal or -c, 1 something failed, 2 usage.
 */
#include <errno.h>
#include <getopt.h>
#include <pcap/pcap.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "stackctl/client.h"
#include "stackctl/pcapng.h"
#include "stackd/atomic.h"

#define NAP_MS		10
#define FLUSH_EVERY	64		/* records between looks at the rings' order */
#define RING_DEFAULT_KIB 4096ul

static const char help_text[] =
"Usage: stackctl capture [OPTION]... [FILTER]\n"
"Write frames as pcapng until interrupted. FILTER: as tcpdump(1) takes it.\n"
"\n"
"  -w FILE     where to; '-' or nothing: stdout (stackctl capture | tshark -r -)\n"
"  -i DEV      the device (default: the first)\n"
"  -p POINTS   rx: received, before GRO; gro: after it; tx: sent (default: rx,tx)\n"
"  -s BYTES    keep so much of a frame\n"
"  -c COUNT    end after so many frames\n"
"  -B KIB      buffer per worker, a power of two (default: 4096)\n";

struct capture {
	const char *run_dir, *file;
	char filter[4096];
	struct sd_ctl_capture rq;
	struct sd_cap_insn insn[SD_CAP_INSNS];	/* behind rq, as it is sent */
	uint64_t count;			/* -c; 0 = no end */
	int fd;
	uint8_t *mem;
	uint64_t size;
	struct pcapng *out;
	uint64_t dropped;		/* of captures that ended */
	uint64_t written;
};
static_assert(offsetof(struct capture, insn) == offsetof(struct capture, rq) +
	      sizeof(struct sd_ctl_capture), "sent in one piece");

static volatile sig_atomic_t stop;

static void on_signal(int sig)
{
	stop = 1;
}

static int fail(const char *what, const char *why)
{
	fprintf(stderr, "stackctl: %s: %s\n", what, why);
	return -1;
}

/* ---- the rings ---- */

static struct sd_cap_head *head(struct capture *c)
{
	return (struct sd_cap_head *)c->mem;
}

static struct sd_cap_ring *ring(struct capture *c, uint32_t w)
{
	return (struct sd_cap_ring *)(c->mem + sd_cap_ring_off(w, c->rq.ring_bytes));
}

/* The next record of worker @w, or NULL. Past what is skipped; @ret: a checked copy of its head. */
static const uint8_t *next_rec(struct capture *c, uint32_t w, struct sd_cap_rec *ret)
{
	struct sd_cap_ring *r = ring(c, w);
	const uint8_t *data = (const uint8_t *)r + SD_CAP_PAGE;
	uint64_t prod = ld_acq(&r->prod);	/* pairs with the worker's st_rel */

	while (r->cons != prod) {
		uint32_t at = (uint32_t)r->cons & (c->rq.ring_bytes - 1), room;

		room = c->rq.ring_bytes - at;
		memcpy(ret, data + at, room < sizeof(*ret) ? room : sizeof(*ret));
		if (ret->len < 8 || ret->len > room || ret->len % 8)
			return NULL;
		if (ret->point != SD_CAP_PAD)
			return ret->point < SD_CAP_POINTS && ret->len >= sizeof(*ret) &&
			       ret->cap_len <= ret->len - sizeof(*ret) ?
			       data + at + sizeof(*ret) : NULL;
		st_rel(&r->cons, r->cons + ret->len);
	}
	return NULL;
}

/* The oldest record of all rings. Return: its worker, or -1. */
static int oldest(struct capture *c, struct sd_cap_rec *ret, const uint8_t **frame)
{
	int best = -1;

	for (uint32_t w = 0; w < head(c)->workers && w < SD_CAP_WORKERS; w++) {
		struct sd_cap_rec r;
		const uint8_t *f = next_rec(c, w, &r);

		if (!f || (best >= 0 && r.time_ns >= ret->time_ns))
			continue;
		*ret = r;
		*frame = f;
		best = (int)w;
	}
	return best;
}

/* Return: records written, or -1 = told. */
static int drain(struct capture *c)
{
	const uint8_t *frame;
	struct sd_cap_rec r;
	int n = 0, w;

	while (n < FLUSH_EVERY && (!c->count || c->written < c->count) &&
	       (w = oldest(c, &r, &frame)) >= 0) {
		if (pcapng_write(c->out, &r, frame))
			return -1;
		st_rel(&ring(c, (uint32_t)w)->cons, ring(c, (uint32_t)w)->cons + r.len);
		c->written++;
		n++;
	}
	return n && pcapng_flush(c->out) ? -1 : n;
}

static void add_counts(struct capture *c)
{
	for (uint32_t w = 0; w < head(c)->workers; w++) {
		for (unsigned p = 0; p < SD_CAP_POINTS; p++)
			c->dropped += ld_rlx(&ring(c, w)->dropped[p]);
	}
}

/* ---- asking ---- */

static int map_rings(struct capture *c, int fd, uint64_t size)
{
	struct sd_cap_head *h = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	close(fd);
	if (h == MAP_FAILED)
		return fail("the capture's memory", strerror(errno));
	c->mem = (uint8_t *)h;
	c->size = size;
	if (h->magic != SD_CAP_MAGIC || h->workers > SD_CAP_WORKERS ||
	    h->ring_bytes != c->rq.ring_bytes ||
	    size < sd_cap_ring_off(h->workers, h->ring_bytes))
		return fail("the capture's memory", "not what this program knows");
	return 0;
}

static int read_answer(struct capture *c)
{
	union {
		struct sd_ctl_head h;
		struct sd_ctl_error e;
		struct sd_ctl_capture_r r;
	} m;
	union { struct cmsghdr h; char b[CMSG_SPACE(sizeof(int))]; } cm = { 0 };
	struct iovec iov = { &m, sizeof(m) };
	struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &cm,
			     .msg_controllen = sizeof(cm) };
	ssize_t n = recvmsg(c->fd, &mh, MSG_CMSG_CLOEXEC);
	struct cmsghdr *cg = CMSG_FIRSTHDR(&mh);
	int fd;

	if (n == sizeof(m.e) && m.h.type == CTL_ERROR) {
		m.e.text[sizeof(m.e.text) - 1] = '\0';
		return fail("stackd says", m.e.text);
	}
	if (n != sizeof(m.r) || m.h.type != CTL_CAPTURE_R || !cg || cg->cmsg_type != SCM_RIGHTS)
		return fail("stackd", n < 0 ? strerror(errno) : "its answer is not understood");
	memcpy(&fd, CMSG_DATA(cg), sizeof(fd));
	return map_rings(c, fd, m.r.size);
}

static int ask(struct capture *c)
{
	c->rq.h = (struct sd_ctl_head){ CTL_CAPTURE, (uint32_t)(sizeof(c->rq) +
				c->rq.insn_cnt * sizeof(c->insn[0])) };
	if (send(c->fd, &c->rq, c->rq.h.len, MSG_NOSIGNAL) < 0)
		return fail("cannot ask stackd", strerror(errno));
	return read_answer(c);
}

/* The engine spoke: it was replaced (0), or it is gone (-1 = told). */
static int heard(struct capture *c)
{
	struct sd_ctl_head h;
	ssize_t n = recv(c->fd, &h, sizeof(h), MSG_DONTWAIT);
	int r;

	if (n != sizeof(h) || h.type != CTL_AGAIN)
		return fail("stackd", "it ended the capture");
	while ((r = drain(c)) > 0)
		;
	add_counts(c);
	munmap(c->mem, c->size);
	return r ? r : ask(c);
}

static int run(struct capture *c)
{
	while (!stop && (!c->count || c->written < c->count)) {
		struct pollfd p = { .fd = c->fd, .events = POLLIN };
		int n = drain(c);

		if (n < 0)
			return -1;
		if (poll(&p, 1, n ? 0 : NAP_MS) > 0 && heard(c))
			return -1;
	}
	while (stop && (!c->count || c->written < c->count)) {
		int n = drain(c);	/* what came before the signal */

		if (n <= 0)
			return n;
	}
	return 0;
}

static int finish(struct capture *c, int r)
{
	add_counts(c);
	if (pcapng_close(c->out))
		r = -1;
	fprintf(stderr, "%llu frames captured, %llu dropped for want of buffer\n",
		(unsigned long long)c->written, (unsigned long long)c->dropped);
	return r ? 1 : 0;
}

/* ---- options ---- */

static int set_filter(struct capture *c, char **words)
{
	struct bpf_program prog;
	pcap_t *pc;
	int r;

	for (; *words; words++) {
		if (strlen(c->filter) + strlen(*words) + 2 > sizeof(c->filter))
			return fail("the filter", "too long");
		strcat(strcat(c->filter, c->filter[0] ? " " : ""), *words);
	}
	if (!c->filter[0])
		return 0;
	pc = pcap_open_dead(DLT_EN10MB, SD_CAP_SNAP);
	if (!pc)
		return fail("the filter", "out of memory");
	r = pcap_compile(pc, &prog, c->filter, 1, PCAP_NETMASK_UNKNOWN);
	if (r) {
		fail("the filter", pcap_geterr(pc));
	} else if (prog.bf_len > SD_CAP_INSNS) {
		r = fail("the filter", "too long");
		pcap_freecode(&prog);
	} else {
		c->rq.insn_cnt = prog.bf_len;
		memcpy(c->insn, prog.bf_insns, prog.bf_len * sizeof(c->insn[0]));
		pcap_freecode(&prog);
	}
	pcap_close(pc);
	return r ? -1 : 0;
}

static int parse_points(const char *s, uint32_t *ret)
{
	static const char *const name[SD_CAP_POINTS] = { "rx", "gro", "tx" };

	for (*ret = 0; *s; s += *s == ',') {
		size_t n = strcspn(s, ",");
		unsigned p = 0;

		while (p < SD_CAP_POINTS && (strlen(name[p]) != n || memcmp(name[p], s, n)))
			p++;
		if (p == SD_CAP_POINTS)
			return -1;
		*ret |= SD_CAP_BIT(p);
		s += n;
	}
	return *ret ? 0 : -1;
}

static int parse_num(const char *s, uint64_t min, uint64_t max, uint64_t *ret)
{
	char *end;

	errno = 0;
	*ret = strtoull(s, &end, 10);
	return errno || !*s || *end || *s == '-' || *ret < min || *ret > max ? -1 : 0;
}

static int one_option(struct capture *c, int opt)
{
	uint64_t v;

	switch (opt) {
	case 'R':
		c->run_dir = optarg;
		return 0;
	case 'w':
		c->file = optarg;
		return 0;
	case 'i':
		if (strlen(optarg) >= sizeof(c->rq.dev))
			return -1;
		strcpy(c->rq.dev, optarg);
		return 0;
	case 'p':
		return parse_points(optarg, &c->rq.points);
	case 'c':
		return parse_num(optarg, 1, UINT64_MAX, &c->count);
	case 's':
		if (parse_num(optarg, 1, SD_CAP_SNAP, &v))
			return -1;
		c->rq.snaplen = (uint32_t)v;
		return 0;
	case 'B':
		if (parse_num(optarg, SD_CAP_RING_MIN / 1024, SD_CAP_RING_MAX / 1024, &v) ||
		    v & (v - 1))
			return -1;
		c->rq.ring_bytes = (uint32_t)v * 1024;
		return 0;
	default:
		return -1;
	}
}

static int usage(void)
{
	fputs(help_text, stderr);
	return 2;
}

int main(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "run-dir", required_argument, NULL, 'R' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 }
	};
	struct sigaction sa = { .sa_handler = on_signal };
	static struct capture c = { .file = "-" };
	const char *env = getenv("STACKD_RUN_DIR");
	int opt, r;

	c.run_dir = env && *env ? env : "/run/stackd";
	c.rq.points = SD_CAP_BIT(SD_CAP_RX) | SD_CAP_BIT(SD_CAP_TX);
	c.rq.snaplen = SD_CAP_SNAP;
	c.rq.ring_bytes = RING_DEFAULT_KIB * 1024;
	while ((opt = getopt_long(argc, argv, "+w:i:p:s:c:B:", longs, NULL)) >= 0) {
		if (opt == 'h')
			return fputs(help_text, stdout) < 0;
		if (one_option(&c, opt))
			return usage();
	}
	if (!strcmp(c.file, "-") && isatty(STDOUT_FILENO))
		return fail("stdout is a terminal", "use -w FILE, or | tshark -r -"), 2;
	if (set_filter(&c, argv + optind))
		return 2;
	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	signal(SIGPIPE, SIG_IGN);
	c.fd = client_open(c.run_dir);
	if (c.fd < 0 || ask(&c) ||
	    pcapng_open(c.file, head(&c)->dev, c.rq.points, c.rq.snaplen, &c.out))
		return 1;
	fprintf(stderr, "capturing on %s\n", head(&c)->dev);
	r = run(&c);
	return finish(&c, r);
}
