/* SPDX-License-Identifier: MIT */
/* include/stackd/abi.h - the whole shared-memory contract between engine and programs
 *
 * A *segment* is shared by the engine and one family of programs (a process and what it forks). It
 * is two memfds:
 *   RO  written by the engine, mapped read-only by programs (owner: engine's uid, mode 0400):
 *       header | reply slots (one per mailbox) | slot_e[] | engine chunks (receive data, maps)
 *   RW  written by programs and, where stated, by the engine; nothing in it is trusted:
 *       header | bitmaps | processes (open table, command rings) | mailboxes | accept rings |
 *       slot_p[] | program chunks (send data, maps)
 * A third memfd, *info*, is one for the whole engine, read-only: workers' sleeping words, routes.
 *
 * Holds:
 *   A1  offsets and indices only, never pointers; index 0 means "none" for slots and chunks
 *   A2  each cache line has one writer at a time; exceptions are marked "both" and are atomic
 *   A3  the reader copies what the other side writes once, checks the copy, uses the copy
 *   A4  stream positions are 64-bit byte counters that start at 0 and never wrap
 *   A5  geometry is read from the header once at attach and checked against these constants
 * Versions: major differs = refuse; an engine serves shims of minor N and N-1.
 */
#ifndef STACKD_ABI_H
#define STACKD_ABI_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "stackd/addr.h"

#define SD_SEG_MAGIC	0x31474553444b5453ull	/* "STKDSEG1" */
#define SD_INFO_MAGIC	0x31464e49444b5453ull	/* "STKDINF1" */
#define SD_ABI_MAJOR	1
#define SD_ABI_MINOR	1

#define SD_CACHELINE	64
#define SD_MAX_WORKERS	32
#define SD_MAX_PROCS	1024		/* processes of one family */
#define SD_MAX_MBOXES	4096		/* of one family; 0 is none */
#define SD_MAX_ACCEPTS	4096		/* accept rings of one family */
#define SD_SLOTS	(1u << 20)	/* [1, SD_SLOTS_P) by programs, the rest by the engine */
#define SD_SLOTS_P	(1u << 19)
#define SD_FDS		(1u << 20)	/* fd numbers an open table can hold */
#define SD_CMD_ENTRIES	1024		/* per command ring; power of two */
#define SD_ACCEPT_ENTRIES 4096		/* per accept ring; power of two */

/* ---- chunks and FIFOs -------------------------------------------------------------------- */

#define SD_CHUNK_SHIFT	12
#define SD_CHUNK_SIZE	(1u << SD_CHUNK_SHIFT)
#define SD_CHUNKS	(1u << 22)	/* 16 GiB of each kind per segment; chunk 0 is never used */
/* chunks found without a map chunk: up to 16 KiB in flight */
#define SD_MAP_DIRECT	4
/* map chunks of 1024 entries each: up to 32 MiB in flight */
#define SD_MAP_INDIRECT	8
#define SD_MAP_SHIFT	10
#define SD_MAP_ENTRIES	(1u << SD_MAP_SHIFT)
#define SD_FIFO_MAX	((uint64_t)SD_MAP_INDIRECT << (SD_MAP_SHIFT + SD_CHUNK_SHIFT))

/* Where the bytes of a stream are. Written by the FIFO's producer only.
 * level 0: byte p is in chunk direct[(p >> 12) % 4]
 * level 1: byte p is in chunk M[(p >> 12) % 1024], M = map chunk ind[(p >> 22) % 8]
 * Going up, the producer fills ind[] first, then stores level (release), and leaves direct[] alone
 * until it goes down again, which it does only when the FIFO is empty: a reader that loaded level
 * after it loaded tail (acquire) finds every byte of [head, tail) by either map. */
struct sd_fifo_map {
	uint32_t level;
	uint32_t direct[SD_MAP_DIRECT];
	uint32_t ind[SD_MAP_INDIRECT];
	uint32_t held;			/* chunks held, map chunks included; for accounting only */
	uint64_t freed;			/* positions below are no longer backed by chunks */
};
static_assert(sizeof(struct sd_fifo_map) == 64, "one line");

/* A FIFO's place, so that it can later lie in a segment shared with another program. */
enum sd_fifo_role { SD_FIFO_RX = 0, SD_FIFO_TX = 1 };
struct sd_fifo_desc {
	uint16_t seg;
	uint16_t role;			/* enum sd_fifo_role */
	uint32_t base;			/* slot index */
};

/* Datagram sockets: each record in a FIFO is this header and then len bytes, padded to 8. */
struct sd_dgram {
	uint32_t len;			/* payload bytes */
	/* host order; peer for receive, destination for send, 0 = connected */
	uint16_t port;
	uint16_t flags;			/* SD_DGRAM_* */
	struct sd_addr addr;		/* peer or destination */
	/* receive: destination address of the packet; send: source or :: */
	struct sd_addr local;
	uint64_t stamp_ns;		/* receive: CLOCK_REALTIME, 0 = none */
	uint32_t full_len;		/* receive: length before truncation to 64 KiB - 1 */
	uint8_t tos, ttl;
	uint16_t gso_len;		/* UDP_SEGMENT / UDP_GRO payload size, 0 = one datagram */
};
static_assert(sizeof(struct sd_dgram) == 56, "padded to 8");

/* ---- slots ------------------------------------------------------------------------------- */

/* What a program may conclude about a socket. TCP states have Linux's numbers (TCP_INFO). */
enum sd_state {
	SD_ST_FREE = 0,
	SD_ST_ESTABLISHED = 1, SD_ST_SYN_SENT, SD_ST_SYN_RECV, SD_ST_FIN_WAIT1, SD_ST_FIN_WAIT2,
	SD_ST_TIME_WAIT, SD_ST_CLOSE, SD_ST_CLOSE_WAIT, SD_ST_LAST_ACK, SD_ST_LISTEN, SD_ST_CLOSING,
};

/* slot_e.flags: facts that stay true for the life of the connection */
#define SD_E_RCV_FIN	(1u << 0)	/* peer's FIN is at rx_tail: no byte follows */
#define SD_E_SND_FIN	(1u << 1)	/* our direction is shut (SHUT_WR or reset) */
#define SD_E_RESET	(1u << 2)	/* aborted; err was set with it */
#define SD_E_CONNECTED	(1u << 3)	/* has reached ESTABLISHED once (or UDP connect) */
#define SD_E_BOUND	(1u << 4)	/* holds laddr/lport */
#define SD_E_URG	(1u << 5)	/* urgent mark is at rx_urg */
#define SD_E_CLOSED	(1u << 6)	/* CLOSE was taken: no command is legal any more */
/* bind() named the address, the port: they outlive a connection and its failure. laddr, lport of a
 * socket that is not BOUND are the last ones, which getsockname() goes on showing, as on Linux */
#define SD_E_ADDR_LOCK	(1u << 7)
#define SD_E_PORT_LOCK	(1u << 8)

/* Readiness as posted to mailboxes: epoll's bits. */
#define SD_EV_IN	0x001u
#define SD_EV_PRI	0x002u
#define SD_EV_OUT	0x004u
#define SD_EV_ERR	0x008u
#define SD_EV_HUP	0x010u
#define SD_EV_RDHUP	0x2000u

/* What the engine says of a socket. RO: programs can only read. */
struct sd_slot_e {
	/* line 0; writer: owning worker */
	uint32_t gen;			/* generation served, 0 = none; st_rel last at set-up */
	uint16_t state;			/* enum sd_state */
	uint16_t worker;		/* whose command ring to use */
	uint32_t flags;			/* SD_E_* */
	uint32_t err;			/* errno of the newest asynchronous error */
	uint32_t err_seq;		/* counts errors; pending while != slot_p.err_ack */
	/* bytes that may be in the send FIFO (SO_SNDBUF, autotuned) */
	uint32_t tx_limit;
	/* bytes published to the program; pairs with slot_p.rx_head */
	uint64_t rx_tail;
	uint64_t tx_una;		/* bytes acknowledged: the program may free below */
	uint64_t tx_nxt;		/* bytes sent at least once (SIOCOUTQNSD) */
	/* right edge of the window last advertised, as a position */
	uint64_t rx_adv;
	uint32_t rx_limit;		/* receive buffer (SO_RCVBUF, autotuned), bytes */
	/* engine's object: kind << 28 | index; checked before use */
	uint32_t obj;

	/* line 1; writer: worker, at set-up */
	struct sd_addr laddr, raddr;
	uint16_t lport, rport;		/* host order */
	uint32_t accept_base;		/* listener: its ring for worker w is accept_base + w */
	uint32_t accept_cnt;		/* listener: number of rings */
	uint16_t mss;			/* current send MSS, payload bytes */
	uint8_t type, proto;		/* SOCK_*, IPPROTO_*: what ATTACH was granted; immutable */
	uint64_t rx_urg;		/* position just after the urgent byte */
	uint64_t rsv;

	/* line 2; writer: owning worker */
	struct sd_fifo_map rx;
};
static_assert(sizeof(struct sd_slot_e) == 192, "three lines");
static_assert(offsetof(struct sd_slot_e, laddr) == 64, "writer: worker, at set-up");
static_assert(offsetof(struct sd_slot_e, rx) == 128, "writer: worker");

/* slot_p.pending (both): work for the worker; a bit that was set already needs no new command. */
#define SD_PEND_TX	(1u << 0)	/* tx_tail moved */
#define SD_PEND_RX	(1u << 1)	/* rx_head moved enough for a window update, or rx_limit */
#define SD_PEND_OPT	(1u << 2)	/* options changed (nodelay, cork, keepalive, ...) */

/* slot_p.flags (programs; all processes of the family) */
#define SD_P_NONBLOCK	(1u << 0)	/* O_NONBLOCK, virtual */
#define SD_P_ASYNC	(1u << 1)	/* O_ASYNC, virtual */
/* a writer found no space: post OUT when there is; engine clears */
#define SD_P_NOSPACE	(1u << 2)
#define SD_P_SHUT_RD	(1u << 3)
#define SD_P_SHUT_WR	(1u << 4)
#define SD_P_HYBRID	(1u << 5)	/* the kernel socket behind the fd is live as well */
#define SD_P_PLACEHOLD	(1u << 6)	/* fd is a dup of a placeholder: never use it for I/O */
#define SD_P_V6ONLY	(1u << 7)
#define SD_P_BOUND_PORT	(1u << 8)	/* bound explicitly (bind() with a port, or autobind) */
#define SD_P_CONNECTING	(1u << 9)	/* connect() began and has not yet told its outcome */
/* shutdown() ended an attempt whose outcome nobody asked for: EINVAL until AF_UNSPEC */
#define SD_P_DISCONNECTING (1u << 10)
/* the kernel's now: each process forgets the slot when it meets this */
#define SD_P_FALLEN	(1u << 11)
/* the last write said MSG_MORE: its end is no reason to send; set before tx_tail */
#define SD_P_MORE	(1u << 12)

/* One subscription to a slot's readiness: bit = which bit of which mailbox. 0 = empty. */
typedef uint64_t sd_sub;
#define SD_SUB(mbox, bit, ev, excl) \
	((sd_sub)(mbox) | (sd_sub)(bit) << 16 | (sd_sub)(ev) << 40 | (sd_sub)!!(excl) << 63)
#define SD_SUB_MBOX(s)	((uint32_t)((s) & 0xffff))
#define SD_SUB_BIT(s)	((uint32_t)((s) >> 16 & 0xffffff))
/* SD_EV_*; ERR and HUP always match */
#define SD_SUB_EV(s)	((uint32_t)((s) >> 40 & 0x3fff))
#define SD_SUB_EXCL(s)	((uint32_t)((s) >> 63))
#define SD_SUBS_INLINE	3
#define SD_SUBS_EXT	(SD_CHUNK_SIZE / sizeof(sd_sub))

/* Options that the engine reads. Writer: programs, under SD_PEND_OPT; by the engine before an
 * accepted slot is published (inherited from the listener). */
struct sd_opts {
	uint8_t family;			/* AF_INET or AF_INET6 */
	uint8_t type;			/* SOCK_STREAM or SOCK_DGRAM */
	uint8_t proto;			/* IPPROTO_TCP, IPPROTO_UDP */
	uint8_t reuse;			/* bit 0 SO_REUSEADDR, bit 1 SO_REUSEPORT */
	uint8_t nodelay;		/* SD_EVOPT: on; each setting pushes what is held back */
	uint8_t cork;
	uint8_t slowack;		/* SD_EVOPT: TCP_QUICKACK off; each setting counts */
	uint8_t defer_accept_s;
	uint8_t keepalive;
	uint8_t keep_cnt;		/* 0 = sysctl default, as the next ones */
	uint16_t keep_idle_s, keep_intvl_s;
	uint8_t tos, ttl;		/* ttl 0 = default */
	uint8_t syncnt, linger_on;
	uint16_t linger_s;
	uint32_t user_timeout_ms;
	uint32_t sndbuf, rcvbuf;	/* 0 = autotuned; as getsockopt() shows them (doubled) */
	uint32_t rcvlowat;
	uint32_t priority, mark;
	uint16_t maxseg;		/* 0 = from the path */
	uint8_t pmtudisc, dgram_flags;	/* dgram_flags: SD_DGF_* */
	uint32_t notsent_lowat;
	char cc[8];			/* congestion control, "" = default */
	uint8_t hints[2];		/* shim's own: booleans that have no effect in the engine */
	uint8_t linger2_s;		/* TCP_LINGER2; 0 = sysctl default, SD_LINGER2_NONE */
	uint8_t rsv;
};
static_assert(sizeof(struct sd_opts) == 64, "one line");
/* Options that also act when they are set: value in bit 0, above it how often that happened. */
#define SD_EVOPT_ON	1u
#define SD_EVOPT_STEP	2u
#define SD_LINGER2_NONE	255	/* below zero: a reset instead of the wait for the peer's FIN */
#define SD_DGF_NO_CHECK	(1u << 0)
#define SD_DGF_BCAST	(1u << 1)
#define SD_DGF_PKTINFO	(1u << 2)

/* What the program says of a socket. RW: the engine trusts none of it. */
struct sd_slot_p {
	/* line 0; writers: programs; pending and flags: both */
	uint32_t gen;			/* generation of the program's handle */
	uint32_t pending;		/* SD_PEND_*, both */
	uint64_t tx_tail;		/* bytes written; st_rel; pairs with the worker's ld_acq */
	uint64_t rx_head;		/* bytes consumed */
	uint32_t flags;			/* SD_P_*, both (NOSPACE) */
	uint32_t refs;			/* open-table entries that name this slot; recomputable */
	uint32_t err_ack;		/* slot_e.err_seq consumed by SO_ERROR or a failed call */
	uint32_t rcvtimeo_ms, sndtimeo_ms;	/* 0 = none */
	uint32_t owner;			/* F_SETOWN pid, 0 = none */
	uint32_t port_range;		/* IP_LOCAL_PORT_RANGE: low | high << 16; 0 = as all */
	uint32_t rx_urg_done;		/* low half of the slot_e.rx_urg that MSG_OOB has fetched */
	uint64_t tx_urg;		/* just after what MSG_OOB sent; before tx_tail */

	/* line 1; writers: programs. Locks: see shm/lock.h */
	uint64_t tx_lock, rx_lock;
	/* guards changes of the subscriptions; the engine reads without */
	uint64_t sub_lock;
	/* program chunk with SD_SUBS_EXT more subscriptions, 0 = none */
	uint32_t sub_ext;
	/* both: add_sc() after a change; the engine's or_sc(0) pairs */
	uint32_t sub_seq;
	sd_sub subs[SD_SUBS_INLINE];
	/* inode of the kernel socket behind the fd while that may arrive by SCM_RIGHTS; else 0 */
	uint64_t kern_ino;

	/* line 2; writer: the program thread that holds tx_lock; the engine after CLOSE or, to trim
	 * an idle FIFO, while it holds tx_lock by try-lock */
	struct sd_fifo_map tx;

	/* line 3 */
	struct sd_opts opts;
};
static_assert(sizeof(struct sd_slot_p) == 256, "four lines");
static_assert(offsetof(struct sd_slot_p, tx_lock) == 64, "locks");
static_assert(offsetof(struct sd_slot_p, tx) == 128, "writer: tx_lock's holder");
static_assert(offsetof(struct sd_slot_p, opts) == 192, "writer: programs");

/* ---- mailboxes --------------------------------------------------------------------------- */

#define SD_MBOX_BITS	(1u << 20)
#define SD_MBOX_AWAKE	0u	/* nobody waits: bits only */
/* wake once: the poster swaps it to AWAKE, then writes the eventfd */
#define SD_MBOX_ASLEEP	1u
#define SD_MBOX_ARMED	2u	/* an unshimmed poller holds the eventfd: always wake */

/* A bitmap of subscriptions. Any number of producers: set leaf, then mid, then top by or_sc(), then
 * look at sleeping. The one consumer clears top, mid, leaf by xchg_sc() in that order, so that no
 * set bit can be without its summary for longer than the producer's next instruction. */
struct sd_mbox {
	uint32_t sleeping;		/* writers: consumer; poster ASLEEP -> AWAKE by cas_sc() */
	uint32_t proc;			/* owner, index of sd_proc */
	uint32_t rseq;			/* last reply sequence that the consumer asked for */
	uint32_t cursor;		/* bit where the next take begins; writer: consumer */
	uint64_t top[4];
	uint32_t cpu;			/* where the consumer was last seen, + 1; a hint */
	uint32_t pad[3];
	uint64_t mid[SD_MBOX_BITS / 64 / 64];
	uint64_t leaf[SD_MBOX_BITS / 64];
};
static_assert(offsetof(struct sd_mbox, mid) == 64, "header is one line");
#define SD_MBOX_STRIDE	(136u * 1024)
static_assert(sizeof(struct sd_mbox) <= SD_MBOX_STRIDE, "fits");

/* The answer to a synchronous command, one per mailbox, RO memfd: a caller has one in flight. */
#define SD_REPLY_DATA	480
struct sd_reply {
	uint32_t seq;			/* st_rel last; equals the command's rseq when valid */
	int32_t err;			/* 0 or -errno */
	uint32_t len;			/* bytes in data */
	uint32_t rsv[5];
	uint8_t data[SD_REPLY_DATA];
};
static_assert(sizeof(struct sd_reply) == 512, "eight lines");
/* The mailbox bit that announces a reply; subscriptions use bits 1 and up. */
#define SD_MBOX_REPLY_BIT 0

/* ---- commands ---------------------------------------------------------------------------- */

enum sd_op {
	SD_OP_NONE = 0,
	SD_OP_KICK,		/* look at slot_p.pending */
	SD_OP_BIND,		/* addr, port, u32[0]=SD_BIND_*; reply: struct sd_name */
	SD_OP_LISTEN,		/* u32[0]=backlog; reply: none */
	SD_OP_CONNECT,		/* addr, port; reply at once: 0 = started (or UDP done), -errno */
	SD_OP_DISCONNECT,	/* connect(AF_UNSPEC); u32[0]=SD_DISC_NAME: the address alone */
	SD_OP_SHUTDOWN,		/* u32[0]=SHUT_RD|WR|RDWR */
	SD_OP_CLOSE,		/* last reference is gone; no reply */
	/* reply: struct tcp_info as in <linux/tcp.h>, as far as SD_REPLY_DATA */
	SD_OP_GETINFO,
	/* u32[0]=level, u32[1]=optname, u32[2]=value; reply: none (op_str: cc) */
	SD_OP_SETOPT,
	SD_OP_GETOPT,		/* u32[0]=level, u32[1]=optname; reply: value bytes */
	/* a program-allocated slot goes into service: gen, opts; no reply needed */
	SD_OP_ATTACH,
	SD_OP_MAX
};

#define SD_BIND_DEFER_PORT (1u << 0)	/* IP_BIND_ADDRESS_NO_PORT */
/* the port was not asked for, the kernel picked it: shared with nobody, whatever the options say */
#define SD_BIND_PICKED	(1u << 1)

#define SD_DISC_NAME	1u

/* sd_cmd.flags: sent before, but the engine was restarted: it may have been carried out. */
#define SD_CMD_AGAIN	(1u << 0)

/* One entry, one line. Multi-producer within the process: a producer takes position p by
 * compare-and-swap on the reserve word (full while p - cons == N), fills entry p % N, then stores
 * seq = p + 1 (release). */
struct sd_cmd {
	uint32_t seq;
	uint16_t op;			/* enum sd_op */
	uint16_t flags;			/* SD_CMD_* */
	uint32_t slot, gen;
	uint32_t mbox;			/* where to reply, 0 = nowhere */
	uint32_t rseq;
	struct sd_addr addr;
	uint16_t port;			/* host order */
	uint16_t rsv2;
	uint32_t u32[3];
	char str[8];
};
static_assert(sizeof(struct sd_cmd) == 64, "one line");

struct sd_cmd_ring {
	uint32_t reserve;		/* producers: next position */
	uint32_t pad0[15];
	uint32_t cons;			/* writer: worker; st_rel after the entry was copied */
	uint32_t pad1[15];
	struct sd_cmd e[SD_CMD_ENTRIES];
};
static_assert(offsetof(struct sd_cmd_ring, cons) == 64, "writer: worker");
static_assert(offsetof(struct sd_cmd_ring, e) == 128, "writer: program");

struct sd_name {			/* reply of BIND and of GETOPT-less name queries */
	struct sd_addr addr;
	uint16_t port, rsv;
};

/* ---- processes and open tables ------------------------------------------------------------ */

/* Open-table entry: 0 = not ours. Writers: the owning process; the engine when it clones the table
 * for a fork and when it undoes a dead process. */
typedef uint64_t sd_ofd;
enum sd_ofd_kind { SD_OFD_NONE = 0, SD_OFD_SOCK = 1, SD_OFD_EPOLL = 2, SD_OFD_SHIM = 3 };
#define SD_OFD(kind, idx, gen) \
	((sd_ofd)(kind) | (sd_ofd)(idx) << 8 | (sd_ofd)(gen) << 32)
#define SD_OFD_KIND(o)	((uint32_t)((o) & 0xff))
#define SD_OFD_IDX(o)	((uint32_t)((o) >> 8 & 0xffffff))	/* slot; epoll: mailbox; shim: 0 */
#define SD_OFD_GEN(o)	((uint32_t)((o) >> 32))

struct sd_proc {
	uint32_t pid;			/* as the program says; the engine has the kernel's word */
	uint32_t gen;			/* of this process index; writer: engine */
	uint32_t hi_fd;			/* highest fd ever entered + 1 */
	uint32_t rsv;
	uint64_t mag[2];		/* its struct shm_magazine: here so that it outlives it */
	uint64_t pad[4];
	uint8_t page_pad[4096 - 64];
	sd_ofd fds[SD_FDS];
	struct { struct sd_cmd_ring r; uint8_t pad[4096 - 128]; } rings[SD_MAX_WORKERS];
};
#define SD_PROC_STRIDE	(16u << 20)
static_assert(sizeof(struct sd_proc) <= SD_PROC_STRIDE, "fits");

/* ---- accept rings ------------------------------------------------------------------------- */

/* Claim word: 0 = free for the engine, READY = waiting, else SD_CLAIM() while an acceptor installs
 * it; it stores 0 when the fd stands in its open table. The engine sets READY again for entries
 * that a dead process had claimed. cons only moves over FREE entries, and the engine pushes while
 * prod - cons < N and the entry is FREE: a claimed or re-queued entry is always in [cons, prod). */
#define SD_CLAIM_FREE	0ull
#define SD_CLAIM_READY	1ull
#define SD_CLAIM(proc, gen) ((uint64_t)(gen) << 32 | (uint64_t)(proc) << 8 | 2ull)
#define SD_CLAIM_PROC(c) ((uint32_t)((c) >> 8 & 0xffffff))
#define SD_CLAIM_GEN(c)	((uint32_t)((c) >> 32))
struct sd_accept_ent {
	uint64_t claim;
	uint32_t slot, gen;
};

struct sd_accept_ring {
	uint32_t prod;			/* writer: worker, st_rel */
	uint32_t pad0[15];
	uint32_t cons;			/* writers: acceptors, cas_sc */
	uint32_t pad1[15];
	struct sd_accept_ent e[SD_ACCEPT_ENTRIES];
};
#define SD_ACCEPT_STRIDE (68u * 1024)
static_assert(sizeof(struct sd_accept_ring) <= SD_ACCEPT_STRIDE, "fits");

/* ---- segment layout ------------------------------------------------------------------------ */

struct sd_geometry {
	uint32_t slots, slots_p, chunks, chunk_size, procs, mboxes, accepts, workers;
	uint64_t size;			/* of this memfd */
};

struct sd_seg_ro {
	uint64_t magic;			/* SD_SEG_MAGIC, st_rel last */
	uint16_t major, minor;
	uint32_t seg;			/* segment number, 1.. */
	uint64_t features;		/* none defined */
	struct sd_geometry geo;
	/* What the family's uid has little of: SD_SCARCE_*; writer: worker 0, after the header */
	uint32_t scarce;
};
/* Slots: ask (ATTACH with an answer) before a socket counts on one. Chunks: take no more. */
#define SD_SCARCE_SLOTS		(1u << 0)
#define SD_SCARCE_CHUNKS	(1u << 1)

struct sd_seg_rw {
	uint64_t magic;
	uint16_t major, minor;
	uint32_t seg;
	struct sd_geometry geo;
	uint64_t pad;
	/* Where a free chunk or slot is likely, as bitmap word; writers: all, hints only. */
	uint32_t chunk_hint, slot_hint;
	uint64_t pad1[7];
	/* Which processes have commands: producer or_sc() after publishing, worker xchg_sc(0). */
	uint64_t dirty[SD_MAX_WORKERS][SD_MAX_PROCS / 64];
	/* engine hands mailboxes out; copy for show */
	uint64_t mbox_used[SD_MAX_MBOXES / 64];
};
static_assert(offsetof(struct sd_seg_rw, chunk_hint) == 64, "writer: all");
static_assert(offsetof(struct sd_seg_rw, dirty) == 128, "lines of their own");

#define SD_ALIGN_UP(v, a) (((uint64_t)(v) + (a) - 1) / (a) * (a))
#define SD_PAGE		4096ull

#define SD_RO_REPLY	SD_PAGE
#define SD_RO_SLOTS	(SD_RO_REPLY + (uint64_t)SD_MAX_MBOXES * sizeof(struct sd_reply))
#define SD_RO_CHUNKS \
	SD_ALIGN_UP(SD_RO_SLOTS + (uint64_t)SD_SLOTS * sizeof(struct sd_slot_e), 2u << 20)
#define SD_RO_SIZE	(SD_RO_CHUNKS + (uint64_t)SD_CHUNKS * SD_CHUNK_SIZE)

#define SD_RW_SLOTMAP	SD_ALIGN_UP(sizeof(struct sd_seg_rw), SD_PAGE)	/* 1 = free, bits */
#define SD_RW_CHUNKMAP	(SD_RW_SLOTMAP + SD_SLOTS_P / 8)		/* 1 = free, bits */
#define SD_RW_PROCS	SD_ALIGN_UP(SD_RW_CHUNKMAP + SD_CHUNKS / 8, 2u << 20)
#define SD_RW_MBOXES	(SD_RW_PROCS + (uint64_t)SD_MAX_PROCS * SD_PROC_STRIDE)
#define SD_RW_ACCEPTS	(SD_RW_MBOXES + (uint64_t)SD_MAX_MBOXES * SD_MBOX_STRIDE)
#define SD_RW_SLOTS \
	SD_ALIGN_UP(SD_RW_ACCEPTS + (uint64_t)SD_MAX_ACCEPTS * SD_ACCEPT_STRIDE, 2u << 20)
#define SD_RW_CHUNKS \
	SD_ALIGN_UP(SD_RW_SLOTS + (uint64_t)SD_SLOTS * sizeof(struct sd_slot_p), 2u << 20)
#define SD_RW_SIZE	(SD_RW_CHUNKS + (uint64_t)SD_CHUNKS * SD_CHUNK_SIZE)

/* ---- info page ------------------------------------------------------------------------------ */

#define SD_MAX_ROUTES	256
#define SD_RT_LOCAL	(1u << 0)	/* an address of stackd itself (plen 128) */
#define SD_RT_DEFAULT	(1u << 1)
#define SD_RT_BCAST	(1u << 2)	/* a subnet's broadcast address (plen 128) */
struct sd_route {
	struct sd_addr dst;
	uint8_t plen;			/* of the 128-bit form: a v4 /24 is 120 */
	uint8_t flags;			/* SD_RT_* */
	uint8_t onlink_plen;		/* SD_RT_LOCAL: of the address's network */
	uint8_t rsv;
	uint32_t ifindex;		/* SD_RT_LOCAL: interface that carries it, 0 = none */
};

/* A worker's sleeping word. Napping: it looks by itself within 100 us, and waits for a program that
 * runs on its core. That one, when it has done what it had to, wakes the worker by FUTEX_WAKE on
 * the word, for which a read-only mapping will do. */
#define SD_SLEEPING	1u		/* ring the doorbell */
#define SD_NAPPING	2u		/* wake it before you wait yourself */

struct sd_info {
	uint64_t magic;			/* SD_INFO_MAGIC */
	uint16_t major, minor;
	uint32_t workers;
	/* counts engine starts: a change means "engine was restarted" */
	uint64_t epoch;
	/* what a wake-up costs here: how long to spin before sleeping */
	uint32_t spin_ns;
	uint32_t cpus;			/* usable by engine and programs */
	/* more threads are runnable than there are CPUs: nobody should spin */
	uint32_t crowded;
	uint32_t pad0;
	uint64_t pad[3];
	/* sleeping: SD_SLEEPING, SD_NAPPING, 0 = awake. cpu: where it runs, + 1; 0 = unknown */
	struct { uint32_t sleeping, cpu; uint32_t pad[14]; } worker[SD_MAX_WORKERS];
	/* Defaults that programs show before the engine knows the socket. */
	uint32_t def_sndbuf, def_rcvbuf, max_sndbuf, max_rcvbuf, somaxconn;
	uint32_t rt_seq;		/* seqlock: odd while routes change */
	uint32_t rt_cnt;
	/* net.ipv4.ip_unprivileged_port_start; below it a program asks (LOWPORT) */
	uint32_t port_start;
	struct sd_route rt[SD_MAX_ROUTES];
};
static_assert(offsetof(struct sd_info, worker) == 64, "sleeping words have lines of their own");
#define SD_INFO_SIZE	SD_ALIGN_UP(sizeof(struct sd_info), SD_PAGE)

#endif
