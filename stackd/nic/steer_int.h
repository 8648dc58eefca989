/* SPDX-License-Identifier: MIT */
/* nic/steer_int.h - constants that the C hash and the steering program share */
#ifndef NIC_STEER_INT_H
#define NIC_STEER_INT_H

#include <stdbool.h>
#include <stdint.h>

#define STEER_MUL_ADDR	0x9e3779b1u
#define STEER_MUL_PORT	0x85ebca6bu
#define STEER_MUL_MIX	0xc2b2ae35u
#define STEER_SHIFT	15

/* The program for @queues queues, loaded; @at_ip: it is given frames at their IP header (packet
 * fan-out), else at the Ethernet header (TAP). Return: its fd or -errno. */
int steer_bpf_load(uint16_t queues, bool at_ip);

#endif
