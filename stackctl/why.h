/* SPDX-License-Identifier: MIT */
/* stackctl/why.h - stackctl why PID */
#ifndef STACKCTL_WHY_H
#define STACKCTL_WHY_H

/* A line per socket of process @pid: who carries it, and if the kernel does, why. Return: exit
 * code. */
int why(const char *run_dir, const char *pid);

#endif
