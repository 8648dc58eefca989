/* SPDX-License-Identifier: MIT */
/* tests/apps/progs/sockdiff.h - sockdiff.c: a run's state, what is said of answers, addresses */
#ifndef SOCKDIFF_H
#define SOCKDIFF_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define SOCKS		6
#define STEPS		14
#define PORTS		4		/* of each sequence */
#define PORT_FIRST	2000u
#define SEQ_MAX		7000u		/* below ip_local_port_range */
#define PEER_PORT	7
#define TIMEO_US	20000		/* blocking calls */
#define SEEN_MAX	32
#define LINE_MAX_	2048

union sa {
	struct sockaddr sa;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
};

struct run {
	uint64_t rng;
	uint64_t seed;
	uint16_t base, low;		/* first port of the sequence; a privileged one */
	int fd[SOCKS];
	int family[SOCKS], type[SOCKS];
	uint8_t side[SOCKS];		/* SIDE_*: whose addresses the socket has named */
	uint16_t seen[SEEN_MAX];
	unsigned seen_cnt;
	unsigned settle_us, turn;
	int helper;			/* asking it about TCP_INFO lets stackd's workers turn */
	struct in_addr own, peer;
	char line[LINE_MAX_];
	size_t len;
};

static uint32_t rnd(struct run *r, uint32_t below)
{
	uint64_t z = r->rng += 0x9e3779b97f4a7c15ull;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return (uint32_t)((z ^ z >> 31) >> 33) % below;
}

__attribute__((format(printf, 2, 3)))
static void say(struct run *r, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(r->line + r->len, sizeof(r->line) - r->len, fmt, ap);
	va_end(ap);
	r->len += n < 0 ? 0 : (size_t)n;
	if (r->len >= sizeof(r->line))
		r->len = sizeof(r->line) - 1;
}

static void say_result(struct run *r, long v)
{
	if (v < 0)
		say(r, " = %s", strerrorname_np(errno));
	else
		say(r, " = %ld", v);
}

/* ---- addresses ---- */

static const char *port_name(struct run *r, uint16_t port, char *buf)
{
	unsigned i;

	if (port >= r->base && port < r->base + PORTS) {
		sprintf(buf, "p%u", port - r->base);
	} else if (port == r->low) {
		strcpy(buf, "low");
	} else if (!port || port == PEER_PORT || port == PEER_PORT + 2) {
		sprintf(buf, "%u", port);
	} else {
		for (i = 0; i < r->seen_cnt && r->seen[i] != port; i++)
			;
		if (i == r->seen_cnt && i < SEEN_MAX)
			r->seen[r->seen_cnt++] = port;
		sprintf(buf, "e%u", i);
	}
	return buf;
}

static void say_addr(struct run *r, const union sa *u, socklen_t len)
{
	char a[INET6_ADDRSTRLEN] = "?", own[INET_ADDRSTRLEN], port[16], *at;

	if (len < sizeof(u->in)) {
		say(r, " len%u", len);
		return;
	}
	if (u->sa.sa_family == AF_INET6)
		inet_ntop(AF_INET6, &u->in6.sin6_addr, a, sizeof(a));
	else
		inet_ntop(AF_INET, &u->in.sin_addr, a, sizeof(a));
	inet_ntop(AF_INET, &r->own, own, sizeof(own));
	at = strstr(a, own);
	if (at && !at[strlen(own)])
		strcpy(at, "own");
	say(r, " %s/%s", a, port_name(r, ntohs(u->sa.sa_family == AF_INET6 ? u->in6.sin6_port :
					       u->in.sin_port), port));
}

enum { SIDE_NONE, SIDE_LO, SIDE_OWN };
enum where { ANY, LO, OWN, PEER, NOWHERE, BCAST, MCAST };

static struct in_addr v4_of(struct run *r, enum where w)
{
	struct in_addr a = { 0 };

	switch (w) {
	case ANY: break;
	case LO: a.s_addr = htonl(INADDR_LOOPBACK); break;
	case OWN: a = r->own; break;
	case PEER: a = r->peer; break;
	case NOWHERE: a.s_addr = inet_addr("198.51.100.7"); break;
	case BCAST: a.s_addr = r->own.s_addr | htonl(0xff); break;
	case MCAST: a.s_addr = inet_addr("224.0.0.77"); break;
	}
	return a;
}

/* An address of @family; @mapped: of an IPv6 socket, as ::ffff:a.b.c.d. */
static socklen_t make_addr(struct run *r, union sa *u, int family, enum where w, uint16_t port,
			   bool mapped)
{
	struct in_addr a = v4_of(r, w);

	*u = (union sa){ .sa.sa_family = (sa_family_t)family };
	if (family == AF_INET) {
		u->in.sin_port = htons(port);
		u->in.sin_addr = a;
		return sizeof(u->in);
	}
	u->in6.sin6_port = htons(port);
	if (mapped || (w != ANY && w != LO)) {
		u->in6.sin6_addr.s6_addr[10] = u->in6.sin6_addr.s6_addr[11] = 0xff;
		memcpy(&u->in6.sin6_addr.s6_addr[12], &a, 4);
	} else if (w == LO) {
		u->in6.sin6_addr = in6addr_loopback;
	}
	return sizeof(u->in6);
}

/* @w, or where it has to be for socket @i. @connects: the wildcard then means the loopback. */
static enum where keep_side(struct run *r, unsigned i, enum where w, bool connects)
{
	uint8_t side = w == OWN || w == PEER || w == BCAST ? SIDE_OWN :
		       w == LO || (w == ANY && connects) ? SIDE_LO : SIDE_NONE;

	if (w == ANY && !connects && r->side[i] == SIDE_LO)
		return LO;	/* the kernel knows nothing of stackd's ports */
	if (!side || !r->side[i])
		r->side[i] |= side;
	else if (r->side[i] != side)
		return side == SIDE_OWN ? LO : OWN;
	return w;
}

static uint16_t pick_port(struct run *r)
{
	static const uint8_t which[] = { 0, 0, 0, 1, 1, 2, 3 };

	return (uint16_t)(r->base + which[rnd(r, sizeof(which))]);
}

static socklen_t bind_addr(struct run *r, union sa *u, unsigned i)
{
	static const uint8_t where[] = { ANY, ANY, ANY, OWN, OWN, OWN, OWN, LO, NOWHERE, NOWHERE };
	enum where w = where[rnd(r, sizeof(where))];
	uint32_t p = rnd(r, 10);
	uint16_t port = pick_port(r);

	return make_addr(r, u, r->family[i], keep_side(r, i, w, false),
			 p < 2 ? 0 : p < 3 ? r->low : port, rnd(r, 3) == 0);
}

static socklen_t peer_addr(struct run *r, union sa *u, unsigned i)
{
	static const uint8_t where[] = { OWN, OWN, OWN, OWN, OWN, OWN, OWN, OWN, ANY, LO, PEER,
					 PEER, NOWHERE, BCAST, MCAST };
	enum where w = where[rnd(r, sizeof(where))];
	uint32_t p = rnd(r, 12);
	uint16_t port = pick_port(r);

	if (w == PEER)
		port = p < 8 ? PEER_PORT : PEER_PORT + 2;
	if (p == 11 && r->type[i] == SOCK_STREAM)
		port = 0;
	return make_addr(r, u, r->family[i], keep_side(r, i, w, true), port,
			 rnd(r, 6) != 0);
}

#endif
