/* SPDX-License-Identifier: MIT */
/* preload/real.c - finding the real functions
 * A program's constructors, or libraries loaded before the shim, may call a wrapper before the
 * shim's own constructor has run. So each member of `real` starts out pointing at a small function
 * that resolves all of them and then calls on; afterwards a call costs one load.
 * Threads: resolution is idempotent, each member is stored whole; a race resolves twice
 */
#include <dlfcn.h>

#include "preload/pl.h"

static long pl_absent(void)
{
	return pl_fail(-ENOSYS);
}

static void *find(const char *name)
{
	void *f = dlsym(RTLD_NEXT, name);

	return f ? f : (void *)pl_absent;
}

static void resolve(void)
{
#define PL_CALL(ret, name, params, args) \
	__atomic_store_n((void **)&real.name, find(#name), __ATOMIC_RELAXED);
#include "preload/calls.def"
#undef PL_CALL
}

#define PL_CALL(ret, name, params, args) \
	static ret first_##name params \
	{ \
		resolve(); \
		return real.name args; \
	}
#include "preload/calls.def"
#undef PL_CALL

struct pl_real real = {
#define PL_CALL(ret, name, params, args) .name = first_##name,
#include "preload/calls.def"
#undef PL_CALL
};

__attribute__((constructor(101))) static void real_init(void)
{
	resolve();
}
