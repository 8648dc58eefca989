/* SPDX-License-Identifier: MIT */
/* tests/unit/sock/sx.h - stacks with ip, sock and udp and one segment, without engine
 * Addresses 192.0.2.2/24 and 192.0.2.3/24 are stackd's. No device: what leaves the host is dropped
 * and counted; packets to our own addresses are looped. What goes up is written down in sx.
 */
#ifndef TESTS_SX_H
#define TESTS_SX_H

#include <netinet/in.h>
#include <sys/socket.h>

#include "stackd/sock/sock_int.h"
#include "stackd/tcp/tcp.h"
#include "stackd/udp/udp.h"
#include "tests/unit/harness.h"

#define SX_A	0xc0000202u
#define SX_B	0xc0000203u
#define SX_PEER	0xc0000201u
#define SX_SEG	1
#define SX_LOG	4096

struct sx_reply { struct stack_reply_to to; int err; uint32_t len; uint8_t data[SD_REPLY_DATA]; };
struct sx_event { struct sock_id id; uint32_t ev; };

static struct sx {
	struct hx *h;
	struct shm_seg *segs;
	struct shm_epool *epools[HX_WORKERS];
	struct sx_reply reply;		/* the last one */
	unsigned replies, events;
	struct sx_event ev[SX_LOG];
	uint32_t gen, rseq;
} sx;

static inline struct sd_addr sx_v4(uint32_t a) { return sd_addr_v4(cpu_to_be32(a)); }

static inline void sx_reply_fn(struct stack *st, struct stack_reply_to to, int err,
			       const void *data,
			       uint32_t len)
{
	if (!to.mbox)
		return;
	sx.replies++;
	sx.reply.to = to;
	sx.reply.err = err;
	sx.reply.len = len;
	if (len)
		memcpy(sx.reply.data, data, len);
}

static inline void sx_event_fn(struct stack *st, struct sock_id id, uint32_t ev)
{
	sx.ev[sx.events++ % SX_LOG] = (struct sx_event){ id, ev };
}

static inline void sx_arena(struct hx *h)
{
	struct arena_region_def defs[AR_MAX];

	arena_unmap(&h->arena);
	close(h->arena.fd);
	for (int i = 0; i < AR_MAX; i++)
		defs[i] = (struct arena_region_def){ 64, 2 };
	defs[AR_NEIGH] = (struct arena_region_def){ sizeof(struct neigh_rec), NEIGH_MAX };
	defs[AR_SYSCTL] = (struct arena_region_def){ sizeof(struct sysctl), 2 };
	defs[AR_SEG] = (struct arena_region_def){ sizeof(struct seg_rec), STACK_MAX_SEGS };
	defs[AR_PSLOTS] = (struct arena_region_def){ sizeof(struct seg_pslots), STACK_MAX_SEGS };
	defs[AR_BOUND] = (struct arena_region_def){ sizeof(struct sock_bound), 1u << 20 };
	defs[AR_LISTENER] = (struct arena_region_def){ sizeof(struct sock_listener), 4096 };
	defs[AR_TCB] = (struct arena_region_def){ tcp_tcb_size(), 1u << 20 };
	defs[AR_TW] = (struct arena_region_def){ tcp_tw_size(), 1u << 20 };
	defs[AR_UDP] = (struct arena_region_def){ udp_sock_size(), 4096 };
	defs[AR_PROC] = (struct arena_region_def){ 256, 4096 };
	cr_assert_eq(arena_create(h->workers, defs, 1, &h->arena), 0);
}

static inline void sx_segment(uint32_t id)
{
	struct seg_rec *rec = arena_at(&sx.h->arena, AR_SEG, id);
	struct shm_seg seg;
	int ro, rw;

	cr_assert_eq(shm_seg_create(id, sx.h->workers, &ro, &rw), 0);
	cr_assert_eq(shm_seg_map(ro, rw, true, &seg), 0);
	close(ro);			/* rw stays: the engine keeps it, too */
	sx.segs[id] = seg;
	rec->live = 1;
	shm_espan_init(&rec->span);
	for (unsigned w = 0; w < sx.h->workers; w++)
		cr_assert_eq(shm_epool_init(&sx.epools[w][id], &rec->span), 0);
}

static inline void sx_init_up(unsigned workers, const struct stack_up *up)
{
	static const uint8_t mac[6] = { 2, 0, 0, 0, 0, 1 };
	struct sd_addr a = sx_v4(SX_A), b = sx_v4(SX_B);

	memset(&sx, 0, sizeof(sx));
	sx.h = hx_init(workers);
	sx_arena(sx.h);
	sx.segs = calloc(STACK_MAX_SEGS, sizeof(*sx.segs));
	for (unsigned w = 0; w < workers; w++) {
		struct stack *st = &sx.h->st[w];

		sx.epools[w] = calloc(STACK_MAX_SEGS, sizeof(**sx.epools));
		st->segs = sx.segs;
		st->epools = sx.epools[w];
		st->up = up;
		st->boot_secret[0] = 0x1234;
		st->boot_secret[1] = 0x5678;
		cr_assert_eq(link_init(st), 0);
		link_set_dev(st, mac, 1500, 0);
		cr_assert_eq(ip_init(st), 0);
		cr_assert_eq(ip_add_addr(st, &a, 120), 0);
		cr_assert_eq(ip_add_addr(st, &b, 120), 0);
		cr_assert_eq(sock_init(st), 0);
		cr_assert_eq(udp_init(st), 0);
	}
	sx_segment(SX_SEG);
}

static inline void sx_init(unsigned workers)
{
	static const struct stack_up up = { .send = hx_send, .reply = sx_reply_fn,
					    .event = sx_event_fn };

	sx_init_up(workers, &up);
}

/* Everything on its way arrives, looped packets included. */
static inline void sx_pump(void)
{
	unsigned n;

	do {
		for (unsigned w = 0; w < sx.h->workers; w++)
			sock_poll(&sx.h->st[w]);
		n = hx_pump(sx.h);
		for (unsigned w = 0; w < sx.h->workers; w++) {
			n += ip_poll_local(&sx.h->st[w]);
			link_flush(&sx.h->st[w]);
		}
	} while (n);
}

static inline void sx_fini(void)
{
	sx_pump();
	for (unsigned w = 0; w < sx.h->workers; w++) {
		struct stack *st = &sx.h->st[w];

		udp_fini(st);
		sock_fini(st);
		ip_fini(st);
		link_fini(st);
		shm_epool_fini(&sx.epools[w][SX_SEG]);
		free(sx.epools[w]);
	}
	close(sx.segs[SX_SEG].rw_fd);
	shm_seg_unmap(&sx.segs[SX_SEG]);
	free(sx.segs);
	hx_fini(sx.h);
}

/* A program's slot in service, as app's ATTACH leaves it. */
static inline struct sock_id sx_slot(uint8_t family, uint8_t type, uint8_t reuse)
{
	struct sock_id id = { .seg = SX_SEG, .gen = ++sx.gen };
	struct sd_slot_p *sp;
	struct sd_slot_e *e;

	id.slot = shm_pslot_alloc(&sx.segs[SX_SEG]);
	cr_assert(id.slot);
	sp = shm_slot_p(&sx.segs[SX_SEG], id.slot);
	e = shm_slot_e(&sx.segs[SX_SEG], id.slot);
	*sp = (struct sd_slot_p){ .gen = id.gen, .opts = { .family = family, .type = type,
							   .reuse = reuse } };
	*e = (struct sd_slot_e){ .gen = id.gen, .state = SD_ST_CLOSE, .type = type,
				 .tx_limit = 212992,
				 .rx_limit = 212992,
				 .proto = type == SOCK_STREAM ? IPPROTO_TCP : IPPROTO_UDP };
	sock_slot_count(&sx.h->st[0], SX_SEG, 1);
	return id;
}

static inline struct sd_slot_e *sx_e(struct sock_id id)
{
	return shm_slot_e(&sx.segs[SX_SEG], id.slot);
}

static inline struct sd_slot_p *sx_p(struct sock_id id)
{
	return shm_slot_p(&sx.segs[SX_SEG], id.slot);
}

static inline struct sock_cmd sx_cmd(struct sock_id id, enum sd_op op, struct sd_addr addr,
				     uint16_t port)
{
	return (struct sock_cmd){
		.id = id, .op = (uint16_t)op, .addr = addr, .port = port,
		.reply = { .seg = SX_SEG, .mbox = 1, .rseq = ++sx.rseq },
		.cred = { .low_ports = true },
	};
}

#endif
