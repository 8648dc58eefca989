/* SPDX-License-Identifier: MIT */
/* ctl/sysctl.c - `stackctl sysctl`: NAME reads, NAME=VALUE writes, -a reads all
 * Settings lie in the arena (core/sysctl.h); what programs see of them without asking, on the info
 * page, is written here as well. Writing is root's and the engine's own user's.
 * Threads: worker 0
 */
#include "stackd/ctl/ctl_int.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "stackd/tcp/tcp.h"

#define VALUE_MAX 1024

/* What is fixed at start. */
static json_t *fixed(struct engine *eng, const char *name)
{
	if (!strcmp(name, "stackd.spin_ns"))
		return json_integer(eng->info->spin_ns);
	if (!strcmp(name, "stackd.workers"))
		return json_integer(eng->info->workers);
	if (!strcmp(name, "net.ipv4.tcp_available_congestion_control"))
		return json_string(tcp_cc_list());
	return NULL;
}
static const char *const fixed_names[] = { "stackd.spin_ns", "stackd.workers",
					   "net.ipv4.tcp_available_congestion_control" };

void ctl_sysctl_publish(struct engine *eng)
{
	const struct sysctl *s = eng->w[0]->st.sys;

	st_rlx(&eng->info->somaxconn, s->somaxconn);
	st_rlx(&eng->info->def_sndbuf, s->tcp_wmem[1]);
	st_rlx(&eng->info->def_rcvbuf, s->tcp_rmem[1]);
	st_rlx(&eng->info->max_sndbuf, s->wmem_max);
	st_rlx(&eng->info->max_rcvbuf, s->rmem_max);
	st_rlx(&eng->info->port_start, s->ip_unprivileged_port_start);
}

static json_t *value_of(struct engine *eng, const struct sysctl_def *d)
{
	char buf[VALUE_MAX];

	sysctl_get(eng->w[0]->st.sys, d, buf, sizeof(buf));
	if (d->check != SYSCTL_IS_NUM || d->cnt > 1)
		return json_string(buf);
	return json_integer((json_int_t)strtoull(buf, NULL, 10));
}

static void all(struct engine *eng, json_t *top)
{
	const struct sysctl_def *d;

	for (unsigned i = 0; (d = sysctl_at(i)); i++)
		json_object_set_new(top, d->name, value_of(eng, d));
	for (unsigned i = 0; i < sizeof(fixed_names) / sizeof(fixed_names[0]); i++)
		json_object_set_new(top, fixed_names[i], fixed(eng, fixed_names[i]));
}

static int one(struct engine *eng, const char *text, bool may_write, json_t *top)
{
	size_t len = strcspn(text, "=");
	const struct sysctl_def *d = sysctl_find(text, len);
	json_t *v;
	int r = 0;

	if (!d) {
		v = text[len] ? NULL : fixed(eng, text);
		return v ? json_object_set_new(top, text, v) : -ENOENT;
	}
	if (text[len] && !may_write)
		return -EPERM;
	if (text[len])
		r = sysctl_set(eng->w[0]->st.sys, d, text + len + 1, tcp_cc_known);
	if (!r)
		json_object_set_new(top, d->name, value_of(eng, d));
	if (text[len])
		ctl_sysctl_publish(eng);
	return r;
}

int show_sysctl(struct engine *eng, const struct sup_cred *who, const char *text, char **ret_text)
{
	json_t *top = json_object();
	int r = 0;

	if (!strcmp(text, "-a"))
		all(eng, top);
	else
		r = one(eng, text, who->uid == 0 || who->uid == eng->conf.uid, top);
	*ret_text = r ? NULL : json_dumps(top, JSON_COMPACT);
	json_decref(top);
	return r ? r : *ret_text ? 0 : -ENOMEM;
}
