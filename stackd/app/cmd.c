/* SPDX-License-Identifier: MIT */
/* app/cmd.c - commands: taken from the rings, checked once, carried out on the slot's worker
 *
 * The trust boundary. shm_cmd_pop() copies an entry; check() looks at every field of the copy; from
 * there on struct sock_cmd is passed by value and nothing of the ring is read again. What a slot is
 * (protocol, worker, object) comes from slot_e, which programs map read-only; a program that may
 * override file modes could write there, so worker and protocol are checked here and the object is
 * checked by its owner. Broken commands are counted per process and worker; APP_BAD_MAX of them end
 * the session. A command for a generation that is over is no crime: close and reset may cross on
 * the way.
 * Holds:   C1 only the worker that slot_e.worker names calls a slot's operations, with the object
 *             that the slot had while it named that worker. Who takes a slot over stores worker,
 *             then obj; who gives it away obj, then worker (both st_rel)
 *          C2 after CLOSE no operation is called for the slot: slot_e.flags of a slot that more
 *             than one worker may hold changes by or_sc/and_sc only, and CLOSED stays
 * Threads: owning worker only
 */
#include "stackd/app/app_int.h"
#include "stackd/core/quarantine.h"

#define PEND_ALL	(SD_PEND_TX | SD_PEND_RX | SD_PEND_OPT)

static void answer(struct stack *st, const struct sock_cmd *c, int err)
{
	st->up->reply(st, c->reply, err, NULL, 0);
}

/* ---- ATTACH ---- */

/* A program's slot goes into service. -ENOBUFS: its uid has as many sockets as it may have.
 * -EPROTO: no honest shim asks this. */
static int slot_attach(struct stack *st, const struct sock_cmd *c)
{
	struct shm_seg *seg = stack_seg(st, c->id.seg);
	struct sd_slot_e *e = seg ? shm_slot_e(seg, c->id.slot) : NULL;
	const struct sock_ops *ops;
	struct sd_opts o;
	int err;

	if (!e || c->id.slot >= SD_SLOTS_P)
		return -EPROTO;
	if (c->again && ld_acq(&e->gen) == c->id.gen)
		return 0;		/* the engine before this one had done it */
	if (ld_acq(&e->gen))
		return -EPROTO;
	o = shm_slot_p(seg, c->id.slot)->opts;
	ops = sock_find(st, o.type, o.proto, &err);
	if (!ops || (o.family != AF_INET && o.family != AF_INET6))
		return -EPROTO;
	if (!sock_slot_room(st, c->id.seg))
		return -ENOBUFS;
	*e = (struct sd_slot_e){
		.state = SD_ST_CLOSE,
		.tx_limit = sock_buf_limit(o.sndbuf), .rx_limit = sock_buf_limit(o.rcvbuf),
		.type = ops->type, .proto = ops->proto,
	};
	app_pslot_mark(st, c->id.seg, c->id.slot);
	sock_slot_count(st, c->id.seg, 1);
	st_rel(&e->gen, c->id.gen);	/* pairs with ld_acq in programs and sock_slot_e() */
	return 0;
}

static int attach(struct stack *st, const struct sock_cmd *c)
{
	int err = quar_cmd(st, c->id, SD_OP_ATTACH) ? -EIO : slot_attach(st, c);

	quar_cmd_done(st);
	return err;
}

/* ---- dispatch ---- */

static void do_close(struct stack *st, const struct sock_ops *ops, const struct sock_cmd *c,
		     struct sd_slot_e *e, uint32_t obj)
{
	if (or_sc(&e->flags, SD_E_CLOSED) & SD_E_CLOSED)
		return;
	if (!obj)
		sock_slot_free(st, c->id);
	else if (ops->close)
		ops->close(st, c, obj);
}

static void do_kick(struct stack *st, const struct sock_ops *ops, const struct sock_cmd *c,
		    uint32_t obj)
{
	struct sd_slot_p *sp = sock_slot_p(st, c->id);
	/* pairs with or_sc in the program: what it published before is seen from here on */
	uint32_t pending = xchg_sc(&sp->pending, 0) & PEND_ALL;

	if (pending && ops->kick)
		ops->kick(st, c, obj, pending);
}

/* Has an engine that was killed carried the command out, but for the answer? Answers then. */
static bool done_before(struct stack *st, const struct sock_cmd *c, const struct sd_slot_e *e)
{
	struct sd_name name = { .addr = e->laddr, .port = e->lport };

	if (c->op == SD_OP_BIND && e->flags & SD_E_BOUND && e->obj &&
	    sd_addr_eq(&c->addr, &e->laddr) && (!c->port || c->port == e->lport)) {
		st->up->reply(st, c->reply, 0, &name, sizeof(name));
		return true;
	}
	if (c->op == SD_OP_CONNECT && sd_addr_eq(&c->addr, &e->raddr) && c->port == e->rport &&
	    (e->state == SD_ST_SYN_SENT || e->state == SD_ST_ESTABLISHED)) {
		answer(st, c, 0);
		return true;
	}
	return false;
}

static void call(struct stack *st, const struct sock_ops *ops, const struct sock_cmd *c,
		 struct sd_slot_e *e, uint32_t obj)
{
	void (*fn)(struct stack *, const struct sock_cmd *, uint32_t) = NULL;

	switch (c->op) {
	case SD_OP_KICK:
		do_kick(st, ops, c, obj);
		return;
	case SD_OP_CLOSE:
		do_close(st, ops, c, e, obj);
		return;
	case SD_OP_BIND: fn = ops->bind; break;
	case SD_OP_LISTEN: fn = ops->listen; break;
	case SD_OP_CONNECT: fn = ops->connect; break;
	case SD_OP_DISCONNECT: fn = ops->disconnect; break;
	case SD_OP_SHUTDOWN: fn = ops->shutdown; break;
	case SD_OP_GETINFO: fn = ops->getinfo; break;
	case SD_OP_SETOPT: fn = ops->setopt; break;
	case SD_OP_GETOPT: fn = ops->getopt; break;
	}
	if (c->again && done_before(st, c, e))
		return;
	if (fn)
		fn(st, c, obj);
	else
		answer(st, c, -EOPNOTSUPP);
}

/* A slot's worker, and the object that it had while that was its worker (C1). */
static uint16_t slot_owner(struct sd_slot_e *e, uint32_t *ret_obj)
{
	uint16_t worker;

	do {
		*ret_obj = ld_acq(&e->obj);	/* these three pair with st_rel of who moves it */
		worker = ld_acq(&e->worker);
	} while (ld_acq(&e->obj) != *ret_obj);
	return worker;
}

/* It has crashed the engine twice. Who waits is told, and who does not, too. */
static void refuse(struct stack *st, const struct sock_cmd *c)
{
	sock_set_err(st, c->id, EIO, SD_EV_IN | SD_EV_OUT);
	answer(st, c, -EIO);
}

void app_dispatch(struct stack *st, const struct sock_cmd *c)
{
	struct sd_slot_e *e = sock_slot_e(st, c->id);
	const struct sock_ops *ops;
	uint32_t obj;
	uint16_t worker;
	int err;

	if (!e || e->flags & SD_E_CLOSED) {
		snmp_inc(st, SNMP_App_BadCommands);
		answer(st, c, -EBADF);
		return;
	}
	worker = slot_owner(e, &obj);
	ops = sock_find(st, e->type, e->proto, &err);
	if (worker >= st->workers || !ops) {
		snmp_inc(st, SNMP_App_BadCommands);
		answer(st, c, -EIO);
		return;
	}
	if (worker != st->worker) {
		sock_forward(st, worker, c);
		return;
	}
	if (quar_cmd(st, c->id, c->op))
		refuse(st, c);
	else
		call(st, ops, c, e, obj);
	quar_cmd_done(st);
}

void app_close_slot(struct stack *st, struct sock_id id)
{
	struct sock_cmd c = { .id = id, .op = SD_OP_CLOSE };

	app_dispatch(st, &c);
}

void app_order(struct stack *st, struct sock_id id, enum sd_op op, uint32_t arg)
{
	struct sock_cmd c = { .id = id, .op = (uint16_t)op, .u32[0] = arg };

	app_dispatch(st, &c);
}

/* ---- from the ring ---- */

static void session_bad(struct stack *st, uint16_t seg, uint32_t proc)
{
	struct app_seg *s = &st->app->segs[seg];
	const struct app_proc *p = app_proc_at(st, s->rec[proc]);
	struct stack_msg m = { .kind = SMSG_PROC_BAD, .u32 = { s->rec[proc], p ? p->gen : 0 } };

	snmp_inc(st, SNMP_App_BadCommands);
	if (++s->bad[proc] != APP_BAD_MAX)
		return;
	bit_clear(s->live, proc);
	bit_clear(s->more, proc);
	sock_send(st, 0, &m);
}

/* A right that the control path has given for one bind() of one port. Such a bind() comes to
 * worker 0. */
static bool low_port(struct stack *st, struct app_proc *p, const struct sd_cmd *cmd)
{
	if (st->worker || cmd->op != SD_OP_BIND || !p->low_port || cmd->port != p->low_port)
		return false;
	p->low_port = 0;
	return true;
}

/* Does @cmd make sense by itself? Fills @c. */
static bool check(struct stack *st, uint16_t seg, uint32_t proc, const struct sd_cmd *cmd,
		  struct sock_cmd *c)
{
	struct app_proc *p = app_proc_at(st, st->app->segs[seg].rec[proc]);

	*c = (struct sock_cmd){
		.id = { .seg = seg, .slot = cmd->slot, .gen = cmd->gen },
		.reply = { .seg = seg, .mbox = cmd->mbox, .rseq = cmd->rseq },
		.op = cmd->op, .addr = cmd->addr, .port = cmd->port,
		.u32 = { cmd->u32[0], cmd->u32[1], cmd->u32[2] },
	};
	memcpy(c->str, cmd->str, sizeof(cmd->str));
	if (cmd->mbox >= SD_MAX_MBOXES)
		c->reply.mbox = 0;
	if (!p || cmd->mbox >= SD_MAX_MBOXES || cmd->op == SD_OP_NONE || cmd->op >= SD_OP_MAX ||
	    !cmd->slot || cmd->slot >= SD_SLOTS || !cmd->gen)
		return false;
	c->cred = (struct sock_cred){ .uid = p->uid, .low_ports = low_port(st, p, cmd) };
	c->home = p->home;
	c->again = cmd->flags & SD_CMD_AGAIN || bit_get(st->app->segs[seg].again, proc);
	return true;
}

/* The engine that took it first had answered it. */
static bool answered(struct stack *st, const struct sock_cmd *c)
{
	const struct sd_reply *r = c->again && c->reply.mbox ?
				   shm_reply(&st->segs[c->reply.seg], c->reply.mbox) : NULL;

	return r && ld_rlx(&r->seq) == c->reply.rseq;
}

static void command(struct stack *st, uint16_t seg, uint32_t proc, const struct sd_cmd *cmd)
{
	struct sock_cmd c;
	int err = 0;

	snmp_inc(st, SNMP_App_Commands);
	if (!check(st, seg, proc, cmd, &c))
		err = -EPROTO;
	else if (answered(st, &c))
		return;
	else if (c.op != SD_OP_ATTACH)
		app_dispatch(st, &c);
	else if (st->worker != 0)
		sock_forward(st, 0, &c);
	else
		err = attach(st, &c);
	if (err == -EPROTO)
		session_bad(st, seg, proc);
	if (err || c.op == SD_OP_ATTACH)
		answer(st, &c, err);
}

void app_on_cmd(struct stack *st, const struct stack_msg *msg)
{
	struct sock_cmd c;

	memcpy(&c, msg->data, sizeof(c));
	if (c.op == SD_OP_ATTACH)
		answer(st, &c, attach(st, &c));
	else
		app_dispatch(st, &c);
}

unsigned app_proc_poll(struct stack *st, uint16_t seg_id, uint32_t proc, unsigned max)
{
	struct app_seg *s = &st->app->segs[seg_id];
	struct shm_seg *seg = stack_seg(st, seg_id);
	struct sd_cmd cmd;
	unsigned n = 0;

	while (seg && n < max && bit_get(s->live, proc) &&
	       sock_backlog(st) <= APP_KEPT_HIGH) {
		if (!shm_cmd_pop(seg, proc, st->worker, &s->rd[proc], &cmd)) {
			bit_clear(s->again, proc);
			break;
		}
		command(st, seg_id, proc, &cmd);
		n++;
	}
	return n;
}

/* The processes of one word that have commands. */
static uint64_t take_dirty(struct stack *st, struct app_seg *s, struct shm_seg *seg, unsigned word)
{
	uint64_t *dirty = &shm_rw_hdr(seg)->dirty[st->worker][word], bits = s->more[word];

	if (ld_rlx(dirty))
		bits |= xchg_sc(dirty, 0);	/* pairs with or_sc in shm_cmd_push() */
	s->more[word] = 0;
	return bits & s->live[word];
}

static unsigned seg_poll(struct stack *st, uint16_t seg_id, unsigned budget)
{
	struct app_seg *s = &st->app->segs[seg_id];
	struct shm_seg *seg = stack_seg(st, seg_id);
	unsigned n, done = 0;

	for (unsigned w = 0; seg && w < PROC_WORDS; w++) {
		uint64_t bits = s->live[w] ? take_dirty(st, s, seg, w) : 0;

		for (; bits; bits &= bits - 1) {
			uint32_t proc = w * 64 + (uint32_t)__builtin_ctzll(bits);
			unsigned max = budget - done < APP_TURN ? budget - done : APP_TURN;

			n = app_proc_poll(st, seg_id, proc, max);
			done += n;
			if ((n == max || sock_backlog(st) > APP_KEPT_HIGH) &&
			    bit_get(s->live, proc))
				bit_set(s->more, proc);
		}
	}
	return done;
}

unsigned app_poll(struct stack *st, unsigned budget)
{
	struct app_state *a = st->app;
	unsigned done = 0;

	sock_poll(st);
	if (sock_backlog(st) > APP_KEPT_HIGH)
		return 0;
	if (st->worker == 0)
		done = app_job_poll(st) + app_sweep_poll(st);
	done += udp_poll(st);
	for (uint32_t i = 0; i < a->active_cnt && done < budget; i++)
		done += seg_poll(st, a->active[(a->turn + i) % a->active_cnt], budget - done);
	a->turn++;
	return done;
}

uint64_t app_idle_us(struct stack *st)
{
	uint64_t due = app_sweep_due_us(st);

	return due == UINT64_MAX ? due : due > st->now_us ? due - st->now_us : 0;
}

bool app_pending(struct stack *st)
{
	struct app_state *a = st->app;

	for (uint32_t i = 0; i < a->active_cnt; i++) {
		struct app_seg *s = &a->segs[a->active[i]];
		struct shm_seg *seg = stack_seg(st, a->active[i]);

		for (unsigned w = 0; seg && w < PROC_WORDS; w++)
			if (s->live[w] &&
			    (s->more[w] | ld_sc(&shm_rw_hdr(seg)->dirty[st->worker][w])) &
					  s->live[w])
				return true;
	}
	return sock_backlog(st) != 0 || udp_pending(st) ||
	       (st->worker == 0 && (a->job_cnt || app_sweep_busy(st)));
}
