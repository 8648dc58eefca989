/* SPDX-License-Identifier: MIT */
/* tcp/pace.h - connections that are not to send in bursts: pacing, and BBR's record
 * Both are kept beside the TCB in private memory, one record per TCB, which costs nothing for
 * connections without T2_PACED: their pages are never touched. What is lost with the engine is
 * learned again.
 */
#ifndef TCP_PACE_H
#define TCP_PACE_H

#include <stdbool.h>
#include <stdint.h>

#include "stackd/core/wheel.h"

struct stack;
struct tcb;

/* draft-ietf-ccwg-bbr 2. Bandwidths in bytes per second, volumes in segments. */
#define BBR_UNKNOWN UINT32_MAX

struct bbr {
	uint64_t max_bw[2];		/* the highest of the last probing cycle, and of this one */
	uint64_t bw;			/* what the model allows now */
	uint64_t bw_lo;			/* lower for a while after losses; UINT64_MAX = not */
	uint64_t bw_latest;		/* highest sample of this round */
	uint64_t full_bw;		/* did Startup (or a probe) grow beyond it */
	uint64_t undo_bw_lo;
	uint32_t min_rtt_us, min_rtt_ms;	/* the lowest of ten seconds, and when */
	uint32_t probe_rtt_us, probe_rtt_ms;	/* the lowest of five */
	uint32_t probe_rtt_end_ms;	/* 0 = inflight has not fallen yet */
	uint32_t round_end;		/* delivered when this round is over */
	uint32_t loss_round_end;
	uint32_t inflight_latest;
	uint32_t inflight_hi, inflight_lo;	/* bounds, long and short */
	uint32_t undo_hi, undo_lo;
	uint32_t prior_cwnd;
	uint32_t probe_up_cnt, probe_up_acks;	/* acknowledged per segment of growth; so far */
	uint32_t cycle_ms, probe_wait_ms;
	uint32_t extra_acked[2];	/* most ahead of the rate: earlier, these rounds */
	uint32_t extra_from_us, extra_delivered;
	uint16_t pacing_gain, cwnd_gain;	/* 1/256 */
	uint16_t rounds_since_probe;
	uint8_t state, undo_state;	/* enum bbr_state */
	uint8_t acks;			/* enum bbr_acks: what the ACKs that come tell */
	uint8_t full_bw_cnt, loss_events, probe_up_rounds, extra_rounds;
	bool round_start, loss_round_start, loss_in_round;
	bool full_bw_reached, full_bw_now;
	bool probe_samples;		/* losses that come are of a probe */
	bool probe_rtt_round_done, idle_restart;
};

struct tcp_pace {
	struct wheel_node tm;		/* armed: something waits to be sent */
	uint64_t next_ns;		/* when the next frame may go */
	uint64_t rate;			/* payload bytes per second; 0 = as the window allows */
	struct bbr bbr;
};

struct tcp_pace *pace_of(struct stack *st, const struct tcb *tcb);
/* Pace the connection from now on, or no longer (its record is cleared). */
void pace_start(struct stack *st, struct tcb *tcb);
void pace_stop(struct stack *st, struct tcb *tcb);
/* Must the next frame wait? The connection is due again when it need not. */
bool pace_hold(struct stack *st, struct tcb *tcb);
/* Does it wait just now? */
bool pace_waits(struct stack *st, const struct tcb *tcb);
/* A frame of @len payload bytes went. */
void pace_sent(struct stack *st, struct tcb *tcb, uint32_t len);
/* Segments per frame: about a quarter of a millisecond's worth, two at least. */
uint32_t pace_burst(struct stack *st, const struct tcb *tcb);
void pace_init(struct stack *st);

#endif
