/* SPDX-License-Identifier: MIT */
/* preload/defer.h - signals that come while the shim is at work wait until it has finished
 * In the kernel a handler runs when the call has done its work or sleeps. So here: between begin
 * and end the program's handlers do not run; one that was due runs at the end, or decides about the
 * sleep that follows as a signal does that was pending when it began (defer.c).
 * Threads: state is per thread
 */
#ifndef PRELOAD_DEFER_H
#define PRELOAD_DEFER_H

#include <signal.h>
#include <stdint.h>

struct pl_sigs;

struct pl_defer {
	uint32_t depth;			/* begins without their end */
	uint32_t hit;			/* sig waits, and all signals but faults are blocked */
	uintptr_t frame;		/* the outermost begin's: what runs above it has left it */
	uint64_t mask;			/* the program's */
	int sig;
	siginfo_t info;
};
extern __thread struct pl_defer pl_defer __attribute__((tls_model("initial-exec")));

/* The signal that waited is pending, and the program's mask is in force again. */
void pl_defer_deliver(void);
/* An end was jumped over: begin afresh. */
void pl_defer_reset(void);

#define pl_defer_barrier() __atomic_signal_fence(__ATOMIC_SEQ_CST)

/* @frame: address in the frame of the function that also calls the end. */
static inline void pl_defer_begin(const void *frame)
{
	if (__builtin_expect(pl_defer.depth && (uintptr_t)frame >= pl_defer.frame, 0))
		pl_defer_reset();
	if (!pl_defer.depth)
		pl_defer.frame = (uintptr_t)frame;
	pl_defer_barrier();
	pl_defer.depth++;
	pl_defer_barrier();
}

static inline void pl_defer_end(void)
{
	pl_defer_barrier();
	pl_defer.depth--;
	pl_defer_barrier();
	if (__builtin_expect(!pl_defer.depth && pl_defer.hit, 0))
		pl_defer_deliver();
}

#define PL_DEFER_BEGIN() pl_defer_begin(__builtin_frame_address(0))

/* Around a sleep: handlers run again. A signal that waits becomes pending and is as one that came
 * in a spin with signals blocked: @sg says so, or that its handler ran. Return: for
 * pl_defer_resume(). */
struct pl_defer_at {
	uint32_t depth;
	uintptr_t frame;
};
struct pl_defer_at pl_defer_pause(struct pl_sigs *sg);
void pl_defer_resume(struct pl_defer_at at);

#endif
