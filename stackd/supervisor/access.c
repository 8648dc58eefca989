/* SPDX-License-Identifier: MIT */
/* supervisor/access.c - who may use the stack, and how much of it: the grammar of --allow, --limit
 *   allow = all | WHO,...         WHO: a user's name or number; @group, @gid
 *   limit = [USER:]KEY=N,...      KEY: sockets, memory, ports, processes, connections; N: a number,
 *                                 with k, M, G for powers of 1024, or none
 * Users and groups are looked up here, once: later the supervisor only compares numbers.
 * Spec:    Z2
 */
#include "stackd/supervisor/conf.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define ITEM_MAX	64u

/* The part up to the next comma, and the text behind it; NULL at the end. */
static const char *item(const char *v, char buf[ITEM_MAX])
{
	size_t n = strcspn(v, ",");

	if (n >= ITEM_MAX)
		n = ITEM_MAX - 1;
	memcpy(buf, v, n);
	buf[n] = '\0';
	v += strcspn(v, ",");
	return *v ? v + 1 : NULL;
}

static bool number(const char *v, uint32_t *ret)
{
	char *end;
	unsigned long n = strtoul(v, &end, 10);

	if (*v < '0' || *v > '9' || *end || n >= UINT32_MAX)
		return false;
	*ret = (uint32_t)n;
	return true;
}

static int user_id(const char *name, uint32_t *ret)
{
	const struct passwd *pw = number(name, ret) ? NULL : getpwnam(name);

	if (number(name, ret))
		return 0;
	if (!pw)
		return -ENOENT;
	*ret = pw->pw_uid;
	return 0;
}

static int group_id(const char *name, uint32_t *ret)
{
	const struct group *gr = number(name, ret) ? NULL : getgrnam(name);

	if (number(name, ret))
		return 0;
	if (!gr)
		return -ENOENT;
	*ret = gr->gr_gid;
	return 0;
}

/* ---- --allow ---- */

static int allow_one(struct conf_access *a, const char *who, char *err)
{
	bool group = *who == '@';
	uint32_t id;

	if (!strcmp(who, "all")) {
		a->allow_all = 1;
		return 0;
	}
	if (group ? group_id(who + 1, &id) : user_id(who, &id))
		return conf_bad(err, "%s: no such %s", who, group ? "group" : "user");
	if ((group ? a->group_cnt : a->user_cnt) == CONF_ALLOW)
		return conf_bad(err, "%s: more than %u of them", who, CONF_ALLOW);
	if (group)
		a->groups[a->group_cnt++] = id;
	else
		a->users[a->user_cnt++] = id;
	return 0;
}

int conf_parse_allow(const char *list, struct conf_access *ret, char err[CONF_ERR])
{
	char who[ITEM_MAX];
	int r = 0;

	ret->allow_all = 0;
	ret->user_cnt = ret->group_cnt = 0;
	while (!r && list) {
		list = item(list, who);
		r = *who ? allow_one(ret, who, err) : conf_bad(err, "an empty name");
	}
	return r;
}

bool conf_allows(const struct conf_access *a, uint32_t uid, const uint32_t *gids, unsigned gid_cnt)
{
	if (a->allow_all)
		return true;
	for (unsigned i = 0; i < a->user_cnt; i++)
		if (a->users[i] == uid)
			return true;
	for (unsigned i = 0; i < a->group_cnt; i++)
		for (unsigned k = 0; k < gid_cnt; k++)
			if (a->groups[i] == gids[k])
				return true;
	return false;
}

/* ---- --limit ---- */

void conf_access_init(struct conf_access *ret)
{
	uint64_t ram = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);

	*ret = (struct conf_access){
		.allow_all = 1,
		.others = { .sockets = 1u << 20, .memory = ram / 2, .ports = 16384,
			    .processes = 4096, .connections = 2048 },
	};
}

const struct conf_limits *conf_limits_of(const struct conf_access *a, uint32_t uid)
{
	static const struct conf_limits none;

	for (unsigned i = 0; i < a->limit_cnt; i++)
		if (a->limit[i].uid == uid)
			return &a->limit[i].l;
	return uid ? &a->others : &none;
}

/* The record of a user's own limits, which begin as what he would have without. */
static struct conf_limits *own_limits(struct conf_access *a, uint32_t uid)
{
	struct conf_limits now = *conf_limits_of(a, uid);

	for (unsigned i = 0; i < a->limit_cnt; i++)
		if (a->limit[i].uid == uid)
			return &a->limit[i].l;
	if (a->limit_cnt == CONF_LIMITS)
		return NULL;
	a->limit[a->limit_cnt] = (struct conf_uid_limits){ .uid = uid, .l = now };
	return &a->limit[a->limit_cnt++].l;
}

/* "none" is 0. Return: false when @v is no number. */
static bool amount(const char *v, uint64_t *ret)
{
	static const char units[] = "kMG";
	const char *unit;
	char *end;
	unsigned long long n = strtoull(v, &end, 10);

	if (!strcmp(v, "none")) {
		*ret = 0;
		return true;
	}
	if (*v < '0' || *v > '9' || !n || n > INT64_MAX >> 30)
		return false;
	unit = *end ? strchr(units, *end) : NULL;
	if (*end && (!unit || end[1]))
		return false;
	*ret = n << (unit ? 10 * (unit - units + 1) : 0);
	return true;
}

static int limit_one(struct conf_limits *l, char *pair, char *err)
{
	const struct {
		const char *key;
		uint64_t *at;
	} known[] = {
		{ "sockets", &l->sockets }, { "memory", &l->memory }, { "ports", &l->ports },
		{ "processes", &l->processes }, { "connections", &l->connections },
	};
	char *v = strchr(pair, '=');

	if (!v)
		return conf_bad(err, "'%s' has no value", pair);
	*v++ = '\0';
	for (unsigned i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (strcmp(known[i].key, pair))
			continue;
		return amount(v, known[i].at) ? 0 :
		       conf_bad(err, "%s=%s: not a number from 1, with k, M or G, or none", pair,
				v);
	}
	return conf_bad(err, "'%s' is not known: sockets, memory, ports, processes, connections",
			pair);
}

int conf_parse_limit(const char *spec, struct conf_access *ret, char err[CONF_ERR])
{
	const char *colon = strchr(spec, ':');
	struct conf_limits *l = &ret->others;
	char word[ITEM_MAX];
	uint32_t uid;
	int r = 0;

	if (colon) {
		snprintf(word, sizeof(word), "%.*s", (int)(colon - spec), spec);
		if (user_id(word, &uid))
			return conf_bad(err, "%s: no such user", word);
		l = own_limits(ret, uid);
		if (!l)
			return conf_bad(err, "more than %u users", CONF_LIMITS);
		spec = colon + 1;
	}
	for (const char *rest = spec; !r && rest;) {
		rest = item(rest, word);
		r = limit_one(l, word, err);
	}
	return r;
}
