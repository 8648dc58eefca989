/* SPDX-License-Identifier: MIT */
/* nic/bpf_int.h - writing small BPF programs as instructions: no compiler for BPF is needed
 * Jumps skip @to instructions. LOAD and LOADX read from the packet of the context in r6, in host
 * order, into r0; outside the packet they end the program with 0.
 */
#ifndef NIC_BPF_INT_H
#define NIC_BPF_INT_H

#include <linux/bpf.h>

#define OP(c, d, s, o, i) \
	((struct bpf_insn){ .code = (c), .dst_reg = (d), .src_reg = (s), .off = (o), \
			    .imm = (int)(i) })
#define MOV(d, s)	OP(BPF_ALU | BPF_MOV | BPF_X, d, s, 0, 0)
#define MOV64(d, s)	OP(BPF_ALU64 | BPF_MOV | BPF_X, d, s, 0, 0)
#define MOVI(d, i)	OP(BPF_ALU | BPF_MOV | BPF_K, d, 0, 0, i)
#define ALUI(op, d, i)	OP(BPF_ALU | (op) | BPF_K, d, 0, 0, i)
#define XOR(d, s)	OP(BPF_ALU | BPF_XOR | BPF_X, d, s, 0, 0)
#define LOAD(size, off)	OP(BPF_LD | BPF_ABS | (size), 0, 0, 0, off)
#define LOADX(size, r, off) OP(BPF_LD | BPF_IND | (size), 0, r, 0, off)
#define LDX(size, d, s, off) OP(BPF_LDX | BPF_MEM | (size), d, s, off, 0)
#define JNE(d, i, to)	OP(BPF_JMP32 | BPF_JNE | BPF_K, d, 0, to, i)
#define JEQ(d, i, to)	OP(BPF_JMP32 | BPF_JEQ | BPF_K, d, 0, to, i)
#define EXIT()		OP(BPF_JMP | BPF_EXIT, 0, 0, 0, 0)

#endif
