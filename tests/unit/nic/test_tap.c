/* SPDX-License-Identifier: MIT */
/* tests/unit/nic/test_tap.c - tap_open(), tap_nic_create() and steering on a real device
 * Each test runs in a network namespace of its own (unshare), so the host's interfaces are
 * not touched.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "stackd/core/csum.h"
#include "stackd/nic/tap_open.h"
#include "tests/unit/harness.h"

static bool new_netns(void)
{
	if (access("/dev/net/tun", R_OK | W_OK) || unshare(CLONE_NEWNET)) {
		cr_skip_test("needs root and /dev/net/tun");
		return false;
	}
	return true;
}

static struct sd_addr v4(const char *s)
{
	be32 a;

	inet_pton(AF_INET, s, &a);
	return sd_addr_v4(a);
}

static struct tap_conf conf_peer(uint16_t queues)
{
	struct tap_conf c = { .ifname = "stkt0", .queues = queues, .has_peer = true,
			      .peer_plen = 120 };

	c.peer = v4("192.0.2.1");
	return c;
}

static int send_udp(const char *to, uint16_t port, uint16_t sport, size_t len, int opt_gso)
{
	static char buf[65536];
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(port) };
	struct sockaddr_in me = { .sin_family = AF_INET, .sin_port = htons(sport) };
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	ssize_t n;

	inet_pton(AF_INET, to, &a.sin_addr);
	cr_assert_eq(bind(fd, (struct sockaddr *)&me, sizeof(me)), 0);
	if (opt_gso)
		cr_assert_eq(setsockopt(fd, IPPROTO_UDP, 103, &opt_gso, sizeof(opt_gso)), 0);
	for (size_t i = 0; i < len; i++)
		buf[i] = (char)(i * 7);
	n = sendto(fd, buf, len, 0, (struct sockaddr *)&a, sizeof(a));
	close(fd);
	return n == (ssize_t)len ? 0 : -errno;
}

static void static_neigh(const char *addr, const uint8_t mac[6])
{
	char cmd[200];

	snprintf(cmd, sizeof(cmd),
		 "ip neigh replace %s lladdr %02x:%02x:%02x:%02x:%02x:%02x dev stkt0", addr,
		 mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
	cr_assert_eq(system(cmd), 0);
}

/* Next IPv4 frame of @proto from one of the queues, or NULL after a while. */
static struct pkt *next_ip(struct hx *h, struct nic **nics, unsigned cnt, uint8_t proto,
			   unsigned *ret_queue)
{
	for (int tries = 0; tries < 100; tries++) {
		for (unsigned q = 0; q < cnt; q++) {
			struct pkt *p;

			while (nics[q]->ops->rx(nics[q], &h->st[0], &p, 1)) {
				if (p->len > 34 && p->data[12] == 8 && p->data[13] == 0 &&
				    p->data[23] == proto) {
					*ret_queue = q;
					return p;
				}
				stack_pkt_free(&h->st[0], p);
			}
		}
		usleep(10000);
	}
	return NULL;
}

static void open_nics(const struct tap_conf *c, struct nic **nics, struct tap_result *r)
{
	char err[200] = "";
	int fds[TAP_QUEUES_MAX];

	cr_assert_eq(tap_open(c, fds, r, err, sizeof(err)), 0, "%s", err);
	for (uint16_t q = 0; q < c->queues; q++)
		cr_assert_eq(tap_nic_create(fds[q], r->ifname, r->mac, r->mtu, q, c->queues,
					    &nics[q]), 0);
}

/* What a veth pair would do as well: an engine that looks late has lost nothing. */
Test(tap, keeps_what_waits, .timeout = 10)
{
	enum { FRAMES = 20000 };
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(9) };
	struct tap_conf c = conf_peer(1);
	char err[200] = "", buf[2048];
	struct tap_result r;
	int tap, fd, udp = 0;

	if (!new_netns())
		return;
	cr_assert_eq(tap_open(&c, &tap, &r, err, sizeof(err)), 0, "%s", err);
	static_neigh("192.0.2.2", r.mac);
	inet_pton(AF_INET, "192.0.2.2", &a.sin_addr);
	fd = socket(AF_INET, SOCK_DGRAM, 0);
	for (int i = 0; i < FRAMES; i++)
		cr_assert_eq(sendto(fd, "x", 1, 0, (struct sockaddr *)&a, sizeof(a)), 1);
	while (read(tap, buf, sizeof(buf)) > 0)
		udp += buf[10 + 12] == 8 && buf[10 + 13] == 0 && buf[10 + 23] == IPPROTO_UDP;
	cr_assert_eq(udp, FRAMES);
	close(fd);
	close(tap);
}

Test(tap, opens_and_goes, .timeout = 10)
{
	struct tap_conf c = conf_peer(1);
	struct tap_result r;
	char err[200] = "";
	int fd;

	if (!new_netns())
		return;
	c.mtu = 9000;
	cr_assert_eq(tap_open(&c, &fd, &r, err, sizeof(err)), 0, "%s", err);
	cr_assert_str_eq(r.ifname, "stkt0");
	cr_assert_eq(r.mtu, 9000);
	cr_assert(r.steered);
	cr_assert_eq(r.mac[0] & 3, 2, "locally administered, not a group");
	cr_assert_neq(memcmp(r.mac, r.peer_mac, 6), 0);
	cr_assert_eq((int)if_nametoindex("stkt0"), r.ifindex);
	cr_assert(fcntl(fd, F_GETFL) & O_NONBLOCK);
	cr_assert(fcntl(fd, F_GETFD) & FD_CLOEXEC);

	int fd2;

	cr_assert_eq(tap_open(&c, &fd2, &r, err, sizeof(err)), -EBUSY);
	cr_assert(strstr(err, "stkt0") && strstr(err, "taken"), "%s", err);
	close(fd);
	for (int i = 0; i < 500 && if_nametoindex("stkt0"); i++)
		usleep(10000);
	cr_assert_eq(if_nametoindex("stkt0"), 0, "the interface goes with its fd");
}

Test(tap, bad_conf_says_why)
{
	static const struct { struct tap_conf c; const char *word; } bad[] = {
		{ { .ifname = "x", .queues = 0 }, "queues" },
		{ { .ifname = "x", .queues = 33 }, "queues" },
		{ { .ifname = "x", .queues = 1, .mtu = 67 }, "MTU" },
		{ { .ifname = "x", .queues = 1, .mtu = 65522 }, "MTU" },
		{ { .ifname = "a/b", .queues = 1 }, "name" },
		{ { .ifname = "x", .queues = 1, .has_peer = true, .peer_plen = 120 }, "address" },
		{ { .ifname = "x", .queues = 1, .mac = { 1 } }, "MAC" },
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct tap_result r;
		char err[200] = "";
		int fds[TAP_QUEUES_MAX];

		cr_expect_eq(tap_open(&bad[i].c, fds, &r, err, sizeof(err)), -EINVAL);
		cr_expect(strstr(err, bad[i].word), "case %zu: '%s'", i, err);
	}
}

Test(tap, without_capability, .timeout = 10)
{
	struct tap_conf c = { .queues = 1 };
	struct tap_result r;
	char err[200] = "";
	int fd;

	if (!new_netns())
		return;
	cr_assert_eq(seteuid(65534), 0);
	cr_assert_lt(tap_open(&c, &fd, &r, err, sizeof(err)), 0);
	cr_assert(strstr(err, "CAP_NET_ADMIN") || strstr(err, "/dev/net/tun"), "%s", err);
}

Test(tap, receives_small_and_big, .timeout = 10)
{
	static const size_t lens[] = { 1, 1400, 1878, 1879, 8000, 8000, 1400, 1 };
	struct hx *h = hx_init(1);
	struct tap_conf c = conf_peer(1);
	struct tap_result r;
	struct nic *nic;
	unsigned q;

	if (!new_netns())
		return;
	c.mtu = 9000;
	open_nics(&c, &nic, &r);
	static_neigh("192.0.2.2", r.mac);
	for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
		cr_assert_eq(send_udp("192.0.2.2", 7, 4000, lens[i], 0), 0);
		struct pkt *p = next_ip(h, &nic, 1, 17, &q);

		cr_assert(p, "%zu bytes", lens[i]);
		cr_assert_eq(p->len, 42 + lens[i]);
		cr_assert_eq(p->big, 42 + lens[i] > PKT_SMALL - PKT_HEADROOM);
		cr_assert_eq(memcmp(p->data, r.mac, 6), 0);
		for (size_t k = 0; k < lens[i]; k++)
			cr_assert_eq(p->data[42 + k], (uint8_t)(k * 7), "byte %zu", k);
		cr_assert_eq(p->csum_state, PKT_CSUM_UNNECESSARY);
		cr_assert_eq(p->csum_start, p->data - p->buf + 34, "unfinished, can be sent on");
		stack_pkt_free(&h->st[0], p);
	}
	cr_assert_gt(h->cnt[0].snmp[SNMP_Dev_RxPackets], 4);
	nic->ops->close(nic);
	hx_fini(h);
}

Test(tap, udp_segmentation_is_not_offered, .timeout = 10)
{
	struct hx *h = hx_init(1);
	struct tap_conf c = conf_peer(1);
	struct tap_result r;
	struct nic *nic;
	unsigned q;

	if (!new_netns())
		return;
	open_nics(&c, &nic, &r);
	static_neigh("192.0.2.2", r.mac);
	cr_assert_eq(send_udp("192.0.2.2", 7, 4000, 3000, 1000), 0);
	for (int i = 0; i < 3; i++) {
		struct pkt *p = next_ip(h, &nic, 1, 17, &q);

		cr_assert(p);
		cr_assert_eq(p->len, 1042);
		cr_assert_eq(p->gso_size, 0);
		stack_pkt_free(&h->st[0], p);
	}
	nic->ops->close(nic);
	hx_fini(h);
}

/* S2: the program in the kernel and nic_steer_hash() agree. */
Test(tap, steering_is_the_hash, .timeout = 10)
{
	enum { QUEUES = 3 };
	struct hx *h = hx_init(1);
	struct tap_conf c = conf_peer(QUEUES);
	struct sd_addr me = v4("192.0.2.1");
	unsigned seen[QUEUES] = { 0 };
	struct nic *nics[QUEUES];
	struct tap_result r;

	if (!new_netns())
		return;
	open_nics(&c, nics, &r);
	cr_assert(r.steered);
	for (int i = 0; i < 60; i++) {
		char to[20];
		unsigned q = 99;
		uint16_t sport = (uint16_t)(20000 + i * 37), dport = (uint16_t)(80 + i % 3);

		snprintf(to, sizeof(to), "192.0.2.%d", 2 + i % 5);
		static_neigh(to, r.mac);
		cr_assert_eq(send_udp(to, dport, sport, 10, 0), 0);
		struct pkt *p = next_ip(h, nics, QUEUES, 17, &q);
		struct sd_addr dst = v4(to);

		cr_assert(p);
		cr_assert_eq(q, nic_steer_hash(&me, sport, &dst, dport) % QUEUES);
		cr_assert_eq(p->queue, q);
		seen[q]++;
		stack_pkt_free(&h->st[0], p);
		/* Too long for one frame: every fragment goes where the addresses say. */
		if (i % 10 == 0) {
			cr_assert_eq(send_udp(to, dport, sport, 4000, 0), 0);
			for (int f = 0; f < 3; f++) {
				p = next_ip(h, nics, QUEUES, 17, &q);
				cr_assert(p);
				cr_assert_eq(q, nic_steer_hash(&me, 0, &dst, 0) % QUEUES);
				stack_pkt_free(&h->st[0], p);
			}
		}
	}
	for (int i = 0; i < QUEUES; i++) {
		cr_expect_gt(seen[i], 8, "queue %d", i);
		nics[i]->ops->close(nics[i]);
	}
	hx_fini(h);
}

/* A UDP frame of ours, checksum left to the device, in two pieces, reaches a kernel socket. */
Test(tap, transmits_partial_with_frags, .timeout = 10)
{
	struct hx *h = hx_init(1);
	struct stack *st = &h->st[0];
	struct tap_conf c = conf_peer(1);
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(5000) };
	struct tap_result r;
	struct nic *nic;
	uint8_t payload[1000], got[2000], ps[12];
	uint16_t sum;

	if (!new_netns())
		return;
	open_nics(&c, &nic, &r);
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	cr_assert_eq(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	for (size_t i = 0; i < sizeof(payload); i++)
		payload[i] = (uint8_t)(i ^ 0x55);
	struct pkt *p = pkt_alloc(st->pool, false);
	uint8_t *d = p->data;
	static const uint8_t head[42] = {
		[12] = 8, [14] = 0x45, [16] = 1028 >> 8, [17] = 1028 & 255, [22] = 64, [23] = 17,
		[26] = 192, 0, 2, 2, 192, 0, 2, 1,
		[34] = 0x20, 1, 5000 >> 8, 5000 & 255, 1008 >> 8, 1008 & 255,
	};

	memcpy(d, head, sizeof(head));
	memcpy(d, r.peer_mac, 6);
	memcpy(d + 6, r.mac, 6);
	sum = csum_of(d + 14, 20);
	memcpy(d + 24, &sum, 2);
	memcpy(ps, d + 26, 8);
	memcpy(ps + 8, (uint8_t[]){ 0, 17, 1008 >> 8, 1008 & 255 }, 4);
	sum = csum_fold(csum_add(0, ps, 12));
	memcpy(d + 40, &sum, 2);
	memcpy(d + 42, payload, 301);
	p->len = 343;
	p->frag[0] = (struct iovec){ payload + 301, sizeof(payload) - 301 };
	p->frag_cnt = 1;
	p->frag_len = sizeof(payload) - 301;
	p->csum_state = PKT_CSUM_PARTIAL;
	p->csum_start = (uint16_t)(d - p->buf + 34);
	p->csum_off = 6;
	nic_tx(nic, st, &p, 1);
	struct pollfd pfd = { .fd = fd, .events = POLLIN };

	cr_assert_eq(poll(&pfd, 1, 5000), 1);
	cr_assert_eq(recv(fd, got, sizeof(got), 0), 1000);
	cr_assert_eq(memcmp(got, payload, 1000), 0);
	cr_assert_eq(h->cnt[0].snmp[SNMP_Dev_TxPackets], 1);
	nic->ops->close(nic);
	hx_fini(h);
}
