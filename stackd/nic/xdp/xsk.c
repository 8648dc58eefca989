/* SPDX-License-Identifier: MIT */
/* nic/xdp/xsk.c - one queue of an interface by AF_XDP
 *
 * Receive: descriptor -> frame copied into a packet of the pool -> frame back to the fill ring, all
 * within one call. Transmit: packet copied into a frame -> descriptor -> one kick for the batch;
 * frames come back by the completion ring. The copy costs 10 to 20 ns for 1500 bytes and keeps
 * packets and frames apart: a packet may wait as long as it likes, and after a kill there is
 * nothing to find out about packets.
 * Spec:    Linux Documentation/networking/af_xdp: rings, XDP_USE_NEED_WAKEUP; if_xdp.h
 * In/Out:  rx: frame -> pkt, checksum NONE; tx: finished pkt -> frame
 * Holds:   A1, A2 of xsk.h; X1 ring indices are free-running, a slot is index & (XSK_FRAMES - 1)
 * Pairs:   st_rel(prod or cons) with the kernel's acquire, ld_acq with its release
 * Threads: owning worker only
 */
#include <errno.h>
#include <linux/if_xdp.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "stackd/atomic.h"
#include "stackd/nic/xdp/xsk.h"

#define MASK		(XSK_FRAMES - 1)
#define SMALL_ROOM	(PKT_SMALL - PKT_HEADROOM)
#define KICKS_MAX	(XSK_FRAMES / 16)	/* the kernel sends 32 and fewer at a time */
#define AGAIN_US	1000u			/* frames the kernel did not take at once */

struct ring {
	uint32_t *prod, *cons, *flags;
	void *desc;			/* uint64_t[] or struct xdp_desc[] */
	void *map;
	size_t map_len;
};

struct xsk_nic {
	struct nic nic;
	int fd;
	uint32_t chunk;
	uint8_t *mem;			/* control page, then the UMEM */
	struct xsk_ctl *ctl;
	uint8_t *umem;
	struct ring fill, comp, rx, tx;
	uint32_t fill_prod, rx_cons, comp_cons, tx_prod;	/* ours of the shared ones */
	uint64_t again_us;		/* when to kick frames that were not taken */
	uint32_t free_cnt;
	uint16_t free[XSK_FRAMES];	/* transmit frames by number */
};

/* ---- ring batches that outlive a kill ---------------------------------------------------- */

static void publish_rx(struct xsk_nic *x)
{
	x->ctl->fill_prod = x->fill_prod;
	x->ctl->rx_cons = x->rx_cons;
	st_rel(&x->ctl->announced, XSK_RX);
	st_rel(x->fill.prod, x->fill_prod);
	st_rel(x->rx.cons, x->rx_cons);
	st_rel(&x->ctl->announced, XSK_NOTHING);
}

/* The frames of the descriptors from the ring's producer index to @to are the kernel's, then the
 * index says so. Done twice it is the same. */
static void hand_tx(struct xsk_nic *x, uint32_t to)
{
	const struct xdp_desc *ring = x->tx.desc;

	for (uint32_t i = ld_rlx(x->tx.prod); i != to; i++)
		x->ctl->busy[ring[i & MASK].addr / x->chunk - XSK_FRAMES] = 1;
	st_rel(x->tx.prod, to);
}

static void publish_tx(struct xsk_nic *x)
{
	x->ctl->tx_prod = x->tx_prod;
	st_rel(&x->ctl->announced, XSK_TX);
	hand_tx(x, x->tx_prod);
	st_rel(&x->ctl->announced, XSK_NOTHING);
}

/* ---- receive ----------------------------------------------------------------------------- */

/* Drivers that wait to be told that there are frames to fill again. */
static void kick_rx(struct xsk_nic *x)
{
	struct msghdr m = { 0 };

	if (ld_rlx(x->fill.flags) & XDP_RING_NEED_WAKEUP)
		(void)recvmsg(x->fd, &m, MSG_DONTWAIT);
}

static struct pkt *take(struct xsk_nic *x, struct stack *st, const struct xdp_desc *d)
{
	enum drop_reason why = DROP_DEV_RX_BAD;
	struct pkt *p = NULL;

	if (d->len <= x->chunk && d->addr + d->len <= (uint64_t)XSK_FRAMES * x->chunk) {
		why = DROP_NO_BUF;
		p = pkt_alloc(st->pool, d->len > SMALL_ROOM);
	}
	if (!p) {
		st->cnt->drop[why]++;
		snmp_inc(st, SNMP_Dev_RxDropped);
		return NULL;
	}
	memcpy(p->data, x->umem + d->addr, d->len);
	p->len = d->len;
	p->queue = x->nic.queue;
	p->rx_us = st->now_us;
	snmp_inc(st, SNMP_Dev_RxPackets);
	snmp_add(st, SNMP_Dev_RxBytes, p->len);
	return p;
}

static void kick_tx(struct xsk_nic *x);

static unsigned xsk_rx(struct nic *nic, struct stack *st, struct pkt **pkts, unsigned max)
{
	struct xsk_nic *x = nic->priv;
	uint32_t n = ld_acq(x->rx.prod) - x->rx_cons;
	const struct xdp_desc *ring = x->rx.desc;
	uint64_t *fill = x->fill.desc;
	unsigned cnt = 0;

	if (ld_acq(x->tx.cons) != x->tx_prod && st->now_us >= x->again_us) {
		x->again_us = st->now_us + AGAIN_US;
		kick_tx(x);
	}
	if (n > max)
		n = max;
	for (uint32_t i = 0; i < n; i++) {
		struct xdp_desc d = ring[(x->rx_cons + i) & MASK];
		struct pkt *p = take(x, st, &d);

		fill[(x->fill_prod + i) & MASK] = d.addr & ~(uint64_t)(x->chunk - 1);
		if (p)
			pkts[cnt++] = p;
	}
	if (n) {
		x->rx_cons += n;
		x->fill_prod += n;
		publish_rx(x);
	}
	kick_rx(x);
	return cnt;
}

/* ---- transmit ---------------------------------------------------------------------------- */

static void reclaim(struct xsk_nic *x)
{
	uint32_t n = ld_acq(x->comp.prod) - x->comp_cons;
	const uint64_t *ring = x->comp.desc;

	for (uint32_t i = 0; i < n; i++) {
		uint64_t f = ring[(x->comp_cons + i) & MASK] / x->chunk - XSK_FRAMES;

		if (f < XSK_FRAMES && x->ctl->busy[f]) {
			x->ctl->busy[f] = 0;
			x->free[x->free_cnt++] = (uint16_t)f;
		}
	}
	x->comp_cons += n;
	st_rel(x->comp.cons, x->comp_cons);
}

/* The kernel sends a few at each call, in this thread when the driver has no zero-copy. */
static void kick_tx(struct xsk_nic *x)
{
	struct msghdr m = { 0 };

	if (!(ld_rlx(x->tx.flags) & XDP_RING_NEED_WAKEUP))
		return;
	for (unsigned i = 0; i < KICKS_MAX; i++) {
		uint32_t before = ld_acq(x->tx.cons);

		if (before == x->tx_prod)
			return;
		if (sendmsg(x->fd, &m, MSG_DONTWAIT) < 0 && ld_acq(x->tx.cons) == before)
			return;		/* AGAIN_US later */
	}
}

static bool put(struct xsk_nic *x, const struct pkt *p)
{
	struct xdp_desc *ring = x->tx.desc;
	uint64_t addr;
	uint16_t f;

	if (!x->free_cnt || x->tx_prod - ld_acq(x->tx.cons) == XSK_FRAMES)
		return false;
	f = x->free[--x->free_cnt];
	addr = (uint64_t)(XSK_FRAMES + f) * x->chunk;
	pkt_copy_out(p, 0, x->umem + addr, pkt_total(p));
	ring[x->tx_prod++ & MASK] = (struct xdp_desc){ .addr = addr, .len = pkt_total(p) };
	return true;
}

static void tx_drop(struct stack *st, struct pkt *p, enum drop_reason why)
{
	snmp_inc(st, SNMP_Dev_TxDropped);
	stack_drop(st, p, why);
}

static void xsk_tx(struct nic *nic, struct stack *st, struct pkt **pkts, unsigned cnt)
{
	struct xsk_nic *x = nic->priv;

	reclaim(x);
	for (unsigned i = 0; i < cnt; i++) {
		struct pkt *p = pkts[i];

		if (pkt_total(p) > x->chunk) {
			tx_drop(st, p, DROP_DEV_TX_ERR);
			continue;
		}
		if (!x->free_cnt) {
			publish_tx(x);
			kick_tx(x);
			reclaim(x);
		}
		if (!put(x, p)) {
			tx_drop(st, p, DROP_DEV_TX_FULL);
			continue;
		}
		snmp_inc(st, SNMP_Dev_TxPackets);
		snmp_add(st, SNMP_Dev_TxBytes, pkt_total(p));
		stack_pkt_free(st, p);
	}
	publish_tx(x);
	kick_tx(x);
	x->again_us = st->now_us + AGAIN_US;
}

/* ---- waiting ----------------------------------------------------------------------------- */

static int xsk_rx_fd(struct nic *nic)
{
	struct xsk_nic *x = nic->priv;

	return x->fd;
}

static uint64_t xsk_next_us(struct nic *nic)
{
	struct xsk_nic *x = nic->priv;

	return ld_acq(x->tx.cons) != x->tx_prod ? x->again_us : UINT64_MAX;
}

static bool xsk_arm(struct nic *nic, struct stack *st)
{
	struct xsk_nic *x = nic->priv;

	return ld_acq(x->rx.prod) != x->rx_cons;
}

static void xsk_counters(const struct nic *nic, nic_counter_fn fn, void *arg)
{
	const struct xsk_nic *x = nic->priv;
	struct xdp_statistics s = { 0 };
	socklen_t len = sizeof(s);

	if (getsockopt(x->fd, SOL_XDP, XDP_STATISTICS, &s, &len))
		return;
	fn(arg, "rx_dropped", s.rx_dropped);
	fn(arg, "rx_invalid_descs", s.rx_invalid_descs);
	fn(arg, "tx_invalid_descs", s.tx_invalid_descs);
	fn(arg, "rx_ring_full", s.rx_ring_full);
	fn(arg, "rx_fill_ring_empty_descs", s.rx_fill_ring_empty_descs);
	fn(arg, "tx_ring_empty_descs", s.tx_ring_empty_descs);
	fn(arg, "tx_frames_free", x->free_cnt);
}

/* ---- life -------------------------------------------------------------------------------- */

static int map_ring(struct xsk_nic *x, struct ring *r, const struct xdp_ring_offset *off,
		    size_t entry, off_t pgoff)
{
	uint8_t *m;

	r->map_len = off->desc + XSK_FRAMES * entry;
	m = mmap(NULL, r->map_len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, x->fd, pgoff);
	if (m == MAP_FAILED)
		return -errno;
	r->map = m;
	r->prod = (uint32_t *)(m + off->producer);
	r->cons = (uint32_t *)(m + off->consumer);
	r->flags = (uint32_t *)(m + off->flags);
	r->desc = m + off->desc;
	return 0;
}

static int map_all(struct xsk_nic *x, int mem_fd)
{
	struct xdp_mmap_offsets off;
	socklen_t len = sizeof(off);
	int rc;

	x->mem = mmap(NULL, XSK_MEM_SIZE(x->chunk), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_POPULATE, mem_fd, 0);
	if (x->mem == MAP_FAILED) {
		x->mem = NULL;
		return -errno;
	}
	x->ctl = (struct xsk_ctl *)x->mem;
	x->umem = x->mem + XSK_CTL_SIZE;
	if (getsockopt(x->fd, SOL_XDP, XDP_MMAP_OFFSETS, &off, &len))
		return -errno;
	rc = map_ring(x, &x->rx, &off.rx, sizeof(struct xdp_desc), XDP_PGOFF_RX_RING);
	if (!rc)
		rc = map_ring(x, &x->tx, &off.tx, sizeof(struct xdp_desc), XDP_PGOFF_TX_RING);
	if (!rc)
		rc = map_ring(x, &x->fill, &off.fr, sizeof(uint64_t),
			      (off_t)XDP_UMEM_PGOFF_FILL_RING);
	if (!rc)
		rc = map_ring(x, &x->comp, &off.cr, sizeof(uint64_t),
			      (off_t)XDP_UMEM_PGOFF_COMPLETION_RING);
	return rc;
}

static void first_fill(struct xsk_nic *x)
{
	uint64_t *fill = x->fill.desc;

	for (uint32_t i = 0; i < XSK_FRAMES; i++)
		fill[i] = (uint64_t)i * x->chunk;
	if (ld_rlx(x->fill.prod) == 0)
		st_rel(x->fill.prod, XSK_FRAMES);
	x->ctl->magic = XSK_MAGIC;
}

/* Where the rings stand; what an earlier engine had announced is completed (A1). */
static void adopt(struct xsk_nic *x)
{
	if (x->ctl->magic != XSK_MAGIC)
		first_fill(x);
	if (x->ctl->announced == XSK_RX) {
		st_rel(x->fill.prod, x->ctl->fill_prod);
		st_rel(x->rx.cons, x->ctl->rx_cons);
	} else if (x->ctl->announced == XSK_TX) {
		hand_tx(x, x->ctl->tx_prod);
	}
	st_rel(&x->ctl->announced, XSK_NOTHING);
	x->fill_prod = ld_rlx(x->fill.prod);
	x->rx_cons = ld_rlx(x->rx.cons);
	x->tx_prod = ld_rlx(x->tx.prod);
	x->comp_cons = ld_rlx(x->comp.cons);
}

/* What a batch wrote that was never announced is not busy: it was not sent. */
static void find_free(struct xsk_nic *x)
{
	for (uint32_t f = XSK_FRAMES; f-- > 0;)
		if (!x->ctl->busy[f])
			x->free[x->free_cnt++] = (uint16_t)f;
	reclaim(x);
}

static void unmap_ring(struct ring *r)
{
	if (r->map)
		munmap(r->map, r->map_len);
}

static void unmap_all(struct xsk_nic *x)
{
	unmap_ring(&x->rx);
	unmap_ring(&x->tx);
	unmap_ring(&x->fill);
	unmap_ring(&x->comp);
	if (x->mem)
		munmap(x->mem, XSK_MEM_SIZE(x->chunk));
}

static void xsk_close(struct nic *nic)
{
	struct xsk_nic *x = nic->priv;

	unmap_all(x);
	close(x->fd);
	free(x);
}

static const struct nic_ops ops = {
	.name = "xdp", .rx = xsk_rx, .tx = xsk_tx, .rx_fd = xsk_rx_fd, .next_us = xsk_next_us,
	.close = xsk_close, .arm = xsk_arm, .counters = xsk_counters,
};

int xsk_nic_create(int fd, int mem_fd, const struct nic_grant *g, uint16_t queue, struct nic **ret)
{
	struct xdp_grant xg;
	struct xsk_nic *x = calloc(1, sizeof(*x));
	int rc;

	if (!x)
		return -ENOMEM;
	memcpy(&xg, g->extra, sizeof(xg));
	x->fd = fd;
	x->chunk = xg.chunk;
	rc = map_all(x, mem_fd);
	if (rc) {
		unmap_all(x);
		free(x);
		return rc;
	}
	close(mem_fd);
	adopt(x);
	find_free(x);
	x->nic = (struct nic){ .ops = &ops, .mtu = g->mtu, .queue = queue, .queues = g->queues,
			       .priv = x, .rx_ring = XSK_FRAMES, .tx_ring = XSK_FRAMES };
	memcpy(x->nic.mac, g->mac, 6);
	memcpy(x->nic.ifname, g->name, sizeof(x->nic.ifname));
	*ret = &x->nic;
	return 0;
}
