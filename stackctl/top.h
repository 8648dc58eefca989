/* SPDX-License-Identifier: MIT */
/* stackctl/top.h - what the daemon does now, again and again */
#ifndef STACKCTL_TOP_H
#define STACKCTL_TOP_H

#include <stdbool.h>

/* @argv: "top" and its options. @json: a line of JSON per interval. Return: exit code; without a
 * count it ends by a signal, or with the daemon. */
int top_main(int argc, char **argv, const char *run_dir, bool json);

#endif
