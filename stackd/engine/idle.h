/* SPDX-License-Identifier: MIT */
/* engine/idle.h - what a worker without work does: spin, nap, or sleep
 *
 * Spinning saves the wake-up, which is dear when it comes from another core, and is worth about
 * what that costs (calib.c): its budget is doubled when work came during a spin, halved when not,
 * tried anew after short sleeps. It is wrong where somebody else wants the core:
 *   same     a program that was just told of something runs on this very core (its mailbox says so)
 *   crowded  more threads of this machine are runnable than it has CPUs (crowd_poll(), told to
 *            programs in the info page)
 *   lost     the worker lost the core in the middle of a spin
 * After telling a program in the first case, waking it in the second, the worker naps: it sleeps
 * for IDLE_NAP_US at most, and neither frames nor the program's first command end that, but the
 * program's having no more to do (SD_NAPPING). So a batch costs one wake-up each way, and meanwhile
 * the next one gathers. sched_yield() was tried instead: it does nothing between cgroups or
 * autogroups, in which daemon and programs usually are.
 * Threads: struct idle one per worker, that worker only; struct crowd worker 0
 */
#ifndef ENGINE_IDLE_H
#define ENGINE_IDLE_H

#include <stdbool.h>
#include <stdint.h>

struct idle {
	const uint32_t *crowded;	/* the info page's word */
	uint32_t max_ns;		/* what a wake-up costs here; 0 = never spin */
	uint32_t budget_ns;
	uint64_t since_ns, last_ns;	/* when the spin began and last looked; 0 = no spin */
	uint32_t shorts;		/* sleeps in a row that a spin would have saved */
	uint32_t no_spin;		/* so many times it is not even tried */
	bool woke, same;		/* programs were woken in this loop; one here was told */
};
#define IDLE_NAP_US	100u

enum idle_what { IDLE_ON = 0, IDLE_NAP, IDLE_SLEEP };

void idle_init(struct idle *i, uint32_t spin_ns, const uint32_t *crowded);
/* A loop that had work is over. */
enum idle_what idle_busy(struct idle *i);
/* A loop without work: pass a little time, or say what to do instead. */
enum idle_what idle_pass(struct idle *i);
/* It slept, not napped, for @ns. */
void idle_slept(struct idle *i, uint64_t ns);

/* How many threads of the machine want a CPU. */
struct crowd {
	int fd;				/* /proc/loadavg, -1 = cannot be known */
	uint32_t cpus;
	uint32_t load;			/* runnable threads, in 1/16, averaged */
	uint64_t next_us;		/* when to look again */
	uint64_t until_us;		/* crowded until then */
	uint32_t hold_us;		/* how long the next time */
};

/* Before seccomp and before privileges are dropped. */
void crowd_init(struct crowd *c);
/* Each loop with or without work. Return: is it crowded? */
bool crowd_poll(struct crowd *c, uint64_t now_us);

#endif
