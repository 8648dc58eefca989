/* SPDX-License-Identifier: MIT */
/* nic/tap_ring.c - a TAP queue's frames by the worker's io_uring: no system call per frame
 *
 * Receive: one multishot read stands on the queue. Whenever the worker enters the kernel, all
 * frames that wait are read into buffers lent in advance, one completion each; while there are none
 * the worker sees that in the ring's flags without a system call. The lent buffers are big packets;
 * a small frame is copied into a small packet and its buffer lent again, a big one keeps its
 * buffer. The number of buffers lent is the burst: few while frames are big, because the caches
 * hold few.
 * Transmit: a write per frame, all of a burst in one system call, done when that returns
 * (RWF_NOWAIT: never later). The vnet header goes into the packet's headroom, and a short payload
 * behind the headers, so that most frames are one piece.
 * Spec:    io_uring_enter(2): IORING_OP_READ_MULTISHOT (Linux 6.7), IORING_OP_WRITE
 * Holds:   R1 buf[id] is a packet exactly while the buffer is lent or waits in idle[]; nic->held
 *             counts them
 *          R2 after tap_ring_tx() the kernel refers to nothing that it was given
 * Threads: owning worker only
 */
#include "stackd/nic/tap_ring.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "stackd/nic/vnet.h"

#define OP_READ_MULTISHOT 49		/* newer than Debian 12's headers */
#define BUFS		64u		/* power of two: frames of one burst */
#define BUFS_BIG	8u		/* while frames are big */
#define GROUP		0		/* of provided buffers */
#define FILE_IDX	0		/* registered file */
#define SMALL_ROOM	(PKT_SMALL - PKT_HEADROOM)
#define TX_COPY		1024u		/* payload up to here is copied behind the headers */
#define RETRY_US	10000u		/* after a read that failed: the interface went away */

#define DATA_RX		0u		/* low bits of the user data */
#define DATA_TX		1u
#define DATA_MASK	0xffffffu

struct tap_ring {
	struct io_uring *ring;
	struct io_uring_buf_ring *br;
	struct nic *nic;
	struct pkt_pool *pool;
	uint64_t tag;
	uint64_t retry_us;		/* not before which to read again; 0 = now */
	bool reading;			/* the multishot read stands */
	uint32_t lent, burst;		/* buffers the kernel has; how many it shall have */
	uint32_t idle_cnt, ready_head, ready_cnt;
	uint16_t idle[BUFS];		/* ids that are not lent */
	struct pkt *buf[BUFS];		/* by id; NULL = none */
	struct pkt *ready[BUFS];	/* received, not yet asked for */
};

static int ring_register(struct io_uring *ring, unsigned op, void *arg, unsigned cnt)
{
	return syscall(SYS_io_uring_register, ring->ring_fd, op, arg, cnt) < 0 ? -errno : 0;
}

/* ---- buffers ----------------------------------------------------------------------------- */

static uint8_t *buf_addr(const struct pkt *p)
{
	return p->data - sizeof(struct vnet_hdr);
}

/* Lend buffers up to the burst. */
static void lend(struct tap_ring *r, struct stack *st)
{
	int mask = io_uring_buf_ring_mask(BUFS), n = 0;
	const uint32_t len = PKT_BIG - PKT_HEADROOM + sizeof(struct vnet_hdr);

	while (r->lent < r->burst && r->idle_cnt) {
		uint16_t id = r->idle[r->idle_cnt - 1];

		if (!r->buf[id]) {
			r->buf[id] = pkt_alloc(st->pool, true);
			if (!r->buf[id])
				break;
			r->nic->held++;
		}
		r->idle_cnt--;
		r->lent++;
		io_uring_buf_ring_add(r->br, buf_addr(r->buf[id]), len, id, mask, n++);
	}
	if (n)
		io_uring_buf_ring_advance(r->br, n);
}

static void read_on(struct tap_ring *r, struct stack *st)
{
	struct io_uring_sqe *sqe;

	if (r->reading || !r->lent || st->now_us < r->retry_us)
		return;
	sqe = io_uring_get_sqe(r->ring);
	if (!sqe)
		return;			/* the next loop has room */
	io_uring_prep_rw(OP_READ_MULTISHOT, sqe, FILE_IDX, NULL, 0, 0);
	sqe->flags |= IOSQE_FIXED_FILE | IOSQE_BUFFER_SELECT;
	sqe->buf_group = GROUP;
	io_uring_sqe_set_data64(sqe, r->tag | DATA_RX);
	r->reading = true;
	r->retry_us = 0;
}

/* ---- receive ----------------------------------------------------------------------------- */

static void rx_drop(struct stack *st, enum drop_reason why)
{
	st->cnt->drop[why]++;
	snmp_inc(st, SNMP_Dev_RxDropped);
}

/* The packet for a frame of @len bytes that was read into buffer @id. NULL = none left. */
static struct pkt *rx_take(struct tap_ring *r, struct stack *st, uint16_t id, uint32_t len)
{
	struct pkt *big = r->buf[id], *p;

	if (len > SMALL_ROOM) {
		r->buf[id] = NULL;
		r->nic->held--;
		r->burst = BUFS_BIG;
		big->len = len;
		return big;
	}
	r->burst = BUFS;
	p = pkt_alloc(st->pool, false);
	if (!p)
		return NULL;
	memcpy(p->data, big->data, len);
	p->len = len;
	return p;
}

static void rx_frame(struct tap_ring *r, struct stack *st, uint16_t id, uint32_t n)
{
	struct vnet_hdr h;
	struct pkt *p;

	r->lent--;
	r->idle[r->idle_cnt++] = id;
	if (n < sizeof(h)) {
		rx_drop(st, DROP_DEV_RX_BAD);
		return;
	}
	memcpy(&h, buf_addr(r->buf[id]), sizeof(h));
	p = rx_take(r, st, id, n - (uint32_t)sizeof(h));
	if (!p) {
		rx_drop(st, DROP_NO_BUF);
		return;
	}
	if (!vnet_apply(&h, p)) {
		pkt_free(st->pool, p);
		rx_drop(st, DROP_DEV_RX_BAD);
		return;
	}
	ASSERT(r->ready_head + r->ready_cnt < BUFS);
	r->ready[r->ready_head + r->ready_cnt++] = p;
}

static void tx_failed(struct stack *st, int err)
{
	snmp_add(st, SNMP_Dev_TxPackets, (uint64_t)-1);	/* it had been counted as sent */
	snmp_inc(st, SNMP_Dev_TxDropped);
	st->cnt->drop[err == -EAGAIN ? DROP_DEV_TX_FULL : DROP_DEV_TX_ERR]++;
}

void tap_ring_done(struct tap_ring *r, struct stack *st, uint64_t data, int res, uint32_t flags)
{
	if ((data & DATA_MASK) == DATA_TX) {
		tx_failed(st, res);
		return;
	}
	if (flags & IORING_CQE_F_BUFFER && res >= 0)
		rx_frame(r, st, (uint16_t)(flags >> IORING_CQE_BUFFER_SHIFT) % BUFS,
			 (uint32_t)res);
	if (flags & IORING_CQE_F_MORE)
		return;
	r->reading = false;
	if (res < 0 && res != -ENOBUFS && res != -EINTR && res != -EAGAIN)
		r->retry_us = st->now_us + RETRY_US;
}

static void rx_account(struct tap_ring *r, struct stack *st, struct pkt *p)
{
	p->queue = r->nic->queue;
	p->rx_us = st->now_us;
	snmp_inc(st, SNMP_Dev_RxPackets);
	snmp_add(st, SNMP_Dev_RxBytes, p->len);
	if (p->gso_size)
		snmp_inc(st, SNMP_Dev_RxGsoPackets);
}

unsigned tap_ring_rx(struct tap_ring *r, struct stack *st, struct pkt **pkts, unsigned max)
{
	unsigned cnt = 0;

	while (cnt < max && r->ready_cnt) {
		struct pkt *p = r->ready[r->ready_head++];

		r->ready_cnt--;
		rx_account(r, st, p);
		pkts[cnt++] = p;
	}
	if (!r->ready_cnt) {
		r->ready_head = 0;
		lend(r, st);
		read_on(r, st);
	}
	return cnt;
}

uint64_t tap_ring_next_us(const struct tap_ring *r)
{
	return r->reading || !r->retry_us ? UINT64_MAX : r->retry_us;
}

/* ---- transmit ---------------------------------------------------------------------------- */

static void submit_all(struct tap_ring *r)
{
	/* Without memory for requests the kernel takes fewer: what is queued must go. */
	while (io_uring_sq_ready(r->ring))
		io_uring_submit_and_get_events(r->ring);
}

/* Vnet header and headers, and the payload when it is short, in one piece. */
static struct iovec tx_head(struct pkt *p)
{
	uint32_t room = p->buf_size - (uint32_t)(p->data - p->buf) - p->len;
	struct vnet_hdr h;
	uint8_t *at;

	vnet_fill(&h, p);
	if (p->frag_cnt && p->frag_len <= TX_COPY && p->frag_len <= room) {
		pkt_copy_out(p, p->len, p->data + p->len, p->frag_len);
		p->len += p->frag_len;
		p->frag_cnt = 0;
		p->frag_len = 0;
	}
	at = pkt_push(p, sizeof(h));
	ASSERT(at);			/* PKT_HEADROOM holds all headers of the stack and this */
	memcpy(at, &h, sizeof(h));
	return (struct iovec){ at, p->len };
}

static void tx_queue(struct tap_ring *r, struct pkt *p)
{
	struct iovec head = tx_head(p);
	struct io_uring_sqe *sqe = io_uring_get_sqe(r->ring);

	if (!sqe) {
		submit_all(r);
		sqe = io_uring_get_sqe(r->ring);
	}
	if (!p->frag_cnt) {
		io_uring_prep_write(sqe, FILE_IDX, head.iov_base, (unsigned)head.iov_len, 0);
	} else {
		memmove(p->frag + 1, p->frag, p->frag_cnt * sizeof(p->frag[0]));
		p->frag[0] = head;
		io_uring_prep_writev(sqe, FILE_IDX, p->frag, p->frag_cnt + 1u, 0);
	}
	sqe->rw_flags = RWF_NOWAIT;
	sqe->flags |= IOSQE_FIXED_FILE | IOSQE_CQE_SKIP_SUCCESS;
	io_uring_sqe_set_data64(sqe, r->tag | DATA_TX);
}

void tap_ring_tx(struct tap_ring *r, struct stack *st, struct pkt **pkts, unsigned cnt)
{
	for (unsigned i = 0; i < cnt; i++) {
		struct pkt *p = pkts[i];

		snmp_inc(st, SNMP_Dev_TxPackets);
		snmp_add(st, SNMP_Dev_TxBytes, pkt_total(p));
		if (p->gso_type != PKT_GSO_NONE)
			snmp_inc(st, SNMP_Dev_TxGsoPackets);
		ASSERT(p->frag_cnt < PKT_FRAGS);
		tx_queue(r, p);
	}
	submit_all(r);
	for (unsigned i = 0; i < cnt; i++)
		stack_pkt_free(st, pkts[i]);
}

/* ---- life -------------------------------------------------------------------------------- */

static bool has_op(struct io_uring *ring, unsigned op)
{
	struct io_uring_probe *p = io_uring_get_probe_ring(ring);
	bool yes = p && op <= p->last_op && p->ops[op].flags & IO_URING_OP_SUPPORTED;

	io_uring_free_probe(p);
	return yes;
}

static int set_blocking(int fd, bool on)
{
	int fl = fcntl(fd, F_GETFL);

	fl = on ? fl & ~O_NONBLOCK : fl | O_NONBLOCK;
	return fcntl(fd, F_SETFL, fl) < 0 ? -errno : 0;
}

static int register_all(struct tap_ring *r, int fd)
{
	struct io_uring_buf_reg reg = { .ring_entries = BUFS, .bgid = GROUP };
	void *m = mmap(NULL, BUFS * sizeof(struct io_uring_buf), PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	int rc;

	if (m == MAP_FAILED)
		return -errno;
	r->br = m;
	io_uring_buf_ring_init(r->br);
	reg.ring_addr = (uint64_t)(uintptr_t)m;
	rc = ring_register(r->ring, IORING_REGISTER_PBUF_RING, &reg, 1);
	if (!rc)
		rc = ring_register(r->ring, IORING_REGISTER_FILES, &fd, 1);
	if (!rc)
		rc = set_blocking(fd, true);
	return rc;
}

int tap_ring_open(int fd, struct nic *nic, struct stack *st, struct io_uring *ring, uint64_t tag,
		  struct tap_ring **ret)
{
	struct tap_ring *r;
	int rc;

	if (!has_op(ring, OP_READ_MULTISHOT))
		return -EOPNOTSUPP;
	r = calloc(1, sizeof(*r));
	if (!r)
		return -ENOMEM;
	r->ring = ring;
	r->nic = nic;
	r->pool = st->pool;
	r->tag = tag;
	r->burst = BUFS;
	for (uint16_t i = 0; i < BUFS; i++)
		r->idle[r->idle_cnt++] = i;
	rc = register_all(r, fd);
	if (rc) {
		set_blocking(fd, false);
		tap_ring_close(r);
		return rc;
	}
	lend(r, st);
	read_on(r, st);
	*ret = r;
	return 0;
}

void tap_ring_close(struct tap_ring *r)
{
	if (!r)
		return;
	for (unsigned i = 0; i < BUFS; i++)
		if (r->buf[i])
			pkt_free(r->pool, r->buf[i]);
	while (r->ready_cnt) {
		pkt_free(r->pool, r->ready[r->ready_head++]);
		r->ready_cnt--;
	}
	if (r->br)
		munmap(r->br, BUFS * sizeof(struct io_uring_buf));
	free(r);
}
