/* SPDX-License-Identifier: MIT */
/* tests/sim/host.c - one host: a stack of one worker, its segment, its loop; the clock of all
 * host_turn() is the engine's loop; host_fini() checks that nothing is left of anything. The memory
 * stays for the next seed: what is empty is as good as new, and making it anew costs more than most
 * seeds take.
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
	defs[AR_TCB] = (struct arena_region_def){ tcp_tcb_size(), SIM_SLOTS };
	defs[AR_TW] = (struct arena_region_def){ tcp_tw_size(), 1024 };
	defs[AR_NEIGH] = (struct arena_region_def){ sizeof(struct neigh_rec), NEIGH_MAX };
	defs[AR_SYSCTL] = (struct arena_region_def){ sizeof(struct sysctl), 2 };
	must(h, arena_create(1, defs, 1, &h->mem->arena), "arena");
}

static void make_segment(struct sim_host *h)
{
	struct host_mem *m = h->mem;
	int ro, rw;

	must(h, shm_seg_create(SIM_SEG, 1, &ro, &rw), "segment");
	must(h, shm_seg_map(ro, rw, true, &m->seg), "segment map");
	close(ro);
	close(rw);
	shm_espan_init(&m->span);
	must(h, shm_epool_init(&m->epool, &m->span), "epool");
	m->chunks_free = shm_pchunk_free_cnt(&m->seg);
}

static void take_mem(struct sim_host *h)
{
	struct pkt_pool_conf pc = { .small_cnt = 1024, .big_cnt = 64, .numa_node = -1 };
	struct host_mem *m = h->mem = &h->sim->mem[h->no];
	const struct arena_hdr *hdr;
	struct shm_accept_prod none;

	if (!m->made) {
		make_arena(h);
		make_segment(h);
		must(h, pkt_pool_create(&pc, &m->pool), "packets");
		m->made = true;
	}
	shm_accept_reset(shm_accept_ring(&m->seg, 0), &none);	/* the one that a host has */
	hdr = m->arena.hdr;
	memset(m->arena.base + sizeof(*hdr), 0, hdr->size - sizeof(*hdr));
	h->segs[SIM_SEG] = m->seg;
	h->epools[SIM_SEG] = m->epool;
}

void host_mem_free(struct host_mem *m)
{
	if (!m->made)
		return;
	pkt_pool_destroy(m->pool);
	shm_epool_fini(&m->epool);
	shm_seg_unmap(&m->seg);
	arena_unmap(&m->arena);
	close(m->arena.fd);
	m->made = false;
}

static void make_stack(struct sim_host *h, struct nic *nic)
{
	struct sd_addr a = host_addr(h->no);
	struct stack *st = &h->st;

	*st = (struct stack){ .workers = 1, .now_us = h->sim->now_us, .arena = &h->mem->arena,
			      .cnt = &h->cnt, .intent = &h->intent, .segs = h->segs,
			      .epools = h->epools, .up = &up, .up_arg = h, .nic = nic,
			      .pool = h->mem->pool };
	rng_seed(st->rng_state, h->sim->seed * SIM_HOSTS + h->no);
	st->boot_secret[0] = rng_u64(st->rng_state);
	st->boot_secret[1] = rng_u64(st->rng_state);
	must(h, wheel_create(st->now_us, &st->wheel), "wheel");
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
	take_mem(h);
	make_stack(h, nic);
}

/* ---- the loop ---- */

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
	check_host(h);
	h->next_known = false;
}

/* Only its own turn changes it. */
static uint64_t host_next_us(struct sim_host *h)
{
	uint64_t t;

	if (h->woken || ip_local_pending(&h->st))
		return h->sim->now_us;
	if (!h->next_known) {
		h->next_us = wheel_next_us(h->st.wheel);
		t = prog_next_us(h->sim, h);
		h->next_us = t < h->next_us ? t : h->next_us;
		h->next_known = true;
	}
	return h->next_us;
}

void sim_poke(struct sim *s)
{
	for (unsigned i = 0; i < s->hosts; i++)
		s->host[i].next_known = false;
}

uint64_t sim_next_us(struct sim *s)
{
	uint64_t next = net_next_us(s->net), t;

	for (unsigned i = 0; i < s->hosts; i++) {
		t = host_next_us(&s->host[i]);
		next = t < next ? t : next;
	}
	return next;
}

void sim_step(struct sim *s, uint64_t at_us)
{
	s->now_us = at_us > s->now_us ? at_us : s->now_us + 1;
	net_run(s->net, s->now_us);
	for (unsigned i = 0; i < s->hosts; i++)
		if (net_arrived(s->net, i) || host_next_us(&s->host[i]) <= s->now_us)
			host_turn(&s->host[i]);
}

bool sim_quiet(struct sim *s)
{
	for (unsigned i = 0; i < s->hosts; i++)
		if (tcp_tcb_used(&s->host[i].st) || tcp_tw_used(&s->host[i].st))
			return false;
	return net_next_us(s->net) == UINT64_MAX;
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
	none_left(h, st->tcp->orphans, "orphans counted");
	none_left(h, sock_ecount(st), "hash entries");
	none_left(h, (uint64_t)sock_slot_used(st, SIM_SEG), "slots");
	none_left(h, h->epools[SIM_SEG].chunk_used, "receive chunks");
	none_left(h, h->mem->chunks_free - shm_pchunk_free_cnt(&h->segs[SIM_SEG]), "send chunks");
	none_left(h, st->cnt->snmp[SNMP_Tcp_CurrEstab], "in CurrEstab");
	tcp_fini(st);
	sock_fini(st);
	ip_fini(st);
	link_fini(st);
	none_left(h, pkt_pool_used(st->pool), "packets");
	wheel_destroy(st->wheel);
	h->mem->seg = h->segs[SIM_SEG];
	h->mem->epool = h->epools[SIM_SEG];
}
