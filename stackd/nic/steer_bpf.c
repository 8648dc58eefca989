/* SPDX-License-Identifier: MIT */
/* nic/steer_bpf.c - nic_steer_hash() % queues as a BPF program (TUNSETSTEERINGEBPF,
 * PACKET_FANOUT_EBPF)
 *
 * The kernel runs it on each frame towards stackd: a TAP with data at the Ethernet header, a packet
 * socket's fan-out with data at the IP header. A TAP takes the result modulo the number of queues
 * from 16 bits: so the program does the modulo itself. A load outside the frame ends it with 0, so
 * short frames go to queue 0, as does all that is not IPv4.
 * Fragments and other protocols count by addresses only. The instructions are written out: no
 * compiler for BPF is needed.
 * Holds:   S2 of steer.c
 */
#include <bpf/bpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <stddef.h>
#include <unistd.h>

#include "stackd/nic/bpf_int.h"
#include "stackd/nic/steer_int.h"

int steer_bpf_load(uint16_t queues, bool at_ip)
{
	const int l3 = at_ip ? 0 : 14;
	/* r6 context, r7 addresses, r8 ports, r9 IP header length */
	const struct bpf_insn prog[] = {
		/*  0 */ MOV64(6, 1),
		/*  1 */ LDX(BPF_W, 0, 1, offsetof(struct __sk_buff, protocol)),
		/*  2 */ JEQ(0, 0x0008, 2),		/* big endian: IPv4 */
		/*  3 */ MOVI(0, 0),
		/*  4 */ EXIT(),
		/*  5 */ LOAD(BPF_W, l3 + 12),		/* source */
		/*  6 */ MOV(7, 0),
		/*  7 */ LOAD(BPF_W, l3 + 16),		/* destination */
		/*  8 */ XOR(7, 0),
		/*  9 */ MOVI(8, 0),
		/* 10 */ LOAD(BPF_B, l3 + 9),		/* protocol */
		/* 11 */ JEQ(0, 6, 1),
		/* 12 */ JNE(0, 17, 11),		/* neither TCP nor UDP: to 24 */
		/* 13 */ LOAD(BPF_H, l3 + 6),		/* flags and fragment offset */
		/* 14 */ ALUI(BPF_AND, 0, 0x3fff),
		/* 15 */ JNE(0, 0, 8),			/* a fragment: to 24 */
		/* 16 */ LOAD(BPF_B, l3),
		/* 17 */ ALUI(BPF_AND, 0, 15),
		/* 18 */ ALUI(BPF_LSH, 0, 2),
		/* 19 */ MOV(9, 0),
		/* 20 */ LOADX(BPF_H, 9, l3),		/* source port */
		/* 21 */ MOV(8, 0),
		/* 22 */ LOADX(BPF_H, 9, l3 + 2),		/* destination port */
		/* 23 */ XOR(8, 0),
		/* 24 */ ALUI(BPF_MUL, 7, STEER_MUL_ADDR),
		/* 25 */ ALUI(BPF_MUL, 8, STEER_MUL_PORT),
		/* 26 */ XOR(7, 8),
		/* 27 */ MOV(8, 7),
		/* 28 */ ALUI(BPF_RSH, 8, STEER_SHIFT),
		/* 29 */ XOR(7, 8),
		/* 30 */ ALUI(BPF_MUL, 7, STEER_MUL_MIX),
		/* 31 */ MOV(8, 7),
		/* 32 */ ALUI(BPF_RSH, 8, STEER_SHIFT),
		/* 33 */ XOR(7, 8),
		/* 34 */ ALUI(BPF_MOD, 7, queues),
		/* 35 */ MOV(0, 7),
		/* 36 */ EXIT(),
	};
	LIBBPF_OPTS(bpf_prog_load_opts, opts);
	int fd;

	if (queues == 0)
		return -EINVAL;
	fd = bpf_prog_load(BPF_PROG_TYPE_SOCKET_FILTER, "stackd_steer", "Dual MIT/GPL", prog,
			   sizeof(prog) / sizeof(prog[0]), &opts);
	return fd < 0 ? -errno : fd;
}
