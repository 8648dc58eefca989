/* SPDX-License-Identifier: MIT */
/* nic/vfio/vfio_open.c - open a NIC that is bound to vfio-pci
 * Order: what sysfs says (is it there, has it an IOMMU, is it bound) -> container -> group, which
 * must be viable -> device -> an eventfd per interrupt vector.
 * Spec:    linux/vfio.h, Documentation/driver-api/vfio.rst (groups and containers, type1v2)
 * Threads: device helper
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "stackd/nic/vfio/intel_regs.h"
#include "stackd/nic/vfio/vfio.h"
#include "stackd/nic/vfio/vfio_open.h"
#include "stackd/nic/vfio/virtio_regs.h"

#define SYS_PCI "/sys/bus/pci/devices/"

struct opening {
	const struct vfio_conf *conf;
	struct vfio_grant id;
	char group[16];
	int numa_node;
	int fds[NIC_GRANT_FDS];
	unsigned cnt;
	char *err;
};

__attribute__((format(printf, 3, 4)))
static int fail(struct opening *o, int r, const char *fmt, ...)
{
	va_list ap;
	int n = snprintf(o->err, NIC_ERR, "vfio: ");

	va_start(ap, fmt);
	vsnprintf(o->err + n, NIC_ERR - (size_t)n, fmt, ap);
	va_end(ap);
	return r;
}

/* ---- sysfs ---- */

/* The last part of the link @what of device @pci. Return: false when there is none. */
static bool sys_link(const char *pci, const char *what, char *ret, size_t size)
{
	char path[96], to[256];
	const char *name;
	ssize_t n;

	snprintf(path, sizeof(path), SYS_PCI "%s/%s", pci, what);
	n = readlink(path, to, sizeof(to) - 1);
	if (n < 0)
		return false;
	to[n] = '\0';
	name = strrchr(to, '/') ? strrchr(to, '/') + 1 : to;
	return snprintf(ret, size, "%s", name) < (int)size;
}

static long sys_number(const char *pci, const char *what, long none)
{
	char path[96], text[32] = "";
	int fd;

	snprintf(path, sizeof(path), SYS_PCI "%s/%s", pci, what);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return none;
	if (read(fd, text, sizeof(text) - 1) <= 0)
		text[0] = '\0';
	close(fd);
	return *text ? strtol(text, NULL, 0) : none;
}

static int look(struct opening *o)
{
	const char *pci = o->conf->pci;
	char driver[32] = "";
	long vendor = sys_number(pci, "vendor", -1);

	if (vendor < 0)
		return fail(o, -ENODEV, "there is no PCI device %s (lspci -D lists them)", pci);
	strcpy(o->id.pci, pci);
	o->id.vendor = (uint16_t)vendor;
	o->id.device = (uint16_t)sys_number(pci, "device", 0);
	o->numa_node = (int)sys_number(pci, "numa_node", -1);
	if (!vfio_driver_name(o->id.vendor, o->id.device))
		return fail(o, -ENOTSUP, "no driver here for %s (%04x:%04x); use --netdev xdp or "
			    "packet on its interface", pci, o->id.vendor, o->id.device);
	if (!sys_link(pci, "iommu_group", o->group, sizeof(o->group)))
		return fail(o, -ENODEV, "%s has no IOMMU: switch VT-d or AMD-Vi on in the firmware "
			    "and boot Linux with intel_iommu=on (Intel) or amd_iommu=on", pci);
	sys_link(pci, "driver", driver, sizeof(driver));
	if (strcmp(driver, "vfio-pci"))
		return fail(o, -EBUSY, "%s is bound to %s: stackctl nic claim %s", pci,
			    *driver ? driver : "no driver", pci);
	return 0;
}

/* ---- /dev/vfio ---- */

static int add_fd(struct opening *o, int fd)
{
	if (fd >= 0)
		o->fds[o->cnt++] = fd;
	return fd;
}

static int open_container(struct opening *o)
{
	int fd = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return fail(o, -errno, "cannot open /dev/vfio/vfio: %s (modprobe vfio-pci)",
			    strerror(errno));
	add_fd(o, fd);
	if (ioctl(fd, VFIO_GET_API_VERSION) != VFIO_API_VERSION ||
	    ioctl(fd, VFIO_CHECK_EXTENSION, VFIO_TYPE1v2_IOMMU) != 1)
		return fail(o, -ENOTSUP, "the kernel has no type1v2 IOMMU support "
			    "(modprobe vfio_iommu_type1)");
	return 0;
}

/* Who else is in the group and not ours to use? */
static void blame(struct opening *o)
{
	char path[64], driver[32];
	struct dirent *e;
	DIR *d;

	snprintf(path, sizeof(path), "/sys/kernel/iommu_groups/%s/devices", o->group);
	d = opendir(path);
	while (d && (e = readdir(d))) {
		if (e->d_name[0] == '.' || !sys_link(e->d_name, "driver", driver, sizeof(driver)) ||
		    !strcmp(driver, "vfio-pci") || !strcmp(driver, "pcieport"))
			continue;
		fail(o, 0, "IOMMU group %s also holds %s, bound to %s: stackctl nic claim %s",
		     o->group, e->d_name, driver, e->d_name);
		break;
	}
	if (d)
		closedir(d);
}

static int open_group(struct opening *o)
{
	struct vfio_group_status st = { .argsz = sizeof(st) };
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/dev/vfio/%s", o->group);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0 && errno == EBUSY)
		return fail(o, -EBUSY, "%s is in use by another process (fuser -v %s)",
			    o->conf->pci, path);
	if (fd < 0)
		return fail(o, -errno, "cannot open %s: %s", path, strerror(errno));
	add_fd(o, fd);
	if (ioctl(fd, VFIO_GROUP_GET_STATUS, &st))
		return fail(o, -errno, "%s: %s", path, strerror(errno));
	if (!(st.flags & VFIO_GROUP_FLAGS_VIABLE)) {
		fail(o, 0, "IOMMU group %s is not viable", o->group);
		blame(o);
		return -EBUSY;
	}
	if (ioctl(fd, VFIO_GROUP_SET_CONTAINER, &o->fds[NIC_VFIO_CONTAINER]) ||
	    ioctl(o->fds[NIC_VFIO_CONTAINER], VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU))
		return fail(o, -errno, "the IOMMU does not take %s: %s (dmesg | grep -i -e dmar "
			    "-e iommu tells why)", o->conf->pci, strerror(errno));
	return 0;
}

static int open_device(struct opening *o)
{
	struct vfio_irq_info ii = { .argsz = sizeof(ii), .index = VFIO_PCI_MSIX_IRQ_INDEX };
	int fd = ioctl(o->fds[NIC_VFIO_GROUP], VFIO_GROUP_GET_DEVICE_FD, o->conf->pci);

	if (fd < 0)
		return fail(o, -errno, "cannot open %s: %s", o->conf->pci, strerror(errno));
	fcntl(fd, F_SETFD, FD_CLOEXEC);
	add_fd(o, fd);
	if (ioctl(fd, VFIO_DEVICE_GET_IRQ_INFO, &ii) || ii.count < 2)
		return fail(o, -ENOTSUP, "%s has no MSI-X interrupts", o->conf->pci);
	o->id.vectors = ii.count;
	return 0;
}

/* ---- the MAC address: the kernel port wants it before there is an engine ---- */

static bool read_at(const struct opening *o, unsigned region, uint64_t off, void *to, size_t len)
{
	struct vfio_region_info ri = { .argsz = sizeof(ri), .index = region };
	int fd = o->fds[NIC_VFIO_DEVICE];

	return !ioctl(fd, VFIO_DEVICE_GET_REGION_INFO, &ri) && off + len <= ri.size &&
	       pread(fd, to, len, (off_t)(ri.offset + off)) == (ssize_t)len;
}

/* virtio 1.2 4.1.4: the capability of type 4 says where the device's configuration lies, which
 * begins with the address. */
static bool virtio_mac(const struct opening *o, uint8_t mac[6])
{
	uint8_t cfg[256], at;

	if (!read_at(o, VFIO_PCI_CONFIG_REGION_INDEX, 0, cfg, sizeof(cfg)))
		return false;
	at = cfg[PCI_CAPABILITY_LIST];
	for (unsigned left = 48; at >= PCI_STD_HEADER_SIZEOF && at < 240 && left; left--) {
		uint32_t off;

		memcpy(&off, cfg + at + VPCI_CAP_OFF, 4);
		if (cfg[at] == PCI_CAP_ID_VNDR && cfg[at + VPCI_CAP_TYPE] == VPCI_DEVICE)
			return cfg[at + VPCI_CAP_BAR] < VFIO_BARS &&
			       read_at(o, cfg[at + VPCI_CAP_BAR], off, mac, 6);
		at = cfg[at + 1];
	}
	return false;
}

/* Best effort: the driver reads it again, and has the last word. */
static void read_mac(const struct opening *o, uint8_t mac[6])
{
	uint32_t ra[2];

	if (!strcmp(vfio_driver_name(o->id.vendor, o->id.device), "virtio")) {
		if (!virtio_mac(o, mac))
			memset(mac, 0, 6);
		return;
	}
	if (!read_at(o, VFIO_PCI_BAR0_REGION_INDEX, R_RAL0, &ra[0], 4) ||
	    !read_at(o, VFIO_PCI_BAR0_REGION_INDEX, R_RAH0, &ra[1], 4))
		return;
	memcpy(mac, &ra[0], 4);
	memcpy(mac + 4, &ra[1], 2);
}

static int open_events(struct opening *o, uint16_t queues)
{
	int log;

	for (unsigned i = 0; i <= queues; i++) {
		if (add_fd(o, eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) < 0)
			return fail(o, -errno, "eventfd: %s", strerror(errno));
		if (i)
			continue;
		/* The kernel's log from here on, for faults.c; an empty file does where it is
		 * forbidden. */
		log = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
		if (log < 0)
			log = open("/dev/null", O_RDONLY | O_CLOEXEC);
		if (add_fd(o, log) < 0)
			return fail(o, -errno, "/dev/null: %s", strerror(errno));
		lseek(log, 0, SEEK_END);
	}
	return 0;
}

int vfio_open(const struct vfio_conf *conf, struct nic_grant *ret, int *ret_fds, char err[NIC_ERR])
{
	struct opening o = { .conf = conf, .err = err };
	uint16_t queues = conf->queues;
	int r = look(&o);

	if (!r)
		r = open_container(&o);
	if (!r)
		r = open_group(&o);
	if (!r)
		r = open_device(&o);
	if (!r) {
		unsigned most = vfio_driver_queues(o.id.vendor, o.id.device);

		most = most < o.id.vectors - 1 ? most : o.id.vectors - 1;
		queues = queues < most ? queues : (uint16_t)most;
		r = open_events(&o, queues);
	}
	if (r) {
		while (o.cnt)
			close(o.fds[--o.cnt]);
		return r;
	}
	*ret = (struct nic_grant){ .kind = "vfio", .queues = queues, .mtu = conf->mtu,
				   .numa_node = o.numa_node, .fd_cnt = o.cnt, .pinned = 1 };
	memcpy(ret->extra, &o.id, sizeof(o.id));
	read_mac(&o, ret->mac);
	memcpy(ret_fds, o.fds, o.cnt * sizeof(int));
	return 0;
}
