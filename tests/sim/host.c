/* SPDX-License-Identifier: MIT */
/* tests/sim/host.c - one host: a stack of one worker, its segment, its loop
 * host_turn() is the engine's loop; host_fini() checks that nothing is left of anything.
 */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/sim/sim.h"

static void must(struct sim_host *h, int err, const char *what)
{
	if (err)
		sim_fail(h->sim, "host %u: %s: %s", h->no, what, strerror(-err));
}

struct sd_addr host_addr(unsigned no)
{
	return sd_addr_v4(cpu_to_be32(0xc0000200u + no + 1));	/* 192.0.2.1, .2 */
}

/* ---- the way up ---- */

static uint32_t *ev_word(struct sim_host *h, uint32_t slot)
{
	uint32_t i = slot < SD_SLOTS_P ? slot : slot - SD_SLOTS_P;

	if (i >= SIM_SLOTS)
		sim_fail(h->sim, "host %u: slot %u beyond what the simulator tracks", h->no, slot);
	return &h->ev[slot >= SD_SLOTS_P][i];
}

uint32_t host_take_ev(struct sim_host *h, uint32_t slot)
{
	uint32_t *w = ev_word(h, slot), ev = *w;

	*w = 0;
	return ev;
}

static void up_event(struct stack *st, struct sock_id id, uint32_t ev)
{
	struct sim_host *h = st->up_arg;

	*ev_word(h, id.slot) |= ev;
	h->woken = true;
}

static void up_reply(struct stack *st, struct stack_reply_to to, int err, const void *data,
		     uint32_t len)
{
	struct sim_host *h = st->up_arg;

	h->reply_err = err;
	h->reply_len = len;
	if (len)
		memcpy(h->reply, data, len);
}

/* One worker: nobody to send to. */
static bool up_send(struct stack *st, uint16_t to, const struct stack_msg *msg)
{
	return false;
}

static const struct stack_up up = { .reply = up_reply, .event = up_event, .send = up_send };

/* ---- start ---- */

static void make_arena(struct sim_host *h)
{
	struct arena_region_def defs[AR_MAX];

	for (unsigned i = 0; i < AR_MAX; i++)
		defs[i] = (struct arena_region_def){ 64, 2 };
	defs[AR_BOUND] = (struct arena_region_def){ sizeof(struct sock_bound), 1024 };
	defs[AR_LISTENER] = (struct arena_region_def){ sizeof(struct sock_listener), 64 };
	defs[AR_TCB] = (struct arena_region_def){ tcp_tcb_size(), 1024 };
	defs[AR_TW] = (struct arena_region_def){ tcp_tw_size(), 1024 };
	defs[AR_NEIGH] = (struct arena_region_def){ sizeof(struct neigh_rec), NEIGH_MAX };
	defs[AR_SYSCTL] = (struct arena_region_def){ sizeof(struct sysctl), 2 };
	must(h, arena_create(1, defs, 1, &h->arena), "arena");
}

static void make_segment(struct sim_host *h)
{
	int ro, rw;

	must(h, shm_seg_create(SIM_SEG, 1, &ro, &rw), "segment");
	must(h, shm_seg_map(ro, rw, true, &h->segs[SIM_SEG]), "segment map");
	close(ro);
	close(rw);
	shm_espan_init(&h->span);
	must(h, shm_epool_init(&h->epools[SIM_SEG], &h->span), "epool");
	h->chunks_free = shm_pchunk_free_cnt(&h->segs[SIM_SEG]);
}

static void make_stack(struct sim_host *h, struct nic *nic)
{
	struct pkt_pool_conf pc = { .small_cnt = 1024, .big_cnt = 64, .numa_node = -1 };
	struct sd_addr a = host_addr(h->no);
	struct stack *st = &h->st;

	*st = (struct stack){ .workers = 1, .now_us = h->sim->now_us, .arena = &h->arena,
			      .cnt = &h->cnt, .intent = &h->intent, .segs = h->segs,
			      .epools = h->epools, .up = &up, .up_arg = h, .nic = nic };
	rng_seed(st->rng_state, h->sim->seed * 2 + h->no);
	st->boot_secret[0] = rng_u64(st->rng_state);
	st->boot_secret[1] = rng_u64(st->rng_state);
	must(h, wheel_create(st->now_us, &st->wheel), "wheel");
	must(h, pkt_pool_create(&pc, &st->pool), "packets");
	must(h, link_init(st), "link");
	must(h, ip_init(st), "ip");
	must(h, sock_init(st), "sock");
	must(h, tcp_init(st), "tcp");
	must(h, ip_add_addr(st, &a, 120), "address");
}

void host_init(struct sim_host *h, struct sim *sim, unsigned no, struct nic *nic)
{
	h->sim = sim;
	h->no = no;
	make_arena(h);
	make_segment(h);
	make_stack(h, nic);
}

/* ---- the loop ---- */

static void check_tcbs(struct sim_host *h)
{
	struct idx_pool *p = &h->st.tcp->tcbs;

	for (uint32_t i = p->first; i < p->bump; i++) {
		const struct tcb *tcb = tcb_at(&h->st, i);

		if (!tcb)
			continue;
		tcb_assert(&h->st, tcb);
		if (tcb->state != SD_ST_SYN_SENT && tcb->state != SD_ST_SYN_RECV)
			txq_assert(&h->st, tcb);
		/* I4, and no sender without a timer */
		if (pos_lt(tcb->snd_nxt, tcb->snd_tail) && !tcb->dl[DL_RTO] &&
		    !tcb->dl[DL_PERSIST] && tcb->state != SD_ST_SYN_SENT &&
		    tcb->state != SD_ST_SYN_RECV)
			sim_fail(h->sim, "host %u: data to send and no timer", h->no);
		if (!wheel_armed(&tcb->tm) && tcb->snd_una != tcb->snd_nxt)
			sim_fail(h->sim, "host %u: outstanding data and the wheel is not armed",
				 h->no);
	}
}

void host_turn(struct sim_host *h)
{
	struct stack *st = &h->st;

	st->now_us = h->sim->now_us;
	while (link_poll(st, 64) == 64)
		;
	ip_poll_local(st);
	h->woken = false;
	prog_turn(h);
	wheel_advance(st->wheel, st->now_us);
	tcp_flush(st);
	link_flush(st);
	check_tcbs(h);
}

/* ---- the end ---- */

static void none_left(struct sim_host *h, uint64_t n, const char *what)
{
	if (n)
		sim_fail(h->sim, "host %u: %lu %s left at the end", h->no, (unsigned long)n, what);
}

void host_fini(struct sim_host *h)
{
	struct stack *st = &h->st;

	shm_magazine_flush(&h->segs[SIM_SEG], &h->mag);
	none_left(h, tcp_tcb_used(st), "TCBs");
	none_left(h, tcp_tw_used(st), "TIME_WAIT entries");
	none_left(h, st->tcp->rngs.used, "range lists");
	none_left(h, st->tcp->txrs.used, "transmit records");
	none_left(h, sock_ecount(st), "hash entries");
	none_left(h, (uint64_t)sock_slot_used(st, SIM_SEG), "slots");
	none_left(h, h->epools[SIM_SEG].chunk_used, "receive chunks");
	none_left(h, h->chunks_free - shm_pchunk_free_cnt(&h->segs[SIM_SEG]), "send chunks");
	none_left(h, st->cnt->snmp[SNMP_Tcp_CurrEstab], "in CurrEstab");
	tcp_fini(st);
	sock_fini(st);
	ip_fini(st);
	link_fini(st);
	none_left(h, pkt_pool_used(st->pool), "packets");
	pkt_pool_destroy(st->pool);
	wheel_destroy(st->wheel);
	shm_epool_fini(&h->epools[SIM_SEG]);
	shm_seg_unmap(&h->segs[SIM_SEG]);
	arena_unmap(&h->arena);
	close(h->arena.fd);
}
