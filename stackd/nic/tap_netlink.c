/* SPDX-License-Identifier: MIT */
/* nic/tap_netlink.c - the kernel's end of a TAP: MTU, up, address, by rtnetlink
 * Runs in the device helper, in the network namespace of the device.
 */
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/socket.h>

#include "stackd/nic/tap_open.h"

/* Frames that wait for the engine. What does not fit is lost, unlike on a veth pair, and the engine
 * may be off its core for some milliseconds, or being replaced: room for one request on each of
 * 20,000 connections at once. A frame takes 8 bytes of the queue. */
#define QUEUE_FRAMES	32768u

/* Send one request and wait for the kernel's verdict. */
static int request(struct nlmsghdr *nlh)
{
	char buf[8192];
	struct mnl_socket *nl;
	ssize_t n;
	int rc;

	nl = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
	if (!nl)
		return -errno;
	rc = mnl_socket_bind(nl, 0, MNL_SOCKET_AUTOPID);
	if (rc >= 0)
		rc = (int)mnl_socket_sendto(nl, nlh, nlh->nlmsg_len);
	if (rc >= 0) {
		n = mnl_socket_recvfrom(nl, buf, sizeof(buf));
		rc = n < 0 ? -1 : mnl_cb_run(buf, (size_t)n, nlh->nlmsg_seq,
					     mnl_socket_get_portid(nl), NULL, NULL);
	}
	rc = rc < 0 ? -errno : 0;
	mnl_socket_close(nl);
	return rc;
}

static struct nlmsghdr *begin(char *buf, uint16_t type, uint16_t flags)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);

	nlh->nlmsg_type = type;
	nlh->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | flags;
	nlh->nlmsg_seq = 1;
	return nlh;
}

int tap_link_up(int ifindex, uint32_t mtu)
{
	char buf[512];
	struct nlmsghdr *nlh = begin(buf, RTM_NEWLINK, 0);
	struct ifinfomsg *ifi = mnl_nlmsg_put_extra_header(nlh, sizeof(*ifi));

	ifi->ifi_index = ifindex;
	ifi->ifi_flags = IFF_UP;
	ifi->ifi_change = IFF_UP;
	mnl_attr_put_u32(nlh, IFLA_MTU, mtu);
	mnl_attr_put_u32(nlh, IFLA_TXQLEN, QUEUE_FRAMES);
	return request(nlh);
}

int tap_addr_add(int ifindex, const struct sd_addr *addr, uint8_t plen)
{
	char buf[512];
	struct nlmsghdr *nlh = begin(buf, RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE);
	struct ifaddrmsg *ifa = mnl_nlmsg_put_extra_header(nlh, sizeof(*ifa));
	bool v4 = sd_addr_is_v4(addr);

	if (plen > 128 || (v4 && plen < 96))
		return -EINVAL;
	ifa->ifa_family = v4 ? AF_INET : AF_INET6;
	ifa->ifa_prefixlen = v4 ? plen - 96 : plen;
	ifa->ifa_index = (uint32_t)ifindex;
	mnl_attr_put(nlh, IFA_LOCAL, v4 ? 4 : 16, v4 ? (const void *)&addr->w[3] : addr);
	mnl_attr_put(nlh, IFA_ADDRESS, v4 ? 4 : 16, v4 ? (const void *)&addr->w[3] : addr);
	return request(nlh);
}

int tap_default_route(int ifindex, const struct sd_addr *gw)
{
	char buf[512];
	struct nlmsghdr *nlh = begin(buf, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL);
	struct rtmsg *rt = mnl_nlmsg_put_extra_header(nlh, sizeof(*rt));

	if (!sd_addr_is_v4(gw))
		return -EAFNOSUPPORT;
	rt->rtm_family = AF_INET;
	rt->rtm_table = RT_TABLE_MAIN;
	rt->rtm_protocol = RTPROT_STATIC;
	rt->rtm_scope = RT_SCOPE_UNIVERSE;
	rt->rtm_type = RTN_UNICAST;
	mnl_attr_put_u32(nlh, RTA_OIF, (uint32_t)ifindex);
	mnl_attr_put_u32(nlh, RTA_GATEWAY, gw->w[3]);
	return request(nlh);
}
