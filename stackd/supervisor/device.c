/* SPDX-License-Identifier: MIT */
/* supervisor/device.c - open the device in a helper that does only that and ends
 * Netlink, BPF and ioctls on devices are long code that needs CAP_NET_ADMIN: it runs in a forked
 * child, which returns fds and a plain struct, or one line that says what is wrong. The child has
 * HELPER_LIMIT_S seconds.
 */
#include "stackd/supervisor/supervisor_int.h"

#include <errno.h>
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
	struct tap_result tap;
	char text[CONF_ERR];
};

static void tap_wanted(const struct conf *conf, struct tap_conf *ret)
{
	const struct conf_netdev *d = &conf->netdev;

	*ret = (struct tap_conf){
		.queues = (uint16_t)conf->workers, .mtu = d->mtu, .has_peer = d->peer_plen != 0,
		.peer_plen = d->peer_plen, .peer = d->peer,
	};
	memcpy(ret->ifname, d->name, sizeof(ret->ifname));
	memcpy(ret->mac, d->mac, sizeof(ret->mac));
}

_Noreturn static void helper(const struct conf *conf, int sock)
{
	struct helper_answer ans = { 0 };
	struct tap_conf want;
	int fds[SD_MAX_WORKERS];

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	alarm(HELPER_LIMIT_S);
	tap_wanted(conf, &want);
	ans.err = tap_open(&want, fds, &ans.tap, ans.text, sizeof(ans.text));
	sup_send(sock, &ans, sizeof(ans), fds, ans.err ? 0 : want.queues, 0);
	_exit(0);
}

static int read_answer(const struct conf *conf, int sock, struct sup_dev *ret)
{
	struct pollfd p = { .fd = sock, .events = POLLIN };
	struct helper_answer ans;
	int n;

	if (poll(&p, 1, HELPER_LIMIT_S * 1000) <= 0) {
		sup_log("--netdev %s: the device did not open within %d s",
			conf->netdev.name, HELPER_LIMIT_S);
		return -ETIMEDOUT;
	}
	n = sup_recv(sock, &ans, sizeof(ans), ret->fds, SD_MAX_WORKERS, &ret->cnt, 0);
	if (n != sizeof(ans)) {
		sup_log("--netdev %s: the helper that opens it died", conf->netdev.name);
		return -EIO;
	}
	if (ans.err || ret->cnt != conf->workers) {
		ans.text[sizeof(ans.text) - 1] = '\0';
		sup_log("--netdev %s: %s", conf->netdev.name,
			*ans.text ? ans.text : strerror(-ans.err));
		sup_close_fds(ret->fds, ret->cnt);
		return ans.err ? ans.err : -EIO;
	}
	ret->tap = ans.tap;
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
