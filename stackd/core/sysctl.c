/* SPDX-License-Identifier: MIT */
/* core/sysctl.c - the table of knobs: find, show, parse, store
 * Spec:    O2; a value that is out of range is refused as a whole, as by /proc/sys
 * Threads: sysctl_set() by worker 0 only
 */
#include "stackd/core/sysctl.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stackd/atomic.h"
#include "stackd/core/stack.h"

#define SYSCTL_MAGIC 0x5c71u
#define VEC_MAX 3

static const struct sysctl_def table[] = {
#define NUM(field, name, def, lo, hi, unit, doc) \
	{ name, unit, doc, offsetof(struct sysctl, field), 1, lo, hi, SYSCTL_IS_NUM },
#define VEC(field, name, n, defs, lo, hi, unit, doc) \
	{ name, unit, doc, offsetof(struct sysctl, field), n, lo, hi, SYSCTL_IS_NUM },
#define STR(field, name, room, def, check, doc) \
	{ name, "text", doc, offsetof(struct sysctl, field), room, 0, 0, check },
#include "stackd/core/sysctl.def"
#undef NUM
#undef VEC
#undef STR
};
#define KNOBS (sizeof(table) / sizeof(table[0]))

#define UNPAREN(...) __VA_ARGS__

void sysctl_defaults(struct sysctl *s)
{
	static const struct sysctl def = {
#define NUM(field, name, def, lo, hi, unit, doc) .field = def,
#define VEC(field, name, n, defs, lo, hi, unit, doc) .field = { UNPAREN defs },
#define STR(field, name, room, def, check, doc) .field = def,
#include "stackd/core/sysctl.def"
#undef NUM
#undef VEC
#undef STR
	};

	*s = def;
	s->version = 1;
	s->magic = SYSCTL_MAGIC;
}

void sysctl_attach(struct stack *st)
{
	ASSERT(st->arena->hdr->reg[AR_SYSCTL].elem_size >= sizeof(struct sysctl));
	st->sys = arena_at(st->arena, AR_SYSCTL, 1);
	if (st->sys->magic != SYSCTL_MAGIC)
		sysctl_defaults(st->sys);
}

const struct sysctl_def *sysctl_at(unsigned i)
{
	return i < KNOBS ? &table[i] : NULL;
}

const struct sysctl_def *sysctl_find(const char *name, size_t len)
{
	for (unsigned i = 0; i < KNOBS; i++)
		if (strlen(table[i].name) == len && !memcmp(table[i].name, name, len))
			return &table[i];
	return NULL;
}

/* ---- show ---- */

size_t sysctl_get(const struct sysctl *s, const struct sysctl_def *d, char *buf, size_t room)
{
	const uint32_t *v = (const void *)((const char *)s + d->off);
	size_t n = 0;

	if (d->check != SYSCTL_IS_NUM) {
		snprintf(buf, room, "%.*s", (int)d->cnt - 1, (const char *)s + d->off);
		return strlen(buf);
	}
	for (unsigned i = 0; i < d->cnt && n < room; i++)
		n += (size_t)snprintf(buf + n, room - n, i ? "\t%u" : "%u", ld_rlx(&v[i]));
	return n < room ? n : room - 1;
}

/* ---- set ---- */

static int parse_numbers(const struct sysctl_def *d, const char *text, uint32_t v[VEC_MAX])
{
	unsigned long long x;
	unsigned n = 0;
	char *end;

	for (;;) {
		while (isspace((unsigned char)*text))
			text++;
		if (!*text)
			return n == d->cnt ? 0 : -EINVAL;
		if (n == d->cnt || !isdigit((unsigned char)*text))
			return -EINVAL;
		errno = 0;
		x = strtoull(text, &end, 0);
		if (errno || x < d->lo || x > d->hi || (*end && !isspace((unsigned char)*end)))
			return -EINVAL;
		v[n++] = (uint32_t)x;
		text = end;
	}
}

static bool ports_ok(const char *p)
{
	unsigned long lo, hi;
	char *end;

	while (*p) {
		if (!isdigit((unsigned char)*p))
			return false;
		lo = hi = strtoul(p, &end, 10);
		if (*end == '-' && isdigit((unsigned char)end[1]))
			hi = strtoul(end + 1, &end, 10);
		if (hi > 65535 || lo > hi || (*end && *end != ','))
			return false;
		p = *end ? end + 1 : end;
	}
	return true;
}

static int set_text(struct sysctl *s, const struct sysctl_def *d, const char *text,
		    bool (*is_cc)(const char *name))
{
	bool ok = strlen(text) < d->cnt;

	if (ok && d->check == SYSCTL_IS_CC)
		ok = is_cc && *text && is_cc(text);
	else if (ok)
		ok = ports_ok(text);
	if (!ok)
		return -EINVAL;
	memset((char *)s + d->off, 0, d->cnt);
	memcpy((char *)s + d->off, text, strlen(text));
	return 0;
}

int sysctl_set(struct sysctl *s, const struct sysctl_def *d, const char *text,
	       bool (*is_cc)(const char *name))
{
	uint32_t *v = (void *)((char *)s + d->off), x[VEC_MAX];
	int r;

	if (d->check != SYSCTL_IS_NUM) {
		r = set_text(s, d, text, is_cc);
	} else {
		r = parse_numbers(d, text, x);
		if (!r && v == s->ip_local_port_range && x[0] > x[1])
			r = -EINVAL;
		for (unsigned i = 0; !r && i < d->cnt; i++)
			st_rlx(&v[i], x[i]);
	}
	if (!r)
		st_rel(&s->version, s->version + 1);
	return r;
}
