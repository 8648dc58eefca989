/* SPDX-License-Identifier: MIT */
/* ctl/nic.c - show device, and what stackctl nic asks of it
 * Threads: the part function on its worker's thread; the rest on worker 0's
 */
#include "stackd/ctl/ctl_int.h"

#include <errno.h>
#include <stdlib.h>

#include "stackd/nic/vfio/vfio.h"

static void add_counter(void *arg, const char *name, uint64_t value)
{
	json_object_set_new(arg, name, json_integer((json_int_t)value));
}

/* One queue, by its worker. */
void show_device_part(struct worker *w, json_t *list)
{
	const struct nic *q = w->queue;
	json_t *o;

	if (!q)
		return;
	o = json_pack("{si sI sI sI sI sI sI}", "queue", q->queue, "irqs", (json_int_t)q->irqs,
		"held", (json_int_t)q->held, "rx_ring", (json_int_t)q->rx_ring,
		"tx_ring", (json_int_t)q->tx_ring,
		"rx_packets", (json_int_t)w->st.cnt->snmp[SNMP_Dev_RxPackets],
		"tx_packets", (json_int_t)w->st.cnt->snmp[SNMP_Dev_TxPackets]);
	if (q->ops->counters)
		q->ops->counters(q, add_counter, o);
	json_array_append_new(list, o);
}

/* The device, with its queues as a list. */
json_t *show_device(struct engine *eng, json_t *list)
{
	struct nic_dev *dev = eng->dev;
	const struct nic_grant *g = &dev->grant;
	struct nic_link link = { .up = true };
	json_t *o = json_pack("{ss ss ss si si sI sI sI sI sI}", "name", g->name, "kind", g->kind,
		"driver", dev->driver, "queues", g->queues, "numa_node", g->numa_node,
		"mtu", (json_int_t)g->mtu, "resets", (json_int_t)dev->resets,
		"iommu_faults", (json_int_t)dev->iommu_faults,
		"tx_timeouts", (json_int_t)dev->tx_timeouts,
		"bad_completions", (json_int_t)dev->bad_completions);

	if (dev->ops->link)
		dev->ops->link(dev, &link);
	json_object_set_new(o, "link", json_boolean(link.up));
	json_object_set_new(o, "mbps", json_integer(link.mbps));
	json_object_set_new(o, "link_changes", json_integer((json_int_t)link.changes));
	if (!strcmp(g->kind, "vfio"))
		json_object_set_new(o, "pci",
			json_string(((const struct vfio_grant *)(const void *)g->extra)->pci));
	if (dev->ops->counters)
		dev->ops->counters(dev, add_counter, o);
	json_object_set_new(o, "queue", list);
	return json_pack("[o]", o);
}

int nic_command(struct engine *eng, const struct sup_cred *who, const char *text, char **ret_text)
{
	int r;

	if (who->uid != 0)
		return -EPERM;
	if (!strncmp(text, "rss ", 4)) {
		r = rss_command(eng->dev, text + 4);
		if (!r)
			steering_changed(eng);
		*ret_text = r ? NULL : strdup("{\"rss\":\"set\"}");
		return r ? r : *ret_text ? 0 : -ENOMEM;
	}
	if (!strncmp(text, "coalesce ", 9)) {
		r = coalesce_command(eng->dev, text + 9);
		*ret_text = r ? NULL : strdup("{\"coalesce\":\"set\"}");
		return r ? r : *ret_text ? 0 : -ENOMEM;
	}
	if (strcmp(text, "reset") && strncmp(text, "ring ", 5))
		return -ENOENT;
	if (!eng->dev->ops->halt)
		return -EOPNOTSUPP;
	r = strcmp(text, "reset") ? ring_command(eng->dev, text + 5) : 0;
	if (r)
		return r;
	nic_fault(eng->dev, NIC_FAULT_REQUEST);
	*ret_text = strdup("{\"reset\":\"requested\"}");
	return *ret_text ? 0 : -ENOMEM;
}
