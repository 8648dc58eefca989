/* SPDX-License-Identifier: MIT */
/* engine/quarantine.c - who crashed, with what in hand, and what becomes of that
 * A worker that crashes says so in its intent record, from the signal's handler; the signal then
 * takes its course. The next engine looks at the records of the guilty, or of all workers when none
 * could say it (a call off the seccomp list, a stack that overflowed). The first crash is forgiven,
 * since nothing of the engine's own memory is left that could have been wrong. What is named at
 * the second in a row is put away: a connection is reset; else the packet, the command or the
 * control connection's request comes on the list of core/quarantine.h.
 * An engine that somebody killed did not crash: what it was doing says nothing.
 * Threads: worker 0's, before any worker runs; the handler on the thread that crashes
 */
#include "stackd/core/quarantine.h"

#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "stackd/core/clock.h"
#include "stackd/engine/engine_int.h"

/* ---- a crash is noted ---- */

static const int crashes[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT };
#define CRASHES (sizeof(crashes) / sizeof(crashes[0]))

/* File scope: a signal's handler is given nothing. */
static __thread struct arena_intent *mine;
static struct sigaction before[CRASHES];

static void on_crash(int sig, siginfo_t *si, void *ctx)
{
	if (mine)
		st_rlx(&mine->guilty, 1);
	for (unsigned i = 0; i < CRASHES; i++)
		if (crashes[i] == sig)
			sigaction(sig, &before[i], NULL);
	/* An instruction faults again when this returns; what was sent has to be sent again. */
	if (si->si_code <= 0)
		syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), sig);
}

int quarantine_watch(struct stack *st)
{
	struct sigaction sa = { .sa_sigaction = on_crash, .sa_flags = SA_SIGINFO };

	mine = st->intent;
	for (unsigned i = 0; st->worker == 0 && i < CRASHES; i++)
		if (sigaction(crashes[i], &sa, &before[i]))
			return -errno;
	return 0;
}

/* ---- and judged ---- */

struct culprit {
	enum quar_what what;
	uint64_t name;
	char text[sizeof(((struct quar_ent *)0)->text)];
};

static void name_conn(struct stack *st, uint32_t idx, struct culprit *c)
{
	char l[INET_ADDRSTRLEN], r[INET_ADDRSTRLEN];
	struct sock_tuple t;

	*c = (struct culprit){ .what = QUAR_CONN, .name = idx };
	if (!tcp_tcb_tuple(st, idx, &t))
		return;
	inet_ntop(AF_INET, &t.laddr.w[3], l, sizeof(l));
	inet_ntop(AF_INET, &t.raddr.w[3], r, sizeof(r));
	snprintf(c->text, sizeof(c->text), "%s:%u - %s:%u", l, t.lport, r, t.rport);
}

/* Which program: the first of the family. */
struct find_comm {
	uint16_t seg;
	const char *comm;
};

static void find_comm(void *arg, uint32_t rec, const struct app_proc *p)
{
	struct find_comm *f = arg;

	if (p->seg == f->seg && !f->comm)
		f->comm = p->comm;
}

static void name_command(struct engine *eng, const struct stack *st, struct culprit *c)
{
	const struct arena_intent *in = st->intent;
	struct find_comm f = { .seg = in->cmd_seg };

	*c = (struct culprit){ .what = QUAR_COMMAND, .name = quar_cmd_name(in, st->boot_secret) };
	app_proc_walk(&eng->w[0]->st, find_comm, &f);
	snprintf(c->text, sizeof(c->text), "operation %u on socket %u of %.15s", in->cmd_op,
		 in->cmd_slot, f.comm ? f.comm : "?");
}

/* What a worker had in hand; of several the one that can be put away with the least harm. */
static void in_hand(struct engine *eng, struct stack *st, struct culprit *c)
{
	const struct arena_intent *in = st->intent;

	*c = (struct culprit){ .what = QUAR_NONE };
	if (in->kind == OBJ_TCB) {
		name_conn(st, in->idx, c);
	} else if (in->pkt_len) {
		*c = (struct culprit){ .what = QUAR_PACKET,
				       .name = quar_print(in, st->boot_secret) };
		quar_packet_text(in, c->text, sizeof(c->text));
	} else if (in->cmd_op) {
		name_command(eng, st, c);
	} else if (in->ctl_key) {
		*c = (struct culprit){ .what = QUAR_REQUEST, .name = in->ctl_key };
		snprintf(c->text, sizeof(c->text), "a control request");
	}
}

static void put_away(struct engine *eng, struct stack *st, const struct culprit *c)
{
	static const char *const what[] = {
		[QUAR_PACKET] = "packet", [QUAR_COMMAND] = "command", [QUAR_REQUEST] = "request",
		[QUAR_CONN] = "connection",
	};

	engine_log("%s in hand at two crashes: %s: %s", what[c->what], c->text,
		   c->what == QUAR_CONN ? "it is reset" : "quarantined");
	if (c->what == QUAR_CONN)
		tcp_adopt_quarantine(st, (uint32_t)c->name);
	/* the next one of its number is another */
	quar_add(st->quar, c->what, c->what == QUAR_CONN ? eng->epoch << 32 | c->name : c->name,
		 clock_mono_us(), c->text);
}

static void judge(struct engine *eng, struct stack *st)
{
	struct arena_intent *in = st->intent;
	struct culprit c;
	bool same;

	in_hand(eng, st, &c);
	same = c.what != QUAR_NONE && c.what == in->last_what && c.name == in->last_name;
	in->count = c.what == QUAR_NONE ? 0 : same ? in->count + 1 : 1;
	in->last_what = c.what;
	in->last_name = c.name;
	/* Who was here before gets no second chance. */
	if (in->count < 2 && (c.what == QUAR_NONE || !quar_find(st->quar, c.what, c.name)))
		return;
	put_away(eng, st, &c);
	in->count = 0;
}

static void forget(struct arena_intent *in)
{
	in->kind = OBJ_NONE;
	in->pkt_len = 0;
	in->cmd_op = 0;
	in->ctl_key = 0;
	in->guilty = 0;
}

void quarantine_judge(struct engine *eng)
{
	bool known = false;

	for (unsigned w = 0; w < eng->workers; w++)
		known |= eng->w[w]->st.intent->guilty;
	for (unsigned w = 0; w < eng->workers; w++) {
		struct stack *st = &eng->w[w]->st;

		if (eng->crashed && (!known || st->intent->guilty))
			judge(eng, st);
		else if (eng->crashed)
			st->intent->count = st->intent->last_what = 0;
		forget(st->intent);
	}
}
