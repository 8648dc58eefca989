/* SPDX-License-Identifier: MIT */
/* engine/start.h - where the workers meet while starting */
#ifndef ENGINE_START_H
#define ENGINE_START_H

#include <pthread.h>

struct engine_start {
	pthread_barrier_t built;	/* all rings and rooms stand, or somebody failed */
	pthread_barrier_t confined;	/* the filter is on all threads */
};

#endif
