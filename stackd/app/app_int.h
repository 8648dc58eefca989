/* SPDX-License-Identifier: MIT */
/* app/app_int.h - what the files of app/ share; see DESIGN.md of this folder */
#ifndef APP_APP_INT_H
#define APP_APP_INT_H

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "shm/lock.h"
#include "shm/mbox.h"
#include "shm/opentab.h"
#include "shm/ring.h"
#include "stackd/app/app.h"

#define APP_TURN	64u		/* commands of one process before the next one's turn */
#define APP_BAD_MAX	32u		/* broken commands that end a session */
/* Messages kept for other workers: no new commands above; those of a dead process are dropped. */
#define APP_KEPT_HIGH	4096u

#define PROC_WORDS	(SD_MAX_PROCS / 64)
#define MBOX_WORDS	(SD_MAX_MBOXES / 64)

enum app_drain { APP_D_IDLE = 0, APP_D_ASKED, APP_D_DONE };

/* A worker's view of one segment. */
struct app_seg {
	uint32_t procs;			/* live here */
	uint32_t active;		/* position in app_state.active + 1, 0 = not there */
	uint64_t live[PROC_WORDS];	/* whose commands are taken */
	uint64_t more[PROC_WORDS];	/* have commands although their dirty bit was taken */
	uint32_t rec[SD_MAX_PROCS];	/* AR_PROC */
	uint16_t bad[SD_MAX_PROCS];	/* broken commands */
	struct shm_cmd_reader rd[SD_MAX_PROCS];
	uint64_t queued[MBOX_WORDS];	/* in app_state.wakes */
	uint64_t again[PROC_WORDS];	/* adopted: commands may have been done before */

	/* worker 0 */
	uint32_t attached;		/* processes: live, or being undone; and holds */
	uint32_t holds;			/* app_family_hold(): counts without a table entry */
	uint64_t used[PROC_WORDS];	/* process indices taken */
	uint16_t mbox_owner[SD_MAX_MBOXES];	/* process index + 1 */
	uint8_t ending;			/* APP_JOB_END is not done yet */
	uint8_t sweep;			/* enum app_sweep_state */
	uint32_t forks;			/* counts them */
	uint8_t drain;			/* enum app_drain */
	uint16_t drain_acks;
	int64_t drain_sum;
	uint64_t drain_since_us;	/* 0 = not begun */
};

/* Work of worker 0 that may be long: done in pieces, one after the other (undo.c). */
enum app_job_kind { APP_JOB_UNDO = 0, APP_JOB_CLONE, APP_JOB_END };
struct app_job {
	uint8_t kind;			/* enum app_job_kind */
	uint8_t stage;
	uint16_t seg;
	uint32_t rec;			/* AR_PROC of UNDO, of CLONE's child */
	uint32_t pos, end;		/* within the stage */
	uint32_t from;			/* CLONE: process index of the parent */
	app_done_fn done;		/* CLONE, NULL = nobody waits */
	void *arg;
};

struct app_state {
	struct app_seg *segs;		/* [STACK_MAX_SEGS], sparse */
	uint16_t active[STACK_MAX_SEGS];
	uint32_t active_cnt, turn;
	struct app_wake *wakes;		/* [wake_head, wake_cnt) wait */
	uint32_t wake_head, wake_cnt;
	uint32_t cpu;			/* where this worker runs, + 1 */
	struct app_wake here;		/* who on that CPU was told last; mbox 0 = nobody */

	/* worker 0 */
	struct idx_pool procs;
	uint32_t gen;
	uint16_t *gone_acks;		/* by AR_PROC record */
	struct app_job *jobs;		/* ring of app_jobs_max() */
	uint32_t job_head, job_cnt;
	struct app_sweep *sweep;
};
#define APP_SEGS_SIZE	((size_t)STACK_MAX_SEGS * sizeof(struct app_seg))
#define APP_WAKES_MAX	((size_t)STACK_MAX_SEGS * SD_MAX_MBOXES)

static inline bool bit_get(const uint64_t *map, uint32_t i) { return map[i / 64] >> i % 64 & 1; }
static inline void bit_set(uint64_t *map, uint32_t i) { map[i / 64] |= 1ull << i % 64; }
static inline void bit_clear(uint64_t *map, uint32_t i) { map[i / 64] &= ~(1ull << i % 64); }

/* ---- cmd.c ---- */
/* Take up to @max commands of one process. Return: how many there were. */
unsigned app_proc_poll(struct stack *st, uint16_t seg, uint32_t proc, unsigned max);
/* Carry out a checked command, here or on the slot's worker. */
void app_dispatch(struct stack *st, const struct sock_cmd *c);
void app_close_slot(struct stack *st, struct sock_id id);
void app_on_cmd(struct stack *st, const struct stack_msg *msg);

/* ---- proc.c ---- */
void app_proc_join(struct stack *st, uint16_t seg, uint32_t proc, uint32_t rec);
void app_on_proc_add(struct stack *st, const struct stack_msg *msg);
void app_on_proc_gone(struct stack *st, const struct stack_msg *msg);
void app_on_proc_ack(struct stack *st, const struct stack_msg *msg);
void app_on_proc_bad(struct stack *st, const struct stack_msg *msg);
void app_on_proc_reap(struct stack *st, const struct stack_msg *msg);
/* Worker 0: a message that names process, index and generation, to every worker. */
void app_tell_all(struct stack *st, uint16_t kind, const struct app_proc *p, uint32_t rec);
/* Worker 0: nothing of the process is left; ends the family with the last one. */
void app_proc_free(struct stack *st, uint32_t rec);
/* Worker 0: no process of the segment is left; what it still has is closed (APP_JOB_END). */
void app_family_end(struct stack *st, uint16_t seg);

/* ---- walk.c: worker 0, adoption ---- */
/* Entries of an open table looked at in one go; whole pages. */
#define APP_FDS_PIECE	8192u
/* Where the piece that begins at @fd ends, of a table of @len. */
static inline uint32_t app_fds_stop(uint32_t fd, uint32_t len)
{
	uint32_t stop = (fd / APP_FDS_PIECE + 1) * APP_FDS_PIECE;

	return stop < len ? stop : len;
}
/* The next entry in use, from @fd on. Return: it, or @stop, as app_fds_stop() has it. */
uint32_t app_fd_next(const struct shm_seg *seg, uint32_t proc, uint32_t fd, uint32_t stop);
/* The slot goes into service. @slot in [1, SD_SLOTS_P). */
void app_pslot_mark(struct stack *st, uint16_t seg, uint32_t slot);
/* Return: the next marked slot, @from or above; SD_SLOTS_P when there is none. */
uint32_t app_pslot_next(struct stack *st, uint16_t seg, uint32_t from);
/* All slots of a segment that may be in service, programs' and then the engine's, one after the
 * other from @slot = 0 on, below app_slots_end(). Marks of slots that are not in service any more
 * are taken back on the way. */
uint32_t app_slot_after(struct stack *st, uint16_t seg, uint32_t slot);
uint32_t app_slots_end(struct stack *st, uint16_t seg);

/* ---- undo.c: worker 0 ---- */
static inline uint32_t app_jobs_max(const struct stack *st)
{
	return 2 * st->arena->hdr->reg[AR_PROC].cnt + STACK_MAX_SEGS;
}
void app_job_add(struct stack *st, struct app_job job);
/* A piece of the oldest job. Return: steps done. */
unsigned app_job_poll(struct stack *st);
/* Clone an open table. Return: true = done; false = it goes on as a job, @j's done() will tell. The
 * parent's death comes behind it in the queue. */
bool app_clone(struct stack *st, struct app_job *j);

/* ---- sweep.c: worker 0 ---- */
int app_sweep_init(struct stack *st);
void app_sweep_fini(struct stack *st);
/* A process died and its family lives on: look for what it had half taken or half given back. */
void app_sweep_want(struct stack *st, uint16_t seg);
/* Return: steps done. */
unsigned app_sweep_poll(struct stack *st);
bool app_sweep_busy(const struct stack *st);
/* When it goes on by itself; UINT64_MAX = never. */
uint64_t app_sweep_due_us(const struct stack *st);

/* ---- drain.c ---- */
void app_on_seg_gone(struct stack *st, const struct stack_msg *msg);
void app_on_seg_ack(struct stack *st, const struct stack_msg *msg);

#endif
