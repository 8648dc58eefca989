/* SPDX-License-Identifier: MIT */
/* bench/micro/micro.h - one part against its limit: batches of both alternate, medians, JSON */
#ifndef BENCH_MICRO_H
#define BENCH_MICRO_H

#include <stdio.h>
#include <stdlib.h>

#include "stackd/core/clock.h"

#define MICRO_ROUNDS 101

struct micro {
	const char *part;		/* what is measured */
	const char *limit;		/* what it cannot be faster than, measured the same way */
	void (*run)(unsigned n);	/* does it @n times */
	void (*run_limit)(unsigned n);
	unsigned n;
};

static int micro_by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static inline double micro_median(double v[MICRO_ROUNDS])
{
	qsort(v, MICRO_ROUNDS, sizeof(*v), micro_by_value);
	return v[MICRO_ROUNDS / 2];
}

static inline double micro_batch(void (*fn)(unsigned n), unsigned n)
{
	uint64_t from = clock_mono_ns();

	fn(n);
	return (double)(clock_mono_ns() - from) / n;
}

/* A JSON list; nanoseconds. */
static inline void micro_print(const struct micro *m, unsigned cnt)
{
	for (unsigned i = 0; i < cnt; i++, m++) {
		static double part[MICRO_ROUNDS], limit[MICRO_ROUNDS];

		for (unsigned r = 0; r < MICRO_ROUNDS; r++) {
			part[r] = micro_batch(m->run, m->n);
			limit[r] = micro_batch(m->run_limit, m->n);
		}
		printf("%s{\"part\": \"%s\", \"ns\": %.2f, \"limit\": \"%s\", \"limit_ns\": %.2f}",
		       i ? ",\n " : "[", m->part, micro_median(part), m->limit,
		       micro_median(limit));
	}
	puts("]");
}

#endif
