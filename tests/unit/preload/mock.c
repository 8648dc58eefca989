/* SPDX-License-Identifier: MIT */
/* tests/unit/preload/mock.c - see mock.h
 * Threads: one thread plays the engine; it calls the real libc functions only
 */
#include <linux/futex.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/un.h>

#include "mock.h"
#include "preload/pl_int.h"
#include "stackd/ctl.h"
#include "tests/unit/opentab_all.h"

#define PROCS 16

uint32_t mock_ops[SD_OP_MAX];
uint32_t mock_procs;
uint32_t mock_limit = 64 * 1024;

static struct {
	char dir[64];
	pthread_t thread;
	uint32_t stop;
	int listen_fd, info_fd, ro_fd, rw_fd, doorbell;
	struct sd_info *info;
	struct shm_seg seg;
	struct shm_espan span;
	struct shm_epool pool;
	struct { int ctl; struct shm_cmd_reader rd; } proc[PROCS];
	int efd[SD_MAX_MBOXES];
	uint32_t mboxes;
	uint16_t next_port;
	struct shm_accept_prod prod[SD_SLOTS_P / 4096];
	uint32_t accepts;
	uint32_t peer[1 << 12];		/* by slot (program's), or SD_SLOTS_P + i -> 2048 + i */
	uint32_t abort_slot;
	int abort_err;
} m;

static uint32_t *peer(uint32_t slot)
{
	return &m.peer[slot < SD_SLOTS_P ? slot % 2048 : 2048 + (slot - SD_SLOTS_P) % 2048];
}

static struct sd_slot_e *E(uint32_t s)
{
	return (struct sd_slot_e *)(m.seg.ro + SD_RO_SLOTS) + s % SD_SLOTS;
}

static struct sd_slot_p *P(uint32_t s)
{
	return (struct sd_slot_p *)(m.seg.rw + SD_RW_SLOTS) + s % SD_SLOTS;
}

/* ---- notifications ---- */

static void wake(void *arg, uint32_t mbox)
{
	uint64_t one = 1;

	if (mbox < SD_MAX_MBOXES && m.efd[mbox])
		cr_assert_eq(real.write(m.efd[mbox], &one, 8), 8);
}

static void post(uint32_t slot, uint32_t ev)
{
	shm_subs_post(&m.seg, P(slot), ev, 0, wake, NULL);
}

static void reply(const struct sd_cmd *c, int err, const void *data, uint32_t len)
{
	struct sd_reply *r = shm_reply(&m.seg, c->mbox);
	struct sd_mbox *mb = shm_mbox(&m.seg, c->mbox);

	if (!r)
		return;
	r->err = err;
	r->len = len;
	memcpy(r->data, data ? data : &m, len);
	st_rel(&r->seq, c->rseq);
	if (shm_mbox_post(mb, SD_MBOX_REPLY_BIT))
		wake(NULL, c->mbox);
}

/* ---- bytes ---- */

static void move(uint32_t from, uint32_t to)
{
	struct shm_fifo_mem mem = { .seg = &m.seg, .epool = &m.pool };
	uint64_t una = E(from)->tx_una, n = ld_acq(&P(from)->tx_tail) - una;
	uint64_t tail = E(to)->rx_tail, head = ld_acq(&P(to)->rx_head), space;
	uint8_t buf[8192];

	shm_fifo_release(&mem, SD_FIFO_RX, &E(to)->rx, head, tail);
	space = E(to)->rx_limit - (tail - head);
	while (n && space) {
		uint64_t len = n < space ? n : space;

		len = len < sizeof(buf) ? len : sizeof(buf);
		cr_assert_eq(shm_fifo_read(&m.seg, SD_FIFO_TX, &P(from)->tx, una, buf, len), len);
		cr_assert_eq(shm_fifo_reserve(&mem, SD_FIFO_RX, &E(to)->rx, tail, len), len);
		shm_fifo_write(&m.seg, SD_FIFO_RX, &E(to)->rx, tail, buf, len);
		n -= len, space -= len, una += len, tail += len;
	}
	E(to)->rx_adv = head + E(to)->rx_limit;
	if (tail != E(to)->rx_tail) {
		st_rel(&E(to)->rx_tail, tail);
		st_rel(&E(from)->tx_nxt, una);
		xchg_sc(&E(from)->tx_una, una);
		post(to, SD_EV_IN);
		if (and_sc(&P(from)->flags, ~SD_P_NOSPACE) & SD_P_NOSPACE)
			post(from, SD_EV_OUT);
	}
	if (!n && (E(from)->flags & (SD_E_SND_FIN | SD_E_CLOSED)) &&
	    !(E(to)->flags & SD_E_RCV_FIN)) {
		or_sc(&E(to)->flags, SD_E_RCV_FIN);
		post(to, SD_EV_IN | SD_EV_RDHUP);
	}
}

/* Datagrams: each record is turned round and given back to its sender, if it was for port 7. */
static void echo(uint32_t slot)
{
	struct shm_fifo_mem mem = { .seg = &m.seg, .epool = &m.pool };
	static uint8_t buf[70000];
	struct sd_dgram *d = (struct sd_dgram *)buf;
	uint64_t una = E(slot)->tx_una, tail = E(slot)->rx_tail, size;

	while (una != ld_acq(&P(slot)->tx_tail)) {
		shm_fifo_read(&m.seg, SD_FIFO_TX, &P(slot)->tx, una, d, sizeof(*d));
		size = sizeof(*d) + (d->len + 7) / 8 * 8;
		shm_fifo_read(&m.seg, SD_FIFO_TX, &P(slot)->tx, una, buf, size);
		una += size;
		if (!d->port) {
			d->port = E(slot)->rport;
			d->addr = E(slot)->raddr;
		}
		if (d->port != 7)
			continue;
		shm_fifo_reserve(&mem, SD_FIFO_RX, &E(slot)->rx, tail, size);
		shm_fifo_write(&m.seg, SD_FIFO_RX, &E(slot)->rx, tail, buf, size);
		tail += size;
	}
	st_rel(&E(slot)->rx_tail, tail);
	xchg_sc(&E(slot)->tx_una, una);
	post(slot, SD_EV_IN | SD_EV_OUT);
}

/* ---- commands ---- */

static void serve(uint32_t slot, enum sd_state st)
{
	struct sd_slot_e *e = E(slot);

	memset(e, 0, sizeof(*e));
	e->state = (uint16_t)st;
	e->tx_limit = e->rx_limit = mock_limit;
	e->mss = 1460;
	e->rx_adv = mock_limit;
	st_rel(&e->gen, P(slot)->gen);
}

static uint32_t bound_to(uint16_t port, enum sd_state st)
{
	for (uint32_t s = 1; s < 256; s++)
		if (E(s)->gen && E(s)->gen == P(s)->gen && E(s)->state == st &&
		    (E(s)->flags & SD_E_BOUND) && E(s)->lport == port)
			return s;
	return 0;
}

static void do_bind(const struct sd_cmd *c)
{
	struct sd_name name = { c->addr, c->port ? c->port : ++m.next_port, 0 };
	struct sd_slot_e *e = E(c->slot);

	if (bound_to(name.port, SD_ST_CLOSE) || bound_to(name.port, SD_ST_LISTEN)) {
		reply(c, -EADDRINUSE, NULL, 0);
		return;
	}
	e->laddr = name.addr;
	e->lport = name.port;
	or_sc(&e->flags, SD_E_BOUND);
	reply(c, 0, &name, sizeof(name));
}

static void do_listen(const struct sd_cmd *c)
{
	struct sd_slot_e *e = E(c->slot);

	e->accept_base = m.accepts++;
	e->accept_cnt = 1;
	m.prod[e->accept_base].prod = 0;
	st_rel(&e->state, SD_ST_LISTEN);
	reply(c, 0, NULL, 0);
}

static void join(uint32_t c, uint32_t l)
{
	uint32_t a = shm_eslot_alloc(&m.pool);
	struct sd_slot_p *p = P(a);
	uint32_t gen = p->gen + 1;

	memset(p, 0, sizeof(*p));
	p->opts = P(l)->opts;
	p->gen = gen;
	serve(a, SD_ST_ESTABLISHED);
	E(a)->flags = SD_E_CONNECTED | SD_E_BOUND;
	E(a)->laddr = E(c)->raddr;
	E(a)->lport = E(l)->lport;
	E(a)->raddr = E(c)->laddr;
	E(a)->rport = E(c)->lport;
	*peer(a) = c;
	*peer(c) = a;
	cr_assert_eq(shm_accept_push(shm_accept_ring(&m.seg, E(l)->accept_base),
				     &m.prod[E(l)->accept_base], a, gen), 0);
	post(l, SD_EV_IN);
	or_sc(&E(c)->flags, SD_E_CONNECTED | SD_E_BOUND);
	st_rel(&E(c)->state, SD_ST_ESTABLISHED);
	post(c, SD_EV_OUT);
}

static void fail(uint32_t slot, int err, uint32_t flags)
{
	struct sd_slot_e *e = E(slot);

	e->err = (uint32_t)err;
	or_sc(&e->flags, flags);
	st_rel(&e->state, SD_ST_CLOSE);
	add_sc(&e->err_seq, 1);
	post(slot, SD_EV_ERR | SD_EV_HUP | SD_EV_IN | SD_EV_OUT);
}

static void do_connect(const struct sd_cmd *c)
{
	struct sd_slot_e *e = E(c->slot);
	struct sd_addr silent = sd_addr_v4((be32){ inet_addr(MOCK_SILENT) });

	e->raddr = c->addr;
	e->rport = c->port;
	if (!(e->flags & SD_E_BOUND))
		e->lport = ++m.next_port;
	if (sd_addr_is_any(&e->laddr))
		e->laddr = sd_addr_v4((be32){ inet_addr(MOCK_ADDR) });
	if (e->type == SOCK_DGRAM || P(c->slot)->opts.type == SOCK_DGRAM) {
		or_sc(&e->flags, SD_E_CONNECTED | SD_E_BOUND);
		st_rel(&e->state, SD_ST_ESTABLISHED);
		reply(c, 0, NULL, 0);
		return;
	}
	st_rel(&e->state, SD_ST_SYN_SENT);
	reply(c, 0, NULL, 0);
	if (sd_addr_eq(&c->addr, &silent))
		return;
	uint32_t l = bound_to(c->port, SD_ST_LISTEN);
	if (l)
		join(c->slot, l);
	else
		fail(c->slot, ECONNREFUSED, 0);
}

static void do_close(uint32_t slot)
{
	struct shm_fifo_mem mem = { .seg = &m.seg, .epool = &m.pool };
	uint32_t other = *peer(slot);

	or_sc(&E(slot)->flags, SD_E_CLOSED);
	if (other && !(E(other)->flags & SD_E_CLOSED)) {
		move(slot, other);
		if (E(slot)->tx_una != P(slot)->tx_tail)
			return;			/* goes on when the peer has read */
	}
	if (other) {
		*peer(other) = 0;
		*peer(slot) = 0;
	}
	shm_fifo_destroy(&mem, SD_FIFO_TX, &P(slot)->tx);
	shm_fifo_destroy(&mem, SD_FIFO_RX, &E(slot)->rx);
	st_rel(&E(slot)->gen, 0);
	if (slot < SD_SLOTS_P)
		shm_pslot_free(&m.seg, slot);
	else
		shm_eslot_free(&m.pool, slot);
}

static void handle(const struct sd_cmd *c)
{
	if (c->op == SD_OP_ATTACH)
		serve(c->slot, SD_ST_CLOSE);
	cr_assert(c->gen && c->gen == E(c->slot)->gen, "op %u on slot %u", c->op, c->slot);
	switch (c->op) {
	case SD_OP_KICK:
		xchg_sc(&P(c->slot)->pending, 0);
		if (P(c->slot)->opts.type == SOCK_DGRAM)
			echo(c->slot);
		else if (*peer(c->slot)) {
			uint32_t other = *peer(c->slot);

			move(c->slot, other);
			move(other, c->slot);
			if (E(other)->flags & SD_E_CLOSED)
				do_close(other);
		}
		break;
	case SD_OP_BIND:
		do_bind(c);
		break;
	case SD_OP_LISTEN:
		do_listen(c);
		break;
	case SD_OP_CONNECT:
		do_connect(c);
		break;
	case SD_OP_DISCONNECT:
		and_sc(&E(c->slot)->flags, ~(SD_E_CONNECTED | SD_E_BOUND));
		st_rel(&E(c->slot)->state, SD_ST_CLOSE);
		reply(c, 0, NULL, 0);
		break;
	case SD_OP_SHUTDOWN:
		if (c->u32[0] != SHUT_RD && *peer(c->slot)) {
			or_sc(&E(c->slot)->flags, SD_E_SND_FIN);
			move(c->slot, *peer(c->slot));
		}
		break;
	case SD_OP_CLOSE:
		do_close(c->slot);
		break;
	case SD_OP_GETINFO:
		reply(c, 0, &(uint8_t[104]){ 1 }, 104);
		break;
	case SD_OP_SETOPT:
		reply(c, memcmp(c->str, "cubic", 6) ? -ENOENT : 0, NULL, 0);
		break;
	case SD_OP_GETOPT:
		reply(c, 0, "reno", 5);
		break;
	}
	add_sc(&mock_ops[c->op], 1);
}

static bool commands(void)
{
	bool any = false;
	struct sd_cmd c;

	xchg_sc(&shm_rw_hdr(&m.seg)->dirty[0][0], 0);	/* pairs with or_sc in shm_cmd_notice() */
	for (uint32_t i = 1; i < PROCS; i++)
		while (shm_cmd_pop(&m.seg, i, 0, &m.proc[i].rd, &c)) {
			handle(&c);
			any = true;
		}
	return any;
}

/* ---- control socket ---- */

static void send_fds(int to, const void *msg, size_t len, const int *fds, unsigned n)
{
	union { char b[CMSG_SPACE(64 * sizeof(int))]; struct cmsghdr h; } cb = { 0 };
	struct iovec iov = { (void *)msg, len };
	struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &cb,
			     .msg_controllen = CMSG_SPACE(n * sizeof(int)) };

	cb.h = (struct cmsghdr){ CMSG_LEN(n * sizeof(int)), SOL_SOCKET, SCM_RIGHTS };
	memcpy(CMSG_DATA(&cb.h), fds, n * sizeof(int));
	cr_assert_eq(real.sendmsg(to, &mh, MSG_NOSIGNAL), (ssize_t)len);
}

static unsigned add_mboxes(struct sd_ctl_hello_r *r, uint32_t proc, unsigned cnt, int *fds)
{
	for (unsigned i = 0; i < cnt; i++) {
		uint32_t mb = ++m.mboxes;

		fds[i] = m.efd[mb] = eventfd(0, EFD_CLOEXEC);
		r->mbox[i] = mb;
		shm_mbox(&m.seg, mb)->proc = proc;
	}
	r->mbox_cnt = cnt;
	return cnt;
}

static uint32_t new_proc(int ctl)
{
	for (uint32_t i = 1; i < PROCS; i++) {
		if (m.proc[i].ctl)
			continue;
		m.proc[i].ctl = ctl;
		add_sc(&mock_procs, 1);
		return i;
	}
	abort();
}

static void on_message(uint32_t idx, uint32_t type)
{
	int fds[16], sv[2], ctl = m.proc[idx].ctl;
	struct sd_ctl_hello_r r = { .h = { CTL_HELLO_R, sizeof(r) }, .proc = idx, .proc_gen = 1,
				    .workers = 1, .seg = 7 };
	unsigned n = 0;

	if (type == CTL_HELLO) {
		fds[n++] = m.info_fd, fds[n++] = m.ro_fd, fds[n++] = m.rw_fd;
		fds[n++] = m.doorbell;
		n += add_mboxes(&r, idx, 2, fds + n);
	} else if (type == CTL_FORK) {
		cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv), 0);
		r.h.type = CTL_FORK_R;
		r.proc = new_proc(sv[0]);
		opentab_clone(&m.seg, idx, r.proc);
		fds[n++] = sv[1];
		fds[n++] = m.doorbell;
		n += add_mboxes(&r, r.proc, 2, fds + n);
	} else {
		r.h.type = CTL_MBOX_R;
		n = add_mboxes(&r, idx, 4, fds);
	}
	send_fds(ctl, &r, sizeof(r), fds, n);
	if (type == CTL_FORK)
		real.close(sv[1]);
}

static void last_ref(void *arg, uint32_t slot, uint32_t gen)
{
	do_close(slot);
}

static void on_readable(uint32_t idx)
{
	union { struct sd_ctl_head h; struct sd_ctl_hello hello; } msg;

	if (real.recv(m.proc[idx].ctl, &msg, sizeof(msg), 0) > 0) {
		on_message(idx, msg.h.type);
		return;
	}
	commands();			/* what it asked for before it died */
	opentab_undo(&m.seg, idx, last_ref, NULL);
	real.close(m.proc[idx].ctl);
	m.proc[idx].ctl = 0;
	sub_sc(&mock_procs, 1);
}

/* ---- the loop ---- */

uint32_t mock_naps, mock_overslept;

/* Until a program says so. What it said between the last look and here is heard when time is up, as
 * by a worker. */
static void nap(void)
{
	uint32_t *sleeping = &m.info->worker[0].sleeping;
	struct timespec ts = { .tv_nsec = 10000000 };

	if (syscall(SYS_futex, sleeping, FUTEX_WAIT, SD_NAPPING, &ts, NULL, 0) && commands())
		add_sc(&mock_overslept, 1);
}

static void wait_for_work(void)
{
	struct pollfd p[PROCS + 2] = { { m.listen_fd, POLLIN, 0 }, { m.doorbell, POLLIN, 0 } };
	uint64_t v;

	for (uint32_t i = 1; i < PROCS; i++)
		p[i + 1] = (struct pollfd){ m.proc[i].ctl ? m.proc[i].ctl : -1, POLLIN, 0 };
	xchg_sc(&m.info->worker[0].sleeping, ld_acq(&mock_naps) ? SD_NAPPING : SD_SLEEPING);
	if (commands())
		goto out;
	if (ld_acq(&mock_naps))
		nap();
	real.poll(p, PROCS + 1, ld_acq(&mock_naps) ? 0 : 1000);
	if (p[1].revents && real.read(m.doorbell, &v, 8) < 0)
		cr_assert_eq(errno, EAGAIN);
	if (p[0].revents & POLLIN)
		new_proc(real.accept4(m.listen_fd, NULL, NULL, SOCK_CLOEXEC));
	for (uint32_t i = 1; i < PROCS; i++)
		if (p[i + 1].revents)
			on_readable(i);
out:
	st_rel(&m.info->worker[0].sleeping, 0);
}

static void *loop(void *arg)
{
	while (!ld_acq(&m.stop)) {
		commands();
		if (ld_acq(&m.abort_slot)) {
			fail(m.abort_slot, m.abort_err, SD_E_RESET);
			st_rel(&m.abort_slot, 0);
		}
		wait_for_work();
	}
	return NULL;
}

static void ring(void)
{
	uint64_t one = 1;

	cr_assert_eq(real.write(m.doorbell, &one, 8), 8);
}

void mock_abort(uint32_t slot, int err)
{
	m.abort_err = err;
	st_rel(&m.abort_slot, slot);
	ring();
	while (ld_acq(&m.abort_slot))
		usleep(100);
}

static void make_info(void)
{
	m.info_fd = memfd_create("info", MFD_CLOEXEC);
	cr_assert_eq(ftruncate(m.info_fd, SD_INFO_SIZE), 0);
	m.info = mmap(NULL, SD_INFO_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, m.info_fd, 0);
	m.info->major = SD_ABI_MAJOR;
	m.info->workers = 1;
	m.info->cpus = 1;
	m.info->def_sndbuf = m.info->def_rcvbuf = mock_limit;
	m.info->max_sndbuf = m.info->max_rcvbuf = 4 << 20;
	m.info->rt[0] = (struct sd_route){ .dst = sd_addr_v4((be32){ inet_addr(MOCK_ADDR) }),
					   .plen = 128, .flags = SD_RT_LOCAL };
	m.info->rt[1] = (struct sd_route){ .dst = sd_addr_v4((be32){ inet_addr("192.0.2.0") }),
					   .plen = 120 };
	m.info->rt_cnt = 2;
	st_rel(&m.info->magic, SD_INFO_MAGIC);
}

void mock_start(void)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };

	strcpy(m.dir, "/tmp/stackd-mock-XXXXXX");
	cr_assert_not_null(mkdtemp(m.dir));
	snprintf(un.sun_path, sizeof(un.sun_path), "%.60s/" SD_CTL_SOCK, m.dir);
	m.listen_fd = real.socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	cr_assert_eq(real.bind(m.listen_fd, (struct sockaddr *)&un, sizeof(un)), 0);
	cr_assert_eq(real.listen(m.listen_fd, 16), 0);
	cr_assert_eq(shm_seg_create(7, 1, &m.ro_fd, &m.rw_fd), 0);
	cr_assert_eq(shm_seg_map(m.ro_fd, m.rw_fd, true, &m.seg), 0);
	shm_pool_init(&m.seg);
	shm_espan_init(&m.span);
	cr_assert_eq(shm_epool_init(&m.pool, &m.span), 0);
	m.pool.chunk_max = m.pool.slot_max = 1 << 16;
	m.doorbell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	m.next_port = 40000;
	make_info();
	setenv("STACKD_RUN_DIR", m.dir, 1);
	pl_attach_failed = 0;		/* Criterion's own sockets came too early */
	cr_assert_eq(pthread_create(&m.thread, NULL, loop, NULL), 0);
}

void mock_stop(void)
{
	char path[96];

	st_rel(&m.stop, 1);
	ring();
	pthread_join(m.thread, NULL);
	snprintf(path, sizeof(path), "%.60s/" SD_CTL_SOCK, m.dir);
	unlink(path);
	rmdir(m.dir);
}
