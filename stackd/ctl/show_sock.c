/* SPDX-License-Identifier: MIT */
/* ctl/show_sock.c - show sockets, show programs
 * Threads: the part functions on their worker's thread; the rest on worker 0's
 */
#include "stackd/ctl/ctl_int.h"

#include <arpa/inet.h>
#include <stdlib.h>

#include "shm/opentab.h"

#define SHOW_FDS	8192		/* numbers looked at of one process: worker 0 does it */

/* ---- sockets ---- */

struct sock_list {
	struct worker *w;
	json_t *list;
};

static json_t *sock_entry(const struct sock_list *l, const char *proto, const char *state,
			  const struct sock_tuple *t, struct sock_id id)
{
	char la[INET6_ADDRSTRLEN], ra[INET6_ADDRSTRLEN];

	return json_pack("{ss ss ss si ss si si si si}", "proto", proto, "state", state,
			 "laddr", show_addr(&t->laddr, la), "lport", t->lport,
			 "raddr", show_addr(&t->raddr, ra), "rport", t->rport,
			 "segment", id.seg, "slot", id.slot, "worker", l->w->st.worker);
}

static void add_int(json_t *o, const char *key, uint64_t v)
{
	json_object_set_new(o, key, json_integer((json_int_t)v));
}

static void one_tcp(void *arg, const struct tcp_show *t)
{
	const struct sock_list *l = arg;
	json_t *o = sock_entry(l, "tcp", t->state, &t->t, t->id);

	add_int(o, "rcvq", t->rcvq);
	add_int(o, "sndq", t->sndq);
	add_int(o, "bytes_in", t->bytes_in);
	add_int(o, "bytes_out", t->bytes_out);
	add_int(o, "cwnd", t->cwnd);
	add_int(o, "ssthresh", t->ssthresh);
	add_int(o, "srtt_us", t->srtt_us);
	add_int(o, "rto_us", t->rto_us);
	add_int(o, "mss", t->mss);
	add_int(o, "retrans", t->retrans);
	json_object_set_new(o, "cc", json_string(t->cc ? t->cc : ""));
	add_int(o, "timer", t->timer);
	json_array_append_new(l->list, o);
}

static void one_udp(void *arg, const struct udp_show *u)
{
	const struct sock_list *l = arg;
	json_t *o = sock_entry(l, "udp", u->t.rport ? "ESTABLISHED" : "UNCONN", &u->t, u->id);

	add_int(o, "rcvq", u->rcvq);
	add_int(o, "drops", u->drops);
	json_array_append_new(l->list, o);
}

static void one_bound(void *arg, uint32_t idx, const struct sock_bound *b)
{
	const struct sock_list *l = arg;
	const struct sd_slot_e *e;
	const struct sock_listener *ls;
	json_t *o;

	if (b->proto != IPPROTO_TCP || (b->state != SOCK_B_LISTEN && b->state != SOCK_B_BOUND))
		return;
	o = sock_entry(l, "tcp", b->state == SOCK_B_LISTEN ? "LISTEN" : "CLOSE", &b->t, b->id);
	e = b->state == SOCK_B_LISTEN ? sock_slot_e(&l->w->st, b->id) : NULL;
	ls = e && OBJ_KIND(e->obj) == OBJ_LISTENER ?
	     arena_at(l->w->st.arena, AR_LISTENER, OBJ_IDX(e->obj)) : NULL;
	if (ls)
		add_int(o, "backlog", ls->backlog);
	json_array_append_new(l->list, o);
}

/* A thousand of them at a time: an entry takes about 3 KiB until it is sent. */
void show_sockets(struct worker *w, struct show_pos *p, json_t *list)
{
	enum { BOUND = 0, TCP, UDP };
	struct sock_list l = { w, list };
	const uint32_t max = SHOW_PIECE;

	if (p->stage == BOUND)
		p->pos = w->st.worker == 0 ?
			 sock_bound_walk(&w->st, p->pos, max, one_bound, &l) : 0;
	else if (p->stage == TCP)
		p->pos = tcp_walk(&w->st, p->pos, max, one_tcp, &l);
	else
		p->pos = udp_walk(&w->st, p->pos, max, one_udp, &l);
	if (!p->pos && p->stage++ == UDP)
		p->end = true;
}

/* ---- programs ---- */

/* What this worker has of each segment. */
void show_programs_part(struct worker *w, json_t *list)
{
	for (uint16_t i = 1; i < STACK_MAX_SEGS; i++) {
		if (!stack_seg(&w->st, i))
			continue;
		json_array_append_new(list, json_pack("{si sI sI}", "segment", i,
			"slots", (json_int_t)sock_slot_used(&w->st, i),
			"chunks", (json_int_t)w->st.epools[i].chunk_used));
	}
}

struct proc_list {
	struct engine *eng;
	json_t *list;
	int64_t slots[STACK_MAX_SEGS], rx_chunks[STACK_MAX_SEGS];
};

static void one_proc(void *arg, uint32_t rec, const struct app_proc *p)
{
	struct proc_list *l = arg;
	const struct shm_seg *seg = stack_seg(&l->eng->w[0]->st, p->seg);
	const struct sd_proc *sp = seg ? shm_proc(seg, p->idx) : NULL;
	char comm[sizeof(p->comm)];

	if (!p->live || !sp)
		return;
	memcpy(comm, p->comm, sizeof(comm));
	for (char *c = comm; c < comm + sizeof(comm) && *c; c++)
		*c = *c < ' ' || *c > '~' ? '?' : *c;	/* it must be UTF-8 */
	comm[sizeof(comm) - 1] = '\0';
	json_array_append_new(l->list, json_pack("{sI ss sI si si sI sI sI}",
		"pid", (json_int_t)(p->pid ? p->pid : ld_rlx(&sp->pid)), "comm", comm,
		"uid", (json_int_t)p->uid, "segment", p->seg, "process", p->idx,
		"slots", (json_int_t)l->slots[p->seg],
		"rx_chunks", (json_int_t)l->rx_chunks[p->seg],
		"tx_chunks", (json_int_t)(SD_CHUNKS - 1 - shm_pchunk_free_cnt(seg))));
}

json_t *show_programs(struct engine *eng, json_t *list)
{
	struct proc_list *l = calloc(1, sizeof(*l));
	json_t *o, *procs = json_array();
	size_t i;

	if (!l)
		return list;
	l->eng = eng;
	l->list = procs;
	json_array_foreach(list, i, o) {
		size_t seg = (size_t)json_integer_value(json_object_get(o, "segment"));

		l->slots[seg] += json_integer_value(json_object_get(o, "slots"));
		l->rx_chunks[seg] += json_integer_value(json_object_get(o, "chunks"));
	}
	json_decref(list);
	app_proc_walk(&eng->w[0]->st, one_proc, l);
	free(l);
	return procs;
}

/* ---- fds ---- */

static void fds_of_proc(void *arg, uint32_t rec, const struct app_proc *p)
{
	static const char *const kind[] = {
		[SD_OFD_SOCK] = "socket", [SD_OFD_EPOLL] = "epoll", [SD_OFD_SHIM] = "shim" };
	struct proc_list *l = arg;
	const struct shm_seg *seg = stack_seg(&l->eng->w[0]->st, p->seg);
	const struct sd_proc *sp = seg ? shm_proc(seg, p->idx) : NULL;
	int len = p->live && sp ? shm_opentab_len(sp) : 0;

	for (int fd = 0; fd < len && fd < SHOW_FDS; fd++) {
		sd_ofd o = shm_ofd_get(sp, fd);
		uint32_t k = SD_OFD_KIND(o);

		if (!o || k > SD_OFD_SHIM || !kind[k])
			continue;
		json_array_append_new(l->list, json_pack("{sI si ss si sI}", "pid",
			(json_int_t)(p->pid ? p->pid : ld_rlx(&sp->pid)), "fd", fd,
			"kind", kind[k], "segment", p->seg, "slot", (json_int_t)SD_OFD_IDX(o)));
	}
}

json_t *show_fds(struct engine *eng, json_t *list)
{
	struct proc_list *l = calloc(1, sizeof(*l));

	if (!l)
		return list;
	l->eng = eng;
	l->list = list;
	app_proc_walk(&eng->w[0]->st, fds_of_proc, l);
	free(l);
	return list;
}
