/* SPDX-License-Identifier: MIT */
/* tests/fault/hostile.c - a program that attaches and then writes whatever it likes
 *   hostile RUN_DIR SEED SECONDS [PEER]     the same seed makes the same choices
 * A session attaches by hand, takes places for children and mailboxes, puts sockets into service,
 * connects and sends as the shim would, and lies in between: random and crafted values into rings,
 * slots (positions, FIFO maps, locks, subscriptions, options), mailboxes, accept rings, bitmaps,
 * open tables and dirty words; holes in its memory; nonsense with fds on the control socket. It
 * ends in the middle of things. What must hold is checked by tests/fault/test_hostile.py.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "shm/fifo.h"
#include "shm/lock.h"
#include "shm/ring.h"
#include "stackd/ctl.h"

#define PLACES	4			/* processes of one session */
#define SLOTS	48			/* program slots it plays with */

struct place {
	int ctl;
	uint32_t proc, gen;
	uint32_t mbox[SD_CTL_EVENTFDS];
	int bell[SD_MAX_WORKERS], efd[SD_CTL_EVENTFDS];
};

struct session {
	struct shm_seg seg;
	int rw_fd;
	uint32_t workers;
	struct place p[PLACES];
	unsigned places;
	struct shm_magazine mag;
};

static uint64_t rng;
static const char *run_dir;
static struct sd_addr peer;
static unsigned long sessions, commands, ended;

static uint64_t rnd64(void)
{
	uint64_t z = rng += 0x9e3779b97f4a7c15ull;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}

static uint32_t below(uint32_t n) { return (uint32_t)((rnd64() >> 32) * n >> 32); }

/* Numbers at which checks go wrong. */
static uint64_t number(void)
{
	static const uint64_t edges[] = {
		0, 1, 2, 3, 4, 63, 64, 1023, 1024, 4095, 4096, SD_SLOTS_P - 1, SD_SLOTS_P,
		SD_SLOTS - 1, SD_SLOTS, SD_CHUNKS - 1, SD_CHUNKS, SD_FIFO_MAX, SD_FIFO_MAX + 1,
		INT32_MAX, 0x80000000u, UINT32_MAX, 1ull << 32, INT64_MAX, 1ull << 63, UINT64_MAX,
	};

	switch (below(4)) {
	case 0: return edges[below(sizeof(edges) / sizeof(edges[0]))];
	case 1: return below(64);
	case 2: return below(1u << 20);
	default: return rnd64();
	}
}

/* ---- control socket ---- */

static int ctl_connect(void)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	struct timeval tv = { .tv_sec = 10 };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	snprintf(un.sun_path, sizeof(un.sun_path), "%s/%s", run_dir, SD_CTL_SOCK);
	if (fd < 0 || connect(fd, (struct sockaddr *)&un, sizeof(un))) {
		perror("hostile: control socket");
		exit(1);
	}
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	return fd;
}

/* Return: fds received, -1 when there is no answer that fits. */
static int ask(int ctl, const void *req, size_t len, struct sd_ctl_hello_r *r, int *fds)
{
	union { char b[CMSG_SPACE(SD_CTL_MAXFDS * sizeof(int))]; struct cmsghdr align; } cb;
	struct iovec iov = { r, sizeof(*r) };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &cb,
			    .msg_controllen = sizeof(cb) };
	struct cmsghdr *c;
	int n;

	if (send(ctl, req, len, MSG_NOSIGNAL) < 0 ||
	    recvmsg(ctl, &m, MSG_CMSG_CLOEXEC) != sizeof(*r))
		return -1;
	c = CMSG_FIRSTHDR(&m);
	if (!c)
		return 0;
	n = (int)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
	memcpy(fds, CMSG_DATA(c), (size_t)n * sizeof(int));
	return n;
}

static bool take_place(struct session *s, struct place *p, const struct sd_ctl_hello_r *r,
		       const int *fds, int n)
{
	if (n != (int)(r->workers + r->mbox_cnt))
		return false;
	p->proc = r->proc;
	p->gen = r->proc_gen;
	s->workers = r->workers;
	memcpy(p->bell, fds, r->workers * sizeof(int));
	memcpy(p->efd, fds + r->workers, r->mbox_cnt * sizeof(int));
	memcpy(p->mbox, r->mbox, sizeof(p->mbox));
	return true;
}

static bool attach(struct session *s)
{
	struct sd_ctl_hello h = { .h = { CTL_HELLO, sizeof(h) }, .major = SD_ABI_MAJOR,
				  .minor = SD_ABI_MINOR, .comm = "hostile" };
	struct sd_ctl_hello_r r;
	int fds[SD_CTL_MAXFDS], n;
	struct place *p = &s->p[0];

	p->ctl = ctl_connect();
	n = ask(p->ctl, &h, sizeof(h), &r, fds);
	if (n < 3 || !take_place(s, p, &r, fds + 3, n - 3) ||
	    shm_seg_map(fds[1], fds[2], false, &s->seg))
		return false;
	close(fds[0]);
	close(fds[1]);
	s->rw_fd = fds[2];
	s->places = 1;
	sessions++;
	return true;
}

static void fork_place(struct session *s)
{
	struct sd_ctl_head h = { CTL_FORK, sizeof(h) };
	struct sd_ctl_hello_r r;
	int fds[SD_CTL_MAXFDS], n;

	if (s->places == PLACES)
		return;
	n = ask(s->p[0].ctl, &h, sizeof(h), &r, fds);
	if (n < 1 || !take_place(s, &s->p[s->places], &r, fds + 1, n - 1))
		return;
	s->p[s->places++].ctl = fds[0];
}

static void place_close(struct session *s, struct place *p)
{
	close(p->ctl);
	for (unsigned i = 0; i < s->workers; i++)
		close(p->bell[i]);
	for (unsigned i = 0; i < SD_CTL_EVENTFDS; i++)
		close(p->efd[i]);
}

/* A child's place is given up in the middle of things. */
static void drop_place(struct session *s)
{
	if (s->places > 1)
		place_close(s, &s->p[--s->places]);
}

/* Nonsense on a connection of its own, fds with it. */
static void ctl_noise(struct session *s)
{
	union { char b[CMSG_SPACE(8 * sizeof(int))]; struct cmsghdr align; } cb = { { 0 } };
	uint32_t msg[64];
	struct iovec iov = { msg, 4 * (1 + below(64)) };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct cmsghdr *c;
	int ctl = ctl_connect(), fds[8];
	unsigned n = below(9);

	for (unsigned i = 0; i < 64; i++)
		msg[i] = (uint32_t)number();
	msg[0] = below(4) ? below(12) : msg[0];
	msg[1] = below(4) ? (uint32_t)iov.iov_len : msg[1];
	for (unsigned i = 0; i < n; i++)
		fds[i] = below(2) ? s->rw_fd : s->p[0].ctl;
	if (n) {
		m.msg_control = &cb;
		m.msg_controllen = CMSG_SPACE(n * sizeof(int));
		c = CMSG_FIRSTHDR(&m);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(n * sizeof(int));
		memcpy(CMSG_DATA(c), fds, n * sizeof(int));
	}
	for (unsigned i = below(4); i-- > 0;)
		sendmsg(ctl, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
	close(ctl);
}

/* ---- what the shim does ---- */

static void ring_bells(struct session *s, const struct place *p)
{
	uint64_t one = 1;

	for (uint32_t w = 0; w < s->workers; w++)
		if (write(p->bell[w], &one, sizeof(one)) < 0)
			continue;
}

static void push(struct session *s, struct sd_cmd *c)
{
	const struct place *p = &s->p[below(s->places)];
	struct sd_slot_e *e = shm_slot_e(&s->seg, c->slot);
	uint32_t w = e && below(8) ? ld_acq(&e->worker) : below(s->workers);

	c->mbox = below(2) ? p->mbox[below(SD_CTL_EVENTFDS)] : below(8) ? 0 : (uint32_t)number();
	c->rseq = (uint32_t)number();
	shm_cmd_push(&s->seg, p->proc, w < s->workers ? w : 0, c);
	commands++;
}

static uint32_t any_slot(void)
{
	return below(4) ? 1 + below(SLOTS) : SD_SLOTS_P + below(SLOTS);
}

/* Put a slot into service and give it one to three sensible commands. */
static void behave(struct session *s)
{
	uint32_t slot = 1 + below(SLOTS), gen;
	struct sd_slot_p *p = shm_slot_p(&s->seg, slot);
	struct sd_cmd c = { .slot = slot };
	static const uint8_t ops[] = { SD_OP_BIND, SD_OP_LISTEN, SD_OP_CONNECT, SD_OP_CONNECT,
				       SD_OP_SHUTDOWN, SD_OP_CLOSE, SD_OP_DISCONNECT };

	gen = ld_acq(&shm_slot_e(&s->seg, slot)->gen);
	if (!gen) {
		gen = 1 + below(3);
		*p = (struct sd_slot_p){ .gen = gen, .opts = { .family = AF_INET } };
		p->opts.type = below(3) ? SOCK_STREAM : SOCK_DGRAM;
		c.op = SD_OP_ATTACH;
		c.gen = gen;
		push(s, &c);
		st_rlx(&shm_proc(&s->seg, s->p[0].proc)->hi_fd, SLOTS + 1);
		st_rlx(&shm_proc(&s->seg, s->p[0].proc)->fds[slot],
		       SD_OFD(SD_OFD_SOCK, slot, gen));
		st_rlx(&p->refs, 1);
	}
	for (unsigned i = 1 + below(3); i-- > 0;) {
		c = (struct sd_cmd){ .op = ops[below(sizeof(ops))], .slot = slot, .gen = gen };
		c.addr = below(8) ? peer : sd_addr_v4((be32){ (uint32_t)rnd64() });
		c.port = (uint16_t)(below(4) ? 9900 : 20000 + below(50));
		if (c.op == SD_OP_BIND) {
			c.addr = sd_addr_v4((be32){ 0 });
			c.port = (uint16_t)(20000 + below(50));
		}
		c.u32[0] = below(4);
		push(s, &c);
	}
}

/* Write real data and tell of it, as send() does; sometimes of more than there is. */
static void transmit(struct session *s)
{
	static uint8_t data[65536];
	uint32_t slot = any_slot(), len = 1 + below(sizeof(data));
	struct sd_slot_e *e = shm_slot_e(&s->seg, slot);
	struct sd_slot_p *p = shm_slot_p(&s->seg, slot);
	struct shm_fifo_mem mem = { .seg = &s->seg, .mag = &s->mag };
	struct sd_fifo_map map = p->tx;
	uint64_t tail = ld_acq(&p->tx_tail), got;
	struct sd_cmd c = { .op = SD_OP_KICK, .slot = slot, .gen = ld_acq(&e->gen) };

	/* the FIFO code is the shim's: it would not survive its own lies, so it works on sane
	 * maps */
	if (!c.gen || map.level > 1 || tail - map.freed > SD_FIFO_MAX / 2)
		return;
	got = shm_fifo_reserve(&mem, SD_FIFO_TX, &p->tx, tail, len);
	if (got)
		got = shm_fifo_write(&s->seg, SD_FIFO_TX, &p->tx, tail, data, got);
	if (below(20) == 0)
		got = number();
	st_rel(&p->tx_tail, tail + got);
	or_sc(&p->pending, SD_PEND_TX);
	push(s, &c);
}

static void consume(struct session *s)
{
	uint32_t slot = any_slot();
	struct sd_slot_e *e = shm_slot_e(&s->seg, slot);
	struct sd_slot_p *p = shm_slot_p(&s->seg, slot);
	struct sd_cmd c = { .op = SD_OP_KICK, .slot = slot, .gen = ld_acq(&e->gen) };

	if (!c.gen)
		return;
	st_rel(&p->rx_head, below(10) ? ld_acq(&e->rx_tail) : number());
	or_sc(&p->pending, SD_PEND_RX);
	push(s, &c);
}

static void random_command(struct session *s)
{
	struct sd_cmd c = { .op = (uint16_t)(below(8) ? below(SD_OP_MAX + 1) : number()) };

	c.slot = below(4) ? any_slot() : (uint32_t)number();
	c.gen = (uint32_t)number();
	if (c.slot && c.slot < SD_SLOTS && below(4))
		c.gen = ld_acq(&shm_slot_e(&s->seg, c.slot)->gen);
	for (unsigned i = 0; i < 3; i++)
		c.u32[i] = (uint32_t)number();
	c.port = (uint16_t)number();
	c.addr = below(2) ? peer : (struct sd_addr){ .w = { (uint32_t)number(), 0, 0, 0 } };
	memcpy(c.str, "reno\0xyz", below(2) ? 8 : 3);
	push(s, &c);
}

/* ---- what no shim does ---- */

/* One aligned word of 2, 4 or 8 bytes somewhere in [p, p + size). */
static void scribble(void *base, size_t size)
{
	uint8_t *p = (uint8_t *)base + below((uint32_t)(size / 8)) * 8;
	uint64_t v = number();

	switch (below(4)) {
	case 0: st_rlx((uint64_t *)(void *)p, v); break;
	case 1: st_rlx((uint32_t *)(void *)(p + 4 * below(2)), (uint32_t)v); break;
	case 2: st_rlx((uint16_t *)(void *)(p + 2 * below(4)), (uint16_t)v); break;
	case 3: or_sc((uint64_t *)(void *)p, 1ull << below(64)); break;
	}
}

static void lie_slot(struct session *s)
{
	struct sd_slot_p *p = shm_slot_p(&s->seg, below(8) ? any_slot() : 1 + below(SD_SLOTS - 1));

	switch (below(8)) {
	case 0: p->tx.level = (uint32_t)number(); break;
	case 1: p->tx.direct[below(SD_MAP_DIRECT)] = (uint32_t)number(); break;
	case 2:	/* a map that is its own data */
		p->tx.ind[below(SD_MAP_INDIRECT)] = p->tx.direct[0];
		p->tx.level = 1;
		break;
	case 3: p->tx_lock = below(2) ? SHM_LOCK_ENGINE : rnd64(); break;
	case 4:
		p->subs[below(SD_SUBS_INLINE)] = below(2) ? rnd64() :
			SD_SUB(below(SD_MAX_MBOXES), below(SD_MBOX_BITS), 0x3fff, below(2));
		p->sub_ext = below(2) ? (uint32_t)number() : 0;
		break;
	case 5: scribble(&p->opts, sizeof(p->opts)); break;
	case 6: p->tx.freed = number(); break;
	default: scribble(p, sizeof(*p));
	}
}

static void lie_process(struct session *s)
{
	uint32_t idx = below(4) ? s->p[below(s->places)].proc : below(SD_MAX_PROCS);
	struct sd_proc *p = shm_proc(&s->seg, idx);

	switch (below(5)) {
	case 0: st_rlx(&p->hi_fd, (uint32_t)number()); break;
	case 1:
		st_rlx(&p->fds[below(SLOTS)],
		       SD_OFD(below(5), below(2) ? any_slot() : (uint32_t)number() & 0xffffff,
			      below(4)));
		break;
	case 2: scribble(&p->rings[below(s->workers)].r, 256); break;
	case 3: scribble(&p->rings[below(s->workers)].r, sizeof(struct sd_cmd_ring)); break;
	case 4: scribble(p, 64); break;
	}
}

static void lie_accept(struct session *s)
{
	struct sd_accept_ring *r = shm_accept_ring(&s->seg, below(16));
	struct sd_accept_ent *e = &r->e[below(64)];

	switch (below(5)) {
	case 0: st_rlx(&r->cons, (uint32_t)number()); break;
	case 1: st_rlx(&r->prod, (uint32_t)number()); break;
	case 2: st_rlx(&e->claim, below(2) ? SD_CLAIM_READY : rnd64()); break;
	case 3: st_rlx(&e->slot, below(2) ? any_slot() : (uint32_t)number()); break;
	case 4: st_rlx(&e->gen, (uint32_t)number()); break;
	}
}

static void lie_mailbox(struct session *s)
{
	const struct place *p = &s->p[below(s->places)];
	unsigned i = below(SD_CTL_EVENTFDS);
	struct sd_mbox *mb = shm_mbox(&s->seg, p->mbox[i]);
	uint64_t full = UINT64_MAX - 1;
	struct pollfd pfd = { p->efd[i], POLLOUT, 0 };

	if (!mb)
		return;
	switch (below(4)) {
	case 0: st_rlx(&mb->sleeping, below(4)); break;
	case 1: scribble(mb, sizeof(*mb)); break;
	case 2: scribble(mb, 64); break;
	case 3:
		fcntl(p->efd[i], F_SETFL, O_NONBLOCK * below(2));
		if (poll(&pfd, 1, 0) == 1 && below(2))
			fcntl(p->efd[i], F_SETFL, O_NONBLOCK);
		if (fcntl(p->efd[i], F_GETFL) & O_NONBLOCK && write(p->efd[i], &full, 8) < 0)
			return;
		break;
	}
}

static void lie_memory(struct session *s)
{
	off_t at = (off_t)(rnd64() % SD_RW_SIZE) & ~(off_t)4095;

	switch (below(4)) {
	case 0: scribble(shm_rw_hdr(&s->seg), sizeof(struct sd_seg_rw)); break;
	case 1: scribble(s->seg.rw + SD_RW_SLOTMAP, SD_SLOTS_P / 8); break;
	case 2: scribble(s->seg.rw + SD_RW_CHUNKMAP, 65536); break;
	case 3:
		if (below(2))
			at = (off_t)SD_RW_SLOTS;
		fallocate(s->rw_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, 1 << 20);
		if (!ftruncate(s->rw_fd, at)) {
			fprintf(stderr, "hostile: the segment could be cut\n");
			exit(1);
		}
		break;
	}
}

static void step(struct session *s)
{
	static void (*const acts[])(struct session *) = {
		behave, behave, behave, behave, transmit, transmit, transmit, consume, consume,
		random_command, lie_slot, lie_slot, lie_process, lie_accept, lie_mailbox,
	};

	if (below(200) == 0)
		lie_memory(s);
	else if (below(200) == 0)
		ctl_noise(s);
	else if (below(100) == 0)
		fork_place(s);
	else if (below(150) == 0)
		drop_place(s);
	else
		acts[below(sizeof(acts) / sizeof(acts[0]))](s);
}

static bool hung_up(const struct session *s)
{
	struct pollfd p = { s->p[0].ctl, POLLIN | POLLHUP, 0 };

	return poll(&p, 1, 0) == 1;
}

static void one_session(void)
{
	static struct session s;
	unsigned steps = 50 + below(4000);

	memset(&s, 0, sizeof(s));
	if (!attach(&s)) {
		fprintf(stderr, "hostile: cannot attach\n");
		exit(1);
	}
	for (unsigned i = 0; i < steps; i++) {
		step(&s);
		if (below(16))
			continue;
		ring_bells(&s, &s.p[below(s.places)]);
		if (hung_up(&s)) {
			ended++;
			break;
		}
		if (below(4) == 0)
			usleep(below(500));
	}
	while (s.places)
		place_close(&s, &s.p[--s.places]);
	shm_seg_unmap(&s.seg);
	close(s.rw_fd);
}

int main(int argc, char **argv)
{
	struct in_addr in;
	time_t end;

	if (argc < 4 || inet_pton(AF_INET, argc > 4 ? argv[4] : "192.0.2.1", &in) != 1) {
		fprintf(stderr, "usage: hostile RUN_DIR SEED SECONDS [PEER]\n");
		return 2;
	}
	run_dir = argv[1];
	rng = strtoull(argv[2], NULL, 0);
	end = time(NULL) + atoi(argv[3]);
	peer = sd_addr_v4((be32){ in.s_addr });
	while (time(NULL) < end)
		one_session();
	printf("hostile: seed %s: %lu sessions, %lu ended by stackd, %lu commands\n", argv[2],
	       sessions, ended, commands);
	return 0;
}
