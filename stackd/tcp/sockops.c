/* SPDX-License-Identifier: MIT */
/* tcp/sockops.c - commands of programs for SOCK_STREAM sockets
 * bind, listen and the first half of connect run on worker 0; everything else where the TCB is.
 * connect() is decided by sock/ (route, port, worker) and carried out by that worker after
 * SMSG_CONNECT; while the message travels the slot's object is OBJ_MISC with the worker's number,
 * so that a close can follow it.
 * Holds:   an object is believed only when the TCB names the same slot and generation
 */
#include <errno.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "stackd/tcp/tcp_int.h"

static void answer(struct stack *st, const struct sock_cmd *c, int err)
{
	st->up->reply(st, c->reply, err, NULL, 0);
}

/* The command's TCB, NULL when the socket has none. */
static struct tcb *cmd_tcb(struct stack *st, const struct sock_cmd *c, uint32_t obj)
{
	struct tcb *tcb = OBJ_KIND(obj) == OBJ_TCB ? tcb_at(st, OBJ_IDX(obj)) : NULL;

	if (!tcb || memcmp(&tcb->id, &c->id, sizeof(c->id)))
		return NULL;
	tcp_intent(st, OBJ_TCB, OBJ_IDX(obj));
	return tcb;
}

static uint32_t cmd_bound(uint32_t obj)
{
	return OBJ_KIND(obj) == OBJ_BOUND ? OBJ_IDX(obj) : 0;
}

/* ---- bind, listen ---- */

/* A socket whose connection ended on this worker: worker 0 decides what comes next. Return: false
 * when that is us. */
static bool send_home(struct stack *st, const struct sock_cmd *c)
{
	struct sd_slot_e *e = sock_slot_e(st, c->id);

	if (st->worker == 0 || !e)
		return false;
	st_rel(&e->worker, 0);
	sock_forward(st, 0, c);
	return true;
}

static void op_bind(struct stack *st, const struct sock_cmd *c, uint32_t obj)
{
	struct sd_slot_e *e = sock_slot_e(st, c->id);
	struct sd_name name;
	uint32_t bound;
	int err;

	if (!obj && send_home(st, c))
		return;
	err = OBJ_KIND(obj) == OBJ_TCB ? -EINVAL : sock_bind(st, c, &bound);
	if (err) {
		answer(st, c, err);
		return;
	}
	name = (struct sd_name){ .addr = e->laddr, .port = e->lport };
	st->up->reply(st, c->reply, 0, &name, sizeof(name));
}

static void op_listen(struct stack *st, const struct sock_cmd *c, uint32_t obj)
{
	if (OBJ_KIND(obj) == OBJ_TCB || OBJ_KIND(obj) == OBJ_MISC)
		answer(st, c, -EINVAL);
	else if (obj || !send_home(st, c))
		sock_listen(st, c, cmd_bound(obj));
}

/* ---- connect ---- */

struct connect_msg {
	struct sock_tuple t;
	struct sock_id id;
	struct stack_reply_to reply;
	uint32_t bound;
};
static_assert(sizeof(struct connect_msg) <= sizeof(((struct stack_msg *)0)->data), "by value");
enum { CONNECT_GO = 0, CONNECT_CLOSE = 1 };	/* u32[0] of SMSG_CONNECT */

static void send_connect_msg(struct stack *st, uint16_t to, uint32_t what,
			     const struct connect_msg *m)
{
	struct stack_msg msg = { .kind = SMSG_CONNECT, .u32 = { what } };

	memcpy(msg.data, m, sizeof(*m));
	sock_send(st, to, &msg);
}

static int connect_errno(struct stack *st, uint32_t obj, const struct sd_slot_e *e)
{
	if (OBJ_KIND(obj) == OBJ_LISTENER)
		return -EISCONN;
	if (OBJ_KIND(obj) == OBJ_MISC || e->state == SD_ST_SYN_SENT || e->state == SD_ST_SYN_RECV)
		return -EALREADY;
	return OBJ_KIND(obj) == OBJ_TCB ? -EISCONN : 0;
}

static void op_connect(struct stack *st, const struct sock_cmd *c, uint32_t obj)
{
	struct sd_slot_e *e = sock_slot_e(st, c->id);
	struct connect_msg m = { .id = c->id, .reply = c->reply };
	struct ip_route_res route;
	uint16_t worker;
	int err = e ? connect_errno(st, obj, e) : -EBADF;

	if (!err && send_home(st, c))
		return;
	if (!err)
		err = sock_connect(st, c, cmd_bound(obj), &m.t, &m.bound, &worker, &route);
	if (err) {
		answer(st, c, err);
		return;
	}
	e->obj = OBJ(OBJ_MISC, worker);
	send_connect_msg(st, worker, CONNECT_GO, &m);
}

/* Positions of a slot that had a connection before go on counting. */
static void positions_from_slot(struct tcb *tcb, struct sd_slot_e *e, const struct sd_slot_p *sp)
{
	uint64_t snd = ld_acq(&sp->tx_tail), rcv = e->rx_tail;

	tcb->snd_una = tcb->snd_nxt = tcb->snd_tail = tcb->snd_up = snd;
	tcb->snd_sml = tcb->high_seq = tcb->usage_seq = tcb->rtt_seq = (uint32_t)snd;
	tcb->iss -= (uint32_t)snd;
	tcb->rcv_nxt = tcb->rcv_wup = tcb->rcv_high = rcv;
	tcb->rcv_head = pos_min(ld_acq(&sp->rx_head), rcv);
	st_rel(&e->tx_una, snd);
	st_rel(&e->tx_nxt, snd);
}

static int start(struct stack *st, const struct connect_msg *m, struct sd_slot_e *e,
		 struct sd_slot_p *sp)
{
	uint32_t iss = tcp_tw_take(st, &m->t, e->flags & SD_E_PORT_LOCK);
	struct tcb *tcb = tcb_alloc(st, &m->t);
	int err;

	if (!tcb)
		return -EADDRNOTAVAIL;
	tcp_load_opts(st, tcb, sp);
	tcp_init_bufs(st, tcb, ld_rlx(&sp->opts.sndbuf), ld_rlx(&sp->opts.rcvbuf));
	err = tcp_route(st, tcb);
	if (err) {
		tcb_free(st, tcb);
		return err;
	}
	tcb->holder = m->bound;
	tcb->id = m->id;
	tcb->iss = iss ? iss : tcp_isn(st, &m->t);
	tcb->ts_off = tcp_ts_offset(st, &m->t);
	positions_from_slot(tcb, e, sp);
	tcp_window_init(st, tcb);
	and_sc(&e->flags, SD_E_BOUND | SD_E_ADDR_LOCK | SD_E_PORT_LOCK | SD_E_CLOSED);
	st_rel(&e->worker, st->worker);
	st_rel(&e->obj, OBJ(OBJ_TCB, tcb_idx(st, tcb)));	/* after worker: app/cmd.c, C1 */
	tcp_set_state(st, tcb, SD_ST_SYN_SENT);
	snmp_inc(st, SNMP_Tcp_ActiveOpens);
	tcp_send_syn(st, tcb);
	tcp_rto_set(st, tcb, RTO_LOSS, tcb->rto_us);
	return 0;
}

void tcp_on_connect_msg(struct stack *st, const struct stack_msg *msg)
{
	struct sd_slot_e *e;
	struct sd_slot_p *sp;
	struct connect_msg m;
	struct tcb *tcb;
	int err;

	memcpy(&m, msg->data, sizeof(m));
	e = sock_slot_e(st, m.id);
	sp = sock_slot_p(st, m.id);
	if (!e || !sp)
		return;			/* a close cannot overtake: it comes by this ring, too */
	if (msg->u32[0] == CONNECT_CLOSE) {
		tcb = OBJ_KIND(e->obj) == OBJ_TCB ? tcb_at(st, OBJ_IDX(e->obj)) : NULL;
		if (tcb) {
			tcp_close(st, tcb);
		} else {
			sock_bound_put(st, cmd_bound(e->obj));
			sock_slot_free(st, m.id);
		}
		return;
	}
	err = start(st, &m, e, sp);
	if (err) {
		m.bound = sock_bound_after(st, m.bound);
		if (!m.bound)
			and_sc(&e->flags, ~SD_E_BOUND);
		st_rel(&e->obj, m.bound ? OBJ(OBJ_BOUND, m.bound) : 0);
	}
	st->up->reply(st, m.reply, err, NULL, 0);
}

static void op_disconnect(struct stack *st, const struct sock_cmd *c, uint32_t obj)
{
	struct tcb *tcb = cmd_tcb(st, c, obj);
	struct sd_slot_e *e = sock_slot_e(st, c->id);

	if (c->u32[0] == SD_DISC_NAME) {
		if (!obj)
			sock_unconnect(st, c->id, 0);
		answer(st, c, 0);
		return;
	}
	if (tcb) {
		tcp_disconnect(st, tcb);
		tcp_intent(st, OBJ_NONE, 0);
		obj = e ? e->obj : 0;
		if (cmd_bound(obj) && st->worker != 0) {	/* the record is worker 0's */
			sock_forward(st, 0, c);
			return;
		}
	} else if (OBJ_KIND(obj) == OBJ_LISTENER) {
		sock_listen_stop(st, OBJ_IDX(obj), c->reply);
		return;
	}
	sock_unconnect(st, c->id, cmd_bound(obj));
	if (e && !tcb)
		and_sc(&e->flags, SD_E_BOUND | SD_E_ADDR_LOCK | SD_E_PORT_LOCK | SD_E_CLOSED);
	answer(st, c, 0);
}

/* ---- shutdown, close ---- */

static int shut_tcb(struct stack *st, struct tcb *tcb, uint32_t how)
{
	if (tcb->state == SD_ST_SYN_SENT) {
		tcp_disconnect(st, tcb);	/* as Linux */
		return 0;
	}
	if (how == SHUT_RD || how == SHUT_RDWR)
		tcb->flags |= TF_SHUT_RD;
	if (how == SHUT_WR || how == SHUT_RDWR)
		tcp_queue_fin(st, tcb);
	st->up->event(st, tcb->id, SD_EV_IN | SD_EV_OUT | SD_EV_RDHUP |
		      (tcb->flags & TF_FIN && tcb->flags & (TF_RCV_FIN | TF_SHUT_RD) ?
		       SD_EV_HUP : 0));
	return 0;
}

static void op_shutdown(struct stack *st, const struct sock_cmd *c, uint32_t obj)
{
	struct tcb *tcb = cmd_tcb(st, c, obj);

	if (c->u32[0] > SHUT_RDWR)
		answer(st, c, -EINVAL);
	else if (tcb)
		answer(st, c, shut_tcb(st, tcb, c->u32[0]));
	else if (OBJ_KIND(obj) == OBJ_LISTENER && c->u32[0] != SHUT_WR) {
		sock_listen_stop(st, OBJ_IDX(obj), c->reply);
	} else {
		/* who polls it sees what shutdown() of an unconnected socket changes */
		if (OBJ_KIND(obj) != OBJ_LISTENER)
			st->up->event(st, c->id, SD_EV_IN | SD_EV_RDHUP | SD_EV_HUP);
		answer(st, c, OBJ_KIND(obj) == OBJ_LISTENER ? 0 : -ENOTCONN);
	}
	tcp_intent(st, OBJ_NONE, 0);
}

static void op_close(struct stack *st, const struct sock_cmd *c, uint32_t obj)
{
	struct tcb *tcb = cmd_tcb(st, c, obj);
	struct connect_msg m = { .id = c->id };

	switch (OBJ_KIND(obj)) {
	case OBJ_TCB:
		if (tcb)
			tcp_close(st, tcb);
		break;
	case OBJ_LISTENER:
		sock_listen_close(st, OBJ_IDX(obj));
		break;
	case OBJ_MISC:
		send_connect_msg(st, (uint16_t)OBJ_IDX(obj), CONNECT_CLOSE, &m);
		break;
	default:
		sock_bound_put(st, cmd_bound(obj));
		sock_slot_free(st, c->id);
	}
	tcp_intent(st, OBJ_NONE, 0);
}

void tcp_abort_queued(struct stack *st, struct sock_id id)
{
	struct sd_slot_e *e = sock_slot_e(st, id);
	struct tcb *tcb;

	if (!e)
		return;
	tcb = OBJ_KIND(e->obj) == OBJ_TCB ? tcb_at(st, OBJ_IDX(e->obj)) : NULL;
	if (!tcb) {
		sock_slot_free(st, id);
		return;
	}
	tcp_orphan(st, tcb);
	tcp_abort(st, tcb, 0, true);
}

/* ---- kick: data, room, options ---- */

static void opt_changed(struct stack *st, struct tcb *tcb)
{
	const struct sd_slot_p *sp = sock_slot_p(st, tcb->id);
	struct sd_slot_e *e = sock_slot_e(st, tcb->id);
	uint8_t ws = tcb->rcv_ws, nodelay = tcb->nodelay_ev, slowack = tcb->slowack_ev;
	uint32_t snd, rcv, tx = tcb->tx_limit, rx = tcb->rx_limit;

	if (!sp || !e)
		return;
	tcp_load_opts(st, tcb, sp);
	if (tcb->flags & TF_NODELAY && tcb->nodelay_ev != nodelay)
		tcb->flags |= TF_PUSH_NOW;	/* corked or not */
	if (tcb->slowack_ev != slowack && !(tcb->flags & TF_PINGPONG) &&
	    tcb->flags2 & T2_ACK_SCHED)
		tcp_due(st, tcb, DUE_ACK);
	snd = ld_rlx(&sp->opts.sndbuf);
	rcv = ld_rlx(&sp->opts.rcvbuf);
	tcp_init_bufs(st, tcb, snd, rcv);
	tcb->rcv_ws = ws;			/* agreed upon in the SYN */
	if (!snd)
		tcb->tx_limit = tx;
	if (!rcv)
		tcb->rx_limit = rx;
	st_rel(&e->tx_limit, tcb->tx_limit);
	st_rel(&e->rx_limit, tcb->rx_limit);
	if (tcb->state == SD_ST_ESTABLISHED || tcb->state == SD_ST_CLOSE_WAIT)
		tcp_keep_restart(st, tcb);
	tcp_due(st, tcb, DUE_TX);
}

static void op_kick(struct stack *st, const struct sock_cmd *c, uint32_t obj, uint32_t pending)
{
	struct tcb *tcb = cmd_tcb(st, c, obj);

	if (!tcb)
		return;
	if (pending & SD_PEND_OPT)
		opt_changed(st, tcb);
	if (pending & SD_PEND_TX && tcp_tx_pull(st, tcb))
		tcp_due(st, tcb, DUE_TX);
	if (pending & SD_PEND_RX && tcp_rx_consume(st, tcb) && tcb->state != SD_ST_SYN_SENT &&
	    tcp_window_opened(tcb))
		tcp_due(st, tcb, DUE_ACK);
	if (tcb->flags & TF_HOSTILE)
		tcp_due(st, tcb, DUE_TX);	/* tcp_flush() ends it */
	tcp_intent(st, OBJ_NONE, 0);
}

/* ---- information and options that the shim cannot answer ---- */

static void op_getinfo(struct stack *st, const struct sock_cmd *c, uint32_t obj)
{
	struct tcb *tcb = cmd_tcb(st, c, obj);
	const struct sd_slot_e *e = sock_slot_e(st, c->id);
	struct tcp_info none = { .tcpi_state = e ? (uint8_t)e->state : SD_ST_CLOSE };

	if (tcb)
		tcp_getinfo(st, tcb, c->reply);
	else
		st->up->reply(st, c->reply, 0, &none, sizeof(none));
	tcp_intent(st, OBJ_NONE, 0);
}

static void op_setopt(struct stack *st, const struct sock_cmd *c, uint32_t obj)
{
	struct tcb *tcb = cmd_tcb(st, c, obj);
	int cc = -ENOPROTOOPT;

	if (c->u32[0] == IPPROTO_TCP && c->u32[1] == TCP_CONGESTION)
		cc = tcp_cc_find(c->str);
	if (cc >= 0 && tcb && tcb->cc != cc)
		tcp_cc_switch(st, tcb, (uint8_t)cc);
	answer(st, c, cc < 0 ? cc : 0);
	tcp_intent(st, OBJ_NONE, 0);
}

static void op_getopt(struct stack *st, const struct sock_cmd *c, uint32_t obj)
{
	struct tcb *tcb = cmd_tcb(st, c, obj);
	uint32_t mss = tcb ? tcb->mss : TCP_MSS_UNKNOWN;
	char name[16] = { 0 };

	if (c->u32[0] == IPPROTO_TCP && c->u32[1] == TCP_CONGESTION) {
		strncpy(name, tcp_cc_at(tcb ? tcb->cc : tcp_cc_default(st))->name,
			sizeof(name) - 1);
		st->up->reply(st, c->reply, 0, name, sizeof(name));
	} else if (c->u32[0] == IPPROTO_TCP && c->u32[1] == TCP_MAXSEG) {
		st->up->reply(st, c->reply, 0, &mss, sizeof(mss));
	} else {
		answer(st, c, -ENOPROTOOPT);
	}
	tcp_intent(st, OBJ_NONE, 0);
}

const struct sock_ops tcp_sock_ops = {
	.name = "TCP", .type = SOCK_STREAM, .proto = IPPROTO_TCP,
	.bind = op_bind, .listen = op_listen, .connect = op_connect, .disconnect = op_disconnect,
	.shutdown = op_shutdown, .close = op_close, .kick = op_kick, .getinfo = op_getinfo,
	.setopt = op_setopt, .getopt = op_getopt,
};
