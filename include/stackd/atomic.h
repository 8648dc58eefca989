/* SPDX-License-Identifier: MIT */
/* include/stackd/atomic.h - every atomic operation of the project
 * Holds:   fields in shared memory are plain integers; they are touched concurrently only by these
 *          macros. Publication is store-release / load-acquire; sleep/wake hand-shakes are seq_cst
 *          read-modify-writes on both sides (never fences: ThreadSanitizer does not see those).
 *          Each use names its pair in a comment.
 */
#ifndef STACKD_ATOMIC_H
#define STACKD_ATOMIC_H

#include <stdbool.h>
#include <stdint.h>

#define ld_rlx(p)	__atomic_load_n((p), __ATOMIC_RELAXED)
#define ld_acq(p)	__atomic_load_n((p), __ATOMIC_ACQUIRE)
#define ld_sc(p)	__atomic_load_n((p), __ATOMIC_SEQ_CST)
#define st_rlx(p, v)	__atomic_store_n((p), (v), __ATOMIC_RELAXED)
#define st_rel(p, v)	__atomic_store_n((p), (v), __ATOMIC_RELEASE)
#define xchg_sc(p, v)	__atomic_exchange_n((p), (v), __ATOMIC_SEQ_CST)
#define or_sc(p, v)	__atomic_fetch_or((p), (v), __ATOMIC_SEQ_CST)
#define and_sc(p, v)	__atomic_fetch_and((p), (v), __ATOMIC_SEQ_CST)
#define add_sc(p, v)	__atomic_fetch_add((p), (v), __ATOMIC_SEQ_CST)
#define sub_sc(p, v)	__atomic_fetch_sub((p), (v), __ATOMIC_SEQ_CST)

/* Strong compare-and-swap; *@old is updated on failure. Return: true when swapped. */
#define cas_sc(p, old, v) \
	__atomic_compare_exchange_n((p), (old), (v), false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)

/* One step of a bounded spin. */
static inline void cpu_relax(void)
{
	__builtin_ia32_pause();
}

#endif
