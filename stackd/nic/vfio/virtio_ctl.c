/* SPDX-License-Identifier: MIT */
/* nic/vfio/virtio_ctl.c - virtio-net: the control virtqueue, and how flows are spread
 * One command at a time, waited for: it is asked at start, after a reset and on a user's request.
 * The wait is bounded; a device that does not answer gets a reset by its own fault.
 * Spec:    virtio 1.2 5.1.6.5 (control virtqueue), 5.1.6.5.5 (multiqueue), 5.1.6.5.7 (RSS)
 * Threads: worker 0
 */
#include <errno.h>
#include <string.h>

#include "stackd/atomic.h"
#include "stackd/core/clock.h"
#include "stackd/nic/vfio/virtio_int.h"

#define CTRL_SIZE	16u		/* descriptors */
#define CTRL_ROOM	512u		/* bytes of a command with its answer */
#define CTRL_LIMIT_US	2000000u

size_t virtio_ctl_size(void)
{
	return 4096 + CTRL_ROOM;	/* either format's ring of CTRL_SIZE fits a page */
}

void virtio_ctl_init(struct virtio_dev *d)
{
	vq_init(d->ctrl, CTRL_SIZE, d->features & VF_RING_PACKED, d->features & VF_EVENT_IDX,
		d->ctrl_mem.va, d->ctrl_mem.iova);
}

static volatile uint16_t *ctrl_bell(struct virtio_dev *d)
{
	size_t off;

	d->common->queue_select = d->ctrl_idx;
	off = (size_t)d->common->queue_notify_off * d->notify_mult;
	return off + 2 <= d->notify_len ? (volatile uint16_t *)(d->notify + off) : NULL;
}

static int wait_answer(struct virtio_dev *d)
{
	uint64_t end = clock_mono_us() + CTRL_LIMIT_US;
	uint32_t len;
	void *cookie;
	int r;

	while ((r = vq_take(d->ctrl, &cookie, &len)) == 0) {
		if (clock_mono_us() > end)
			return -ETIMEDOUT;
		cpu_relax();
	}
	return r < 0 ? r : 0;
}

int virtio_ctl(struct virtio_dev *d, uint8_t class, uint8_t cmd, const void *data, uint32_t len)
{
	uint8_t *m = d->ctrl_mem.va + 4096;
	uint64_t iova = d->ctrl_mem.iova + 4096;
	struct vq_seg seg[2] = { { iova, 2 + len }, { iova + 2 + len, 1 } };
	volatile uint16_t *bell;
	int r;

	if (!d->ctrl || len > CTRL_ROOM - 3)
		return -EOPNOTSUPP;
	bell = ctrl_bell(d);
	if (!bell)
		return -EPROTO;
	m[0] = class;
	m[1] = cmd;
	memcpy(m + 2, data, len);
	m[2 + len] = 0xff;
	r = vq_add(d->ctrl, seg, 2, 1, d);
	if (r)
		return r;
	if (vq_publish(d->ctrl))
		*bell = d->ctrl_idx;
	r = wait_answer(d);
	if (r) {
		nic_fault(&d->dev, NIC_FAULT_DEVICE);
		return r;
	}
	return ld_rlx(&m[2 + len]) == VC_OK ? 0 : -EIO;
}

/* ---- spread ------------------------------------------------------------------------------ */

/* Hash types by flow, with and without ports. */
static const struct {
	uint32_t two, four;
} hash_types[NIC_FLOW_MAX] = {
	[NIC_FLOW_TCP4] = { VH_IPV4, VH_TCPV4 }, [NIC_FLOW_UDP4] = { VH_IPV4, VH_UDPV4 },
	[NIC_FLOW_IP4] = { VH_IPV4, VH_IPV4 },
	[NIC_FLOW_TCP6] = { VH_IPV6, VH_TCPV6 }, [NIC_FLOW_UDP6] = { VH_IPV6, VH_UDPV6 },
	[NIC_FLOW_IP6] = { VH_IPV6, VH_IPV6 },
};

#define F2 (NIC_HASH_SRC | NIC_HASH_DST)
#define F4 (F2 | NIC_HASH_SPORT | NIC_HASH_DPORT)

/* The device hashes by types: a flow's ports count when its own type is on, else its addresses by
 * the type of its IP version. Return: false when @fields cannot be had. */
static bool types_of(const struct nic_rss *rss, uint32_t *ret)
{
	uint32_t types = 0;

	for (unsigned i = 0; i < NIC_FLOW_MAX; i++) {
		bool ip = i == NIC_FLOW_IP4 || i == NIC_FLOW_IP6;

		if (rss->fields[i] == F4 && !ip)
			types |= hash_types[i].four;
		else if (rss->fields[i] == F2)
			types |= hash_types[i].two;
		else if (rss->fields[i])
			return false;
	}
	/* A flow that is not to be hashed would be, by its addresses. */
	for (unsigned i = 0; i < NIC_FLOW_MAX; i++)
		if (!rss->fields[i] && types & hash_types[i].two)
			return false;
	*ret = types;
	return true;
}

static int put_rss(struct virtio_dev *d, const struct nic_rss *rss)
{
	uint8_t b[8 + 2 * NIC_RSS_INDIR + 3 + NIC_RSS_KEY];
	uint16_t mask = (uint16_t)(rss->indir_len - 1), none = 0, pairs = d->dev.grant.queues;
	uint32_t types, at = 0;

	if (!types_of(rss, &types) || types & ~d->config->supported_hash_types)
		return -EOPNOTSUPP;
#define PUT(v, n) do { memcpy(b + at, (v), (n)); at += (uint32_t)(n); } while (0)
	PUT(&types, 4);
	PUT(&mask, 2);
	PUT(&none, 2);
	PUT(rss->indir, 2u * rss->indir_len);
	PUT(&pairs, 2);
	b[at++] = NIC_RSS_KEY;
	PUT(rss->key, NIC_RSS_KEY);
#undef PUT
	return virtio_ctl(d, VC_MQ, VC_MQ_RSS_CONFIG, b, at);
}

int virtio_spread(struct virtio_dev *d)
{
	uint16_t pairs = d->dev.grant.queues;

	if (d->features & VF_RSS)
		return put_rss(d, &d->rss);
	if (pairs == 1 || !(d->features & VF_MQ))
		return 0;
	return virtio_ctl(d, VC_MQ, VC_MQ_PAIRS_SET, &pairs, sizeof(pairs));
}

int virtio_rss_get(struct nic_dev *dev, struct nic_rss *ret)
{
	struct virtio_dev *d = dev->priv;

	if (!(d->features & VF_RSS))
		return -EOPNOTSUPP;
	*ret = d->rss;
	return 0;
}

int virtio_rss_set(struct nic_dev *dev, const struct nic_rss *rss)
{
	struct virtio_dev *d = dev->priv;
	struct nic_rss want = *rss;
	int r;

	if (!(d->features & VF_RSS))
		return -EOPNOTSUPP;
	want.indir_len = d->rss.indir_len;
	for (unsigned i = 0; i < want.indir_len; i++)
		if (want.indir[i] >= dev->grant.queues)
			return -EINVAL;
	r = put_rss(d, &want);
	if (!r)
		d->rss = want;
	return r;
}
