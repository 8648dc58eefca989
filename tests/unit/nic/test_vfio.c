/* SPDX-License-Identifier: MIT */
/* tests/unit/nic/test_vfio.c - opening a device that cannot be had; what the kernel's log says */
#include <criterion/criterion.h>
#include <errno.h>

#include "stackd/nic/vfio/vfio.h"
#include "stackd/nic/vfio/vfio_open.h"

Test(vfio, no_such_device)
{
	struct vfio_conf conf = { .pci = "ffff:ff:1f.7", .queues = 1, .mtu = 1500 };
	int fds[NIC_GRANT_FDS];
	char err[NIC_ERR] = "";
	struct nic_grant g;

	cr_assert_eq(vfio_open(&conf, &g, fds, err), -ENODEV);
	cr_assert(strstr(err, "no PCI device ffff:ff:1f.7"), "%s", err);
	cr_assert(strstr(err, "lspci -D"), "it names the command that helps: %s", err);
}

/* Lines as the drivers of Intel's and AMD's IOMMUs write them. */
Test(vfio, refused_dma)
{
	static const struct {
		const char *line;
		bool ours;
	} c[] = {
		{ "3,1,2,-;DMAR: [DMA Read NO_PASID] Request device [00:03.0] fault addr 0x1000 "
		  "[fault reason 0x06] PTE Read access is not set", true },
		{ "3,1,2,-;DMAR: [DMA Write NO_PASID] Request device [00:04.0] fault addr 0x1000 "
		  "[fault reason 0x05] PTE Write access is not set", false },
		{ "3,1,2,-;AMD-Vi: Event logged [IO_PAGE_FAULT device=0000:00:03.0 domain=0x0001 "
		  "address=0x1000 flags=0x0000]", true },
		{ "6,1,2,-;vfio-pci 0000:00:03.0: resetting after a fault", false },
		{ "", false },
	};

	for (unsigned i = 0; i < sizeof(c) / sizeof(c[0]); i++)
		cr_assert_eq(vfio_is_fault(c[i].line, "0000:00:03.0"), c[i].ours, "%s", c[i].line);
}

/* Every device that has a driver here has queues, and others have none. */
Test(vfio, ids)
{
	cr_assert_str_eq(vfio_driver_name(0x1af4, 0x1041), "virtio");
	cr_assert_str_eq(vfio_driver_name(0x8086, 0x10d3), "e1000e");
	cr_assert_str_eq(vfio_driver_name(0x8086, 0x10c9), "igb");
	cr_assert_null(vfio_driver_name(0x8086, 0xffff));
	cr_assert_eq(vfio_driver_queues(0x8086, 0x10d3), 2);
	cr_assert_eq(vfio_driver_queues(0x8086, 0xffff), 0);
	cr_assert_null(vfio_driver_probe(1, 2));
}
