/* SPDX-License-Identifier: MIT */
/* tests/vm/badaddr.c - a NIC that is told a wrong address: the IOMMU stops it, we hear of it
 * Usage: vm-badaddr PCI OUR-ADDRESS PEER-ADDRESS. Drives the first queue without an engine: sends a
 * frame that lies where nothing is mapped, waits until the refused access is counted, resets the
 * device as the engine does, and asks the peer by ARP, which must be answered then.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "stackd/core/clock.h"
#include "stackd/nic/vfio/intel.h"
#include "stackd/nic/vfio/vfio_open.h"
#include "stackd/nic/vfio/virtio_int.h"

#define LIMIT_US 100000000u

static struct stack st;
static struct counters cnt;
static struct nic_dev *dev;
static struct nic *nic;

static void die(const char *what)
{
	printf("badaddr: %s\n", what);
	exit(1);
}

static struct vfio *vfio_of(void)
{
	return strcmp(dev->driver, "virtio") ? ((struct intel_dev *)dev->priv)->v
					     : ((struct virtio_dev *)dev->priv)->v;
}

static void send_arp(const char *from, const char *to)
{
	struct pkt *p = pkt_alloc(st.pool, false);
	static const uint8_t head[] = { 8, 6, 0, 1, 8, 0, 6, 4, 0, 1 };

	memset(p->data, 0, 60);
	memset(p->data, 0xff, 6);
	memcpy(p->data + 6, dev->grant.mac, 6);
	memcpy(p->data + 12, head, sizeof(head));
	memcpy(p->data + 22, dev->grant.mac, 6);
	inet_pton(AF_INET, from, p->data + 28);
	inet_pton(AF_INET, to, p->data + 38);
	p->len = 60;
	nic->ops->tx(nic, &st, &p, 1);
}

/* Poll the queue. Return: an ARP answer came. */
static bool poll_once(void)
{
	struct pkt *p[16];
	bool answer = false;

	st.now_us = clock_mono_us();
	for (unsigned n = nic->ops->rx(nic, &st, p, 16); n-- > 0;) {
		answer |= p[n]->len >= 42 && p[n]->data[12] == 8 && p[n]->data[13] == 6 &&
			  p[n]->data[21] == 2;
		stack_pkt_free(&st, p[n]);
	}
	dev->ops->poll(dev, st.now_us);
	return answer;
}

static void set_up(const char *pci)
{
	struct vfio_conf conf = { .queues = 1, .mtu = 1500 };
	struct pkt_pool_conf pc = { .small_cnt = 2048, .big_cnt = 8, .numa_node = -1 };
	struct nic_grant g;
	int fds[NIC_GRANT_FDS];
	char err[NIC_ERR] = "";
	size_t len;
	void *mem;

	snprintf(conf.pci, sizeof(conf.pci), "%s", pci);
	if (vfio_open(&conf, &g, fds, err) || nic_dev_open(&g, fds, &dev, err))
		die(err);
	st.workers = 1;
	st.cnt = &cnt;
	st.now_us = clock_mono_us();
	if (pkt_pool_create(&pc, &st.pool))
		die("no memory");
	mem = pkt_pool_mem(st.pool, &len);
	if (dev->ops->map(dev, 0, mem, len) || dev->ops->queue(dev, 0, &st, &nic) ||
	    nic->ops->start(nic, &st) || dev->ops->go(dev))
		die("the device does not start");
}

int main(int argc, char **argv)
{
	uint64_t end = clock_mono_us() + LIMIT_US, right;
	struct vfio *v;

	if (argc != 4)
		die("usage: PCI OUR-ADDRESS PEER-ADDRESS");
	set_up(argv[1]);
	v = vfio_of();
	right = v->pool[0].iova;
	v->pool[0].iova = right + (1ull << 36);
	send_arp(argv[2], argv[3]);
	while (dev->iommu_faults == 0) {
		poll_once();
		if (clock_mono_us() > end)
			die("no refused access was told");
		usleep(20000);
	}
	v->pool[0].iova = right;
	printf("faults %llu, device: %s\n", (unsigned long long)dev->iommu_faults,
	       nic_fault_text((enum nic_fault)dev->fault));
	dev->fault = NIC_OK;
	dev->ops->halt(dev);
	nic->ops->stop(nic, &st);
	if (pkt_pool_used(st.pool))
		die("packets are missing after the reset");
	if (nic->ops->start(nic, &st) || dev->ops->go(dev))
		die("the device does not start again");
	do {
		if (clock_mono_us() > end)
			die("the device does not work after its reset");
		send_arp(argv[2], argv[3]);
		usleep(100000);
	} while (!poll_once());
	puts("answered");
	return 0;
}
