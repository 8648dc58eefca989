/* SPDX-License-Identifier: MIT */
/* tests/unit/nic/test_vnet.c - vnet headers, sane and not; a datagram socket is the TAP */
#include <errno.h>
#include <linux/virtio_net.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "tests/unit/nic/frames.h"

struct vnet {
	uint8_t flags, gso_type;
	uint16_t hdr_len, gso_size, csum_start, csum_off;
};

static struct hx *h;
static struct stack *st;
static struct nic *nic;
static int kernel;			/* the other end */

static void start(void)
{
	static const uint8_t mac[6] = { 2, 1, 1, 1, 1, 1 };
	int fds[2];

	h = hx_init(1);
	st = &h->st[0];
	cr_assert_eq(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, fds), 0);
	cr_assert_eq(tap_nic_create(fds[0], "fake", mac, 1500, 0, 1, &nic), 0);
	kernel = fds[1];
}

static void stop(void)
{
	nic->ops->close(nic);
	close(kernel);
	hx_fini(h);
}

static void put(const struct vnet *v, const void *frame, size_t len)
{
	struct iovec iov[2] = { { (void *)v, 10 }, { (void *)frame, len } };

	cr_assert_eq(writev(kernel, iov, 2), (ssize_t)(10 + len));
}

static struct pkt *get(void)
{
	struct pkt *p = NULL;

	return nic->ops->rx(nic, st, &p, 1) ? p : NULL;
}

Test(vnet, impossible_headers_are_dropped)
{
	/* The frame: 54 bytes of headers and 1000 of payload. */
	static const struct { const char *what; struct vnet v; } t[] = {
		{ "sum starts in the Ethernet header", { 1, 0, 0, 0, 13, 16 } },
		{ "sum starts behind the end", { 1, 0, 0, 0, 1054, 0 } },
		{ "field behind the end", { 1, 0, 0, 0, 34, 1019 } },
		{ "both huge", { 1, 0, 0, 0, 65535, 65535 } },
		{ "GSO without checksum", { 0, 1, 54, 500, 34, 16 } },
		{ "GSO with a verified checksum", { 2, 1, 54, 500, 34, 16 } },
		{ "GSO of size 0", { 1, 1, 54, 0, 34, 16 } },
		{ "unknown GSO", { 1, 2, 54, 500, 34, 16 } },
		{ "UFO", { 1, 3, 54, 500, 34, 16 } },
		{ "GSO header behind the end", { 1, 1, 54, 500, 1034, 16 } },
		{ "UDP GSO without payload", { 1, 5, 54, 500, 1046, 6 } },
	};
	struct pkt *f;

	start();
	f = frame_tcp_gso(st, 1000, 500, 0x10);
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		put(&t[i].v, f->data, f->len);
		cr_expect_null(get(), "%s", t[i].what);
		cr_expect_eq(h->cnt[0].drop[DROP_DEV_RX_BAD], i + 1, "%s", t[i].what);
	}
	f->data[46] = 0xf0;			/* data offset: 60 bytes, still inside */
	put(&(struct vnet){ 1, 1, 54, 500, 34, 16 }, f->data, f->len);
	stack_pkt_free(st, get());
	f->data[46] = 0x40;
	put(&(struct vnet){ 1, 1, 54, 500, 34, 16 }, f->data, f->len);
	cr_expect_null(get(), "data offset below 5");
	f->data[46] = 0x50;
	put(&(struct vnet){ 1, 1, 54, 500, 34, 16 }, f->data, 54);
	cr_expect_null(get(), "nothing to segment");
	cr_assert_eq(send(kernel, "short", 5, 0), 5);
	cr_expect_null(get(), "shorter than a vnet header");
	cr_expect_eq(h->cnt[0].snmp[SNMP_Dev_RxDropped], sizeof(t) / sizeof(t[0]) + 3);
	stack_pkt_free(st, f);
	stop();
}

Test(vnet, offloads_are_translated)
{
	static const struct { struct vnet v; uint8_t csum, gso; uint16_t size, segs; } t[] = {
		{ { 0, 0, 0, 0, 0, 0 }, PKT_CSUM_NONE, PKT_GSO_NONE, 0, 1 },
		{ { 2, 0, 0, 0, 0, 0 }, PKT_CSUM_UNNECESSARY, PKT_GSO_NONE, 0, 1 },
		{ { 1, 0, 0, 0, 34, 16 }, PKT_CSUM_UNNECESSARY, PKT_GSO_NONE, 0, 1 },
		{ { 1, 1, 54, 400, 34, 16 }, PKT_CSUM_UNNECESSARY, PKT_GSO_TCP4, 400, 3 },
		{ { 1, 0x81, 54, 400, 34, 16 }, PKT_CSUM_UNNECESSARY, PKT_GSO_TCP4, 400, 3 },
		{ { 1, 4, 54, 1000, 34, 16 }, PKT_CSUM_UNNECESSARY, PKT_GSO_TCP6, 1000, 1 },
		{ { 1, 5, 42, 506, 34, 6 }, PKT_CSUM_UNNECESSARY, PKT_GSO_UDP, 506, 2 },
	};
	struct pkt *f;

	start();
	f = frame_tcp_gso(st, 1000, 500, 0x10);
	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct pkt *p;

		put(&t[i].v, f->data, f->len);
		p = get();
		cr_assert(p, "case %zu", i);
		cr_expect_eq(p->csum_state, t[i].csum, "case %zu", i);
		cr_expect_eq(p->gso_type, t[i].gso, "case %zu", i);
		cr_expect_eq(p->gso_size, t[i].size, "case %zu", i);
		cr_expect_eq(p->gso_segs, t[i].segs, "case %zu: %u", i, p->gso_segs);
		cr_expect_eq(p->csum_start, t[i].v.flags == 1 ? p->data - p->buf + 34 : 0);
		stack_pkt_free(st, p);
	}
	stack_pkt_free(st, f);
	stop();
}

/* What we send describes itself the way it is understood. */
Test(vnet, transmit_headers_match)
{
	uint8_t buf[70000];
	struct vnet v;
	struct pkt *p;

	start();
	p = frame_tcp_gso(st, 5000, 1448, 0x98);
	nic_tx(nic, st, &p, 1);
	p = frame_udp(st, 1, 100);
	nic_tx(nic, st, &p, 1);
	cr_assert_eq(recv(kernel, buf, sizeof(buf), 0), 10 + 5054);
	memcpy(&v, buf, 10);
	cr_expect_eq(v.flags, VIRTIO_NET_HDR_F_NEEDS_CSUM);
	cr_expect_eq(v.gso_type, VIRTIO_NET_HDR_GSO_TCPV4 | VIRTIO_NET_HDR_GSO_ECN);
	cr_expect_eq(v.gso_size, 1448);
	cr_expect_eq(v.hdr_len, 54);
	cr_expect_eq(v.csum_start, 34);
	cr_expect_eq(v.csum_off, 16);
	cr_assert_eq(recv(kernel, buf, sizeof(buf), 0), 10 + 142);
	memcpy(&v, buf, 10);
	cr_expect_eq(v.flags, VIRTIO_NET_HDR_F_NEEDS_CSUM);
	cr_expect_eq(v.gso_type, 0);
	cr_expect_eq(v.csum_off, 6);
	stop();
}

Test(vnet, full_device_drops_and_counts)
{
	int small = 4096, n = 0, fd;
	struct pkt *p;

	start();
	fd = nic->ops->rx_fd(nic);
	cr_assert_eq(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
	while (h->cnt[0].drop[DROP_DEV_TX_FULL] == 0 && n++ < 1000) {
		p = frame_udp(st, 1, 1000);
		nic_tx(nic, st, &p, 1);
	}
	cr_assert_eq(h->cnt[0].drop[DROP_DEV_TX_FULL], 1);
	close(kernel);
	p = frame_udp(st, 1, 1000);
	nic_tx(nic, st, &p, 1);
	cr_assert_eq(h->cnt[0].drop[DROP_DEV_TX_ERR], 1);
	cr_assert_eq(h->cnt[0].snmp[SNMP_Dev_TxDropped], 2);
	kernel = dup(0);
	stop();
}

/* Frames around the size of the small buffer, with one or both kinds of buffers gone. */
Test(vnet, buffers_run_out)
{
	static uint8_t f[4000];
	struct pkt *big[64], *small[2000], *p;
	struct vnet v = { 0 };
	unsigned bigs = 0, smalls = 0;

	start();
	memset(f, 5, sizeof(f));
	while ((big[bigs] = pkt_alloc(st->pool, true)))
		bigs++;
	put(&v, f, 1919);
	p = get();
	cr_assert(p && p->len == 1919 && !p->big);
	stack_pkt_free(st, p);
	put(&v, f, 1920);
	put(&v, f, 4000);
	cr_assert_null(get(), "may have been cut");
	cr_assert_null(get());
	cr_assert_eq(h->cnt[0].drop[DROP_NO_BUF], 2);
	stack_pkt_free(st, big[--bigs]);
	while ((small[smalls] = pkt_alloc(st->pool, false)))
		smalls++;
	put(&v, f, 60);
	p = get();
	cr_assert(p && p->len == 60 && p->big && p->data[59] == 5);
	put(&v, f, 60);
	cr_assert_null(get(), "stays in the device");
	stack_pkt_free(st, p);
	p = get();
	cr_assert(p && p->len == 60);
	stack_pkt_free(st, p);
	while (bigs)
		stack_pkt_free(st, big[--bigs]);
	while (smalls)
		stack_pkt_free(st, small[--smalls]);
	stop();
}
