/* SPDX-License-Identifier: MIT */
/* nic/vnet_dev.c - a TAP or packet device as a whole: one fd per queue, nothing to control
 * What follows the queues' fds (the guard of packet_open.c) is the supervisor's to keep: the engine
 * lets go of its copies.
 * Threads: start-up
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "stackd/nic/dev_int.h"

struct vnet_dev {
	struct nic_dev dev;
	bool packet;
	int fds[NIC_QUEUES_MAX];	/* -1 = given to a queue */
};

static int vnet_queue(struct nic_dev *dev, uint16_t q, struct stack *st, struct nic **ret)
{
	struct vnet_dev *d = dev->priv;
	const struct nic_grant *g = &dev->grant;
	int r;

	if (q >= g->queues || d->fds[q] < 0)
		return -EINVAL;
	r = (d->packet ? packet_nic_create : tap_nic_create)(d->fds[q], g->name, g->mac, g->mtu, q,
							     g->queues, ret);
	if (!r)
		d->fds[q] = -1;
	return r;
}

static void vnet_dev_close(struct nic_dev *dev)
{
	struct vnet_dev *d = dev->priv;

	for (unsigned i = 0; i < dev->grant.queues; i++)
		if (d->fds[i] >= 0)
			close(d->fds[i]);
	free(d);
}

static const struct nic_dev_ops ops = { .queue = vnet_queue, .close = vnet_dev_close };

static int open_dev(const struct nic_grant *grant, const int *fds, bool packet,
		    struct nic_dev **ret)
{
	struct vnet_dev *d;

	if (grant->fd_cnt < grant->queues)
		return -EPROTO;
	d = calloc(1, sizeof(*d));
	if (!d)
		return -ENOMEM;
	d->packet = packet;
	memcpy(d->fds, fds, grant->queues * sizeof(int));
	for (unsigned i = grant->queues; i < grant->fd_cnt; i++)
		close(fds[i]);
	d->dev = (struct nic_dev){ .ops = &ops, .driver = packet ? "packet" : "tap",
				   .grant = *grant, .evt_fd = -1, .priv = d };
	*ret = &d->dev;
	return 0;
}

int tap_dev_open(const struct nic_grant *grant, const int *fds, struct nic_dev **ret,
		 char err[NIC_ERR])
{
	return open_dev(grant, fds, false, ret);
}

int packet_dev_open(const struct nic_grant *grant, const int *fds, struct nic_dev **ret,
		    char err[NIC_ERR])
{
	return open_dev(grant, fds, true, ret);
}
