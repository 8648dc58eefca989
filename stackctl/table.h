/* SPDX-License-Identifier: MIT */
/* stackctl/table.h - JSON as text for people */
#ifndef STACKCTL_TABLE_H
#define STACKCTL_TABLE_H

#include <jansson.h>

/* A list of objects: a table, a column per key of the first ones; an object: "name value" lines,
 * groups in front as nstat shows them. To stdout. */
void table_print(const json_t *v);

#endif
