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
 *   I2  the transmit records tile [snd_una, snd_nxt); packets_out, sacked_out, lost_out and
 *       retrans_out are the sums of their segments by mark (tcp_txq_assert)
 *   I3  rcv_nxt <= rcv_adv + 1; slot_e.rx_tail == rcv_nxt, less 1 once the FIN has come
 *   I4  something outstanding => DL_RTO set; something to send and a closed window => DL_PERSIST
 *       set
 *   I5  ranges of a reassembly list are sorted, disjoint, not touching, above rcv_nxt
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
#define TH_ECE	0x40u
#define TH_CWR	0x80u

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
static inline uint64_t u64_max(uint64_t a, uint64_t b) { return a > b ? a : b; }
static inline uint32_t tcp_ms(const struct stack *st) { return (uint32_t)(st->now_us / 1000); }

/* ---- constants; what can be set is in core/sysctl.def ---- */

#define TCP_RTO_MIN_US		200000u		/* a probe of a closed window waits it */
#define TCP_RTO_MAX_US		120000000u
#define TCP_TIMEOUT_MIN_US	2000u		/* of tail probes and reordering timers */
#define TCP_DELACK_US		40000u
#define TCP_DELACK_MAX_US	200000u
#define TCP_CORK_US		200000u
#define TCP_TRIM_US		1000000u
#define TCP_RETRY_US		10000u		/* after the packet pool was empty */
#define TCP_TIMEWAIT_US		60000000ull
#define TCP_IW			10		/* segments, RFC 6928 */
#define TCP_MSS_UNKNOWN		536u
#define TCP_MSS_MIN		88u		/* as tcp_min_snd_mss with room for options */
#define TCP_MSS_LEAST		48u		/* whatever the window */
#define TCP_PMTU_MIN		552u
#define TCP_QUICKACKS		16
#define TCP_BUF_MIN		4608u
#define TCP_SND_FIRST		131072u		/* a send buffer begins with room for a burst */
#define TCP_PAWS_AGE_MS		(24u * 24 * 3600 * 1000)
#define TCP_WSCALE_MAX		14
#define TCP_GSO_MAX		65535u		/* IP total length of a super-frame */
#define TCP_HDRS		40u		/* IPv4 and TCP header */
#define TCP_SSTHRESH_INF	0x7fffffffu
#define TCP_RACK_PERSIST	16		/* recoveries that a widened window outlives */

/* ---- connection state ---- */

/* Deadlines that share a TCB's one wheel node; milliseconds, 0 = none. */
enum tcp_dl { DL_RTO, DL_PERSIST, DL_DELACK, DL_KEEP, DL_TRIM, DL_MAX };

/* What DL_RTO is set for: one of them at a time (RFC 8985 8). */
enum tcp_rto_kind { RTO_LOSS, RTO_PROBE, RTO_REORDER };

/* Congestion state, Linux's numbers as tcp_info shows them. */
enum tcp_ca { CA_OPEN = 0, CA_DISORDER, CA_CWR, CA_RECOVERY, CA_LOSS };

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
#define TF_CWND_LIM	(1u << 14)	/* the congestion window was full within the last flight */
#define TF_HOSTILE	(1u << 15)	/* program broke the contract: abort at the next chance */
#define TF_LOCAL	(1u << 16)	/* peer is stackd itself */
#define TF_RCV_TUNE	(1u << 17)	/* receive buffer grows by itself */
#define TF_SND_TUNE	(1u << 18)
#define TF_DSACK	(1u << 19)	/* dsack_lo/hi go into the next ACK */
#define TF_FRTO		(1u << 20)	/* RFC 5682: is the timeout spurious? */
#define TF_PUSH_NOW	(1u << 21)	/* persist or cork timer: send a partial segment once */
#define TF_ZERO_WND	(1u << 22)	/* the last window we sent was 0 */
#define TF_TLP_RTX	(1u << 23)	/* the tail probe was a retransmission */
#define TF_HASHED	(1u << 24)
#define TF_NO_DF	(1u << 25)
#define TF_EMBRYO	(1u << 26)	/* in a SYN queue */

#define TF_RESET	(1u << 27)	/* adoption: not to be trusted, reset it */
#define TF_LAST_WORDS	(1u << 28)	/* what is sent now is copied: the FIFO is about to go */

/* tcb.flags2 */
#define T2_RACK_ADV	(1u << 0)	/* RACK's newest delivery has advanced: look for losses */
#define T2_RACK_DSACK	(1u << 1)	/* a D-SACK came in this round */
#define T2_RENEG	(1u << 2)	/* the peer took SACKs back */
#define T2_ECN		(1u << 3)	/* agreed (RFC 3168) */
#define T2_ECN_DEMAND	(1u << 4)	/* say ECE until the peer says CWR */
#define T2_ECN_CWR	(1u << 5)	/* say CWR with the next new data */
#define T2_ECN_SEEN	(1u << 6)	/* the peer has marked a segment as capable */
#define T2_RTX		(1u << 7)	/* send what is marked lost, as far as cwnd allows */
#define T2_ACK_SCHED	(1u << 8)	/* data is not acknowledged yet */
#define T2_ECN_ASKED	(1u << 9)	/* our SYN has asked */
#define T2_CONFIRM	(1u << 10)	/* progress since our last segment */
#define T2_FRESH	(1u << 11)	/* nothing older waits before what was written just now */
#define T2_MORE		(1u << 12)	/* and more of it is to come: MSG_MORE */
#define T2_PACED	(1u << 13)	/* has a record in pace[] */

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
	uint32_t flags, flags2;		/* TF_*, T2_* */
	uint8_t state;			/* enum sd_state, by tcp_set_state() only */
	uint8_t ca;			/* enum tcp_ca */
	uint8_t due;			/* DUE_* */
	uint8_t cc;			/* index of the congestion control */
	uint32_t dirty_next, dirty_prev;
	uint32_t syn_next, syn_prev;	/* TF_EMBRYO: siblings of the listener */
	uint32_t ooo;			/* reassembly list; 0 = empty */
	uint32_t holder;		/* embryo: AR_LISTENER; accepted: a brood; else AR_BOUND */
	uint32_t iss, irs;

	/* send; 32-bit positions are the low half, ordered like sequence numbers */
	uint64_t snd_una, snd_nxt;
	uint64_t snd_tail;		/* checked copy of slot_p.tx_tail */
	uint64_t snd_edge;		/* right edge of the peer's window */
	uint64_t snd_up;		/* just after the last urgent byte; <= snd_una: none */
	uint32_t txq_head, txq_tail;	/* transmit records in order of position, 0 = none */
	uint32_t ts_head, ts_tail;	/* those that may be lost, by time of transmission */
	uint32_t packets_out, sacked_out, lost_out, retrans_out;	/* segments */
	uint32_t cwnd, ssthresh;	/* segments */
	uint32_t cwnd_cnt;		/* acknowledged towards the next segment of cwnd */
	uint32_t max_wnd;		/* largest window the peer has offered */
	uint32_t usage_seq, max_packets_out;	/* was cwnd full up to there; the most until then */
	uint32_t cwnd_used, cwnd_ms;	/* RFC 2861: how much of it lately, since when */
	uint16_t mss;			/* payload of a full segment, timestamps taken off */
	uint16_t mss_peer;
	uint16_t mtu;
	uint32_t snd_push;		/* where PSH was said last */
	uint32_t snd_sml;		/* end of the last segment that was not full (Nagle) */
	uint32_t snd_wl1;		/* of the peer's numbers */

	/* round trips (RFC 6298 in Linux's form) */
	uint32_t srtt8_us;		/* 8 times the smoothed round trip; 0 = no sample */
	uint32_t mdev_us, mdev_max_us, rttvar_us;	/* four times the deviation */
	uint32_t rtt_seq;		/* rttvar may fall once per flight: its end */
	uint32_t rto_us;		/* with backoff */
	uint32_t min_rtt_us, min_rtt_ms;	/* smallest lately, and when */
	uint64_t rack_us;		/* RACK: newest delivered transmission; SYN_*: SYN sent */
	uint32_t rack_end, rack_rtt_us;
	uint32_t rack_delivered;	/* delivered when the reordering window last grew */
	uint8_t rack_steps, rack_persist;

	/* recovery */
	uint8_t rto_kind;		/* enum tcp_rto_kind */
	uint8_t backoff;		/* doublings of rto_us, or of the probes' wait */
	uint32_t high_seq;		/* recovery ends when this is acknowledged */
	uint32_t sack_high;		/* end of the highest SACKed segment, when sacked_out */
	uint32_t rtx_hint, sack_hint;	/* records where the last search ended, 0 = none */
	uint32_t undo_marker;		/* snd_una at the reduction that can be undone */
	int32_t undo_retrans;		/* retransmissions that nobody called duplicate; -1 none */
	uint32_t prior_cwnd, prior_ssthresh;	/* before the reduction; ssthresh 0: no undo */
	uint32_t prr_delivered, prr_out;
	uint32_t retrans_ms;		/* first retransmission of this episode, 0 = none */
	uint32_t tlp_seq;		/* snd_nxt at the tail probe, valid while tlp_out */
	uint16_t reordering;
	uint8_t undo_ok, tlp_out;	/* undo_marker, tlp_seq are valid */
	uint32_t reord_seen;

	/* delivery rate (32-bit microseconds, differences only) */
	uint32_t delivered, delivered_ce, lost, app_limited;
	uint32_t delivered_us, first_tx_us, rate_delivered, rate_us;

	uint32_t tx_limit, rx_limit;
	uint32_t last_snd_us;		/* last data sent, first time or again */
	uint32_t last_snd_ms, last_rcv_ms;	/* last data sent, last segment that was taken */
	uint32_t last_data_ms;		/* last data received */
	uint32_t last_oow_ms;
	uint32_t probe_ms;		/* since when probes are unanswered, 0 = none are */
	uint32_t ato_us;		/* how long an ACK is held back now */
	uint16_t rcv_mss;		/* estimate of the peer's segment size */
	uint8_t snd_ws, rcv_ws;
	uint8_t rtx_cnt, probes;	/* unanswered retransmissions, probes */
	uint8_t quick;			/* ACKs to send at once */
	uint8_t syn_rtx;		/* handshake segments sent again */
	uint8_t tos, ttl;
	uint8_t keep_cnt, syn_cnt;	/* 0 = default */
	uint16_t keep_idle_s, keep_intvl_s;
	uint16_t maxseg;
	uint16_t soft_err;
	uint32_t user_timeout_ms, notsent_lowat;
	uint32_t retrans;		/* segments retransmitted in all */
	uint32_t bytes_retrans, dsack_dups, segs_in, segs_out, data_in, data_out, ooo_in;

	/* receive */
	uint64_t rcv_nxt;
	uint64_t rcv_adv;		/* right edge of the window as advertised */
	uint64_t rcv_wup;		/* rcv_nxt when the last ACK went out */
	uint64_t rcv_head;		/* checked copy of slot_p.rx_head */
	uint64_t rcv_high;		/* highest position backed by chunks */
	uint32_t rcv_ssthresh;		/* the window is not wider than this yet */
	uint32_t wnd_clamp;		/* nor ever than this */
	uint64_t rcv_fin;		/* TF_FIN_SEEN */
	uint64_t drs_edge;		/* autotuning: end of the measured window */
	uint32_t drs_ms;
	uint32_t ts_recent, ts_recent_ms, ts_off;
	uint32_t dsack_lo, dsack_hi;	/* wire numbers */
	uint32_t sel[TCP_SACK_MAX][2];	/* blocks to report, newest first; low halves */
	uint8_t sel_cnt;
	uint8_t more;			/* the FIFO's end was written with MSG_MORE */
	uint8_t nodelay_ev, slowack_ev;	/* of sd_opts, as seen last */
	uint32_t syn_ms;		/* first SYN of an active open */
	uint8_t linger2_s;		/* 0 = default, SD_LINGER2_NONE */

	uint32_t next_hop4;		/* wire order; routes are looked up again after a timeout */
	uint32_t cc_priv[14];		/* the congestion control's own */
};
static_assert(sizeof(struct tcb) <= 704, "eleven lines");

/* One frame as it was sent, until it is acknowledged: the retransmission queue and the scoreboard.
 * Private memory: what is lost with the engine is taken for lost by the network. */
struct tcp_txr {
	uint64_t pos;			/* in the sequence space; len counts the FIN */
	uint32_t len;
	uint16_t mss;			/* payload of its full segments */
	uint16_t segs;
	uint32_t next, prev;		/* by position */
	uint32_t tnext, tprev;		/* by time; tprev == idx of itself: not in that list */
	uint64_t sent_us;
	uint16_t flags;			/* TXR_* */
	uint16_t rsv;
	uint32_t delivered, delivered_us, first_us;	/* the connection's, when it was sent */
	uint32_t in_flight;		/* segments, itself included */
	uint32_t lost;			/* the connection's count, likewise */
};
static_assert(sizeof(struct tcp_txr) <= 64, "one line");

#define TXR_SACKED	(1u << 0)
#define TXR_LOST	(1u << 1)
#define TXR_RTX		(1u << 2)	/* sent again, and that copy is in flight */
#define TXR_EVER	(1u << 3)	/* was ever sent again */
#define TXR_FIN		(1u << 4)
#define TXR_LIMITED	(1u << 5)	/* sent while the program had too little to send */
#define TXR_TIMED	(1u << 6)	/* in the list by time */
#define TXR_RATED	(1u << 7)	/* its delivery was counted for the rate */
#define TXR_PSH		(1u << 8)	/* its end was the end of what the program had written */

/* A rate sample, as congestion controls get it with each ACK. */
struct tcp_rate {
	bool valid;			/* prior_* were taken from a delivered segment */
	bool app_limited, retrans, ack_delayed;
	uint32_t prior_us, prior_delivered, prior_lost, prior_in_flight, tx_in_flight;
	uint32_t last_end;
	uint32_t delivered;		/* segments over interval_us; 0 = no sample */
	uint32_t interval_us;
	uint32_t rtt_us;		/* of the segment acknowledged last, 0 = none */
	uint32_t acked_sacked, losses, ce;
};

/* What one ACK says: facts in flag, sums; lives on the stack of tcp_step_ack(). */
struct tcp_ack {
	uint32_t flag;			/* FLAG_* */
	uint64_t prior_una;
	uint32_t prior_fack;		/* end of the highest SACKed before */
	uint32_t reord;			/* lowest position that was overtaken */
	uint32_t dup;			/* duplicate ACKs that this one stands for */
	uint64_t first_sack_us, last_sack_us;	/* when newly SACKed segments were sent */
	uint8_t rexmit;			/* enum tcp_rexmit */
	bool ece;
	struct tcp_rate rs;
};
enum tcp_rexmit { REXMIT_NONE, REXMIT_LOST, REXMIT_NEW };

#define FLAG_DATA	(1u << 0)	/* carried data */
#define FLAG_WIN	(1u << 1)	/* changed the window */
#define FLAG_ACKED	(1u << 2)	/* acknowledged something */
#define FLAG_RTX_ACKED	(1u << 3)	/* some of it had been sent again */
#define FLAG_SACKED	(1u << 4)	/* newly SACKed something */
#define FLAG_ECE	(1u << 5)
#define FLAG_LOST_RTX	(1u << 6)	/* a retransmission was lost */
#define FLAG_ORIG	(1u << 7)	/* original transmissions arrived after all */
#define FLAG_UNA	(1u << 8)	/* snd_una advanced */
#define FLAG_DSACK	(1u << 9)
#define FLAG_DSACK_TLP	(1u << 10)
#define FLAG_RENEG	(1u << 11)
#define FLAG_TIMER	(1u << 12)	/* set the retransmission timer anew */
#define FLAG_DELAYED	(1u << 13)	/* may have been a delayed ACK */
#define FLAG_NOT_DUP	(FLAG_DATA | FLAG_WIN | FLAG_ACKED)
#define FLAG_FORWARD	(FLAG_ACKED | FLAG_SACKED)

/* TIME_WAIT, and FIN_WAIT2 of orphans: no slot, no FIFO. */
struct tcp_tw {
	struct sock_tuple t;		/* first, as in struct tcb */
	struct wheel_node tm;
	uint32_t bound;			/* AR_BOUND still held, 0 = none; kid: as tcb.holder */
	uint32_t snd_nxt, rcv_nxt;	/* wire numbers */
	uint32_t rcv_wnd;		/* as on the wire */
	uint32_t ts_recent, ts_recent_ms, ts_off;
	uint32_t last_oow_ms;
	uint16_t seg;			/* the segment it came from, for show */
	uint8_t substate;		/* SD_ST_TIME_WAIT or SD_ST_FIN_WAIT2; 0 = free */
	uint8_t has_ts, tos, rcv_ws;
	uint8_t kid;			/* of a connection from accept() */
	uint8_t linger2_s;		/* FIN_WAIT2: how long, 0 = tcp_fin_timeout */
};

/* Sorted, disjoint position ranges: a reassembly list. */
#define TCP_RANGES 64
struct tcp_range { uint64_t lo, hi; };
struct tcp_ranges {
	uint32_t cnt, rsv;
	struct tcp_range r[TCP_RANGES];
};

struct tcp_state {
	struct idx_pool tcbs, tws, rngs;
	struct tcb *tcb_base;		/* record 0 of AR_TCB */
	struct tcp_ranges *ranges;	/* private memory: may be lost with the engine */
	size_t ranges_size;
	struct idx_pool txrs;
	struct tcp_txr *txr;		/* likewise */
	size_t txr_size;
	struct tcp_pace *pace;		/* by TCB, likewise (pace.h) */
	size_t pace_size;
	uint32_t dirty_head, dirty_tail;
	uint32_t *syn_head, *syn_cnt;	/* by listener: embryonic connections of this worker */
	size_t syn_size;
	uint32_t listeners;
	uint32_t challenge_s, challenge_cnt;
	uint32_t orphans;		/* TCBs whose program has closed */
	uint32_t cookie_ms;		/* when a SYN cookie was sent last */
};

#define TCP_RANGE_POOL 65536u
#define TCP_TXR_POOL (1u << 20)

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
/* Payload that we take in a segment: what the path carries, less the options of each. */
static inline uint32_t tcp_advmss(const struct tcb *tcb)
{
	uint32_t mss = tcb->mtu - TCP_HDRS;

	if (tcb->maxseg && tcb->maxseg < mss)
		mss = tcb->maxseg;
	return mss - (tcb->flags & TF_TS ? TCP_TS_LEN : 0);
}
/* Is urgent data ahead of what is sent at @pos? */
static inline bool tcp_urgent(const struct tcb *tcb, uint64_t pos)
{
	return pos_lt(tcb->snd_una, tcb->snd_up) && pos_lt(pos, tcb->snd_up);
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
/* Shrink @io to span what of it is known already. Return: false when nothing is. */
bool tcp_ranges_overlap(const struct tcp_ranges *r, struct tcp_range *io);
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
bool tcp_err_elsewhere(struct stack *st, const struct ip_err_info *info, uint8_t *asked,
		       uint16_t *ret_to);
void tcp_seg_place(const struct tcb *tcb, struct tcp_seg *seg);

/* ---- segment arrival, by state ---- */
enum tcp_verdict tcp_in_listen(struct stack *st, uint32_t listener, struct tcp_seg *seg,
			       const struct sock_tuple *t, uint32_t iss_hint);
enum tcp_verdict tcp_in_synsent(struct stack *st, struct tcb *tcb, struct tcp_seg *seg);
enum tcp_verdict tcp_in_sync(struct stack *st, struct tcb *tcb, struct tcp_seg *seg);
/* An ACK that may carry a SYN cookie back. Return: the embryonic connection that it completes, or
 * NULL. */
struct tcb *tcp_from_cookie(struct stack *st, uint32_t listener, const struct tcp_seg *seg,
			    const struct sock_tuple *t);
/* ---- cookie.c ---- */
uint32_t cookie_make(struct stack *st, const struct sock_tuple *t, uint32_t irs, uint16_t mss);
bool cookie_check(struct stack *st, const struct sock_tuple *t, uint32_t irs, uint32_t cookie,
		  uint16_t *ret_mss);
uint32_t cookie_ts(uint32_t ts, const struct tcp_opts *o, bool ecn);
bool cookie_options(uint32_t tsecr, struct tcp_opts *o);
void tcp_syn_queue_add(struct stack *st, struct tcb *tcb, uint32_t listener);
void tcp_syn_queue_del(struct stack *st, struct tcb *tcb);
void tcp_listen_down(struct stack *st, uint32_t listener);
void tcp_listen_up(struct stack *st, uint32_t listener);

/* ---- txq.c: what was sent and is not acknowledged ---- */
static inline struct tcp_txr *txr_at(struct stack *st, uint32_t idx)
{
	return idx ? &st->tcp->txr[idx] : NULL;
}
static inline uint64_t txr_end(const struct tcp_txr *r) { return r->pos + r->len; }
static inline uint32_t txr_data(const struct tcp_txr *r) { return r->len - !!(r->flags & TXR_FIN); }
/* Reserve a record before sending. Return: its index, 0 = none left. */
uint32_t txq_get(struct stack *st);
void txq_unget(struct stack *st, uint32_t idx);
/* [snd_nxt, + len) has been sent; takes the record. */
void txq_append(struct stack *st, struct tcb *tcb, uint32_t idx, uint32_t len, uint16_t marks);
/* Cut a record: [pos, +len) stays. Return: false when there is no record for the rest. */
bool txq_split(struct stack *st, struct tcb *tcb, struct tcp_txr *r, uint32_t len);
void txq_recut(struct tcb *tcb, struct tcp_txr *r);
void txq_merge_next(struct stack *st, struct tcb *tcb, struct tcp_txr *r);
void txq_remove(struct stack *st, struct tcb *tcb, struct tcp_txr *r);
/* Its newest transmission is now. */
void txq_touch(struct stack *st, struct tcb *tcb, struct tcp_txr *r);
void txq_untime(struct stack *st, struct tcb *tcb, struct tcp_txr *r);
void txq_trim(struct stack *st, struct tcb *tcb, struct tcp_txr *r, uint64_t below);
void txq_free(struct stack *st, struct tcb *tcb);
/* Adoption: everything outstanding is one run of lost records. Return: false = no memory. */
bool txq_all_lost(struct stack *st, struct tcb *tcb);
void txq_assert(struct stack *st, const struct tcb *tcb);

static inline uint32_t tcp_in_flight(const struct tcb *tcb)
{
	return tcb->packets_out - tcb->sacked_out - tcb->lost_out + tcb->retrans_out;
}
/* Linux's highest_sack: where the first never SACKed position behind all SACKed ones is. */
static inline uint32_t tcp_fack(const struct tcb *tcb)
{
	return tcb->sacked_out && tcb->flags & TF_SACK ? tcb->sack_high : (uint32_t)tcb->snd_una;
}

/* ---- ack.c, sack.c ---- */
enum tcp_verdict tcp_step_ack(struct stack *st, struct tcb *tcb, struct tcp_seg *seg);
void tcp_tx_space(struct stack *st, struct tcb *tcb, struct sd_slot_e *e);
void tcp_sack_rx(struct stack *st, struct tcb *tcb, const struct tcp_seg *seg, struct tcp_ack *a);
void tcp_sack_reordering(struct stack *st, struct tcb *tcb, uint32_t low, bool ts);
unsigned tcp_sack_blocks(struct tcb *tcb, uint32_t (*blk)[2], unsigned max);
/* [lo, hi) arrived out of order; rcv_nxt has advanced. */
void tcp_sack_note(struct tcb *tcb, uint64_t lo, uint64_t hi);
void tcp_sack_advance(struct tcb *tcb);
void tcp_dsack_note(struct stack *st, struct tcb *tcb, uint64_t lo, uint64_t hi);

/* ---- recover.c: the states of congestion, undo, PRR ---- */
void tcp_alert(struct stack *st, struct tcb *tcb, const struct tcp_seg *seg, struct tcp_ack *a);
void tcp_prr(struct tcb *tcb, uint32_t newly_acked, uint32_t newly_lost, uint32_t flag);
void tcp_enter_recovery(struct stack *st, struct tcb *tcb, bool ece);
void tcp_enter_cwr(struct stack *st, struct tcb *tcb);
void tcp_enter_loss(struct stack *st, struct tcb *tcb);
/* The path takes less than some segments have: send them again. */
void tcp_simple_retransmit(struct stack *st, struct tcb *tcb);
void tcp_set_ca(struct stack *st, struct tcb *tcb, enum tcp_ca ca);
void tcp_try_keep_open(struct stack *st, struct tcb *tcb);
void tcp_init_reduction(struct stack *st, struct tcb *tcb);
void tcp_end_reduction(struct stack *st, struct tcb *tcb);
void tcp_mark_lost(struct stack *st, struct tcb *tcb, struct tcp_txr *r);
uint32_t tcp_current_ssthresh(const struct tcb *tcb);
static inline bool tcp_in_reduction(const struct tcb *tcb)
{
	return tcb->ca == CA_CWR || tcb->ca == CA_RECOVERY;
}

/* ---- rack.c: RFC 8985 ---- */
void rack_advance(struct stack *st, struct tcb *tcb, const struct tcp_txr *r);
/* Return: true when a timer was set for what may still be reordered. */
bool rack_mark_lost(struct stack *st, struct tcb *tcb);
int64_t rack_left_us(struct stack *st, const struct tcb *tcb, const struct tcp_txr *r,
		     uint32_t reo_us);
void rack_on_timeout(struct stack *st, struct tcb *tcb);
void rack_update_window(struct stack *st, struct tcb *tcb, const struct tcp_rate *rs);
bool tlp_schedule(struct stack *st, struct tcb *tcb, bool advancing);
void tlp_on_timeout(struct stack *st, struct tcb *tcb);
void tlp_on_ack(struct stack *st, struct tcb *tcb, const struct tcp_seg *seg, uint32_t flag);

/* ---- rate.c ---- */
void rate_on_sent(struct stack *st, struct tcb *tcb, struct tcp_txr *r);
void rate_on_delivered(struct tcb *tcb, struct tcp_txr *r, struct tcp_rate *rs);
void rate_finish(struct stack *st, struct tcb *tcb, uint32_t delivered, uint32_t lost,
		 struct tcp_rate *rs);
void rate_app_limited(struct tcb *tcb);

/* ---- reass.c: received data into the FIFO ---- */
enum tcp_verdict tcp_step_data(struct stack *st, struct tcb *tcb, struct tcp_seg *seg);
enum tcp_verdict tcp_data_in_order(struct stack *st, struct tcb *tcb, struct tcp_seg *seg);
/* Read slot_p.rx_head, free what was consumed. False: contract broken (TF_HOSTILE). */
bool tcp_rx_consume(struct stack *st, struct tcb *tcb);

/* ---- window.c: what we advertise, when we acknowledge ---- */
uint16_t tcp_window(struct stack *st, struct tcb *tcb);		/* wire value; moves rcv_adv */
bool tcp_window_opened(struct tcb *tcb);
void tcp_window_init(struct stack *st, struct tcb *tcb);
void tcp_window_open(struct tcb *tcb);
void tcp_data_event(struct stack *st, struct tcb *tcb, const struct tcp_seg *seg);
/* The next ACKs go at once, @most of them. */
void tcp_quickack(struct tcb *tcb, uint32_t most);
void tcp_ack_sched(struct stack *st, struct tcb *tcb);
void tcp_rcv_tune(struct stack *st, struct tcb *tcb);
uint8_t tcp_wscale_for(uint32_t space);

/* ---- output.c, segment.c ---- */
/* Bytes per second that Linux would pace at. */
uint64_t tcp_pacing_rate(struct stack *st, const struct tcb *tcb);
void tcp_output(struct stack *st, struct tcb *tcb);
/* One new segment whatever cwnd says (a tail probe). Return: true when it went. */
bool tcp_push_one(struct stack *st, struct tcb *tcb);
void tcp_send_ack(struct stack *st, struct tcb *tcb);
void tcp_send_challenge(struct stack *st, struct tcb *tcb);
void tcp_send_probe(struct stack *st, struct tcb *tcb);
void tcp_send_syn(struct stack *st, struct tcb *tcb);		/* SYN or SYN+ACK by state */
void tcp_send_rst(struct stack *st, struct tcb *tcb);
/* [pos, pos + len); @flags: TH_PSH, TH_FIN.
 * Return: 0, -ENOBUFS, -EPROTO (hole in the FIFO). */
int tcp_send_data(struct stack *st, struct tcb *tcb, uint64_t pos, uint64_t len, uint8_t flags);
uint32_t tcp_seg_mss(const struct tcb *tcb);	/* payload of a full segment that leaves now */
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

/* ---- rtt.c ---- */
void tcp_rtt_sample(struct stack *st, struct tcb *tcb, uint32_t rtt_us);
void tcp_rtt_min(struct stack *st, struct tcb *tcb, uint32_t rtt_us, bool delayed);
void tcp_rto_reset(struct stack *st, struct tcb *tcb);		/* from the samples, no backoff */
static inline uint32_t tcp_srtt_us(const struct tcb *tcb) { return tcb->srtt8_us >> 3; }
static inline uint32_t tcp_min_rtt(const struct tcb *tcb)
{
	return tcb->min_rtt_ms ? tcb->min_rtt_us : UINT32_MAX;
}

/* ---- rtx.c: sending again ---- */
/* One record, or up to @segs segments of it; @probe: of the tail. Return: 0, -EAGAIN (window),
 * -ENOBUFS, -EPROTO. */
int tcp_rtx_one(struct stack *st, struct tcb *tcb, struct tcp_txr *r, uint32_t segs,
		bool probe);
/* What is marked lost, as far as cwnd allows. Return: as above. */
int tcp_rtx_lost(struct stack *st, struct tcb *tcb);
void tcp_rto_rearm(struct stack *st, struct tcb *tcb);
void tcp_rto_set(struct stack *st, struct tcb *tcb, enum tcp_rto_kind kind, uint64_t us);
/* Until the retransmission timer that counts from the head's transmission; may be negative. */
int64_t tcp_rto_left_us(struct stack *st, const struct tcb *tcb);
void tcp_on_rto(struct stack *st, struct tcb *tcb);
void tcp_on_persist(struct stack *st, struct tcb *tcb);
uint64_t tcp_probe_wait_us(const struct tcb *tcb);
bool tcp_rtx_timed_out(struct stack *st, const struct tcb *tcb, unsigned boundary,
		       uint32_t timeout_ms);
unsigned tcp_orphan_retries(struct stack *st, const struct tcb *tcb, bool alive);

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
void tcp_orphan(struct stack *st, struct tcb *tcb);	/* its program is gone: TF_ORPHAN */
void tcp_queue_fin(struct stack *st, struct tcb *tcb);
void tcp_disconnect(struct stack *st, struct tcb *tcb);	/* AF_UNSPEC; frees tcb */

/* ---- timewait.c ---- */
struct tcp_tw *tcp_tw_at(struct stack *st, uint32_t idx);
bool tcp_tw_add(struct stack *st, const struct tcp_tw *from);
/* connect() wants the tuple of a connection that is over. @named: bind() asked for the port; else
 * net.ipv4.tcp_tw_reuse decides, on timestamps. Return: the first sequence number to use, beyond
 * the old one's window; 0 = the tuple is not in TIME_WAIT, or not to be had. */
uint32_t tcp_tw_take(struct stack *st, const struct sock_tuple *t, bool named);
/* The port that it held. */
void tcp_tw_let_go(struct stack *st, const struct tcp_tw *tw);
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
void tcp_init_bufs(struct stack *st, struct tcb *tcb, uint32_t sndbuf, uint32_t rcvbuf);
/* At most half of the largest window that the peer has offered. */
uint32_t tcp_half_wnd(const struct tcb *tcb, uint32_t len);
void tcp_note_wnd(struct stack *st, struct tcb *tcb, uint32_t wnd);
bool tcp_ecn_wanted(struct stack *st, const struct tcb *tcb);
void tcp_set_mtu(struct stack *st, struct tcb *tcb, uint32_t mtu);
/* SYN and SYN+ACK: what the peer's options mean. */
void tcp_negotiate(struct stack *st, struct tcb *tcb, const struct tcp_seg *seg);
void tcp_established(struct stack *st, struct tcb *tcb, const struct tcp_seg *seg);
int tcp_route(struct stack *st, struct tcb *tcb);

/* ---- info.c ---- */
void tcp_getinfo(struct stack *st, struct tcb *tcb, struct stack_reply_to to);

#endif
