/* SPDX-License-Identifier: MIT */
/* nic/vfio/vfio.c - attach to a vfio-pci device: registers, interrupts, memory
 *
 * The fds may come from an engine that died: the device may still be sending and receiving into
 * pages that the kernel keeps pinned for it. So the order is: bus mastering off, function level
 * reset where there is one, all mappings gone, and only then anything new. A device without FLR
 * is reset by its driver (virtio: device_status 0; Intel: CTRL.RST) before bus mastering is
 * allowed again. I/O addresses are handed out upwards from 4 GiB: no device here needs less than
 * 64 bits, and the windows that platforms reserve (MSI at 0xfee00000) lie below.
 * Spec:    linux/vfio.h; PCI Local Bus 3.0 6.2.2 (command), 6.7 (capabilities), 6.8.2 (MSI-X)
 * Holds:   V1 the device sees what vfio_map() was given and nothing else
 *          V2 no DMA between vfio_attach() and vfio_bus_master(true)
 * Threads: start-up
 */
#include <errno.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "stackd/atomic.h"
#include "stackd/nic/vfio/vfio.h"

#define IOVA_BASE	(1ull << 32)
#define IOVA_ALIGN	(2ull << 20)
#define PAGE		4096u

static int fail(char err[NIC_ERR], int r, const char *what)
{
	snprintf(err, NIC_ERR, "vfio: %s: %s", what, strerror(-r));
	return r;
}

/* ---- configuration space ---- */

uint32_t vfio_cfg_read(struct vfio *v, unsigned off, unsigned bytes)
{
	uint32_t val = 0;

	if (pread(v->device, &val, bytes, (off_t)(v->cfg_off + off)) != (ssize_t)bytes)
		return UINT32_MAX;
	return val;
}

int vfio_bus_master(struct vfio *v, bool on)
{
	uint16_t cmd = (uint16_t)vfio_cfg_read(v, PCI_COMMAND, 2);

	cmd = on ? cmd | PCI_COMMAND_MASTER | PCI_COMMAND_MEMORY :
		   (cmd | PCI_COMMAND_MEMORY) & (uint16_t)~PCI_COMMAND_MASTER;
	return pwrite(v->device, &cmd, 2, (off_t)(v->cfg_off + PCI_COMMAND)) == 2 ? 0 : -EIO;
}

unsigned vfio_cap(struct vfio *v, unsigned id, unsigned nth)
{
	unsigned at, left = 48;		/* as many as fit into 192 bytes */

	if (!(vfio_cfg_read(v, PCI_STATUS, 2) & PCI_STATUS_CAP_LIST))
		return 0;
	at = vfio_cfg_read(v, PCI_CAPABILITY_LIST, 1) & ~3u;
	while (at >= PCI_STD_HEADER_SIZEOF && left--) {
		if (vfio_cfg_read(v, at, 1) == id && nth-- == 0)
			return at;
		at = vfio_cfg_read(v, at + 1, 1) & 0xfc;
	}
	return 0;
}

/* ---- memory ---- */

int vfio_map(struct vfio *v, void *va, size_t len, uint64_t *ret_iova)
{
	uint64_t room = (len + 2 * IOVA_ALIGN - 1) / IOVA_ALIGN * IOVA_ALIGN;	/* and a gap */
	struct vfio_iommu_type1_dma_map m = {
		.argsz = sizeof(m), .flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
		.vaddr = (uintptr_t)va, .iova = add_sc(&v->next_iova, room), .size = len,
	};

	if (ioctl(v->container, VFIO_IOMMU_MAP_DMA, &m))
		return -errno;
	*ret_iova = m.iova;
	return 0;
}

int vfio_ring_mem(struct vfio *v, size_t len, struct vfio_area *ret)
{
	size_t all = (len + PAGE - 1) / PAGE * PAGE;
	void *m = mmap(NULL, all, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE,
		       -1, 0);
	int r;

	if (m == MAP_FAILED)
		return -errno;
	r = vfio_map(v, m, all, &ret->iova);
	if (r) {
		munmap(m, all);
		return r;
	}
	ret->va = m;
	ret->len = all;
	return 0;
}

int vfio_map_pool(struct vfio *v, uint16_t worker, void *mem, size_t len)
{
	struct vfio_area *a = &v->pool[worker];

	if (worker >= NIC_QUEUES_MAX || a->len)
		return -EINVAL;
	*a = (struct vfio_area){ .va = mem, .len = len };
	return vfio_map(v, mem, len, &a->iova);
}

static int unmap_all(struct vfio *v)
{
	struct vfio_iommu_type1_dma_unmap u = { .argsz = sizeof(u),
						.flags = VFIO_DMA_UNMAP_FLAG_ALL };

	if (!ioctl(v->container, VFIO_IOMMU_UNMAP_DMA, &u))
		return 0;
	/* Kernels before 5.12: a range that is larger than everything of ours. */
	u = (struct vfio_iommu_type1_dma_unmap){ .argsz = sizeof(u), .iova = IOVA_BASE,
						 .size = 1ull << 38 };
	return ioctl(v->container, VFIO_IOMMU_UNMAP_DMA, &u) ? -errno : 0;
}

/* ---- regions, reset ---- */

static int map_bars(struct vfio *v)
{
	for (unsigned i = 0; i < VFIO_BARS; i++) {
		struct vfio_region_info ri = { .argsz = sizeof(ri),
					       .index = VFIO_PCI_BAR0_REGION_INDEX + i };
		void *m;

		if (ioctl(v->device, VFIO_DEVICE_GET_REGION_INFO, &ri) || ri.size < PAGE ||
		    !(ri.flags & VFIO_REGION_INFO_FLAG_MMAP))
			continue;
		m = mmap(NULL, ri.size, PROT_READ | PROT_WRITE, MAP_SHARED, v->device,
			 (off_t)ri.offset);
		if (m == MAP_FAILED)
			return -errno;
		v->bar[i] = m;
		v->bar_len[i] = ri.size;
	}
	return 0;
}

static int stop_dma(struct vfio *v)
{
	struct vfio_region_info ri = { .argsz = sizeof(ri), .index = VFIO_PCI_CONFIG_REGION_INDEX };
	struct vfio_device_info di = { .argsz = sizeof(di) };
	int r;

	if (ioctl(v->device, VFIO_DEVICE_GET_REGION_INFO, &ri) ||
	    ioctl(v->device, VFIO_DEVICE_GET_INFO, &di))
		return -errno;
	v->cfg_off = ri.offset;
	r = vfio_bus_master(v, false);
	/* Where there is no reset of the function, the driver's own follows. */
	if (!r && di.flags & VFIO_DEVICE_FLAGS_RESET && ioctl(v->device, VFIO_DEVICE_RESET) &&
	    errno != ENOTTY && errno != EINVAL)
		r = -errno;
	return r ? r : vfio_bus_master(v, false);
}

int vfio_irqs(struct vfio *v)
{
	union {
		struct vfio_irq_set s;
		char room[sizeof(struct vfio_irq_set) + (1 + NIC_QUEUES_MAX) * sizeof(int)];
	} u = { .s = {
		.flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
		.index = VFIO_PCI_MSIX_IRQ_INDEX, .count = 1u + v->queues,
	} };

	u.s.argsz = (uint32_t)(sizeof(u.s) + u.s.count * sizeof(int));
	memcpy(u.s.data, &v->evt, sizeof(int));
	memcpy(u.s.data + sizeof(int), v->irq, v->queues * sizeof(int));
	return ioctl(v->device, VFIO_DEVICE_SET_IRQS, &u.s) ? -errno : 0;
}

/* ---- life ---- */

int vfio_attach(const struct nic_grant *g, const int *fds, struct vfio **ret, char err[NIC_ERR])
{
	struct vfio *v = calloc(1, sizeof(*v));
	int r;

	if (!v)
		return -ENOMEM;
	memcpy(&v->id, g->extra, sizeof(v->id));
	v->container = fds[NIC_VFIO_CONTAINER];
	v->group = fds[NIC_VFIO_GROUP];
	v->device = fds[NIC_VFIO_DEVICE];
	v->evt = fds[NIC_VFIO_EVT];
	v->kmsg = fds[NIC_VFIO_KMSG];
	v->queues = g->queues;
	v->next_iova = IOVA_BASE;
	memcpy(v->irq, fds + NIC_VFIO_QUEUE0, g->queues * sizeof(int));
	r = stop_dma(v);
	if (r) {
		fail(err, r, "the device cannot be stopped");
		goto out;
	}
	r = unmap_all(v);
	if (r) {
		fail(err, r, "mappings of the engine before cannot be removed");
		goto out;
	}
	r = map_bars(v);
	if (r) {
		fail(err, r, "registers cannot be mapped");
		goto out;
	}
	*ret = v;
	return 0;
out:
	free(v);
	return r;
}

void vfio_close(struct vfio *v)
{
	for (unsigned i = 0; i < VFIO_BARS; i++)
		if (v->bar[i])
			munmap((void *)(uintptr_t)v->bar[i], v->bar_len[i]);
	free(v);
}
