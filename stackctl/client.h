/* SPDX-License-Identifier: MIT */
/* stackctl/client.h - one request over the control socket, and its answer */
#ifndef STACKCTL_CLIENT_H
#define STACKCTL_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include "stackd/ctl.h"

struct request {
	const char *run_dir;
	bool json;
	uint32_t type;			/* CTL_SHOW or CTL_SYSCTL */
	const char *text;
};

/* Connect to the daemon of a run directory; answers come within 10 s. Return: an fd, or -1 = told
 * on stderr. */
int client_open(const char *dir);
/* Return: 0 and the answer (the caller frees it, also on failure), or -1 = told. */
int client_ask(const struct request *rq, char **ret_text);

#endif
