/* SPDX-License-Identifier: MIT */
/* nic/vfio/vfio.h - a PCI device that the kernel's vfio-pci hands to this process
 *
 * The helper opens group, container and device (vfio_open.h); the engine attaches to these fds: DMA
 * of whoever had the device before ends, its mappings go, and from then on the device sees exactly
 * what vfio_map() shows it: packet pools and descriptor rings. Everything at run time is
 * memory-mapped: after start-up no system call is left to make.
 * Threads: attach, map, interrupts: start-up; register access: whoever owns the registers
 */
#ifndef NIC_VFIO_VFIO_H
#define NIC_VFIO_VFIO_H

#include "stackd/nic/nic.h"

#define VFIO_BARS	6

/* nic_grant.extra */
struct vfio_grant {
	char pci[16];			/* "0000:00:03.0" */
	uint16_t vendor, device;
	uint32_t vectors;		/* MSI-X table size */
};
static_assert(sizeof(struct vfio_grant) <= NIC_GRANT_EXTRA, "fits");

/* Memory that the device may reach. */
struct vfio_area {
	uint8_t *va;
	size_t len;
	uint64_t iova;
};

struct vfio {
	struct vfio_grant id;
	int container, group, device, evt, kmsg;
	int irq[NIC_QUEUES_MAX];	/* eventfd of each queue's vector */
	uint16_t queues;
	volatile uint8_t *bar[VFIO_BARS];	/* NULL = no memory BAR, or not mappable */
	size_t bar_len[VFIO_BARS];
	uint64_t cfg_off;		/* of configuration space in the device fd */
	uint64_t next_iova;		/* add_sc: workers map their pools at once */
	struct vfio_area pool[NIC_QUEUES_MAX];	/* by worker; len 0 = not yet */
};

/* Attach; DMA is off and no mapping is left. Takes the fds. Return: 0 or -errno with @err. */
int vfio_attach(const struct nic_grant *g, const int *fds, struct vfio **ret, char err[NIC_ERR]);
void vfio_close(struct vfio *v);

/* Map @len bytes (multiple of 4096) at @va for the device. -ENOMEM: the limit of locked memory. */
int vfio_map(struct vfio *v, void *va, size_t len, uint64_t *ret_iova);
/* Zeroed memory that the device sees, for rings: prefaulted, shared, freed never. */
int vfio_ring_mem(struct vfio *v, size_t len, struct vfio_area *ret);
/* nic_dev_ops.map for all drivers. */
int vfio_map_pool(struct vfio *v, uint16_t worker, void *mem, size_t len);

/* MSI-X: vector 0 signals evt, vector 1 + q queue q. Return: 0 or -errno. */
int vfio_irqs(struct vfio *v);
/* PCI command register: may the device read and write memory? Start-up only. */
int vfio_bus_master(struct vfio *v, bool on);
uint32_t vfio_cfg_read(struct vfio *v, unsigned off, unsigned bytes);
/* Offset of the @nth capability @id in configuration space, 0 = none. */
unsigned vfio_cap(struct vfio *v, unsigned id, unsigned nth);

/* Where the device finds @p's bytes at @va, 0 = it does not see them. A packet's linear part lies
 * in the pool of the worker that made it. */
static inline uint64_t vfio_iova(const struct vfio *v, const struct pkt *p, const void *va,
				 uint32_t len)
{
	const struct vfio_area *a = &v->pool[p->pool % NIC_QUEUES_MAX];
	size_t off = (size_t)((const uint8_t *)va - a->va);

	return off < a->len && len <= a->len - off ? a->iova + off : 0;
}

/* ---- faults.c ---- */
/* Is this line of the kernel's log about refused DMA of device @pci? */
bool vfio_is_fault(const char *line, const char *pci);
/* Refused accesses that the log has told since the last call. Worker 0. */
unsigned vfio_read_faults(struct vfio *v);

/* ---- registers: naturally aligned, little endian as the processor ---- */

static inline uint32_t reg_rd32(const volatile uint8_t *base, unsigned off)
{
	return *(const volatile uint32_t *)(base + off);
}

static inline void reg_wr32(volatile uint8_t *base, unsigned off, uint32_t v)
{
	*(volatile uint32_t *)(base + off) = v;
}

/* Towards the device, x86-64: stores and loads are ordered but for loads that overtake stores, so
 * two of the three only bind the compiler (SDM 3A 9.2.2). No C11 fences: TSan knows none. */
/* What was written to memory before is seen by the device before what follows. */
static inline void dma_wmb(void) { __asm__ volatile("" ::: "memory"); }
/* What the device wrote before the flag just read is read after it. */
static inline void dma_rmb(void) { __asm__ volatile("" ::: "memory"); }
/* Stores before loads: for "interrupts on, then look again". */
static inline void dma_mb(void) { __asm__ volatile("mfence" ::: "memory"); }

/* ---- drivers ---- */

/* Make the device @v ready but for its queues. Takes @v on success. */
typedef int (*vfio_probe_fn)(struct vfio *v, const struct nic_grant *g, struct nic_dev **ret,
			     char err[NIC_ERR]);
int virtio_probe(struct vfio *v, const struct nic_grant *g, struct nic_dev **ret,
		 char err[NIC_ERR]);
int e1000e_probe(struct vfio *v, const struct nic_grant *g, struct nic_dev **ret,
		 char err[NIC_ERR]);
int igb_probe(struct vfio *v, const struct nic_grant *g, struct nic_dev **ret,
	      char err[NIC_ERR]);

/* ---- ids.c ---- */
/* The driver for a device, NULL = none. */
const char *vfio_driver_name(uint16_t vendor, uint16_t device);
vfio_probe_fn vfio_driver_probe(uint16_t vendor, uint16_t device);
/* Queues that a device can have at most, for the helper. */
unsigned vfio_driver_queues(uint16_t vendor, uint16_t device);

#endif
