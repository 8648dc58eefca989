/* SPDX-License-Identifier: MIT */
/* ctl/adopt.c - segments, control connections and sessions of an engine that was killed
 * A process record names the store's keys of its connection and of its fds; what lacks one of them
 * was never told to the program (V1), or was being ended: it is ended. Each connection is asked to
 * repeat its request (CTL_AGAIN) unless one waits in it: the dead engine may have read one and not
 * answered. Every mailbox is woken once, because a bit may have been set whose wake-up died with
 * the engine.
 * Threads: worker 0's, before any worker runs; before seccomp
 */
#include "stackd/ctl/ctl_int.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "stackd/core/quarantine.h"

static void drop(struct engine *eng, struct kept *k)
{
	sup_close_fds(k->fds, k->cnt);
	if (k->ro_fd >= 0)
		close(k->ro_fd);
	k->cnt = 0;
	ctl_drop(eng, k->m.key);
	k->m.kind = KEEP_NONE;
}

/* ---- segments ---- */

static int seg_adopt(struct engine *eng, struct kept *k)
{
	const struct seg_rec *rec;
	struct seg_ctl c = { .key = k->m.key, .ro_fd = k->ro_fd };
	struct uid_acct *acct;
	struct keep_seg ks;
	struct shm_seg s;
	int r;

	memcpy(&ks, k->m.meta, sizeof(ks));
	rec = ks.seg < STACK_MAX_SEGS ? arena_at(&eng->arena, AR_SEG, ks.seg) : NULL;
	if (!rec || !rec->live || k->cnt != 2 || eng->segs[ks.seg].id) {
		drop(eng, k);
		return 0;
	}
	c.rw_fd = k->fds[1];
	acct = uid_acct(eng, rec->uid);
	r = acct ? shm_seg_map(k->fds[0], k->fds[1], true, &s) : -ENOSPC;
	if (!r) {
		uid_family_open(eng, (uint16_t)ks.seg, acct);
		r = seg_show(eng, (uint16_t)ks.seg, &s, &c);
	}
	close(k->fds[0]);
	k->cnt = 0;
	return r;
}

int ctl_adopt_segs(struct engine *eng)
{
	int r = 0;

	for (struct kept *k = eng->kept; !r && k; k = k->next)
		if (k->m.kind == KEEP_SEG)
			r = seg_adopt(eng, k);
	for (uint16_t i = 1; i < STACK_MAX_SEGS; i++)
		if (!eng->segs[i].id)		/* its fds were never deposited */
			*(struct seg_rec *)arena_at(&eng->arena, AR_SEG, i) =
				(struct seg_rec){ 0 };
	return r;
}

int ctl_adopt_pools(struct engine *eng)
{
	int r = 0;

	for (uint16_t i = 1; !r && i < STACK_MAX_SEGS; i++)
		if (eng->segs[i].id)
			r = seg_pools(eng, i);
	return r;
}

/* ---- a process's fds ---- */

void ctl_wake_kept(const struct kept *k)
{
	struct keep_proc kp;
	uint64_t one = 1;

	memcpy(&kp, k->m.meta, sizeof(kp));
	for (unsigned i = kp.workers; i < k->cnt; i++) {
		struct pollfd p = { .fd = k->fds[i], .events = POLLOUT };

		/* A counter that a program has filled up wakes its reader without us. */
		if (poll(&p, 1, 0) == 1 && p.revents & POLLOUT &&
		    write(k->fds[i], &one, sizeof(one)) < 0)
			continue;
	}
}

/* Doorbells or mailboxes into session @s. Return: 0, -EPROTO, -ENOMEM. */
static int take_proc(struct engine *eng, struct session *s, struct kept *k)
{
	struct keep_proc kp;
	uint32_t *all;

	memcpy(&kp, k->m.meta, sizeof(kp));
	if (kp.workers > SD_MAX_WORKERS || kp.mbox_cnt > SD_CTL_EVENTFDS ||
	    k->cnt != kp.workers + kp.mbox_cnt || (kp.workers && s->doorbells))
		return -EPROTO;
	all = realloc(s->mbox, (s->mbox_cnt + SD_CTL_EVENTFDS) * sizeof(*all));
	if (!all)
		return -ENOMEM;
	s->mbox = all;
	ctl_wake_kept(k);
	for (uint32_t i = 0; i < kp.workers; i++)
		s->doorbell[s->doorbells++] = k->fds[i];
	for (uint32_t i = 0; i < kp.mbox_cnt; i++) {
		uint32_t mbox = kp.mbox[i] % SD_MAX_MBOXES;

		st_rel(&eng->mbox_fd[s->seg][mbox], k->fds[kp.workers + i]);
		s->mbox[s->mbox_cnt++] = mbox;
		app_adopt_mbox(&eng->w[0]->st, s->proc, mbox);
	}
	k->cnt = 0;
	k->m.kind = KEEP_NONE;
	return 0;
}

/* ---- connections ---- */

/* Return: place of the connection, 0 = none. */
static uint32_t conn_adopt(struct engine *eng, struct kept *k)
{
	struct sup_cred cred;
	uint32_t idx;

	if (k->cnt != 1 || quar_find(eng->w[0]->st.quar, QUAR_REQUEST, k->m.key)) {
		drop(eng, k);
		return 0;
	}
	memcpy(&cred, k->m.meta, sizeof(cred));
	idx = conn_open(eng, k->fds[0], k->m.key, &cred);
	k->cnt = 0;
	k->m.kind = KEEP_NONE;
	if (idx)
		eng->ctl->conn[idx].adopted = 1;
	return idx;
}

static void ask_again(struct engine *eng, uint32_t idx)
{
	struct sd_ctl_head again = { CTL_AGAIN, sizeof(again) };
	int fd = eng->ctl->conn[idx].fd;
	char c;

	if (recv(fd, &c, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN)
		sup_send(fd, &again, sizeof(again), NULL, 0, MSG_DONTWAIT);
}

static struct kept *kept_conn(struct engine *eng, uint64_t key)
{
	struct kept *k = eng->kept;

	while (k && !(k->m.kind == KEEP_CONN && k->m.key == key))
		k = k->next;
	return k;
}

/* ---- exports ---- */

void ctl_adopt_exports(struct engine *eng)
{
	for (struct kept *k = eng->kept; k; k = k->next) {
		if (k->m.kind != KEEP_EXPORT)
			continue;
		if (export_adopt(eng, k)) {
			k->cnt = 0;
			k->m.kind = KEEP_NONE;
		} else {
			drop(eng, k);
		}
	}
	export_adopt_rest(eng);
}

/* ---- sessions ---- */

static void session_adopt(void *arg, uint32_t rec, const struct app_proc *p)
{
	struct engine *eng = arg;
	struct session *s = calloc(1, sizeof(*s));
	struct kept *k = kept_conn(eng, p->conn_key);
	uint32_t idx = k ? conn_adopt(eng, k) : 0;
	int r = 0;

	ASSERT(s);
	s->proc = rec;
	s->seg = p->seg;
	s->key = p->fd_key;
	eng->ctl->seg[s->seg].sessions++;
	session_count(eng, s);
	for (k = eng->kept; !r && k; k = k->next)
		if (k->m.kind == KEEP_PROC && k->m.key == p->fd_key)
			r = take_proc(eng, s, k);
	if (!r && idx && s->doorbells == eng->workers && !session_watch(eng, s))
		eng->ctl->conn[idx].ses = s;
	else
		session_end(eng, s);
}

void ctl_adopt_sessions(struct engine *eng)
{
	app_proc_walk(&eng->w[0]->st, session_adopt, eng);
	for (struct kept *k = eng->kept; k; k = k->next) {
		if (k->m.kind == KEEP_CONN)
			conn_adopt(eng, k);
		else if (k->m.kind == KEEP_PROC)
			drop(eng, k);
	}
	while (eng->kept) {
		struct kept *k = eng->kept;

		eng->kept = k->next;
		free(k);
	}
	for (uint32_t i = 1; i < CTL_CONNS; i++)
		if (eng->ctl->conn[i].state == CONN_OPEN)
			ask_again(eng, i);
	for (uint16_t i = 1; i < STACK_MAX_SEGS; i++)
		if (eng->segs[i].id && !eng->ctl->seg[i].sessions)
			seg_leave(eng, i);
}
