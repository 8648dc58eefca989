/* SPDX-License-Identifier: MIT */
/* tests/sim/sim.h - whole stacks in one process on a virtual clock, from a seed
 * A run is hosts, a network between them (net.c, queue.c), and programs on the hosts that play the
 * shim's part: they use slots and FIFOs directly and are only woken by events, as real ones are.
 * Two judges look on: watch.c sees what crosses the wire and knows TCP from the RFCs alone; check.c
 * looks into the connections. Nothing depends on real time or on addresses: a seed replays exactly.
 * Theory of operation: DESIGN.md beside this file.
 */
#ifndef TESTS_SIM_SIM_H
#define TESTS_SIM_SIM_H

#include "shm/accept.h"
#include "shm/fifo.h"
#include "stackd/core/rng.h"
#include "stackd/tcp/tcp_int.h"

#define SIM_HOSTS	6		/* at most */
#define SIM_SEG		1
#define SIM_SLOTS	512		/* slots whose events are tracked, of each kind */
#define SIM_ENDS	64
#define SIM_PORT	80
#define SIM_START_US	1000000000ull

struct sim;

/* ---- network ---- */

enum queue_kind { QUEUE_TAIL, QUEUE_MARK, QUEUE_FQ_CODEL };

/* One direction of a link. */
struct link_conf {
	uint32_t delay_us, jitter_us;	/* jitter: at most, of reordered and second copies */
	uint64_t rate_bps;		/* 0 = infinite: no queue either */
	uint32_t queue;			/* frames that wait, at most */
	enum queue_kind kind;
	uint32_t mark_at;		/* QUEUE_MARK: waiting frames from which on CE is set */
	uint32_t loss, dup, reorder, corrupt;	/* per 100,000 frames */
	uint32_t burst, burst_len;	/* per 100,000: a burst of losses begins; its mean length */
	struct { uint64_t from_us, to_us; } cut[2];	/* partition: everything is lost */
};

/* PAIR: one link. STAR: hosts around a switch. DUMBBELL: two switches, half of the hosts at each,
 * a trunk between them. */
enum net_shape { NET_PAIR, NET_STAR, NET_DUMBBELL };
#define NET_LINKS (2 * SIM_HOSTS + 2)

struct net_conf {
	enum net_shape shape;
	unsigned hosts;
	/* PAIR: from host 0, from host 1. Else: from host i; to host i at hosts + i; then trunks */
	struct link_conf link[NET_LINKS];
	bool offload;			/* devices take PARTIAL checksums and GSO */
	/* given packets: is this one, from that host, lost? NULL: none is */
	bool (*lose)(void *arg, unsigned from, const struct pkt *p);
	void *lose_arg;
};

struct net_stats {
	uint64_t frames, data_segs;	/* sent; with payload, as many as they make on the wire */
	uint64_t lost, full, cut, corrupted, dup, late, marked;
};

struct frame {
	struct frame *next;
	uint64_t at_us;			/* put into the queue that it is in */
	uint32_t len;
	uint8_t from, to, hop;
	bool bad;			/* a bit was flipped: the host must not take it */
	uint8_t partial, gso_type;
	uint16_t gso_size, gso_segs, csum_start, csum_off;
	uint32_t conn;			/* watch.c's, 0 = none */
	uint8_t bytes[];
};

struct net;
struct net *net_new(const struct net_conf *conf, struct sim *s, uint64_t seed);
void net_free(struct net *n);
struct nic *net_nic(struct net *n, unsigned host);
void net_run(struct net *n, uint64_t now_us);	/* what happens up to then */
uint64_t net_next_us(const struct net *n);	/* UINT64_MAX: nothing under way */
bool net_arrived(const struct net *n, unsigned host);	/* frames wait in its device */
/* A frame of nobody's stands before host @to, whatever the links are like. */
void net_inject(struct net *n, unsigned to, const void *bytes, uint32_t len);
const struct net_stats *net_stats(const struct net *n);

/* queue.c: a transmitter's queue. @put and @get free what they drop. */
struct queue;
struct queue *queue_new(const struct link_conf *conf, struct net_stats *count);
void queue_free(struct queue *q);
void queue_put(struct queue *q, struct frame *f, uint64_t now_us);
struct frame *queue_get(struct queue *q, uint64_t now_us);	/* NULL: empty */

/* ---- host ---- */

/* What one host's stack lives in; kept from seed to seed, empty at the end of each. */
struct host_mem {
	bool made;
	struct shm_seg seg;
	struct shm_epool epool;
	struct shm_espan span;
	struct pkt_pool *pool;
	struct arena arena;
	uint32_t chunks_free;		/* at the start */
	uint32_t gen;
};

/* What check.c remembers of a connection. */
struct tcb_seen {
	uint64_t una, nxt, rcv_nxt, rcv_adv;
	uint32_t iss, cwnd, limit, in, out;
	uint8_t state, ca;
};

struct sim_host {
	struct stack st;
	struct sim *sim;
	unsigned no;
	struct host_mem *mem;
	struct shm_seg segs[2];
	struct shm_epool epools[2];
	struct counters cnt;
	struct arena_intent intent;
	struct shm_magazine mag;	/* the programs' */
	bool listening;
	uint8_t defer_accept;		/* of the listener */
	struct sock_id lid;
	bool next_known;		/* next_us is right */
	uint64_t next_us;		/* of timers and programs */
	bool woken;			/* an event came since the programs ran */
	uint32_t ev[2][SIM_SLOTS];	/* since the last look: programs' slots, engine's */
	struct tcb_seen seen[SIM_SLOTS];
	int reply_err;
	uint32_t reply_len;
	uint8_t reply[SD_REPLY_DATA];
};

void host_init(struct sim_host *h, struct sim *sim, unsigned no, struct nic *nic);
void host_fini(struct sim_host *h);	/* checks that nothing is left of anything */
void host_mem_free(struct host_mem *m);
/* One turn of the loop at sim->now_us. */
void host_turn(struct sim_host *h);
struct sd_addr host_addr(unsigned no);
uint32_t host_take_ev(struct sim_host *h, uint32_t slot);
void check_host(struct sim_host *h);	/* check.c */

/* ---- programs ---- */

enum end_mode {
	END_NORMAL,			/* send all, shut down, read to the end, close */
	END_CLOSE_FIRST,		/* close as soon as all is sent; the peer sends nothing */
	END_TALK,			/* a line, an answer, a line ... then as NORMAL */
	END_ABORT,			/* close with linger 0 half-way */
	END_WALK_AWAY,			/* close half-way with data unread */
};

struct sim_end {
	struct sim_host *h;
	struct sock_id id;
	struct sim_end *peer;
	enum end_mode mode;
	bool used, client, started, open, shut, eof, closed;
	bool manual;			/* a test plays the program */
	bool may_fail;			/* this connection may end in an error */
	uint16_t port;			/* client: its own */
	uint32_t key;			/* of the bytes it sends */
	uint64_t tx_total, tx_pos, rx_pos;
	uint64_t line;			/* TALK: bytes per turn */
	uint64_t quit_at;		/* abort or walk away after so many bytes */
	uint64_t stall_at;		/* stops reading there, for stall_us; UINT64_MAX = never */
	uint64_t next_us;		/* own alarm, UINT64_MAX = none */
	uint64_t stall_until_us;
	uint32_t stall_us;
	uint32_t pause_us;		/* reader's pause between reads, at most */
	uint32_t think_us;		/* writer's between writes */
	uint64_t think_until_us;
	uint32_t read_max, write_max;
	struct sd_opts opts;		/* family, type and protocol are filled in */
	int err;
	uint64_t done_us;
};

struct watch;
struct sim_pcap;

struct sim {
	uint64_t seed, now_us;
	uint64_t rng[2];
	unsigned hosts;
	bool verbose;
	struct net_conf conf;
	bool arp_may_fail;		/* three requests in a row can be lost on this network */
	bool clean;			/* nothing is lost, late or queued: nobody times out */
	bool user_timeouts;		/* somebody has set TCP_USER_TIMEOUT */
	struct net *net;
	struct watch *watch;		/* NULL: nobody looks on */
	struct sim_pcap *pcap;
	struct sim_host host[SIM_HOSTS];
	struct sim_end end[SIM_ENDS];
	unsigned ends;
	uint64_t bytes;			/* verified */
	struct host_mem mem[SIM_HOSTS];
};

void sim_fill(uint32_t key, uint64_t pos, uint8_t *to, uint64_t n);	/* a stream's bytes */
static inline uint8_t sim_byte(uint32_t key, uint64_t pos)
{
	uint8_t b;

	sim_fill(key, pos, &b, 1);
	return b;
}
void prog_listen(struct sim_host *h);
void prog_unlisten(struct sim_host *h);
void prog_turn(struct sim_host *h);	/* all that were woken or whose alarm is due */
uint64_t prog_next_us(const struct sim *s, const struct sim_host *h);
bool prog_all_done(const struct sim *s);
void prog_describe(const struct sim *s);

/* prog.c for end.c: the shim's part. */
struct sd_slot_e *end_slot_e(const struct sim_end *x);
struct sd_slot_p *end_slot_p(const struct sim_end *x);
void end_kick(struct sim_end *x, uint32_t pend);
void end_close(struct sim_end *x);
void end_shut(struct sim_end *x);
uint64_t end_tx_space(const struct sim_end *x);
uint64_t end_write(struct sim_end *x, uint64_t n);	/* Return: bytes that found room */
uint64_t end_read(struct sim_end *x, uint64_t n);	/* verified */
void end_run(struct sim_end *x);			/* end.c: what it does when it runs */

/* ---- the clock ---- */

uint64_t sim_next_us(struct sim *s);	/* when something happens, UINT64_MAX = never */
void sim_step(struct sim *s, uint64_t at_us);	/* go there, let all hosts run that have cause */
void sim_poke(struct sim *s);	/* programs were changed from outside */
bool sim_quiet(struct sim *s);		/* no connection, no frame under way */

/* seed.c: what a seed means. Return: with everything made and listening. */
void seed_make(struct sim *s);

/* ---- looking on ---- */

struct watch *watch_new(struct sim *s);
void watch_free(struct watch *w);
/* A host has sent a frame (it may be lost yet); a host has got one. */
void watch_sent(struct watch *w, struct frame *f);
void watch_got(struct watch *w, const struct frame *f);
void watch_end(struct watch *w);	/* the run is over: what must be true then */
uint64_t watch_conns(const struct watch *w, uint64_t *ret_loose);

struct sim_pcap *sim_pcap_open(const char *path, unsigned hosts);
void sim_pcap_close(struct sim_pcap *p);
void sim_pcap_put(struct sim_pcap *p, unsigned host, uint64_t us, const struct frame *f);

/* flood.c: SYNs of nobody. Return: does the promise hold? Prints a TAP line. */
bool flood_run(uint64_t syns);

/* Print the reason and how to replay, exit 1. */
_Noreturn void sim_fail(struct sim *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
