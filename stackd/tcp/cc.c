/* SPDX-License-Identifier: MIT */
/* tcp/cc.c - the table of congestion controls
 * Holds:   index 0 is the default; a TCB's index is valid from tcb_alloc() on
 */
#include <errno.h>
#include <string.h>

#include "stackd/tcp/tcp_int.h"

static const struct tcp_cc *const table[] = {
	&tcp_cc_newreno,
};

const struct tcp_cc *tcp_cc_at(uint8_t idx)
{
	ASSERT(idx < sizeof(table) / sizeof(table[0]));
	return table[idx];
}

int tcp_cc_find(const char *name)
{
	if (!name[0])
		return 0;
	for (unsigned i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (strcmp(table[i]->name, name) == 0)
			return (int)i;
	return -ENOENT;
}

bool tcp_cc_known(const char *name)
{
	return name[0] && tcp_cc_find(name) >= 0;
}

const char *tcp_cc_list(void)
{
	return "reno";
}
