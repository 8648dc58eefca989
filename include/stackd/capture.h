/* SPDX-License-Identifier: MIT */
/* include/stackd/capture.h - a capture's memory, shared by the engine and the program that reads it
 *
 * One memfd of the engine's per capture: a head, then a ring of records per worker. A worker writes
 * records and moves prod; the reader takes them and moves cons; what does not fit is counted and
 * dropped, so the engine never waits. The engine trusts nothing of it but its own copy of prod.
 */
#ifndef STACKD_CAPTURE_H
#define STACKD_CAPTURE_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "stackd/ctl.h"

#define SD_CAP_MAGIC	0x31504143444b5453ull	/* "STKDCAP1" */
#define SD_CAP_PAGE	4096u
#define SD_CAP_SNAP	(64u * 1024 + 64)	/* longest frame: 64 KiB and its Ethernet header */
#define SD_CAP_RING_MIN	(256u * 1024)
#define SD_CAP_RING_MAX	(64u * 1024 * 1024)
#define SD_CAP_INSNS	480			/* of a filter */
#define SD_CAP_WORKERS	32u

/* Where a frame was seen. */
enum sd_cap_point {
	SD_CAP_RX = 0,			/* as the device gave it, before GRO */
	SD_CAP_GRO,			/* after GRO: what IP and ARP get */
	SD_CAP_TX,			/* as the device gets it */
	SD_CAP_POINTS
};
#define SD_CAP_BIT(point) (1u << (point))

/* ctl.h's CTL_CAPTURE. dev: "" = the first device. Root only. */
struct sd_cap_insn {			/* classic BPF, as libpcap compiles it */
	uint16_t code;
	uint8_t jt, jf;
	uint32_t k;
};
struct sd_ctl_capture {
	struct sd_ctl_head h;
	uint32_t points;		/* SD_CAP_BIT()s */
	uint32_t snaplen;		/* bytes kept of a frame, 1 .. SD_CAP_SNAP */
	uint32_t ring_bytes;		/* per worker, a power of two */
	uint32_t insn_cnt;		/* 0 = everything */
	char dev[16];
	struct sd_cap_insn insn[];
};
static_assert(sizeof(struct sd_cap_insn) == 8, "as struct bpf_insn");
/* CTL_CAPTURE_R: this and the memfd. The capture ends with the connection. */
struct sd_ctl_capture_r {
	struct sd_ctl_head h;
	uint64_t size;			/* of the memfd */
};

struct sd_cap_head {			/* page 0; writer: engine, before it is handed out */
	uint64_t magic;
	uint32_t workers;
	uint32_t ring_bytes;
	uint32_t snaplen;
	uint32_t points;
	char dev[16];
};

/* Ring w: a page at sd_cap_ring_off(w), then ring_bytes of records. */
struct sd_cap_ring {
	uint64_t prod;			/* bytes written; writer: worker, st_rel */
	uint64_t seen[SD_CAP_POINTS];	/* frames that passed the filter; writer: worker */
	uint64_t dropped[SD_CAP_POINTS];	/* of these: no room */
	uint64_t pad;
	uint64_t cons;			/* bytes taken; writer: reader, st_rel */
};
static_assert(offsetof(struct sd_cap_ring, cons) == 64, "writer: reader");

/* A record never wraps: what is left at the end of the ring is skipped by a record of type PAD. */
#define SD_CAP_PAD	0xffffu
struct sd_cap_rec {
	uint32_t len;			/* of the record, this included; a multiple of 8 */
	uint16_t point;			/* enum sd_cap_point, or SD_CAP_PAD */
	uint16_t rsv;
	uint32_t cap_len, wire_len;	/* bytes that follow; bytes of the frame */
	uint64_t time_ns;		/* CLOCK_REALTIME */
};
static_assert(sizeof(struct sd_cap_rec) == 24, "a multiple of 8");

static inline uint64_t sd_cap_ring_off(uint32_t w, uint32_t ring_bytes)
{
	return SD_CAP_PAGE + (uint64_t)w * (SD_CAP_PAGE + ring_bytes);
}

#endif
