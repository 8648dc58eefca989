/* SPDX-License-Identifier: MIT */
/* engine/main.c - one binary: the supervisor when a person starts it, the engine when the
 * supervisor does */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "stackd/engine/engine.h"
#include "stackd/supervisor/supervisor.h"

int main(int argc, char **argv)
{
	size_t n = strlen(SUP_ENGINE_ARG);
	struct conf conf;

	if (argc == 2 && !strncmp(argv[1], SUP_ENGINE_ARG, n))
		return engine_main(atoi(argv[1] + n));
	switch (conf_parse(argc, argv, &conf)) {
	case CONF_EXIT_OK:
		return 0;
	case CONF_EXIT_BAD:
		return 2;
	case CONF_RUN:
		break;
	}
	return conf.check ? supervisor_check(&conf) : supervisor_main(&conf);
}
