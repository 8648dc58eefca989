/* SPDX-License-Identifier: MIT */
/* ctl/uid.c - what the programs of each uid have, and may have
 * A family of programs is its first process's uid's, whatever its members become later: they share
 * a segment. Sockets, received data and ports are counted where they are made, against a budget
 * that all workers share (shm/budget.h); processes and connections here. What programs write into
 * their own half of a segment they need not ask for, so it is measured, once a second: its pages
 * are charged to the same budget as received data. Below zero nobody of the uid gets more chunks,
 * programs are told to take no more (SD_SCARCE_CHUNKS), and those far beyond it, who did not
 * listen, are hung up, the largest family first.
 * Nothing of this is kept: an engine that adopts counts again what is there. Refusals begin at 0.
 * Holds:   U1 an account with a family, a process or a connection is not given to another uid
 * Threads: worker 0's; budgets by all
 */
#include "stackd/ctl/ctl_int.h"

#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define UID_SLOT_BATCH	64u
#define UID_CHUNK_BATCH	256u
/* ATTACH is answered from here on. More than all rings of a busy family hold unread. */
#define UID_SCARCE	16384
#define UID_LOOK_US	1000000u	/* measure programs' pages so often */
#define UID_FLAGS_US	1000u		/* and look at budgets so often */
#define UID_SLACK	65536		/* chunks beyond twice the limit: nobody honest */
#define UID_UNLIMITED	(INT64_MAX / 4)

int uid_init(struct engine *eng)
{
	void *p = mmap(NULL, CTL_UIDS * sizeof(struct uid_acct), PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return -errno;
	eng->ctl->uids = p;
	return 0;
}

static int64_t limit_of(uint64_t n)
{
	return n && n < UID_UNLIMITED ? (int64_t)n : UID_UNLIMITED;
}

static bool unused(const struct uid_acct *a)
{
	return !a->families && !a->procs && !a->conns && !ld_sc(&a->closing);	/* CL1 */
}

static void acct_open(struct engine *eng, struct uid_acct *a, uint32_t uid)
{
	const struct conf_limits *l = conf_limits_of(&eng->conf.access, uid);

	*a = (struct uid_acct){ .used = true, .uid = uid, .limits = *l };
	shm_left_init(&a->budget.slots, limit_of(l->sockets), UID_SLOT_BATCH);
	shm_left_init(&a->budget.chunks, limit_of(l->memory / SD_CHUNK_SIZE), UID_CHUNK_BATCH);
	shm_left_init(&a->budget.ports, limit_of(l->ports), 1);
}

struct uid_acct *uid_acct(struct engine *eng, uint32_t uid)
{
	struct uid_acct *a = eng->ctl->uids, *spare = NULL;

	for (struct uid_acct *end = a + CTL_UIDS; a < end; a++) {
		if (a->used && a->uid == uid)
			return a;
		if (!a->used) {
			spare = a;	/* the rest was never used */
			break;
		}
		if (!spare && unused(a))
			spare = a;
	}
	if (spare)
		acct_open(eng, spare, uid);
	return spare;
}

/* ---- connections, programs ---- */

bool uid_conn_room(struct engine *eng, const struct conn *cn)
{
	struct uid_acct *a = cn->acct;

	if (a && (!a->limits.connections || a->conns <= a->limits.connections))
		return true;
	if (a)
		a->refused_conns++;
	return false;
}

int uid_admit(struct engine *eng, const struct conn *cn, char *text, size_t size)
{
	struct uid_acct *a = cn->acct;

	if (!a) {
		snprintf(text, size, "too many users at once");
		return -EAGAIN;
	}
	if (!(cn->cred.flags & SUP_C_ADMITTED)) {
		a->refused_attach++;
		snprintf(text, size, "uid %u may not use this stackd", cn->cred.uid);
		return -EACCES;
	}
	if (a->limits.processes && a->procs >= a->limits.processes) {
		a->refused_procs++;
		snprintf(text, size, "uid %u has its %llu processes on it already", cn->cred.uid,
			 (unsigned long long)a->limits.processes);
		return -EAGAIN;
	}
	if (ld_rlx(&a->budget.chunks.left) <= 0) {
		add_sc(&a->budget.chunks.refused, 1);
		snprintf(text, size, "uid %u has used up its memory there", cn->cred.uid);
		return -ENOMEM;
	}
	return 0;
}

int uid_fork_room(struct uid_acct *a)
{
	if (!a->limits.processes || a->procs < a->limits.processes)
		return 0;
	a->refused_procs++;
	return -EAGAIN;
}

/* ---- families ---- */

void uid_family_tell(struct engine *eng, uint16_t seg)
{
	const struct uid_acct *a = eng->ctl->seg[seg].acct;
	struct sd_seg_ro *ro = (struct sd_seg_ro *)eng->segs[seg].ro;
	uint32_t now = (ld_rlx(&a->budget.slots.left) < UID_SCARCE ? SD_SCARCE_SLOTS : 0) |
		       (ld_rlx(&a->budget.chunks.left) <= 0 ? SD_SCARCE_CHUNKS : 0);

	if (ld_rlx(&ro->scarce) != now)
		st_rlx(&ro->scarce, now);
}

uint32_t uid_family_chunks(const struct uid_acct *a)
{
	int64_t n = a->budget.chunks.limit;

	return n < SD_CHUNKS ? (uint32_t)n : SD_CHUNKS;
}

void uid_family_open(struct engine *eng, uint16_t seg, struct uid_acct *a)
{
	eng->ctl->seg[seg].acct = a;
	if (seg > eng->ctl->seg_hi)
		eng->ctl->seg_hi = seg;
	a->families++;
}

void uid_family_gone(struct engine *eng, uint16_t seg)
{
	struct seg_ctl *c = &eng->ctl->seg[seg];

	shm_left_charge(&c->acct->budget.chunks, -c->rw_pages);
	c->acct->families--;
	c->acct = NULL;
	c->rw_pages = 0;
}

static void measure(struct engine *eng, uint16_t seg)
{
	struct seg_ctl *c = &eng->ctl->seg[seg];
	struct stat sb;
	int64_t pages;

	if (fstat(c->rw_fd, &sb))
		return;
	pages = (int64_t)sb.st_blocks / (SD_CHUNK_SIZE / 512);
	shm_left_charge(&c->acct->budget.chunks, pages - c->rw_pages);
	c->rw_pages = pages;
}

/* The uid's family that has touched most. 0 = none. */
static uint16_t largest(const struct engine *eng, const struct uid_acct *a)
{
	uint16_t most = 0;

	for (uint16_t i = 1; i < STACK_MAX_SEGS; i++)
		if (eng->ctl->seg[i].acct == a &&
		    (!most || eng->ctl->seg[i].rw_pages > eng->ctl->seg[most].rw_pages))
			most = i;
	return most;
}

static void hang_up_beyond(struct engine *eng)
{
	for (struct uid_acct *a = eng->ctl->uids; a < eng->ctl->uids + CTL_UIDS && a->used; a++) {
		const struct shm_left *l = &a->budget.chunks;
		uint16_t seg;

		if (!a->limits.memory || ld_rlx(&l->left) >= -l->limit - UID_SLACK)
			continue;
		seg = largest(eng, a);
		if (seg && ctl_family_bad(eng, seg, CONN_BAD_MEMORY))
			add_sc(&a->budget.chunks.refused, 1);
	}
}

unsigned uid_poll(struct engine *eng)
{
	struct ctl_state *c = eng->ctl;
	uint64_t now = eng->w[0]->st.now_us;
	bool look = now >= c->uid_look_us;

	if (now < c->uid_flags_us)
		return 0;
	c->uid_flags_us = now + UID_FLAGS_US;
	if (look)
		c->uid_look_us = now + UID_LOOK_US;
	for (uint16_t i = 1; i <= c->seg_hi; i++) {
		if (!c->seg[i].acct || !eng->segs[i].ro)
			continue;
		if (look)
			measure(eng, i);
		uid_family_tell(eng, i);
	}
	if (look)
		hang_up_beyond(eng);
	return 0;
}

uint64_t uid_idle_us(const struct engine *eng)
{
	uint64_t now = eng->w[0]->st.now_us, due = eng->ctl->uid_look_us;

	for (const struct uid_acct *a = eng->ctl->uids; a < eng->ctl->uids + CTL_UIDS && a->used;
	     a++)
		if (a->procs)
			return due > now ? due - now : 0;
	return UINT64_MAX;
}

/* ---- show ---- */

struct uid_use {
	int64_t sockets, chunks, ports;
};

static json_t *json_limit(uint64_t n)
{
	return n ? json_integer((json_int_t)n) : json_null();
}

static json_t *one_uid(const struct uid_acct *a, const struct uid_use *u)
{
	const struct conf_limits *l = &a->limits;

	return json_pack("{sI sI sI so sI so sI so sI so sI so sI sI sI sI sI sI}",
		"uid", (json_int_t)a->uid, "families", (json_int_t)a->families,
		"processes", (json_int_t)a->procs, "processes_max", json_limit(l->processes),
		"connections", (json_int_t)a->conns, "connections_max", json_limit(l->connections),
		"sockets", (json_int_t)u->sockets, "sockets_max", json_limit(l->sockets),
		"memory", (json_int_t)u->chunks * SD_CHUNK_SIZE, "memory_max",
		json_limit(l->memory),
		"ports", (json_int_t)u->ports, "ports_max", json_limit(l->ports),
		"refused_attach", (json_int_t)a->refused_attach,
		"refused_processes", (json_int_t)a->refused_procs,
		"refused_connections", (json_int_t)a->refused_conns,
		"refused_sockets", (json_int_t)ld_rlx(&a->budget.slots.refused),
		"refused_memory", (json_int_t)ld_rlx(&a->budget.chunks.refused),
		"refused_ports", (json_int_t)ld_rlx(&a->budget.ports.refused));
}

/* @list: by worker and segment, as show_programs_part() made it. */
json_t *show_users(struct engine *eng, json_t *list)
{
	struct uid_use use[STACK_MAX_SEGS] = { 0 };
	json_t *o, *users = json_array();
	size_t i;

	json_array_foreach(list, i, o) {
		struct uid_use *u = &use[json_integer_value(json_object_get(o, "segment"))];

		u->sockets += json_integer_value(json_object_get(o, "slots"));
		u->chunks += json_integer_value(json_object_get(o, "chunks"));
	}
	json_decref(list);
	for (const struct uid_acct *a = eng->ctl->uids; a < eng->ctl->uids + CTL_UIDS && a->used;
	     a++) {
		struct uid_use sum = { 0 };

		for (uint16_t s = 1; s < STACK_MAX_SEGS; s++) {
			if (eng->ctl->seg[s].acct != a)
				continue;
			sum.sockets += use[s].sockets;
			sum.chunks += use[s].chunks + eng->ctl->seg[s].rw_pages;
			sum.ports += sock_ports_used(&eng->w[0]->st, s);
		}
		json_array_append_new(users, one_uid(a, &sum));
	}
	return users;
}
