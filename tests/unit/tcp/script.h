/* SPDX-License-Identifier: MIT */
/* tests/unit/tcp/script.h - a stack against a scripted peer
 * sc_new() is a host whose device answers ARP and records what TCP sends. in() hands it a segment
 * as if from the peer, out() takes the next recorded one. Peer numbers are relative to peer_isn,
 * ours to the initial number that the stack chose; both count the SYN as 0, the first byte as 1.
 */
#ifndef TESTS_UNIT_TCP_SCRIPT_H
#define TESTS_UNIT_TCP_SCRIPT_H

#include <criterion/criterion.h>

#include "tests/sim/sim.h"

#define PEER_ISN	5000u
#define PEER_PORT	4000
#define SC_OUT		256

struct sc_seg {
	uint32_t seq, ack, len, wnd;
	uint8_t flags;
	bool confirm;			/* it tells that the neighbour is there */
	struct tcp_opts o;
};

struct sc {
	struct sim s;
	struct nic nic;
	uint8_t arp[42];
	bool arp_waits;
	struct sc_seg got[SC_OUT];
	unsigned got_cnt, got_at;
	bool forget;			/* do not record */
	uint32_t isn, peer_isn;		/* ours; the peer's */
	uint16_t port, peer_port;	/* ours is SIM_PORT unless connecting */
	bool ts;			/* the peer sends timestamps */
	uint8_t syn_flags;		/* more flags on the SYN of sc_accept() */
	uint32_t tsval, tsecr;
	uint32_t sack[TCP_SACK_MAX][2];	/* relative to our numbers; for the next in() */
	unsigned sack_cnt;
};

struct sc *sc_new(void);
struct sc *sc_new_at(uint64_t now_us);
void sc_free(struct sc *c);
/* Let @us pass, in turns of at most 1 ms of timers. */
void sc_pass(struct sc *c, uint64_t us);
/* One segment from the peer, then one turn. */
void in(struct sc *c, uint8_t flags, uint32_t seq, uint32_t ack, uint16_t wnd, uint32_t len);
/* The next segment sent; fails the test when there is none. */
struct sc_seg out(struct sc *c);
/* Nothing (more) was sent. */
void quiet(struct sc *c);
/* A connection accepted from the peer. Return: its TCB; *ret_x is the program's end. */
struct tcb *sc_accept(struct sc *c, struct sim_end **ret_x);
/* The program connects to the peer. Return: its TCB, in SYN_SENT. */
struct tcb *sc_connect(struct sc *c, struct sim_end **ret_x);
/* The program writes or reads or closes; sc_put(): writes, and the worker has not looked yet. */
void sc_put(struct sim_end *x, uint32_t len);
void sc_write(struct sim_end *x, uint32_t len);
uint64_t sc_read(struct sim_end *x, uint64_t max);
void sc_close(struct sim_end *x);
int sc_cmd(struct sim_end *x, uint16_t op, uint32_t arg);
struct sd_slot_e *sc_e(const struct sim_end *x);
struct sd_slot_p *sc_p(const struct sim_end *x);

#define expect_seg(c, f, s, a, l) \
	do { \
		struct sc_seg g_ = out(c); \
		cr_expect_eq(g_.flags, (f), "flags %02x, want %02x", g_.flags, (f)); \
		cr_expect_eq(g_.seq, (uint32_t)(s), "seq %u, want %u", g_.seq, (uint32_t)(s)); \
		cr_expect_eq(g_.ack, (uint32_t)(a), "ack %u, want %u", g_.ack, (uint32_t)(a)); \
		cr_expect_eq(g_.len, (uint32_t)(l), "len %u, want %u", g_.len, (uint32_t)(l)); \
	} while (0)

#endif
