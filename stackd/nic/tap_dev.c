/* SPDX-License-Identifier: MIT */
/* nic/tap_dev.c - a TAP as a whole device: one fd per queue, nothing to control
 * Threads: start-up
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "stackd/nic/dev_int.h"

struct tap_dev {
	struct nic_dev dev;
	int fds[NIC_QUEUES_MAX];	/* -1 = given to a queue */
};

static int tap_queue(struct nic_dev *dev, uint16_t q, struct stack *st, struct nic **ret)
{
	struct tap_dev *t = dev->priv;
	const struct nic_grant *g = &dev->grant;
	int r;

	if (q >= g->queues || t->fds[q] < 0)
		return -EINVAL;
	r = tap_nic_create(t->fds[q], g->name, g->mac, g->mtu, q, g->queues, ret);
	if (!r)
		t->fds[q] = -1;
	return r;
}

static void tap_dev_close(struct nic_dev *dev)
{
	struct tap_dev *t = dev->priv;

	for (unsigned i = 0; i < dev->grant.queues; i++)
		if (t->fds[i] >= 0)
			close(t->fds[i]);
	free(t);
}

static const struct nic_dev_ops ops = { .queue = tap_queue, .close = tap_dev_close };

int tap_dev_open(const struct nic_grant *grant, const int *fds, struct nic_dev **ret,
		 char err[NIC_ERR])
{
	struct tap_dev *t;

	if (grant->fd_cnt != grant->queues)
		return -EPROTO;
	t = calloc(1, sizeof(*t));
	if (!t)
		return -ENOMEM;
	memcpy(t->fds, fds, grant->fd_cnt * sizeof(int));
	t->dev = (struct nic_dev){ .ops = &ops, .driver = "tap", .grant = *grant, .evt_fd = -1,
				   .priv = t };
	*ret = &t->dev;
	return 0;
}
