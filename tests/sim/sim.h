/* SPDX-License-Identifier: MIT */
/* tests/sim/sim.h - whole stacks in one process on a virtual clock, from a seed
 * A run is two hosts, a wire between them, and programs on the hosts that play the shim's part:
 * they use slots and FIFOs directly and are only woken by events, as real ones are. Nothing depends
 * on real time or on addresses, so a seed replays exactly.
 */
#ifndef TESTS_SIM_SIM_H
#define TESTS_SIM_SIM_H

#include "shm/accept.h"
#include "shm/fifo.h"
#include "stackd/core/rng.h"
#include "stackd/tcp/tcp_int.h"

#define SIM_HOSTS	2
#define SIM_SEG		1
#define SIM_SLOTS	512		/* slots whose events are tracked, of each kind */
#define SIM_ENDS	64
#define SIM_PORT	80

/* ---- wire ---- */

struct wire_conf {
	uint32_t delay_us, jitter_us;	/* jitter is added to reordered frames */
	uint64_t rate_bps;		/* 0 = infinite */
	uint32_t queue;			/* frames */
	uint32_t loss, dup, reorder, corrupt;	/* per 100,000 frames */
	uint64_t cut_from_us, cut_to_us;	/* partition: everything is lost */
	bool offload;			/* the devices take PARTIAL checksums and GSO */
	/* given packets: is this one, from that side, lost? NULL: none is */
	bool (*lose)(void *arg, unsigned from, const struct pkt *p);
	void *lose_arg;
};

struct wire;
struct wire *wire_new(const struct wire_conf *conf, uint64_t seed);
void wire_free(struct wire *w);
struct nic *wire_nic(struct wire *w, unsigned side);
uint64_t wire_next_us(const struct wire *w);	/* UINT64_MAX: nothing under way */
uint64_t wire_carried(const struct wire *w);	/* frames delivered */

/* ---- host ---- */

struct sim;
struct sim_host {
	struct stack st;
	struct sim *sim;
	unsigned no;
	struct shm_seg segs[STACK_MAX_SEGS];
	struct shm_epool epools[STACK_MAX_SEGS];
	struct shm_espan span;
	struct counters cnt;
	struct arena_intent intent;
	struct arena arena;
	struct shm_magazine mag;	/* the programs' */
	uint32_t gen;
	uint32_t chunks_free;		/* at the start */
	bool listening;
	struct sock_id lid;
	bool woken;			/* an event came since the programs ran */
	uint32_t ev[2][SIM_SLOTS];	/* since the last look: programs' slots, engine's */
	int reply_err;
	uint32_t reply_len;
	uint8_t reply[SD_REPLY_DATA];
	uint64_t errors_seen;
};

void host_init(struct sim_host *h, struct sim *sim, unsigned no, struct nic *nic);
void host_fini(struct sim_host *h);
/* One turn of the loop at sim->now_us. */
void host_turn(struct sim_host *h);
struct sd_addr host_addr(unsigned no);
uint32_t host_take_ev(struct sim_host *h, uint32_t slot);

/* ---- programs ---- */

enum end_mode {
	END_NORMAL,			/* send all, shut down, read to the end, close */
	END_CLOSE_FIRST,		/* close as soon as all is sent; the peer sends nothing */
	END_ABORT,			/* close with linger 0 half-way */
	END_WALK_AWAY,			/* close half-way with data unread */
};

struct sim_end {
	struct sim_host *h;
	struct sock_id id;
	struct sim_end *peer;
	enum end_mode mode;
	bool used, client, started, open, shut, eof, closed, peer_rude;
	bool manual;			/* a test plays the program */
	uint16_t port;			/* client: its own */
	uint32_t key;			/* of the bytes it sends */
	uint64_t tx_total, tx_pos, rx_pos;
	uint64_t quit_at;		/* abort or walk away after so many bytes received */
	uint64_t next_us;		/* own alarm, UINT64_MAX = none */
	uint32_t pause_us;		/* reader's pause between reads, at most */
	uint32_t read_max, write_max;
	uint32_t sndbuf, rcvbuf;
	bool nodelay;
	int err;
	uint64_t done_us;
};

struct sim {
	uint64_t seed, now_us;
	uint64_t rng[2];
	bool verbose;
	bool arp_may_fail;		/* three requests in a row can be lost on this wire */
	struct wire *wire;
	struct sim_host host[SIM_HOSTS];
	struct sim_end end[SIM_ENDS];
	unsigned ends;
	uint64_t bytes;			/* verified */
};

uint8_t sim_byte(uint32_t key, uint64_t pos);	/* what a stream with this key has there */
void prog_listen(struct sim_host *h);
void prog_unlisten(struct sim_host *h);
void prog_turn(struct sim_host *h);	/* all that were woken or whose alarm is due */
uint64_t prog_next_us(const struct sim *s);
bool prog_all_done(const struct sim *s);
void prog_describe(const struct sim *s);

/* Print the reason and how to replay, exit 1. */
_Noreturn void sim_fail(struct sim *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
