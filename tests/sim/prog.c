/* SPDX-License-Identifier: MIT */
/* tests/sim/prog.c - programs on simulated hosts: the shim's part of the contract
 * Commands, slots, FIFOs, listeners. An end of a connection runs (end.c) only when an event woke it
 * or its own alarm rang. Bytes are a function of key and position, so the reader verifies each.
 */
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "tests/sim/sim.h"

static struct shm_seg *seg_of(struct sim_host *h)
{
	return &h->segs[SIM_SEG];
}

struct sd_slot_e *end_slot_e(const struct sim_end *x)
{
	return shm_slot_e(seg_of(x->h), x->id.slot);
}

struct sd_slot_p *end_slot_p(const struct sim_end *x)
{
	return shm_slot_p(seg_of(x->h), x->id.slot);
}

/* Eight bytes at a time. */
static uint64_t word(uint32_t key, uint64_t i)
{
	uint64_t v = (i + ((uint64_t)key << 32)) * 0x9e3779b97f4a7c15ull;

	v = (v ^ v >> 32) * 0xd6e8feb86659fd93ull;
	return v ^ v >> 29;
}

void sim_fill(uint32_t key, uint64_t pos, uint8_t *to, uint64_t n)
{
	uint64_t skip = pos % 8, i = pos / 8, w;

	if (skip && n) {
		uint64_t take = u64_min(8 - skip, n);

		w = word(key, i++) >> 8 * skip;
		memcpy(to, &w, take);
		to += take;
		n -= take;
	}
	for (; n >= 8; n -= 8, to += 8) {
		w = word(key, i++);
		memcpy(to, &w, 8);
	}
	w = word(key, i);
	memcpy(to, &w, n);
}

/* ---- commands ---- */

static struct sock_cmd cmd_for(struct sock_id id, uint16_t op)
{
	return (struct sock_cmd){ .id = id, .op = op, .cred = { .low_ports = true },
				  .reply = { .seg = SIM_SEG, .mbox = 1 } };
}

/* What app/ does with a command. Return: the reply's error. */
static int command(struct sim_host *h, struct sock_cmd *c)
{
	struct sd_slot_e *e = sock_slot_e(&h->st, c->id);
	const struct sock_ops *ops = &tcp_sock_ops;

	h->reply_err = 0;
	if (!e || e->flags & SD_E_CLOSED)
		sim_fail(h->sim, "host %u: command %u for a slot not in service", h->no, c->op);
	switch (c->op) {
	case SD_OP_LISTEN:
		ops->listen(&h->st, c, e->obj);
		break;
	case SD_OP_BIND:
		ops->bind(&h->st, c, e->obj);
		break;
	case SD_OP_CONNECT:
		ops->connect(&h->st, c, e->obj);
		break;
	case SD_OP_SHUTDOWN:
		ops->shutdown(&h->st, c, e->obj);
		break;
	case SD_OP_GETINFO:
		ops->getinfo(&h->st, c, e->obj);
		break;
	case SD_OP_CLOSE:
		e->flags |= SD_E_CLOSED;
		if (e->obj)
			ops->close(&h->st, c, e->obj);
		else
			sock_slot_free(&h->st, c->id);
		break;
	default:
		sim_fail(h->sim, "unknown command");
	}
	return h->reply_err;
}

void end_kick(struct sim_end *x, uint32_t pend)
{
	struct sock_cmd c = cmd_for(x->id, SD_OP_KICK);

	tcp_sock_ops.kick(&x->h->st, &c, end_slot_e(x)->obj, pend);
}

static struct sock_id attach(struct sim_host *h, const struct sd_opts *opts)
{
	struct sock_id id = { .seg = SIM_SEG, .slot = shm_pslot_alloc(seg_of(h)),
			      .gen = ++h->mem->gen };
	struct sd_slot_e *e = shm_slot_e(seg_of(h), id.slot);

	*shm_slot_p(seg_of(h), id.slot) = (struct sd_slot_p){ .gen = id.gen, .opts = *opts };
	*e = (struct sd_slot_e){ .state = SD_ST_CLOSE, .tx_limit = 65536, .rx_limit = 65536,
				 .type = SOCK_STREAM, .proto = IPPROTO_TCP };
	sock_slot_count(&h->st, SIM_SEG, 1);
	st_rel(&e->gen, id.gen);
	return id;
}

static struct sd_opts opts_of(const struct sim_end *x)
{
	struct sd_opts o = x->opts;

	o.family = AF_INET;
	o.type = SOCK_STREAM;
	o.proto = IPPROTO_TCP;
	return o;
}

/* ---- listener ---- */

void prog_listen(struct sim_host *h)
{
	struct sd_opts o = { .family = AF_INET, .type = SOCK_STREAM, .proto = IPPROTO_TCP,
			     .reuse = 1, .defer_accept_s = h->defer_accept };
	struct sock_cmd c;

	h->lid = attach(h, &o);
	c = cmd_for(h->lid, SD_OP_BIND);
	c.addr = sd_addr_v4(cpu_to_be32(0));
	c.port = SIM_PORT;
	if (command(h, &c))
		sim_fail(h->sim, "bind: %s", strerror(-h->reply_err));
	c = cmd_for(h->lid, SD_OP_LISTEN);
	c.u32[0] = 128;
	if (command(h, &c))
		sim_fail(h->sim, "listen: %s", strerror(-h->reply_err));
	h->listening = true;
}

void prog_unlisten(struct sim_host *h)
{
	struct sock_cmd c = cmd_for(h->lid, SD_OP_CLOSE);

	command(h, &c);
	h->listening = false;
}

/* Which planned server end is this connection? The client's address and port tell. */
static struct sim_end *server_end(struct sim_host *h, const struct sd_slot_e *e)
{
	struct sim_end *gone = NULL;
	struct sim *s = h->sim;

	for (unsigned i = 0; i < s->ends; i++) {
		struct sim_end *x = &s->end[i];
		struct sd_addr from;

		if (x->h != h || x->client || x->used || x->peer->port != e->rport)
			continue;
		from = host_addr(x->peer->h ? x->peer->h->no : !h->no);
		if (memcmp(&from, &e->raddr, sizeof(from)))
			continue;
		if (!x->peer->closed)
			return x;
		gone = x;		/* unless the port was used again */
	}
	return gone;
}

static void accept_one(struct sim_host *h, uint32_t slot, uint32_t gen)
{
	struct sock_id id = { .seg = SIM_SEG, .slot = slot, .gen = gen };
	struct sd_slot_e *e = sock_slot_e(&h->st, id);
	struct sim_end *x = e ? server_end(h, e) : NULL;
	struct sock_cmd c = cmd_for(id, SD_OP_CLOSE);

	if (!e)
		sim_fail(h->sim, "accepted slot %u is not in service", slot);
	if (!x) {
		command(h, &c);		/* its client has gone already */
		return;
	}
	x->id = id;
	x->used = x->started = x->open = true;
	x->next_us = h->sim->now_us;
	host_take_ev(h, slot);
	end_slot_p(x)->opts = opts_of(x);
	end_kick(x, SD_PEND_OPT);
}

static void accept_all(struct sim_host *h)
{
	struct sd_slot_e *e = shm_slot_e(seg_of(h), h->lid.slot);
	struct sd_accept_ring *r = shm_accept_ring(seg_of(h), e->accept_base);
	uint32_t slot, gen, idx;

	while (shm_accept_claim(r, 1, 1, &slot, &gen, &idx)) {
		shm_accept_done(r, idx);
		accept_one(h, slot, gen);
	}
}

/* ---- one end ---- */

static void start(struct sim_end *x)
{
	struct sd_opts o = opts_of(x);
	struct sock_cmd c;
	int err;

	x->id = attach(x->h, &o);
	x->used = x->started = true;
	x->next_us = UINT64_MAX;
	c = cmd_for(x->id, SD_OP_CONNECT);
	c.addr = host_addr(x->peer->h->no);
	c.port = SIM_PORT;
	err = command(x->h, &c);
	if (err)
		sim_fail(x->h->sim, "connect: %s", strerror(-err));
	x->port = end_slot_e(x)->lport;
}

void end_close(struct sim_end *x)
{
	struct sock_cmd c = cmd_for(x->id, SD_OP_CLOSE);

	x->closed = true;
	x->next_us = UINT64_MAX;
	x->done_us = x->h->sim->now_us;
	command(x->h, &c);
}

void end_shut(struct sim_end *x)
{
	struct sock_cmd c = cmd_for(x->id, SD_OP_SHUTDOWN);

	c.u32[0] = SHUT_WR;
	x->shut = true;
	command(x->h, &c);
}

uint64_t end_tx_space(const struct sim_end *x)
{
	uint64_t used = end_slot_p(x)->tx_tail - ld_sc(&end_slot_e(x)->tx_una);
	uint64_t limit = ld_rlx(&end_slot_e(x)->tx_limit);

	return used < limit ? limit - used : 0;
}

uint64_t end_write(struct sim_end *x, uint64_t n)
{
	struct sd_slot_p *sp = end_slot_p(x);
	struct shm_fifo_mem mem = { .seg = seg_of(x->h), .mag = &x->h->mag };
	uint64_t una;
	uint8_t buf[16384];

	n = u64_min(u64_min(n, end_tx_space(x)), sizeof(buf));
	una = ld_acq(&end_slot_e(x)->tx_una);
	if (una - sp->tx.freed >= SD_CHUNK_SIZE)
		shm_fifo_release(&mem, SD_FIFO_TX, &sp->tx, una, sp->tx_tail);
	n = shm_fifo_reserve(&mem, SD_FIFO_TX, &sp->tx, sp->tx_tail, n);
	sim_fill(x->key, x->tx_pos, buf, n);
	shm_fifo_write(seg_of(x->h), SD_FIFO_TX, &sp->tx, sp->tx_tail, buf, n);
	st_rel(&sp->tx_tail, sp->tx_tail + n);
	x->tx_pos += n;
	return n;
}

/* As the shim does (preload/stream.c): tell the engine only when the window may grow by enough. */
static void consumed(struct sim_end *x, uint64_t head)
{
	struct sd_slot_e *e = end_slot_e(x);
	uint64_t edge = head + e->rx_limit, adv = e->rx_adv, tail = e->rx_tail;
	uint64_t now = adv > tail ? adv - tail : 0, step = u64_min(2ull * e->mss, e->rx_limit / 2);

	st_rel(&end_slot_p(x)->rx_head, head);
	if (edge > adv && edge - adv >= step && now <= e->rx_limit / 2)
		end_kick(x, SD_PEND_RX);
}

static void verify(struct sim_end *x, const uint8_t *buf, uint64_t n)
{
	uint8_t want[65536];

	sim_fill(x->peer->key, x->rx_pos, want, n);
	for (uint64_t i = 0; memcmp(buf, want, n) && i < n; i++)
		if (buf[i] != want[i])
			sim_fail(x->h->sim, "host %u: wrong byte at position %lu", x->h->no,
				 (unsigned long)(x->rx_pos + i));
	x->rx_pos += n;
	x->h->sim->bytes += n;
	if (x->rx_pos > x->peer->tx_pos)
		sim_fail(x->h->sim, "host %u: bytes that were never written", x->h->no);
}

uint64_t end_read(struct sim_end *x, uint64_t n)
{
	uint64_t head = end_slot_p(x)->rx_head, tail = ld_acq(&end_slot_e(x)->rx_tail);
	uint8_t buf[65536];

	n = u64_min(u64_min(n, tail - head), sizeof(buf));
	if (!n)
		return 0;
	if (shm_fifo_read(seg_of(x->h), SD_FIFO_RX, &end_slot_e(x)->rx, head, buf, n) != n)
		sim_fail(x->h->sim, "host %u: hole in published data", x->h->no);
	verify(x, buf, n);
	consumed(x, head + n);
	return n;
}

void prog_turn(struct sim_host *h)
{
	struct sim *s = h->sim;
	uint32_t ev;

	if (h->listening && host_take_ev(h, h->lid.slot) & SD_EV_IN)
		accept_all(h);
	for (unsigned i = 0; i < s->ends; i++) {
		struct sim_end *x = &s->end[i];

		if (x->h != h || x->closed || x->manual)
			continue;
		if (!x->started) {
			if (x->client && x->next_us <= s->now_us)
				start(x);
			continue;
		}
		ev = host_take_ev(h, x->id.slot);
		if (ev || x->next_us <= s->now_us)
			end_run(x);
	}
}

uint64_t prog_next_us(const struct sim *s, const struct sim_host *h)
{
	uint64_t next = UINT64_MAX;

	for (unsigned i = 0; i < s->ends; i++)
		if (s->end[i].h == h && !s->end[i].closed && s->end[i].next_us < next)
			next = s->end[i].next_us;
	return next;
}

/* A server end whose client gave up before the handshake was complete never starts. */
bool prog_all_done(const struct sim *s)
{
	for (unsigned i = 0; i < s->ends; i++) {
		const struct sim_end *x = &s->end[i];

		if (!x->closed && !(!x->client && !x->started && x->peer->closed))
			return false;
	}
	return true;
}

#define LU(v) ((unsigned long)(v))

static void describe_tcb(const struct tcb *tcb)
{
	printf("    %s una %lu nxt %lu tail %lu edge %lu cwnd %u ca %u ",
	       tcp_state_name(tcb->state), LU(tcb->snd_una), LU(tcb->snd_nxt), LU(tcb->snd_tail),
	       LU(tcb->snd_edge), tcb->cwnd, tcb->ca);
	printf("out %u sacked %u lost %u again %u deadlines %u %u %u %u due %x\n      ",
	       tcb->packets_out, tcb->sacked_out, tcb->lost_out, tcb->retrans_out,
	       tcb->dl[DL_RTO], tcb->dl[DL_PERSIST], tcb->dl[DL_DELACK], tcb->dl[DL_KEEP],
	       tcb->due);
	printf("rcv %lu adv %lu head %lu limit %u flags %x rto %u rtx %u\n", LU(tcb->rcv_nxt),
	       LU(tcb->rcv_adv), LU(tcb->rcv_head), tcb->rx_limit, tcb->flags, tcb->rto_us,
	       tcb->rtx_cnt);
}

void prog_describe(const struct sim *s)
{
	for (unsigned i = 0; i < s->ends; i++) {
		const struct sim_end *x = &s->end[i];
		const struct sd_slot_e *e = x->started && !x->closed ? end_slot_e(x) : NULL;
		struct tcb *tcb = e && OBJ_KIND(e->obj) == OBJ_TCB ?
				  tcb_at(&x->h->st, OBJ_IDX(e->obj)) : NULL;

		printf("  end %u host %u mode %d: tx %lu/%lu rx %lu/%lu", i, x->h->no, x->mode,
		       LU(x->tx_pos), LU(x->tx_total), LU(x->rx_pos), LU(x->peer->tx_total));
		printf("%s%s%s err %d\n", x->shut ? " shut" : "", x->eof ? " eof" : "",
		       x->closed ? " closed" : "", x->err);
		if (tcb)
			describe_tcb(tcb);
	}
}
