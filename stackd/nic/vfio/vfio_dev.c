/* SPDX-License-Identifier: MIT */
/* nic/vfio/vfio_dev.c - a vfio-pci device as a nic_dev: attach, then the driver for its id
 * Threads: start-up
 */
#include <errno.h>
#include <stdio.h>

#include "stackd/nic/dev_int.h"
#include "stackd/nic/vfio/vfio.h"

int vfio_dev_open(const struct nic_grant *grant, const int *fds, struct nic_dev **ret,
		  char err[NIC_ERR])
{
	struct vfio_grant id;
	vfio_probe_fn probe;
	struct vfio *v;
	int r;

	memcpy(&id, grant->extra, sizeof(id));
	probe = vfio_driver_probe(id.vendor, id.device);
	if (!probe || grant->fd_cnt != NIC_VFIO_QUEUE0 + (uint32_t)grant->queues)
		return -EPROTO;
	r = vfio_attach(grant, fds, &v, err);
	if (r)
		return r;
	r = probe(v, grant, ret, err);
	if (r)
		vfio_close(v);
	return r;
}
