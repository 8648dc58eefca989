/* SPDX-License-Identifier: MIT */
/* ctl/ctl_int.h - what the files of the control path share
 *
 * A connection is a program's, for life, or stackctl's. HELLO or FORK gives it a session: an
 * attached process with doorbells, mailboxes and a place in a segment. The connection's hang-up
 * ends the session; the last session of a segment ends the segment.
 * Holds:   V1 no program gets an fd before the supervisor has a dup of it: answers to HELLO, FORK
 * and
 *             MBOX are sent when their deposits are confirmed
 *          V2 an fd or segment that workers may use is closed or unmapped only after a cross call
 *          has
 *             come back from all of them
 */
#ifndef CTL_CTL_INT_H
#define CTL_CTL_INT_H

#include <jansson.h>

#include "stackd/ctl.h"
#include "stackd/ctl/ctl.h"

struct show;				/* show.c: an answer in pieces */

/* Arguments of watches in the ring: the place, and above it a number that counts. */
#define CTL_WATCH(place, tag)	((uint32_t)(place) | (uint32_t)(tag) << 13)
#define CTL_PLACE(arg)		((arg) & 0x1fffu)

#define CTL_CONNS	8192u
static_assert(CTL_CONNS <= CTL_PLACE(~0u) + 1, "CTL_WATCH()");
#define CTL_DRAIN_US	5000u		/* between looks at segments that empty */
#define CTL_UIDS	1024u		/* that have anything at once */
#define CTL_MSG_MAX	(sizeof(struct sd_ctl_text) + 4096u)	/* longest message we take */

struct uid_acct {			/* see uid.c */
	struct shm_budget budget;
	bool used;			/* ever; accounts in use come first */
	uint32_t uid;
	uint32_t families, procs, conns;
	uint64_t refused_attach, refused_procs, refused_conns;
	struct conf_limits limits;
	uint32_t closing;		/* its descriptors that wait to be closed: closer.c */
	bool closer_busy;		/* guarded there */
} __attribute__((aligned(64)));

struct session {			/* what one attached process holds */
	uint32_t proc;			/* AR_PROC record, 0 = not attached */
	uint16_t seg;			/* 0 = none */
	uint64_t key;			/* of its fds in the store */
	int doorbell[SD_MAX_WORKERS];
	uint32_t doorbells;		/* how many of them there are */
	uint32_t mbox_cnt;
	uint32_t *mbox;			/* numbers; their eventfds are in eng->mbox_fd[seg] */
	struct uid_acct *acct;		/* that it is counted in, NULL = not yet */
};

/* A low port being asked for: lowport.c. */
enum low_step { LOW_NONE = 0, LOW_ASKED, LOW_CHALLENGED, LOW_PROVED };
struct conn_low {
	uint32_t step;			/* enum low_step */
	uint32_t pid, port;
	uint64_t proof, start;
};

/* WAITS: a request is being answered. */
enum conn_state { CONN_FREE = 0, CONN_OPEN, CONN_WAITS };
/* Why its program is to be hung up. */
enum conn_bad { CONN_GOOD = 0, CONN_BAD_CONTRACT, CONN_BAD_MEMORY };
struct conn {
	uint8_t state;			/* enum conn_state */
	uint8_t bad;			/* enum conn_bad: to be ended by the next ctl_poll() */
	uint8_t adopted;		/* was asked to repeat its request: it may come twice */
	uint32_t gen;			/* counts uses of this place */
	uint32_t tag;			/* of its watches: CTL_WATCH() */
	int fd;
	uint64_t key;			/* in the store; 0 = not there yet */
	struct sup_cred cred;
	struct uid_acct *acct;		/* of cred.uid; NULL = there was none left */
	struct conn_low low;
	struct session *ses;		/* NULL = none */
	struct capture *cap;		/* NULL = none */
	char *out;			/* text still to be sent */
	size_t out_len, out_pos;
	struct show *show;		/* goes on behind it, NULL = that is the end */
};

/* A deposit that the supervisor has not answered yet; answers come in the order of requests. */
struct deposit {
	struct deposit *next;
	/* @ro_fd: given, -1 = none. */
	void (*done)(struct engine *eng, struct deposit *d, int err, int ro_fd);
	void *arg;
};

struct seg_ctl {			/* a segment's control side */
	uint64_t key;
	uint32_t sessions;
	uint8_t draining;
	uint32_t exports;
	/* for REATTACH; ro_fd is the read-only copy, -1 = none yet */
	int ro_fd, rw_fd;
	struct uid_acct *acct;		/* whose it is; NULL = no segment */
	int64_t rw_pages;		/* that programs had touched at the last look */
};

/* Bytes on their way between a FIFO and a pair: the kernel stores into mm.msg_len how many went, in
 * the system call itself, so that an engine that is killed leaves no doubt. */
struct export_move {
	uint8_t busy;			/* from..msg_len count; st_rel */
	uint64_t from;			/* position in the FIFO where it began */
	struct mmsghdr mm;		/* its pointers are the mover's: no other reads them */
};

struct export_rec {			/* AR_EXPORT: what the next engine must know */
	uint8_t live;			/* counts a reference of the slot; st_rel */
	uint8_t carries;		/* the pair is the socket now: no IMPORT any more */
	uint8_t transit;		/* there is no pair: it ends at until_us */
	uint16_t seg;
	uint32_t slot, gen;
	uint64_t ino;			/* of the end that was given away */
	uint64_t until_us;
	uint64_t key;			/* of our end in the store */
	struct export_move in, out;	/* pair to slot, slot to pair */
};

struct export {				/* a socket held as an fd: export.c */
	struct export_rec *rec;		/* NULL = free place */
	uint8_t out_shut, in_shut;	/* the end was told to the holder, to the peer */
	int fd;				/* our end, -1 = none */
	uint32_t tag;			/* of its watch */
	uint32_t nap_us;
	uint64_t alone_us;		/* since when no program holds the slot, 0 = one does */
	uint64_t next_us;		/* next look */
	uint32_t twin;			/* the next export of the same socket, perhaps this one */
};

struct closer;
struct late;

struct ctl_state {
	struct closer *closer;
	struct conn *conn;		/* [CTL_CONNS]; place 0 is not used */
	uint32_t conn_cnt, conn_hint;
	uint32_t bad_cnt;
	struct seg_ctl seg[STACK_MAX_SEGS];
	uint32_t draining;		/* segments */
	uint64_t drain_due_us;		/* when they are asked next */
	uint16_t seg_hi;		/* highest number ever used */
	struct uid_acct *uids;		/* [CTL_UIDS] */
	uint64_t uid_look_us, uid_flags_us;	/* when they are looked at next */
	uint64_t next_key;
	uint32_t next_tag;
	struct deposit *dep_head, **dep_tail;
	struct late *late, **late_tail;	/* ctl_drop_later(), the oldest first */
	uint64_t *drops;		/* keys that the channel had no room for */
	uint32_t drop_cnt, drop_room;
	struct show *shows;		/* whose next piece may be made */
	struct export *exports;
	uint32_t export_cnt;
	uint64_t export_due_us;		/* when the next look is due at the earliest */
	char part[sizeof(struct sd_ctl_text) + SD_CTL_TEXT_MAX];	/* of a text on its way */
};

/* ---- ctl.c ---- */
/* All processes of a segment are hung up by the next ctl_poll(). Return: how many. */
unsigned ctl_family_bad(struct engine *eng, uint16_t seg, enum conn_bad why);
/* Deposit @fds under @key; @d (caller's storage) gets the answer. Return: 0 or -errno (then no
 * answer). */
int ctl_keep(struct engine *eng, struct deposit *d, uint64_t key, uint32_t kind, const void *meta,
	     size_t meta_len, const int *fds, unsigned cnt, uint32_t flags);
void ctl_drop(struct engine *eng, uint64_t key);
/* A socket that programs write into: close @fd, which was watched, and drop @key, a moment later.
 */
void ctl_drop_later(struct engine *eng, int fd, uint64_t key);
static inline uint64_t ctl_new_key(struct engine *eng) { return ++eng->ctl->next_key; }

/* ---- conn.c ---- */
/* Take up a connection. Return: its place, or 0 when there is none left (fd is closed). */
uint32_t conn_open(struct engine *eng, int fd, uint64_t key, const struct sup_cred *cred);
/* Hang up and end its session. */
void conn_close(struct engine *eng, uint32_t idx);
/* One line to the program, then hang up. */
void conn_refuse(struct engine *eng, uint32_t idx, int err, const char *text);
/* The same, but the connection and its session go on. */
void conn_deny(struct engine *eng, uint32_t idx, int err, const char *text);
/* NULL when the connection of that time is gone. */
struct conn *conn_at(struct engine *eng, uint32_t idx, uint32_t gen);
/* Send @text (taken, from malloc) in parts. */
void conn_send_text(struct engine *eng, uint32_t idx, char *text, size_t len);
/* The same, and more will follow: @show goes on when this is on its way. Takes both. */
void conn_send_piece(struct engine *eng, uint32_t idx, char *text, size_t len, struct show *show);

/* ---- session.c ---- */
void session_hello(struct engine *eng, uint32_t idx, const struct sd_ctl_hello *h);
void session_fork(struct engine *eng, uint32_t idx);
void session_reattach(struct engine *eng, uint32_t idx, const struct sd_ctl_hello *h);
void session_mbox(struct engine *eng, uint32_t idx);
/* The process is gone: detach it, retire its fds, and the segment with the last one. Takes @s. */
void session_end(struct engine *eng, struct session *s);

/* It counts for its family's uid. */
void session_count(struct engine *eng, struct session *s);

/* Tell every worker to listen to the session's doorbells. Return: 0 or -ENOMEM. */
int session_watch(struct engine *eng, struct session *s);

/* ---- lowport.c ---- */
/* @pid: who sent it. */
void session_lowport(struct engine *eng, uint32_t idx, const struct sd_ctl_lowport *req,
		     uint32_t pid);
void lowport_judged(struct engine *eng, const struct sup_msg *m);

/* ---- uid.c ---- */
int uid_init(struct engine *eng);
/* The uid's account, made when there is none. NULL: too many uids have something. */
struct uid_acct *uid_acct(struct engine *eng, uint32_t uid);
/* The connection is counted already: may there be so many? */
bool uid_conn_room(struct engine *eng, const struct conn *cn);
/* May a program come on this connection? Return: 0, or -errno and one line in @text. */
int uid_admit(struct engine *eng, const struct conn *cn, char *text, size_t size);
/* May the uid's programs fork? Return: 0 or -EAGAIN. */
int uid_fork_room(struct uid_acct *a);
/* Chunks that a family of the uid may take for what it sends. */
uint32_t uid_family_chunks(const struct uid_acct *a);
/* A segment, mapped, is the account's from now on; it is gone. */
void uid_family_open(struct engine *eng, uint16_t seg, struct uid_acct *a);
void uid_family_gone(struct engine *eng, uint16_t seg);
/* Its programs are told what there is little of; uid_poll() goes on with it. */
void uid_family_tell(struct engine *eng, uint16_t seg);
unsigned uid_poll(struct engine *eng);
uint64_t uid_idle_us(const struct engine *eng);
json_t *show_users(struct engine *eng, json_t *list);

/* ---- export.c ---- */
int export_init(struct engine *eng);
/* @k: our end of a pair as the supervisor kept it. Return: whether it was taken. */
bool export_adopt(struct engine *eng, const struct kept *k);
/* Records whose pairs nobody kept: their programs were never told. */
void export_adopt_rest(struct engine *eng);
void session_export(struct engine *eng, uint32_t idx, const struct sd_ctl_slot *req);
/* @fd: what came along, borrowed; -1 = nothing. */
void session_import(struct engine *eng, uint32_t idx, int fd);
/* Return: exports whose state changed. */
/* No program of the family is left, only exports. */
void export_alone(struct engine *eng, uint16_t seg);
unsigned export_poll(struct engine *eng);
uint64_t export_idle_us(struct engine *eng);

/* ---- capture.c ---- */
/* @req: CTL_CAPTURE of @len bytes, not yet checked. */
void capture_start(struct engine *eng, uint32_t idx, const void *req, uint32_t len);
/* Its reader has left. Takes @c. */
void capture_end(struct engine *eng, struct capture *c);

/* ---- pump.c ---- */
enum pump_end { PUMP_IDLE, PUMP_MOVED, PUMP_OVER };
/* Move what can be moved now. PUMP_OVER: nobody holds the pair, or the socket is gone. */
enum pump_end pump(struct engine *eng, struct export *x, struct sock_id id);
/* Finish the books of what an engine that was killed had on its way. */
void pump_adopt(struct engine *eng, struct export_rec *x);

/* ---- seg.c ---- */
/* Pools of all workers on the segment's span. Return: 0 or -errno. */
int seg_pools(struct engine *eng, uint16_t seg);
/* Make a mapped segment known: its table of eventfds, then its id. Takes the fds. Return: 0 or
 * -ENOMEM. */
int seg_show(struct engine *eng, uint16_t id, const struct shm_seg *s, const struct seg_ctl *c);
/* A new segment of @acct, mapped and known to all workers. Return: 0, the number and its
 * engine-written half's fd (the caller's to deposit and close), or -errno. */
int seg_open(struct engine *eng, struct uid_acct *acct, uint16_t *ret_seg, int *ret_ro);
/* Nobody is in it any more: it is destroyed when no worker refers to it. */
void seg_leave(struct engine *eng, uint16_t seg);
/* Return: segments that were destroyed. */
unsigned seg_poll(struct engine *eng);

/* ---- show.c ---- */
/* Answer a topic. Return: 0 (the text comes later), or -ENOENT. */
int show_start(struct engine *eng, uint32_t idx, const char *topic);
/* The next piece, at the next show_poll(); or, when nobody listens, its end. Takes @s. */
void show_more(struct engine *eng, struct show *s);
void show_drop(struct show *s);
unsigned show_poll(struct engine *eng);
/* ---- sysctl.c ---- */
/* "NAME", "NAME=VALUE" or "-a". Return: 0 and JSON (malloc), or -ENOENT, -EINVAL, -EPERM. */
int show_sysctl(struct engine *eng, const struct sup_cred *who, const char *text, char **ret_text);

/* A topic: what each worker adds to the list on its own thread, then worker 0's last word, which
 * takes the list and gives what is shown. Either may be NULL. */
#define SHOW_PIECE	1024u		/* records looked at by a worker at a time */
struct show_pos {			/* how far a worker has come; zero = at the beginning */
	uint32_t stage, pos;
	bool end;
};
struct show_topic {
	const char *name;
	void (*part)(struct worker *w, json_t *list);
	json_t *(*finish)(struct engine *eng, json_t *list);
	/* instead of part, for what may be millions: called again until p->end */
	void (*piece)(struct worker *w, struct show_pos *p, json_t *list);
};
/* "192.0.2.1", "*" for the wildcard. @buf: INET6_ADDRSTRLEN bytes. */
const char *show_addr(const struct sd_addr *a, char *buf);

/* ---- show_sock.c ---- */
void show_sockets(struct worker *w, struct show_pos *p, json_t *list);
void show_programs_part(struct worker *w, json_t *list);
json_t *show_programs(struct engine *eng, json_t *list);
/* What the open tables say: the first SHOW_FDS numbers of each process. */
json_t *show_fds(struct engine *eng, json_t *list);
/* ---- show_dev.c ---- */
void show_netdev(struct worker *w, json_t *list);
void show_workers(struct worker *w, json_t *list);
void show_neigh(struct worker *w, json_t *list);
void show_softnet(struct worker *w, json_t *list);
void show_route(struct worker *w, json_t *list);
json_t *show_snmp(struct engine *eng, json_t *list);
json_t *show_drops(struct engine *eng, json_t *list);
json_t *show_quarantine(struct engine *eng, json_t *list);
/* ---- nic.c: the whole device ---- */
void show_device_part(struct worker *w, json_t *list);
json_t *show_device(struct engine *eng, json_t *list);
/* `stackctl nic WORDS`. Return: 0 with malloc'd JSON, or -errno: -EPERM, -ENOENT, -EOPNOTSUPP,
 * -EINVAL. */
int nic_command(struct engine *eng, const struct sup_cred *who, const char *text,
		char **ret_text);

/* ---- closer.c ---- */
/* Before there is a filter. Return: 0 or -errno. */
int closer_init(struct engine *eng);
/* May the uid pass more? NULL: no. */
bool closer_room(const struct uid_acct *a);
/* Close what programs of @a have passed, whenever that may be done. */
void closer_close(struct engine *eng, struct uid_acct *a, const int *fds, unsigned cnt);

/* ---- rss.c ---- */
/* `stackctl nic rss WORDS`. Return: 0, -EINVAL (words), -ENODEV (another device's name),
 * -EOPNOTSUPP, or the device's -errno. */
int rss_command(struct nic_dev *dev, const char *words);
int coalesce_command(struct nic_dev *dev, const char *words);
/* The caller asks for the reset that makes it so. */
int ring_command(struct nic_dev *dev, const char *words);
json_t *show_rss(struct engine *eng, json_t *list);
json_t *show_coalesce(struct engine *eng, json_t *list);

#endif
