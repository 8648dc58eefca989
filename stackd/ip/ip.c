/* SPDX-License-Identifier: MIT */
/* ip/ip.c - life of the IP layer of one worker, registration, packets that stay inside
 * Packets to stackd's own addresses are queued and come in again at the next loop, so that a
 * transport never finds itself called from its own output.
 * In/Out:  SMSG_PKT and the local queue -> IP input
 * Threads: owning worker only
 */
#include <errno.h>
#include <sys/mman.h>

#include "stackd/core/quarantine.h"
#include "stackd/core/rng.h"
#include "stackd/ip/ip_int.h"

#define MTU_DEFAULT 1500u

/* What does not come from link/ is named here (core/quarantine.h). */
static void rx_named(struct stack *st, struct pkt *p, uint32_t flags)
{
	if (quar_pkt(st, p, p->data, QUAR_IP4))
		stack_drop(st, p, DROP_QUARANTINE);
	else
		ip4_rx_flags(st, p, flags);
	quar_pkt_done(st);
}

static void on_pkt(struct stack *st, const struct stack_msg *msg)
{
	snmp_inc(st, SNMP_Worker_RpsIn);
	rx_named(st, msg->ptr, msg->u32[0]);
}

int ip_init(struct stack *st)
{
	static const struct link_up up = { .ip4_rx = ip4_rx, .unreachable = icmp_link_failure };
	struct ip_state *ip = mmap(NULL, sizeof(*ip), PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	int err;

	if (ip == MAP_FAILED)
		return -errno;
	st->ip = ip;
	ip->mtu = st->nic ? st->nic->mtu : MTU_DEFAULT;
	for (unsigned i = 0; i < IP_IDENTS; i++)
		ip->ident[i] = (uint16_t)rng_u32(st->rng_state);
	err = reasm_init(st);
	if (err) {
		ip_fini(st);
		return err;
	}
	icmp_init(st);
	st->on_msg[SMSG_PKT] = on_pkt;
	link_set_up(st, &up);
	return 0;
}

void ip_fini(struct stack *st)
{
	struct ip_state *ip = st->ip;

	if (!ip)
		return;
	reasm_fini(st);
	while (ip->loop_head) {
		struct pkt *p = ip->loop_head;

		ip->loop_head = p->next;
		stack_pkt_free(st, p);
	}
	munmap(ip, sizeof(*ip));
	st->ip = NULL;
}

void ip_register(struct stack *st, uint8_t proto, const struct ip_proto *ops)
{
	st->ip->proto[proto] = *ops;
}

void ip_set_mtu(struct stack *st, uint32_t mtu)
{
	st->ip->mtu = mtu;
}

uint16_t ip_pseudo_sum(const struct sd_addr *src, const struct sd_addr *dst, uint8_t proto,
		       uint32_t len)
{
	struct {
		be32 src, dst;
		uint8_t zero, proto;
		be16 len;
	} __attribute__((packed)) h4 = { sd_addr_to_v4(src), sd_addr_to_v4(dst), 0, proto,
					 cpu_to_be16((uint16_t)len) };
	be32 h6[2] = { cpu_to_be32(len), cpu_to_be32(proto) };

	if (sd_addr_is_v4(src))
		return csum_fold(csum_add(0, &h4, sizeof(h4)));
	return csum_fold(csum_add(csum_add(csum_add(0, src, 16), dst, 16), h6, sizeof(h6)));
}

/* ---- packets that stay inside ---- */

/* Borrowed bytes may be gone by the next loop, and a checksum that nobody will see need not be
 * made. */
static struct pkt *settle(struct stack *st, struct pkt *p)
{
	if (p->csum_state == PKT_CSUM_PARTIAL)
		p->csum_state = PKT_CSUM_UNNECESSARY;
	if (p->frag_cnt) {
		struct pkt *c = pkt_copy_linear(st->pool, p);

		if (!c) {
			stack_drop(st, p, DROP_NO_BUF);
			return NULL;
		}
		stack_pkt_free(st, p);
		p = c;
	}
	p->bcast = 0;
	p->l2_off = 0;
	p->vlan = 0;
	p->rx_us = st->now_us;
	return p;
}

void ip_loop(struct stack *st, struct pkt *p)
{
	struct ip_state *ip = st->ip;
	uint16_t to;

	p = settle(st, p);
	if (!p)
		return;
	to = link_owner(st, p);
	if (to != st->worker) {
		ip4_handoff(st, p, to, IP_MSG_LOCAL);
		return;
	}
	p->next = NULL;
	if (ip->loop_head)
		ip->loop_tail->next = p;
	else
		ip->loop_head = p;
	ip->loop_tail = p;
}

unsigned ip_poll_local(struct stack *st)
{
	struct pkt *p = st->ip->loop_head;
	unsigned cnt = 0;

	st->ip->loop_head = NULL;
	while (p) {
		struct pkt *next = p->next;

		p->next = NULL;
		rx_named(st, p, IP_MSG_LOCAL);
		p = next;
		cnt++;
	}
	return cnt;
}

bool ip_local_pending(const struct stack *st)
{
	return st->ip->loop_head != NULL;
}
