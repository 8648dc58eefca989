/* SPDX-License-Identifier: MIT */
/* tests/apps/progs/sockdiff.c - generated sequences of socket calls, one line of answers per step
 *
 *   sockdiff [-s SETTLE_US] [-p TURN] [-u UID] OWN PEER SEED COUNT
 *
 * The same seed makes the same calls wherever the program runs: choices depend on the seed alone,
 * never on an answer. Run on the kernel and on stackd, the output is to be equal line by line.
 * OWN is an address of this host (in stackd's hands under stackrun), PEER a host beside it that
 * listens on port 7 and on nothing else. Each sequence has ports of its own, so that what it leaves
 * in TIME_WAIT disturbs no other; TURN moves them all, for a second run of the same calls. Ports
 * that were not asked for are named e0, e1 ... in the order in which they are seen.
 * 127.0.0.1 and OWN are two hosts to a program on stackd (docs/COMPLIANCE.md): a socket that has
 * named one of them names the other no more.
 * After each step come what poll() says of every socket, and of the one that was touched its two
 * names and its TCP state.
 */
#include "tests/apps/progs/sockdiff.h"

/* ---- operations ---- */

struct step {
	unsigned i, j;			/* sockets */
	int op;
	union sa u;
	socklen_t len;
	int arg[4];
};

static void put_fd(struct run *r, unsigned i, int fd, int family, int type)
{
	if (r->fd[i] >= 0)
		close(r->fd[i]);
	r->fd[i] = fd;
	r->family[i] = family;
	r->type[i] = type;
	r->side[i] = SIDE_NONE;
}

static void limit_blocking(int fd)
{
	struct timeval tv = { 0, TIMEO_US };

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
}

static void new_socket(struct run *r, unsigned i, int family, int type)
{
	int fd = socket(family, type, 0);

	say(r, "socket %s", family == AF_INET6 ? "6" : "4");
	say(r, type & SOCK_NONBLOCK ? "n" : "b");
	say(r, (type & ~SOCK_NONBLOCK) == SOCK_STREAM ? " tcp" : " udp");
	if (fd >= 0)
		limit_blocking(fd);
	put_fd(r, i, fd, family, type & ~SOCK_NONBLOCK);
}

static void do_socket(struct run *r, const struct step *s)
{
	new_socket(r, s->i, s->arg[0] % 3 ? AF_INET : AF_INET6,
		   (s->arg[1] % 3 ? SOCK_STREAM : SOCK_DGRAM) |
		   (s->arg[2] % 3 ? SOCK_NONBLOCK : 0));
}

static void do_bind(struct run *r, const struct step *s)
{
	say(r, "bind");
	say_addr(r, &s->u, s->len);
	say_result(r, bind(r->fd[s->i], &s->u.sa, s->len));
}

static void do_listen(struct run *r, const struct step *s)
{
	static const int backlog[] = { 5, 5, 128, 1, 0, -1 };
	int b = backlog[s->arg[0] % 6];

	say(r, "listen %d", b);
	say_result(r, listen(r->fd[s->i], b));
}

static void do_connect(struct run *r, const struct step *s)
{
	say(r, "connect");
	say_addr(r, &s->u, s->len);
	say_result(r, connect(r->fd[s->i], &s->u.sa, s->len));
}

static bool same_side(struct run *r, unsigned i, const union sa *u)
{
	struct in_addr a = u->in.sin_addr;
	enum where w = OWN;

	if (u->sa.sa_family == AF_INET6) {
		memcpy(&a, &u->in6.sin6_addr.s6_addr[12], 4);
		if (!IN6_IS_ADDR_V4MAPPED(&u->in6.sin6_addr))
			a.s_addr = htonl(INADDR_LOOPBACK);
	}
	if (!a.s_addr || a.s_addr == htonl(INADDR_LOOPBACK))
		w = LO;
	return keep_side(r, i, w, true) == w;
}

/* To what the other socket is bound to. */
static void do_connect_to(struct run *r, const struct step *s)
{
	union sa u;
	socklen_t len = sizeof(u);

	say(r, "connect to %u", s->j);
	if (getsockname(r->fd[s->j], &u.sa, &len) < 0 || u.sa.sa_family != r->family[s->i]) {
		say(r, " -");
		return;
	}
	if (u.sa.sa_family == AF_INET && !u.in.sin_addr.s_addr && s->arg[0] % 4)
		u.in.sin_addr = r->own;
	if (!same_side(r, s->i, &u) || (r->type[s->i] == SOCK_DGRAM && !u.in.sin_port)) {
		say(r, " -");
		return;
	}
	say_addr(r, &u, len);
	say_result(r, connect(r->fd[s->i], &u.sa, len));
}

static void do_unspec(struct run *r, const struct step *s)
{
	struct sockaddr sa = { .sa_family = AF_UNSPEC };

	say(r, "connect unspec");
	say_result(r, connect(r->fd[s->i], &sa, s->arg[0] % 5 ? sizeof(sa) : 2));
}

static void do_accept(struct run *r, const struct step *s)
{
	union sa u = { 0 };
	socklen_t len = sizeof(u);
	int fl = s->arg[0] % 2 ? SOCK_NONBLOCK : 0, fd;

	say(r, "accept to %u", s->j);
	fd = accept4(r->fd[s->i], &u.sa, &len, fl);
	say_result(r, fd < 0 ? -1 : 0);
	if (fd < 0)
		return;
	say_addr(r, &u, len);
	limit_blocking(fd);
	put_fd(r, s->j, fd, r->family[s->i], SOCK_STREAM);
	same_side(r, s->j, &u);
}

static void do_shutdown(struct run *r, const struct step *s)
{
	int how = s->arg[0] % 8 == 7 ? 9 : s->arg[0] % 3;

	say(r, "shutdown %d", how);
	say_result(r, shutdown(r->fd[s->i], how));
}

static void do_close(struct run *r, const struct step *s)
{
	say(r, "close");
	say_result(r, close(r->fd[s->i]));
	r->fd[s->i] = -1;
}

static void do_dup(struct run *r, const struct step *s)
{
	int fd;

	if (s->arg[0] % 3 == 0 && r->fd[s->j] >= 0 && s->i != s->j) {
		say(r, "dup2 to %u", s->j);
		say_result(r, dup2(r->fd[s->i], r->fd[s->j]) == r->fd[s->j] ? 0 : -1);
		r->family[s->j] = r->family[s->i];
		r->type[s->j] = r->type[s->i];
		r->side[s->j] = r->side[s->i];
		return;
	}
	fd = s->arg[0] % 3 == 1 ? dup(r->fd[s->i]) : fcntl(r->fd[s->i], F_DUPFD_CLOEXEC, 50);
	say(r, "dup to %u", s->j);
	say_result(r, fd < 0 ? -1 : 0);
	if (fd < 0)
		return;
	put_fd(r, s->j, fd, r->family[s->i], r->type[s->i]);
	r->side[s->j] = r->side[s->i];
}

static void do_flags(struct run *r, const struct step *s)
{
	int fd = r->fd[s->i], on = s->arg[1] % 2, fl;

	switch (s->arg[0] % 3) {
	case 0:
		say(r, "getfl = %x", fcntl(fd, F_GETFL));
		break;
	case 1:
		fl = fcntl(fd, F_GETFL);
		say(r, "setfl nonblock %d", on);
		say_result(r, fcntl(fd, F_SETFL, on ? fl | O_NONBLOCK : fl & ~O_NONBLOCK));
		break;
	default:
		say(r, "fionbio %d", on);
		say_result(r, ioctl(fd, FIONBIO, &on));
	}
}

struct opt {
	const char *name;
	int level, opt;
	int v[3];			/* values to set */
};
#define S SOL_SOCKET
#define T IPPROTO_TCP
static const struct opt opts[] = {
	{ "REUSEADDR", S, SO_REUSEADDR, { 1, 1, 0 } },
	{ "REUSEADDR", S, SO_REUSEADDR, { 1, 1, 0 } },
	{ "REUSEPORT", S, SO_REUSEPORT, { 1, 1, 0 } },
	{ "REUSEPORT", S, SO_REUSEPORT, { 1, 1, 0 } },
	{ "V6ONLY", IPPROTO_IPV6, IPV6_V6ONLY, { 1, 1, 0 } },
	{ "KEEPALIVE", S, SO_KEEPALIVE, { 1, 0, 7 } },
	{ "BROADCAST", S, SO_BROADCAST, { 1, 1, 0 } },
	{ "RCVLOWAT", S, SO_RCVLOWAT, { 3, 1, 0 } },
	{ "PRIORITY", S, SO_PRIORITY, { 3, 6, 0 } },
	{ "OOBINLINE", S, SO_OOBINLINE, { 1, 0, 1 } },
	{ "ERROR", S, SO_ERROR, { 1, 0, 0 } },
	{ "ERROR", S, SO_ERROR, { 1, 0, 0 } },
	{ "ACCEPTCONN", S, SO_ACCEPTCONN, { 1, 0, 0 } },
	{ "TYPE", S, SO_TYPE, { 1, 0, 0 } },
	{ "DOMAIN", S, SO_DOMAIN, { 1, 0, 0 } },
	{ "PROTOCOL", S, SO_PROTOCOL, { 1, 0, 0 } },
	{ "SNDLOWAT", S, SO_SNDLOWAT, { 1, 0, 0 } },
	{ "NODELAY", T, TCP_NODELAY, { 1, 0, 3 } },
	{ "CORK", T, TCP_CORK, { 0, 0, 0 } },
	{ "KEEPIDLE", T, TCP_KEEPIDLE, { 20, 0, 40000 } },
	{ "KEEPINTVL", T, TCP_KEEPINTVL, { 20, -1, 40000 } },
	{ "KEEPCNT", T, TCP_KEEPCNT, { 20, 0, 128 } },
	{ "SYNCNT", T, TCP_SYNCNT, { 2, 0, 128 } },
	{ "USER_TIMEOUT", T, TCP_USER_TIMEOUT, { 9000, 0, -1 } },
	{ "DEFER_ACCEPT", T, TCP_DEFER_ACCEPT, { 0, 0, 0 } },
	{ "NOTSENT_LOWAT", T, TCP_NOTSENT_LOWAT, { 9000, 0, -1 } },
	{ "LINGER2", T, TCP_LINGER2, { 5, 0, -1 } },
	{ "TTL", IPPROTO_IP, IP_TTL, { 9, 0, 256 } },
	{ "TOS", IPPROTO_IP, IP_TOS, { 16, 3, 256 } },
	{ "FREEBIND", IPPROTO_IP, IP_FREEBIND, { 0, 0, 0 } },
	{ "NO_PORT", IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, { 1, 1, 0 } },
	{ "HOPS", IPPROTO_IPV6, IPV6_UNICAST_HOPS, { 9, -1, 256 } },
	{ "TCLASS", IPPROTO_IPV6, IPV6_TCLASS, { 9, -1, 256 } },
	{ "nothing", S, 777, { 9, 0, 0 } },
	{ "nothing", T, 777, { 9, 0, 0 } },
};
#undef S
#undef T

static void do_setopt(struct run *r, const struct step *s)
{
	const struct opt *o = &opts[(unsigned)s->arg[0] % (sizeof(opts) / sizeof(opts[0]))];
	int v = o->v[s->arg[1] % 3];
	socklen_t len = s->arg[2] % 12 == 11 ? (socklen_t)(s->arg[3] % 4) : sizeof(v);

	say(r, "set %s %d len %u", o->name, v, len);
	say_result(r, setsockopt(r->fd[s->i], o->level, o->opt, &v, len));
}

static void do_getopt(struct run *r, const struct step *s)
{
	const struct opt *o = &opts[(unsigned)s->arg[0] % (sizeof(opts) / sizeof(opts[0]))];
	int v = 0, err;
	socklen_t len = s->arg[2] % 12 == 11 ? (socklen_t)(s->arg[3] % 4) : sizeof(v);

	say(r, "get %s len %u", o->name, len);
	err = getsockopt(r->fd[s->i], o->level, o->opt, &v, &len);
	say_result(r, err);
	if (!err)
		say(r, " %d len %u", v, len);
}

static void do_linger(struct run *r, const struct step *s)
{
	struct linger l = { s->arg[0] % 4 != 0, s->arg[1] % 4 ? 0 : 3 };
	socklen_t len = sizeof(l);
	int err = 0;

	say(r, "linger %d %d", l.l_onoff, l.l_linger);
	if (s->arg[2] % 3)
		err = setsockopt(r->fd[s->i], SOL_SOCKET, SO_LINGER, &l, sizeof(l));
	else
		err = getsockopt(r->fd[s->i], SOL_SOCKET, SO_LINGER, &l, &len);
	say_result(r, err);
	say(r, " %d %d", l.l_onoff, l.l_linger);
}

static const struct { const char *name; int v; } send_flags[] = {
	{ "", 0 }, { "", 0 }, { "", 0 }, { "dontwait", MSG_DONTWAIT }, { "eor", MSG_EOR },
	{ "confirm", MSG_CONFIRM }, { "dontroute", MSG_DONTROUTE },
}, recv_flags[] = {
	{ "", 0 }, { "", 0 }, { "", 0 }, { "dontwait", MSG_DONTWAIT }, { "peek", MSG_PEEK },
	{ "trunc", MSG_TRUNC }, { "waitall", MSG_WAITALL }, { "oob", MSG_OOB },
	{ "errqueue", MSG_ERRQUEUE },
};
static const int sizes[] = { 1, 5, 5, 100, 3000, 0 };

static void do_send(struct run *r, const struct step *s)
{
	unsigned f = (unsigned)s->arg[1] % (sizeof(send_flags) / sizeof(send_flags[0]));
	int n = sizes[s->arg[0] % 6];
	char buf[4096];
	ssize_t got;

	for (int i = 0; i < n; i++)
		buf[i] = (char)(s->arg[3] + i);
	if (s->arg[2] % 3 == 0) {
		say(r, "write %d", n);
		got = write(r->fd[s->i], buf, (size_t)n);
	} else {
		say(r, "send %d %s", n, send_flags[f].name);
		got = send(r->fd[s->i], buf, (size_t)n, send_flags[f].v | MSG_NOSIGNAL);
	}
	say_result(r, got);
}

static void do_sendto(struct run *r, const struct step *s)
{
	int n = sizes[s->arg[0] % 6];
	char buf[4096];

	memset(buf, s->arg[3], sizeof(buf));
	say(r, "sendto %d", n);
	say_addr(r, &s->u, s->len);
	say_result(r, sendto(r->fd[s->i], buf, (size_t)n, MSG_NOSIGNAL, &s->u.sa, s->len));
}

static void do_recv(struct run *r, const struct step *s)
{
	unsigned f = (unsigned)s->arg[1] % (sizeof(recv_flags) / sizeof(recv_flags[0])), sum = 0;
	int n = sizes[s->arg[0] % 6];
	char buf[4096] = { 0 };
	ssize_t got;

	if (s->arg[2] % 3 == 0) {
		say(r, "read %d", n);
		got = read(r->fd[s->i], buf, (size_t)n);
	} else {
		say(r, "recv %d %s", n, recv_flags[f].name);
		got = recv(r->fd[s->i], buf, (size_t)n, recv_flags[f].v);
	}
	say_result(r, got);
	for (int i = 0; i < n; i++)
		sum = sum * 31 + (unsigned char)buf[i];
	say(r, " sum %x", sum);
}

static void do_recvmsg(struct run *r, const struct step *s)
{
	unsigned f = (unsigned)s->arg[1] % (sizeof(recv_flags) / sizeof(recv_flags[0]));
	char buf[4096];
	struct iovec iov = { buf, (size_t)sizes[s->arg[0] % 6] };
	union sa u = { 0 };
	struct msghdr m = { .msg_name = &u, .msg_namelen = sizeof(u), .msg_iov = &iov,
			    .msg_iovlen = 1 };
	ssize_t got;

	say(r, "recvmsg %zu %s", iov.iov_len, recv_flags[f].name);
	got = recvmsg(r->fd[s->i], &m, recv_flags[f].v);
	say_result(r, got);
	if (got < 0)
		return;
	say(r, " flags %x", m.msg_flags);
	say_addr(r, &u, m.msg_namelen);
}

static int state_of(int fd)
{
	struct tcp_info ti;
	socklen_t len = sizeof(ti);

	return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &ti, &len) ? 0 : ti.tcpi_state;
}

static void do_ioctl(struct run *r, const struct step *s)
{
	static const struct { const char *name; unsigned long req; } q[] = {
		{ "FIONREAD", FIONREAD }, { "FIONREAD", FIONREAD }, { "OUTQ", SIOCOUTQ },
		{ "OUTQNSD", SIOCOUTQNSD }, { "ATMARK", SIOCATMARK },
	};
	unsigned k = (unsigned)s->arg[0] % 5;
	int v = -7, err = ioctl(r->fd[s->i], q[k].req, &v);

	say(r, "%s", q[k].name);
	say_result(r, err);
	/* unconnected: Linux tells what sequence numbers are left */
	if (q[k].req == FIONREAD || q[k].req == SIOCATMARK || state_of(r->fd[s->i]) != TCP_CLOSE)
		say(r, " %d", v);
}

/* An address that is not quite one. Return: its length. */
static socklen_t misname(struct run *r, const struct step *s, union sa *u)
{
	socklen_t len = s->len;

	*u = s->u;
	switch (s->arg[0] % 4) {
	case 0: u->sa.sa_family = u->sa.sa_family == AF_INET ? AF_INET6 : AF_INET; break;
	case 1: len = (socklen_t)s->arg[1] % 16; break;
	case 2: u->sa.sa_family = AF_UNIX; break;
	default: len = 27; break;
	}
	say(r, "family %d len %u", u->sa.sa_family, len);
	return len;
}

static void do_misbind(struct run *r, const struct step *s)
{
	union sa u;
	socklen_t len = misname(r, s, &u);

	say(r, " bind");
	say_result(r, bind(r->fd[s->i], &u.sa, len));
}

static void do_misconnect(struct run *r, const struct step *s)
{
	union sa u;
	socklen_t len = misname(r, s, &u);

	say(r, " connect");
	say_result(r, connect(r->fd[s->i], &u.sa, len));
}

static void do_listen_any(struct run *r, const struct step *s)
{
	union sa u;
	socklen_t len = make_addr(r, &u, r->family[s->i],
				  keep_side(r, s->i, s->arg[0] % 2 ? OWN : ANY, false),
				  (uint16_t)(r->base + s->arg[1] % 2), s->arg[2] % 3);
	int one = 1, fd = r->fd[s->i];

	say(r, "serve");
	say_addr(r, &u, len);
	if (s->arg[3] % 2)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	say_result(r, bind(fd, &u.sa, len));
	if (r->type[s->i] == SOCK_STREAM)
		say_result(r, listen(fd, 5));
}

static const struct op {
	void (*fn)(struct run *r, const struct step *s);
	uint8_t weight;
	bool forks;			/* makes sense in a child as well */
	enum { NO_ADDR, BIND_ADDR, PEER_ADDR } addr;
} ops[] = {
	{ do_socket, 8, false, NO_ADDR },
	{ do_bind, 12, true, BIND_ADDR },
	{ do_listen, 8, true, NO_ADDR },
	{ do_listen_any, 4, false, NO_ADDR },
	{ do_connect, 10, true, PEER_ADDR },
	{ do_connect_to, 14, false, NO_ADDR },
	{ do_unspec, 3, true, NO_ADDR },
	{ do_accept, 12, false, NO_ADDR },
	{ do_shutdown, 7, true, NO_ADDR },
	{ do_close, 5, false, NO_ADDR },
	{ do_dup, 3, false, NO_ADDR },
	{ do_flags, 4, true, NO_ADDR },
	{ do_setopt, 12, true, NO_ADDR },
	{ do_getopt, 8, true, NO_ADDR },
	{ do_linger, 3, true, NO_ADDR },
	{ do_send, 9, true, NO_ADDR },
	{ do_sendto, 5, true, PEER_ADDR },
	{ do_recv, 10, true, NO_ADDR },
	{ do_recvmsg, 3, true, NO_ADDR },
	{ do_ioctl, 5, true, NO_ADDR },
	{ do_misbind, 1, false, BIND_ADDR },
	{ do_misconnect, 1, false, PEER_ADDR },
};
#define OPS (sizeof(ops) / sizeof(ops[0]))

/* ---- one step ---- */

static unsigned pick_op(struct run *r)
{
	uint32_t sum = 0, at, i;

	for (i = 0; i < OPS; i++)
		sum += ops[i].weight;
	at = rnd(r, sum);
	for (i = 0; at >= ops[i].weight; i++)
		at -= ops[i].weight;
	return i;
}

static void settle(struct run *r)
{
	struct tcp_info ti;
	socklen_t len;

	for (int i = 0; i < 6; i++) {
		len = sizeof(ti);
		getsockopt(r->helper, IPPROTO_TCP, TCP_INFO, &ti, &len);
	}
	if (r->settle_us)
		usleep(r->settle_us);
}

static void say_socket(struct run *r, unsigned i)
{
	struct tcp_info ti;
	socklen_t tlen = sizeof(ti), len = sizeof(union sa);
	union sa u;

	if (r->fd[i] < 0)
		return;
	say(r, " |");
	if (getsockname(r->fd[i], &u.sa, &len) < 0)
		say_result(r, -1);
	else
		say_addr(r, &u, len);
	len = sizeof(u);
	if (getpeername(r->fd[i], &u.sa, &len) < 0)
		say_result(r, -1);
	else
		say_addr(r, &u, len);
	if (r->type[i] == SOCK_STREAM &&
	    !getsockopt(r->fd[i], IPPROTO_TCP, TCP_INFO, &ti, &tlen))
		say(r, " st %u", ti.tcpi_state);
}

static void say_ready(struct run *r)
{
	struct pollfd p[SOCKS];

	say(r, " |");
	for (unsigned i = 0; i < SOCKS; i++)
		p[i] = (struct pollfd){ r->fd[i], POLLIN | POLLOUT | POLLPRI | POLLRDHUP, 0 };
	poll(p, SOCKS, 0);
	for (unsigned i = 0; i < SOCKS; i++) {
		if (r->fd[i] < 0)
			say(r, " -");
		else
			say(r, " %x", (unsigned)(unsigned short)p[i].revents);
	}
}

/* The step in a child: the sockets are shared, the line comes back by a pipe. */
static void in_child(struct run *r, const struct step *s, const struct op *op)
{
	size_t from = r->len;
	ssize_t n;
	int p[2];
	pid_t pid;

	if (pipe(p) < 0 || (pid = fork()) < 0) {
		perror("fork");
		exit(2);
	}
	if (!pid) {
		op->fn(r, s);
		n = write(p[1], r->line + from, r->len - from);
		_exit(n < 0);
	}
	close(p[1]);
	n = read(p[0], r->line + from, sizeof(r->line) - from - 1);
	if (n > 0)
		r->len += (size_t)n;
	r->line[r->len] = 0;
	close(p[0]);
	waitpid(pid, NULL, 0);
	say(r, " (child)");
}

/* A wildcard: what a child binds to it is the parent's kernel socket (docs/COMPLIANCE.md). */
static bool is_any(const union sa *u)
{
	if (u->sa.sa_family == AF_INET)
		return !u->in.sin_addr.s_addr;
	return !u->in6.sin6_addr.s6_addr32[3];
}

static void step(struct run *r, unsigned n)
{
	unsigned k = pick_op(r);
	const struct op *op = &ops[k];
	struct step s = { .i = rnd(r, SOCKS), .j = rnd(r, SOCKS) };
	bool child = rnd(r, 24) == 0;

	for (unsigned i = 0; i < 4; i++)
		s.arg[i] = (int)rnd(r, 1u << 20);
	r->len = 0;
	say(r, "%2u: %u ", n, s.i);
	if (op->addr == BIND_ADDR)
		s.len = bind_addr(r, &s.u, s.i);
	else if (op->addr == PEER_ADDR)
		s.len = peer_addr(r, &s.u, s.i);
	if (r->fd[s.i] < 0)
		do_socket(r, &s);
	else if (child && op->forks && !(op->addr == BIND_ADDR && is_any(&s.u)))
		in_child(r, &s, op);
	else
		op->fn(r, &s);
	settle(r);
	say_ready(r);
	say_socket(r, s.i);
	puts(r->line);
}

/* ---- a sequence ---- */

static void begin(struct run *r, unsigned n, unsigned i, int family, int type)
{
	r->len = 0;
	say(r, "%2u: %u ", n, i);
	new_socket(r, i, family, type);
	puts(r->line);
}

static void fixed(struct run *r, unsigned n, void (*fn)(struct run *, const struct step *),
		  struct step s)
{
	r->len = 0;
	say(r, "%2u: %u ", n, s.i);
	fn(r, &s);
	settle(r);
	say_ready(r);
	say_socket(r, s.i);
	puts(r->line);
}

/* Most sequences begin with something that leads somewhere. */
static void prologue(struct run *r)
{
	uint32_t kind = rnd(r, 8);
	int family = rnd(r, 3) ? AF_INET : AF_INET6, nb = rnd(r, 3) ? SOCK_NONBLOCK : 0;
	int type = kind == 7 ? SOCK_DGRAM : SOCK_STREAM;
	struct step s = { .arg = { (int)rnd(r, 2), (int)rnd(r, 2), family == AF_INET6, 1 } };

	for (unsigned i = 0; i < (kind ? 3 : 1); i++)
		begin(r, 0, i, family, type | (i ? nb : SOCK_NONBLOCK));
	if (kind < 2)
		return;
	fixed(r, 0, do_listen_any, s);
	if (kind < 4)
		return;
	fixed(r, 0, do_connect_to, (struct step){ .i = 1, .j = 0, .arg = { 1 } });
	if (kind < 7)
		fixed(r, 0, do_accept, (struct step){ .i = 0, .j = 2, .arg = { nb != 0 } });
	if (kind == 6)
		fixed(r, 0, do_send, (struct step){ .i = 1, .arg = { 3, 0, 1, 7 } });
}

static void sequence(struct run *r, uint64_t seed)
{
	r->rng = seed;
	r->seed = seed;
	r->base = (uint16_t)(PORT_FIRST + (seed + r->turn) % SEQ_MAX * PORTS);
	r->low = (uint16_t)(500 + (seed + r->turn) % 500);
	r->seen_cnt = 0;
	for (unsigned i = 0; i < SOCKS; i++) {
		r->fd[i] = -1;
		r->family[i] = AF_INET;
		r->type[i] = SOCK_STREAM;
	}
	printf("== %llu\n", (unsigned long long)seed);
	prologue(r);
	for (unsigned n = 1; n <= STEPS; n++)
		step(r, n);
	for (unsigned i = 0; i < SOCKS; i++)
		if (r->fd[i] >= 0)
			close(r->fd[i]);
	settle(r);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	struct run r = { .settle_us = 200 };
	uint64_t seed, count;
	unsigned uid = 0;
	int c;

	while ((c = getopt(argc, argv, "s:p:u:")) != -1) {
		if (c == 's')
			r.settle_us = (unsigned)atoi(optarg);
		else if (c == 'p')
			r.turn = (unsigned)atoi(optarg);
		else if (c == 'u')
			uid = (unsigned)atoi(optarg);
		else
			return 2;
	}
	if (argc - optind != 4 || !inet_aton(argv[optind], &r.own) ||
	    !inet_aton(argv[optind + 1], &r.peer)) {
		fprintf(stderr, "usage: sockdiff [-s US] [-p TURN] [-u UID] OWN PEER SEED COUNT\n");
		return 2;
	}
	if (uid && setuid(uid) < 0) {
		perror("setuid");
		return 2;
	}
	seed = strtoull(argv[optind + 2], NULL, 0);
	count = strtoull(argv[optind + 3], NULL, 0);
	signal(SIGPIPE, SIG_IGN);
	r.helper = socket(AF_INET, SOCK_STREAM, 0);
	for (uint64_t i = 0; i < count; i++)
		sequence(&r, seed + i);
	return 0;
}
