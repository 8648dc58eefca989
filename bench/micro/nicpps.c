/* SPDX-License-Identifier: MIT */
/* bench/micro/nicpps.c - packets per second and nanoseconds per packet of one device queue
 * usage: micro-nicpps rx|tx tap|packet|xdp IFNAME SECONDS LEN
 *                the device alone: receive and drop, or transmit (a tap is made, else it is there)
 *        micro-nicpps flood IFNAME MAC SECONDS LEN
 *                UDP frames from a packet socket, past the qdisc
 *        micro-nicpps sink ADDR PORT SECONDS
 *                a program's socket that reads UDP
 * LEN is the frame's without FCS. Prints one line of JSON. The device's ns are this process's CPU
 * time by packets: what the kernel does in the sender's context, and its threads, are not in it.
 * The driver is the one of stackd, called as the worker's loop does (bursts of 64; the tap by
 * io_uring).
 */
#include <arpa/inet.h>
#include <errno.h>
#include <liburing.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "stackd/core/clock.h"
#include "stackd/core/csum.h"
#include "stackd/nic/nic.h"
#include "stackd/nic/packet_open.h"
#include "stackd/nic/tap_open.h"
#include "stackd/nic/xdp/xdp_open.h"

#define BURST	64u
#define TAG	(1ull << 56)
#define DST	"192.0.2.2"
#define SRC	"192.0.2.1"

struct bench {
	struct stack st;
	struct counters cnt;
	struct io_uring ring;
	bool by_ring;
	struct nic_dev *dev;
	struct nic *nic;
};

static int die(const char *what)
{
	fprintf(stderr, "nicpps: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t cpu_ns(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (uint64_t)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000000000ull +
	       (uint64_t)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1000ull;
}

static void report(uint64_t packets, uint64_t lost, uint64_t begun_us, uint64_t cpu_begun)
{
	double s = (double)(clock_mono_us() - begun_us) / 1e6;

	printf("{\"packets\": %llu, \"lost\": %llu, \"pps\": %.0f, \"cpu_ns\": %.1f}\n",
	       (unsigned long long)packets, (unsigned long long)lost, (double)packets / s,
	       packets ? (double)(cpu_ns() - cpu_begun) / (double)packets : 0);
}

/* A UDP frame from the kernel's address to stackd's. */
static void frame(uint8_t *b, uint32_t len, const uint8_t dst[6], const uint8_t src[6])
{
	be32 from, to;
	uint16_t sum;

	memset(b, 0, len);
	memcpy(b, dst, 6);
	memcpy(b + 6, src, 6);
	memcpy(b + 12, "\x08\0\x45\0", 4);
	b[16] = (uint8_t)((len - 14) >> 8);
	b[17] = (uint8_t)(len - 14);
	memcpy(b + 20, "\x40\0\x40\x11", 4);
	inet_pton(AF_INET, SRC, &from);
	inet_pton(AF_INET, DST, &to);
	memcpy(b + 26, &from, 4);
	memcpy(b + 30, &to, 4);
	sum = csum_of(b + 14, 20);
	memcpy(b + 24, &sum, 2);
	memcpy(b + 34, "\x1f\x40\x1b\x5f", 4);	/* ports 8000, 7007; no UDP checksum */
	b[38] = (uint8_t)((len - 34) >> 8);
	b[39] = (uint8_t)(len - 34);
}

/* ---- the device, opened as the supervisor's helper does ---- */

static void grant_of(const char *kind, const char *ifname, struct nic_grant *g, int *fds)
{
	char err[NIC_ERR] = "";
	int r = -EINVAL;
	be32 us;

	inet_pton(AF_INET, DST, &us);
	*g = (struct nic_grant){ .queues = 1, .numa_node = -1, .fd_cnt = 1 };
	if (!strcmp(kind, "tap")) {
		struct tap_conf c = { .queues = 1 };
		struct tap_result got;

		snprintf(c.ifname, sizeof(c.ifname), "%s", ifname);
		r = tap_open(&c, fds, &got, err, sizeof(err));
		g->mtu = got.mtu;
		memcpy(g->mac, got.mac, 6);
	} else if (!strcmp(kind, "packet")) {
		struct packet_conf c = { .queues = 1, .addr = sd_addr_v4(us) };
		struct packet_result got;

		snprintf(c.ifname, sizeof(c.ifname), "%s", ifname);
		r = packet_open(&c, fds, &got, err, sizeof(err));
		g->mtu = got.mtu;
		g->fd_cnt += got.guarded;
		memcpy(g->mac, got.mac, 6);
	} else if (!strcmp(kind, "xdp")) {
		struct xdp_conf c = { .workers = 1, .addr = sd_addr_v4(us) };

		snprintf(c.ifname, sizeof(c.ifname), "%s", ifname);
		r = xdp_open(&c, g, fds, err, sizeof(err));
	}
	if (r) {
		fprintf(stderr, "nicpps: %s: %s\n", kind, err);
		exit(1);
	}
	snprintf(g->kind, sizeof(g->kind), "%s", kind);
	snprintf(g->name, sizeof(g->name), "%.15s", ifname);
}

static void open_device(struct bench *b, const char *kind, const char *ifname)
{
	struct io_uring_params p = { .flags = IORING_SETUP_SINGLE_ISSUER |
				     IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG |
				     IORING_SETUP_SUBMIT_ALL };
	struct pkt_pool_conf pool = { .small_cnt = 4096, .big_cnt = 64, .numa_node = -1 };
	int fds[NIC_GRANT_FDS];
	char err[NIC_ERR] = "";
	struct nic_grant g;
	size_t len;
	void *mem;

	b->st = (struct stack){ .workers = 1, .cnt = &b->cnt, .now_us = clock_mono_us() };
	if (pkt_pool_create(&pool, &b->st.pool))
		die("packets");
	grant_of(kind, ifname, &g, fds);
	if (dup(fds[g.fd_cnt - 1]) < 0)		/* as the supervisor does: the link of a program */
		die("dup");
	if (nic_dev_open(&g, fds, &b->dev, err))
		die(err);
	mem = pkt_pool_mem(b->st.pool, &len);
	if ((b->dev->ops->map && b->dev->ops->map(b->dev, 0, mem, len)) ||
	    b->dev->ops->queue(b->dev, 0, &b->st, &b->nic) ||
	    (b->nic->ops->start && b->nic->ops->start(b->nic, &b->st)) ||
	    (b->dev->ops->go && b->dev->ops->go(b->dev)))
		die("the device does not start");
	if (b->nic->ops->ring_attach && !io_uring_queue_init_params(256, &b->ring, &p))
		b->by_ring = !b->nic->ops->ring_attach(b->nic, &b->st, &b->ring, TAG);
}

static void turn_ring(struct bench *b)
{
	struct io_uring_cqe *cqe;

	io_uring_submit_and_get_events(&b->ring);
	while (!io_uring_peek_cqe(&b->ring, &cqe)) {
		b->nic->ops->ring_done(b->nic, &b->st, cqe->user_data, cqe->res, cqe->flags);
		io_uring_cqe_seen(&b->ring, cqe);
	}
}

static void receive(struct bench *b, uint64_t until_us)
{
	struct pkt *p[BURST];
	uint64_t n = 0, begun, cpu;
	unsigned got;

	do {			/* the first packet starts the clock */
		if (b->by_ring)
			turn_ring(b);
		got = b->nic->ops->rx(b->nic, &b->st, p, BURST);
		for (unsigned i = 0; i < got; i++)
			stack_pkt_free(&b->st, p[i]);
	} while (!got && clock_mono_us() < until_us);
	begun = clock_mono_us();
	cpu = cpu_ns();
	while ((b->st.now_us = clock_mono_us()) < until_us) {
		if (b->by_ring)
			turn_ring(b);
		got = b->nic->ops->rx(b->nic, &b->st, p, BURST);
		for (unsigned i = 0; i < got; i++)
			stack_pkt_free(&b->st, p[i]);
		n += got;
	}
	report(n, b->cnt.drop[DROP_DEV_RX_BAD], begun, cpu);
}

static void transmit(struct bench *b, uint64_t until_us, uint32_t len)
{
	/* A local experimental ethertype (IEEE 802): the receiver throws it away early. */
	static const uint8_t type[2] = { 0x88, 0xb5 };
	uint8_t all[6], tmpl[2048];
	uint64_t begun = clock_mono_us(), cpu = cpu_ns(), drops;
	struct pkt *p[BURST];

	memset(all, 0xff, sizeof(all));
	frame(tmpl, len, all, b->nic->mac);
	memcpy(tmpl + 12, type, 2);
	while ((b->st.now_us = clock_mono_us()) < until_us) {
		unsigned n = 0;

		while (n < BURST && (p[n] = pkt_alloc(b->st.pool, false))) {
			memcpy(p[n]->data, tmpl, len);
			p[n++]->len = len;
		}
		nic_tx(b->nic, &b->st, p, n);
		if (b->by_ring)
			turn_ring(b);
		while ((n = b->nic->ops->rx(b->nic, &b->st, p, BURST)))	/* completions */
			while (n)
				stack_pkt_free(&b->st, p[--n]);
	}
	drops = b->cnt.drop[DROP_DEV_TX_FULL];
	report(b->cnt.snmp[SNMP_Dev_TxPackets], drops, begun, cpu);
}

/* ---- the other end ---- */

static void flood(const char *ifname, const char *mac, uint64_t until_us, uint32_t len)
{
	static uint8_t b[2048];
	struct sockaddr_ll to = { .sll_family = AF_PACKET, .sll_halen = 6,
				  .sll_ifindex = (int)if_nametoindex(ifname) };
	struct iovec v = { b, len };
	struct mmsghdr m[BURST];
	uint8_t dst[6], src[6] = { 2, 0, 0, 0, 0, 1 };
	uint64_t sent = 0, failed = 0, begun = clock_mono_us(), cpu = cpu_ns();
	int s = socket(AF_PACKET, SOCK_RAW, 0), on = 1;

	if (s < 0 || sscanf(mac, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", &dst[0], &dst[1], &dst[2],
			    &dst[3], &dst[4], &dst[5]) != 6)
		die("flood");
	setsockopt(s, SOL_PACKET, PACKET_QDISC_BYPASS, &on, sizeof(on));
	frame(b, len, dst, src);
	for (unsigned i = 0; i < BURST; i++)
		m[i] = (struct mmsghdr){ .msg_hdr = { .msg_name = &to, .msg_namelen = sizeof(to),
						      .msg_iov = &v, .msg_iovlen = 1 } };
	while (clock_mono_us() < until_us) {
		int n = sendmmsg(s, m, BURST, 0);

		failed += n < 0;
		sent += n > 0 ? (unsigned)n : 0;
	}
	report(sent, failed, begun, cpu);
}

static void sink(const char *addr, const char *port, uint64_t seconds)
{
	static uint8_t b[BURST][2048];
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port)) };
	struct timeval tv = { .tv_usec = 100000 };
	struct mmsghdr m[BURST];
	struct iovec v[BURST];
	uint64_t n = 0, begun = 0, cpu = 0, until = UINT64_MAX;
	int s = socket(AF_INET, SOCK_DGRAM, 0);

	inet_pton(AF_INET, addr, &a.sin_addr);
	if (bind(s, (struct sockaddr *)&a, sizeof(a)))
		die("bind");
	for (unsigned i = 0; i < BURST; i++) {
		v[i] = (struct iovec){ b[i], sizeof(b[i]) };
		m[i] = (struct mmsghdr){ .msg_hdr = { .msg_iov = &v[i], .msg_iovlen = 1 } };
	}
	puts("bound");
	fflush(stdout);
	setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	while (clock_mono_us() < until) {
		int got = recvmmsg(s, m, BURST, MSG_WAITFORONE, NULL);

		if (got > 0 && !begun) {
			begun = clock_mono_us();
			cpu = cpu_ns();
			until = begun + seconds * 1000000;
		} else if (got > 0) {
			n += (unsigned)got;
		}
	}
	report(n, 0, begun, cpu);
}

int main(int argc, char **argv)
{
	static struct bench b;
	bool dev = argc == 6 && (!strcmp(argv[1], "rx") || !strcmp(argv[1], "tx"));
	uint64_t now = clock_mono_us();

	if (dev) {
		open_device(&b, argv[2], argv[3]);
		printf("{\"mac\": \"%02x:%02x:%02x:%02x:%02x:%02x\"}\n", b.nic->mac[0],
		       b.nic->mac[1], b.nic->mac[2], b.nic->mac[3], b.nic->mac[4], b.nic->mac[5]);
		fflush(stdout);
		now = clock_mono_us() + strtoul(argv[4], NULL, 0) * 1000000;
		if (argv[1][0] == 'r')
			receive(&b, now);
		else
			transmit(&b, now, (uint32_t)strtoul(argv[5], NULL, 0));
		return 0;
	}
	if (argc == 6 && !strcmp(argv[1], "flood"))
		flood(argv[2], argv[3], now + strtoul(argv[4], NULL, 0) * 1000000,
		      (uint32_t)strtoul(argv[5], NULL, 0));
	else if (argc == 5 && !strcmp(argv[1], "sink"))
		sink(argv[2], argv[3], strtoul(argv[4], NULL, 0));
	else
		return 2;
	return 0;
}
