/* SPDX-License-Identifier: MIT */
/* nic/dev.c - whole devices: by kind, and their faults
 * Threads: nic_dev_open at start-up; nic_fault any worker
 */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "stackd/atomic.h"
#include "stackd/nic/dev_int.h"

/* A new kind needs its line here, in supervisor/device.c (the helper) and supervisor/netdev.c. */
static const struct {
	const char *kind;
	int (*open)(const struct nic_grant *grant, const int *fds, struct nic_dev **ret,
		    char err[NIC_ERR]);
} kinds[] = {
	{ "tap", tap_dev_open }, { "packet", packet_dev_open },
	{ "xdp", xdp_dev_open }, { "vfio", vfio_dev_open },
};

int nic_dev_open(const struct nic_grant *grant, const int *fds, struct nic_dev **ret,
		 char err[NIC_ERR])
{
	int r = -EINVAL;

	snprintf(err, NIC_ERR, "unknown kind of device '%.7s'", grant->kind);
	for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (strncmp(grant->kind, kinds[i].kind, sizeof(grant->kind)))
			continue;
		err[0] = '\0';
		r = grant->queues && grant->queues <= NIC_QUEUES_MAX &&
		    grant->fd_cnt <= NIC_GRANT_FDS ?
		    kinds[i].open(grant, fds, ret, err) : -EPROTO;
		if (!r)
			return 0;
		break;
	}
	for (uint32_t i = 0; i < grant->fd_cnt && i < NIC_GRANT_FDS; i++)
		close(fds[i]);
	return r;
}

void nic_fault(struct nic_dev *dev, enum nic_fault why)
{
	static const uint64_t one = 1;

	if (xchg_sc(&dev->fault, (uint32_t)why) == NIC_OK && dev->evt_fd >= 0 &&
	    write(dev->evt_fd, &one, sizeof(one)) != sizeof(one))
		return;			/* its counter is full: it is readable as it is */
}

const char *nic_fault_text(enum nic_fault why)
{
	switch (why) {
	case NIC_OK: return "none";
	case NIC_FAULT_RING: return "it wrote nonsense into a ring";
	case NIC_FAULT_TX_TIMEOUT: return "it stopped sending";
	case NIC_FAULT_DEVICE: return "it reports an error";
	case NIC_FAULT_GONE: return "its registers do not answer";
	case NIC_FAULT_REQUEST: return "requested";
	}
	return "unknown";
}
