/* SPDX-License-Identifier: MIT */
/* tcp/reass.c - step 7 of segment arrival: data into the receive FIFO
 * Data is written where it belongs, in order or not; a bounded list of ranges remembers what lies
 * above rcv_nxt. Only what is in order is published (slot_e.rx_tail), and it is published before it
 * is acknowledged, so that an acknowledged byte outlives the engine.
 * Spec:    RFC 9293 3.10.7.4 seventh; RFC 2883 for what is reported of duplicates
 * Holds:   I3, I5; rcv_high >= everything backed by chunks
 */
#include <errno.h>

#include "shm/fifo.h"
#include "stackd/tcp/tcp_int.h"

static void fifo_mem(struct stack *st, const struct tcb *tcb, struct shm_fifo_mem *ret)
{
	ret->seg = stack_seg(st, tcb->id.seg);
	ret->epool = &st->epools[tcb->id.seg];
	ret->mag = NULL;
}

/* ---- what the program consumed ---- */

bool tcp_rx_consume(struct stack *st, struct tcb *tcb)
{
	struct sd_slot_e *e = sock_slot_e(st, tcb->id);
	struct sd_slot_p *sp = sock_slot_p(st, tcb->id);
	struct shm_fifo_mem mem;
	uint64_t head;

	if (!e || !sp)
		return true;
	head = ld_acq(&sp->rx_head);		/* pairs with the reader's st_rel */
	if (head == tcb->rcv_head)
		return true;
	if (pos_lt(head, tcb->rcv_head) || pos_lt(rcv_data_end(tcb), head)) {
		tcb->flags |= TF_HOSTILE;
		return false;
	}
	tcb->rcv_head = head;
	fifo_mem(st, tcb, &mem);
	if (mem.seg)
		shm_fifo_release(&mem, SD_FIFO_RX, &e->rx, head,
				 pos_max(rcv_data_end(tcb), tcb->rcv_high));
	return true;
}

/* ---- writing ---- */

/* Copy payload bytes [from, from + len) of the segment to @pos. Return: bytes that found room. */
static uint64_t store(struct stack *st, struct tcb *tcb, const struct tcp_seg *seg, uint64_t pos,
		      uint32_t from, uint32_t len)
{
	struct sd_slot_e *e = sock_slot_e(st, tcb->id);
	const struct pkt *p = seg->p;
	uint32_t skip = seg->data_off + from, n;
	struct shm_fifo_mem mem;
	uint64_t room, done = 0;
	const uint8_t *src;

	fifo_mem(st, tcb, &mem);
	if (!e || !mem.seg)
		return 0;
	room = shm_fifo_reserve(&mem, SD_FIFO_RX, &e->rx, pos, len);
	tcb->rcv_high = pos_max(tcb->rcv_high, pos + room);
	for (unsigned i = 0; done < room; i++) {
		src = i ? p->frag[i - 1].iov_base : p->data;
		n = i ? (uint32_t)p->frag[i - 1].iov_len : p->len;
		if (skip >= n) {
			skip -= n;
			continue;
		}
		n = (uint32_t)u64_min(n - skip, room - done);
		shm_fifo_write(mem.seg, SD_FIFO_RX, &e->rx, pos + done, src + skip, n);
		done += n;
		skip = 0;
	}
	return room;
}

/* Ranges that rcv_nxt has reached become ordinary data. */
static void absorb(struct stack *st, struct tcb *tcb)
{
	struct tcp_ranges *r = tcp_ranges_at(st, tcb->ooo);

	if (!r)
		return;
	if (r->cnt && pos_lt(r->r[0].lo, tcb->rcv_nxt))
		tcp_dsack_note(st, tcb, r->r[0].lo, pos_min(r->r[0].hi, tcb->rcv_nxt));
	while (r->cnt && pos_le(r->r[0].lo, tcb->rcv_nxt)) {
		tcb->rcv_nxt = pos_max(tcb->rcv_nxt, r->r[0].hi);
		tcp_ranges_trim(r, tcb->rcv_nxt);
	}
	if (!r->cnt)
		tcp_ranges_put(st, &tcb->ooo);
}

static void publish(struct stack *st, struct tcb *tcb)
{
	struct sd_slot_e *e = sock_slot_e(st, tcb->id);
	uint32_t ev = SD_EV_IN;

	if (!e)
		return;
	if (e->flags & SD_E_URG && pos_lt(e->rx_tail, e->rx_urg) && pos_le(e->rx_urg, tcb->rcv_nxt))
		ev |= SD_EV_PRI;
	st_rel(&e->rx_tail, tcb->rcv_nxt);	/* pairs with the reader's ld_acq */
	if (!(tcb->flags & TF_ORPHAN))
		st->up->event(st, tcb->id, ev);
}

enum tcp_verdict tcp_data_in_order(struct stack *st, struct tcb *tcb, struct tcp_seg *seg)
{
	uint32_t from = (uint32_t)(tcb->rcv_nxt - seg->pos), len = seg->len - from;
	bool had_holes = tcb->ooo != 0;
	uint64_t got = store(st, tcb, seg, tcb->rcv_nxt, from, len);

	if (got < len) {
		seg->why = DROP_TCP_RCVBUF;	/* the FIN, too, comes again */
		tcb->flags &= ~TF_FIN_SEEN;
		if (!got) {
			tcp_due(st, tcb, DUE_ACK);
			return TCP_DROP;
		}
	}
	tcb->rcv_nxt += got;
	absorb(st, tcb);
	if (tcb->sel_cnt)
		tcp_sack_advance(tcb);
	publish(st, tcb);
	if (!tcb->dl[DL_TRIM])
		tcp_dl_set(st, tcb, DL_TRIM, TCP_TRIM_US);
	if (had_holes)
		tcp_due(st, tcb, DUE_ACK);
	tcp_data_event(st, tcb, seg);
	if (tcb->flags & TF_FIN_SEEN && tcb->rcv_fin == tcb->rcv_nxt)
		tcb->flags |= TF_PINGPONG;	/* the answer, or our FIN, may carry the ACK */
	tcp_ack_sched(st, tcb);
	tcp_rcv_tune(st, tcb);
	return TCP_NEXT;
}

static enum tcp_verdict data_ahead(struct stack *st, struct tcb *tcb, struct tcp_seg *seg)
{
	struct tcp_ranges *r = tcp_ranges_get(st, &tcb->ooo);
	enum tcp_verdict v = TCP_DROP;
	struct tcp_range twice;
	uint64_t got, fresh;
	bool known;

	seg->why = DROP_TCP_RCVBUF;
	if (!r || (r->cnt == TCP_RANGES && pos_lt(r->r[r->cnt - 1].hi, seg->pos)))
		goto out_ack;
	got = store(st, tcb, seg, seg->pos, 0, seg->len);
	twice = (struct tcp_range){ seg->pos, seg->pos + got };
	known = tcp_ranges_overlap(r, &twice);
	if (got && tcp_ranges_add(r, seg->pos, seg->pos + got, &fresh)) {
		v = TCP_NEXT;
		tcp_sack_note(tcb, seg->pos, seg->pos + got +
			      (tcb->flags & TF_FIN_SEEN && tcb->rcv_fin == seg->pos + got));
		if (known)
			tcp_dsack_note(st, tcb, twice.lo, twice.hi);
	}
	if (!r->cnt)
		tcp_ranges_put(st, &tcb->ooo);
out_ack:
	snmp_inc(st, v == TCP_NEXT ? SNMP_TcpExt_TCPOFOQueue : SNMP_TcpExt_TCPOFODrop);
	tcb->ooo_in++;
	tcp_send_ack(st, tcb);			/* each: it may be the third duplicate */
	return v;
}

/* ---- the step ---- */

/* A FIN behind the data is remembered until the data before it is complete. */
static void note_fin(struct tcb *tcb, const struct tcp_seg *seg)
{
	if (!(seg->flags & TH_FIN) || tcb->flags & (TF_RCV_FIN | TF_FIN_SEEN) ||
	    pos_lt(seg->pos + seg->len, pos_max(tcb->rcv_nxt, tcb->rcv_high)))
		return;
	tcb->flags |= TF_FIN_SEEN;
	tcb->rcv_fin = seg->pos + seg->len;
}

/* Cut what was advertised to nobody: beyond the window, or behind the FIN. Return: false = nothing
 * left. */
static bool trim(struct tcb *tcb, struct tcp_seg *seg)
{
	uint64_t end = tcb->rcv_adv;

	if (tcb->flags & TF_FIN_SEEN && pos_lt(tcb->rcv_fin, end))
		end = tcb->rcv_fin;
	if (pos_lt(end, seg->pos + seg->len)) {
		seg->len = (uint32_t)pos_span(seg->pos, end);
		seg->flags &= ~TH_FIN;
	}
	return seg->len || seg->flags & TH_FIN;
}

static enum tcp_verdict duplicate(struct stack *st, struct tcb *tcb, struct tcp_seg *seg)
{
	tcp_dsack_note(st, tcb, seg->pos, seg->pos + seg->len);
	snmp_inc(st, SNMP_TcpExt_DelayedACKLost);
	tcp_quickack(tcb, TCP_QUICKACKS);
	tcb->flags &= ~TF_PINGPONG;
	tcb->ato_us = TCP_DELACK_US;
	tcp_due(st, tcb, DUE_ACK);
	seg->why = DROP_TCP_OLD;
	return TCP_DROP;
}

/* The program will never read it: say so. Linux: TCPAbortOnData. */
static bool unwanted(const struct tcb *tcb, const struct tcp_seg *seg)
{
	return (tcb->flags & (TF_ORPHAN | TF_SHUT_RD)) &&
	       (tcb->state == SD_ST_FIN_WAIT1 || tcb->state == SD_ST_FIN_WAIT2) &&
	       pos_lt(tcb->rcv_nxt, seg->pos + seg->len);
}

enum tcp_verdict tcp_step_data(struct stack *st, struct tcb *tcb, struct tcp_seg *seg)
{
	bool open = tcb->state == SD_ST_ESTABLISHED || tcb->state == SD_ST_FIN_WAIT1 ||
		    tcb->state == SD_ST_FIN_WAIT2;

	if (!seg->len && !(seg->flags & TH_FIN))
		return TCP_NEXT;
	if (!open || tcb->flags & TF_RCV_FIN) {
		if (pos_lt(seg->pos, tcb->rcv_nxt))
			tcp_due(st, tcb, DUE_ACK);	/* our ACK of the FIN was lost */
		return TCP_NEXT;
	}
	if (unwanted(tcb, seg)) {
		snmp_inc(st, SNMP_TcpExt_TCPAbortOnData);
		tcp_reply_rst(st, seg, &tcb->t);
		tcp_abort(st, tcb, ECONNRESET, false);
		seg->why = DROP_TCP_CLOSED;
		return TCP_DROP;
	}
	if (!trim(tcb, seg)) {
		snmp_inc(st, SNMP_TcpExt_TCPZeroWindowDrop);
		tcp_due(st, tcb, DUE_ACK);
		seg->why = DROP_TCP_RCVBUF;
		return TCP_DROP;
	}
	if (seg->flags & TH_CWR && tcb->flags2 & T2_ECN) {
		tcb->flags2 &= ~T2_ECN_DEMAND;
		tcp_due(st, tcb, DUE_ACK);
	}
	note_fin(tcb, seg);
	if (pos_lt(tcb->rcv_nxt, seg->pos)) {
		if (seg->len)
			return data_ahead(st, tcb, seg);
		if (tcb->flags & TF_FIN_SEEN && tcb->rcv_fin == seg->pos)
			tcp_sack_note(tcb, seg->pos, seg->pos + 1);
		tcp_send_ack(st, tcb);		/* a FIN with a hole before it: say so */
		return TCP_NEXT;
	}
	if (pos_lt(tcb->rcv_nxt, seg->pos + seg->len)) {
		if (pos_lt(seg->pos, tcb->rcv_nxt))
			tcp_dsack_note(st, tcb, seg->pos, tcb->rcv_nxt);
		return tcp_data_in_order(st, tcb, seg);
	}
	if (seg->len && !(tcb->flags & TF_FIN_SEEN && tcb->rcv_fin == tcb->rcv_nxt))
		return duplicate(st, tcb, seg);
	return TCP_NEXT;
}
