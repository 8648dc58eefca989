/* SPDX-License-Identifier: MIT */
/* nic/vfio/virtio_regs.h - virtio over PCI and its network device: registers, features, commands
 * Spec: virtio 1.2; the section stands at each part. All fields are little endian.
 */
#ifndef NIC_VFIO_VIRTIO_REGS_H
#define NIC_VFIO_VIRTIO_REGS_H

#include <assert.h>
#include <stdint.h>

/* 4.1.4 capabilities (vendor-specific, id 9): offsets inside one */
#define VPCI_CAP_TYPE	3u
#define VPCI_CAP_BAR	4u
#define VPCI_CAP_OFF	8u
#define VPCI_CAP_LEN	12u
#define VPCI_CAP_MULT	16u		/* type NOTIFY: queue_notify_off's multiplier */
enum { VPCI_COMMON = 1, VPCI_NOTIFY = 2, VPCI_ISR = 3, VPCI_DEVICE = 4 };

/* 4.1.4.3 common configuration */
struct vpci_common {
	uint32_t device_feature_select, device_feature;
	uint32_t driver_feature_select, driver_feature;
	uint16_t config_msix_vector, num_queues;
	uint8_t device_status, config_generation;
	uint16_t queue_select, queue_size, queue_msix_vector, queue_enable, queue_notify_off;
	uint32_t queue_desc[2], queue_driver[2], queue_device[2];
};
static_assert(sizeof(struct vpci_common) == 56, "4.1.4.3");
#define VPCI_NO_VECTOR	0xffffu

/* 2.1 device status */
#define VST_ACKNOWLEDGE	1u
#define VST_DRIVER	2u
#define VST_DRIVER_OK	4u
#define VST_FEATURES_OK	8u
#define VST_NEEDS_RESET	64u
#define VST_FAILED	128u

/* 5.1.3 and 6: feature bits */
#define VF(bit)			(1ull << (bit))
#define VF_CSUM			VF(0)
#define VF_GUEST_CSUM		VF(1)
#define VF_MTU			VF(3)
#define VF_MAC			VF(5)
#define VF_GUEST_TSO4		VF(7)
#define VF_GUEST_TSO6		VF(8)
#define VF_GUEST_ECN		VF(9)
#define VF_HOST_TSO4		VF(11)
#define VF_HOST_TSO6		VF(12)
#define VF_HOST_ECN		VF(13)
#define VF_MRG_RXBUF		VF(15)
#define VF_STATUS		VF(16)
#define VF_CTRL_VQ		VF(17)
#define VF_GUEST_ANNOUNCE	VF(21)
#define VF_MQ			VF(22)
#define VF_EVENT_IDX		VF(29)
#define VF_VERSION_1		VF(32)
#define VF_ACCESS_PLATFORM	VF(33)
#define VF_RING_PACKED		VF(34)
#define VF_HASH_REPORT		VF(57)
#define VF_RSS			VF(60)
#define VF_SPEED_DUPLEX		VF(63)

/* 5.1.4 device configuration */
struct vnet_config {
	uint8_t mac[6];
	uint16_t status, max_virtqueue_pairs, mtu;
	uint32_t speed;			/* Mbit/s, 0xffffffff = unknown */
	uint8_t duplex, rss_max_key_size;
	uint16_t rss_max_indirection_table_length;
	uint32_t supported_hash_types;
};
static_assert(sizeof(struct vnet_config) == 24, "5.1.4");
#define VNS_LINK_UP	1u
#define VNS_ANNOUNCE	2u

/* 5.1.6: bytes in front of each frame */
#define VNET_HDR_LEN		12u
#define VNET_HDR_LEN_HASH	20u
#define VNET_HDR_BUFS		10u	/* num_buffers, after the 10 bytes of struct vnet_hdr */
#define VNET_HDR_HASH		12u	/* hash_value */
#define VNET_HDR_REPORT		16u	/* hash_report, 0 = none */

/* 5.1.6.5 control virtqueue: class, command */
#define VC_OK			0u
#define VC_ANNOUNCE		3u
#define VC_ANNOUNCE_ACK		0u
#define VC_MQ			4u
#define VC_MQ_PAIRS_SET		0u
#define VC_MQ_RSS_CONFIG	1u

/* 5.1.6.4.3.1 hash types */
#define VH_IPV4		(1u << 0)
#define VH_TCPV4	(1u << 1)
#define VH_UDPV4	(1u << 2)
#define VH_IPV6		(1u << 3)
#define VH_TCPV6	(1u << 4)
#define VH_UDPV6	(1u << 5)

#endif
