/* SPDX-License-Identifier: MIT */
/* nic/grant.h - a device as the privileged helper opened it: plain data and fds
 * Travels from helper to supervisor to each engine, unchanged: no pointers. Kinds and their fds:
 *   tap    queues fds, one per queue, in order
 *   packet the same, then the guard if there is one (nic/packet_open.h)
 *   xdp    per queue socket and memfd, the map of claims, the link (nic/xdp/xsk.h)
 *   vfio   NIC_VFIO_* below, then one eventfd per queue
 */
#ifndef NIC_GRANT_H
#define NIC_GRANT_H

#include <stdint.h>

#define NIC_QUEUES_MAX	32
#define NIC_GRANT_FDS	128		/* of all kinds; one message takes 253 */
#define NIC_GRANT_EXTRA	128
#define NIC_ERR		256		/* an error with the command that mends it */

enum nic_vfio_fd {
	NIC_VFIO_CONTAINER = 0, NIC_VFIO_GROUP, NIC_VFIO_DEVICE, NIC_VFIO_EVT, NIC_VFIO_KMSG,
	NIC_VFIO_QUEUE0,
};

struct nic_grant {
	char kind[8];			/* "tap", "vfio", "xdp", "packet" */
	char name[16];			/* interface name for show; NUL-terminated */
	uint8_t mac[6];
	uint16_t queues;		/* 1 .. NIC_QUEUES_MAX */
	uint32_t mtu;			/* bytes of IP packet */
	int32_t numa_node;		/* where the device is, -1 = unknown */
	uint32_t ifindex;		/* of the kernel's interface below, 0 = none */
	uint32_t fd_cnt;
	uint16_t kport_queues;		/* of the kernel port's TAP: that many fds at the end */
	uint16_t kport_lo, kport_hi;	/* client ports that its kernel leaves alone; 0 = unknown */
	uint32_t pinned;		/* the engine pins memory: it keeps CAP_IPC_LOCK at start */
	uint8_t extra[NIC_GRANT_EXTRA];	/* the kind's own plain struct */
};

#endif
