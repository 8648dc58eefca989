/* SPDX-License-Identifier: MIT */
/* sock/sock.h - socket tables, bind, ports, listeners, the protocol switch; what transports and app
 * share
 *
 * Who does what (DESIGN.md): worker 0 decides bind, listen and ports and owns AR_BOUND and
 * AR_LISTENER; every worker has its own established table (ehash) and a replica of the listening
 * table (lhash), so that packets never leave their worker. An object in service is named by
 * slot_e.obj; the object names its slot by struct sock_id; both must agree or the command is bad.
 *
 * Life of a TCP socket: ATTACH (slot only, obj 0, worker 0) -> BIND (AR_BOUND) -> LISTEN
 * (AR_LISTENER, replicas) or CONNECT (worker 0 routes, picks the port, makes the AR_BOUND record
 * that holds the whole tuple, then SMSG_CONNECT to the worker on whose queue replies arrive; that
 * worker sets slot_e.worker and .obj). Accepted: the transport makes slot and TCB on the packet's
 * worker. CLOSE: the transport lets go of the slot when nothing of it is needed any more:
 * sock_slot_free().
 */
#ifndef SOCK_SOCK_H
#define SOCK_SOCK_H

#include "stackd/ip/ip.h"

struct sock_tuple {
	struct sd_addr laddr, raddr;
	uint16_t lport, rport;		/* host order */
};

/* Credentials of the program that sent a command (kernel's word). */
struct sock_cred {
	uint32_t uid;
	bool low_ports;			/* may bind below ip_unprivileged_port_start */
};

enum sock_bound_state { SOCK_B_FREE = 0, SOCK_B_BOUND, SOCK_B_LISTEN, SOCK_B_CONN,
			SOCK_B_KIDS /* accepted connections: kids.c */ };

/* AR_BOUND: a hold on a port. Writer: worker 0. lport 0: only the address is bound yet. */
struct sock_bound {
	struct sock_tuple t;		/* raddr/rport zero unless it is an active connection's */
	struct sock_id id;
	uint32_t next, prev;		/* chain of the port; rebuilt after a crash */
	uint32_t uid;
	uint8_t proto, family, reuse, v6only;
	uint8_t state;			/* enum sock_bound_state */
	uint8_t autobound;		/* port chosen by connect(): other connects may share it */
	uint8_t port_lock;		/* bind() named the port: it outlives a connection */
	uint8_t addr_lock;		/* bind() named the address */
	uint8_t charged;		/* to the budget of its uid */
};

/* Dying: replicas are going; the slot is freed (close) or bound again (shutdown) afterwards. */
enum sock_listener_life { SOCK_L_FREE = 0, SOCK_L_LIVE, SOCK_L_STOPPING, SOCK_L_CLOSING };

/* AR_LISTENER. Writer: worker 0; read by all while they hold it in their replica. */
struct sock_listener {
	struct sd_addr addr;
	uint16_t port;
	uint8_t proto, family, v6only, reuseport;
	uint8_t live;			/* enum sock_listener_life */
	uint8_t rsv;
	struct sock_id id;
	uint32_t bound;			/* its AR_BOUND */
	uint32_t uid;
	uint32_t backlog;		/* as clamped by somaxconn */
	uint32_t accept_base;		/* ring of worker w = accept_base + w */
	uint32_t acks;			/* worker 0: replicas that have answered */
	struct stack_reply_to reply;	/* who waits for listen() */
	struct stack_reply_to stop;	/* who waits for its end: shutdown(), AF_UNSPEC */
};

int sock_init(struct stack *st);	/* after ip_init */
void sock_fini(struct stack *st);

/* Control messages that must not be lost: like stack_send(), in order per receiver, kept while the
 * ring is full. sock_poll() tries again; app_poll() calls it once per loop. sock_backlog():
 * messages kept. */
void sock_send(struct stack *st, uint16_t to, struct stack_msg *msg);
void sock_poll(struct stack *st);
uint32_t sock_backlog(struct stack *st);

/* ---- protocol switch (H6): one registration per (type, protocol) ---- */

struct sock_cmd {			/* a command, decoded and checked by app */
	struct sock_id id;
	struct stack_reply_to reply;
	struct sock_cred cred;
	uint16_t op;			/* enum sd_op */
	uint16_t home;			/* worker that the program prefers for its connections */
	uint8_t again;			/* an engine that was killed may have carried it out */
	struct sd_addr addr;
	uint16_t port;
	uint32_t u32[3];
	char str[9];			/* NUL-terminated */
};

/* To the worker that owns the socket now: there the command is dispatched anew (SMSG_CMD, app/). */
void sock_forward(struct stack *st, uint16_t to, const struct sock_cmd *c);

/* A buffer limit in bytes from SO_SNDBUF or SO_RCVBUF as it stands in the slot; 0 = not set. */
#define SOCK_BUF_DEFAULT 212992u	/* net.core.rmem_default, wmem_default */
static inline uint32_t sock_buf_limit(uint32_t asked)
{
	return !asked ? SOCK_BUF_DEFAULT : asked > SD_FIFO_MAX ? (uint32_t)SD_FIFO_MAX : asked;
}

/* Called on the worker that slot_e.worker names (worker 0 before CONNECT). @obj: slot_e.obj,
 * checked by the callee against its own record. BIND, LISTEN, CONNECT, ... answer through
 * st->up->reply themselves. */
struct sock_ops {
	const char *name;
	/* SOCK_STREAM + IPPROTO_TCP; proto 0 = default of the type */
	uint8_t type, proto;
	void (*bind)(struct stack *st, const struct sock_cmd *c, uint32_t obj);
	void (*listen)(struct stack *st, const struct sock_cmd *c, uint32_t obj);
	void (*connect)(struct stack *st, const struct sock_cmd *c, uint32_t obj);
	void (*disconnect)(struct stack *st, const struct sock_cmd *c, uint32_t obj);
	void (*shutdown)(struct stack *st, const struct sock_cmd *c, uint32_t obj);
	void (*close)(struct stack *st, const struct sock_cmd *c, uint32_t obj);
	void (*kick)(struct stack *st, const struct sock_cmd *c, uint32_t obj, uint32_t pending);
	void (*getinfo)(struct stack *st, const struct sock_cmd *c, uint32_t obj);
	void (*setopt)(struct stack *st, const struct sock_cmd *c, uint32_t obj);
	void (*getopt)(struct stack *st, const struct sock_cmd *c, uint32_t obj);
};
/* A missing operation answers -EOPNOTSUPP. close is not called with obj 0: app frees such a slot
 * itself. */
int sock_register(struct stack *st, const struct sock_ops *ops);
/* Return: ops, or NULL with *ret_err -ESOCKTNOSUPPORT or -EPROTONOSUPPORT as Linux gives them. */
const struct sock_ops *sock_find(struct stack *st, uint8_t type, uint8_t proto, int *ret_err);

/* ---- generic parts that stream and datagram protocols call (worker 0) ---- */

/* The whole of bind(): conflict rules, port 0, privileges, local address check; makes the AR_BOUND
 * record, fills slot_e.laddr/lport and SD_E_BOUND, sets slot_e.obj to OBJ(OBJ_BOUND, ...) when it
 * was 0. Return: 0 and the record, or -EADDRINUSE, -EADDRNOTAVAIL,
 * -EACCES, -EINVAL, -ENOBUFS (also: the uid has all the ports that it may have). */
int sock_bind(struct stack *st, const struct sock_cmd *c, uint32_t *ret_bound);
/* Route, source address, port (autobind), 4-tuple uniqueness. @bound: existing record or 0.
 * *ret_worker: the worker that will get the replies. Return: 0 or connect()'s errno. */
int sock_connect(struct stack *st, const struct sock_cmd *c, uint32_t bound,
		 struct sock_tuple *ret_t,
		 uint32_t *ret_bound, uint16_t *ret_worker, struct ip_route_res *ret_route);
/* Worker 0: a connection of this slot is over or failed, AF_UNSPEC: record @bound (0 = none) holds
 * the port alone again, and the slot's address is the wildcard unless bind() named one. */
void sock_unconnect(struct stack *st, struct sock_id id, uint32_t bound);
/* Any worker: the connection that held @bound is over. Return: @bound if bind() named its port: the
 * slot keeps it; else 0, and the port is free. */
uint32_t sock_bound_after(struct stack *st, uint32_t bound);
/* net.ipv4.ip_local_port_range. Return: 0, or -EINVAL when not 1 <= @lo <= @hi. */
int sock_set_port_range(struct stack *st, uint16_t lo, uint16_t hi);
/* Any worker: the tuple of a record changed (UDP connect and disconnect; travels to worker 0). */
void sock_bound_set(struct stack *st, uint32_t bound, const struct sock_tuple *t);
/* Any worker: the holder is gone (travels to worker 0). */
void sock_bound_put(struct stack *st, uint32_t bound);

/* An accepted connection of this worker holds its port until _del. Return: what to give back, 0 =
 * nothing. _adopt: of a killed engine's, whose listener may be gone; @home: worker 0. */
uint32_t sock_kid_add(struct stack *st, const struct sock_listener *l, const struct sock_tuple *t);
void sock_kid_del(struct stack *st, uint32_t brood);
uint32_t sock_kid_adopt(struct stack *st, struct stack *home, const struct sock_tuple *t);

/* listen(): @bound 0 binds to a free port first; makes the listener, replicates, answers when all
 * workers have it. Backlog change on a live one. */
void sock_listen(struct stack *st, const struct sock_cmd *c, uint32_t bound);
/* Takes it out of all replicas, then frees record, rings and slot. */
void sock_listen_close(struct stack *st, uint32_t listener);
/* The same for shutdown() and AF_UNSPEC: the slot stays, state CLOSE, with the port that bind()
 * named. @reply is answered at the end. */
void sock_listen_stop(struct stack *st, uint32_t listener, struct stack_reply_to reply);
/* The transport's part on every worker when a replica comes or goes: abort embryonic and queued
 * ones. */
struct sock_listen_ops {
	void (*up)(struct stack *st, uint32_t listener);
	void (*down)(struct stack *st, uint32_t listener);
	/* After down: a connection of this worker that nobody had accepted. Reset it, let go of its
	 * slot. */
	void (*abort)(struct stack *st, struct sock_id id);
};
void sock_set_listen_ops(struct stack *st, uint8_t proto, const struct sock_listen_ops *ops);

/* Best match (exact address before wildcard, reuseport by hash). Return: AR_LISTENER index or 0. */
uint32_t sock_llookup(struct stack *st, uint8_t proto, const struct sock_tuple *t);

/* ---- established table, this worker's; keyed SipHash of the tuple ---- */

/* Objects of kinds OBJ_TCB and OBJ_TW start with their struct sock_tuple, so that the table can
 * compare. */
/* OBJ(kind, idx) or 0 */
uint32_t sock_elookup(struct stack *st, const struct sock_tuple *t);
/* -EEXIST, -ENOMEM */
int sock_einsert(struct stack *st, const struct sock_tuple *t, uint32_t obj);
void sock_eremove(struct stack *st, const struct sock_tuple *t, uint32_t obj);
uint32_t sock_ecount(struct stack *st);

/* ---- connections that the device's steering brings to another worker (strays.c) ---- */

/* One for all workers, given to each as st->strays. NULL: no memory. */
struct sock_strays *sock_strays_create(void);
void sock_strays_destroy(struct sock_strays *s);
/* Worker 0: from when before the first worker's st->steer changes until all have recounted. */
void sock_strays_ask(struct stack *st, bool on);
/* This worker's st->steer has changed: look at @max lines of its table from *@at on (0 first).
 * Return: false when that was all. */
bool sock_strays_recount(struct stack *st, uint32_t *at, uint32_t max);
/* How many of this worker's connections are strays. */
uint32_t sock_strays(const struct stack *st);
/* This worker does not know connection @t. @asked: the packet's. Return: true and the worker that
 * shall be asked next: hand the packet on to it. */
bool sock_elsewhere(struct stack *st, const struct sock_tuple *t, uint8_t *asked,
		    uint16_t *ret_to);

/* ---- slots, this worker ---- */

/* A fresh slot for an accepted connection in the listener's segment: options inherited, addresses
 * filled, state as told, gen set last. Return: 0 or -ENOMEM. */
int sock_slot_accept(struct stack *st, const struct sock_listener *l, const struct sock_tuple *t,
		     uint32_t obj, struct sock_id *ret_id);
/* Push it into the listener's ring of this worker and post IN. -EAGAIN: ring or backlog full. */
int sock_accept_push(struct stack *st, uint32_t listener, struct sock_id id);
/* Entries of this worker's rings that the dead process had claimed wait again. */
void sock_accept_reap(struct stack *st, uint16_t seg, uint32_t proc, uint32_t proc_gen);
/* Worker 0: does a listener use this ring of the segment? */
bool sock_accept_ring_used(const struct stack *st, uint16_t seg, uint32_t ring);
/* Connections in this worker's ring not accepted yet. */
uint32_t sock_accept_len(struct stack *st, uint32_t listener);
/* The engine is done with the slot and the program has closed it: FIFOs destroyed, slot to its
 * pool. */
void sock_slot_free(struct stack *st, struct sock_id id);
/* Both halves, NULL when gone or generation differs. */
struct sd_slot_e *sock_slot_e(struct stack *st, struct sock_id id);
struct sd_slot_p *sock_slot_p(struct stack *st, struct sock_id id);
/* Slots of a segment that this worker put into service less those it freed; 0 in sum over the
 * workers: none is left. app counts what ATTACH puts into service. */
void sock_slot_count(struct stack *st, uint16_t seg, int32_t delta);
/* May the family have one more? Asked before sock_slot_count(+1); what the uid has is
 * charged there. */
bool sock_slot_room(struct stack *st, uint16_t seg);
int32_t sock_slot_used(struct stack *st, uint16_t seg);
/* Worker 0: ports that the segment's programs hold. */
uint32_t sock_ports_used(const struct stack *st, uint16_t seg);
/* Worker 0: the segment's memory is going away; its accept rings are fresh again. */
void sock_seg_gone(struct stack *st, uint16_t seg);
/* Set an asynchronous error (err, err_seq) and post ERR with @ev. */
void sock_set_err(struct stack *st, struct sock_id id, int err, uint32_t ev);

/* ---- adoption of what a killed engine left (DESIGN.md of engine/); one thread for all workers
 * ---- */

/* Tables as the arena says: on worker 0 first. Listeners whose slot is gone are freed. */
int sock_adopt(struct stack *st);
/* Worker 0: AR_BOUND @bound has a holder: a connection, a TIME_WAIT, a listener, a slot. Return:
 * false when there is no such record. */
bool sock_bound_claim(struct stack *st, uint32_t bound);
/* Worker 0, when all have claimed theirs: the rest is freed, chains and the table of connections
 * stand. */
void sock_adopt_bounds(struct stack *st);
/* Is the record in service and this slot's? */
bool sock_bound_is(struct stack *st, uint32_t bound, struct sock_id id);
bool sock_listener_is(struct stack *st, uint32_t listener, struct sock_id id);
/* Worker 0: a connect() that was lost on its way: the slot's record is a mere bind() again.
 * Return: the record, 0 = none. */
uint32_t sock_bound_revert(struct stack *st, struct sock_id id);
/* Worker 0, last: what listeners were doing is finished: pending answers, closes. */
void sock_adopt_finish(struct stack *st);
/* @fn for each entry of the live listeners' accept rings in segment @seg, of all workers; worker
 * 0. */
void sock_accept_walk(struct stack *st, uint16_t seg,
		      void (*fn)(void *arg, uint32_t slot, uint32_t gen),
		      void *arg);

/* For show: at most @max records from position @pos on, 0 = the first. Return: the next position, 0
 * = that was all. */
uint32_t sock_bound_walk(struct stack *st, uint32_t pos, uint32_t max,
			 void (*fn)(void *arg, uint32_t idx, const struct sock_bound *b),
			 void *arg);

#endif
