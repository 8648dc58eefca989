/* SPDX-License-Identifier: MIT */
/* nic/vnet.c - virtio-net header to packet fields and back
 * Spec:    virtio 1.1 5.1.6; linux/virtio_net.h
 * In/Out:  header + frame <-> checksum state and GSO fields of struct pkt
 * Holds:   T1 of vnet_nic.c
 * Threads: any
 */
#include <linux/virtio_net.h>

#include "stackd/nic/nic.h"
#include "stackd/nic/vnet.h"

/* virtio 1.2's UDP segmentation; Debian 12's header does not have it yet. */
#define VNET_GSO_UDP_L4	5

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

bool vnet_apply(const struct vnet_hdr *h, struct pkt *p)
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

void vnet_fill(struct vnet_hdr *h, const struct pkt *p)
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
