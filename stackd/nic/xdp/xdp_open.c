/* SPDX-License-Identifier: MIT */
/* nic/xdp/xdp_open.c - put stackd's XDP program and sockets on an interface
 *
 * Order: look at the interface -> load the program, which matches nothing yet -> attach it by a
 * link, native unless the driver cannot -> a socket with its memory per receive queue, into the
 * program's map -> tell the program the address. On failure all fds are closed, which detaches.
 * Spec:    Linux Documentation/networking/af_xdp; BPF_LINK_CREATE with BPF_XDP
 * Threads: device helper
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/ethtool.h>
#include <linux/if_link.h>
#include <linux/if_xdp.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "stackd/nic/xdp/claims_abi.h"
#include "stackd/nic/xdp/xdp_open.h"
#include "stackd/nic/xdp/xsk.h"

#define BUSY_TRIES	50		/* 10 ms apart: a closed socket lets its queue go late */
#define SNDBUF		(8 << 20)
#define FRAME_ROOM	(256 + 18)	/* of a chunk: the kernel's headroom, Ethernet, a VLAN */

/* The program, as the compiler made it (Makefile). */
__asm__(".section .rodata\n"
	".balign 16\n"
	"xdp_object:\n"
	".incbin \"" XDP_OBJECT "\"\n"
	"xdp_object_end:\n"
	".previous\n");
extern const char xdp_object[], xdp_object_end[];

struct opening {
	const struct xdp_conf *conf;
	struct kif kif;
	struct xdp_grant grant;
	struct bpf_object *obj;
	int prog, link, claims, xsks;
	unsigned queues;
	int fds[NIC_GRANT_FDS];
	unsigned cnt;
	char *err;
	size_t errlen;
};

#define FAIL(o, rc, ...) kif_fail((o)->err, (o)->errlen, rc, __VA_ARGS__)

/* ---- what the interface is --------------------------------------------------------------- */

/* Receive queues, 0 = cannot be asked: one. */
static unsigned rx_queues(const char *name)
{
	struct ethtool_channels ch = { .cmd = ETHTOOL_GCHANNELS };
	struct ifreq ifr = { 0 };
	int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), rc;

	if (s < 0)
		return 0;
	strcpy(ifr.ifr_name, name);
	ifr.ifr_data = (void *)&ch;
	rc = ioctl(s, SIOCETHTOOL, &ifr);
	close(s);
	return rc ? 0 : ch.rx_count + ch.combined_count;
}

static int settle(struct opening *o)
{
	const struct xdp_conf *c = o->conf;
	uint32_t mtu = c->mtu ? c->mtu : o->kif.mtu;

	if (mtu > o->kif.mtu)
		return FAIL(o, -EINVAL, "mtu=%u is more than the %u of '%s' "
			    "(ip link set %s mtu %u)",
			    mtu, o->kif.mtu, c->ifname, c->ifname, mtu);
	o->grant.chunk = o->kif.mtu + FRAME_ROOM <= 2048 ? 2048 : 4096;
	if (o->kif.mtu + FRAME_ROOM > o->grant.chunk)
		return FAIL(o, -EINVAL, "the MTU of '%s' is %u; AF_XDP takes frames of one page "
			    "(ip link set %s mtu 3498)", c->ifname, o->kif.mtu, c->ifname);
	o->queues = rx_queues(c->ifname);
	if (o->queues == 0)
		o->queues = 1;
	if (o->queues > c->workers)
		return FAIL(o, -EINVAL, "'%s' has %u receive queues, each needs a worker "
			    "(--workers %u, or ethtool -L %s combined %u or rx %u tx %u)",
			    c->ifname, o->queues, o->queues, c->ifname, c->workers, c->workers,
			    c->workers);
	o->grant.shared = o->kif.has_addr;
	if (o->grant.shared)
		kif_client_ports(&o->grant.port_lo, &o->grant.port_hi);
	if (getrandom(&o->grant.seed, sizeof(o->grant.seed), 0) != sizeof(o->grant.seed))
		return FAIL(o, -EIO, "no random numbers");
	return 0;
}

/* ---- program ----------------------------------------------------------------------------- */

static int quiet(enum libbpf_print_level level, const char *fmt, va_list ap)
{
	return 0;
}

static int load(struct opening *o)
{
	LIBBPF_OPTS(bpf_object_open_opts, opts, .object_name = "stackd_xdp");
	int rc;

	libbpf_set_print(quiet);
	o->obj = bpf_object__open_mem(xdp_object, (size_t)(xdp_object_end - xdp_object), &opts);
	if (!o->obj)
		return FAIL(o, -errno, "the XDP program cannot be read: %s", strerror(errno));
	rc = bpf_object__load(o->obj);
	if (rc)
		return FAIL(o, rc, "the kernel refuses the XDP program: %s", strerror(-rc));
	o->prog = bpf_program__fd(bpf_object__find_program_by_name(o->obj, "stackd_xdp"));
	o->xsks = bpf_object__find_map_fd_by_name(o->obj, "xsks");
	o->claims = bpf_object__find_map_fd_by_name(o->obj, "claims_map");
	return o->prog < 0 || o->xsks < 0 || o->claims < 0 ? FAIL(o, -EIO, "XDP maps missing") : 0;
}

static int try_attach(struct opening *o, uint32_t flags)
{
	LIBBPF_OPTS(bpf_link_create_opts, opts, .flags = flags);
	int fd = bpf_link_create(o->prog, o->kif.ifindex, BPF_XDP, &opts);

	return fd < 0 ? -errno : fd;
}

/* Native where the driver can; its refusal is told only when generic is no choice either. */
static int attach(struct opening *o)
{
	enum xdp_attach how = o->conf->attach;
	int rc = -EINVAL;

	if (how != XDP_ATTACH_GENERIC)
		rc = try_attach(o, XDP_FLAGS_DRV_MODE);
	o->grant.native = rc >= 0;
	if (how == XDP_ATTACH_GENERIC || (how == XDP_ATTACH_AUTO && rc < 0 && rc != -EBUSY))
		rc = try_attach(o, XDP_FLAGS_SKB_MODE);
	if (rc == -EBUSY || rc == -EEXIST)
		return FAIL(o, rc, "'%s' has another XDP program "
			    "(bpftool net; ip link set %s xdp off)",
			    o->conf->ifname, o->conf->ifname);
	if (rc < 0)
		return FAIL(o, rc, "cannot attach an XDP program to '%s': %s%s", o->conf->ifname,
			    strerror(-rc), how == XDP_ATTACH_NATIVE ? " (attach=generic?)" : "");
	o->link = rc;
	return 0;
}

/* ---- queues ------------------------------------------------------------------------------ */

static int set_rings(int fd, void *umem, uint32_t chunk)
{
	struct xdp_umem_reg reg = { .addr = (uint64_t)(uintptr_t)umem,
				    .len = (uint64_t)2 * XSK_FRAMES * chunk, .chunk_size = chunk };
	static const int rings[] = { XDP_UMEM_FILL_RING, XDP_UMEM_COMPLETION_RING, XDP_RX_RING,
				     XDP_TX_RING };
	int size = XSK_FRAMES, snd = SNDBUF;

	setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &snd, sizeof(snd));
	if (setsockopt(fd, SOL_XDP, XDP_UMEM_REG, &reg, sizeof(reg)))
		return -errno;
	for (unsigned i = 0; i < sizeof(rings) / sizeof(rings[0]); i++)
		if (setsockopt(fd, SOL_XDP, rings[i], &size, sizeof(size)))
			return -errno;
	return 0;
}

static int bind_queue(struct opening *o, int fd, unsigned q)
{
	struct timespec pause = { .tv_nsec = 10000000 };
	struct sockaddr_xdp a = { .sxdp_family = AF_XDP, .sxdp_flags = XDP_USE_NEED_WAKEUP,
				  .sxdp_ifindex = (uint32_t)o->kif.ifindex, .sxdp_queue_id = q };
	struct xdp_options opt = { 0 };
	socklen_t len = sizeof(opt);

	for (int i = 0; bind(fd, (struct sockaddr *)&a, sizeof(a)); i++) {
		if (errno != EBUSY || i == BUSY_TRIES)
			return -errno;
		nanosleep(&pause, NULL);
	}
	if (!getsockopt(fd, SOL_XDP, XDP_OPTIONS, &opt, &len))
		o->grant.zero_copy = (opt.flags & XDP_OPTIONS_ZEROCOPY) != 0;
	return 0;
}

static int open_queue(struct opening *o, unsigned q)
{
	size_t len = XSK_MEM_SIZE(o->grant.chunk);
	int fd = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);
	int mem = memfd_create("stackd-umem", MFD_CLOEXEC), rc;
	uint8_t *m = MAP_FAILED;

	if (fd >= 0)
		o->fds[o->cnt++] = fd;
	if (mem >= 0)
		o->fds[o->cnt++] = mem;
	if (fd >= 0 && mem >= 0 && !ftruncate(mem, (off_t)len))
		m = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, mem, 0);
	if (m == MAP_FAILED)
		return -errno;
	rc = set_rings(fd, m + XSK_CTL_SIZE, o->grant.chunk);
	if (!rc)
		rc = bind_queue(o, fd, q);
	if (!rc && bpf_map_update_elem(o->xsks, &q, &fd, BPF_ANY))
		rc = -errno;
	return rc;			/* this process ends soon: the mapping with it */
}

static int open_queues(struct opening *o)
{
	for (unsigned q = 0; q < o->queues; q++) {
		int rc = open_queue(o, q);

		if (rc)
			return FAIL(o, rc, "cannot open AF_XDP on queue %u of '%s': %s", q,
				    o->conf->ifname, strerror(-rc));
	}
	return 0;
}

/* From here on the program redirects. */
static int go(struct opening *o)
{
	struct claims *c = mmap(NULL, sizeof(*c), PROT_READ | PROT_WRITE, MAP_SHARED, o->claims, 0);

	if (c == MAP_FAILED)
		return FAIL(o, -errno, "cannot map the table of claims: %s", strerror(errno));
	c->seed = o->grant.seed;
	c->shared = o->grant.shared;
	c->addr = o->conf->addr.w[3];
	munmap(c, sizeof(*c));
	o->fds[o->cnt++] = dup(o->claims);
	o->fds[o->cnt++] = o->link;
	o->link = -1;
	return 0;
}

int xdp_open(const struct xdp_conf *conf, struct nic_grant *g, int *ret_fds, char *err,
	     size_t errlen)
{
	struct opening o = { .conf = conf, .link = -1, .err = err, .errlen = errlen };
	int rc = kif_look(conf->ifname, &conf->addr, &o.kif, err, errlen);

	if (!rc)
		rc = settle(&o);
	if (!rc)
		rc = load(&o);
	if (!rc)
		rc = attach(&o);
	if (!rc)
		rc = open_queues(&o);
	if (!rc)
		rc = go(&o);
	if (o.obj)
		bpf_object__close(o.obj);
	if (o.link >= 0)
		close(o.link);
	if (rc) {
		while (o.cnt > 0)
			close(o.fds[--o.cnt]);
		return rc;
	}
	*g = (struct nic_grant){ .queues = (uint16_t)o.queues, .numa_node = -1, .fd_cnt = o.cnt,
				 .mtu = conf->mtu ? conf->mtu : o.kif.mtu };
	memcpy(g->name, conf->ifname, sizeof(g->name));
	memcpy(g->mac, o.kif.mac, 6);
	memcpy(g->extra, &o.grant, sizeof(o.grant));
	memcpy(ret_fds, o.fds, o.cnt * sizeof(o.fds[0]));
	return 0;
}
