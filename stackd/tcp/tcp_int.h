/* SPDX-License-Identifier: MIT */
/* tcp/tcp_int.h - what the files of this room share
 *
 * Positions. Both directions of a connection are counted in 64-bit stream positions, the same as in
 * the slots and FIFOs: byte 0 is the first byte after the SYN. The wire's 32-bit number of position
 * p is isn + 1 + p; it is widened once, when a segment has found its TCB (tcp_seg_place), and
 * narrowed when a header is written. A SYN lies at position -1, a FIN at the position after the
 * last byte. Positions are compared by pos_lt() and its kin, which also order the few that lie just
 * below 0.
 *
 * Holds (tcb_assert() after each segment in debug and simulation):
 *   I1  snd_una <= snd_nxt <= snd_tail + 1, the 1 only when a FIN is queued
 *   I2  snd_una <= high_rxt, lost_edge <= snd_nxt while recovering
 *   I3  rcv_nxt <= rcv_adv + 1; slot_e.rx_tail == rcv_nxt, less 1 once the FIN has come
 *   I4  something outstanding => DL_RTO set; something to send and a closed window => DL_PERSIST
 *       set
 *   I5  ranges of a scoreboard or reassembly list are sorted, disjoint, not touching, above
 *       snd_una or rcv_nxt
 */
#ifndef TCP_TCP_INT_H
#define TCP_TCP_INT_H

#include "stackd/tcp/cc.h"
#include "stackd/tcp/tcp.h"

/* ---- the wire ---------------------------------------------------------------------------- */

struct tcp_hdr {
	be16 sport, dport;
	be32 seq, ack;
	uint8_t off;			/* data offset << 4 */
	uint8_t flags;
	be16 wnd;
	uint16_t check;			/* memory order, see core/csum.h */
	be16 urg;
} __attribute__((packed));		/* behind Ethernet it is not aligned */
static_assert(sizeof(struct tcp_hdr) == 20, "RFC 9293 3.1");

#define TH_FIN	0x01u
#define TH_SYN	0x02u
#define TH_RST	0x04u
#define TH_PSH	0x08u
#define TH_ACK	0x10u
#define TH_URG	0x20u

#define TCP_OPTS_MAX	40
#define TCP_SACK_MAX	4
#define TCP_TS_LEN	12u		/* timestamps and two NOPs */

struct tcp_opts {
	uint16_t mss;			/* 0 = absent */
	uint8_t wscale;			/* only when has_ws */
	bool has_ws, has_ts, sack_ok;
	uint8_t sack_cnt;
	uint32_t tsval, tsecr;
	struct { uint32_t lo, hi; } sack[TCP_SACK_MAX];	/* wire numbers */
};

/* A received segment: header in host order, then, once its TCB is known, positions. */
struct tcp_seg {
	uint32_t seq, ack;		/* wire numbers */
	uint64_t pos, end, ack_pos;	/* tcp_seg_place(); end counts SYN and FIN */
	uint32_t len;			/* payload bytes */
	uint32_t data_off;		/* of the payload, from p->data */
	uint32_t seg_len;		/* payload of one frame on the wire: < len after GRO */
	uint16_t wnd, urg;
	uint8_t flags;
	uint8_t why;			/* enum drop_reason when a step says TCP_DROP */
	struct tcp_opts o;
	struct pkt *p;			/* borrowed by the steps */
	const struct ip_rx_info *ip;
};

/* What a step of segment arrival says. */
enum tcp_verdict {
	TCP_NEXT,			/* on to the next step */
	TCP_DONE,			/* finished, nothing wrong */
	TCP_DROP,			/* discard; seg.why says why */
};

/* ---- positions and times -------------------------------------------------------------------- */

static inline bool pos_lt(uint64_t a, uint64_t b) { return (int64_t)(a - b) < 0; }
static inline bool pos_le(uint64_t a, uint64_t b) { return (int64_t)(a - b) <= 0; }
static inline uint64_t pos_max(uint64_t a, uint64_t b) { return pos_lt(a, b) ? b : a; }
static inline uint64_t pos_min(uint64_t a, uint64_t b) { return pos_lt(a, b) ? a : b; }
/* b - a, 0 when b is below a. */
static inline uint64_t pos_span(uint64_t a, uint64_t b) { return pos_lt(a, b) ? b - a : 0; }
/* Order of 32-bit numbers that wrap: timestamps, milliseconds. */
static inline bool u32_lt(uint32_t a, uint32_t b) { return (int32_t)(a - b) < 0; }
static inline uint32_t u32_min(uint32_t a, uint32_t b) { return a < b ? a : b; }
static inline uint32_t u32_max(uint32_t a, uint32_t b) { return a > b ? a : b; }
static inline uint64_t u64_min(uint64_t a, uint64_t b) { return a < b ? a : b; }
static inline uint32_t tcp_ms(const struct stack *st) { return (uint32_t)(st->now_us / 1000); }

/* ---- constants (Linux's defaults under their sysctl names) ---- */

#define TCP_RTO_INIT_US		1000000u
#define TCP_RTO_MIN_US		200000u
#define TCP_RTO_MAX_US		120000000u
#define TCP_DELACK_US		40000u
#define TCP_CORK_US		200000u
#define TCP_TRIM_US		1000000u
#define TCP_RETRY_US		10000u		/* after the packet pool was empty */
#define TCP_TIMEWAIT_US		60000000ull	/* also tcp_fin_timeout */
#define TCP_SYN_RETRIES		6
#define TCP_SYNACK_RETRIES	5
#define TCP_RETRIES2		15
#define TCP_ORPHAN_RETRIES	8
/* retransmissions that count in a window taken back */
#define TCP_RTX_PROBES		7
#define TCP_KEEP_IDLE_S		7200
#define TCP_KEEP_INTVL_S	75
#define TCP_KEEP_CNT		9
#define TCP_IW			10		/* segments, RFC 6928 */
#define TCP_DUP_THRESH		3
#define TCP_MSS_UNKNOWN		536u
#define TCP_MSS_MIN		88u		/* as tcp_min_snd_mss with room for options */
#define TCP_PMTU_MIN		552u
#define TCP_QUICKACKS		16
#define TCP_OOW_MS		500		/* tcp_invalid_ratelimit */
#define TCP_CHALLENGES_S	1000		/* tcp_challenge_ack_limit per second and worker */
#define TCP_RMEM_DEFAULT	131072u
#define TCP_RMEM_MAX		6291456u
#define TCP_WMEM_DEFAULT	131072u
#define TCP_WMEM_MAX		4194304u
#define TCP_BUF_MIN		4608u
#define TCP_PAWS_AGE_MS		(24u * 24 * 3600 * 1000)
#define TCP_WSCALE_MAX		14
#define TCP_GSO_MAX		65535u		/* IP total length of a super-frame */
#define TCP_HDRS		40u		/* IPv4 and TCP header */

/* ---- connection state ---- */

/* Deadlines that share a TCB's one wheel node; milliseconds, 0 = none. */
enum tcp_dl { DL_RTO, DL_PERSIST, DL_DELACK, DL_KEEP, DL_TRIM, DL_MAX };

/* Congestion state, Linux's numbers as tcp_info shows them. */
enum tcp_ca { CA_OPEN = 0, CA_RECOVERY = 3, CA_LOSS = 4 };

/* tcb.flags */
#define TF_TS		(1u << 0)	/* timestamps agreed */
#define TF_SACK		(1u << 1)
#define TF_WS		(1u << 2)
#define TF_FIN		(1u << 3)	/* FIN queued at snd_tail: no more data */
#define TF_RCV_FIN	(1u << 4)	/* peer's FIN taken */
#define TF_FIN_SEEN	(1u << 5)	/* peer's FIN lies at rcv_fin, data before it is missing */
#define TF_ORPHAN	(1u << 6)	/* program has closed */
#define TF_SHUT_RD	(1u << 7)
#define TF_PASSIVE	(1u << 8)
#define TF_NODELAY	(1u << 9)
#define TF_CORK		(1u << 10)
#define TF_KEEPALIVE	(1u << 11)
#define TF_WND_STALL	(1u << 12)	/* persist timer waits for the peer's window */
#define TF_PINGPONG	(1u << 13)	/* interactive: ACKs ride on answers */
#define TF_CWND_LIM	(1u << 14)	/* the window of congestion held data back */
#define TF_HOSTILE	(1u << 15)	/* program broke the contract: abort at the next chance */
#define TF_LOCAL	(1u << 16)	/* peer is stackd itself */
#define TF_RCV_TUNE	(1u << 17)	/* receive buffer grows by itself */
#define TF_SND_TUNE	(1u << 18)
#define TF_DSACK	(1u << 19)	/* dsack_lo/hi go into the next ACK */
#define TF_RTX_HEAD	(1u << 20)	/* send the segment at snd_una now, whatever cwnd says */
#define TF_PUSH_NOW	(1u << 21)	/* persist or cork timer: send a partial segment once */
#define TF_ZERO_WND	(1u << 22)	/* the last window we sent was 0 */
#define TF_RESCUED	(1u << 23)	/* RFC 6675: the one rescue retransmission was made */
#define TF_HASHED	(1u << 24)
#define TF_NO_DF	(1u << 25)
#define TF_EMBRYO	(1u << 26)	/* in a SYN queue: the union is syn_next, syn_prev */

#define TF_RESET	(1u << 27)	/* adoption: not to be trusted, reset it */
#define TF_LAST_WORDS	(1u << 28)	/* what is sent now is copied: the FIFO is about to go */

/* tcb.due: why it is on the dirty list */
#define DUE_TX		(1u << 0)
#define DUE_ACK		(1u << 1)
#define DUE_LISTED	(1u << 7)	/* linked */

struct tcb {
	struct sock_tuple t;		/* first: sock_elookup() compares it */
	struct sock_id id;		/* slot 0: SYN_RECV */
	struct wheel_node tm;
	uint32_t dl[DL_MAX];
	uint32_t armed_ms;		/* when tm fires, valid while armed */
	uint32_t flags;			/* TF_* */
	uint8_t state;			/* enum sd_state, by tcp_set_state() only */
	uint8_t ca;			/* enum tcp_ca */
	uint8_t due;			/* DUE_* */
	uint8_t cc;			/* index of the congestion control */
	uint32_t dirty_next, dirty_prev;
	union {				/* SYN_RECV: siblings of the listener; later: range lists */
		struct { uint32_t syn_next, syn_prev; };
		struct { uint32_t sb, ooo; };	/* scoreboard, reassembly; 0 = empty */
	};
	uint32_t holder;		/* SYN_RECV: AR_LISTENER; active: AR_BOUND; else 0 */
	uint32_t iss, irs;

	/* send */
	uint64_t snd_una, snd_nxt;
	uint64_t snd_tail;		/* checked copy of slot_p.tx_tail */
	uint64_t snd_edge;		/* right edge of the peer's window */
	uint64_t snd_wl1;
	uint64_t snd_sml;		/* end of the last segment that was not full (Nagle) */
	uint64_t high_rxt;		/* RFC 6675 HighRxt: next to retransmit */
	uint64_t recover;		/* recovery ends when this is acknowledged */
	uint64_t lost_edge;		/* what is not SACKed below is deemed lost */
	uint64_t rtt_pos, rtt_us;	/* one timed segment: its end, when sent; 0 = none */
	uint32_t max_wnd;		/* largest window the peer has offered */
	uint32_t cwnd, ssthresh;	/* bytes */
	uint32_t srtt_us, rttvar_us, rto_us;	/* srtt 0 = no sample yet */
	uint32_t tx_limit, rx_limit;
	uint32_t last_snd_ms, last_rcv_ms, last_ack_ms;
	uint32_t stall_ms;		/* since when nothing was acknowledged; 0 = all was */
	uint32_t last_oow_ms;
	uint16_t mss_max;		/* by MTU, peer's MSS and TCP_MAXSEG; without options */
	uint16_t mss;			/* less the timestamps: payload of a full segment */
	uint16_t mss_peer;
	uint16_t mtu;
	uint16_t dupacks;		/* NewReno: segments that have left the network */
	uint16_t rcv_mss;		/* estimate of the peer's segment size */
	uint8_t snd_ws, rcv_ws;
	uint8_t rtx_cnt, probes;	/* unanswered retransmissions, probes */
	uint8_t quick;			/* ACKs to send at once */
	uint8_t persist_shift;		/* backoff of window probes */
	uint8_t tos, ttl;
	uint8_t keep_cnt, syn_cnt;	/* 0 = default */
	uint16_t keep_idle_s, keep_intvl_s;
	uint16_t maxseg;
	uint16_t soft_err;
	uint32_t user_timeout_ms;
	uint32_t retrans;		/* segments retransmitted in all */

	/* receive */
	uint64_t rcv_nxt;
	uint64_t rcv_adv;		/* right edge of the window as advertised */
	uint64_t rcv_wup;		/* rcv_nxt when the last ACK went out */
	uint64_t rcv_head;		/* checked copy of slot_p.rx_head */
	uint64_t rcv_high;		/* highest position backed by chunks */
	uint64_t rcv_fin;		/* TF_FIN_SEEN */
	uint64_t drs_edge;		/* autotuning: end of the measured window */
	uint32_t drs_ms;
	uint32_t ts_recent, ts_recent_ms, ts_off;
	uint32_t dsack_lo, dsack_hi;	/* wire numbers */

	uint32_t next_hop4;		/* wire order; routes are looked up again after a timeout */
	uint32_t cc_priv[4];		/* the congestion control's own */
};
static_assert(sizeof(struct tcb) <= 448, "idle connection costs less than 1 KiB in all");

/* TIME_WAIT, and FIN_WAIT2 of orphans: no slot, no FIFO. */
struct tcp_tw {
	struct sock_tuple t;		/* first, as in struct tcb */
	struct wheel_node tm;
	uint32_t bound;			/* AR_BOUND still held, 0 = none */
	uint32_t snd_nxt, rcv_nxt;	/* wire numbers */
	uint32_t rcv_wnd;		/* as on the wire */
	uint32_t ts_recent, ts_recent_ms, ts_off;
	uint32_t last_oow_ms;
	uint16_t seg;			/* the segment it came from, for show */
	uint8_t substate;		/* SD_ST_TIME_WAIT or SD_ST_FIN_WAIT2; 0 = free */
	uint8_t has_ts, tos, rcv_ws, rsv[2];
};

/* Sorted, disjoint position ranges: a SACK scoreboard or a reassembly list. */
#define TCP_RANGES 64
struct tcp_range { uint64_t lo, hi; };
struct tcp_ranges {
	uint16_t cnt, recent;		/* recent: index of the range that grew last */
	uint32_t rsv;
	struct tcp_range r[TCP_RANGES];
};

struct tcp_state {
	struct idx_pool tcbs, tws, rngs;
	struct tcb *tcb_base;		/* record 0 of AR_TCB */
	struct tcp_ranges *ranges;	/* private memory: may be lost with the engine */
	size_t ranges_size;
	uint32_t dirty_head, dirty_tail;
	uint32_t *syn_head, *syn_cnt;	/* by listener: embryonic connections of this worker */
	size_t syn_size;
	uint32_t listeners;
	uint32_t challenge_s, challenge_cnt;
};

#define TCP_RANGE_POOL 65536u

/* ---- tcp.c ---- */
/* TF_HOSTILE ends the connection. Return: false when it did. */
bool tcp_honest(struct stack *st, struct tcb *tcb);

/* ---- tcb.c ---- */
struct tcb *tcb_at(struct stack *st, uint32_t idx);	/* NULL: out of range or free */
static inline uint32_t tcb_idx(struct stack *st, const struct tcb *tcb)
{
	return (uint32_t)(tcb - st->tcp->tcb_base);
}
struct tcb *tcb_alloc(struct stack *st, const struct sock_tuple *t);	/* hashed, or NULL */
void tcb_free(struct stack *st, struct tcb *tcb);	/* unhashed, timers and lists gone */
const char *tcp_state_name(uint8_t state);
bool tcp_state_edge(uint8_t from, uint8_t to);
void tcp_set_state(struct stack *st, struct tcb *tcb, uint8_t state);
void tcp_due(struct stack *st, struct tcb *tcb, uint8_t due);
void tcp_undirty(struct stack *st, struct tcb *tcb);
void tcb_assert(struct stack *st, const struct tcb *tcb);
/* The next tuple's initial sequence number (RFC 6528) and timestamp offset. */
uint32_t tcp_isn(struct stack *st, const struct sock_tuple *t);
uint32_t tcp_ts_offset(struct stack *st, const struct sock_tuple *t);

static inline void tcp_intent(struct stack *st, uint32_t kind, uint32_t idx)
{
	st->intent->kind = kind;
	st->intent->idx = idx;
}

/* Wire numbers of positions. */
static inline uint32_t snd_seq(const struct tcb *tcb, uint64_t pos)
{
	return tcb->iss + 1 + (uint32_t)pos;
}
static inline uint32_t rcv_seq(const struct tcb *tcb, uint64_t pos)
{
	return tcb->irs + 1 + (uint32_t)pos;
}
static inline uint64_t snd_pos(const struct tcb *tcb, uint32_t seq)
{
	return tcb->snd_una + (uint64_t)(int64_t)(int32_t)(seq - snd_seq(tcb, tcb->snd_una));
}
static inline uint64_t rcv_pos(const struct tcb *tcb, uint32_t seq)
{
	return tcb->rcv_nxt + (uint64_t)(int64_t)(int32_t)(seq - rcv_seq(tcb, tcb->rcv_nxt));
}
/* End of the received data: rcv_nxt without the FIN. */
static inline uint64_t rcv_data_end(const struct tcb *tcb)
{
	return tcb->rcv_nxt - !!(tcb->flags & TF_RCV_FIN);
}
static inline bool tcp_fin_acked(const struct tcb *tcb)
{
	return (tcb->flags & TF_FIN) && tcb->snd_una == tcb->snd_tail + 1;
}
static inline uint64_t tcp_data_una(const struct tcb *tcb)
{
	return pos_min(tcb->snd_una, tcb->snd_tail);
}

/* ---- ranges.c ---- */
/* Add [lo, hi). Return: false when it is new and the list is full. *ret_new: bytes not known
 * before. */
bool tcp_ranges_add(struct tcp_ranges *r, uint64_t lo, uint64_t hi, uint64_t *ret_new);
void tcp_ranges_trim(struct tcp_ranges *r, uint64_t below);
uint64_t tcp_ranges_sum(const struct tcp_ranges *r, uint64_t lo, uint64_t hi);	/* bytes inside */
/* The pool: NULL / 0 when @idx is 0 or none is left. */
struct tcp_ranges *tcp_ranges_at(struct stack *st, uint32_t idx);
struct tcp_ranges *tcp_ranges_get(struct stack *st, uint32_t *idx);
void tcp_ranges_put(struct stack *st, uint32_t *idx);

/* ---- opts.c ---- */
/* Return: false when malformed (the options before stay valid, as Linux takes them). */
bool tcp_opts_parse(const uint8_t *opt, unsigned len, struct tcp_opts *ret);
unsigned tcp_opts_syn(uint8_t *to, uint16_t mss, int wscale, bool sack, bool ts, uint32_t tsval,
		      uint32_t tsecr);		/* wscale -1: none */
unsigned tcp_opts_ts(uint8_t *to, uint32_t tsval, uint32_t tsecr);
unsigned tcp_opts_sack(uint8_t *to, const uint32_t (*blk)[2], unsigned cnt);

/* ---- input.c ---- */
void tcp_rx(struct stack *st, struct pkt *p, const struct ip_rx_info *info);
void tcp_err(struct stack *st, const struct ip_err_info *info);
void tcp_seg_place(const struct tcb *tcb, struct tcp_seg *seg);

/* ---- segment arrival, by state ---- */
enum tcp_verdict tcp_in_listen(struct stack *st, uint32_t listener, struct tcp_seg *seg,
			       const struct sock_tuple *t, uint32_t iss_hint);
enum tcp_verdict tcp_in_synsent(struct stack *st, struct tcb *tcb, struct tcp_seg *seg);
enum tcp_verdict tcp_in_sync(struct stack *st, struct tcb *tcb, struct tcp_seg *seg);
void tcp_syn_queue_add(struct stack *st, struct tcb *tcb, uint32_t listener);
void tcp_syn_queue_del(struct stack *st, struct tcb *tcb);
void tcp_listen_down(struct stack *st, uint32_t listener);
void tcp_listen_up(struct stack *st, uint32_t listener);

/* ---- ack.c, sack.c ---- */
enum tcp_verdict tcp_step_ack(struct stack *st, struct tcb *tcb, struct tcp_seg *seg);
void tcp_tx_space(struct stack *st, struct tcb *tcb, struct sd_slot_e *e);
/* Return: bytes newly SACKed. */
uint64_t tcp_sack_rx(struct stack *st, struct tcb *tcb, const struct tcp_seg *seg);
uint64_t tcp_sack_lost_edge(struct stack *st, const struct tcb *tcb);
unsigned tcp_sack_blocks(struct stack *st, struct tcb *tcb, uint32_t (*blk)[2], unsigned max);
void tcp_dsack_note(struct tcb *tcb, uint64_t lo, uint64_t hi);

/* ---- reass.c: received data into the FIFO ---- */
enum tcp_verdict tcp_step_data(struct stack *st, struct tcb *tcb, struct tcp_seg *seg);
enum tcp_verdict tcp_data_in_order(struct stack *st, struct tcb *tcb, struct tcp_seg *seg);
/* Read slot_p.rx_head, free what was consumed. False: contract broken (TF_HOSTILE). */
bool tcp_rx_consume(struct stack *st, struct tcb *tcb);

/* ---- window.c: what we advertise, when we acknowledge ---- */
uint16_t tcp_window(struct stack *st, struct tcb *tcb);		/* wire value; moves rcv_adv */
bool tcp_window_opened(const struct tcb *tcb);
void tcp_ack_sched(struct stack *st, struct tcb *tcb, const struct tcp_seg *seg);
void tcp_rcv_tune(struct stack *st, struct tcb *tcb);
uint8_t tcp_wscale_for(uint32_t space);

/* ---- output.c, segment.c ---- */
void tcp_output(struct stack *st, struct tcb *tcb);
void tcp_send_ack(struct stack *st, struct tcb *tcb);
void tcp_send_challenge(struct stack *st, struct tcb *tcb);
void tcp_send_probe(struct stack *st, struct tcb *tcb);
void tcp_send_syn(struct stack *st, struct tcb *tcb);		/* SYN or SYN+ACK by state */
void tcp_send_rst(struct stack *st, struct tcb *tcb);
/* [pos, pos + len), FIN appended when it ends at the tail and one is queued.
 * Return: 0, -ENOBUFS, -EPROTO (hole in the FIFO). */
int tcp_send_data(struct stack *st, struct tcb *tcb, uint64_t pos, uint64_t len, bool fin);
uint32_t tcp_frame_max(const struct tcb *tcb);			/* payload of a super-frame */
/* Without a TCB. */
struct tcp_raw {
	struct sock_tuple t;
	uint32_t seq, ack;
	uint16_t wnd;
	uint8_t flags, tos;
	bool has_ts;
	uint32_t tsval, tsecr;
};
void tcp_send_raw(struct stack *st, const struct tcp_raw *r);
void tcp_reply_rst(struct stack *st, const struct tcp_seg *seg, const struct sock_tuple *t);
bool tcp_oow_limited(struct stack *st, uint32_t *last_ms);

/* ---- rtx.c ---- */
void tcp_rtt_sample(struct tcb *tcb, uint32_t rtt_us);
uint32_t tcp_rto(const struct tcb *tcb);			/* with backoff, microseconds */
uint64_t tcp_pipe(struct stack *st, const struct tcb *tcb);
/* RFC 6675 NextSeg(): rule 1; with @spare (no new data can go) rules 3 and 4. A rescue leaves
 * HighRxt alone and is made once. */
enum tcp_rtx { TCP_RTX_NONE, TCP_RTX_HOLE, TCP_RTX_RESCUE };
enum tcp_rtx tcp_rtx_next(struct stack *st, struct tcb *tcb, bool spare, uint64_t *ret_pos,
			  uint64_t *ret_len);
void tcp_enter_recovery(struct stack *st, struct tcb *tcb);
void tcp_enter_loss(struct stack *st, struct tcb *tcb, bool reduce);
void tcp_on_rto(struct stack *st, struct tcb *tcb);
void tcp_on_persist(struct stack *st, struct tcb *tcb);

/* ---- timer.c ---- */
void tcp_dl_set(struct stack *st, struct tcb *tcb, enum tcp_dl which, uint64_t delta_us);
void tcp_dl_clear(struct tcb *tcb, enum tcp_dl which);
void tcp_timers_init(struct stack *st);
/* Adoption: no wheel has the node any more; arm it anew for the earliest deadline. */
void tcp_timers_adopt(struct stack *st, struct tcb *tcb);
void tcp_keep_restart(struct stack *st, struct tcb *tcb);

/* ---- close.c: how connections end ---- */
void tcp_abort(struct stack *st, struct tcb *tcb, int err, bool rst);	/* frees tcb */
void tcp_finish(struct stack *st, struct tcb *tcb);			/* orderly; frees tcb */
void tcp_to_timewait(struct stack *st, struct tcb *tcb, uint8_t substate);	/* frees tcb */
void tcp_close(struct stack *st, struct tcb *tcb);			/* the program has closed */
void tcp_queue_fin(struct stack *st, struct tcb *tcb);
void tcp_disconnect(struct stack *st, struct tcb *tcb);	/* AF_UNSPEC; frees tcb */

/* ---- timewait.c ---- */
struct tcp_tw *tcp_tw_at(struct stack *st, uint32_t idx);
bool tcp_tw_add(struct stack *st, const struct tcp_tw *from);
/* Return: TCP_NEXT when the segment is a new SYN for a listener: the entry is gone, *ret_iss is
 * where the new connection's numbers must start. */
enum tcp_verdict tcp_tw_rx(struct stack *st, uint32_t idx, struct tcp_seg *seg, uint32_t *ret_iss);
void tcp_tw_init(struct stack *st);
void tcp_tw_adopt(struct stack *st, struct stack *home);
void tcp_tw_free(struct stack *st, uint32_t idx);

/* ---- sockops.c, conn.c ---- */
extern const struct sock_ops tcp_sock_ops;
void tcp_on_connect_msg(struct stack *st, const struct stack_msg *msg);
void tcp_abort_queued(struct stack *st, struct sock_id id);	/* listener gone: never accepted */
/* Read what the program may have changed: options, tx_tail. False: hostile. */
void tcp_load_opts(struct stack *st, struct tcb *tcb, const struct sd_slot_p *sp);
bool tcp_tx_pull(struct stack *st, struct tcb *tcb);
void tcp_init_bufs(struct tcb *tcb, uint32_t sndbuf, uint32_t rcvbuf);
void tcp_set_mtu(struct stack *st, struct tcb *tcb, uint32_t mtu);
/* SYN and SYN+ACK: what the peer's options mean. */
void tcp_negotiate(struct stack *st, struct tcb *tcb, const struct tcp_seg *seg);
void tcp_established(struct stack *st, struct tcb *tcb, const struct tcp_seg *seg);
int tcp_route(struct stack *st, struct tcb *tcb);

/* ---- info.c ---- */
void tcp_getinfo(struct stack *st, struct tcb *tcb, struct stack_reply_to to);

#endif
