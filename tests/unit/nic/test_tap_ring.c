/* SPDX-License-Identifier: MIT */
/* tests/unit/nic/test_tap_ring.c - a TAP's frames by io_uring, against a kernel socket
 * Each test runs in a network namespace of its own. The ring is one as the engine makes it.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <liburing.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <sys/socket.h>

#include "stackd/core/csum.h"
#include "stackd/nic/tap_open.h"
#include "tests/unit/harness.h"

#define TAG	(5ull << 56)
#define ROUNDS	500			/* 10 ms each: a hang */

struct fix {
	struct hx *h;
	struct stack *st;
	struct io_uring ring;
	struct nic *nic;
	struct tap_result r;
	int sock;			/* UDP port 5000 of the kernel's side */
};

static bool start(struct fix *f)
{
	struct io_uring_params p = { .flags = IORING_SETUP_SINGLE_ISSUER |
				     IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG |
				     IORING_SETUP_SUBMIT_ALL };
	struct tap_conf c = { .ifname = "stkt0", .queues = 1, .mtu = 9000, .has_peer = true,
			      .peer_plen = 120 };
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(5000) };
	char err[200] = "", cmd[200];
	be32 peer;
	int fd;

	if (access("/dev/net/tun", R_OK | W_OK) || unshare(CLONE_NEWNET) ||
	    io_uring_queue_init_params(256, &f->ring, &p)) {
		cr_skip_test("needs root, /dev/net/tun and io_uring");
		return false;
	}
	inet_pton(AF_INET, "192.0.2.1", &peer);
	c.peer = sd_addr_v4(peer);
	cr_assert_eq(tap_open(&c, &fd, &f->r, err, sizeof(err)), 0, "%s", err);
	cr_assert_eq(tap_nic_create(fd, "stkt0", f->r.mac, f->r.mtu, 0, 1, &f->nic), 0);
	f->h = hx_init(1);
	f->st = &f->h->st[0];
	if (f->nic->ops->ring_attach(f->nic, f->st, &f->ring, TAG)) {
		cr_skip_test("this kernel has no multishot read");
		return false;
	}
	cr_assert_eq(f->nic->ops->rx_fd(f->nic), -1, "nobody need poll the fd");
	snprintf(cmd, sizeof(cmd), "ip neigh replace 192.0.2.2 lladdr %02x:%02x:%02x:%02x:%02x:%02x"
		 " dev stkt0", f->r.mac[0], f->r.mac[1], f->r.mac[2], f->r.mac[3], f->r.mac[4],
		 f->r.mac[5]);
	cr_assert_eq(system(cmd), 0);
	f->sock = socket(AF_INET, SOCK_DGRAM, 0);
	cr_assert_eq(bind(f->sock, (struct sockaddr *)&a, sizeof(a)), 0);
	return true;
}

static void stop(struct fix *f)
{
	uint32_t held;
	struct pkt *p;

	while (f->nic->ops->rx(f->nic, f->st, &p, 1))
		stack_pkt_free(f->st, p);	/* what the kernel says by itself */
	held = f->nic->held;
	cr_assert_gt(held, 0);
	cr_assert_eq(pkt_pool_used(f->st->pool), held, "what is not lent is back");
	io_uring_queue_exit(&f->ring);
	close(f->sock);
	f->nic->ops->close(f->nic);
	hx_fini(f->h);
}

static void reap(struct fix *f)
{
	struct __kernel_timespec ts = { .tv_nsec = 10000000 };
	struct io_uring_cqe *cqe;

	io_uring_submit_and_wait_timeout(&f->ring, &cqe, 1, &ts, NULL);
	while (!io_uring_peek_cqe(&f->ring, &cqe)) {
		cr_assert_eq(cqe->user_data >> 56, TAG >> 56);
		f->nic->ops->ring_done(f->nic, f->st, cqe->user_data, cqe->res, cqe->flags);
		io_uring_cqe_seen(&f->ring, cqe);
	}
}

static void fill(uint8_t *b, size_t len, unsigned seed)
{
	for (size_t i = 0; i < len; i++)
		b[i] = (uint8_t)(i * 7 + seed);
}

static void kernel_sends(struct fix *f, size_t len, unsigned seed)
{
	static uint8_t b[65536];
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(7) };

	inet_pton(AF_INET, "192.0.2.2", &a.sin_addr);
	fill(b, len, seed);
	cr_assert_eq(sendto(f->sock, b, len, 0, (struct sockaddr *)&a, sizeof(a)), (ssize_t)len);
}

/* The next UDP frame from port 5000. */
static struct pkt *next(struct fix *f)
{
	for (int i = 0; i < ROUNDS; i++) {
		struct pkt *p;

		while (f->nic->ops->rx(f->nic, f->st, &p, 1)) {
			if (p->len > 42 && p->data[23] == 17 &&
			    (p->data[34] << 8 | p->data[35]) == 5000)
				return p;
			stack_pkt_free(f->st, p);
		}
		reap(f);
	}
	return NULL;
}

static void expect(struct fix *f, size_t len, unsigned seed)
{
	static uint8_t want[65536];
	struct pkt *p = next(f);

	cr_assert(p, "%zu bytes", len);
	fill(want, len, seed);
	cr_assert_eq(p->len, 42 + len);
	cr_assert_eq(p->big, 42 + len > PKT_SMALL - PKT_HEADROOM);
	cr_assert_eq(memcmp(p->data, f->r.mac, 6), 0);
	cr_assert_eq(memcmp(p->data + 42, want, len), 0);
	cr_assert_eq(p->csum_state, PKT_CSUM_UNNECESSARY);
	cr_assert_eq(p->csum_start, p->data - p->buf + 34);
	stack_pkt_free(f->st, p);
}

Test(tap_ring, receives_small_and_big, .timeout = 20)
{
	static const size_t lens[] = { 1, 1400, 1878, 1879, 8000, 8000, 1400, 1 };
	struct fix f;

	if (!start(&f))
		return;
	for (unsigned i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
		kernel_sends(&f, lens[i], i);
		expect(&f, lens[i], i);
	}
	stop(&f);
}

/* More than there are buffers: the read ends for want of them and is begun again; order is kept. */
Test(tap_ring, bursts_larger_than_the_buffers, .timeout = 20)
{
	struct fix f;

	if (!start(&f))
		return;
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < 200; i++)
			kernel_sends(&f, i % 10 == 9 ? 5000 : 100 + i, round + i);
		for (unsigned i = 0; i < 200; i++)
			expect(&f, i % 10 == 9 ? 5000 : 100 + i, round + i);
	}
	stop(&f);
}

static void put16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

/* A UDP frame for the kernel's port 5000; bytes from @split on are a fragment. */
static struct pkt *frame(struct fix *f, const uint8_t *payload, uint32_t len, uint32_t split)
{
	static const uint8_t head[42] = {
		[12] = 8, [14] = 0x45, [22] = 64, [23] = 17, [26] = 192, 0, 2, 2, 192, 0, 2, 1,
		[34] = 0x20, 1, 5000 >> 8, 5000 & 255,
	};
	struct pkt *p = pkt_alloc(f->st->pool, false);
	uint8_t *d = p->data, ps[12] = { 0 };
	uint16_t sum;

	memcpy(d, head, sizeof(head));
	memcpy(d, f->r.peer_mac, 6);
	memcpy(d + 6, f->r.mac, 6);
	put16(d + 16, 28 + len);
	put16(d + 38, 8 + len);
	sum = csum_of(d + 14, 20);
	memcpy(d + 24, &sum, 2);
	memcpy(ps, d + 26, 8);
	ps[9] = 17;
	put16(ps + 10, 8 + len);
	sum = csum_fold(csum_add(0, ps, 12));
	memcpy(d + 40, &sum, 2);
	memcpy(d + 42, payload, split);
	p->len = 42 + split;
	if (split < len) {
		p->frag[0] = (struct iovec){ (void *)(payload + split), len - split };
		p->frag_cnt = 1;
		p->frag_len = len - split;
	}
	p->csum_state = PKT_CSUM_PARTIAL;
	p->csum_start = (uint16_t)(d - p->buf + 34);
	p->csum_off = 6;
	return p;
}

/* Short payloads are copied behind the headers, long ones go as they lie: the kernel's checksum
 * tells whether all is in its place. */
Test(tap_ring, transmits_a_burst, .timeout = 20)
{
	static const uint32_t lens[] = { 1, 700, 1023, 1024, 1025, 1400, 8000 };
	enum { CNT = sizeof(lens) / sizeof(lens[0]) };
	static uint8_t payload[CNT][8000], got[9000];
	struct pkt *p[CNT];
	struct fix f;

	if (!start(&f))
		return;
	for (unsigned i = 0; i < CNT; i++) {
		fill(payload[i], lens[i], i);
		p[i] = frame(&f, payload[i], lens[i], i & 1 ? 1 : 0);
	}
	nic_tx(f.nic, f.st, p, CNT);
	for (unsigned i = 0; i < CNT; i++) {
		struct pollfd pfd = { .fd = f.sock, .events = POLLIN };

		cr_assert_eq(poll(&pfd, 1, 5000), 1, "frame %u", i);
		cr_assert_eq(recv(f.sock, got, sizeof(got), 0), lens[i]);
		cr_assert_eq(memcmp(got, payload[i], lens[i]), 0);
	}
	cr_assert_eq(f.h->cnt[0].snmp[SNMP_Dev_TxPackets], CNT);
	stop(&f);
}

Test(tap_ring, a_frame_that_cannot_go_is_counted, .timeout = 20)
{
	uint8_t payload[10] = { 0 };
	struct pkt *p;
	struct fix f;

	if (!start(&f))
		return;
	cr_assert_eq(system("ip link set stkt0 down"), 0);
	p = frame(&f, payload, sizeof(payload), 0);
	nic_tx(f.nic, f.st, &p, 1);
	for (int i = 0; i < ROUNDS && !f.h->cnt[0].snmp[SNMP_Dev_TxDropped]; i++)
		reap(&f);
	cr_assert_eq(f.h->cnt[0].snmp[SNMP_Dev_TxDropped], 1);
	cr_assert_eq(f.h->cnt[0].snmp[SNMP_Dev_TxPackets], 0);
	cr_assert_eq(f.h->cnt[0].drop[DROP_DEV_TX_ERR], 1);
	stop(&f);
}
