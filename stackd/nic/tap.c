/* SPDX-License-Identifier: MIT */
/* nic/tap.c - one queue of a TAP device, frames with a virtio-net header
 *
 * A frame is read straight into packet memory: the vnet header into a local, the first bytes into a
 * small buffer, what does not fit there into the middle of a big one. Most frames end in the small
 * buffer; for the others the small buffer's bytes are copied in front of the rest. After a big
 * frame the next one is read into a big buffer at once, and copied into a small one if the guess
 * was wrong. So every packet is one piece, and no 68 KiB buffer waits behind an ACK (DESIGN.md).
 * Spec:    virtio 1.1 5.1.6 (struct virtio_net_hdr); Linux tuntap: IFF_VNET_HDR, header size 10
 * In/Out:  rx: frame -> pkt, data at the Ethernet header; tx: finished pkt -> frame
 * Holds:   T1 checksum and GSO fields of a header are inside the frame, or the frame is dropped
 *          T2 no packet is held between calls
 * Threads: owning worker only
 */
#include <errno.h>
#include <linux/virtio_net.h>
#include <stdlib.h>
#include <unistd.h>

#include "stackd/nic/nic.h"

#define SMALL_ROOM	(PKT_SMALL - PKT_HEADROOM)
#define BIG_ROOM	(PKT_BIG - PKT_HEADROOM)

/* virtio 1.2's UDP segmentation; Debian 12's header does not have it yet. */
#define VNET_GSO_UDP_L4	5

struct vnet_hdr {			/* struct virtio_net_hdr, little endian */
	uint8_t flags, gso_type;
	uint16_t hdr_len, gso_size, csum_start, csum_off;
};
static_assert(sizeof(struct vnet_hdr) == 10, "what TUNSETVNETHDRSZ was told");

struct tap_nic {
	struct nic nic;
	int fd;
	bool big_next;			/* the newest frame was big: the next one probably is */
};

/* ---- receive ----------------------------------------------------------------------------- */

/* Bytes of Ethernet, IP and transport header of a GSO frame, 0 = cannot be. */
static uint32_t gso_hdr_len(const struct vnet_hdr *h, const struct pkt *p)
{
	uint32_t l4 = h->csum_start, n;

	if ((h->gso_type & ~VIRTIO_NET_HDR_GSO_ECN) == VNET_GSO_UDP_L4)
		return l4 + 8 < p->len ? l4 + 8 : 0;
	if (l4 + 20 >= p->len)
		return 0;
	n = (p->data[l4 + 12] >> 4) * 4u;
	return n >= 20 && l4 + n < p->len ? l4 + n : 0;
}

static bool vnet_gso(const struct vnet_hdr *h, struct pkt *p)
{
	uint32_t hdr_len;

	switch (h->gso_type & ~VIRTIO_NET_HDR_GSO_ECN) {
	case VIRTIO_NET_HDR_GSO_NONE:
		return true;
	case VIRTIO_NET_HDR_GSO_TCPV4:
		p->gso_type = PKT_GSO_TCP4;
		break;
	case VIRTIO_NET_HDR_GSO_TCPV6:
		p->gso_type = PKT_GSO_TCP6;
		break;
	case VNET_GSO_UDP_L4:
		p->gso_type = PKT_GSO_UDP;
		break;
	default:
		return false;
	}
	if (!(h->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) || h->gso_size == 0)
		return false;
	hdr_len = gso_hdr_len(h, p);
	if (hdr_len == 0)
		return false;
	p->gso_size = h->gso_size;
	p->gso_segs = (uint16_t)((p->len - hdr_len + h->gso_size - 1) / h->gso_size);
	return true;
}

/* Offload fields of a frame just read. Return: false when the header describes something
 * impossible. */
static bool vnet_apply(const struct vnet_hdr *h, struct pkt *p)
{
	p->csum_state = PKT_CSUM_NONE;
	p->gso_segs = 1;
	if (h->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) {
		if (h->csum_start < ETH_HLEN || (uint32_t)h->csum_start + h->csum_off + 2 > p->len)
			return false;
		/* It never was on a wire; whoever sends it on finds the unfinished field. */
		p->csum_state = PKT_CSUM_UNNECESSARY;
		p->csum_start = (uint16_t)(p->data - p->buf + h->csum_start);
		p->csum_off = h->csum_off;
	} else if (h->flags & VIRTIO_NET_HDR_F_DATA_VALID) {
		p->csum_state = PKT_CSUM_UNNECESSARY;
	}
	return vnet_gso(h, p);
}

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

/* Read one frame. Return: false when there is none; *ret_pkt NULL when it was dropped. */
static bool rx_one(struct tap_nic *t, struct stack *st, struct rx_bufs *b, struct pkt **ret_pkt)
{
	uint32_t lead = b->small && !(t->big_next && b->big) ? SMALL_ROOM : 0, len;
	struct vnet_hdr h;
	struct iovec iov[3] = { { &h, sizeof(h) } };
	struct pkt *p;
	int cnt = 1;
	ssize_t n;

	if (lead)
		iov[cnt++] = (struct iovec){ b->small->data, lead };
	if (b->big)
		iov[cnt++] = (struct iovec){ b->big->data + lead, BIG_ROOM - lead };
	do {
		n = readv(t->fd, iov, cnt);
	} while (n < 0 && errno == EINTR);
	if (n <= 0)
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
	*ret_pkt = p;
	return true;
}

static void rx_account(struct tap_nic *t, struct stack *st, struct pkt *p)
{
	p->queue = t->nic.queue;
	p->rx_us = st->now_us;
	snmp_inc(st, SNMP_Dev_RxPackets);
	snmp_add(st, SNMP_Dev_RxBytes, p->len);
	if (p->gso_size)
		snmp_inc(st, SNMP_Dev_RxGsoPackets);
}

static unsigned tap_rx(struct nic *nic, struct stack *st, struct pkt **pkts, unsigned max)
{
	struct tap_nic *t = nic->priv;
	struct rx_bufs b = { 0 };
	unsigned cnt = 0;

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

static void vnet_gso_fill(struct vnet_hdr *h, const struct pkt *p)
{
	const uint8_t *l4 = p->buf + p->csum_start;

	h->gso_size = p->gso_size;
	if (p->gso_type == PKT_GSO_UDP) {
		h->gso_type = VNET_GSO_UDP_L4;
		h->hdr_len = h->csum_start + 8;
		return;
	}
	h->gso_type = p->gso_type == PKT_GSO_TCP4 ? VIRTIO_NET_HDR_GSO_TCPV4
						  : VIRTIO_NET_HDR_GSO_TCPV6;
	if (l4[13] & 0x80)		/* CWR: on the first segment only */
		h->gso_type |= VIRTIO_NET_HDR_GSO_ECN;
	h->hdr_len = (uint16_t)(h->csum_start + (l4[12] >> 4) * 4);
}

static void vnet_fill(struct vnet_hdr *h, const struct pkt *p)
{
	*h = (struct vnet_hdr){ 0 };
	if (p->csum_state != PKT_CSUM_PARTIAL)
		return;
	h->flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
	h->csum_start = (uint16_t)(p->csum_start - (p->data - p->buf));
	h->csum_off = p->csum_off;
	if (p->gso_type != PKT_GSO_NONE)
		vnet_gso_fill(h, p);
}

/* Return: 0 or -errno. */
static int tx_one(struct tap_nic *t, const struct pkt *p)
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

static void tap_tx(struct nic *nic, struct stack *st, struct pkt **pkts, unsigned cnt)
{
	struct tap_nic *t = nic->priv;

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

static int tap_rx_fd(struct nic *nic)
{
	struct tap_nic *t = nic->priv;

	return t->fd;
}

static void tap_close(struct nic *nic)
{
	struct tap_nic *t = nic->priv;

	close(t->fd);
	free(t);
}

static const struct nic_ops tap_ops = {
	.name = "tap",
	.rx = tap_rx,
	.tx = tap_tx,
	.rx_fd = tap_rx_fd,
	.close = tap_close,
};

int tap_nic_create(int fd, const char *ifname, const uint8_t mac[6], uint32_t mtu, uint16_t queue,
		   uint16_t queues, struct nic **ret)
{
	struct tap_nic *t = calloc(1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	t->fd = fd;
	t->nic = (struct nic){
		.ops = &tap_ops,
		.features = NIC_F_CSUM | NIC_F_TSO | NIC_F_TSO6 | NIC_F_RX_CSUM | NIC_F_GRO,
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
