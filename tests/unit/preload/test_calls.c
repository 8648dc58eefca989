/* SPDX-License-Identifier: MIT */
/* tests/unit/preload/test_calls.c - calls.def against the library: each PL_CALL is exported by it,
 * each PL_PASS is libc's, and nothing else is exported */
#include <dlfcn.h>

#include "mock.h"

/* Which object defines @name in the scope of the library @h. */
static const char *home(void *h, const char *name)
{
	void *f = dlsym(h, name);
	Dl_info di;

	return f && dladdr(f, &di) ? di.dli_fname : "(nowhere)";
}

Test(calls, coverage)
{
	void *h = dlopen("build/libstackd.so", RTLD_NOW | RTLD_LOCAL);

	cr_assert_not_null(h, "%s", dlerror());
#define PL_CALL(ret, name, params, args) \
	cr_expect(strstr(home(h, #name), "libstackd"), "%s is not wrapped: %s", #name, \
		  home(h, #name));
#define PL_PASS(name, why) \
	cr_expect(!strstr(home(h, #name), "libstackd"), "%s is wrapped", #name);
#include "preload/calls.def"
#undef PL_CALL
}

Test(calls, nothing_else_is_exported)
{
	static const char *const known[] = {
#define PL_CALL(ret, name, params, args) #name,
#include "preload/calls.def"
#undef PL_CALL
		"dprintf", "__dprintf_chk",	/* their v twins are the ones called */
	};
	FILE *p = popen("nm -D --defined-only build/libstackd.so", "r");
	char line[256], name[128];

	cr_assert_not_null(p);
	while (fgets(line, sizeof(line), p)) {
		size_t i = 0, n = sizeof(known) / sizeof(known[0]);

		if (sscanf(line, "%*s %*s %127s", name) != 1)
			continue;
		while (i < n && strcmp(known[i], name))
			i++;
		cr_expect_lt(i, n, "%s is exported but not in calls.def", name);
	}
	pclose(p);
}
