/* SPDX-License-Identifier: MIT */
/* stackctl/topic.h - a topic of `show` as JSON, for what looks at several */
#ifndef STACKCTL_TOPIC_H
#define STACKCTL_TOPIC_H

#include <jansson.h>

/* Its list or object; the caller's. NULL = told. */
json_t *topic_ask(const char *run_dir, const char *topic);

#endif
