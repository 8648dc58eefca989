/* SPDX-License-Identifier: MIT */
/* tests/sim/prog.c - programs on simulated hosts: the shim's part of the contract, and what they do
 * Each end of a connection is a small program: it writes tx_total bytes that are a function of
 * position and key, reads and verifies what the peer's function says, shuts down, closes, or
 * behaves badly on purpose. An end runs only when an event woke it or its own alarm rang.
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

static struct sd_slot_e *slot_e(const struct sim_end *x)
{
	return shm_slot_e(seg_of(x->h), x->id.slot);
}

static struct sd_slot_p *slot_p(const struct sim_end *x)
{
	return shm_slot_p(seg_of(x->h), x->id.slot);
}

static uint32_t below(struct sim *s, uint32_t n)
{
	return rng_below(s->rng, n);
}

uint8_t sim_byte(uint32_t key, uint64_t pos)
{
	uint64_t v = (pos + key) * 0x9e3779b97f4a7c15ull;

	return (uint8_t)(v >> 56 ^ v >> 29);
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

static void kick(struct sim_end *x, uint32_t pend)
{
	struct sock_cmd c = cmd_for(x->id, SD_OP_KICK);

	tcp_sock_ops.kick(&x->h->st, &c, slot_e(x)->obj, pend);
}

static struct sock_id attach(struct sim_host *h, const struct sd_opts *opts)
{
	struct sock_id id = { .seg = SIM_SEG, .slot = shm_pslot_alloc(seg_of(h)), .gen = ++h->gen };
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
	return (struct sd_opts){ .family = AF_INET, .type = SOCK_STREAM, .proto = IPPROTO_TCP,
				 .nodelay = x->nodelay, .sndbuf = x->sndbuf, .rcvbuf = x->rcvbuf,
				 /* a reset may be lost: only keepalive finds out */
				 .keepalive = x->peer_rude, .keep_idle_s = 30, .keep_intvl_s = 5,
				 .keep_cnt = 4 };
}

/* ---- listener ---- */

void prog_listen(struct sim_host *h)
{
	struct sd_opts o = { .family = AF_INET, .type = SOCK_STREAM, .proto = IPPROTO_TCP,
			     .reuse = 1 };
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

/* Which planned server end is this connection? The client's port tells. */
static struct sim_end *server_end(struct sim_host *h, uint16_t rport)
{
	struct sim_end *gone = NULL;
	struct sim *s = h->sim;

	for (unsigned i = 0; i < s->ends; i++) {
		struct sim_end *x = &s->end[i];

		if (x->h != h || x->client || x->used || x->peer->port != rport)
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
	struct sim_end *x = e ? server_end(h, e->rport) : NULL;
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
	slot_p(x)->opts = opts_of(x);
	kick(x, SD_PEND_OPT);
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
	x->port = slot_e(x)->lport;
}

static void do_close(struct sim_end *x)
{
	struct sock_cmd c = cmd_for(x->id, SD_OP_CLOSE);

	x->closed = true;
	x->next_us = UINT64_MAX;
	x->done_us = x->h->sim->now_us;
	command(x->h, &c);
}

/* The connection ended in an error: legal only when somebody misbehaves. */
static void failed(struct sim_end *x, int err)
{
	/* nobody answered ARP, and connect() hears of it */
	bool unreachable = err == EHOSTUNREACH && x->h->sim->arp_may_fail && !x->open;

	x->err = err;
	x->h->errors_seen++;
	if (!x->peer_rude && x->mode < END_ABORT && !unreachable)
		sim_fail(x->h->sim, "host %u: %s on a well-behaved connection", x->h->no,
			 strerror(err));
	do_close(x);
}

static uint64_t tx_space(const struct sim_end *x)
{
	uint64_t used = slot_p(x)->tx_tail - ld_sc(&slot_e(x)->tx_una);
	uint64_t limit = ld_rlx(&slot_e(x)->tx_limit);

	return used < limit ? limit - used : 0;
}

/* Write one piece. Return: bytes, 0 when there is no room. */
static uint64_t write_some(struct sim_end *x)
{
	struct sd_slot_p *sp = slot_p(x);
	struct shm_fifo_mem mem = { .seg = seg_of(x->h), .mag = &x->h->mag };
	uint64_t una = ld_acq(&slot_e(x)->tx_una), n = tx_space(x);
	uint8_t buf[16384];

	n = u64_min(n, 1 + below(x->h->sim, x->write_max));
	n = u64_min(n, x->tx_total - x->tx_pos);
	if (una - sp->tx.freed >= SD_CHUNK_SIZE)
		shm_fifo_release(&mem, SD_FIFO_TX, &sp->tx, una, sp->tx_tail);
	n = shm_fifo_reserve(&mem, SD_FIFO_TX, &sp->tx, sp->tx_tail, n);
	for (uint64_t i = 0; i < n; i++)
		buf[i] = sim_byte(x->key, x->tx_pos + i);
	shm_fifo_write(seg_of(x->h), SD_FIFO_TX, &sp->tx, sp->tx_tail, buf, n);
	st_rel(&sp->tx_tail, sp->tx_tail + n);
	x->tx_pos += n;
	return n;
}

static void shut_write(struct sim_end *x)
{
	struct sock_cmd c = cmd_for(x->id, SD_OP_SHUTDOWN);

	c.u32[0] = SHUT_WR;
	x->shut = true;
	command(x->h, &c);
}

static void sender(struct sim_end *x)
{
	bool wrote = false;

	while (!x->shut && x->tx_pos < x->tx_total) {
		if (write_some(x)) {
			wrote = true;
			continue;
		}
		or_sc(&slot_p(x)->flags, SD_P_NOSPACE);
		if (!tx_space(x))
			break;
	}
	if (wrote)
		kick(x, SD_PEND_TX);
	if (!x->shut && x->tx_pos == x->tx_total && x->mode != END_CLOSE_FIRST)
		shut_write(x);
}

/* As the shim does (preload/stream.c): tell the engine only when the window may grow by enough. */
static void consumed(struct sim_end *x, uint64_t head)
{
	struct sd_slot_e *e = slot_e(x);
	uint64_t edge = head + e->rx_limit, adv = e->rx_adv, tail = e->rx_tail;
	uint64_t now = adv > tail ? adv - tail : 0, step = u64_min(2ull * e->mss, e->rx_limit / 2);

	st_rel(&slot_p(x)->rx_head, head);
	if (edge > adv && edge - adv >= step && now <= e->rx_limit / 2)
		kick(x, SD_PEND_RX);
}

static void verify(struct sim_end *x, const uint8_t *buf, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		if (buf[i] != sim_byte(x->peer->key, x->rx_pos + i))
			sim_fail(x->h->sim, "host %u: wrong byte at position %lu", x->h->no,
				 (unsigned long)(x->rx_pos + i));
	x->rx_pos += n;
	x->h->sim->bytes += n;
	if (x->rx_pos > x->peer->tx_pos)
		sim_fail(x->h->sim, "host %u: bytes that were never written", x->h->no);
}

static uint64_t read_some(struct sim_end *x)
{
	uint64_t head = slot_p(x)->rx_head, tail = ld_acq(&slot_e(x)->rx_tail), n = tail - head;
	uint8_t buf[65536];

	n = u64_min(n, 1 + below(x->h->sim, x->read_max));
	if (!n)
		return 0;
	if (shm_fifo_read(seg_of(x->h), SD_FIFO_RX, &slot_e(x)->rx, head, buf, n) != n)
		sim_fail(x->h->sim, "host %u: hole in published data", x->h->no);
	verify(x, buf, n);
	consumed(x, head + n);
	return n;
}

/* Return: false when the end is through. */
static bool quits(struct sim_end *x)
{
	if (x->mode < END_ABORT || x->rx_pos + x->tx_pos < x->quit_at)
		return false;
	if (x->mode == END_ABORT)
		slot_p(x)->opts.linger_on = 1;
	do_close(x);
	return true;
}

static void receiver(struct sim_end *x)
{
	struct sim *s = x->h->sim;

	while (read_some(x)) {
		if (quits(x))
			return;
		if (x->pause_us) {
			x->next_us = s->now_us + 1 + below(s, x->pause_us);
			return;
		}
	}
	if (ld_acq(&slot_e(x)->flags) & SD_E_RCV_FIN &&
	    slot_p(x)->rx_head == ld_acq(&slot_e(x)->rx_tail))
		x->eof = true;
}

static bool got_all(const struct sim_end *x)
{
	return x->eof && x->rx_pos == x->peer->tx_total;
}

static void finish(struct sim_end *x)
{
	if (x->mode == END_CLOSE_FIRST && x->tx_pos == x->tx_total) {
		do_close(x);
	} else if (x->eof && x->shut) {
		if (!x->peer_rude && !got_all(x))
			sim_fail(x->h->sim, "host %u: end of stream after %lu of %lu bytes",
				 x->h->no, (unsigned long)x->rx_pos,
				 (unsigned long)x->peer->tx_total);
		do_close(x);
	}
}

static void run(struct sim_end *x, uint32_t ev)
{
	struct sd_slot_e *e = slot_e(x);

	x->next_us = UINT64_MAX;
	if (e->err_seq != slot_p(x)->err_ack) {
		slot_p(x)->err_ack = e->err_seq;
		failed(x, (int)e->err);
		return;
	}
	if (e->flags & SD_E_RESET) {
		failed(x, ECONNRESET);
		return;
	}
	if (!x->open && (e->flags & SD_E_CONNECTED))
		x->open = true;
	if (!x->open)
		return;
	receiver(x);
	if (!x->closed)
		sender(x);
	if (!x->closed && !quits(x))
		finish(x);
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
			run(x, ev);
	}
}

uint64_t prog_next_us(const struct sim *s)
{
	uint64_t next = UINT64_MAX;

	for (unsigned i = 0; i < s->ends; i++)
		if (!s->end[i].closed && s->end[i].next_us < next)
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
	printf("rcv %lu adv %lu head %lu limit %u flags %x rto %u rtx %u\n", LU(tcb->rcv_nxt),
	       LU(tcb->rcv_adv), LU(tcb->rcv_head), tcb->rx_limit, tcb->flags, tcb->rto_us,
	       tcb->rtx_cnt);
}

void prog_describe(const struct sim *s)
{
	for (unsigned i = 0; i < s->ends; i++) {
		const struct sim_end *x = &s->end[i];
		const struct sd_slot_e *e = x->started && !x->closed ? slot_e(x) : NULL;
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
