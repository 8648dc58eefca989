/* SPDX-License-Identifier: MIT */
/* nic/vnet.h - the header that the kernel puts before each frame of a TAP or a packet socket
 * Spec:    virtio 1.1 5.1.6 (struct virtio_net_hdr, 10 bytes); both ends are little endian here
 * Holds:   T1 (vnet_nic.c): after vnet_apply() checksum and GSO fields lie inside the frame
 */
#ifndef NIC_VNET_H
#define NIC_VNET_H

#include "stackd/core/pkt.h"

struct vnet_hdr {
	uint8_t flags, gso_type;
	uint16_t hdr_len, gso_size, csum_start, csum_off;
};
static_assert(sizeof(struct vnet_hdr) == 10, "what TUNSETVNETHDRSZ was told");

/* Offload fields of a frame just read, data at its Ethernet header. Return: false when the header
 * describes something impossible. */
bool vnet_apply(const struct vnet_hdr *h, struct pkt *p);
/* The header for a frame to be sent: PARTIAL checksums and GSO, as nic_tx() lets them through. */
void vnet_fill(struct vnet_hdr *h, const struct pkt *p);

#endif
