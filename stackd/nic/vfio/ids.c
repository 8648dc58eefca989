/* SPDX-License-Identifier: MIT */
/* nic/vfio/ids.c - which driver drives which PCI device
 * Spec:    virtio 1.2 4.1.2.1; 82574 datasheet, 82576 datasheet (PCI configuration, device id)
 */
#include "stackd/nic/vfio/vfio.h"

static const struct {
	uint16_t vendor, device;
	const char *driver;
	vfio_probe_fn probe;
	unsigned queues;
} ids[] = {
	{ 0x1af4, 0x1041, "virtio", virtio_probe, NIC_QUEUES_MAX },
	{ 0x8086, 0x10d3, "e1000e", e1000e_probe, 2 },			/* 82574L */
	{ 0x8086, 0x10c9, "igb", igb_probe, 8 },			/* 82576 */
	{ 0x1af4, 0x1000, "virtio", virtio_probe, NIC_QUEUES_MAX },	/* transitional */
};

#define IDS (sizeof(ids) / sizeof(ids[0]))

static unsigned find(uint16_t vendor, uint16_t device)
{
	unsigned i = 0;

	while (i < IDS && (ids[i].vendor != vendor || ids[i].device != device))
		i++;
	return i;
}

const char *vfio_driver_name(uint16_t vendor, uint16_t device)
{
	unsigned i = find(vendor, device);

	return i < IDS ? ids[i].driver : NULL;
}

vfio_probe_fn vfio_driver_probe(uint16_t vendor, uint16_t device)
{
	unsigned i = find(vendor, device);

	return i < IDS ? ids[i].probe : NULL;
}

unsigned vfio_driver_queues(uint16_t vendor, uint16_t device)
{
	unsigned i = find(vendor, device);

	return i < IDS ? ids[i].queues : 0;
}
