/* SPDX-License-Identifier: MIT */
/* tests/sim/watch.c - an observer on the wire: what each stack sends is held against what it got
 * It knows headers and RFCs and nothing of the stack's insides. Per connection and direction it
 * keeps what was sent, what of it was delivered, and what the other side has said; each frame that
 * leaves a host must follow from the frames that have reached it:
 *   W1  an ACK acknowledges only what was delivered, and never less than before
 *   W2  the right edge of an offered window never moves back (RFC 9293 3.8.6)
 *   W3  data lies within the window that was offered, leaves no gap, and nothing follows a FIN
 *   W4  a segment is no larger than the peer's MSS allows (RFC 6691)
 *   W5  a SACK block names bytes that were delivered, four blocks at most (RFC 2018, 2883)
 *   W6  timestamps are on every segment or on none; they do not run back, and echo what came
 *   W7  a retransmission timer that nothing disturbs doubles its wait (RFC 6298 5.5)
 *   W8  before the first acknowledgment ten segments leave at most (RFC 6928), one for the tail
 *       probe, one for each segment that came (RFC 3042)
 *   W9  nobody says the same twice without a cause
 * A second connection on the same addresses and ports (a reused port, an old SYN that comes late)
 * is not judged: its segments cannot be told from those of the first.
 */
#include <stdlib.h>
#include <string.h>

#include "tests/sim/sim.h"

#define CONNS		1024u		/* of a seed */
#define RANGES		128u
#define BUCKETS		256u
#define ARP_WAIT_US	10000000u

/* [lo, hi) of sequence space, relative to the initial number: the SYN lies at 0. */
struct range { int64_t lo, hi; };

struct resend {				/* the same data again and again */
	int64_t lo;
	uint64_t last_us, gap_us;
	unsigned times;
};

/* What one side says. */
struct side {
	bool syn, dead;			/* its SYN is known; it has sent a reset */
	uint32_t isn;
	uint16_t mss;			/* of its SYN: for the other side's segments */
	uint8_t ws;
	bool has_ws, has_ts, sack_ok;
	int64_t max, fin;		/* end of what it sent; where its FIN lies, -1 none */
	int64_t acked;			/* of its data, as it has heard */
	int64_t edge;			/* window that it has heard of */
	int64_t said_ack, said_edge;	/* what it has said itself */
	int64_t got;			/* of its data, all up to there reached the other side */
	struct range more[RANGES];	/* and this beyond */
	unsigned ranges;
	uint32_t ts, ts_got;		/* its newest timestamp: sent, delivered */
	bool ts_sent, ts_known;
	struct resend again;
	int64_t frames;			/* that have reached it */
	bool sacked;			/* one of them had SACK blocks */
	unsigned causes;		/* segments that reached it at heard_us, less its ACKs */
	uint64_t heard_us;
	uint64_t last_us;
	int64_t last_ack, last_edge, last_seq;
	bool last_pure;
};

struct conn {
	struct sock_tuple t;		/* of side 0 */
	uint32_t next;			/* in its bucket */
	bool loose;			/* not judged */
	struct side side[2];
};

struct watch {
	struct sim *s;
	uint32_t cnt;
	uint64_t loose;
	uint64_t arp_us[SIM_HOSTS];	/* its last ARP: what had waited for it follows */
	uint32_t bucket[BUCKETS];
	struct conn conn[CONNS];	/* [0] is none */
};

/* A TCP frame, as the observer reads it. */
struct view {
	uint8_t src, dst;		/* hosts */
	uint16_t sport, dport, wnd, seg;	/* seg: payload of one segment */
	uint32_t seq, ack, len;
	uint8_t flags, opt_len, tos;
	struct tcp_opts o;
};

/* ---- reading ---- */

static uint32_t get32(const uint8_t *b)
{
	return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

static uint16_t get16(const uint8_t *b)
{
	return (uint16_t)(b[0] << 8 | b[1]);
}

static bool view_of(const struct frame *f, struct view *v)
{
	const uint8_t *ip = f->bytes + 14, *t = ip + 20;
	uint32_t hl;

	if (f->len < 54 || get16(f->bytes + 12) != 0x800 || ip[0] != 0x45 || ip[9] != IP_PROTO_TCP)
		return false;
	hl = (t[12] >> 4) * 4u;
	*v = (struct view){ .src = (uint8_t)(ip[15] - 1), .dst = (uint8_t)(ip[19] - 1),
			    .sport = get16(t), .dport = get16(t + 2), .seq = get32(t + 4),
			    .ack = get32(t + 8), .wnd = get16(t + 14), .flags = t[13],
			    .opt_len = (uint8_t)(hl - 20), .tos = ip[1] };
	v->len = get16(ip + 2) - 20u - hl;
	v->seg = (uint16_t)(f->gso_type ? f->gso_size : v->len);
	return tcp_opts_parse(t + 20, v->opt_len, &v->o);
}

static bool is_arp(const struct frame *f)
{
	return get16(f->bytes + 12) == 0x806;
}

/* Is it now that the host says it, or has it waited for its neighbour's address? */
static bool prompt(const struct watch *w, unsigned host)
{
	return w->s->now_us - w->arp_us[host] > ARP_WAIT_US;
}

static uint32_t hash(const struct view *v)
{
	return (v->sport * 31u + v->dport * 31u + v->src + v->dst) % BUCKETS;
}

/* The connection of a frame; *ret_from: which side sent it. */
static struct conn *find(struct watch *w, const struct view *v, unsigned *ret_from)
{
	struct sd_addr src = host_addr(v->src), dst = host_addr(v->dst);

	for (uint32_t i = w->bucket[hash(v)]; i; i = w->conn[i].next) {
		struct conn *c = &w->conn[i];

		for (unsigned k = 0; k < 2; k++) {
			if ((k ? c->t.rport : c->t.lport) != v->sport ||
			    (k ? c->t.lport : c->t.rport) != v->dport ||
			    memcmp(k ? &c->t.raddr : &c->t.laddr, &src, sizeof(src)) ||
			    memcmp(k ? &c->t.laddr : &c->t.raddr, &dst, sizeof(dst)))
				continue;
			*ret_from = k;
			return c;
		}
	}
	return NULL;
}

static struct conn *make(struct watch *w, const struct view *v)
{
	struct conn *c;
	uint32_t h = hash(v);

	if (w->cnt + 1 == CONNS)
		return NULL;
	c = &w->conn[++w->cnt];
	*c = (struct conn){ .t = { host_addr(v->src), host_addr(v->dst), v->sport, v->dport } };
	c->side[0].fin = c->side[1].fin = -1;
	c->next = w->bucket[h];
	w->bucket[h] = w->cnt;
	return c;
}

static void let_go(struct watch *w, struct conn *c)
{
	w->loose += !c->loose;
	c->loose = true;
}

static int64_t rel(const struct side *s, uint32_t seq)
{
	return (int32_t)(seq - s->isn);
}

#define wrong(w, v, fmt, ...) \
	sim_fail((w)->s, "wire: host %u port %u to host %u port %u: " fmt, (v)->src, (v)->sport, \
		 (v)->dst, (v)->dport, ##__VA_ARGS__)

/* ---- what was delivered ---- */

static void ranges_add(struct watch *w, struct conn *c, struct side *s, int64_t lo, int64_t hi)
{
	unsigned i = 0, k;

	while (i < s->ranges && s->more[i].hi < lo)
		i++;
	for (k = i; k < s->ranges && s->more[k].lo <= hi; k++) {
		lo = s->more[k].lo < lo ? s->more[k].lo : lo;
		hi = s->more[k].hi > hi ? s->more[k].hi : hi;
	}
	if (s->ranges + 1 - (k - i) > RANGES) {
		let_go(w, c);
		return;
	}
	memmove(&s->more[i + 1], &s->more[k], (s->ranges - k) * sizeof(s->more[0]));
	s->ranges += 1 - (k - i);
	s->more[i] = (struct range){ lo, hi };
	while (s->ranges && s->more[0].lo <= s->got) {
		s->got = s->more[0].hi > s->got ? s->more[0].hi : s->got;
		memmove(&s->more[0], &s->more[1], --s->ranges * sizeof(s->more[0]));
	}
}

static bool delivered(const struct side *s, int64_t lo, int64_t hi)
{
	if (hi <= s->got)
		return true;
	lo = lo < s->got ? s->got : lo;
	for (unsigned i = 0; i < s->ranges; i++)
		if (s->more[i].lo <= lo && hi <= s->more[i].hi)
			return true;
	return false;
}

void watch_got(struct watch *w, const struct frame *f)
{
	struct conn *c = &w->conn[f->conn];
	struct side *from, *to;
	int64_t lo, hi, edge;
	struct view v;
	unsigned k;

	if (is_arp(f))
		w->arp_us[f->to] = w->s->now_us;
	if (!f->conn || c->loose || !view_of(f, &v) || find(w, &v, &k) != c)
		return;
	from = &c->side[k];
	to = &c->side[!k];
	if (to->heard_us != w->s->now_us)
		to->causes = 0;
	to->heard_us = w->s->now_us;
	to->causes++;
	to->frames++;
	to->sacked |= v.o.sack_cnt > 0;
	to->again.times = 0;
	if (v.flags & TH_RST || !from->syn)
		return;
	if (v.o.has_ts && (!from->ts_known || u32_lt(from->ts_got, v.o.tsval))) {
		from->ts_got = v.o.tsval;
		from->ts_known = true;
	}
	lo = rel(from, v.seq);
	hi = lo + v.len + !!(v.flags & TH_SYN) + !!(v.flags & TH_FIN);
	if (hi > lo)
		ranges_add(w, c, from, lo, hi);
	if (!(v.flags & TH_ACK) || !to->syn)
		return;
	if (rel(to, v.ack) > to->acked)
		to->acked = rel(to, v.ack);
	edge = rel(to, v.ack) + ((int64_t)v.wnd <<
				 (v.flags & TH_SYN || !to->has_ws ? 0 : from->ws));
	if (edge > to->edge)
		to->edge = edge;
}

/* ---- what is sent ---- */

static void saw_syn(struct watch *w, struct conn *c, struct side *s, const struct view *v)
{
	if (s->syn && s->isn != v->seq) {
		let_go(w, c);
		return;
	}
	if (v->o.mss < 88)
		wrong(w, v, "a SYN with MSS %u", v->o.mss);
	s->isn = v->seq;
	s->mss = v->o.mss;
	s->ws = v->o.has_ws ? v->o.wscale : 0;
	s->has_ws = v->o.has_ws;
	s->has_ts = v->o.has_ts;
	s->sack_ok = v->o.sack_ok;
	s->max = s->max < 1 ? 1 : s->max;
	s->syn = true;
}

/* W1, W2 */
static void judge_ack(struct watch *w, const struct view *v, struct side *me,
		      const struct side *peer)
{
	int64_t ack = rel(peer, v->ack), edge, slack;

	if (ack > peer->got)
		wrong(w, v, "acknowledges %ld, delivered were %ld", (long)ack, (long)peer->got);
	if (ack < me->said_ack)
		wrong(w, v, "acknowledges %ld after %ld", (long)ack, (long)me->said_ack);
	edge = ack + ((int64_t)v->wnd << (v->flags & TH_SYN || !peer->has_ws ? 0 : me->ws));
	/* TIME_WAIT remembers a number of bytes and rounds it down, as Linux does */
	slack = me->fin >= 0 ? (1 << me->ws) - 1 : 0;
	if (edge + slack < me->said_edge && !(v->flags & TH_SYN))	/* 16 bits, unscaled */
		wrong(w, v, "takes its window back: %ld after %ld", (long)edge,
		      (long)me->said_edge);
	me->said_ack = ack;
	me->said_edge = edge > me->said_edge ? edge : me->said_edge;
}

/* W5 */
static void judge_sack(struct watch *w, const struct view *v, const struct side *me,
		       const struct side *peer)
{
	unsigned i;

	if (v->o.sack_cnt && !(peer->sack_ok && me->sack_ok))
		wrong(w, v, "SACK that nobody has asked for");
	for (i = 0; i < v->o.sack_cnt; i++) {
		int64_t lo = rel(peer, v->o.sack[i].lo), hi = rel(peer, v->o.sack[i].hi);

		if (lo >= hi || lo < 0 || !delivered(peer, lo, hi))
			wrong(w, v, "SACK %ld to %ld was not delivered", (long)lo, (long)hi);
		if (i && hi <= me->said_ack)
			wrong(w, v, "SACK %ld to %ld below ACK %ld", (long)lo, (long)hi,
			      (long)me->said_ack);
	}
}

/* W6 */
static void judge_ts(struct watch *w, const struct view *v, struct side *me,
		     const struct side *peer)
{
	bool both = me->has_ts && peer->has_ts;

	if (!(v->flags & TH_SYN) && both != v->o.has_ts)
		wrong(w, v, "%s", both ? "no timestamp" : "a timestamp uninvited");
	if (!v->o.has_ts)
		return;
	if (me->ts_sent && u32_lt(v->o.tsval, me->ts))
		wrong(w, v, "timestamp %u after %u", v->o.tsval, me->ts);
	me->ts = v->o.tsval;
	me->ts_sent = true;
	if (v->flags & TH_ACK && v->o.tsecr && !peer->ts_known)
		wrong(w, v, "echoes a timestamp that nobody sent");
	if (v->flags & TH_ACK && peer->ts_known && u32_lt(peer->ts_got, v->o.tsecr))
		wrong(w, v, "echoes timestamp %u, newest is %u", v->o.tsecr, peer->ts_got);
}

/* W7. The first wait may be a probe's or what is left of a timer; a program's own patience
 * (TCP_USER_TIMEOUT) cuts the last one short. */
static void judge_resend(struct watch *w, const struct view *v, struct side *me, int64_t lo)
{
	struct resend *r = &me->again;
	uint64_t now = w->s->now_us, gap = now - r->last_us;

	if (!r->times || r->lo != lo || !prompt(w, v->src)) {
		*r = (struct resend){ .lo = lo, .last_us = now, .times = 1 };
		return;
	}
	if (r->times >= 3 && gap < r->gap_us * 9 / 5 && gap < 110000000 &&
	    !w->s->user_timeouts)
		wrong(w, v, "sent %ld again after %lu us, before that after %lu", (long)lo,
		      (unsigned long)gap, (unsigned long)r->gap_us);
	r->gap_us = gap;
	r->last_us = now;
	r->times++;
}

/* W3, W4, W8 */
static void judge_data(struct watch *w, const struct view *v, struct side *me,
		       const struct side *peer)
{
	int64_t lo = rel(me, v->seq), hi = lo + v->len, mss = peer->mss;
	bool fin = v->flags & TH_FIN;
	/* BBR starts up through single losses: two segments for each that arrived */
	int64_t per_ack = w->s->host[v->src].st.sys->tcp_congestion_control[0] == 'b' ? 2 : 1;

	if (lo > me->max)
		wrong(w, v, "a gap: %ld after %ld", (long)lo, (long)me->max);
	if (me->fin >= 0 && ((v->len && hi > me->fin) || (fin && hi != me->fin)))
		wrong(w, v, "data at %ld beyond the FIN at %ld", (long)hi, (long)me->fin);
	if (!v->len && !fin) {
		if (lo < me->acked - 1)
			wrong(w, v, "sequence number %ld below %ld", (long)lo, (long)me->acked);
		return;
	}
	if (v->len && hi > me->edge)
		wrong(w, v, "data up to %ld, window up to %ld", (long)hi, (long)me->edge);
	if (v->seg + v->opt_len > mss || v->seg + v->opt_len + 40 > 1500)
		wrong(w, v, "segment of %u bytes, MSS %ld, options %u", v->seg, (long)mss,
		      v->opt_len);
	if (me->acked <= 1 && !me->sacked && hi - 1 > (11 + per_ack * me->frames) * mss)
		wrong(w, v, "%ld bytes before the first ACK", (long)hi - 1);
	judge_resend(w, v, me, lo);
	if (fin)
		me->fin = hi;
	me->max = hi + fin > me->max ? hi + fin : me->max;
}

/* W9 */
static void judge_echo(struct watch *w, const struct view *v, struct side *me)
{
	bool pure = !v->len && !v->o.sack_cnt && !(v->flags & (TH_SYN | TH_FIN));
	int64_t seq = rel(me, v->seq);

	if (pure && me->last_pure && !me->causes && me->last_ack == me->said_ack &&
	    me->last_edge == me->said_edge && me->last_seq == seq &&
	    w->s->now_us - me->last_us < 1000 && prompt(w, v->src))
		wrong(w, v, "the same ACK twice: %ld", (long)me->said_ack);
	me->last_pure = pure;
	me->last_ack = me->said_ack;
	me->last_edge = me->said_edge;
	me->last_seq = seq;
	me->last_us = w->s->now_us;
	me->causes -= me->causes > 0;
}

void watch_sent(struct watch *w, struct frame *f)
{
	struct side *me, *peer;
	struct conn *c;
	struct view v;
	unsigned k = 0;

	if (is_arp(f))
		w->arp_us[f->from] = w->s->now_us;
	if (!view_of(f, &v))
		return;
	c = find(w, &v, &k);
	if (!c && (v.flags & (TH_SYN | TH_ACK | TH_RST)) == TH_SYN)
		c = make(w, &v);
	if (!c)
		return;
	f->conn = (uint32_t)(c - w->conn);
	me = &c->side[k];
	peer = &c->side[!k];
	if (v.flags & TH_RST)
		me->dead = true;
	if (c->loose || me->dead)
		return;
	if (v.flags & TH_SYN)
		saw_syn(w, c, me, &v);
	if (c->loose || !me->syn)
		return;
	if (v.flags & TH_ACK) {
		if (!peer->syn)
			wrong(w, &v, "an ACK of nothing");
		judge_ack(w, &v, me, peer);
		judge_sack(w, &v, me, peer);
	}
	judge_ts(w, &v, me, peer);
	if (!(v.flags & TH_SYN))
		judge_data(w, &v, me, peer);
	judge_echo(w, &v, me);
}

/* ---- life ---- */

struct watch *watch_new(struct sim *s)
{
	struct watch *w = malloc(sizeof(*w));

	w->s = s;
	w->cnt = 0;
	w->loose = 0;
	memset(w->arp_us, 0, sizeof(w->arp_us));
	memset(w->bucket, 0, sizeof(w->bucket));
	w->conn[0].loose = true;
	return w;
}

void watch_free(struct watch *w)
{
	free(w);
}

/* A connection that nobody has reset is over when each side has acknowledged the other's FIN. */
void watch_end(struct watch *w)
{
	for (uint32_t i = 1; i <= w->cnt; i++) {
		const struct conn *c = &w->conn[i];
		bool dead = c->loose || c->side[0].dead || c->side[1].dead;

		for (unsigned k = 0; k < 2 && !dead; k++) {
			const struct side *s = &c->side[k];

			if (s->fin >= 0 && s->got > s->fin && c->side[!k].said_ack != s->fin + 1)
				sim_fail(w->s, "wire: the FIN of port %u was never acknowledged",
					 k ? c->t.rport : c->t.lport);
		}
	}
}

uint64_t watch_conns(const struct watch *w, uint64_t *ret_loose)
{
	*ret_loose = w->loose;
	return w->cnt;
}
