/* SPDX-License-Identifier: MIT */
/* udp/udp.c - registration, show, the end of a segment */
#include "stackd/udp/udp_int.h"

uint32_t udp_sock_size(void)
{
	return sizeof(struct udp_sock);
}

int udp_init(struct stack *st)
{
	static const struct ip_proto ops = { .rx = udp_rx, .err = udp_err };
	struct udp_state *u = mmap(NULL, sizeof(*u), PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int err;

	if (u == MAP_FAILED)
		return -ENOMEM;
	st->udp = u;
	err = udp_table_init(st);
	if (!err)
		err = sock_register(st, &udp_sock_ops);
	if (err) {
		udp_fini(st);
		return err;
	}
	st->on_msg[SMSG_UDP_ERR] = udp_on_err_msg;
	ip_register(st, IP_PROTO_UDP, &ops);
	return 0;
}

void udp_fini(struct stack *st)
{
	if (!st->udp)
		return;
	udp_table_fini(st);
	munmap(st->udp, sizeof(*st->udp));
	st->udp = NULL;
}

uint32_t udp_walk(struct stack *st, uint32_t pos, uint32_t max,
		  void (*fn)(void *arg, const struct udp_show *), void *arg)
{
	for (uint32_t end = pos + max; pos < end; pos++) {
		const struct udp_node *n;
		const struct udp_sock *u;

		if (pos >= st->udp->node_hi)
			return 0;
		n = udp_node(st, pos + 1);
		u = n->used && n->owner == st->worker ? udp_at(st, pos + 1) : NULL;
		if (u)
			fn(arg, &(struct udp_show){ .t = u->t, .id = u->id, .drops = u->drops,
						    .rcvq = (uint32_t)(u->rx_tail - u->rx_head),
						    .worker = u->owner });
	}
	return pos;
}

void udp_seg_gone(struct stack *st, uint16_t seg)
{
	for (uint32_t i = 1; i <= st->udp->node_hi; i++) {
		struct udp_node *n = udp_node(st, i);
		struct udp_sock *u = n->used && n->owner == st->worker ? udp_at(st, i) : NULL;

		if (u && u->id.seg == seg)
			udp_close_sock(st, i, u);
	}
}
