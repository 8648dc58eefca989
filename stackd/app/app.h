/* SPDX-License-Identifier: MIT */
/* app/app.h - programs' side of the engine: attach, commands, notifications; the trust boundary
 * Threads: app_poll/app_pending on each worker; attach, fork, detach on worker 0's control path,
 * which tells the others by storing the segment last (st_rel) and, for removal, by messages that
 * all answer.
 */
#ifndef APP_APP_H
#define APP_APP_H

#include "stackd/sock/sock.h"
#include "stackd/tcp/tcp.h"
#include "stackd/udp/udp.h"

/* AR_PROC: an attached process. */
struct app_proc {
	uint16_t seg;
	uint16_t idx;			/* struct sd_proc in the segment */
	uint32_t gen;
	uint32_t pid, uid, gid;		/* kernel's word (SO_PEERCRED) */
	uint8_t live, rsv;
	uint16_t low_port;		/* that it may bind now, once (ctl/lowport.c); 0 = none */
	/* worker that its connections prefer; app_attach() chooses */
	uint16_t home;
	char comm[32];
	uint64_t fd_key;		/* its eventfds in the supervisor's store */
	uint64_t conn_key;		/* its connection there */
};

int app_init(struct stack *st);
void app_fini(struct stack *st);

/* Take commands of all processes that have some, at most @budget. Return: commands handled. */
unsigned app_poll(struct stack *st, unsigned budget);
/* Sleep check: is any dirty word set? (ld_sc, after the sleeping word was swapped in) */
bool app_pending(struct stack *st);

/* How long worker 0 may sleep for all that this room knows, microseconds. */
uint64_t app_idle_us(struct stack *st);

/* The stack_up functions, for the engine to install. Wake-ups collected since the last call. */
void app_event(struct stack *st, struct sock_id id, uint32_t ev);
void app_reply(struct stack *st, struct stack_reply_to to, int err, const void *data, uint32_t len);
struct app_wake { uint16_t seg; uint16_t rsv; uint32_t mbox; };
unsigned app_take_wakes(struct stack *st, struct app_wake *wakes, unsigned max);
/* This worker runs on @cpu from now on. */
void app_runs_on(struct stack *st, int cpu);
/* Has somebody been told something who was last seen on this worker's CPU? */
bool app_told_here(struct stack *st);
/* Asks no more. Return: he sleeps again, so he has looked. */
bool app_forget_here(struct stack *st);

/* ---- control path, worker 0's thread ---- */

/* A new family: the segment is mapped already in st->segs[seg]. @who: pid, uid, gid, comm and
 * fd_key are taken over; the rest is chosen here. Return: 0, -ENOSPC. */
int app_attach(struct stack *st, uint16_t seg, const struct app_proc *who, uint32_t *ret_proc_rec);
typedef void (*app_done_fn)(struct stack *st, void *arg);
/* A child of @parent_rec: clones its open table. Return: 0; 1 = the table is large, @done is called
 * once it is cloned, never from within; -ENOSPC, -ESRCH when the parent is gone. */
int app_fork(struct stack *st, uint32_t parent_rec, uint32_t *ret_proc_rec, app_done_fn done,
	     void *arg);
/* All @cnt or none (-ENOSPC). They go with the process. */
int app_mbox_alloc(struct stack *st, uint32_t proc_rec, uint32_t *mbox, unsigned cnt);
/* The process died or left: undo its open table, close what was its alone, locks, claims,
 * mailboxes. With several workers this goes on after the call; the record is free when
 * app_proc_at() says NULL. *ret_last: the family has no process left; the caller destroys the
 * segment after app_seg_drain(). */
void app_detach(struct stack *st, uint32_t proc_rec, bool *ret_last);
/* Somebody who is no process of the family keeps its sockets alive: no family end meanwhile. */
void app_family_hold(struct stack *st, uint16_t seg);
void app_family_let_go(struct stack *st, uint16_t seg);
/* A command in a holder's name, no answer; CLOSE: the last reference went. */
void app_order(struct stack *st, struct sock_id id, enum sd_op op, uint32_t arg);
/* Take what stands in the process's rings for this worker now. */
void app_catch_up(struct stack *st, uint32_t proc_rec);
/* The record, NULL when free. */
struct app_proc *app_proc_at(struct stack *st, uint32_t proc_rec);
/* After the last detach, called again and again (every few milliseconds will do): orphans still
 * send what the programs had written; after APP_LINGER_US they are reset. True once no worker
 * refers to the segment any more. */
#define APP_LINGER_US	(120ull * 1000 * 1000)
bool app_seg_drain(struct stack *st, uint16_t seg);
/* The segment is gone: forget its marks in the arena. */
void app_pslots_clear(struct stack *st, uint16_t seg);
/* ---- adoption of what a killed engine left (app/adopt.c); one thread for all workers ----
 * In this order, tables of sock/, tcp/ and udp/ between procs and slots. */
/* Processes: rings, indices, mailbox owners are set by app_adopt_mbox(). */
void app_adopt_procs(struct stack *st);
void app_adopt_mbox(struct stack *st, uint32_t proc_rec, uint32_t mbox);
/* Slots and FIFOs of a segment: what each is, who owns it, what its pools have given out. @st:
 * of all workers. Return: 0 or -ENOMEM. */
int app_adopt_slots(struct stack *const *st, unsigned workers, uint16_t seg);
/* Everything stands: lost kicks and closes are carried out, everybody looks at his sockets
 * again. */
void app_adopt_finish(struct stack *const *st, unsigned workers, uint16_t seg);
void app_proc_walk(struct stack *st,
		   void (*fn)(void *arg, uint32_t rec, const struct app_proc *p), void *arg);

#endif
