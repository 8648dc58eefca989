/* SPDX-License-Identifier: MIT */
/* core/topo.c - placing workers with libhwloc */
#include <errno.h>
#include <hwloc.h>
#include <sched.h>
#include <stdbool.h>

#include "stackd/core/topo.h"

#define TOPO_MAX_CPUS 1024

struct cpu_list {
	int cpu[TOPO_MAX_CPUS];
	unsigned cnt;
};

unsigned topo_cpu_cnt(void)
{
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof(set), &set))
		return 1;
	return (unsigned)CPU_COUNT(&set);
}

/* The @nth hardware thread of @core that lies in @allowed; -1 = it has fewer. */
static int core_thread(hwloc_obj_t core, hwloc_const_cpuset_t allowed, unsigned nth)
{
	int cpu = -1;

	while ((cpu = hwloc_bitmap_next(core->cpuset, cpu)) >= 0)
		if (hwloc_bitmap_isset(allowed, (unsigned)cpu) && nth-- == 0)
			return cpu;
	return -1;
}

static bool core_near(hwloc_obj_t core, int node)
{
	return node < 0 || (core->nodeset && hwloc_bitmap_isset(core->nodeset, (unsigned)node));
}

/* Threads number @nth of all cores that are (not) on @node, in order. Return: true when one was
 * added. */
static bool list_add(hwloc_topology_t t, hwloc_const_cpuset_t allowed, int node, bool near,
		     unsigned nth, struct cpu_list *l)
{
	hwloc_obj_t core = NULL;
	bool any = false;

	while ((core = hwloc_get_next_obj_by_type(t, HWLOC_OBJ_CORE, core))) {
		int cpu = core_near(core, node) == near ? core_thread(core, allowed, nth) : -1;

		if (cpu >= 0 && l->cnt < TOPO_MAX_CPUS) {
			l->cpu[l->cnt++] = cpu;
			any = true;
		}
	}
	return any;
}

static void list_fill(hwloc_topology_t t, int node, struct cpu_list *l)
{
	hwloc_cpuset_t allowed = hwloc_bitmap_alloc();

	if (!allowed)
		return;
	if (hwloc_get_cpubind(t, allowed, HWLOC_CPUBIND_PROCESS))
		hwloc_bitmap_copy(allowed, hwloc_topology_get_allowed_cpuset(t));
	for (int near = 1; near >= 0; near--)
		for (unsigned nth = 0; list_add(t, allowed, node, near, nth, l); nth++)
			;
	hwloc_bitmap_free(allowed);
}

int topo_worker_cpu(unsigned worker, unsigned workers, int node)
{
	struct cpu_list l = { .cnt = 0 };
	hwloc_topology_t t;

	if (hwloc_topology_init(&t))
		return -ENOENT;
	if (hwloc_topology_load(t) == 0)
		list_fill(t, node, &l);
	hwloc_topology_destroy(t);
	if (l.cnt == 0 || worker >= workers)
		return -ENOENT;
	return l.cpu[worker % l.cnt];
}
