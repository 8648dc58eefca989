/* SPDX-License-Identifier: MIT */
/* preload/dgram.c - datagrams: records in the slot's FIFOs, and the kernel's socket beside them
 * A record is a struct sd_dgram and its payload, padded to 8. While a socket is neither connected
 * to a stackd peer nor bound to an address of stackd's own it is a hybrid: sends go where the
 * destination's route says, receives look at the slot first and then at the kernel (the other way
 * round now and then, so that neither starves).
 * Holds:   G1 positions move by whole records only
 * Spec:    S1, S4, U1
 * Threads: any; locks as in stream.c
 */
#include <netinet/in.h>
#include <string.h>

#include "preload/defer.h"
#include "preload/pl_int.h"

#define DGRAM_MAX	65507u		/* UDP over IPv4 */
#define DGRAM_MAX6	65527u
#define KERN_TURN	16

static uint64_t rec_size(uint32_t len)
{
	return sizeof(struct sd_dgram) + ((uint64_t)len + 7) / 8 * 8;
}

/* ---- send ---- */

/* Destination of a message: from its name, or the connected peer (ret_port 0).
 * Return: 0, -EDESTADDRREQ, -EINVAL, -EAFNOSUPPORT. */
static int destination(uint32_t slot, const struct msghdr *m, struct sd_addr *ret_addr,
		       uint16_t *ret_port)
{
	const struct sockaddr *sa = m->msg_name;
	int family = pl_p(slot)->opts.family, r;

	*ret_port = 0;
	if (!sa || !m->msg_namelen)
		return pl_eflags(slot) & SD_E_CONNECTED ? 0 : -EDESTADDRREQ;
	if (family == AF_INET6 && m->msg_namelen >= sizeof(sa->sa_family) &&
	    sa->sa_family == AF_INET && !(ld_rlx(&pl_p(slot)->flags) & SD_P_V6ONLY))
		family = AF_INET;
	r = pl_addr_in(family, sa, m->msg_namelen, ret_addr, ret_port);
	if (r)
		return r;
	return *ret_port ? 0 : -EINVAL;
}

/* The socket sends by stackd for the first time: it needs a port there, the kernel's if it has one.
   */
int pl_dgram_autobind(int fd, uint32_t slot)
{
	struct sd_cmd cmd = pl_cmd_for(slot, SD_OP_BIND);

	if (pl_eflags(slot) & SD_E_BOUND)
		return 0;
	cmd.port = pl_kern_port(fd);
	if (!cmd.port)
		return pl_bind_auto(fd, slot);
	cmd.u32[0] = SD_BIND_PICKED;	/* by the kernel: what bind() names goes to the engine */
	if (pl_p(slot)->opts.family == AF_INET)
		cmd.addr = sd_addr_v4((be32){ 0 });
	return pl_rpc(0, &cmd, NULL, 0, NULL);
}

/* Write one record. Return: payload bytes, 0 when there is no room now, -errno. */
static ssize_t put(uint32_t slot, const struct sd_dgram *d, struct pl_iter *it)
{
	struct sd_slot_p *p = pl_p(slot);
	uint64_t need = rec_size(d->len), pos, tail, used;
	struct pl_txmem mem;
	struct pl_guard g;
	void *src;
	size_t n;

	if (!pl_lock(&g, &p->tx_lock))
		return -EAGAIN;
	tail = ld_rlx(&p->tx_tail);
	used = tail - ld_acq(&pl_e(slot)->tx_una);
	if (used && pl_tx_room(slot, need) < need)
		goto none;
	pl_txmem_get(&mem);
	shm_fifo_release(&mem.m, SD_FIFO_TX, &p->tx, tail - used, tail);
	n = shm_fifo_reserve(&mem.m, SD_FIFO_TX, &p->tx, tail, need);
	pl_txmem_put(&mem);
	if (n < need)
		goto none;
	shm_fifo_write(&pl.seg, SD_FIFO_TX, &p->tx, tail, d, sizeof(*d));
	for (pos = tail + sizeof(*d); (n = pl_iter_next(it, it->left, &src)) != 0; pos += n)
		shm_fifo_write(&pl.seg, SD_FIFO_TX, &p->tx, pos, src, n);
	st_rel(&p->tx_tail, tail + need);	/* G1; pairs with the worker's ld_acq */
	pl_unlock(&g);
	pl_kick(slot, SD_PEND_TX);
	return 1;
none:
	pl_unlock(&g);
	return 0;
}

static ssize_t send_stackd(uint32_t slot, const struct sd_dgram *d, struct pl_iter *it, int flags)
{
	struct pl_deadline dl = pl_deadline_in(ld_rlx(&pl_p(slot)->sndtimeo_ms));
	ssize_t r;
	int err;

	for (;;) {
		err = pl_err_take(slot);
		if (err)
			return -err;
		if (ld_rlx(&pl_p(slot)->flags) & SD_P_SHUT_WR)
			return -EPIPE;
		r = put(slot, d, it);
		if (r)
			return r < 0 ? r : (ssize_t)d->len;
		if (pl_nonblock(slot, flags))
			return -EAGAIN;
		r = pl_tx_wait(slot, &dl, false);
		if (r)
			return r;
	}
}

static ssize_t send_deferred(uint32_t slot, const struct sd_dgram *d, struct pl_iter *it, int flags)
{
	ssize_t n;

	PL_DEFER_BEGIN();
	n = send_stackd(slot, d, it, flags);
	pl_defer_end();
	pl_wait_end();
	return n;
}

/* A hybrid's destination that the kernel reaches, or a name that is wrong: it has the errno.
 * @addr: NULL = none given; @err: what reading it gave. */
static bool by_kernel(uint32_t slot, const struct sd_addr *addr, int err)
{
	if (!(ld_rlx(&pl_p(slot)->flags) & SD_P_HYBRID))
		return false;
	return err || (addr && pl_route(addr) == PL_VIA_KERNEL);
}

static ssize_t send_kernel(int fd, const struct msghdr *m, int flags)
{
	ssize_t r = real.sendmsg(fd, m, flags);

	return r < 0 ? -errno : r;
}

static bool is_mcast(const struct sd_addr *a)
{
	return sd_addr_is_v4(a) && a->b[12] >> 4 == 0xe;
}

ssize_t pl_dgram_send(int fd, uint32_t slot, const struct msghdr *m, int flags)
{
	struct sd_dgram d = { 0 };
	struct pl_cmsg_out c;
	struct pl_iter it;
	enum pl_via via;
	int r;

	r = destination(slot, m, &d.addr, &d.port);
	if (by_kernel(slot, r || !d.port ? NULL : &d.addr, r))
		return send_kernel(fd, m, flags);
	if (r) {
		pl_dgram_autobind(fd, slot);	/* Linux gives it a port before it looks */
		return r;
	}
	if (flags & (MSG_OOB | MSG_MORE))
		return -EOPNOTSUPP;
	via = d.port ? pl_route(&d.addr) : PL_VIA_STACKD;
	if (via == PL_VIA_KERNEL && !is_mcast(&d.addr))	/* these leave by our own address */
		return -ENETUNREACH;
	r = pl_iter_init(&it, m->msg_iov, m->msg_iovlen);
	if (!r)
		r = pl_cmsg_parse(m, &c);
	if (r)
		return r;
	if (it.left > (!d.port || sd_addr_is_v4(&d.addr) ? DGRAM_MAX : DGRAM_MAX6))
		return -EMSGSIZE;
	r = pl_dgram_autobind(fd, slot);
	if (r)
		return r;
	if (via == PL_VIA_BCAST && !(ld_rlx(&pl_p(slot)->opts.dgram_flags) & SD_DGF_BCAST))
		return -EACCES;
	d.len = (uint32_t)it.left;
	d.local = c.src;
	d.gso_len = c.gso_len;
	d.tos = c.tos < 0 ? pl_p(slot)->opts.tos : (uint8_t)c.tos;
	d.ttl = c.ttl < 0 ? pl_p(slot)->opts.ttl : (uint8_t)c.ttl;
	return pl_pipe_signal(send_deferred(slot, &d, &it, flags), flags);
}

/* ---- receive ---- */

/* Copy record @d at @pos out. Return: what recv says. */
static ssize_t deliver(uint32_t slot, const struct sd_dgram *d, uint64_t pos, struct msghdr *m,
		       int flags)
{
	const struct sd_fifo_map *map = &pl_e(slot)->rx;
	struct pl_iter it;
	size_t done = 0, n;
	void *dst;
	int r = pl_iter_init(&it, m->msg_iov, m->msg_iovlen), mf = 0;

	if (r)
		return r;
	while (done < d->len && (n = pl_iter_next(&it, d->len - done, &dst)) != 0) {
		shm_fifo_read(&pl.seg, SD_FIFO_RX, map, pos + sizeof(*d) + done, dst, n);
		done += n;
	}
	if (done < d->len)
		mf |= MSG_TRUNC;
	if (m->msg_name)
		pl_addr_out(pl_p(slot)->opts.family, &d->addr, d->port, m->msg_name,
			    &m->msg_namelen);
	else
		m->msg_namelen = 0;
	pl_cmsg_fill(slot, d, m, &mf);
	m->msg_flags = mf;
	return (ssize_t)(flags & MSG_TRUNC ? d->len : done);
}

/* Take one record. Return: recv's result, or -EAGAIN when there is none. */
static ssize_t get(uint32_t slot, struct msghdr *m, int flags)
{
	struct sd_slot_e *e = pl_e(slot);
	struct sd_slot_p *p = pl_p(slot);
	ssize_t r = -EAGAIN;
	struct pl_guard g;
	struct sd_dgram d;
	uint64_t head, avail;

	if (!pl_live(e, p) || ld_acq(&e->rx_tail) == ld_rlx(&p->rx_head))
		return -EAGAIN;
	if (!pl_lock(&g, &p->rx_lock))
		return -EAGAIN;
	head = ld_rlx(&p->rx_head);
	avail = ld_acq(&e->rx_tail) - head;	/* pairs with the worker's st_rel */
	if (avail >= sizeof(d) &&
	    shm_fifo_read(&pl.seg, SD_FIFO_RX, &e->rx, head, &d, sizeof(d)) == sizeof(d) &&
	    avail >= rec_size(d.len)) {
		r = deliver(slot, &d, head, m, flags);
		if (r >= 0 && !(flags & MSG_PEEK))
			st_rel(&p->rx_head, head + rec_size(d.len));	/* G1 */
	}
	pl_unlock(&g);
	return r;
}

static ssize_t recv_kernel(int fd, struct msghdr *m, int flags)
{
	ssize_t r = real.recvmsg(fd, m, flags);

	return r < 0 ? -errno : r;
}

/* Both sides once. */
static ssize_t try_recv(int fd, uint32_t slot, struct msghdr *m, int flags)
{
	bool hybrid = ld_rlx(&pl_p(slot)->flags) & SD_P_HYBRID;
	bool kern_first = hybrid && (ld_rlx(&pl_p(slot)->rx_head) >> 6) % KERN_TURN == 0;
	ssize_t r = -EAGAIN;
	int err = pl_err_take(slot);

	if (err)
		return -err;
	if (kern_first)
		r = recv_kernel(fd, m, flags | MSG_DONTWAIT);
	if (r == -EAGAIN)
		r = get(slot, m, flags);
	if (r == -EAGAIN && hybrid && !kern_first)
		r = recv_kernel(fd, m, flags | MSG_DONTWAIT);
	return r;
}

static ssize_t recv_stackd(int fd, uint32_t slot, struct msghdr *m, int flags)
{
	struct sd_slot_p *p = pl_p(slot);
	struct pl_deadline d = pl_deadline_in(ld_rlx(&p->rcvtimeo_ms));
	ssize_t r;
	int kern;

	for (;;) {
		r = try_recv(fd, slot, m, flags);
		if (r != -EAGAIN)
			return r;
		if (pl_nonblock(slot, flags))
			return -EAGAIN;
		if (ld_rlx(&p->flags) & SD_P_SHUT_RD)
			return 0;
		kern = ld_rlx(&p->flags) & SD_P_HYBRID ? fd : -1;
		r = pl_wait(slot, SD_EV_IN | PL_WAIT_KEEP, pl_deadline_left(&d), kern);
		if (r)
			return r;
	}
}

ssize_t pl_dgram_recv(int fd, uint32_t slot, struct msghdr *m, int flags)
{
	ssize_t r;

	if ((flags & MSG_ERRQUEUE) || !(pl_eflags(slot) & SD_E_BOUND))
		return recv_kernel(fd, m, flags);	/* nothing can have come by stackd */
	PL_DEFER_BEGIN();
	r = recv_stackd(fd, slot, m, flags);
	pl_defer_end();
	pl_wait_end();
	return r;
}
