/* SPDX-License-Identifier: MIT */
/* ctl/ctl.h - the control path of the engine: supervisor channel, control connections, show
 * Threads: all of it on worker 0's thread, driven by its ring and, once per loop, ctl_poll().
 */
#ifndef CTL_CTL_H
#define CTL_CTL_H

#include "stackd/engine/engine.h"

/* Before threads. Return: 0 or -errno. */
int ctl_init(struct engine *eng);
/* Adoption (ctl/adopt.c): segments mapped, before threads; their pools, when workers' memory
 * stands; connections and sessions, when all rooms have adopted theirs. */
int ctl_adopt_segs(struct engine *eng);
int ctl_adopt_pools(struct engine *eng);
void ctl_adopt_sessions(struct engine *eng);
/* Exported sockets: before slots' locks are freed, as bytes may be half-way. */
void ctl_adopt_exports(struct engine *eng);
#define CTL_EXPORTS	4096u		/* at once */
uint32_t export_rec_size(void);		/* of a record of AR_EXPORT */
/* Write the mailbox eventfds of a KEEP_PROC entry: a wake-up may have died with the engine. */
void ctl_wake_kept(const struct kept *k);
/* The workers stand: deposit the arena, tell the supervisor that programs may come. */
void ctl_ready(struct engine *eng);
/* Settings that programs see without asking: onto the info page. */
void ctl_sysctl_publish(struct engine *eng);
/* The supervisor's channel is readable. */
void ctl_chan_ready(struct engine *eng);
/* Something happened on a connection or on the pair of an export: @arg of the watch; @revents as
 * poll() has them. */
void ctl_conn_ready(struct engine *eng, uint32_t arg, uint32_t revents);
void export_ready(struct engine *eng, uint32_t arg);
/* Once per loop: what waits for a full ring, a full channel, a segment that empties.
 * Return: number of things done. */
unsigned ctl_poll(struct engine *eng);
/* How long worker 0 may sleep for all that the control path knows, microseconds. */
uint64_t ctl_idle_us(struct engine *eng);
/* Process @proc_rec broke the contract: its session ends at the next ctl_poll(). */
void ctl_proc_bad(struct engine *eng, uint32_t proc_rec);

#endif
