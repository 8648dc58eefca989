/* SPDX-License-Identifier: MIT */
/* tests/sim/net.c - links between hosts: delay, rate, queue, loss, bursts, duplication, reordering,
 * corruption, partition; and the devices at their ends
 * A frame goes from link to link: into the transmitter's queue, out of it bit by bit, and after the
 * link's delay to the next one or to its host. What happens when stands in a heap of events; equal
 * times keep the order in which they were made, so a run is the same each time.
 * Corruption flips one bit of an IPv4 packet, which its checksums must find; ARP has none and is
 * spared, and so are frames whose checksum a device would finish. Without offload the devices get
 * finished frames of at most the MTU; with it, super-frames cross whole.
 */
#include <stdlib.h>
#include <string.h>

#include "stackd/nic/nic.h"
#include "tests/sim/sim.h"

#define WIRE_OVERHEAD	24u		/* preamble, check sequence, gap */
#define BURST_MAX_US	500000u		/* a burst ends then, however few frames it met */

struct event {
	uint64_t at_us, order;
	struct frame *f;		/* arrives behind link; NULL: the transmitter is free */
	unsigned link;
};

struct link {
	struct link_conf c;
	struct queue *q;
	uint64_t busy_ns;		/* its transmitter is busy until then */
	bool waiting;			/* an event will look at the queue */
	uint32_t burst_left;		/* frames that the present burst still takes */
	uint64_t burst_end_us;		/* or until then */
};

struct port {
	struct nic nic;
	struct net *n;
	unsigned no;
	struct frame *in, *in_last;
};

struct net {
	struct net_conf conf;
	struct sim *s;
	struct net_stats stats;
	uint64_t rng[2];
	uint64_t now_us;
	struct event *heap;
	unsigned events, room;
	uint64_t order;
	struct link link[NET_LINKS];
	struct port port[SIM_HOSTS];
};

static bool chance(struct net *n, uint32_t per_100k)
{
	return per_100k && rng_below(n->rng, 100000) < per_100k;
}

/* ---- events ---- */

static bool sooner(const struct event *a, const struct event *b)
{
	return a->at_us < b->at_us || (a->at_us == b->at_us && a->order < b->order);
}

static void event_put(struct net *n, uint64_t at_us, unsigned link, struct frame *f)
{
	struct event e = { at_us, n->order++, f, link };
	unsigned i = n->events++;

	if (i == n->room) {
		n->room = n->room ? 2 * n->room : 256;
		n->heap = realloc(n->heap, n->room * sizeof(e));
	}
	for (; i && sooner(&e, &n->heap[(i - 1) / 2]); i = (i - 1) / 2)
		n->heap[i] = n->heap[(i - 1) / 2];
	n->heap[i] = e;
}

static struct event event_get(struct net *n)
{
	struct event first = n->heap[0], e = n->heap[--n->events];
	unsigned i = 0, k;

	while ((k = 2 * i + 1) < n->events) {
		if (k + 1 < n->events && sooner(&n->heap[k + 1], &n->heap[k]))
			k++;
		if (!sooner(&n->heap[k], &e))
			break;
		n->heap[i] = n->heap[k];
		i = k;
	}
	n->heap[i] = e;
	return first;
}

/* ---- the way of a frame ---- */

/* The next link of its way, -1 when it is there. */
static int next_link(const struct net *n, const struct frame *f)
{
	unsigned h = n->conf.hosts, half = h / 2;
	bool across = n->conf.shape == NET_DUMBBELL && (f->from < half) != (f->to < half);

	if (f->hop == 0)
		return f->from;
	if (n->conf.shape == NET_PAIR || f->hop > 2)
		return -1;
	if (f->hop == 1)
		return across ? (int)(2 * h + (f->from >= half)) : (int)(h + f->to);
	return across ? (int)(h + f->to) : -1;
}

static void flip_bit(struct net *n, struct frame *f)
{
	if (f->len <= 34 || f->bytes[12] != 8 || f->bytes[13] || f->partial)
		return;
	f->bytes[14 + rng_below(n->rng, f->len - 14)] ^= (uint8_t)(1u << rng_below(n->rng, 8));
	f->bad = true;
	n->stats.corrupted++;
}

static struct frame *copy_of(const struct frame *f)
{
	struct frame *c = malloc(sizeof(*f) + f->len);

	memcpy(c, f, sizeof(*f) + f->len);
	return c;
}

static bool is_cut(const struct link *l, uint64_t us)
{
	for (unsigned i = 0; i < 2; i++)
		if (us >= l->c.cut[i].from_us && us < l->c.cut[i].to_us)
			return true;
	return false;
}

static bool in_burst(struct net *n, struct link *l)
{
	if (n->now_us > l->burst_end_us)
		l->burst_left = 0;
	if (!l->burst_left && chance(n, l->c.burst)) {
		l->burst_left = 1 + rng_below(n->rng, 2 * l->c.burst_len);
		l->burst_end_us = n->now_us + BURST_MAX_US;
	}
	if (!l->burst_left)
		return false;
	l->burst_left--;
	return true;
}

/* Its last bit leaves the transmitter at @us. */
static void on_the_line(struct net *n, unsigned link, struct frame *f, uint64_t us)
{
	struct link *l = &n->link[link];
	uint64_t at = us + l->c.delay_us;
	bool cut = is_cut(l, us);

	if (cut || in_burst(n, l) || chance(n, l->c.loss)) {
		*(cut ? &n->stats.cut : &n->stats.lost) += 1;
		free(f);
		return;
	}
	if (chance(n, l->c.corrupt))
		flip_bit(n, f);
	if (chance(n, l->c.dup)) {
		n->stats.dup++;
		event_put(n, at + rng_below(n->rng, l->c.jitter_us + 1), link, copy_of(f));
	}
	if (chance(n, l->c.reorder)) {
		n->stats.late++;
		at += 1 + rng_below(n->rng, l->c.jitter_us + 1);
	}
	event_put(n, at, link, f);
}

static void transmit(struct net *n, unsigned link)
{
	struct link *l = &n->link[link];
	uint64_t now_ns = n->now_us * 1000;
	struct frame *f;

	if (l->waiting)
		return;
	while (l->busy_ns <= now_ns) {
		f = queue_get(l->q, n->now_us);
		if (!f)
			return;
		if (l->busy_ns < now_ns)
			l->busy_ns = now_ns;
		l->busy_ns += (f->len + WIRE_OVERHEAD) * 8000000000ull / l->c.rate_bps;
		on_the_line(n, link, f, (l->busy_ns + 999) / 1000);
	}
	l->waiting = true;
	event_put(n, (l->busy_ns + 999) / 1000, link, NULL);
}

static void arrive(struct net *n, struct frame *f)
{
	int link = next_link(n, f);
	struct port *p = &n->port[f->to];

	if (link < 0) {
		f->next = NULL;
		if (p->in)
			p->in_last->next = f;
		else
			p->in = f;
		p->in_last = f;
		return;
	}
	f->hop++;
	if (!n->link[link].c.rate_bps) {
		on_the_line(n, (unsigned)link, f, n->now_us);
		return;
	}
	queue_put(n->link[link].q, f, n->now_us);
	transmit(n, (unsigned)link);
}

void net_run(struct net *n, uint64_t now_us)
{
	while (n->events && n->heap[0].at_us <= now_us) {
		struct event e = event_get(n);

		n->now_us = e.at_us;
		if (e.f) {
			arrive(n, e.f);
		} else {
			n->link[e.link].waiting = false;
			transmit(n, e.link);
		}
	}
	n->now_us = now_us;
}

uint64_t net_next_us(const struct net *n)
{
	for (unsigned i = 0; i < n->conf.hosts; i++)
		if (n->port[i].in)
			return n->now_us;
	return n->events ? n->heap[0].at_us : UINT64_MAX;
}

bool net_arrived(const struct net *n, unsigned host)
{
	return n->port[host].in != NULL;
}

const struct net_stats *net_stats(const struct net *n)
{
	return &n->stats;
}

/* ---- devices ---- */

static struct frame *frame_of(const struct pkt *p)
{
	struct frame *f = malloc(sizeof(*f) + pkt_total(p));

	*f = (struct frame){ .len = pkt_total(p), .partial = p->csum_state == PKT_CSUM_PARTIAL,
			     .gso_type = p->gso_type, .gso_size = p->gso_size,
			     .gso_segs = p->gso_segs, .csum_off = p->csum_off };
	if (f->partial)
		f->csum_start = (uint16_t)(p->csum_start - (p->data - p->buf));
	pkt_copy_out(p, 0, f->bytes, f->len);
	return f;
}

static void count_sent(struct net *n, const struct frame *f)
{
	unsigned hl = f->len > 34 ? 14 + (f->bytes[14] & 15) * 4u : 0;

	n->stats.frames++;
	if (f->len < 54 || f->bytes[12] != 8 || f->bytes[13] || f->bytes[23] != IP_PROTO_TCP)
		return;
	hl += (f->bytes[hl + 12] >> 4) * 4u;
	if (f->len > hl)
		n->stats.data_segs += f->gso_type ? f->gso_segs : 1;
}

static void send_one(struct port *from, const struct pkt *p, uint64_t now_us)
{
	struct net *n = from->n;
	struct frame *f;
	unsigned to;

	n->now_us = now_us;
	if (n->conf.lose && n->conf.lose(n->conf.lose_arg, from->no, p))
		return;
	f = frame_of(p);
	f->from = (uint8_t)from->no;
	count_sent(n, f);
	if (n->s->pcap)
		sim_pcap_put(n->s->pcap, from->no, now_us, f);
	if (n->s->watch)
		watch_sent(n->s->watch, f);
	to = f->bytes[5] - 1u;
	if (!(f->bytes[0] & 1) && to < n->conf.hosts && to != from->no) {
		f->to = (uint8_t)to;
		arrive(n, f);
		return;
	}
	for (unsigned i = 0; f->bytes[0] & 1 && i < n->conf.hosts; i++) {
		struct frame *c;

		if (i == from->no)
			continue;
		c = copy_of(f);
		c->to = (uint8_t)i;
		arrive(n, c);
	}
	free(f);
}

void net_inject(struct net *n, unsigned to, const void *bytes, uint32_t len)
{
	struct frame *f = malloc(sizeof(*f) + len);

	*f = (struct frame){ .len = len, .to = (uint8_t)to, .hop = UINT8_MAX };
	memcpy(f->bytes, bytes, len);
	arrive(n, f);
}

static void port_tx(struct nic *nic, struct stack *st, struct pkt **pkts, unsigned cnt)
{
	for (unsigned i = 0; i < cnt; i++) {
		send_one(nic->priv, pkts[i], st->now_us);
		stack_pkt_free(st, pkts[i]);
	}
}

static struct pkt *deliver(struct stack *st, const struct frame *f)
{
	struct pkt *p = pkt_alloc(st->pool, f->len > PKT_SMALL - PKT_HEADROOM);

	if (!p)
		return NULL;
	memcpy(p->data, f->bytes, f->len);
	p->len = f->len;
	p->gso_type = f->gso_type;
	p->gso_size = f->gso_size;
	p->gso_segs = f->gso_segs;
	p->csum_state = PKT_CSUM_NONE;
	if (f->partial) {
		p->csum_state = PKT_CSUM_UNNECESSARY;
		p->csum_start = (uint16_t)(p->data - p->buf + f->csum_start);
		p->csum_off = f->csum_off;
	}
	p->rx_us = st->now_us;
	return p;
}

static unsigned port_rx(struct nic *nic, struct stack *st, struct pkt **pkts, unsigned max)
{
	struct port *p = nic->priv;
	struct sim *s = p->n->s;
	unsigned cnt = 0;

	while (cnt < max && p->in) {
		struct frame *f = p->in;

		p->in = f->next;
		pkts[cnt] = deliver(st, f);
		if (pkts[cnt]) {
			cnt++;
			if (s->pcap)
				sim_pcap_put(s->pcap, p->no, st->now_us, f);
			if (s->watch && !f->bad)
				watch_got(s->watch, f);
		}
		free(f);
	}
	return cnt;
}

static int port_fd(struct nic *nic)
{
	return -1;
}

static void port_close(struct nic *nic)
{
}

static const struct nic_ops ops = { .name = "sim", .rx = port_rx, .tx = port_tx, .rx_fd = port_fd,
				    .close = port_close };

/* ---- life ---- */

struct net *net_new(const struct net_conf *conf, struct sim *s, uint64_t seed)
{
	struct net *n = calloc(1, sizeof(*n));
	unsigned links = conf->shape == NET_PAIR ? 2 : 2 * conf->hosts +
			 (conf->shape == NET_DUMBBELL ? 2 : 0);

	n->conf = *conf;
	n->s = s;
	rng_seed(n->rng, seed);
	for (unsigned i = 0; i < links; i++) {
		n->link[i].c = conf->link[i];
		n->link[i].q = queue_new(&conf->link[i], &n->stats);
	}
	for (unsigned i = 0; i < conf->hosts; i++) {
		struct port *p = &n->port[i];

		p->n = n;
		p->no = i;
		p->nic = (struct nic){ .ops = &ops, .mtu = 1500, .queues = 1, .priv = p,
				       .mac = { 2, 0, 0, 0, 0, (uint8_t)(i + 1) } };
		if (conf->offload)
			p->nic.features = NIC_F_CSUM | NIC_F_TSO | NIC_F_RX_CSUM | NIC_F_GRO;
	}
	return n;
}

void net_free(struct net *n)
{
	for (unsigned i = 0; i < n->conf.hosts; i++) {
		while (n->port[i].in) {
			struct frame *f = n->port[i].in;

			n->port[i].in = f->next;
			free(f);
		}
	}
	while (n->events)
		free(event_get(n).f);
	for (unsigned i = 0; i < NET_LINKS; i++)
		queue_free(n->link[i].q);
	free(n->heap);
	free(n);
}

struct nic *net_nic(struct net *n, unsigned host)
{
	return &n->port[host].nic;
}
