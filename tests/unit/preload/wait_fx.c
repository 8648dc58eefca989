/* SPDX-License-Identifier: MIT */
/* tests/unit/preload/wait_fx.c - see wait_fx.h */
#include "wait_fx.h"

#include <sys/ioctl.h>

struct sd_info wx_info;

void wx_init(void)
{
	struct sd_ctl_hello_r r = { .proc = 1, .proc_gen = 1, .workers = 1, .seg = 1,
				    .mbox_cnt = SD_CTL_EVENTFDS };
	int ro, rw, fds[1 + SD_CTL_EVENTFDS];

	cr_assert_eq(shm_seg_create(1, 1, &ro, &rw), 0);
	cr_assert_eq(shm_seg_map(ro, rw, true, &pl.seg), 0);
	real.close(ro);
	real.close(rw);
	shm_pool_init(&pl.seg);
	wx_info = (struct sd_info){ .magic = SD_INFO_MAGIC, .workers = 1, .spin_ns = 20000,
				    .cpus = 2, .def_sndbuf = WX_LIMIT };
	pl.info = &wx_info;
	fds[0] = eventfd(0, 0);
	for (unsigned i = 0; i < SD_CTL_EVENTFDS; i++) {
		r.mbox[i] = i + 1;
		fds[1 + i] = real.fcntl(eventfd(0, 0), F_DUPFD_CLOEXEC, 2000 + (int)i);
	}
	pl_proc_take(&r, fds);
	st_rel(&pl.attached, true);
}

uint32_t wx_slot(int fd)
{
	return pl_fd_slot(fd);
}

int wx_fresh(int type)
{
	static uint32_t gen = 100;
	int fd = real.socket(AF_INET, type, 0);
	uint32_t slot = shm_pslot_alloc(&pl.seg);
	struct sd_slot_p *p = pl_p(slot);

	cr_assert(fd >= 0 && slot);
	memset(p, 0, sizeof(*p));
	p->gen = ++gen;
	p->opts.family = AF_INET;
	p->opts.type = (uint8_t)type;
	pl_fd_enter(fd, slot);
	return fd;
}

static int serve(int fd, uint16_t state)
{
	struct sd_slot_e *e = pl_e(wx_slot(fd));

	e->state = state;
	e->tx_limit = WX_LIMIT;
	e->mss = 1460;
	e->rx_adv = 1 << 20;
	st_rel(&e->gen, pl_p(wx_slot(fd))->gen);
	return fd;
}

int wx_sock(int type)
{
	return serve(wx_fresh(type), type == SOCK_STREAM ? SD_ST_ESTABLISHED : SD_ST_CLOSE);
}

int wx_listener(void)
{
	int fd = wx_fresh(SOCK_STREAM);

	pl_e(wx_slot(fd))->accept_base = 3;
	pl_e(wx_slot(fd))->accept_cnt = 1;
	return serve(fd, SD_ST_LISTEN);
}

static void wake(void *arg, uint32_t mbox)
{
	uint64_t one = 1;

	cr_assert_eq(real.write(pl_efd[mbox], &one, sizeof(one)), 8);
}

void wx_post(int fd, uint32_t ev)
{
	shm_subs_post(&pl.seg, pl_p(wx_slot(fd)), ev, 0, wake, NULL);
}

void wx_rx(int fd, uint32_t len)
{
	st_rel(&pl_e(wx_slot(fd))->rx_tail, pl_e(wx_slot(fd))->rx_tail + len);
	wx_post(fd, SD_EV_IN);
}

void wx_conn(int fd)
{
	static struct shm_accept_prod prod;
	struct sd_slot_e *e = pl_e(wx_slot(fd));

	cr_assert_eq(shm_accept_push(shm_accept_ring(&pl.seg, e->accept_base), &prod, 77, 1), 0);
	wx_post(fd, SD_EV_IN);
}

void wx_fin(int fd)
{
	or_sc(&pl_e(wx_slot(fd))->flags, SD_E_RCV_FIN);
	wx_post(fd, SD_EV_IN | SD_EV_RDHUP);
}

void wx_rst(int fd)
{
	struct sd_slot_e *e = pl_e(wx_slot(fd));

	e->err = ECONNRESET;
	st_rel(&e->err_seq, e->err_seq + 1);
	st_rel(&e->state, SD_ST_CLOSE);
	or_sc(&e->flags, SD_E_RESET);
	wx_post(fd, SD_EV_IN | SD_EV_OUT | SD_EV_ERR | SD_EV_HUP | SD_EV_RDHUP);
}

unsigned wx_subs(int fd)
{
	const struct sd_slot_p *p = pl_p(wx_slot(fd));
	unsigned n = 0;

	for (unsigned i = 0; i < SD_SUBS_INLINE; i++)
		n += p->subs[i] != 0;
	return n;
}

bool wx_netns(void)
{
	struct ifreq ifr = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };
	int fd;

	if (unshare(CLONE_NEWNET))
		return false;
	fd = real.socket(AF_INET, SOCK_DGRAM, 0);
	cr_assert_eq(ioctl(fd, SIOCSIFFLAGS, &ifr), 0);
	real.close(fd);
	return true;
}

bool wx_kernel_pair(int ret_fd[2])
{
	static bool ns;
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t len = sizeof(sin);
	int l;

	if (!ns && !wx_netns())
		return false;
	ns = true;
	l = real.socket(AF_INET, SOCK_STREAM, 0);
	cr_assert_eq(real.bind(l, (struct sockaddr *)&sin, len), 0);
	cr_assert_eq(real.listen(l, 1), 0);
	cr_assert_eq(real.getsockname(l, (struct sockaddr *)&sin, &len), 0);
	ret_fd[0] = real.socket(AF_INET, SOCK_STREAM, 0);
	cr_assert_eq(real.connect(ret_fd[0], (struct sockaddr *)&sin, len), 0);
	ret_fd[1] = real.accept(l, NULL, NULL);
	real.close(l);
	return true;
}

static void *later(void *arg)
{
	struct wx_later *l = arg;

	usleep(l->ms * 1000);
	l->fn(l->arg);
	return NULL;
}

void wx_later(struct wx_later *l, unsigned ms, void (*fn)(void *arg), void *arg)
{
	*l = (struct wx_later){ .ms = ms, .fn = fn, .arg = arg };
	cr_assert_eq(pthread_create(&l->th, NULL, later, l), 0);
}

void wx_later_rx(void *fd)
{
	wx_rx((int)(intptr_t)fd, 1);
}

void wx_later_kern(void *fd)
{
	cr_assert_eq(real.write((int)(intptr_t)fd, "x", 1), 1);
}
