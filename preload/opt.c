/* SPDX-License-Identifier: MIT */
/* preload/opt.c - setsockopt and getsockopt
 * One table says what each option is to us. A socket with a kernel socket of its own has the option
 * set there first: that checks the arguments, gives Linux's errno, and keeps the value should the
 * socket turn out to be the kernel's. Then what the engine needs is mirrored into slot_p.opts. An
 * accepted socket has only a placeholder behind it; the table checks its arguments.
 *
 *   how        own kernel socket                      accepted, bound or connected in stackd
 *   MIRROR     set there, mirrored                    mirrored
 *   HINT       set there; no effect in stackd, none   taken: the effect is advisory on Linux, too
 *              is promised
 *   KERNEL     the socket becomes the kernel's        ENOPROTOOPT, counted
 *   REFUSE     ENOPROTOOPT, counted                   ENOPROTOOPT, counted
 *   not listed the kernel's answer; taken: KERNEL     ENOPROTOOPT, counted
 * Spec:    S6
 */
#include <linux/tcp.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <stddef.h>
#include <string.h>
#include <sys/time.h>

#include "preload/pl_int.h"

#ifndef TCP_IS_MPTCP
#define TCP_IS_MPTCP 43
#endif

enum how { MIRROR, HINT, KERNEL, REFUSE, SPECIAL, READONLY };
enum store { ST_NONE, ST_BOOL, ST_U8, ST_TOS, ST_U16, ST_U32 };

struct opt {
	int level, name;
	enum how how;
	enum store store;
	uint16_t off;			/* in struct sd_opts */
	uint8_t bit;			/* ST_BOOL: which bit of the byte; 0 = all of it */
	bool copy;			/* an int worth copying to a renewed kernel socket */
	int min, max;			/* of accepted sockets, where the kernel cannot check */
	int (*set)(int fd, uint32_t slot, const struct opt *o, const void *val, socklen_t len);
	int (*get)(int fd, uint32_t slot, const struct opt *o, void *val, socklen_t *len);
};

uint32_t pl_opt_refused;

static int set_bufsize(int fd, uint32_t slot, const struct opt *o, const void *val, socklen_t len);
static int get_bufsize(int fd, uint32_t slot, const struct opt *o, void *val, socklen_t *len);
static int set_timeo(int fd, uint32_t slot, const struct opt *o, const void *val, socklen_t len);
static int get_timeo(int fd, uint32_t slot, const struct opt *o, void *val, socklen_t *len);
static int set_linger(int fd, uint32_t slot, const struct opt *o, const void *val, socklen_t len);
static int get_linger(int fd, uint32_t slot, const struct opt *o, void *val, socklen_t *len);
static int set_event(int fd, uint32_t slot, const struct opt *o, const void *val, socklen_t len);
static int get_event(int fd, uint32_t slot, const struct opt *o, void *val, socklen_t *len);
static int set_linger2(int fd, uint32_t slot, const struct opt *o, const void *val, socklen_t len);
static int get_linger2(int fd, uint32_t slot, const struct opt *o, void *val, socklen_t *len);
static int set_v6only(int fd, uint32_t slot, const struct opt *o, const void *val, socklen_t len);
static int set_cc(int fd, uint32_t slot, const struct opt *o, const void *val, socklen_t len);
static int get_cc(int fd, uint32_t slot, const struct opt *o, void *val, socklen_t *len);
static int get_error(int fd, uint32_t slot, const struct opt *o, void *val, socklen_t *len);
static int get_accepting(int fd, uint32_t slot, const struct opt *o, void *val, socklen_t *len);
static int get_info(int fd, uint32_t slot, const struct opt *o, void *val, socklen_t *len);
static int get_maxseg(int fd, uint32_t slot, const struct opt *o, void *val, socklen_t *len);
static int get_real(int fd, uint32_t slot, const struct opt *o, void *val, socklen_t *len);
static int get_empty(int fd, uint32_t slot, const struct opt *o, void *val, socklen_t *len);
static int set_port_range(int fd, uint32_t slot, const struct opt *o, const void *val,
			  socklen_t len);
static int get_port_range(int fd, uint32_t slot, const struct opt *o, void *val, socklen_t *len);
static int set_ulp(int fd, uint32_t slot, const struct opt *o, const void *val, socklen_t len);

#ifndef IP_LOCAL_PORT_RANGE
#define IP_LOCAL_PORT_RANGE 51		/* Linux 6.3 */
#endif

#define OFF(f) offsetof(struct sd_opts, f)
#define INT_RANGE INT32_MIN, INT32_MAX
#define M(lvl, nm, st, field, lo, hi) \
	{ lvl, nm, MIRROR, st, OFF(field), 0, true, lo, hi, NULL, NULL }
#define BITM(lvl, nm, field, b) \
	{ lvl, nm, MIRROR, ST_BOOL, OFF(field), b, true, INT_RANGE, NULL, NULL }
#define HINT_INT(lvl, nm) { lvl, nm, HINT, ST_NONE, 0, 0, true, INT_RANGE, NULL, NULL }
#define KERN(lvl, nm) { lvl, nm, KERNEL, ST_NONE, 0, 0, false, INT_RANGE, NULL, NULL }
#define NO(lvl, nm) { lvl, nm, REFUSE, ST_NONE, 0, 0, false, INT_RANGE, NULL, NULL }
#define KERN_EMPTY(lvl, nm) \
	{ lvl, nm, KERNEL, ST_NONE, 0, 0, false, INT_RANGE, NULL, get_empty }
#define RO(lvl, nm, get) { lvl, nm, READONLY, ST_NONE, 0, 0, false, INT_RANGE, NULL, get }
#define SP(lvl, nm, field, set, get) \
	{ lvl, nm, SPECIAL, ST_NONE, OFF(field), 0, false, INT_RANGE, set, get }

static const struct opt table[] = {
	BITM(SOL_SOCKET, SO_REUSEADDR, reuse, 1),
	BITM(SOL_SOCKET, SO_REUSEPORT, reuse, 2),
	M(SOL_SOCKET, SO_KEEPALIVE, ST_BOOL, keepalive, INT32_MIN, INT32_MAX),
	M(SOL_SOCKET, SO_RCVLOWAT, ST_U32, rcvlowat, INT32_MIN, INT32_MAX),
	M(SOL_SOCKET, SO_PRIORITY, ST_U32, priority, INT32_MIN, INT32_MAX),
	M(SOL_SOCKET, SO_MARK, ST_U32, mark, INT32_MIN, INT32_MAX),
	BITM(SOL_SOCKET, SO_BROADCAST, dgram_flags, SD_DGF_BCAST),
	BITM(SOL_SOCKET, SO_NO_CHECK, dgram_flags, SD_DGF_NO_CHECK),
	SP(SOL_SOCKET, SO_SNDBUF, sndbuf, set_bufsize, get_bufsize),
	SP(SOL_SOCKET, SO_RCVBUF, rcvbuf, set_bufsize, get_bufsize),
	SP(SOL_SOCKET, SO_SNDBUFFORCE, sndbuf, set_bufsize, get_bufsize),
	SP(SOL_SOCKET, SO_RCVBUFFORCE, rcvbuf, set_bufsize, get_bufsize),
	SP(SOL_SOCKET, SO_RCVTIMEO, hints, set_timeo, get_timeo),
	SP(SOL_SOCKET, SO_SNDTIMEO, hints, set_timeo, get_timeo),
	SP(SOL_SOCKET, SO_LINGER, linger_s, set_linger, get_linger),
	RO(SOL_SOCKET, SO_ERROR, get_error),
	RO(SOL_SOCKET, SO_ACCEPTCONN, get_accepting),
	RO(SOL_SOCKET, SO_TYPE, get_real),
	RO(SOL_SOCKET, SO_DOMAIN, get_real),
	RO(SOL_SOCKET, SO_PROTOCOL, get_real),
	RO(SOL_SOCKET, SO_SNDLOWAT, get_real),
	RO(SOL_SOCKET, SO_COOKIE, get_real),
	HINT_INT(SOL_SOCKET, SO_DEBUG),
	HINT_INT(SOL_SOCKET, SO_DONTROUTE),
	BITM(SOL_SOCKET, SO_OOBINLINE, hints[0], PL_HINT_OOBINLINE),
	HINT_INT(SOL_SOCKET, SO_BUSY_POLL),
	HINT_INT(SOL_SOCKET, SO_PREFER_BUSY_POLL),
	HINT_INT(SOL_SOCKET, SO_BUSY_POLL_BUDGET),
	HINT_INT(SOL_SOCKET, SO_INCOMING_CPU),
	HINT_INT(SOL_SOCKET, SO_RXQ_OVFL),
	NO(SOL_SOCKET, SO_ZEROCOPY),
	KERN_EMPTY(SOL_SOCKET, SO_BINDTODEVICE),
	KERN(SOL_SOCKET, SO_TXTIME),
	KERN(SOL_SOCKET, SO_TIMESTAMP),
	KERN(SOL_SOCKET, SO_TIMESTAMPNS),
	KERN(SOL_SOCKET, SO_TIMESTAMPING),

	{ IPPROTO_TCP, TCP_NODELAY, SPECIAL, ST_NONE, OFF(nodelay), 0, true, INT_RANGE, set_event,
	  get_event },
	M(IPPROTO_TCP, TCP_CORK, ST_BOOL, cork, INT32_MIN, INT32_MAX),
	SP(IPPROTO_TCP, TCP_QUICKACK, slowack, set_event, get_event),
	M(IPPROTO_TCP, TCP_DEFER_ACCEPT, ST_U8, defer_accept_s, INT32_MIN, INT32_MAX),
	M(IPPROTO_TCP, TCP_KEEPIDLE, ST_U16, keep_idle_s, 1, 32767),
	M(IPPROTO_TCP, TCP_KEEPINTVL, ST_U16, keep_intvl_s, 1, 32767),
	M(IPPROTO_TCP, TCP_KEEPCNT, ST_U8, keep_cnt, 1, 127),
	M(IPPROTO_TCP, TCP_SYNCNT, ST_U8, syncnt, 1, 127),
	M(IPPROTO_TCP, TCP_USER_TIMEOUT, ST_U32, user_timeout_ms, 0, INT32_MAX),
	M(IPPROTO_TCP, TCP_NOTSENT_LOWAT, ST_U32, notsent_lowat, INT32_MIN, INT32_MAX),
	{ IPPROTO_TCP, TCP_MAXSEG, MIRROR, ST_U16, OFF(maxseg), 0, true, 88, 32767, NULL,
	  get_maxseg },
	SP(IPPROTO_TCP, TCP_CONGESTION, cc, set_cc, get_cc),
	RO(IPPROTO_TCP, TCP_INFO, get_info),
	SP(IPPROTO_TCP, TCP_LINGER2, linger2_s, set_linger2, get_linger2),
	HINT_INT(IPPROTO_TCP, TCP_WINDOW_CLAMP),
	HINT_INT(IPPROTO_TCP, TCP_FASTOPEN),
	HINT_INT(IPPROTO_TCP, TCP_FASTOPEN_CONNECT),
	HINT_INT(IPPROTO_TCP, TCP_SAVE_SYN),
	SP(IPPROTO_TCP, TCP_ULP, hints, set_ulp, get_empty),
	NO(IPPROTO_TCP, TCP_ZEROCOPY_RECEIVE),
	NO(IPPROTO_TCP, TCP_INQ),

	M(IPPROTO_IP, IP_TOS, ST_TOS, tos, INT32_MIN, INT32_MAX),
	KERN_EMPTY(IPPROTO_IP, IP_OPTIONS),
	M(IPPROTO_IP, IP_TTL, ST_U8, ttl, -1, 255),
	M(IPPROTO_IP, IP_MTU_DISCOVER, ST_U8, pmtudisc, 0, 5),
	{ IPPROTO_IP, IP_LOCAL_PORT_RANGE, SPECIAL, ST_NONE, OFF(hints), 0, true, INT_RANGE,
	  set_port_range, get_port_range },
	BITM(IPPROTO_IP, IP_PKTINFO, dgram_flags, SD_DGF_PKTINFO),
	BITM(IPPROTO_IP, IP_FREEBIND, hints[0], 2),
	BITM(IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, hints[0], PL_HINT_NO_PORT),
	HINT_INT(IPPROTO_IP, IP_MULTICAST_TTL),
	HINT_INT(IPPROTO_IP, IP_MULTICAST_LOOP),
	HINT_INT(IPPROTO_IP, IP_MULTICAST_ALL),
	BITM(IPPROTO_IP, IP_RECVERR, hints[0], 8),
	BITM(IPPROTO_IP, IP_RECVTOS, hints[0], 16),
	BITM(IPPROTO_IP, IP_RECVTTL, hints[0], 32),

	SP(IPPROTO_IPV6, IPV6_V6ONLY, hints, set_v6only, get_real),
	M(IPPROTO_IPV6, IPV6_TCLASS, ST_U8, tos, -1, 255),
	M(IPPROTO_IPV6, IPV6_UNICAST_HOPS, ST_U8, ttl, -1, 255),
	M(IPPROTO_IPV6, IPV6_MTU_DISCOVER, ST_U8, pmtudisc, 0, 5),
	BITM(IPPROTO_IPV6, IPV6_RECVPKTINFO, dgram_flags, SD_DGF_PKTINFO),
	HINT_INT(IPPROTO_IPV6, IPV6_RECVERR),
	HINT_INT(IPPROTO_IPV6, IPV6_RECVTCLASS),
	HINT_INT(IPPROTO_IPV6, IPV6_RECVHOPLIMIT),
	HINT_INT(IPPROTO_IPV6, IPV6_MULTICAST_HOPS),
	HINT_INT(IPPROTO_IPV6, IPV6_MULTICAST_LOOP),
	HINT_INT(IPPROTO_IPV6, IPV6_AUTOFLOWLABEL),
};

static const struct opt *find(int level, int name)
{
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (table[i].level == level && table[i].name == name)
			return &table[i];
	return NULL;
}

static int refuse(void)
{
	__atomic_fetch_add(&pl_opt_refused, 1, __ATOMIC_RELAXED);
	return -ENOPROTOOPT;
}

/* Does the level fit the socket? Linux looks options up in the socket's own families only. */
static bool level_fits(uint32_t slot, int level)
{
	const struct sd_opts *o = &pl_p(slot)->opts;

	switch (level) {
	case SOL_SOCKET:
	case IPPROTO_IP:
		return true;
	case IPPROTO_IPV6:
		return o->family == AF_INET6;
	default:
		return level == o->proto;
	}
}

/* Tell the engine; before connect, listen or bind there is nobody to tell: they read them all. */
static void changed(uint32_t slot)
{
	if ((pl_eflags(slot) & SD_E_BOUND) || pl_state_of(slot) != SD_ST_CLOSE)
		pl_kick(slot, SD_PEND_OPT);
}

/* ---- the mirror ---- */

static void *field(uint32_t slot, const struct opt *o)
{
	return (char *)&pl_p(slot)->opts + o->off;
}

static void store_int(uint32_t slot, const struct opt *o, int v)
{
	uint8_t *b = field(slot, o);

	switch (o->store) {
	case ST_BOOL:
		if (o->bit)
			*b = (uint8_t)(v ? *b | o->bit : *b & ~o->bit);
		else
			*b = v != 0;
		break;
	case ST_TOS:			/* the low two bits of a stream are ECN's */
		if (pl_p(slot)->opts.type == SOCK_STREAM)
			v = (v & ~3) | (*b & 3);
		*b = (uint8_t)v;
		break;
	case ST_U8:
		*b = (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);	/* -1 = the default */
		break;
	case ST_U16:
		*(uint16_t *)field(slot, o) = (uint16_t)v;
		break;
	case ST_U32:
		*(uint32_t *)field(slot, o) = (uint32_t)v;
		break;
	case ST_NONE:
		break;
	}
}

static int load_int(uint32_t slot, const struct opt *o)
{
	const uint8_t *b = field(slot, o);

	switch (o->store) {
	case ST_BOOL:
		return o->bit ? (*b & o->bit) != 0 : *b;
	case ST_U8:
	case ST_TOS:
		return *b;
	case ST_U16:
		return *(const uint16_t *)field(slot, o);
	case ST_U32:
		return (int)*(const uint32_t *)field(slot, o);
	case ST_NONE:
		break;
	}
	return 0;
}

/* An int argument; IP-level options also take a single byte. */
static int arg_int(const struct opt *o, const void *val, socklen_t len, int *ret_v)
{
	if (len >= sizeof(int))
		memcpy(ret_v, val, sizeof(int));
	else if (o->level == IPPROTO_IP)
		*ret_v = len ? *(const uint8_t *)val : 0;
	else
		return -EINVAL;
	return 0;
}

static int set_mirror(uint32_t slot, const struct opt *o, const void *val, socklen_t len)
{
	int v, r = arg_int(o, val, len, &v);

	if (r)
		return r;
	if (!pl_own_kern(slot) && (v < o->min || v > o->max ||
				   (v == 0 && o->level == IPPROTO_IP && o->name == IP_TTL)))
		return -EINVAL;
	if (o->level == SOL_SOCKET && o->name == SO_RCVLOWAT)
		v = v < 0 ? INT32_MAX : v ? v : 1;
	store_int(slot, o, v);
	changed(slot);
	return 0;
}

/* ---- setsockopt ---- */

bool pl_in_service(uint32_t slot)
{
	return !pl_own_kern(slot) || (pl_eflags(slot) & (SD_E_BOUND | SD_E_CONNECTED)) ||
	       pl_state_of(slot) != SD_ST_CLOSE;
}

/* Is this an option that no kernel socket of the kind takes either? errno has its answer. Known
 * ones are not tried: they would act on the kernel's half. */
static bool kernel_refuses(int fd, int level, int name, const void *val, socklen_t len)
{
	return !find(level, name) && real.setsockopt(fd, level, name, val, len) < 0;
}

/* Options that only the kernel can serve: as long as nothing ties the socket to stackd, it goes. */
static int set_kernel_only(int fd, uint32_t slot, int level, int name, const void *val,
			   socklen_t len)
{
	if (pl_in_service(slot))
		return kernel_refuses(fd, level, name, val, len) ? -errno : refuse();
	if (real.setsockopt(fd, level, name, val, len) < 0)
		return -errno;
	pl_fallback(fd, slot);
	pl_why_num(fd, "kernel", "an option that only the kernel has: level, number", level, name);
	return 0;
}

int pl_setsockopt(int fd, uint32_t slot, int level, int name, const void *val, socklen_t len)
{
	const struct opt *o = find(level, name);

	if ((int)len < 0)
		return -EINVAL;
	if (o && o->set == set_v6only && pl_p(slot)->opts.family == AF_INET6 &&
	    pl_eflags(slot) & SD_E_BOUND)
		return -EINVAL;
	if (o && o->how == READONLY)	/* an errno, whatever the socket is */
		return real.setsockopt(fd, level, name, val, len) < 0 ? -errno : 0;
	if (!o || o->how == KERNEL || !level_fits(slot, level))
		return set_kernel_only(fd, slot, level, name, val, len);
	if (o->how == REFUSE)
		return refuse();
	if (o->set == set_cc || o->set == set_ulp)	/* not the kernel's word */
		return o->set(fd, slot, o, val, len);
	if (pl_own_kern(slot) && real.setsockopt(fd, level, name, val, len) < 0)
		return -errno;
	if (o->set)
		return o->set(fd, slot, o, val, len);
	return o->how == MIRROR ? set_mirror(slot, o, val, len) : 0;
}

PL_EXPORT int setsockopt(int fd, int level, int name, const void *val, socklen_t len)
{
	uint32_t slot = pl_fd_slot(fd);
	int r;

	if (!slot)
		return real.setsockopt(fd, level, name, val, len);
	r = pl_setsockopt(fd, slot, level, name, val, len);
	return r < 0 ? (int)pl_fail(r) : 0;
}

/* ---- getsockopt ---- */

static int give(void *val, socklen_t *len, const void *src, size_t n)
{
	if ((int)*len < 0)
		return -EINVAL;
	if (*len > n)
		*len = (socklen_t)n;
	memcpy(val, src, *len);
	return 0;
}

/* IP-level values shrink to a byte when that is all the caller has room for. */
static int give_int(const struct opt *o, void *val, socklen_t *len, int v)
{
	uint8_t b = (uint8_t)v;

	if (o->level == IPPROTO_IP && *len > 0 && *len < sizeof(int) && v >= 0 && v <= 255)
		return give(val, len, &b, 1);
	return give(val, len, &v, sizeof(v));
}

static int get_real(int fd, uint32_t slot, const struct opt *o, void *val, socklen_t *len)
{
	return real.getsockopt(fd, o->level, o->name, val, len) < 0 ? -errno : 0;
}

/* TCP_DEFER_ACCEPT is kept as a number of SYN-ACKs: shown is when the last of them gives up. */
static int shown_defer(int want_s)
{
	int shown = 0;

	for (int period = 1; shown < want_s; period = period * 2 < 120 ? period * 2 : 120)
		shown += period;
	return shown;
}

/* What Linux shows for a mirrored value, 0 being "not set". */
static int shown(const struct opt *o, int v)
{
	switch (o->store == ST_BOOL ? 0 : o->off) {
	case OFF(defer_accept_s):
		return shown_defer(v);
	case OFF(keep_idle_s):
		return v ? v : 7200;
	case OFF(keep_intvl_s):
		return v ? v : 75;
	case OFF(keep_cnt):
		return v ? v : 9;
	case OFF(syncnt):
		return v ? v : 6;
	case OFF(ttl):
		return v ? v : 64;
	default:
		return v;
	}
}

int pl_getsockopt(int fd, uint32_t slot, int level, int name, void *val, socklen_t *len)
{
	const struct opt *o = find(level, name);

	if (!len)
		return -EFAULT;
	if (!o || !level_fits(slot, level)) {
		if (real.getsockopt(fd, level, name, val, len) < 0)
			return -errno;
		return pl_in_service(slot) ? refuse() : 0;	/* not the value of this one */
	}
	if (o->get)
		return o->get(fd, slot, o, val, len);
	if (o->how == MIRROR)
		return give_int(o, val, len, shown(o, load_int(slot, o)));
	return get_real(fd, slot, o, val, len);	/* a placeholder shows defaults */
}

PL_EXPORT int getsockopt(int fd, int level, int name, void *val, socklen_t *len)
{
	uint32_t slot = pl_fd_slot(fd);
	int r;

	if (!slot)
		return real.getsockopt(fd, level, name, val, len);
	r = pl_getsockopt(fd, slot, level, name, val, len);
	return r < 0 ? (int)pl_fail(r) : 0;
}

void pl_opt_copy(int from, int to)
{
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		const struct opt *o = &table[i];
		int a, b;
		socklen_t la = sizeof(a), lb = sizeof(b);

		if (o->copy && !real.getsockopt(from, o->level, o->name, &a, &la) &&
		    !real.getsockopt(to, o->level, o->name, &b, &lb) && a != b)
			real.setsockopt(to, o->level, o->name, &a, la);
	}
}

/* ---- the special ones ---- */

#define SNDBUF_MIN 4608
#define RCVBUF_MIN 2304

static int set_bufsize(int fd, uint32_t slot, const struct opt *o, const void *val, socklen_t len)
{
	bool snd = o->off == OFF(sndbuf);
	uint32_t max = ld_rlx(snd ? &pl.info->max_sndbuf : &pl.info->max_rcvbuf), min, want;
	int v, r = arg_int(o, val, len, &v);

	if (r)
		return r;
	min = snd ? SNDBUF_MIN : RCVBUF_MIN;
	want = v < 0 || (uint32_t)v > max ? max : (uint32_t)v;
	want = want > INT32_MAX / 2 ? INT32_MAX : want * 2;
	*(uint32_t *)field(slot, o) = want < min ? min : want;
	changed(slot);
	return 0;
}

static int get_bufsize(int fd, uint32_t slot, const struct opt *o, void *val, socklen_t *len)
{
	const struct sd_slot_e *e = pl_e(slot);
	bool snd = o->off == OFF(sndbuf);
	uint32_t v = *(uint32_t *)field(slot, o);

	if (!v && pl_live(e, pl_p(slot)))
		v = ld_rlx(snd ? &e->tx_limit : &e->rx_limit);
	if (!v)
		v = ld_rlx(snd ? &pl.info->def_sndbuf : &pl.info->def_rcvbuf);
	return give_int(o, val, len, (int)v);
}

static int set_port_range(int fd, uint32_t slot, const struct opt *o, const void *val,
			  socklen_t len)
{
	uint32_t v;

	if (len < sizeof(v))
		return -EINVAL;
	memcpy(&v, val, sizeof(v));
	if (v & 0xffff && v >> 16 && (v & 0xffff) > v >> 16)
		return -EINVAL;
	st_rlx(&pl_p(slot)->port_range, v);
	return 0;
}

static int get_port_range(int fd, uint32_t slot, const struct opt *o, void *val, socklen_t *len)
{
	return give_int(o, val, len, (int)ld_rlx(&pl_p(slot)->port_range));
}

static int set_timeo(int fd, uint32_t slot, const struct opt *o, const void *val, socklen_t len)
{
	struct sd_slot_p *p = pl_p(slot);
	uint32_t *ms = o->name == SO_RCVTIMEO ? &p->rcvtimeo_ms : &p->sndtimeo_ms;
	struct timeval tv;
	uint64_t v;

	if (len < sizeof(tv))
		return -EINVAL;
	memcpy(&tv, val, sizeof(tv));
	if (tv.tv_usec < 0 || tv.tv_usec >= 1000000)
		return -EDOM;
	if (tv.tv_sec < 0) {		/* Linux: times out at once */
		st_rlx(ms, 1);
		return 0;
	}
	v = (uint64_t)tv.tv_sec > UINT32_MAX / 1000 ? 0 :
	    (uint64_t)tv.tv_sec * 1000 + ((uint64_t)tv.tv_usec + 999) / 1000;
	st_rlx(ms, v > INT32_MAX ? 0 : (uint32_t)v);
	return 0;
}

static int get_timeo(int fd, uint32_t slot, const struct opt *o, void *val, socklen_t *len)
{
	const struct sd_slot_p *p = pl_p(slot);
	uint32_t ms = ld_rlx(o->name == SO_RCVTIMEO ? &p->rcvtimeo_ms : &p->sndtimeo_ms);
	struct timeval tv = { ms / 1000, ms % 1000 * 1000 };

	return give(val, len, &tv, sizeof(tv));
}

static int set_linger(int fd, uint32_t slot, const struct opt *o, const void *val, socklen_t len)
{
	struct sd_opts *opts = &pl_p(slot)->opts;
	struct linger l;
	bool huge;

	if (len < sizeof(l))
		return -EINVAL;
	memcpy(&l, val, sizeof(l));
	huge = l.l_linger < 0 || l.l_linger > UINT16_MAX;
	opts->linger_s = huge ? UINT16_MAX : (uint16_t)l.l_linger;
	opts->linger_on = l.l_onoff != 0;
	changed(slot);
	return 0;
}

static int get_linger(int fd, uint32_t slot, const struct opt *o, void *val, socklen_t *len)
{
	const struct sd_opts *opts = &pl_p(slot)->opts;
	struct linger l = { opts->linger_on, opts->linger_s };

	return give(val, len, &l, sizeof(l));
}

/* TCP_LINGER2: seconds in FIN_WAIT2, 120 at most; below zero: none. */
static int set_linger2(int fd, uint32_t slot, const struct opt *o, const void *val, socklen_t len)
{
	int v, r = arg_int(o, val, len, &v);

	if (r)
		return r;
	pl_p(slot)->opts.linger2_s = (uint8_t)(v < 0 ? SD_LINGER2_NONE : v > 120 ? 120 : v);
	changed(slot);
	return 0;
}

static int get_linger2(int fd, uint32_t slot, const struct opt *o, void *val, socklen_t *len)
{
	uint8_t s = pl_p(slot)->opts.linger2_s;

	return give_int(o, val, len, s == SD_LINGER2_NONE ? -1 : s ? s : 60);
}

/* TCP_NODELAY and TCP_QUICKACK; the latter is stored as its opposite: it is on by default. */
static int set_event(int fd, uint32_t slot, const struct opt *o, const void *val, socklen_t len)
{
	uint8_t *b = field(slot, o);
	int v, r = arg_int(o, val, len, &v);

	if (r)
		return r;
	v = o->name == TCP_QUICKACK ? !v : v != 0;
	*b = (uint8_t)(((*b & ~SD_EVOPT_ON) + SD_EVOPT_STEP) | (unsigned)v);
	changed(slot);
	return 0;
}

static int get_event(int fd, uint32_t slot, const struct opt *o, void *val, socklen_t *len)
{
	bool on = *(const uint8_t *)field(slot, o) & SD_EVOPT_ON;

	return give_int(o, val, len, o->name == TCP_QUICKACK ? !on : on);
}

static int set_v6only(int fd, uint32_t slot, const struct opt *o, const void *val, socklen_t len)
{
	int v, r = arg_int(o, val, len, &v);

	if (r)
		return r;
	if (v)
		or_sc(&pl_p(slot)->flags, SD_P_V6ONLY);
	else
		and_sc(&pl_p(slot)->flags, ~SD_P_V6ONLY);
	return 0;
}

/* The engine knows which algorithms there are; the kernel's copy is for the case of fallback. */
static int set_cc(int fd, uint32_t slot, const struct opt *o, const void *val, socklen_t len)
{
	struct sd_cmd cmd = pl_cmd_for(slot, SD_OP_SETOPT);
	char name[sizeof(cmd.str) + 1] = { 0 };
	int r;

	if (len < 1)
		return -EINVAL;
	strncpy(name, val, len < sizeof(name) ? len : sizeof(name));
	if (memchr(name, 0, sizeof(name)) == NULL || strlen(name) > sizeof(cmd.str) - 1)
		return -ENOENT;
	cmd.u32[0] = IPPROTO_TCP;
	cmd.u32[1] = TCP_CONGESTION;
	memcpy(cmd.str, name, sizeof(cmd.str));
	r = pl_rpc(pl_worker(slot), &cmd, NULL, 0, NULL);
	if (r)
		return r;
	memcpy(field(slot, o), name, sizeof(cmd.str));
	if (pl_own_kern(slot))
		real.setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, val, len);
	return 0;
}

static int get_cc(int fd, uint32_t slot, const struct opt *o, void *val, socklen_t *len)
{
	struct sd_cmd cmd = pl_cmd_for(slot, SD_OP_GETOPT);
	char name[16] = { 0 };
	size_t n = 0;
	int r = 0;

	memcpy(name, field(slot, o), sizeof(pl_p(slot)->opts.cc));
	if (!name[0]) {
		cmd.u32[0] = IPPROTO_TCP;
		cmd.u32[1] = TCP_CONGESTION;
		r = pl_rpc(pl_worker(slot), &cmd, name, sizeof(name) - 1, &n);
	}
	return r ? r : give(val, len, name, sizeof(name));
}

/* As a kernel without any upper-layer protocol answers. */
static int set_ulp(int fd, uint32_t slot, const struct opt *o, const void *val, socklen_t len)
{
	return len < 1 ? -EINVAL : -ENOENT;
}

/* What was never set, or only on sockets that are the kernel's. */
static int get_empty(int fd, uint32_t slot, const struct opt *o, void *val, socklen_t *len)
{
	*len = 0;
	return 0;
}

static int get_error(int fd, uint32_t slot, const struct opt *o, void *val, socklen_t *len)
{
	int err = pl_err_take(slot);

	if (!err && pl_p(slot)->opts.type == SOCK_DGRAM)	/* the kernel's side of a hybrid */
		return get_real(fd, slot, o, val, len);
	return give_int(o, val, len, err);
}

static int get_accepting(int fd, uint32_t slot, const struct opt *o, void *val, socklen_t *len)
{
	return give_int(o, val, len, pl_state_of(slot) == SD_ST_LISTEN);
}

static int get_info(int fd, uint32_t slot, const struct opt *o, void *val, socklen_t *len)
{
	struct sd_cmd cmd = pl_cmd_for(slot, SD_OP_GETINFO);
	uint8_t data[SD_REPLY_DATA];
	size_t n = 0;
	int r = pl_rpc(pl_worker(slot), &cmd, data, sizeof(data), &n);

	return r ? r : give(val, len, data, n);
}

static int get_maxseg(int fd, uint32_t slot, const struct opt *o, void *val, socklen_t *len)
{
	const struct sd_slot_e *e = pl_e(slot);
	int v = load_int(slot, o);

	if (pl_state_of(slot) != SD_ST_CLOSE && e->mss)
		v = e->mss;
	return give_int(o, val, len, v ? v : 536);
}
