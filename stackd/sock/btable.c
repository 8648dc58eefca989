/* SPDX-License-Identifier: MIT */
/* sock/btable.c - the bind table: which sockets hold which port
 * Spec:    H2; bind(2), ip(7), socket(7) SO_REUSEADDR and SO_REUSEPORT
 *
 * Two chains per port of TCP: ports that bind() asked for, and ports that connect() chose; one of
 * UDP.
 * The first are few and keep every connect() off the port; the second may be many, since
 * connections to different peers share a port, and only an explicit bind() ever walks them.
 * Who may share a port with whom is asked of each holder in turn; the options of a holder are read
 * anew from its slot, because Linux looks at them as they are now, not as they were at bind().
 * Some of the answers are shortcuts, as on Linux, whose programs can tell: a TCP port remembers
 * whose group of SO_REUSEPORT was there last (struct port_memo) and then asks no holder; UDP asks
 * them in the order of its list and stops at one of the same group.
 * Holds:   B1 a record is in exactly the chain that its proto, autobound and lport name; lport 0:
 *          in none
 * Threads: worker 0
 */
#include "stackd/nic/claims.h"
#include "stackd/sock/sock_int.h"

static uint32_t *chain(struct stack *st, uint8_t proto, bool autobound, uint16_t port)
{
	unsigned list = proto == IPPROTO_UDP ? 2 : autobound;

	return &st->sock->bheads[(size_t)list * 65536 + port];
}

static bool nobody_holds(struct stack *st, uint8_t proto, uint16_t port)
{
	return !*chain(st, proto, false, port) && !*chain(st, proto, true, port);
}

/* On a shared interface all packets to a port that is held are ours; ports that connect() chose
 * for TCP are claimed connection by connection. */
static void claim(struct stack *st, const struct sock_bound *b, bool on)
{
	if (st->claims && (b->proto == IPPROTO_UDP || !b->autobound))
		claims_port(st->claims, b->proto, b->t.lport, on);
}

struct sock_bound *bound_at(struct stack *st, uint32_t idx)
{
	struct sock_bound *b = arena_at(st->arena, AR_BOUND, idx);

	return b && b->state != SOCK_B_FREE ? b : NULL;
}

/* A hold that a program asked for is its uid's expense; a port that connect() chose is not: its
 * connections are counted. NULL = nobody's. */
static struct shm_left *ports_left(struct stack *st, const struct sock_bound *b)
{
	struct shm_budget *budget = st->epools[b->id.seg].budget;

	return budget && b->t.lport && !b->autobound ? &budget->ports : NULL;
}

bool btab_room(struct stack *st, const struct sock_bound *b)
{
	struct shm_left *l = ports_left(st, b);

	if (!l || l->left > 0)
		return true;
	add_sc(&l->refused, 1);
	return false;
}

static void charge(struct stack *st, struct sock_bound *b)
{
	struct shm_left *l = ports_left(st, b);

	if (!l)
		return;
	b->charged = 1;
	l->left--;
	st->sock->ports_used[b->id.seg]++;
}

static void discharge(struct stack *st, struct sock_bound *b)
{
	if (!b->charged)
		return;
	b->charged = 0;
	st->epools[b->id.seg].budget->ports.left++;
	st->sock->ports_used[b->id.seg]--;
}

/* What outlives its family (TIME_WAIT of a port that was bound) is nobody's expense. */
void btab_seg_gone(struct stack *st, uint16_t seg)
{
	struct sock_bound *b;

	for (uint32_t i = 1; st->sock->ports_used[seg] && i < st->sock->bounds.bump; i++) {
		b = bound_at(st, i);
		if (b && b->id.seg == seg && b->charged) {
			discharge(st, b);
			b->id = (struct sock_id){ 0 };
		}
	}
}

/* Linux's list of UDP sockets: the newest first, but these last. */
static bool goes_last(const struct sock_bound *b)
{
	return b->proto == IPPROTO_UDP && b->family == AF_INET6 && b->reuse & SOCK_REUSEPORT;
}

void btab_link(struct stack *st, uint32_t bound)
{
	struct sock_bound *b = bound_at(st, bound), *n;
	uint32_t *head;

	ASSERT(b);
	b->charged = 0;			/* whatever it was a copy of */
	if (!b->t.lport)
		return;
	charge(st, b);
	if (b->proto == IPPROTO_TCP && b->autobound && nobody_holds(st, b->proto, b->t.lport))
		st->sock->memos[b->t.lport].group = 0;
	head = chain(st, b->proto, b->autobound, b->t.lport);
	b->prev = 0;
	if (goes_last(b))
		for (; *head; head = &bound_at(st, *head)->next)
			b->prev = *head;
	n = bound_at(st, *head);
	b->next = *head;
	if (n)
		n->prev = bound;
	*head = bound;
	claim(st, b, true);
}

void btab_unlink(struct stack *st, uint32_t bound)
{
	struct sock_bound *b = bound_at(st, bound), *n, *p;

	ASSERT(b);
	if (!b->t.lport)
		return;
	discharge(st, b);
	n = bound_at(st, b->next);
	p = bound_at(st, b->prev);
	if (n)
		n->prev = b->prev;
	if (p) {
		p->next = b->next;
	} else {
		uint32_t *head = chain(st, b->proto, b->autobound, b->t.lport);

		ASSERT(*head == bound);
		*head = b->next;
	}
	b->next = b->prev = 0;
	if (!*chain(st, b->proto, false, b->t.lport))
		claim(st, b, false);
}

uint32_t bound_alloc(struct stack *st, const struct sock_bound *b)
{
	uint32_t idx = idx_alloc(&st->sock->bounds);
	struct sock_bound *r = arena_at(st->arena, AR_BOUND, idx);

	if (!r)
		return 0;
	*r = *b;
	btab_link(st, idx);
	return idx;
}

void bound_free(struct stack *st, uint32_t idx)
{
	struct sock_bound *b = bound_at(st, idx);

	ASSERT(b);
	if (b->state == SOCK_B_CONN && b->proto == IPPROTO_TCP &&
	    etab_remove(st, &st->sock->conn, &b->t, OBJ(OBJ_BOUND, idx)))
		dests_del(st, &b->t);
	btab_unlink(st, idx);
	*b = (struct sock_bound){ 0 };
	idx_free(&st->sock->bounds, idx);
}

/* :: of an AF_INET6 socket; a v4 wildcard is a mapped address. */
static bool any6(const struct sd_addr *a)
{
	return sd_addr_is_any(a) && !sd_addr_is_v4(a);
}

/* Is there an address that both would receive on? */
static bool overlap(const struct sock_bound *x, const struct sock_bound *y)
{
	const struct sd_addr *a = &x->t.laddr, *b = &y->t.laddr;
	bool a4 = sd_addr_is_v4(a), b4 = sd_addr_is_v4(b);

	if (a4 && b4)
		return sd_addr_is_any(a) || sd_addr_is_any(b) || sd_addr_eq(a, b);
	if (any6(a) && any6(b))
		return true;
	if (any6(b))
		return !(y->v6only && a4);
	if (any6(a))
		return !(x->v6only && b4);
	return sd_addr_eq(a, b);
}

static bool both_reuseport(const struct sock_bound *n, const struct sock_bound *o)
{
	return n->reuse & o->reuse & SOCK_REUSEPORT && n->uid == o->uid;
}

static bool stream_conflict(const struct sock_bound *n, const struct sock_bound *o, bool any_port)
{
	if (any_port)
		return true;
	if (n->reuse & o->reuse & SOCK_REUSEADDR && o->state != SOCK_B_LISTEN)
		return false;
	return !both_reuseport(n, o);
}


/* Take over what the holder's options say now; a slot that is gone leaves the last word. */
void btab_refresh(struct stack *st, struct sock_bound *b)
{
	struct sd_slot_p *sp = sock_slot_p(st, b->id);

	if (sp)
		b->reuse = ld_rlx(&sp->opts.reuse) & (SOCK_REUSEADDR | SOCK_REUSEPORT);
}

/* The first holder that would receive what @n receives, and that is not told from it by
 * SO_REUSEADDR, decides. */
static bool dgram_conflict(struct stack *st, const struct sock_bound *n, uint32_t self,
			   bool any_port)
{
	uint32_t idx = *chain(st, n->proto, false, n->t.lport);
	struct sock_bound *o;

	for (; (o = bound_at(st, idx)); idx = o->next) {
		if (idx == self || !overlap(n, o))
			continue;
		if (any_port)
			return true;
		btab_refresh(st, o);
		if (!(n->reuse & o->reuse & SOCK_REUSEADDR))
			return !both_reuseport(n, o);
	}
	return false;
}

static bool chain_conflict(struct stack *st, const struct sock_bound *n, uint32_t self,
			   bool any_port, uint32_t idx)
{
	struct sock_bound *o;

	for (; (o = bound_at(st, idx)); idx = o->next) {
		if (idx == self || !overlap(n, o))
			continue;
		btab_refresh(st, o);
		if (stream_conflict(n, o, any_port))
			return true;
	}
	return false;
}

bool btab_conflict(struct stack *st, const struct sock_bound *n, uint32_t self, bool any_port)
{
	if (n->proto == IPPROTO_UDP)
		return dgram_conflict(st, n, self, any_port);
	return chain_conflict(st, n, self, any_port, *chain(st, n->proto, false, n->t.lport)) ||
	       chain_conflict(st, n, self, any_port, *chain(st, n->proto, true, n->t.lport));
}

/* ---- what a TCP port remembers of those who took it ---- */

/* Does the socket that formed the group receive whatever @n receives? Its wildcard covers @n, not
 * the other way round. */
static bool memo_covers(const struct port_memo *m, const struct sock_bound *n)
{
	const struct sd_addr *a = &m->addr, *b = &n->t.laddr;

	if (sd_addr_is_v4(a)) {
		if (m->family == AF_INET && any6(b))
			return !n->v6only && sd_addr_is_any(a);
		return sd_addr_is_v4(b) && !n->v6only && (sd_addr_is_any(a) || sd_addr_eq(a, b));
	}
	if (any6(a))
		return !(m->v6only && sd_addr_is_v4(b));
	return sd_addr_eq(a, b);
}

static bool memo_same_group(const struct port_memo *m, const struct sock_bound *n)
{
	return m->group && n->reuse & SOCK_REUSEPORT && m->uid == n->uid && memo_covers(m, n);
}

static void memo_update(struct stack *st, const struct sock_bound *n, bool first)
{
	struct port_memo *m = &st->sock->memos[n->t.lport];

	if (!(n->reuse & SOCK_REUSEPORT))
		m->group = 0;
	else if (first || !memo_same_group(m, n))
		*m = (struct port_memo){ .group = 1, .family = n->family, .v6only = n->v6only,
					 .uid = n->uid, .addr = n->t.laddr };
}

bool btab_take(struct stack *st, const struct sock_bound *n, uint32_t self, bool any_port)
{
	const struct port_memo *m = &st->sock->memos[n->t.lport];
	bool first;

	if (n->proto == IPPROTO_UDP)
		return !btab_conflict(st, n, self, any_port);
	first = nobody_holds(st, n->proto, n->t.lport);
	if (!first && (any_port || !memo_same_group(m, n)) && btab_conflict(st, n, self, any_port))
		return false;
	memo_update(st, n, first);
	return true;
}

void btab_recall(struct stack *st, const struct sock_bound *n)
{
	if (n->t.lport && n->proto == IPPROTO_TCP && !n->autobound && n->state != SOCK_B_KIDS)
		memo_update(st, n, nobody_holds(st, n->proto, n->t.lport));
}

uint32_t btab_first(struct stack *st, uint8_t proto, uint16_t port)
{
	return *chain(st, proto, false, port);
}

bool btab_explicit(struct stack *st, uint8_t proto, uint16_t port)
{
	return *chain(st, proto, false, port) != 0;
}

uint32_t sock_bound_walk(struct stack *st, uint32_t pos, uint32_t max,
			 void (*fn)(void *arg, uint32_t idx, const struct sock_bound *b),
			 void *arg)
{
	const struct sock_bound *b;

	for (uint32_t end = pos + max; pos < end; pos++) {
		if (pos + 1 >= st->sock->bounds.bump)
			return 0;
		b = bound_at(st, pos + 1);
		if (b)
			fn(arg, pos + 1, b);
	}
	return pos;
}
