/* SPDX-License-Identifier: MIT */
/* core/sysctl.h - knobs that are read and set while the stack runs
 * One record in the arena (AR_SYSCTL, index 1), so settings outlive the engine. Worker 0 writes,
 * everybody reads the fields; a number is one 32-bit store. Texts are copied, then checked by
 * whoever uses them: one that is being written may be read half, and means the default then.
 * version counts writes: who keeps something made from a knob compares it.
 */
#ifndef CORE_SYSCTL_H
#define CORE_SYSCTL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct stack;

struct sysctl {
	uint32_t magic;			/* 0: defaults are still to be filled in */
	uint32_t version;
#define NUM(field, name, def, lo, hi, unit, doc) uint32_t field;
#define VEC(field, name, n, defs, lo, hi, unit, doc) uint32_t field[n];
#define STR(field, name, room, def, check, doc) char field[room];
#include "stackd/core/sysctl.def"
#undef NUM
#undef VEC
#undef STR
};

enum sysctl_check { SYSCTL_IS_NUM, SYSCTL_IS_CC, SYSCTL_IS_PORTS };

struct sysctl_def {
	const char *name, *unit, *doc;
	uint32_t off, cnt;		/* of the field; numbers in it, or room for the text */
	uint32_t lo, hi;
	enum sysctl_check check;	/* SYSCTL_IS_NUM: numbers, else text */
};

/* st->sys from the arena; fills in the defaults of a fresh one. */
void sysctl_attach(struct stack *st);
void sysctl_defaults(struct sysctl *s);

/* The @i-th knob, NULL behind the last. */
const struct sysctl_def *sysctl_at(unsigned i);
const struct sysctl_def *sysctl_find(const char *name, size_t len);
/* Its value as sysctl(8) shows it: numbers separated by tabs. Return: length, cut to @room - 1. */
size_t sysctl_get(const struct sysctl *s, const struct sysctl_def *d, char *buf, size_t room);
/* Parse and store. Worker 0. @is_cc: is there a congestion control of that name? Return: 0,
 * -EINVAL. */
int sysctl_set(struct sysctl *s, const struct sysctl_def *d, const char *text,
	       bool (*is_cc)(const char *name));

#endif
