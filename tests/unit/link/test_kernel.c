/* SPDX-License-Identifier: MIT */
/* tests/unit/link/test_kernel.c - a TAP whose other end is the kernel's own ARP, in a namespace */
#include <arpa/inet.h>
#include <sched.h>
#include <stdio.h>
#include <sys/socket.h>

#include "stackd/nic/tap_open.h"
#include "tests/unit/link/fix.h"

#define PORT	5000

static bool start(void)
{
	static const struct link_up up = { fix_up, fix_unreach };
	struct tap_conf c = { .ifname = "stkt1", .queues = 1, .has_peer = true, .peer_plen = 120,
			      .peer = ip4(192, 0, 2, 1) };
	struct sd_addr us = ip4(192, 0, 2, 2);
	struct tap_result r;
	char err[200] = "";
	struct stack *st;
	int fd;

	if (access("/dev/net/tun", R_OK | W_OK) || unshare(CLONE_NEWNET)) {
		cr_skip_test("needs root and /dev/net/tun");
		return false;
	}
	memset(&fx, 0, sizeof(fx));
	cr_assert_eq(tap_open(&c, &fd, &r, err, sizeof(err)), 0, "%s", err);
	fx.h = hx_init(1);
	st = &fx.h->st[0];
	cr_assert_eq(tap_nic_create(fd, r.ifname, r.mac, r.mtu, 0, 1, &st->nic), 0);
	cr_assert_eq(link_init(st), 0);
	link_set_up(st, &up);
	cr_assert_eq(link_add_addr(st, &us), 0);
	return true;
}

static void stop(void)
{
	struct stack *st = &fx.h->st[0];

	fix_drop_up();
	link_fini(st);
	st->nic->ops->close(st->nic);
	hx_fini(fx.h);
}

/* Run the stack, its clock ten times as fast, until @done says so; false after five seconds. */
static bool run_until(bool (*done)(void *arg), void *arg)
{
	struct stack *st = &fx.h->st[0];

	for (int i = 0; i < 5000; i++) {
		hx_pass(fx.h, 10000);
		link_poll(st, 64);
		link_flush(st);
		if (done(arg))
			return true;
		usleep(1000);
	}
	return false;
}

static bool udp_came_up(void *arg)
{
	for (unsigned i = 0; i < fx.up_cnt; i++)
		if (fx.up[i].p->data[9] == 17 && memcmp(fx.up[i].p->data + 28, "hello", 5) == 0)
			return true;
	return false;
}

static bool udp_received(void *arg)
{
	char b[10];

	return recv(*(int *)arg, b, sizeof(b), MSG_DONTWAIT) == 5 && memcmp(b, "world", 5) == 0;
}

static void kernel_neigh(char *line, size_t len)
{
	FILE *f = popen("ip -4 neigh show dev stkt1 192.0.2.2", "r");

	line[0] = 0;
	cr_assert(f && (fgets(line, (int)len, f) || 1));
	pclose(f);
}

/* The kernel asks, we answer: its datagram arrives. Then the other way round. */
Test(kernel, arp_both_ways, .timeout = 20)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(PORT) };
	struct sd_addr peer = ip4(192, 0, 2, 1);
	uint8_t d[33] = { 0x45, 0, 0, 33, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 2, 192, 0, 2, 1,
			  0, 9, PORT >> 8, PORT & 255, 0, 13, 0, 0, 'w', 'o', 'r', 'l', 'd' };
	char line[200];
	uint16_t sum;
	struct pkt *p;
	int fd;

	if (!start())
		return;
	fd = socket(AF_INET, SOCK_DGRAM, 0);
	cr_assert_eq(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	inet_pton(AF_INET, "192.0.2.2", &a.sin_addr);
	cr_assert_eq(sendto(fd, "hello", 5, 0, (struct sockaddr *)&a, sizeof(a)), 5);
	cr_assert(run_until(udp_came_up, NULL));
	kernel_neigh(line, sizeof(line));
	cr_assert(strstr(line, "REACHABLE") || strstr(line, "DELAY"), "%s", line);

	sum = csum_of(d, 20);
	memcpy(d + 10, &sum, 2);
	p = pkt_alloc(fx.h->st[0].pool, false);
	memcpy(p->data, d, sizeof(d));
	p->len = sizeof(d);
	link_tx_ip(&fx.h->st[0], &peer, p);
	cr_assert(run_until(udp_received, &fd));
	cr_assert_neq(strcmp(neigh_state_of(0, peer), "INCOMPLETE"), 0);
	close(fd);
	stop();
}

static bool unreachable(void *arg)
{
	return fx.unreach_cnt > 0;
}

Test(kernel, nobody_answers_for_an_unused_address, .timeout = 20)
{
	if (!start())
		return;
	ours_tx(&fx.h->st[0], ip4(192, 0, 2, 77), 0);
	cr_assert(run_until(unreachable, NULL));
	cr_assert_str_eq(neigh_state_of(0, ip4(192, 0, 2, 77)), "FAILED");
	stop();
}
