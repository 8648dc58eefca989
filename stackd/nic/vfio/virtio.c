/* SPDX-License-Identifier: MIT */
/* nic/vfio/virtio.c - virtio-net over PCI (modern): start-up, reset, link
 * Start-up in the order of 3.1.1: reset, ACKNOWLEDGE, DRIVER, features, FEATURES_OK, queues,
 * DRIVER_OK. Everything from reset on is repeated by go() after a fault; features stay what they
 * were the first time. The registers of queues are behind one selector, so worker 0 alone writes
 * them.
 * Spec:    virtio 1.2 2.1 (status), 3.1.1 (initialization), 4.1.4 (PCI layout), 5.1 (network)
 * Holds:   no queue is touched by the device between halt() and go()
 * Threads: start-up; worker 0
 */
#include <errno.h>
#include <linux/pci_regs.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

#include "stackd/atomic.h"
#include "stackd/core/clock.h"
#include "stackd/core/toeplitz.h"
#include "stackd/nic/vfio/virtio_int.h"

#define RESET_LIMIT_US	5000000u

static const uint64_t wanted =
	VF_VERSION_1 | VF_ACCESS_PLATFORM | VF_CSUM | VF_GUEST_CSUM | VF_MTU | VF_MAC |
	VF_GUEST_TSO4 | VF_GUEST_TSO6 | VF_GUEST_ECN | VF_HOST_TSO4 | VF_HOST_TSO6 | VF_HOST_ECN |
	VF_MRG_RXBUF | VF_STATUS | VF_CTRL_VQ | VF_GUEST_ANNOUNCE | VF_MQ | VF_EVENT_IDX |
	VF_RING_PACKED | VF_HASH_REPORT | VF_RSS | VF_SPEED_DUPLEX;

static int fail(char err[NIC_ERR], int r, const char *what)
{
	snprintf(err, NIC_ERR, "virtio: %s", what);
	return r;
}

/* ---- 4.1.4: where the registers are -------------------------------------------------------- */

static volatile uint8_t *cap_place(struct vfio *v, unsigned cap, uint32_t need, uint32_t *ret_len)
{
	uint32_t bar = vfio_cfg_read(v, cap + VPCI_CAP_BAR, 1);
	uint32_t off = vfio_cfg_read(v, cap + VPCI_CAP_OFF, 4);
	uint32_t len = vfio_cfg_read(v, cap + VPCI_CAP_LEN, 4);

	if (bar >= VFIO_BARS || !v->bar[bar] || len < need || off > v->bar_len[bar] ||
	    len > v->bar_len[bar] - off)
		return NULL;
	*ret_len = len;
	return v->bar[bar] + off;
}

static int find_registers(struct virtio_dev *d, char err[NIC_ERR])
{
	struct vfio *v = d->v;
	uint32_t len;
	unsigned cap;

	for (unsigned n = 0; (cap = vfio_cap(v, PCI_CAP_ID_VNDR, n)) != 0; n++) {
		switch (vfio_cfg_read(v, cap + VPCI_CAP_TYPE, 1)) {
		case VPCI_COMMON:
			if (!d->common)
				d->common = (volatile void *)cap_place(v, cap,
					sizeof(struct vpci_common), &len);
			break;
		case VPCI_NOTIFY:
			d->notify = cap_place(v, cap, 2, &len);
			d->notify_len = len;
			d->notify_mult = vfio_cfg_read(v, cap + VPCI_CAP_MULT, 4);
			break;
		case VPCI_DEVICE:
			d->config = (volatile void *)cap_place(v, cap, 20, &len);
			break;
		default:
			break;
		}
	}
	if (!d->common || !d->notify || !d->config)
		return fail(err, -ENODEV, "not a modern device (for QEMU: disable-legacy=on)");
	return 0;
}

/* ---- 3.1.1: initialization ----------------------------------------------------------------- */

/* 2.4.2: the device has stopped when it reads 0. */
static int device_reset(struct virtio_dev *d)
{
	uint64_t end = clock_mono_us() + RESET_LIMIT_US;

	d->common->device_status = 0;
	while (d->common->device_status != 0) {
		if (clock_mono_us() > end)
			return -ETIMEDOUT;
		cpu_relax();
	}
	return 0;
}

static uint64_t offered(struct virtio_dev *d)
{
	uint64_t f;

	d->common->device_feature_select = 0;
	f = d->common->device_feature;
	d->common->device_feature_select = 1;
	return f | (uint64_t)d->common->device_feature << 32;
}

/* What depends on something that is not there goes, too (5.1.3.1). */
static uint64_t choose(uint64_t f)
{
	f &= wanted;
	if (!(f & VF_GUEST_CSUM) || !(f & VF_MRG_RXBUF))
		f &= ~(VF_GUEST_TSO4 | VF_GUEST_TSO6 | VF_GUEST_ECN);
	if (!(f & VF_CSUM))
		f &= ~(VF_HOST_TSO4 | VF_HOST_TSO6 | VF_HOST_ECN);
	if (!(f & VF_CTRL_VQ))
		f &= ~(VF_MQ | VF_RSS | VF_HASH_REPORT | VF_GUEST_ANNOUNCE);
	if (!(f & VF_RSS))
		f &= ~VF_HASH_REPORT;
	if (!(f & VF_STATUS))
		f &= ~VF_GUEST_ANNOUNCE;
	return f;
}

static int set_features(struct virtio_dev *d)
{
	int r = device_reset(d);

	if (r)
		return r;
	d->common->device_status = VST_ACKNOWLEDGE;
	d->common->device_status = VST_ACKNOWLEDGE | VST_DRIVER;
	d->common->driver_feature_select = 0;
	d->common->driver_feature = (uint32_t)d->features;
	d->common->driver_feature_select = 1;
	d->common->driver_feature = (uint32_t)(d->features >> 32);
	d->common->device_status = VST_ACKNOWLEDGE | VST_DRIVER | VST_FEATURES_OK;
	return d->common->device_status & VST_FEATURES_OK ? 0 : -EPROTO;
}

/* 4.1.5.1.3 */
static int put_queue(struct virtio_dev *d, uint16_t idx, const struct vq *q, uint16_t vector)
{
	volatile struct vpci_common *c = d->common;

	c->queue_select = idx;
	c->queue_size = q->size;
	c->queue_msix_vector = vector;
	if (c->queue_msix_vector != vector)
		return -ENOSPC;		/* the device has no room for it (4.1.5.1.2) */
	c->queue_desc[0] = (uint32_t)q->desc_iova;
	c->queue_desc[1] = (uint32_t)(q->desc_iova >> 32);
	c->queue_driver[0] = (uint32_t)q->drv_iova;
	c->queue_driver[1] = (uint32_t)(q->drv_iova >> 32);
	c->queue_device[0] = (uint32_t)q->dev_iova;
	c->queue_device[1] = (uint32_t)(q->dev_iova >> 32);
	c->queue_enable = 1;
	return 0;
}

static volatile uint16_t *bell_of(struct virtio_dev *d, uint16_t idx)
{
	size_t off;

	d->common->queue_select = idx;
	off = (size_t)d->common->queue_notify_off * d->notify_mult;
	return off + 2 <= d->notify_len ? (volatile uint16_t *)(d->notify + off) : NULL;
}

static int put_pair(struct virtio_dev *d, struct virtio_q *q)
{
	uint16_t vector = (uint16_t)(1 + q->b.nic.queue);
	int r = put_queue(d, q->rx_idx, &q->rx, vector);

	if (!r)
		r = put_queue(d, q->tx_idx, &q->tx, vector);
	q->rx_bell = bell_of(d, q->rx_idx);
	q->tx_bell = bell_of(d, q->tx_idx);
	return r ? r : q->rx_bell && q->tx_bell ? 0 : -EPROTO;
}

static int go(struct nic_dev *dev)
{
	struct virtio_dev *d = dev->priv;
	int r = set_features(d);

	d->common->config_msix_vector = 0;
	for (unsigned i = 0; !r && i < dev->grant.queues; i++)
		r = d->q[i] ? put_pair(d, d->q[i]) : 0;
	if (!r && d->ctrl) {
		virtio_ctl_init(d);
		r = put_queue(d, d->ctrl_idx, d->ctrl, VPCI_NO_VECTOR);
	}
	if (r)
		return r;
	d->common->device_status = VST_ACKNOWLEDGE | VST_DRIVER | VST_FEATURES_OK | VST_DRIVER_OK;
	r = virtio_spread(d);
	for (unsigned i = 0; i < dev->grant.queues; i++)
		if (d->q[i])
			*d->q[i]->rx_bell = d->q[i]->rx_idx;
	return r;
}

static void halt(struct nic_dev *dev)
{
	device_reset(dev->priv);
}

/* ---- link, events -------------------------------------------------------------------------- */

static void read_link(struct virtio_dev *d)
{
	uint16_t status = d->features & VF_STATUS ? d->config->status : VNS_LINK_UP;
	bool up = status & VNS_LINK_UP;
	uint32_t speed = d->features & VF_SPEED_DUPLEX ? d->config->speed : UINT32_MAX;

	d->link.changes += up != d->link.up;
	d->link.up = up;
	d->link.mbps = speed == UINT32_MAX ? 0 : speed;
	d->link.full_duplex = d->features & VF_SPEED_DUPLEX && d->config->duplex == 1;
	if (status & VNS_ANNOUNCE && d->features & VF_GUEST_ANNOUNCE && status != 0xffff) {
		d->dev.announce = true;
		virtio_ctl(d, VC_ANNOUNCE, VC_ANNOUNCE_ACK, NULL, 0);	/* 5.1.6.5.4 */
	}
}

static void poll(struct nic_dev *dev, uint64_t now_us)
{
	struct virtio_dev *d = dev->priv;
	uint8_t status = d->common->device_status;

	dev->iommu_faults += vfio_read_faults(d->v);
	if (status == 0xff)
		nic_fault(dev, NIC_FAULT_GONE);
	else if (status & VST_NEEDS_RESET)
		nic_fault(dev, NIC_FAULT_DEVICE);
	else
		read_link(d);
}

static void link_state(struct nic_dev *dev, struct nic_link *ret)
{
	struct virtio_dev *d = dev->priv;

	*ret = d->link;
}

/* ---- queues -------------------------------------------------------------------------------- */

static uint32_t nic_features(uint64_t f)
{
	return (f & VF_CSUM ? NIC_F_CSUM : 0) | (f & VF_GUEST_CSUM ? NIC_F_RX_CSUM : 0) |
	       (f & VF_HOST_TSO4 && f & VF_HOST_ECN ? NIC_F_TSO : 0) |
	       (f & VF_HOST_TSO6 && f & VF_HOST_ECN ? NIC_F_TSO6 : 0) |
	       (f & VF_GUEST_TSO4 ? NIC_F_GRO : 0) | (f & VF_HASH_REPORT ? NIC_F_RX_HASH : 0);
}

static int queue(struct nic_dev *dev, uint16_t n, struct stack *st, struct nic **ret)
{
	struct virtio_dev *d = dev->priv;
	size_t one = vq_mem_size(d->ring_max, d->features & VF_RING_PACKED);
	struct virtio_q *q;
	int r = vfio_q_new(dev, d->v, &virtio_q_ops, n, sizeof(*q), 2 * one, &q);

	if (r)
		return r;
	q->rss = d->features & VF_RSS;
	q->rx_idx = (uint16_t)(2 * n);	/* 5.1.2 */
	q->tx_idx = (uint16_t)(2 * n + 1);
	q->b.nic.features = nic_features(d->features);
	d->q[n] = q;
	*ret = &q->b.nic;
	return 0;
}

static int map(struct nic_dev *dev, uint16_t worker, void *mem, size_t len)
{
	struct virtio_dev *d = dev->priv;

	return vfio_map_pool(d->v, worker, mem, len);
}

static int ring_set(struct nic_dev *dev, uint32_t n)
{
	struct virtio_dev *d = dev->priv;

	if (n < VIRTIO_RING_MIN || n > d->ring_max || n & (n - 1))
		return -EINVAL;
	d->ring = (uint16_t)n;
	return 0;
}

static void dev_counters(struct nic_dev *dev, nic_counter_fn fn, void *arg)
{
	struct virtio_dev *d = dev->priv;

	fn(arg, "features", d->features);
	fn(arg, "packed", (d->features & VF_RING_PACKED) != 0);
}

static void dev_close(struct nic_dev *dev)
{
	struct virtio_dev *d = dev->priv;

	device_reset(d);
	vfio_close(d->v);
	free(d->ctrl);
	free(d);
}

static const struct nic_dev_ops ops = {
	.map = map, .queue = queue, .go = go, .halt = halt, .poll = poll, .link = link_state,
	.rss_get = virtio_rss_get, .rss_set = virtio_rss_set, .ring_set = ring_set,
	.counters = dev_counters, .close = dev_close,
};

/* ---- probe --------------------------------------------------------------------------------- */

static void default_rss(struct virtio_dev *d)
{
	struct nic_rss *rss = &d->rss;
	uint16_t len = d->config->rss_max_indirection_table_length;

	rss->indir_len = NIC_RSS_INDIR;
	while (rss->indir_len > len && rss->indir_len > 1)
		rss->indir_len /= 2;
	for (unsigned i = 0; i < rss->indir_len; i++)
		rss->indir[i] = (uint16_t)(i % d->dev.grant.queues);
	if (getrandom(rss->key, sizeof(rss->key), 0) != sizeof(rss->key))
		memcpy(rss->key, toeplitz_default_key, sizeof(rss->key));
	rss->fields[NIC_FLOW_TCP4] = rss->fields[NIC_FLOW_TCP6] = 15;
	rss->fields[NIC_FLOW_UDP4] = rss->fields[NIC_FLOW_UDP6] = 15;
	rss->fields[NIC_FLOW_IP4] = rss->fields[NIC_FLOW_IP6] = 3;
}

static int negotiate(struct virtio_dev *d, char err[NIC_ERR])
{
	uint64_t f;

	if (device_reset(d))
		return fail(err, -EIO, "the device does not reset");
	f = offered(d);
	if (!(f & VF_VERSION_1))
		return fail(err, -ENODEV, "the device is older than virtio 1.0");
	if (!(f & VF_ACCESS_PLATFORM))
		return fail(err, -ENODEV, "the device bypasses the IOMMU (for QEMU: add "
			    "iommu_platform=on to its -device)");
	d->features = choose(f);
	if (d->features & VF_RSS && d->config->rss_max_key_size < NIC_RSS_KEY)
		d->features &= ~(VF_RSS | VF_HASH_REPORT);
	if (set_features(d))
		return fail(err, -EIO, "the device does not accept its own features");
	return 0;
}

static void size_up(struct virtio_dev *d)
{
	struct nic_grant *g = &d->dev.grant;
	static const uint8_t none[6];
	bool many = d->features & (VF_MQ | VF_RSS);
	uint16_t size;

	d->pairs_max = many ? d->config->max_virtqueue_pairs : 1;
	d->ctrl_idx = (uint16_t)(2 * d->pairs_max);
	if (g->queues > d->pairs_max)
		g->queues = d->pairs_max;
	d->common->queue_select = 0;
	size = d->common->queue_size;
	for (d->ring_max = VQ_MAX; d->ring_max > size && d->ring_max > 1;)
		d->ring_max /= 2;
	d->ring = d->ring_max < VIRTIO_RING ? d->ring_max : VIRTIO_RING;
	for (unsigned i = 0; i < 6 && d->features & VF_MAC; i++)
		g->mac[i] = d->config->mac[i];
	/* 5.1.4: without VIRTIO_NET_F_MAC the driver makes one up: locally administered. */
	if (!(d->features & VF_MAC) && !memcmp(g->mac, none, 6) &&
	    getrandom(g->mac, 6, 0) == 6)
		g->mac[0] = (uint8_t)((g->mac[0] & 0xfc) | 2);
	if (d->features & VF_MTU && d->config->mtu >= 68 && g->mtu > d->config->mtu)
		g->mtu = d->config->mtu;
	d->dev.evt_fd = d->v->evt;
	if (d->features & VF_RSS)
		default_rss(d);
}

int virtio_probe(struct vfio *v, const struct nic_grant *g, struct nic_dev **ret,
		 char err[NIC_ERR])
{
	struct virtio_dev *d = calloc(1, sizeof(*d));
	int r;

	if (!d)
		return -ENOMEM;
	d->v = v;
	d->dev = (struct nic_dev){ .ops = &ops, .driver = "virtio", .grant = *g, .priv = d };
	r = find_registers(d, err);
	if (!r)
		r = negotiate(d, err);
	if (!r) {
		size_up(d);
		if (vfio_irqs(v))
			r = fail(err, -EIO, "no interrupts: too few MSI-X vectors for the queues "
				 "(for QEMU: vectors=2*queues+2)");
	}
	if (!r && d->features & VF_CTRL_VQ) {
		d->ctrl = calloc(1, sizeof(*d->ctrl));
		r = d->ctrl ? vfio_ring_mem(v, virtio_ctl_size(), &d->ctrl_mem) : -ENOMEM;
		if (r)
			fail(err, r, "no memory for the control queue: raise the limit of locked "
			     "memory (ulimit -l, LimitMEMLOCK=)");
	}
	if (!r)
		r = vfio_bus_master(v, true);
	if (r) {
		free(d->ctrl);
		free(d);
		return r;
	}
	read_link(d);
	*ret = &d->dev;
	return 0;
}
