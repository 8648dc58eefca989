/* SPDX-License-Identifier: MIT */
/* bench/micro/tap.c - the floor of a TCP round trip through a TAP
 * A kernel client on the last CPU sends 14 bytes, spins until they are back, and so on. On the
 * first CPU a thread spins on the TAP and makes each data segment into its own answer: no stack, no
 * program, nobody sleeps. What stackd takes beyond that is its own. Runs in a network namespace of
 * its own, as root. Prints JSON, nanoseconds per round trip, the median of rounds.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "stackd/atomic.h"
#include "stackd/core/clock.h"

#define ROUNDS	31
#define TRIPS	500
#define PORT	7
#define MINE	"198.51.100.1"
#define PEER	"198.51.100.2"

struct frame {
	struct virtio_net_hdr vnet;
	struct ether_header eth;
	struct iphdr ip;
	struct tcphdr tcp;
	uint8_t rest[2048];
} __attribute__((packed));

static uint32_t over;

static void need(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "micro-tap: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void pin(long cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET((unsigned)cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

static struct sockaddr *addr(struct sockaddr *sa, const char *text)
{
	struct sockaddr_in *in = (struct sockaddr_in *)(void *)sa;

	*in = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(PORT) };
	inet_pton(AF_INET, text, &in->sin_addr);
	return sa;
}

/* A TAP that is up, with an address for the kernel and a peer that needs no ARP. */
static int open_tap(void)
{
	struct ifreq ifr = { .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR };
	struct arpreq arp = { .arp_flags = ATF_PERM | ATF_COM, .arp_dev = "floor0",
			      .arp_ha = { ARPHRD_ETHER, { 2, 0, 0, 0, 0, 1 } } };
	int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK), s = socket(AF_INET, SOCK_DGRAM, 0);

	strcpy(ifr.ifr_name, "floor0");
	need(fd >= 0 && s >= 0 && !ioctl(fd, TUNSETIFF, &ifr), "TAP");
	addr(&ifr.ifr_addr, MINE);
	need(!ioctl(s, SIOCSIFADDR, &ifr), "address");
	addr(&ifr.ifr_netmask, "255.255.255.0");
	need(!ioctl(s, SIOCSIFNETMASK, &ifr), "netmask");
	ifr.ifr_flags = IFF_UP;
	need(!ioctl(s, SIOCSIFFLAGS, &ifr), "up");
	addr(&arp.arp_pa, PEER);
	need(!ioctl(s, SIOCSARP, &arp), "neighbour");
	close(s);
	return fd;
}

static uint16_t ip_sum(struct iphdr ip)
{
	uint16_t w[sizeof(ip) / 2];
	uint32_t sum = 0;

	ip.check = 0;
	memcpy(w, &ip, sizeof(w));
	for (unsigned i = 0; i < sizeof(w) / sizeof(w[0]); i++)
		sum += w[i];
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~(sum + (sum >> 16));
}

/* Make @f, of @n bytes, its own answer. Return: bytes to send, 0 = none. */
static ssize_t turn(struct frame *f, ssize_t n)
{
	uint32_t head, len, seq;
	uint8_t mac[6];

	if (n < (ssize_t)offsetof(struct frame, rest) || f->eth.ether_type != htons(ETHERTYPE_IP) ||
	    f->ip.protocol != IPPROTO_TCP ||
	    ntohs(f->ip.tot_len) < f->ip.ihl * 4u + f->tcp.doff * 4u)
		return 0;
	head = f->tcp.doff * 4u;
	len = ntohs(f->ip.tot_len) - f->ip.ihl * 4u - head;
	if (f->tcp.rst || f->tcp.fin || (!len && !f->tcp.syn))
		return 0;
	memcpy(mac, f->eth.ether_shost, 6);
	memcpy(f->eth.ether_shost, f->eth.ether_dhost, 6);
	memcpy(f->eth.ether_dhost, mac, 6);
	f->ip.daddr = f->ip.saddr;
	inet_pton(AF_INET, PEER, mac);
	memcpy(&f->ip.saddr, mac, 4);
	seq = ntohl(f->tcp.seq) + len + f->tcp.syn;
	f->tcp.seq = f->tcp.syn ? htonl(1000) : f->tcp.ack_seq;
	f->tcp.ack_seq = htonl(seq);
	f->tcp.dest = f->tcp.source;
	f->tcp.source = htons(PORT);
	f->tcp.ack = 1;
	f->tcp.window = htons(0xffff);
	memmove(f->rest, (uint8_t *)f + offsetof(struct frame, tcp) + head, len);
	f->tcp.doff = 5;
	f->ip.tot_len = htons((uint16_t)(sizeof(f->ip) + sizeof(f->tcp) + len));
	f->ip.check = ip_sum(f->ip);
	/* "To be finished by the hardware": nobody looks at it. */
	f->vnet = (struct virtio_net_hdr){
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_offset = offsetof(struct tcphdr, check),
		.csum_start = offsetof(struct frame, tcp) - offsetof(struct frame, eth),
	};
	return (ssize_t)(offsetof(struct frame, rest) + len);
}

static void *echo(void *arg)
{
	int fd = *(int *)arg;
	struct frame f;
	ssize_t n;

	pin(0);
	while (!ld_acq(&over)) {
		n = read(fd, &f, sizeof(f));
		n = n > 0 ? turn(&f, n) : 0;
		if (n)
			need(write(fd, &f, (size_t)n) == n, "write");
	}
	return NULL;
}

static void trip(int s)
{
	char buf[14] = "fourteen bytes";
	ssize_t n;

	need(send(s, buf, sizeof(buf), 0) == sizeof(buf), "send");
	for (size_t got = 0; got < sizeof(buf); got += n > 0 ? (size_t)n : 0) {
		n = recv(s, buf, sizeof(buf), MSG_DONTWAIT);
		need(n > 0 || errno == EAGAIN, "recv");
	}
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

int main(void)
{
	struct sockaddr sa;
	double v[ROUNDS];
	int fd, s, one = 1;
	pthread_t th;

	need(!unshare(CLONE_NEWNET), "network namespace");
	fd = open_tap();
	need(!pthread_create(&th, NULL, echo, &fd), "thread");
	pin(sysconf(_SC_NPROCESSORS_ONLN) - 1);
	s = socket(AF_INET, SOCK_STREAM, 0);
	setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	alarm(20);
	need(!connect(s, addr(&sa, PEER), sizeof(sa)), "connect");
	for (unsigned i = 0; i < ROUNDS; i++) {
		uint64_t from = clock_mono_ns();

		for (unsigned n = 0; n < TRIPS; n++)
			trip(s);
		v[i] = (double)(clock_mono_ns() - from) / TRIPS;
	}
	st_rel(&over, 1);
	pthread_join(th, NULL);
	qsort(v, ROUNDS, sizeof(v[0]), by_value);
	printf("{\"tap_tcp_echo\": %.0f}\n", v[ROUNDS / 2]);
	return 0;
}
