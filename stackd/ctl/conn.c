/* SPDX-License-Identifier: MIT */
/* ctl/conn.c - control connections: take messages, check them, answer
 * Every message is a head with type and its own length, both checked against what arrived before
 * anything of it is used; what does not fit is answered with CTL_ERROR and the connection is
 * closed. A program has one request in flight; one that sends more while it waits is out of step:
 * closed, too.
 */
#include "stackd/ctl/ctl_int.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONN_BUDGET 16u		/* messages at once: others want their turn */

struct conn *conn_at(struct engine *eng, uint32_t idx, uint32_t gen)
{
	struct conn *cn = &eng->ctl->conn[idx];

	return cn->state != CONN_FREE && cn->gen == gen ? cn : NULL;
}

uint32_t conn_open(struct engine *eng, int fd, uint64_t key, const struct sup_cred *cred)
{
	struct ctl_state *c = eng->ctl;

	for (uint32_t n = 1; n < CTL_CONNS; n++) {
		uint32_t idx = 1 + c->conn_hint++ % (CTL_CONNS - 1);
		struct conn *cn = &c->conn[idx];

		if (cn->state != CONN_FREE)
			continue;
		*cn = (struct conn){ .state = CONN_OPEN, .gen = cn->gen + 1, .fd = fd, .key = key,
				     .cred = *cred, .acct = uid_acct(eng, cred->uid),
				     .tag = ++c->next_tag };
		c->conn_cnt++;
		if (cn->acct && key & SUP_KEY_CONN)
			cn->acct->conns++;
		ring_watch(eng->w[0], fd, RING_CONN, CTL_WATCH(idx, cn->tag));
		return idx;
	}
	close(fd);
	ctl_drop(eng, key);
	return 0;
}

void conn_close(struct engine *eng, uint32_t idx)
{
	struct conn *cn = &eng->ctl->conn[idx];
	struct session *s = cn->ses;

	if (cn->state == CONN_FREE)
		return;
	eng->ctl->bad_cnt -= cn->bad != CONN_GOOD;
	if (cn->acct && cn->key & SUP_KEY_CONN)
		cn->acct->conns--;
	ring_unwatch(eng->w[0], cn->fd, RING_CONN, CTL_WATCH(idx, cn->tag));
	if (cn->out)
		ring_unwatch(eng->w[0], cn->fd, RING_CONN_OUT, CTL_WATCH(idx, cn->tag));
	/* The other end must see it now, whoever else holds a dup. */
	shutdown(cn->fd, SHUT_RDWR);
	ctl_drop_later(eng, cn->fd, cn->key);
	free(cn->out);
	if (cn->cap)
		capture_end(eng, cn->cap);
	if (cn->show)
		show_drop(cn->show);
	cn->show = NULL;
	cn->state = CONN_FREE;
	cn->ses = NULL;
	cn->cap = NULL;
	eng->ctl->conn_cnt--;
	if (s)
		session_end(eng, s);
}

static void send_error(struct engine *eng, uint32_t idx, int err, const char *text)
{
	struct sd_ctl_error e = { .h = { CTL_ERROR, sizeof(e) }, .err = err };

	snprintf(e.text, sizeof(e.text), "%s", text);
	sup_send(eng->ctl->conn[idx].fd, &e, sizeof(e), NULL, 0, MSG_DONTWAIT);
}

void conn_refuse(struct engine *eng, uint32_t idx, int err, const char *text)
{
	send_error(eng, idx, err, text);
	conn_close(eng, idx);
}

void conn_deny(struct engine *eng, uint32_t idx, int err, const char *text)
{
	send_error(eng, idx, err, text);
	eng->ctl->conn[idx].state = CONN_OPEN;
}

/* ---- text in parts ---- */

/* Return: 0 when all is sent, -EAGAIN, or another -errno. */
static int send_parts(struct engine *eng, struct conn *cn)
{
	struct sd_ctl_text *t = (struct sd_ctl_text *)eng->ctl->part;

	do {
		size_t left = cn->out_len - cn->out_pos;
		uint32_t n = left < SD_CTL_TEXT_MAX ? (uint32_t)left : SD_CTL_TEXT_MAX;
		int r;

		*t = (struct sd_ctl_text){ .h = { CTL_TEXT_R, (uint32_t)sizeof(*t) + n },
					   .more = left > n || cn->show, .len = n };
		memcpy(t->text, cn->out + cn->out_pos, n);
		r = sup_send(cn->fd, t, t->h.len, NULL, 0, MSG_DONTWAIT);
		if (r)
			return r;
		cn->out_pos += n;
	} while (cn->out_pos < cn->out_len);
	return 0;
}

static void push_text(struct engine *eng, uint32_t idx)
{
	struct conn *cn = &eng->ctl->conn[idx];
	int r = send_parts(eng, cn);

	if (r == -EAGAIN) {
		ring_watch_out(eng->w[0], cn->fd, RING_CONN_OUT, CTL_WATCH(idx, cn->tag));
		return;
	}
	free(cn->out);
	cn->out = NULL;
	if (!cn->show)
		cn->state = CONN_OPEN;
	if (r)
		conn_close(eng, idx);
	else if (cn->show)
		show_more(eng, cn->show);
	cn->show = NULL;
}

void conn_send_text(struct engine *eng, uint32_t idx, char *text, size_t len)
{
	conn_send_piece(eng, idx, text, len, NULL);
}

void conn_send_piece(struct engine *eng, uint32_t idx, char *text, size_t len, struct show *show)
{
	struct conn *cn = &eng->ctl->conn[idx];

	cn->show = show;
	cn->out = text;
	cn->out_len = len;
	cn->out_pos = 0;
	push_text(eng, idx);
}

/* ---- messages ---- */

static void on_text(struct engine *eng, uint32_t idx, const struct sd_ctl_text *t, uint32_t len)
{
	char name[1024], *text;
	int r;

	if (len < sizeof(*t) || t->len != len - sizeof(*t) || t->len >= sizeof(name) || t->more) {
		conn_refuse(eng, idx, -EPROTO, "malformed request");
		return;
	}
	memcpy(name, t->text, t->len);
	name[t->len] = '\0';
	eng->ctl->conn[idx].state = CONN_WAITS;
	if (t->h.type == CTL_SHOW) {
		r = show_start(eng, idx, name);
	} else if (t->h.type == CTL_NIC) {
		r = nic_command(eng, &eng->ctl->conn[idx].cred, name, &text);
		if (!r)
			conn_send_text(eng, idx, text, strlen(text));
	} else {
		r = show_sysctl(eng, &eng->ctl->conn[idx].cred, name, &text);
		if (!r)
			conn_send_text(eng, idx, text, strlen(text));
	}
	if (r)
		conn_refuse(eng, idx, r, r == -EINVAL ? "that value is not in range" :
			    r == -EPERM ? "only root changes settings" :
			    t->h.type == CTL_SHOW ? "unknown topic" :
			    t->h.type == CTL_NIC ? r == -EOPNOTSUPP ?
			    "this device cannot do that" :
			    r == -ENODEV ? "that is not the device's name" :
			    "unknown command" :
			    "unknown setting");
}

/* @fd: what came along, -1 = nothing; borrowed. @pid: who sent it. */
static void on_message(struct engine *eng, uint32_t idx, const void *msg, uint32_t len, int fd,
		       uint32_t pid)
{
	const struct sd_ctl_head *h = msg;
	struct conn *cn = &eng->ctl->conn[idx];

	if (len < sizeof(*h) || h->len != len) {
		conn_refuse(eng, idx, -EPROTO, "malformed message");
	} else if (cn->state != CONN_OPEN && cn->adopted) {
		cn->adopted = 0;	/* it crossed our asking for it */
	} else if (cn->state != CONN_OPEN) {
		conn_refuse(eng, idx, -EPROTO, "a request before the answer to the one before");
	} else if (h->type == CTL_HELLO && len == sizeof(struct sd_ctl_hello)) {
		session_hello(eng, idx, msg);
	} else if (h->type == CTL_FORK && len == sizeof(*h)) {
		session_fork(eng, idx);
	} else if (h->type == CTL_REATTACH && len == sizeof(struct sd_ctl_hello)) {
		session_reattach(eng, idx, msg);
	} else if (h->type == CTL_EXPORT && len == sizeof(struct sd_ctl_slot)) {
		session_export(eng, idx, msg);
	} else if (h->type == CTL_IMPORT && len == sizeof(*h)) {
		session_import(eng, idx, fd);
	} else if (h->type == CTL_MBOX && len == sizeof(*h)) {
		session_mbox(eng, idx);
	} else if (h->type == CTL_CAPTURE) {
		capture_start(eng, idx, msg, len);
	} else if (h->type == CTL_LOWPORT && len == sizeof(struct sd_ctl_lowport)) {
		session_lowport(eng, idx, msg, pid);
	} else if (h->type == CTL_SHOW || h->type == CTL_SYSCTL || h->type == CTL_NIC) {
		on_text(eng, idx, msg, len);
	} else {
		conn_refuse(eng, idx, -EPROTO, "unknown message or wrong size");
	}
}

/* Descriptors come with IMPORT only; others are not even taken (closer.c). */
static bool may_be_taken(const struct conn *cn)
{
	bool rights;
	uint32_t type;
	int n = sup_peek(cn->fd, &type, &rights);

	return n < 0 || !rights || (type == CTL_IMPORT && n == (int)sizeof(struct sd_ctl_head) &&
				    closer_room(cn->acct));
}

/* Named while it is in hand: one that crashes the engine is repeated to the next (CTL_AGAIN). */
static void request(struct engine *eng, uint32_t idx, const void *msg, uint32_t len, int fd,
		    uint32_t pid)
{
	struct arena_intent *in = eng->w[0]->st.intent;

	in->ctl_key = eng->ctl->conn[idx].key;
	on_message(eng, idx, msg, len, fd, pid);
	in->ctl_key = 0;
}

void ctl_conn_ready(struct engine *eng, uint32_t arg, uint32_t revents)
{
	uint32_t idx = CTL_PLACE(arg);
	union {
		struct sd_ctl_head h;
		uint8_t b[CTL_MSG_MAX];
	} msg;
	struct conn *cn = &eng->ctl->conn[idx];
	uint32_t gen = cn->gen;

	if (cn->state == CONN_FREE)
		return;
	if (revents & POLLOUT && cn->out)
		push_text(eng, idx);
	for (unsigned budget = CONN_BUDGET; (cn = conn_at(eng, idx, gen)); budget--) {
		struct uid_acct *acct = cn->acct;
		int fds[SUP_BATCH_FDS], n;
		uint32_t pid;
		unsigned cnt;

		if (!budget) {
			/* A new poll completes at once while there is more. */
			ring_unwatch(eng->w[0], cn->fd, RING_CONN, CTL_WATCH(idx, cn->tag));
			cn->tag = ++eng->ctl->next_tag;
			ring_watch(eng->w[0], cn->fd, RING_CONN, CTL_WATCH(idx, cn->tag));
			return;
		}

		if (!may_be_taken(cn)) {
			conn_refuse(eng, idx, -EPERM, "descriptors that nobody asked for");
			return;
		}
		n = sup_recv_from(cn->fd, &msg, sizeof(msg), fds, SUP_BATCH_FDS, &cnt,
				  MSG_DONTWAIT, &pid);
		if (n == -EAGAIN)
			return;
		if (n == -EMSGSIZE)
			conn_refuse(eng, idx, -EPROTO, "message too long");
		else if (n <= 0)
			conn_close(eng, idx);
		else
			request(eng, idx, &msg, (uint32_t)n, cnt ? fds[0] : -1, pid);
		if (n > 0)
			closer_close(eng, acct, fds, cnt);
	}
}
