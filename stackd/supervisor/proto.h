/* SPDX-License-Identifier: MIT */
/* supervisor/proto.h - messages between supervisor and engine, and what the fd store keeps
 * AF_UNIX SOCK_SEQPACKET pair, one struct per message, fds by SCM_RIGHTS. The engine is not trusted
 * with more than its own: it can have fds kept and dropped, and one of them reopened read-only.
 *
 * Start:      SUP_CONF{conf}(info rw, info ro)  SUP_DEV{grant}(device fds)  SUP_KEPT...  SUP_GO,
 *             answered by ENG_READY
 * Later:      SUP_CONN(connection), SUP_STOP                     supervisor to engine
 *             ENG_KEEP(fds), answered by SUP_KEPT_R(read-only fd) in the order of the requests
 *             ENG_DROP; ENG_LOW, answered by SUP_LOW_R           engine to supervisor
 * Keys: the engine's are any number below SUP_KEY_CONN; the supervisor's own (accepted connections)
 * have that bit. A key may be kept several times (a process that gets more mailboxes): drop drops
 * all.
 */
#ifndef SUPERVISOR_PROTO_H
#define SUPERVISOR_PROTO_H

#include "stackd/nic/grant.h"
#include "stackd/supervisor/conf.h"

#define SUP_MAXFDS	64		/* per message and per store entry */
#define SUP_BATCH_FDS	253		/* the kernel's limit for one message */
#define SUP_KEY_CONN	(1ull << 63)
#define SUP_META	64

enum sup_type {
	SUP_CONF = 1,			/* struct sup_conf; fds: info read-write, info read-only */
	SUP_DEV,			/* struct sup_dev_msg; fds: as its grant says */
	SUP_KEPT,			/* a store entry from before the engine's restart */
	SUP_GO,				/* that was all */
	SUP_CONN,			/* fd: a new control connection; meta: struct sup_cred */
	SUP_KEPT_R,			/* answer to ENG_KEEP; err; fd: read-only copy if wanted */
	SUP_STOP,			/* end now */
	ENG_READY,			/* packets are processed, programs may come */
	ENG_KEEP,			/* keep these fds under key; meta is for the next engine */
	ENG_DROP,			/* forget key and close its fds */
	/* may this process bind low ports? meta: struct sup_low; answered by SUP_LOW_R */
	ENG_LOW,
	SUP_LOW_R,			/* key as asked; err; meta: struct sup_low with its start */
};

/* What an entry is, for the engine that adopts it. */
enum sup_kind {
	KEEP_NONE = 0,
	KEEP_ARENA,			/* fd: arena */
	KEEP_SEG,			/* fds: RO, RW; meta: struct keep_seg */
	KEEP_PROC,			/* fds: doorbells, eventfds; meta: struct keep_proc */
	KEEP_CONN,			/* fd: control connection; meta: struct sup_cred */
	KEEP_EXPORT,			/* fd: engine's end of a pair; meta: struct keep_export */
};

#define SUP_F_READ_ONLY	(1u << 0)	/* ENG_KEEP: answer with fds[0] reopened O_RDONLY */

struct sup_msg {
	uint32_t type;			/* enum sup_type */
	uint32_t kind;			/* enum sup_kind */
	uint64_t key;
	int32_t err;			/* SUP_KEPT_R: 0 or -errno */
	uint32_t flags;			/* SUP_F_* */
	uint8_t meta[SUP_META];
};

struct sup_cred {			/* the kernel's word about who connected */
	uint32_t pid, uid, gid;
	uint32_t proc;			/* connection of a forked child: its record, else 0 */
	uint32_t flags;			/* SUP_C_* */
};
#define SUP_C_ADMITTED	(1u << 0)	/* --allow names him */

struct sup_low {
	uint32_t pid, rsv;
	uint64_t start;			/* when the process was started: with pid, which it is */
};

struct keep_seg {
	uint32_t seg;
};

struct keep_export {
	uint32_t place;			/* AR_EXPORT record */
};

struct keep_proc {
	uint32_t proc;			/* AR_PROC record */
	uint32_t workers;		/* doorbells that lead the fds */
	uint32_t mbox_cnt;
	uint32_t mbox[8];		/* numbers of the mailboxes whose eventfds follow */
};
static_assert(sizeof(struct keep_proc) <= SUP_META, "fits");

struct sup_conf {
	struct sup_msg h;
	struct conf conf;
	uint64_t epoch;			/* counts engine starts, 1.. */
	uint32_t crashed;		/* the one before died of itself: not by SIGKILL */
	uint32_t crashes;		/* how many did since the daemon was started */
	uint32_t port_start;		/* net.ipv4.ip_unprivileged_port_start */
	uint32_t unready;		/* in a row died before they were ready */
};

struct sup_dev_msg {
	struct sup_msg h;
	struct nic_grant grant;
};

/* One message with fds. @fds borrowed. Return: 0 or -errno (-EAGAIN: the other side is slow). */
int sup_send(int sock, const void *msg, size_t len, const int *fds, unsigned cnt, int flags);
/**
 * sup_recv() - one message; fds arrive CLOEXEC
 * @fds: room for @max; what does not fit is closed
 * Return: bytes, 0 at hang-up, or -errno
 */
int sup_recv(int sock, void *msg, size_t size, int *fds, unsigned max, unsigned *ret_cnt,
	     int flags);
/* The same; @ret_pid: the sender in this process's numbers, where SO_PASSCRED is set, else 0. */
int sup_recv_from(int sock, void *msg, size_t size, int *fds, unsigned max, unsigned *ret_cnt,
		  int flags, uint32_t *ret_pid);
/**
 * sup_peek() - what comes next on a Unix socket, without taking it
 * @ret_type: its first four bytes, 0 when it is shorter
 * @ret_rights: descriptors come with it
 * Return: length of the message (stream: some of its bytes), or -errno; -ENOMSG = the end
 */
int sup_peek(int sock, uint32_t *ret_type, bool *ret_rights);
/* Take and forget the next message, in which no descriptor is. Return: 0 or -errno. */
int sup_skip(int sock);
void sup_close_fds(const int *fds, unsigned cnt);

#endif
