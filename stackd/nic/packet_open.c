/* SPDX-License-Identifier: MIT */
/* nic/packet_open.c - open packet sockets on an interface of the kernel's
 *
 * Order: look at the interface -> guard -> per queue: socket bound to nothing, options, bind,
 * fan-out group -> membership for a MAC of our own. A socket hears from bind() on and shares the
 * frames only from the join on, so what came in between is thrown away.
 * The kernel goes on seeing every frame. With a MAC of our own it takes them for somebody else's;
 * the guard keeps frames to stackd's address from it in any case, so that it neither resets our
 * connections nor answers ARP twice, whether or not it has the address, too.
 * Spec:    packet(7); Linux: PACKET_FANOUT_EBPF hands the program a frame at its IP header
 * Threads: device helper
 */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "stackd/nic/bpf_int.h"
#include "stackd/nic/packet_open.h"
#include "stackd/nic/steer_int.h"

#define RCVBUF		(32 << 20)	/* some hundred 64 KiB frames, as truesize counts */
#define SNDBUF		(8 << 20)

/* Newer than Debian 12's headers. */
#define FANOUT_IGNORE_OUTGOING	0x4000
#define TCX_INGRESS	46u		/* enum bpf_attach_type */
#define TCX_NEXT	(-1)
#define TCX_DROP	2

/* ---- the guard --------------------------------------------------------------------------- */

static int guard_load(const struct sd_addr *addr)
{
	const uint32_t a = __builtin_bswap32(addr->w[3]);
	const struct bpf_insn prog[] = {
		/*  0 */ MOV64(6, 1),
		/*  1 */ MOVI(7, 30),			/* IPv4: destination */
		/*  2 */ LOAD(BPF_H, 12),		/* EtherType */
		/*  3 */ JEQ(0, ETH_P_IP, 2),		/* to 6 */
		/*  4 */ MOVI(7, 38),			/* ARP: target address */
		/*  5 */ JNE(0, ETH_P_ARP, 2),		/* to 8 */
		/*  6 */ LOADX(BPF_W, 7, 0),
		/*  7 */ JEQ(0, a, 2),			/* to 10 */
		/*  8 */ MOVI(0, TCX_NEXT),
		/*  9 */ EXIT(),
		/* 10 */ MOVI(0, TCX_DROP),
		/* 11 */ EXIT(),
	};
	LIBBPF_OPTS(bpf_prog_load_opts, opts);
	int fd = bpf_prog_load(BPF_PROG_TYPE_SCHED_CLS, "stackd_guard", "Dual MIT/GPL", prog,
			       sizeof(prog) / sizeof(prog[0]), &opts);

	return fd < 0 ? -errno : fd;
}

int packet_guard(int ifindex, const struct sd_addr *addr)
{
	struct {			/* union bpf_attr of BPF_LINK_CREATE, its start */
		uint32_t prog_fd, ifindex, attach_type, flags;
		uint64_t rest[4];
	} attr = { .ifindex = (uint32_t)ifindex, .attach_type = TCX_INGRESS };
	int prog, link;

	if (!sd_addr_is_v4(addr))
		return -EAFNOSUPPORT;
	prog = guard_load(addr);
	if (prog < 0)
		return prog;
	attr.prog_fd = (uint32_t)prog;
	link = (int)syscall(SYS_bpf, BPF_LINK_CREATE, &attr, sizeof(attr));
	if (link < 0)
		link = -errno;
	close(prog);			/* the link holds it */
	return link;
}

static int guard(const struct packet_conf *c, struct packet_result *r, int *ret_fd, char *err,
		 size_t errlen)
{
	char text[INET_ADDRSTRLEN];
	int fd = packet_guard(r->kif.ifindex, &c->addr);

	r->guarded = fd >= 0;
	*ret_fd = fd;
	if (fd >= 0 || !r->kif.has_addr)
		return 0;
	inet_ntop(AF_INET, &c->addr.w[3], text, sizeof(text));
	return kif_fail(err, errlen, -EADDRINUSE, "%s is an address of the kernel's, which would "
			"reset stackd's connections: remove it there (ip addr del), or use Linux "
			"6.6 or newer (%s)", text, strerror(-fd));
}

/* ---- queues ------------------------------------------------------------------------------ */

static int on(int fd, int opt)
{
	int one = 1;

	return setsockopt(fd, SOL_PACKET, opt, &one, sizeof(one));
}

/* Beyond the limits of net.core: we are root. */
static void set_buffers(int fd)
{
	int rcv = RCVBUF, snd = SNDBUF;

	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &rcv, sizeof(rcv)))
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &rcv, sizeof(rcv));
	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &snd, sizeof(snd)))
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &snd, sizeof(snd));
}

/* @group: number of the fan-out group, 0 = make one and say which. */
static int join(int fd, uint16_t *group)
{
	struct {
		uint16_t id, type_flags;
		uint32_t max_num_members;
	} arg = { *group, PACKET_FANOUT_EBPF | FANOUT_IGNORE_OUTGOING |
			  (*group ? 0 : PACKET_FANOUT_FLAG_UNIQUEID), 0 };
	socklen_t len = sizeof(uint32_t);
	uint32_t got = 0;

	if (setsockopt(fd, SOL_PACKET, PACKET_FANOUT, &arg, sizeof(uint32_t)))
		return -errno;
	if (getsockopt(fd, SOL_PACKET, PACKET_FANOUT, &got, &len))
		return -errno;
	*group = (uint16_t)got;
	return 0;
}

static void throw_away(int fd)
{
	char byte;

	while (recv(fd, &byte, 1, MSG_DONTWAIT | MSG_TRUNC) >= 0)
		;
}

static int open_queue(const struct kif *k, bool fanout, uint16_t *group, int *ret_fd)
{
	struct sockaddr_ll sll = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL),
				   .sll_ifindex = k->ifindex };
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), rc = 0;

	if (fd < 0)
		return -errno;
	set_buffers(fd);
	if (on(fd, PACKET_VNET_HDR) || on(fd, PACKET_AUXDATA) || on(fd, PACKET_IGNORE_OUTGOING) ||
	    bind(fd, (struct sockaddr *)&sll, sizeof(sll)))
		rc = -errno;
	if (!rc && fanout) {
		rc = join(fd, group);
		throw_away(fd);
	}
	if (rc)
		close(fd);
	else
		*ret_fd = fd;
	return rc;
}

/* One program for the group: every queue's number is the order of joining. */
static bool steer(int fd, uint16_t queues)
{
	int prog, rc;

	if (queues == 1)
		return true;
	prog = steer_bpf_load(queues, true);
	if (prog < 0)
		return false;
	rc = setsockopt(fd, SOL_PACKET, PACKET_FANOUT_DATA, &prog, sizeof(prog));
	close(prog);			/* the group holds it */
	return rc == 0;
}

/* The interface lets frames for a MAC of ours in. */
static int add_mac(int fd, const struct packet_result *r)
{
	struct packet_mreq m = { .mr_ifindex = r->kif.ifindex, .mr_type = PACKET_MR_UNICAST,
				 .mr_alen = 6 };

	if (!memcmp(r->mac, r->kif.mac, 6))
		return 0;
	memcpy(m.mr_address, r->mac, 6);
	if (!setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &m, sizeof(m)))
		return 0;
	m.mr_type = PACKET_MR_PROMISC;
	return setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &m, sizeof(m)) ? -errno : 0;
}

static int settle(const struct packet_conf *c, struct packet_result *r, char *err, size_t errlen)
{
	if (c->queues == 0 || c->queues > PACKET_QUEUES_MAX)
		return kif_fail(err, errlen, -EINVAL, "%u queues; possible are 1 to %d", c->queues,
				PACKET_QUEUES_MAX);
	if (c->mtu > r->kif.mtu)
		return kif_fail(err, errlen, -EINVAL, "mtu=%u is more than the %u of '%s' "
				"(ip link set %s mtu %u)", c->mtu, r->kif.mtu, c->ifname,
				c->ifname, c->mtu);
	r->mtu = c->mtu ? c->mtu : r->kif.mtu;
	memcpy(r->mac, c->has_mac ? c->mac : r->kif.mac, 6);
	return c->own_mac && !c->has_mac ? kif_random_mac(r->mac) : 0;
}

int packet_open(const struct packet_conf *c, int *ret_fds, struct packet_result *ret, char *err,
		size_t errlen)
{
	struct packet_result r = { 0 };
	int fds[PACKET_QUEUES_MAX] = { 0 }, guard_fd = -1;
	uint16_t group = 0;
	unsigned cnt = 0;
	int rc = kif_look(c->ifname, &c->addr, &r.kif, err, errlen);

	if (!rc)
		rc = settle(c, &r, err, errlen);
	if (!rc)
		rc = guard(c, &r, &guard_fd, err, errlen);
	if (rc)
		return rc;
	while (!rc && cnt < c->queues) {
		rc = open_queue(&r.kif, c->queues > 1, &group, &fds[cnt]);
		cnt += rc == 0;
	}
	if (!rc)
		rc = add_mac(fds[0], &r);
	if (rc) {
		kif_fail(err, errlen, rc, "cannot open a packet socket on '%s': %s", c->ifname,
			 strerror(-rc));
		while (cnt > 0)
			close(fds[--cnt]);
		if (guard_fd >= 0)
			close(guard_fd);
		return rc;
	}
	r.steered = steer(fds[0], c->queues);
	memcpy(ret_fds, fds, cnt * sizeof(fds[0]));
	if (r.guarded)
		ret_fds[cnt] = guard_fd;
	*ret = r;
	return 0;
}
