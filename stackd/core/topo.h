/* SPDX-License-Identifier: MIT */
/* core/topo.h - where workers go: cores this process may use, by NUMA node (hwloc) */
#ifndef CORE_TOPO_H
#define CORE_TOPO_H

/**
 * topo_worker_cpu() - CPU for one of several workers
 * @worker: 0 .. @workers - 1
 * @node: OS number of the NUMA node to be next to (the device's), -1 = any
 * One hardware thread per core first, then the cores' other threads; cores of @node before others.
 * Return: OS CPU number, or -ENOENT when the topology cannot be read
 * Cost: loads the topology; for start-up only
 */
int topo_worker_cpu(unsigned worker, unsigned workers, int node);

/* CPUs that this process may run on, at least 1. */
unsigned topo_cpu_cnt(void);

#endif
