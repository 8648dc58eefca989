/* SPDX-License-Identifier: MIT */
/* nic/xdp/xdp_dev.c - an interface by AF_XDP as a whole: queues, and the table of claims
 * The link's fd is the supervisor's to keep: it holds the program on the interface. The engine lets
 * go of its copy.
 * Threads: start-up; claims any worker
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "stackd/nic/claims.h"
#include "stackd/nic/dev_int.h"
#include "stackd/nic/xdp/claims_abi.h"
#include "stackd/nic/xdp/xsk.h"

struct xdp_dev {
	struct nic_dev dev;
	struct nic_claims claims;
	struct xdp_grant xg;
	int fds[2 * NIC_QUEUES_MAX];	/* socket, memory of each queue; -1 = given to it */
};

static int xdp_queue(struct nic_dev *dev, uint16_t q, struct stack *st, struct nic **ret)
{
	struct xdp_dev *d = dev->priv;
	int rc;

	if (q >= dev->grant.queues || d->fds[2 * q] < 0)
		return -EINVAL;
	rc = xsk_nic_create(d->fds[2 * q], d->fds[2 * q + 1], &dev->grant, q, ret);
	if (!rc)
		d->fds[2 * q] = d->fds[2 * q + 1] = -1;
	return rc;
}

static struct nic_claims *xdp_claims(struct nic_dev *dev, uint16_t ports[2])
{
	struct xdp_dev *d = dev->priv;

	ports[0] = d->xg.port_lo;
	ports[1] = d->xg.port_hi;
	return d->xg.shared ? &d->claims : NULL;
}

static void xdp_counters(struct nic_dev *dev, nic_counter_fn fn, void *arg)
{
	struct xdp_dev *d = dev->priv;

	fn(arg, "xdp_native", d->xg.native);
	fn(arg, "xdp_zero_copy", d->xg.zero_copy);
	fn(arg, "xdp_shared", d->xg.shared);
	fn(arg, "xdp_claims_full", d->claims.full);
}

static void xdp_dev_close(struct nic_dev *dev)
{
	struct xdp_dev *d = dev->priv;

	for (unsigned i = 0; i < 2u * dev->grant.queues; i++)
		if (d->fds[i] >= 0)
			close(d->fds[i]);
	munmap(d->claims.map, sizeof(struct claims));
	free(d);
}

static const struct nic_dev_ops ops = { .queue = xdp_queue, .claims = xdp_claims,
					.counters = xdp_counters, .close = xdp_dev_close };

int xdp_dev_open(const struct nic_grant *g, const int *fds, struct nic_dev **ret,
		 char err[NIC_ERR])
{
	struct xdp_dev *d;
	void *m;

	if (g->fd_cnt != 2u * g->queues + 2)
		return -EPROTO;
	d = calloc(1, sizeof(*d));
	if (!d)
		return -ENOMEM;
	m = mmap(NULL, sizeof(struct claims), PROT_READ | PROT_WRITE, MAP_SHARED,
		 fds[g->fd_cnt - 2], 0);
	if (m == MAP_FAILED) {
		free(d);
		return -errno;
	}
	close(fds[g->fd_cnt - 2]);
	close(fds[g->fd_cnt - 1]);
	memcpy(&d->xg, g->extra, sizeof(d->xg));
	memcpy(d->fds, fds, 2u * g->queues * sizeof(int));
	d->claims = (struct nic_claims){ .map = m, .gen = 1 };
	d->dev = (struct nic_dev){ .ops = &ops, .driver = "xdp", .grant = *g, .evt_fd = -1,
				   .priv = d };
	*ret = &d->dev;
	return 0;
}
