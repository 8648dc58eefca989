/* SPDX-License-Identifier: MIT */
/* supervisor/device.c - open the device in a helper that does only that and ends
 * Netlink, BPF and ioctls on devices are long code that needs CAP_NET_ADMIN: it runs in a forked
 * child, which returns fds and a plain struct, or one line that says what is wrong. The child has
 * HELPER_LIMIT_S seconds.
 */
#include "stackd/nic/packet_open.h"
#include "stackd/nic/tap_open.h"
#include "stackd/nic/vfio/vfio_open.h"
#include "stackd/nic/xdp/xdp_open.h"
#include "stackd/supervisor/supervisor_int.h"

#include <errno.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define HELPER_LIMIT_S 10

struct helper_answer {
	int err;
	struct nic_grant grant;
	char text[NIC_ERR];
};

/* ---- kinds: each fills grant and fds, or says what is wrong ---- */

/* An interface of the kernel's, an fd per queue. */
static struct nic_grant kernel_grant(uint16_t queues, uint32_t mtu, const char name[16],
				     const uint8_t mac[6])
{
	struct nic_grant g = { .queues = queues, .mtu = mtu, .numa_node = -1, .fd_cnt = queues };

	memcpy(g.name, name, sizeof(g.name));
	memcpy(g.mac, mac, sizeof(g.mac));
	return g;
}

static int open_tap(const struct conf *conf, struct nic_grant *g, int *fds, char text[NIC_ERR])
{
	const struct conf_netdev *d = &conf->netdev;
	struct tap_conf want = {
		.queues = (uint16_t)conf->workers, .mtu = d->mtu, .has_peer = d->peer_plen != 0,
		.peer_plen = d->peer_plen, .peer = d->peer,
	};
	struct tap_result got;
	int r;

	memcpy(want.ifname, d->name, sizeof(want.ifname));
	memcpy(want.mac, d->mac, sizeof(want.mac));
	r = tap_open(&want, fds, &got, text, NIC_ERR);
	if (r)
		return r;
	*g = kernel_grant(want.queues, got.mtu, got.ifname, got.mac);
	return 0;
}

static int open_packet(const struct conf *conf, struct nic_grant *g, int *fds, char text[NIC_ERR])
{
	const struct conf_netdev *d = &conf->netdev;
	struct packet_conf want = {
		.queues = (uint16_t)conf->workers, .mtu = d->mtu, .addr = d->addr,
		.has_mac = d->has_mac, .own_mac = d->own_mac,
	};
	struct packet_result got;
	int r;

	memcpy(want.ifname, d->name, sizeof(want.ifname));
	memcpy(want.mac, d->mac, sizeof(want.mac));
	r = packet_open(&want, fds, &got, text, NIC_ERR);
	if (r)
		return r;
	*g = kernel_grant(want.queues, got.mtu, want.ifname, got.mac);
	g->fd_cnt += got.guarded;
	return 0;
}

static int open_xdp(const struct conf *conf, struct nic_grant *g, int *fds, char text[NIC_ERR])
{
	const struct conf_netdev *d = &conf->netdev;
	struct xdp_conf want = { .workers = (uint16_t)conf->workers, .mtu = d->mtu,
				 .addr = d->addr, .attach = (enum xdp_attach)d->attach };

	memcpy(want.ifname, d->name, sizeof(want.ifname));
	return xdp_open(&want, g, fds, text, NIC_ERR);
}

static int open_vfio(const struct conf *conf, struct nic_grant *g, int *fds, char text[NIC_ERR])
{
	const struct conf_netdev *d = &conf->netdev;
	struct vfio_conf want = { .queues = (uint16_t)conf->workers, .mtu = d->mtu };
	int r;

	memcpy(want.pci, d->pci, sizeof(want.pci));
	r = vfio_open(&want, g, fds, text);
	memcpy(g->name, d->name, sizeof(g->name));
	return r;
}

static const struct {
	const char *kind;
	int (*open)(const struct conf *conf, struct nic_grant *g, int *fds, char text[NIC_ERR]);
} kinds[] = {
	{ "tap", open_tap }, { "packet", open_packet }, { "xdp", open_xdp },
	{ "vfio", open_vfio },
};

/* ---- the kernel port: on any of them ---- */

static void close_all(const int *fds, uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++)
		close(fds[i]);
}

static int open_kport(const struct conf *conf, struct nic_grant *g, int *fds, char text[NIC_ERR])
{
	const struct conf_netdev *d = &conf->netdev;
	struct tap_conf want = {
		.queues = g->queues, .mtu = g->mtu, .has_peer = true, .peer = d->addr,
		.peer_plen = d->addr_plen, .kernel_port = true,
	};
	struct tap_result got;
	int r;

	memcpy(want.ifname, d->kport, sizeof(want.ifname));
	memcpy(want.mac, g->mac, sizeof(want.mac));
	if (g->fd_cnt + g->queues > NIC_GRANT_FDS)
		return -E2BIG;
	r = tap_open(&want, fds + g->fd_cnt, &got, text, NIC_ERR);
	if (r) {
		close_all(fds, g->fd_cnt);
		return r;
	}
	g->kport_queues = g->queues;
	g->fd_cnt += g->queues;
	kif_client_ports(&g->kport_lo, &g->kport_hi);
	r = d->has_gw ? tap_default_route(got.ifindex, &d->gw) : 0;
	if (!r || r == -EEXIST)
		return 0;
	close_all(fds, g->fd_cnt);
	snprintf(text, NIC_ERR, "kport=%s: no default route by it: %s", d->kport, strerror(-r));
	return r;
}

/* ---- the helper ---- */

_Noreturn static void helper(const struct conf *conf, int sock)
{
	struct helper_answer ans = { .err = -EINVAL };
	int fds[NIC_GRANT_FDS];

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	alarm(HELPER_LIMIT_S);
	for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (!strcmp(conf->netdev.kind, kinds[i].kind)) {
			ans.err = kinds[i].open(conf, &ans.grant, fds, ans.text);
			if (!ans.err && conf->netdev.kport[0])
				ans.err = open_kport(conf, &ans.grant, fds, ans.text);
			strcpy(ans.grant.kind, kinds[i].kind);
			ans.grant.ifindex = if_nametoindex(ans.grant.name);
		}
	}
	sup_send(sock, &ans, sizeof(ans), fds, ans.err ? 0 : ans.grant.fd_cnt, 0);
	_exit(0);
}

static int read_answer(const struct conf *conf, int sock, struct sup_dev *ret)
{
	struct pollfd p = { .fd = sock, .events = POLLIN };
	struct helper_answer ans;
	unsigned cnt;
	int n;

	if (poll(&p, 1, HELPER_LIMIT_S * 1000) <= 0) {
		sup_log("--netdev %s: the device did not open within %d s",
			conf->netdev.name, HELPER_LIMIT_S);
		return -ETIMEDOUT;
	}
	n = sup_recv(sock, &ans, sizeof(ans), ret->fds, NIC_GRANT_FDS, &cnt, 0);
	if (n != sizeof(ans)) {
		sup_log("--netdev %s: the helper that opens it died", conf->netdev.name);
		return -EIO;
	}
	if (ans.err || cnt != ans.grant.fd_cnt) {
		ans.text[sizeof(ans.text) - 1] = '\0';
		sup_log("--netdev %s: %s", conf->netdev.name,
			*ans.text ? ans.text : strerror(-ans.err));
		sup_close_fds(ret->fds, cnt);
		return ans.err ? ans.err : -EIO;
	}
	ret->grant = ans.grant;
	return 0;
}

int device_open(const struct conf *conf, struct sup_dev *ret)
{
	int sv[2], r;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv))
		return -errno;
	fflush(stderr);
	pid = fork();
	if (pid == 0) {
		close(sv[0]);
		helper(conf, sv[1]);
	}
	close(sv[1]);
	if (pid < 0) {
		r = -errno;
		close(sv[0]);
		return r;
	}
	r = read_answer(conf, sv[0], ret);
	close(sv[0]);
	kill(pid, SIGKILL);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	return r;
}
