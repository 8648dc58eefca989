/* SPDX-License-Identifier: MIT */
/* udp/tx.c - datagrams out: records of the program's FIFO, checked and copied once
 * Spec:    RFC 768; U2 (PARTIAL, or none with SO_NO_CHECK); ip(7) IP_MTU_DISCOVER
 * The FIFO is the program's: record header and payload are copied before they are looked at, a
 * length that does not fit what was published ends the socket. What the route or a limit refuses
 * becomes the socket's asynchronous error; the program's own checks have said most of it already.
 * Limits:  UDP_TX_TURN datagrams before others have their turn; UDP_MAX_SEGS of a record
 * Threads: owning worker only
 */
#include "stackd/udp/udp_int.h"

void udp_hostile(struct stack *st, struct udp_sock *u)
{
	if (u->hostile)
		return;
	u->hostile = 1;
	snmp_inc(st, SNMP_App_BadCommands);
	sock_set_err(st, u->id, EIO, SD_EV_IN | SD_EV_OUT | SD_EV_HUP);
}

/* One datagram to be sent. */
struct out {
	struct udp_sock *u;
	struct sd_slot_p *sp;
	struct ip_tx_info ip;
	uint16_t dport;
	uint32_t mtu;
	uint8_t flags;			/* SD_DGF_* */
};

/* Destination, source, route. Return: 0 or the errno that the socket gets, negative. */
static int out_route(struct stack *st, struct out *o, const struct sd_dgram *d)
{
	struct sd_addr dst = d->port ? d->addr : o->u->t.raddr, src = o->u->t.laddr;
	struct ip_route_res r;
	int err;

	o->dport = d->port ? d->port : o->u->t.rport;
	if (!o->dport)
		return -EDESTADDRREQ;
	if (!sd_addr_is_any(&d->local) && ip_is_local(st, &d->local))
		src = d->local;
	if (sd_addr_is_v4(&dst) && sd_addr_is_any(&src))
		src = sd_addr_v4((be32){ 0 });
	if (sd_addr_is_v4(&dst) != sd_addr_is_v4(&src))
		return -ENETUNREACH;
	err = ip_route(st, &dst, &src, &r);
	if (err)
		return err;
	if (r.bcast && !(o->flags & SD_DGF_BCAST))
		return -EACCES;
	o->mtu = r.mtu;
	o->ip = (struct ip_tx_info){
		.src = sd_addr_is_any(&src) ? r.src : src, .dst = dst, .next_hop = r.next_hop,
		.proto = IP_PROTO_UDP, .tos = d->tos, .ttl = d->ttl, .local = r.local,
	};
	return 0;
}

/* Don't-fragment by IP_MTU_DISCOVER. Return: 0 or -EMSGSIZE. */
static int out_df(struct out *o, uint32_t len)
{
	uint8_t mode = ld_rlx(&o->sp->opts.pmtudisc);
	bool fits = o->ip.local || len + sizeof(struct udp_hdr) + 20 <= o->mtu;

	if (mode == IP_PMTUDISC_DO || mode == IP_PMTUDISC_PROBE) {
		o->ip.df = true;
		return fits ? 0 : -EMSGSIZE;
	}
	o->ip.df = mode == IP_PMTUDISC_WANT && fits;
	return 0;
}

static void fill_header(struct out *o, struct pkt *p, uint32_t len)
{
	struct udp_hdr *h = (struct udp_hdr *)p->data;
	uint16_t total = (uint16_t)(len + sizeof(*h));

	*h = (struct udp_hdr){
		.sport = cpu_to_be16(o->u->t.lport), .dport = cpu_to_be16(o->dport),
		.len = cpu_to_be16(total),
	};
	p->len = total;
	if (o->flags & SD_DGF_NO_CHECK)
		return;
	h->csum = ip_pseudo_sum(&o->ip.src, &o->ip.dst, IP_PROTO_UDP, total);
	p->csum_state = PKT_CSUM_PARTIAL;
	p->csum_start = (uint16_t)(p->data - p->buf);
	p->csum_off = offsetof(struct udp_hdr, csum);
}

/* Payload [@pos, @pos + @len) of the FIFO as one datagram. Return: 0, -EPROTO: the FIFO is broken,
 * or an errno for the socket. */
static int send_one(struct stack *st, struct out *o, uint64_t pos, uint32_t len)
{
	struct pkt *p;
	int err = out_df(o, len);

	if (err)
		return err;
	p = pkt_alloc(st->pool, len + sizeof(struct udp_hdr) > PKT_SMALL - PKT_HEADROOM);
	if (!p) {
		snmp_inc(st, SNMP_Udp_SndbufErrors);
		st->cnt->drop[DROP_NO_BUF]++;
		return 0;
	}
	if (shm_fifo_read(&st->segs[o->u->id.seg], SD_FIFO_TX, &o->sp->tx, pos,
			  p->data + sizeof(struct udp_hdr), len) < len) {
		stack_pkt_free(st, p);
		return -EPROTO;
	}
	fill_header(o, p, len);
	snmp_inc(st, SNMP_Udp_OutDatagrams);
	ip_tx(st, p, &o->ip);
	return 0;
}

/* A record, cut into datagrams of gso_len (UDP_SEGMENT). */
static int send_record(struct stack *st, struct out *o, uint64_t pos, const struct sd_dgram *d)
{
	uint32_t step = d->gso_len && d->gso_len < d->len ? d->gso_len : d->len, n;
	int err = out_route(st, o, d);

	if (!err && step > UDP_MAX_PAYLOAD)
		err = -EMSGSIZE;
	else if (!err && d->len > step * UDP_MAX_SEGS)
		err = -EINVAL;
	for (uint32_t off = 0; !err; off += n) {
		n = d->len - off < step ? d->len - off : step;
		err = send_one(st, o, pos + off, n);
		if (off + n >= d->len)
			break;
	}
	return err;
}

/* Publish how far the program may free, and wake a writer that waits for room. */
static void tx_done(struct stack *st, struct udp_sock *u, struct sd_slot_e *e, struct sd_slot_p *sp)
{
	st_rlx(&e->tx_nxt, u->tx_pos);
	xchg_sc(&e->tx_una, u->tx_pos); /* pairs with the writer: NOSPACE set, then a look here */
	if (!(ld_sc(&sp->flags) & SD_P_NOSPACE))
		return;
	and_sc(&sp->flags, ~SD_P_NOSPACE);
	st->up->event(st, u->id, SD_EV_OUT);
}

/* Next record. Return: its size in the FIFO, 0 = none, -EPROTO: broken. */
static int64_t record_read(struct stack *st, struct udp_sock *u, struct sd_slot_p *sp,
			   uint64_t avail,
			   struct sd_dgram *d)
{
	uint64_t size;

	if (!avail)
		return 0;
	if (avail < sizeof(*d) || shm_fifo_read(&st->segs[u->id.seg], SD_FIFO_TX, &sp->tx,
						u->tx_pos, d,
						sizeof(*d)) < sizeof(*d))
		return -EPROTO;
	size = sizeof(*d) + ((uint64_t)d->len + 7) / 8 * 8;
	return d->len > PKT_MAX_LEN || size > avail ? -EPROTO : (int64_t)size;
}

static uint32_t dgrams_of(const struct sd_dgram *d)
{
	return d->gso_len && d->gso_len < d->len ? d->len / d->gso_len + 1 : 1;
}

bool udp_tx(struct stack *st, struct udp_sock *u)
{
	struct sd_slot_e *e = sock_slot_e(st, u->id);
	struct sd_slot_p *sp = sock_slot_p(st, u->id);
	struct out o = { .u = u, .sp = sp };
	uint32_t sent = 0;
	struct sd_dgram d;
	uint64_t tail;
	int64_t n = 0;
	int err;

	if (!e || !sp || u->hostile)
		return false;
	o.flags = ld_rlx(&sp->opts.dgram_flags);
	tail = ld_acq(&sp->tx_tail);		/* pairs with st_rel of the writer */
	if (tail < u->tx_pos || tail - u->tx_pos > SD_FIFO_MAX) {
		udp_hostile(st, u);
		return false;
	}
	while (sent < UDP_TX_TURN && (n = record_read(st, u, sp, tail - u->tx_pos, &d)) > 0) {
		err = send_record(st, &o, u->tx_pos + sizeof(d), &d);
		if (err == -EPROTO) {
			n = err;
			break;
		}
		if (err)
			sock_set_err(st, u->id, -err, SD_EV_OUT);
		u->tx_pos += (uint64_t)n;
		sent += dgrams_of(&d);
	}
	tx_done(st, u, e, sp);
	if (n < 0)
		udp_hostile(st, u);
	return n > 0;
}

/* ---- turns ---- */

void udp_again(struct stack *st, uint32_t idx)
{
	struct udp_state *s = st->udp;

	if (s->again[idx])
		return;
	s->again[idx] = UDP_LAST;
	if (s->again_tail)
		s->again[s->again_tail] = idx;
	else
		s->again_head = idx;
	s->again_tail = idx;
}

static uint32_t again_take(struct udp_state *s)
{
	uint32_t idx = s->again_head, next = s->again[idx];

	s->again[idx] = 0;
	s->again_head = next == UDP_LAST ? 0 : next;
	if (!s->again_head)
		s->again_tail = 0;
	return idx;
}

unsigned udp_poll(struct stack *st)
{
	struct udp_state *s = st->udp;
	uint32_t last = s->again_tail, idx = 0;
	struct udp_sock *u;
	unsigned n = 0;

	while (s->again_head && (!n || idx != last)) {	/* each that waits now, once */
		idx = again_take(s);
		u = udp_at(st, idx);
		if (u && u->owner == st->worker && udp_tx(st, u))
			udp_again(st, idx);
		n++;
	}
	return n;
}

bool udp_pending(const struct stack *st)
{
	return st->udp->again_head != 0;
}
