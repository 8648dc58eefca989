/* SPDX-License-Identifier: MIT */
/* stackctl/nic.h - stackctl nic: hand a NIC to stackd and back to the kernel */
#ifndef STACKCTL_NIC_H
#define STACKCTL_NIC_H

#include <stdbool.h>

/* Is @word a command that this side does, not the daemon? */
bool nic_is_local(const char *word);
/* @argv: what follows "nic" on the command line. Return: exit code. */
int nic_main(int argc, char **argv, const char *run_dir);

#endif
