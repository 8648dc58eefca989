/* SPDX-License-Identifier: MIT */
/* nic/vnet_nic.c - one queue of a TAP or a packet socket: frames with a virtio-net header
 *
 * A frame is read straight into packet memory: the vnet header into a local, the first bytes into a
 * small buffer, what does not fit there into the middle of a big one. Most frames end in the small
 * buffer; for the others the small buffer's bytes are copied in front of the rest. After a big
 * frame the next one is read into a big buffer at once, and copied into a small one if the guess
 * was wrong. So every packet is one piece, and no 68 KiB buffer waits behind an ACK (DESIGN.md).
 * A packet socket tells a VLAN tag, which the kernel has taken out of the frame, beside it.
 * Spec:    virtio 1.1 5.1.6 (struct virtio_net_hdr); Linux tuntap: IFF_VNET_HDR, header size 10;
 *          packet(7): PACKET_VNET_HDR, PACKET_AUXDATA
 * In/Out:  rx: frame -> pkt, data at the Ethernet header; tx: finished pkt -> frame
 * Holds:   T1 checksum and GSO fields of a header are inside the frame, or the frame is dropped
 *          T2 no packet is held between calls
 * Threads: owning worker only
 */
#include <errno.h>
#include <linux/if_packet.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "stackd/nic/tap_ring.h"
#include "stackd/nic/vnet.h"

#define SMALL_ROOM	(PKT_SMALL - PKT_HEADROOM)
#define BIG_ROOM	(PKT_BIG - PKT_HEADROOM)

struct vnet_nic {
	struct nic nic;
	int fd;
	struct tap_ring *ring;		/* NULL: system calls of our own */
	bool sock;			/* a packet socket */
	bool big_next;			/* the newest frame was big: the next one probably is */
};

/* ---- receive ----------------------------------------------------------------------------- */

/* Buffers for the next frame; a taken one is replaced. */
struct rx_bufs {
	struct pkt *small, *big;
};

static bool rx_bufs_fill(struct stack *st, struct rx_bufs *b)
{
	if (!b->small)
		b->small = pkt_alloc(st->pool, false);
	if (!b->big)
		b->big = pkt_alloc(st->pool, true);
	return b->small || b->big;
}

static struct pkt *rx_drop(struct stack *st, enum drop_reason why)
{
	st->cnt->drop[why]++;
	snmp_inc(st, SNMP_Dev_RxDropped);
	return NULL;
}

/* The frame of @n bytes was read into small, then big (@lead bytes of it into small); take the
 * buffer that it ends up in. Without a big one a frame that fills the small one may have been cut.
 * */
static struct pkt *rx_take(struct stack *st, struct rx_bufs *b, uint32_t lead, uint32_t n)
{
	struct pkt *p;

	if (b->small && n <= SMALL_ROOM && (b->big || n < SMALL_ROOM)) {
		p = b->small;
		b->small = NULL;
		if (lead == 0)
			memcpy(p->data, b->big->data, n);
	} else if (b->big) {
		p = b->big;
		b->big = NULL;
		if (lead)
			memcpy(p->data, b->small->data, lead);
	} else {
		return rx_drop(st, DROP_NO_BUF);
	}
	p->len = n;
	return p;
}

/* The tag beside a frame, as pkt.vlan wants it. */
static uint16_t aux_vlan(struct msghdr *m)
{
	struct tpacket_auxdata a;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		if (c->cmsg_level != SOL_PACKET || c->cmsg_type != PACKET_AUXDATA)
			continue;
		memcpy(&a, CMSG_DATA(c), sizeof(a));
		return a.tp_status & TP_STATUS_VLAN_VALID ? (uint16_t)(a.tp_vlan_tci + 1) : 0;
	}
	return 0;
}

/* Return: bytes (0 of a frame that no buffer holds or that the kernel cannot describe), or -1 when
 * there is none. */
static ssize_t read_frame(struct vnet_nic *t, struct iovec *iov, int cnt, uint16_t *ret_vlan)
{
	char ctl[CMSG_SPACE(sizeof(struct tpacket_auxdata))];
	struct msghdr m = { .msg_iov = iov, .msg_iovlen = (size_t)cnt, .msg_control = ctl,
			    .msg_controllen = sizeof(ctl) };
	ssize_t n;

	do {
		n = t->sock ? recvmsg(t->fd, &m, 0) : readv(t->fd, iov, cnt);
	} while (n < 0 && errno == EINTR);
	if (n < 0 && t->sock && (errno == EINVAL || errno == ENETDOWN))
		return 0;		/* there may be others behind it */
	if (n < 0 || !t->sock)
		return n;
	*ret_vlan = aux_vlan(&m);
	return m.msg_flags & MSG_TRUNC ? 0 : n;
}

/* Read one frame. Return: false when there is none; *ret_pkt NULL when it was dropped. */
static bool rx_one(struct vnet_nic *t, struct stack *st, struct rx_bufs *b, struct pkt **ret_pkt)
{
	uint32_t lead = b->small && !(t->big_next && b->big) ? SMALL_ROOM : 0, len;
	struct vnet_hdr h;
	struct iovec iov[3] = { { &h, sizeof(h) } };
	struct pkt *p;
	uint16_t vlan = 0;
	int cnt = 1;
	ssize_t n;

	if (lead)
		iov[cnt++] = (struct iovec){ b->small->data, lead };
	if (b->big)
		iov[cnt++] = (struct iovec){ b->big->data + lead, BIG_ROOM - lead };
	n = read_frame(t, iov, cnt, &vlan);
	if (n < 0)
		return false;
	*ret_pkt = NULL;
	if ((size_t)n < sizeof(h)) {
		rx_drop(st, DROP_DEV_RX_BAD);
		return true;
	}
	len = (uint32_t)n - (uint32_t)sizeof(h);
	t->big_next = len > SMALL_ROOM;
	p = rx_take(st, b, lead, len);
	if (p && !vnet_apply(&h, p)) {
		pkt_free(st->pool, p);
		p = rx_drop(st, DROP_DEV_RX_BAD);
	}
	if (p)
		p->vlan = vlan;
	*ret_pkt = p;
	return true;
}

static void rx_account(struct vnet_nic *t, struct stack *st, struct pkt *p)
{
	p->queue = t->nic.queue;
	p->rx_us = st->now_us;
	snmp_inc(st, SNMP_Dev_RxPackets);
	snmp_add(st, SNMP_Dev_RxBytes, p->len);
	if (p->gso_size)
		snmp_inc(st, SNMP_Dev_RxGsoPackets);
}

static unsigned vnet_rx(struct nic *nic, struct stack *st, struct pkt **pkts, unsigned max)
{
	struct vnet_nic *t = nic->priv;
	struct rx_bufs b = { 0 };
	unsigned cnt = 0;

	if (t->ring)
		return tap_ring_rx(t->ring, st, pkts, max);
	/* Dropped frames use up the budget too: a flood of them must not hold the loop. */
	for (unsigned i = 0; i < max; i++) {
		struct pkt *p;

		if (!rx_bufs_fill(st, &b) || !rx_one(t, st, &b, &p))
			break;
		if (!p)
			continue;
		rx_account(t, st, p);
		pkts[cnt++] = p;
	}
	if (b.small)
		pkt_free(st->pool, b.small);
	if (b.big)
		pkt_free(st->pool, b.big);
	return cnt;
}

/* ---- transmit ---------------------------------------------------------------------------- */

/* Return: 0 or -errno. */
static int tx_one(struct vnet_nic *t, const struct pkt *p)
{
	struct iovec iov[2 + PKT_FRAGS];
	struct vnet_hdr h;
	ssize_t n;

	vnet_fill(&h, p);
	iov[0] = (struct iovec){ &h, sizeof(h) };
	iov[1] = (struct iovec){ p->data, p->len };
	for (unsigned i = 0; i < p->frag_cnt; i++)
		iov[2 + i] = p->frag[i];
	do {
		n = writev(t->fd, iov, 2 + p->frag_cnt);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}

static void vnet_tx(struct nic *nic, struct stack *st, struct pkt **pkts, unsigned cnt)
{
	struct vnet_nic *t = nic->priv;

	if (t->ring) {
		tap_ring_tx(t->ring, st, pkts, cnt);
		return;
	}
	for (unsigned i = 0; i < cnt; i++) {
		struct pkt *p = pkts[i];
		int rc = tx_one(t, p);

		if (rc) {
			snmp_inc(st, SNMP_Dev_TxDropped);
			stack_drop(st, p, rc == -EAGAIN ? DROP_DEV_TX_FULL : DROP_DEV_TX_ERR);
			continue;
		}
		snmp_inc(st, SNMP_Dev_TxPackets);
		snmp_add(st, SNMP_Dev_TxBytes, pkt_total(p));
		if (p->gso_type != PKT_GSO_NONE)
			snmp_inc(st, SNMP_Dev_TxGsoPackets);
		stack_pkt_free(st, p);
	}
}

/* ---- life -------------------------------------------------------------------------------- */

static int vnet_rx_fd(struct nic *nic)
{
	struct vnet_nic *t = nic->priv;

	return t->ring ? -1 : t->fd;
}

static uint64_t tap_next_us(struct nic *nic)
{
	struct vnet_nic *t = nic->priv;

	return t->ring ? tap_ring_next_us(t->ring) : UINT64_MAX;
}

static int tap_attach(struct nic *nic, struct stack *st, struct io_uring *ring, uint64_t tag)
{
	struct vnet_nic *t = nic->priv;

	return tap_ring_open(t->fd, nic, st, ring, tag, &t->ring);
}

static void tap_done(struct nic *nic, struct stack *st, uint64_t data, int res, uint32_t flags)
{
	struct vnet_nic *t = nic->priv;

	tap_ring_done(t->ring, st, data, res, flags);
}

static void vnet_close(struct nic *nic)
{
	struct vnet_nic *t = nic->priv;

	tap_ring_close(t->ring);
	close(t->fd);
	free(t);
}

static const struct nic_ops tap_ops = {
	.name = "tap", .rx = vnet_rx, .tx = vnet_tx, .rx_fd = vnet_rx_fd, .close = vnet_close,
	.next_us = tap_next_us, .ring_attach = tap_attach, .ring_done = tap_done,
};

static const struct nic_ops packet_ops = {
	.name = "packet", .rx = vnet_rx, .tx = vnet_tx, .rx_fd = vnet_rx_fd, .close = vnet_close,
};

static int create(const struct nic_ops *ops, int fd, const char *ifname, const uint8_t mac[6],
		  uint32_t mtu, uint16_t queue, uint16_t queues, struct nic **ret)
{
	struct vnet_nic *t = calloc(1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	t->fd = fd;
	t->sock = ops == &packet_ops;
	t->nic = (struct nic){
		.ops = ops,
		.features = NIC_F_CSUM | NIC_F_TSO | NIC_F_TSO6 | NIC_F_RX_CSUM |
			    NIC_F_GRO,
		.mtu = mtu,
		.queue = queue,
		.queues = queues,
		.priv = t,
	};
	memcpy(t->nic.mac, mac, 6);
	strncpy(t->nic.ifname, ifname, sizeof(t->nic.ifname) - 1);
	*ret = &t->nic;
	return 0;
}

int tap_nic_create(int fd, const char *ifname, const uint8_t mac[6], uint32_t mtu, uint16_t queue,
		   uint16_t queues, struct nic **ret)
{
	return create(&tap_ops, fd, ifname, mac, mtu, queue, queues, ret);
}

int packet_nic_create(int fd, const char *ifname, const uint8_t mac[6], uint32_t mtu,
		      uint16_t queue, uint16_t queues, struct nic **ret)
{
	return create(&packet_ops, fd, ifname, mac, mtu, queue, queues, ret);
}
