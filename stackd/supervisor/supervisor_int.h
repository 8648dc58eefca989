/* SPDX-License-Identifier: MIT */
/* supervisor/supervisor_int.h - what the supervisor's files share */
#ifndef SUPERVISOR_SUPERVISOR_INT_H
#define SUPERVISOR_SUPERVISOR_INT_H

#include <stdio.h>
#include <sys/types.h>

#include "stackd/supervisor/store.h"
#include "stackd/supervisor/supervisor.h"

#define SUP_CONNS_MAX	4096u		/* control connections at once, */
#define SUP_CONNS_ROOT	256u		/* of which the last ones are root's */

/* One line on stderr: "stackd: ...". */
#define sup_log(...) \
	do { \
		fputs("stackd: ", stderr); \
		fprintf(stderr, __VA_ARGS__); \
		fputc('\n', stderr); \
	} while (0)

/* The device, opened: kept for the engines to come. */
struct sup_dev {
	struct nic_grant grant;
	int fds[NIC_GRANT_FDS];
};

struct supervisor {
	const struct conf *conf;
	int lock_fd, listen_fd, sig_fd, daemon_fd;	/* the last tells the waiting parent */
	int info_fd, info_ro_fd;
	struct sd_info *info;
	struct sup_dev dev;
	struct store store;
	uint64_t next_conn;		/* keys of accepted connections */
	uint32_t conns;

	pid_t engine;			/* 0 = none runs */
	int chan;			/* to the engine, -1 = none */
	bool ready;			/* the engine said so */
	bool stopping;
	uint64_t epoch;
	uint64_t started_ms;
	uint64_t start_at_ms;		/* when to start the next one, 0 = not waiting */
	uint32_t failures;		/* starts that did not last */
	bool crashed;			/* the last engine died of itself */
	uint32_t crashes;		/* engines that did */
	uint32_t unready;		/* of these, in a row, before they were ready */
};

/* ---- rundir.c: run directory, lock, control socket. Each tells its own error. ---- */
int rundir_lock(const char *dir, int *ret_fd);
int rundir_listen(const char *dir, int *ret_fd);
void rundir_unlink(const char *dir);

/* ---- device.c: devices by a short-lived helper ---- */
int device_open(const struct conf *conf, struct sup_dev *ret);

/* ---- confine.c ---- */
void confine_raise_limits(void);
/* Keep only the capabilities that the supervisor itself still needs, and IPC_LOCK if its engines
 * pin memory for a device. */
int confine_caps(bool pins);
int confine_seccomp(void);

/* ---- engines.c: one engine's life as its keeper sees it ---- */
int engines_start(struct supervisor *s);
void engines_kill(struct supervisor *s);
/* One message from the engine. Return: 0, or -errno when the channel is of no more use. */
int engines_input(struct supervisor *s);
/* A new control connection goes to the engine. Takes @fd. */
void engines_give_conn(struct supervisor *s, int fd);

/* ---- judge.c ---- */
/* Who is at the other end of @fd; from now on each of his messages says who sent it. Return: 0 or
 * -errno. */
int judge_conn(const struct supervisor *s, int fd, struct sup_cred *ret);
/* net.ipv4.ip_unprivileged_port_start of this process's network namespace, as it is now. */
uint16_t judge_port_start(void);
/* Return: 0 and when it was started, or -EACCES. */
int judge_low_port(uint32_t pid, uint64_t *ret_start);

/* ---- daemonize.c ---- */
/* Return: 0 in the daemon's process, or -errno; the caller's process does not return. */
int daemonize_begin(struct supervisor *s);
/* Standard output and error go to RUN-DIR/stackd.log. */
int daemonize_log(const struct supervisor *s);

/* ---- notify.c ---- */
/* Tell systemd, if it asked. */
void notify_systemd(const char *state);

#endif
