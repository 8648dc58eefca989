/* SPDX-License-Identifier: MIT */
/* tests/unit/tcp/test_kernel.c - against the kernel's TCP, over a TAP device in its own namespace
 * One thread turns the stack's loop and the kernel's non-blocking sockets alternately; both sides
 * verify every byte. Skipped where no TAP device can be had.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "stackd/nic/nic.h"
#include "stackd/nic/tap_open.h"
#include "tests/sim/sim.h"

#define HANG_US	10000000ull

static uint64_t clock_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

/* The kernel's end of one connection; x stands for it in the simulator's terms. */
struct kend {
	int fd;
	struct sim_end *x;
	bool shut, eof;
	int err;
};

struct bed {
	struct sim s;
	struct nic *nic;
};

static struct bed *bed_new(void)
{
	struct tap_conf c = { .ifname = "stktcp", .queues = 1, .mtu = 1500, .has_peer = true,
			      .peer_plen = 120, .peer = host_addr(1) };
	struct bed *b = calloc(1, sizeof(*b));
	struct tap_result r;
	char err[128];
	int fd;

	if (access("/dev/net/tun", R_OK | W_OK) || unshare(CLONE_NEWNET))
		return NULL;
	cr_assert_eq(tap_open(&c, &fd, &r, err, sizeof(err)), 0, "%s", err);
	cr_assert_eq(tap_nic_create(fd, r.ifname, r.mac, r.mtu, 0, 1, &b->nic), 0);
	b->s.host[1].no = 1;
	b->s.now_us = clock_us();
	rng_seed(b->s.rng, 1);
	host_init(&b->s.host[0], &b->s, 0, b->nic);
	return b;
}

static void ksock_pump(struct kend *k)
{
	static uint8_t buf[65536];
	struct sim_end *x = k->x;
	ssize_t n;

	while (x->tx_pos < x->tx_total) {
		size_t want = u64_min(sizeof(buf), x->tx_total - x->tx_pos);

		for (size_t i = 0; i < want; i++)
			buf[i] = sim_byte(x->key, x->tx_pos + i);
		n = send(k->fd, buf, want, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && errno != EAGAIN && errno != ENOTCONN)
			k->err = errno;
		if (n <= 0)
			break;
		x->tx_pos += (uint64_t)n;
	}
	if (x->tx_pos == x->tx_total && !k->shut)
		k->shut = shutdown(k->fd, SHUT_WR) == 0;
	while ((n = recv(k->fd, buf, sizeof(buf), MSG_DONTWAIT)) > 0) {
		for (ssize_t i = 0; i < n; i++)
			cr_assert_eq(buf[i], sim_byte(x->peer->key, x->rx_pos + (uint64_t)i));
		x->rx_pos += (uint64_t)n;
	}
	if (n == 0)
		k->eof = true;
	else if (errno != EAGAIN && errno != ENOTCONN)
		k->err = errno;
}

static void turn(struct bed *b)
{
	struct pollfd p = { .fd = b->nic->ops->rx_fd(b->nic), .events = POLLIN };

	poll(&p, 1, b->s.host[0].woken ? 0 : 1);
	b->s.now_us = clock_us();
	host_turn(&b->s.host[0]);
}

/* Two ends: [0] on the stack, [1] stands for the kernel's. */
static void ends(struct bed *b, bool stack_connects, uint64_t from_stack, uint64_t from_kernel)
{
	struct sim_end *x = &b->s.end[0], *y = &b->s.end[1];

	*x = (struct sim_end){ .h = &b->s.host[0], .peer = y, .client = stack_connects, .key = 77,
			       .tx_total = from_stack, .next_us = UINT64_MAX, .read_max = 65536,
			       .write_max = 16384, .may_fail = true,
			       .opts = { .keepalive = 1, .keep_idle_s = 30, .keep_intvl_s = 5,
					 .keep_cnt = 4 } };
	*y = (struct sim_end){ .h = &b->s.host[1], .peer = x, .client = !stack_connects, .key = 78,
			       .tx_total = from_kernel, .started = true, .next_us = UINT64_MAX };
	b->s.ends = 1;		/* programs run for the first only */
}

static struct sockaddr_in kaddr(unsigned host, uint16_t port)
{
	struct sd_addr a = host_addr(host);

	return (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(port),
				     .sin_addr.s_addr = sd_addr_to_v4(&a).v };
}

/* The kernel connects to the stack's listener. */
static struct kend kconnect(struct bed *b)
{
	struct kend k = { .fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0),
			  .x = &b->s.end[1] };
	struct sockaddr_in a = kaddr(0, SIM_PORT);
	socklen_t len = sizeof(a);

	connect(k.fd, (struct sockaddr *)&a, sizeof(a));
	getsockname(k.fd, (struct sockaddr *)&a, &len);
	b->s.end[1].port = ntohs(a.sin_port);
	return k;
}

static int klisten(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	struct sockaddr_in a = kaddr(1, SIM_PORT);

	cr_assert_eq(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	cr_assert_eq(listen(fd, 8), 0);
	return fd;
}

static void until_done(struct bed *b, struct kend *k, int lfd)
{
	uint64_t end = clock_us() + HANG_US;

	while (!b->s.end[0].closed || !(k->eof || k->err)) {
		cr_assert_lt(clock_us(), end, "hangs");
		turn(b);
		if (k->fd < 0)
			k->fd = accept(lfd, NULL, NULL);
		if (k->fd >= 0)
			ksock_pump(k);
	}
}

static void bed_end(struct bed *b, struct kend *k)
{
	struct sim_host *h = &b->s.host[0];

	if (k->fd >= 0)
		close(k->fd);
	if (h->listening)
		prog_unlisten(h);
	for (unsigned i = 0; i < 50; i++)
		turn(b);
	/* TIME_WAIT passes quickly on a clock that can be set */
	b->s.now_us += 200000000;
	host_turn(h);
	host_turn(h);
	host_fini(h);
	host_mem_free(h->mem);
	b->nic->ops->close(b->nic);
	free(b);
}

Test(kernel, serves_both_ways, .timeout = 30)
{
	struct bed *b = bed_new();
	struct kend k;

	if (!b)
		cr_skip("no TAP");
	ends(b, false, 30000000, 30000000);
	prog_listen(&b->s.host[0]);
	k = kconnect(b);
	until_done(b, &k, -1);
	cr_expect_eq(k.err, 0);
	cr_expect_eq(b->s.end[0].err, 0);
	cr_expect_eq(b->s.end[0].rx_pos, 30000000);
	cr_expect_eq(b->s.end[1].rx_pos, 30000000);
	cr_expect_eq(b->s.host[0].cnt.snmp[SNMP_Tcp_PassiveOpens], 1);
	bed_end(b, &k);
}

Test(kernel, connects_both_ways, .timeout = 30)
{
	struct bed *b = bed_new();
	struct kend k = { .fd = -1 };
	int lfd;

	if (!b)
		cr_skip("no TAP");
	ends(b, true, 20000000, 10000);
	lfd = klisten();
	k.x = &b->s.end[1];
	b->s.end[0].next_us = b->s.now_us;
	until_done(b, &k, lfd);
	cr_expect_eq(k.err, 0);
	cr_expect_eq(b->s.end[0].err, 0);
	cr_expect_eq(b->s.end[1].rx_pos, 20000000);
	close(lfd);
	bed_end(b, &k);
}

Test(kernel, refuses_and_is_refused, .timeout = 30)
{
	struct bed *b = bed_new();
	struct kend k;
	uint64_t end = clock_us() + HANG_US;

	if (!b)
		cr_skip("no TAP");
	ends(b, true, 1000, 0);
	k = kconnect(b);			/* nobody listens on the stack */
	b->s.end[0].next_us = b->s.now_us;	/* nor on the kernel */
	while (!b->s.end[0].closed || !k.err) {
		socklen_t len = sizeof(k.err);

		cr_assert_lt(clock_us(), end, "hangs");
		turn(b);
		getsockopt(k.fd, SOL_SOCKET, SO_ERROR, &k.err, &len);
	}
	cr_expect_eq(k.err, ECONNREFUSED);
	cr_expect_eq(b->s.end[0].err, ECONNREFUSED);
	bed_end(b, &k);
}

Test(kernel, both_know_a_reset, .timeout = 30)
{
	struct linger lg = { .l_onoff = 1 };
	struct bed *b = bed_new();
	struct kend k;

	if (!b)
		cr_skip("no TAP");
	ends(b, false, 5000000, 5000000);	/* the stack's program resets half-way */
	b->s.end[0].mode = END_ABORT;
	b->s.end[0].quit_at = 1000000;
	prog_listen(&b->s.host[0]);
	k = kconnect(b);
	until_done(b, &k, -1);
	cr_expect_eq(k.err, ECONNRESET);
	close(k.fd);

	ends(b, false, 5000000, 500000000);	/* the kernel does, before its FIN */
	k = kconnect(b);
	while (b->s.end[1].rx_pos < 1000000) {
		turn(b);
		ksock_pump(&k);
	}
	setsockopt(k.fd, SOL_SOCKET, SO_LINGER, &lg, sizeof(lg));
	close(k.fd);
	k.fd = -1;
	k.err = 1;
	until_done(b, &k, -1);
	cr_expect_eq(b->s.end[0].err, ECONNRESET);
	bed_end(b, &k);
}
