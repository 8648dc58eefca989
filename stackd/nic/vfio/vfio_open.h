/* SPDX-License-Identifier: MIT */
/* nic/vfio/vfio_open.h - the privileged side of a vfio-pci device: open it
 * For the device helper process: opens /dev/vfio and reads sysfs. Nothing is bound or mapped here:
 * binding is the user's decision (stackctl nic claim), mappings belong to the engine's memory.
 */
#ifndef NIC_VFIO_VFIO_OPEN_H
#define NIC_VFIO_VFIO_OPEN_H

#include "stackd/nic/grant.h"

struct vfio_conf {
	char pci[16];			/* "0000:00:03.0" */
	uint16_t queues;		/* wanted; the device may have fewer */
	uint32_t mtu;
};

/**
 * vfio_open() - open group, container and device of a NIC that is bound to vfio-pci
 * @ret_fds: room for NIC_GRANT_FDS; given to the caller as nic/grant.h says
 * @err: a sentence with the command that mends it when the call fails
 * Return: 0 or -errno
 */
int vfio_open(const struct vfio_conf *conf, struct nic_grant *ret, int *ret_fds,
	      char err[NIC_ERR]);

#endif
