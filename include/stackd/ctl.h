/* SPDX-License-Identifier: MIT */
/* include/stackd/ctl.h - messages on the control socket RUN_DIR/stackd.sock
 * AF_UNIX SOCK_SEQPACKET, one struct per message, host order, both directions; fds ride along as
 * SCM_RIGHTS. The supervisor accepts, checks credentials (SO_PEERCRED), keeps a dup and passes the
 * connection to the engine, which speaks. A program keeps its connection open for life: its hang-up
 * tells that the process died. stackctl uses the same socket and CTL_SHOW / CTL_SYSCTL.
 * REATTACH is FORK for one who has only the connection: its answer brings the segment as well, a
 * process index of its own with the open table cloned, and a new connection; the sender then closes
 * the old one, which ends what the image before exec had held.
 * A message that does not parse, is of unknown type or has a wrong size is answered with CTL_ERROR
 * and -EPROTO, and the connection is closed; so is a HELLO or REATTACH that cannot be granted
 * (HELLO: -EACCES not admitted, -EAGAIN too many processes or connections of the uid, -ENOMEM its
 * memory is used up). FORK, MBOX and LOWPORT that cannot are answered with CTL_ERROR, and nothing
 * else changes.
 */
#ifndef STACKD_CTL_H
#define STACKD_CTL_H

#include <stdint.h>

#define SD_CTL_SOCK	"stackd.sock"
#define SD_CTL_MAXFDS	64	/* per message, below the kernel's 253 */
#define SD_CTL_EVENTFDS	8	/* mailbox eventfds handed out with HELLO and FORK */

enum sd_ctl_type {
	CTL_HELLO = 1,		/* program -> engine: struct sd_ctl_hello */
	/* struct sd_ctl_hello_r + fds: info, RO, RW, doorbell x workers, eventfd x n */
	CTL_HELLO_R,
	CTL_FORK,		/* struct sd_ctl_head; the open table of the sender is cloned */
	/* struct sd_ctl_hello_r + fds: child's control connection, doorbell x workers, eventfd x
	 * n */
	CTL_FORK_R,
	CTL_MBOX,		/* struct sd_ctl_head; more mailboxes */
	CTL_MBOX_R,		/* struct sd_ctl_hello_r: mbox_cnt, mbox[]; fds: eventfd x n */
	/* stackctl: struct sd_ctl_text, e.g. "sockets"; answered by CTL_TEXT_R parts */
	CTL_SHOW,
	CTL_SYSCTL,		/* stackctl: struct sd_ctl_text "NAME" or "NAME=VALUE" */
	CTL_TEXT_R,		/* struct sd_ctl_text: JSON, in parts; more = 1 until the last */
	CTL_ERROR,		/* struct sd_ctl_error */
	CTL_REATTACH,		/* exec'd image, on inherited connection: struct sd_ctl_hello */
	CTL_REATTACH_R,		/* struct sd_ctl_hello_r + fds: control connection, HELLO_R's */
	/* engine -> program: struct sd_ctl_head; the engine was restarted: who waits for an answer
	 * repeats the request, others forget this */
	CTL_AGAIN,
	CTL_EXPORT,		/* struct sd_ctl_slot: an fd for a process that may lack the shim */
	CTL_EXPORT_R,		/* struct sd_ctl_slot + fd: end of a socket pair; slot 0: none */
	CTL_IMPORT,		/* struct sd_ctl_head + fd: is this one of EXPORT's? */
	CTL_IMPORT_R,		/* struct sd_ctl_slot: whose; slot 0: not this family's to use */
	CTL_CAPTURE,		/* stackctl: struct sd_ctl_capture, see capture.h */
	CTL_CAPTURE_R,		/* struct sd_ctl_capture_r + memfd */
	CTL_NIC,		/* stackctl: struct sd_ctl_text, words such as "reset" */
	/* struct sd_ctl_lowport: the sender is about to bind a port that takes a capability; asked
	 * twice, the second time with the proof that the first answer gave */
	CTL_LOWPORT,
	CTL_LOWPORT_R,		/* struct sd_ctl_lowport; proof 0: it may, once */
};

struct sd_ctl_head {
	uint32_t type;			/* enum sd_ctl_type */
	uint32_t len;			/* of the whole message, bytes */
};

struct sd_ctl_hello {
	struct sd_ctl_head h;
	uint16_t major, minor;
	uint32_t flags;			/* none defined, 0 */
	char comm[32];			/* program's name, for show; NUL-terminated */
};

struct sd_ctl_hello_r {
	struct sd_ctl_head h;
	uint32_t proc, proc_gen;	/* index of the struct sd_proc in the segment */
	uint32_t workers;		/* number of doorbells that follow */
	uint32_t home_worker;		/* where new connections of this process should live */
	uint32_t seg;
	uint32_t mbox_cnt;		/* 0..SD_CTL_EVENTFDS; eventfds in the same order */
	uint32_t mbox[SD_CTL_EVENTFDS];
};

#define SD_EXPORT_CARRY	(1u << 0)	/* the holder has no shim: carry bytes at once */
/* No fd: the socket's own kernel fd travels, and slot_p.kern_ino tells its receiver in the family
 * whose it is. Keep the socket until the receiver says ARRIVED, for a while. */
#define SD_EXPORT_TRANSIT (1u << 1)
#define SD_EXPORT_ARRIVED (1u << 2)	/* the receiver has counted it: TRANSIT is over */
struct sd_ctl_slot {
	struct sd_ctl_head h;
	uint32_t slot, gen;
	uint32_t flags;			/* EXPORT: SD_EXPORT_* */
};

struct sd_ctl_lowport {
	struct sd_ctl_head h;
	uint32_t port, rsv;
	uint64_t proof;
};

struct sd_ctl_error {
	struct sd_ctl_head h;
	int32_t err;			/* -errno */
	char text[128];			/* one line for a person */
};

#define SD_CTL_TEXT_MAX	(64u * 1024)
struct sd_ctl_text {
	struct sd_ctl_head h;
	uint32_t more;
	uint32_t len;			/* bytes of text that follow */
	char text[];
};

#endif
