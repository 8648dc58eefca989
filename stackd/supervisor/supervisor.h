/* SPDX-License-Identifier: MIT */
/* supervisor/supervisor.h - the privileged process: fd store and restarter */
#ifndef SUPERVISOR_SUPERVISOR_H
#define SUPERVISOR_SUPERVISOR_H

#include "stackd/supervisor/conf.h"

#define SUP_ENGINE_ARG	"--engine-channel-fd="	/* argv[1] of the engine's process */

/* Run the daemon until it is told to stop. Return: the process's exit code. */
int supervisor_main(const struct conf *conf);
/* --check: say what this machine offers. Return: exit code, 0 = stackd can run here. */
int supervisor_check(const struct conf *conf);

#endif
