/* SPDX-License-Identifier: MIT */
/* tests/unit/preload/mock.h - an engine in a thread, for tests of the shim
 * It speaks the control socket and the command rings as the real one does, has the address
 * 192.0.2.2 in 192.0.2.0/24, and joins sockets of its one family by copying from send FIFO to
 * receive FIFO: no protocol, no packets. What TCP does between two sockets is the business of other
 * tests.
 */
#ifndef TESTS_PRELOAD_MOCK_H
#define TESTS_PRELOAD_MOCK_H

#include <criterion/criterion.h>
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "preload/pl.h"

#define MOCK_ADDR	"192.0.2.2"
#define MOCK_SILENT	"192.0.2.9"	/* connects to it stay in SYN_SENT */

void mock_start(void);			/* the shim attaches on the test's first socket */
void mock_stop(void);
extern uint32_t mock_ops[SD_OP_MAX];	/* commands seen; ld_acq */
extern uint32_t mock_procs;		/* processes attached now */
/* The engine naps, and looks by itself later than a real one would. */
extern uint32_t mock_naps;
/* Naps that a program should have ended: it had said something, and time was up. */
extern uint32_t mock_overslept;
extern uint32_t mock_limit;		/* tx_limit and rx_limit of new connections, bytes */
/* The engine aborts @slot with @err. */
void mock_abort(uint32_t slot, int err);

static inline struct sockaddr_in mock_sin(const char *ip, uint16_t port)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(port) };

	inet_pton(AF_INET, ip, &in.sin_addr);
	return in;
}

/* A listening socket on the engine's own address (no kernel side). */
static inline int mock_listener(uint16_t port)
{
	struct sockaddr_in in = mock_sin(MOCK_ADDR, port);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	cr_assert_geq(fd, 0);
	cr_assert_eq(bind(fd, (struct sockaddr *)&in, sizeof(in)), 0, "bind: %m");
	cr_assert_eq(listen(fd, 16), 0, "listen: %m");
	return fd;
}

/* Two connected stream sockets, both the shim's. */
static inline void mock_pair(int sv[2])
{
	static uint16_t port = 7000;
	struct sockaddr_in in = mock_sin(MOCK_ADDR, ++port);
	int l = mock_listener(port);

	sv[0] = socket(AF_INET, SOCK_STREAM, 0);
	cr_assert_eq(connect(sv[0], (struct sockaddr *)&in, sizeof(in)), 0, "connect: %m");
	sv[1] = accept(l, NULL, NULL);
	cr_assert_geq(sv[1], 0, "accept: %m");
	close(l);
}

#endif
