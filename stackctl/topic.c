/* SPDX-License-Identifier: MIT */
/* stackctl/topic.c - see topic.h */
#include "stackctl/topic.h"

#include <stdlib.h>

#include "stackctl/client.h"

json_t *topic_ask(const char *run_dir, const char *topic)
{
	struct request rq = { .run_dir = run_dir, .type = CTL_SHOW, .text = topic };
	json_t *top, *list;
	char *text;

	if (client_ask(&rq, &text)) {
		free(text);
		return NULL;
	}
	top = json_loads(text, 0, NULL);
	free(text);
	list = json_incref(json_object_get(top, topic));
	json_decref(top);
	return list;
}
