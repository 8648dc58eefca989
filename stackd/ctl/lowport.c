/* SPDX-License-Identifier: MIT */
/* ctl/lowport.c - a program that binds a port below net.ipv4.ip_unprivileged_port_start
 * The supervisor can see whether a process has the capability, but only of the process that has a
 * number at that moment, and it is the sender of a message that we know the number of. Between
 * the two he may have gone and left the number to another, or have become a setuid program. So:
 *   LOWPORT{port}         the supervisor judges the sender's number; if it may, the answer is a
 *                         number of 64 bits that nobody can guess
 *   LOWPORT{port, proof}  with that number, from the same process: the supervisor judges again
 * Equal start times of both judgements mean one process, which lived when the proof came, and sent
 * it. The answer then is one bind() of that port by that process (app_proc.low_port).
 * Threads: worker 0's
 * Spec:    Z2
 */
#include "stackd/ctl/ctl_int.h"

#include <errno.h>
#include <sys/random.h>
#include <sys/socket.h>

static void deny(struct engine *eng, uint32_t idx)
{
	eng->ctl->conn[idx].low = (struct conn_low){ 0 };
	conn_deny(eng, idx, -EACCES, "no right to bind a low port");
}

void session_lowport(struct engine *eng, uint32_t idx, const struct sd_ctl_lowport *req,
		     uint32_t pid)
{
	struct conn *cn = &eng->ctl->conn[idx];
	struct sup_low low = { .pid = pid };
	struct sup_msg m = { .type = ENG_LOW, .key = (uint64_t)cn->gen << 32 | idx };

	if (!cn->ses || !req->port || req->port > UINT16_MAX) {
		conn_refuse(eng, idx, -EPROTO, "not attached, or no port");
		return;
	}
	if (!req->proof) {
		cn->low = (struct conn_low){ .step = LOW_ASKED, .pid = pid, .port = req->port };
	} else if (cn->low.step == LOW_CHALLENGED && cn->low.pid == pid &&
		   cn->low.proof == req->proof && cn->low.port == req->port) {
		cn->low.step = LOW_PROVED;
	} else {
		deny(eng, idx);
		return;
	}
	memcpy(m.meta, &low, sizeof(low));
	cn->state = CONN_WAITS;
	if (sup_send(eng->chan, &m, sizeof(m), NULL, 0, MSG_DONTWAIT))
		deny(eng, idx);
}

static void answer(struct engine *eng, uint32_t idx, uint64_t proof)
{
	struct conn *cn = &eng->ctl->conn[idx];
	struct sd_ctl_lowport r = { .h = { CTL_LOWPORT_R, sizeof(r) }, .port = cn->low.port,
				    .proof = proof };

	cn->state = CONN_OPEN;
	if (sup_send(cn->fd, &r, sizeof(r), NULL, 0, MSG_DONTWAIT))
		conn_close(eng, idx);
}

static void challenge(struct engine *eng, uint32_t idx, uint64_t start)
{
	struct conn_low *low = &eng->ctl->conn[idx].low;

	if (getrandom(&low->proof, sizeof(low->proof), 0) != sizeof(low->proof) || !low->proof) {
		deny(eng, idx);
		return;
	}
	low->start = start;
	low->step = LOW_CHALLENGED;
	answer(eng, idx, low->proof);
}

void lowport_judged(struct engine *eng, const struct sup_msg *m)
{
	uint32_t idx = (uint32_t)m->key;
	struct conn *cn = idx < CTL_CONNS ? conn_at(eng, idx, (uint32_t)(m->key >> 32)) : NULL;
	struct app_proc *p = cn && cn->ses ? app_proc_at(&eng->w[0]->st, cn->ses->proc) : NULL;
	struct sup_low low;

	memcpy(&low, m->meta, sizeof(low));
	if (!p || cn->state != CONN_WAITS)
		return;
	if (!m->err && cn->low.step == LOW_ASKED) {
		challenge(eng, idx, low.start);
	} else if (!m->err && cn->low.step == LOW_PROVED && low.start == cn->low.start) {
		p->low_port = (uint16_t)cn->low.port;
		answer(eng, idx, 0);
	} else {
		deny(eng, idx);
	}
}
