/* SPDX-License-Identifier: MIT */
/* engine/adopt.c - go on where an engine that was killed stopped
 * The supervisor hands over what was deposited: arena, segments, fds of programs, control
 * connections. Arena and segments say what there is; tables, pools, lists and timers are made from
 * them, room by room, each after the ones whose objects it checks against (DESIGN.md, "Adoption").
 * What was in hand at two crashes in a row is put away (quarantine.c).
 * Threads: worker 0's, before any worker runs
 */
#include "stackd/engine/engine_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "stackd/core/clock.h"
#include "stackd/ctl/ctl.h"

#define UNREADY_MAX 4u		/* engines that die before they are ready, until all is given up */

/* The engine-written half once more, to be handed out: as in the supervisor, while this process
 * may. */
static int open_read_only(int fd)
{
	char path[40];
	int ro;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	ro = open(path, O_RDONLY | O_CLOEXEC);
	return ro < 0 ? -1 : ro;
}

int adopt_take(struct engine *eng, const struct sup_msg *m, const int *fds, unsigned cnt)
{
	struct kept *k = calloc(1, sizeof(*k)), **at = &eng->kept;

	if (!k || cnt > SUP_MAXFDS) {
		sup_close_fds(fds, cnt);
		free(k);
		return k ? -EPROTO : -ENOMEM;
	}
	k->m = *m;
	k->cnt = cnt;
	memcpy(k->fds, fds, cnt * sizeof(int));
	k->ro_fd = m->kind == KEEP_SEG && cnt ? open_read_only(fds[0]) : -1;
	while (*at)
		at = &(*at)->next;
	*at = k;
	return 0;
}

/* ---- nothing fits ---- */

/* The programs see their control connections hang up; those that sleep would not look. */
static void let_go(struct engine *eng, struct kept *k)
{
	struct sup_msg drop = { .type = ENG_DROP, .key = k->m.key };

	if (k->m.kind == KEEP_PROC)
		ctl_wake_kept(k);
	sup_close_fds(k->fds, k->cnt);
	if (k->ro_fd >= 0)
		close(k->ro_fd);
	if (sup_send(eng->chan, &drop, sizeof(drop), NULL, 0, 0))
		engine_log("the supervisor does not listen");
}

static void let_all_go(struct engine *eng)
{
	while (eng->kept) {
		struct kept *k = eng->kept;

		eng->kept = k->next;
		let_go(eng, k);
		free(k);
	}
}

bool adopt_arena(struct engine *eng)
{
	for (struct kept *k = eng->kept; k; k = k->next) {
		int r;

		if (k->m.kind != KEEP_ARENA || k->cnt != 1)
			continue;
		if (eng->unready >= UNREADY_MAX) {
			engine_log("%u engines in a row died of what an earlier one left: it is "
				   "given up, its programs are hung up", eng->unready);
			break;
		}
		r = arena_map(k->fds[0], abi_id, &eng->arena);
		if (!r && eng->arena.hdr->workers == eng->workers) {
			eng->adopts = true;
			return true;
		}
		engine_log("an earlier engine's memory does not fit this one: its programs are "
			   "hung up");
		if (!r)
			arena_unmap(&eng->arena);
		break;
	}
	let_all_go(eng);
	return false;
}

/* ---- all of it ---- */

int adopt_all(struct engine *eng)
{
	struct stack *st[SD_MAX_WORKERS];
	uint64_t begin = clock_mono_us();
	unsigned n = eng->workers, w;
	int r = ctl_adopt_pools(eng);

	for (w = 0; w < n; w++) {
		st[w] = &eng->w[w]->st;
		st[w]->now_us = clock_mono_us();
	}
	for (w = 0; !r && w < n; w++)
		r = sock_adopt(st[w]);
	if (r)
		return r;
	for (w = 0; w < n; w++) {
		app_adopt_procs(st[w]);
		tcp_adopt(st[w], st[0]);
		udp_adopt(st[w], st[0]);
	}
	ctl_adopt_exports(eng);
	quarantine_judge(eng);
	for (uint16_t seg = 1; !r && seg < STACK_MAX_SEGS; seg++)
		if (stack_seg(st[0], seg))
			r = app_adopt_slots(st, n, seg);
	if (r)
		return r;
	sock_adopt_bounds(st[0]);
	for (w = 0; w < n; w++)
		tcp_adopt_finish(st[w]);
	sock_adopt_finish(st[0]);	/* before a close may come once more */
	for (uint16_t seg = 1; seg < STACK_MAX_SEGS; seg++)
		if (stack_seg(st[0], seg))
			app_adopt_finish(st, n, seg);
	ctl_adopt_sessions(eng);
	engine_log("adopted what the engine before left, in %llu us",
		   (unsigned long long)(clock_mono_us() - begin));
	return 0;
}
