/* SPDX-License-Identifier: MIT */
/* supervisor/engines.c - start an engine, serve its requests, end it
 * What an engine may ask is small: keep fds, give them back read-only, drop them, and whether a
 * process may bind a low port. A message that is not one of these ends the engine: it is not the
 * program that was started here any more.
 */
#include "stackd/supervisor/supervisor_int.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "stackd/atomic.h"
#include "stackd/core/clock.h"

#define CHAN_BUF	(1 << 20)	/* bytes; of either direction */
#define CHAN_LIMIT_S	5		/* an engine that takes no message for so long is dead */

static int send_msg(struct supervisor *s, const struct sup_msg *m, const int *fds, unsigned cnt)
{
	return sup_send(s->chan, m, sizeof(*m), fds, cnt, 0);
}

static int send_kept(void *arg, const struct store_ent *e)
{
	struct sup_msg m = { .type = SUP_KEPT, .kind = e->kind, .key = e->key };

	memcpy(m.meta, e->meta, SUP_META);
	return send_msg(arg, &m, e->fds, e->fd_cnt);
}

/* Everything that an engine is given at its start. */
static int hand_over(struct supervisor *s)
{
	struct sup_conf c = { .h = { .type = SUP_CONF }, .conf = *s->conf, .epoch = s->epoch,
			      .crashed = s->crashed, .crashes = s->crashes,
			      .port_start = judge_port_start(), .unready = s->unready };
	struct sup_dev_msg dev = { .h = { .type = SUP_DEV }, .grant = s->dev.grant };
	struct sup_msg go = { .type = SUP_GO };
	int info[2] = { s->info_fd, s->info_ro_fd };
	int r = sup_send(s->chan, &c, sizeof(c), info, 2, 0);

	if (!r)
		r = sup_send(s->chan, &dev, sizeof(dev), s->dev.fds, dev.grant.fd_cnt, 0);
	if (!r)
		r = store_walk(&s->store, send_kept, s);
	return r ? r : send_msg(s, &go, NULL, 0);
}

_Noreturn static void exec_engine(int fd)
{
	char arg[48], name[] = "stackd-engine";
	char *argv[] = { name, arg, NULL };
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	snprintf(arg, sizeof(arg), SUP_ENGINE_ARG "%d", fd);
	if (fcntl(fd, F_SETFD, 0) == 0)
		execv("/proc/self/exe", argv);
	sup_log("cannot start the engine: %s", strerror(errno));
	_exit(127);
}

static int make_channel(int sv[2])
{
	struct timeval limit = { .tv_sec = CHAN_LIMIT_S };
	int size = CHAN_BUF;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv))
		return -errno;
	for (unsigned i = 0; i < 2; i++)
		setsockopt(sv[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	setsockopt(sv[0], SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	return 0;
}

int engines_start(struct supervisor *s)
{
	int sv[2], r = make_channel(sv);
	pid_t pid;

	if (r)
		return r;
	s->epoch++;
	st_rel(&s->info->epoch, s->epoch);
	fflush(stderr);
	pid = fork();
	if (pid == 0)
		exec_engine(sv[1]);
	r = -errno;
	close(sv[1]);
	if (pid < 0) {
		close(sv[0]);
		return r;
	}
	s->engine = pid;
	s->chan = sv[0];
	s->ready = false;
	s->started_ms = clock_mono_us() / 1000;
	s->start_at_ms = 0;
	r = hand_over(s);
	if (r)
		sup_log("cannot hand over to the engine: %s", strerror(-r));
	return 0;	/* a child that is gone already shows at the next look */
}

void engines_kill(struct supervisor *s)
{
	if (s->engine)
		kill(s->engine, SIGKILL);
}

/* The engine's own memfd once more, but read-only: through /proc, because a dup would share the
 * mode. */
static int reopen_read_only(int fd)
{
	char path[40];
	int ro;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	ro = open(path, O_RDONLY | O_CLOEXEC);
	return ro < 0 ? -errno : ro;
}

/* Each message on a program's connection says who sent it. */
static bool pass_creds(const int *fds, unsigned cnt)
{
	int one = 1;

	return cnt == 1 && !setsockopt(fds[0], SOL_SOCKET, SO_PASSCRED, &one, sizeof(one));
}

static int low_port(struct supervisor *s, const struct sup_msg *m)
{
	struct sup_msg ans = { .type = SUP_LOW_R, .key = m->key };
	struct sup_low low;

	memcpy(&low, m->meta, sizeof(low));
	ans.err = judge_low_port(low.pid, &low.start);
	memcpy(ans.meta, &low, sizeof(low));
	return send_msg(s, &ans, NULL, 0);
}

static int keep(struct supervisor *s, const struct sup_msg *m, const int *fds, unsigned cnt)
{
	struct sup_msg ans = { .type = SUP_KEPT_R, .key = m->key };
	int ro = -1, r;

	if (m->key & SUP_KEY_CONN || (m->kind == KEEP_CONN && !pass_creds(fds, cnt)))
		ans.err = -EINVAL;
	else if (m->flags & SUP_F_READ_ONLY && cnt)
		ans.err = (ro = reopen_read_only(fds[0])) < 0 ? ro : 0;
	if (!ans.err)
		ans.err = store_put(&s->store, m->key, m->kind, m->meta, fds, cnt);
	if (ans.err)
		sup_close_fds(fds, cnt);
	r = send_msg(s, &ans, &ro, ro >= 0 && !ans.err ? 1 : 0);
	if (ro >= 0)
		close(ro);
	return r;
}

static void drop(struct supervisor *s, uint64_t key)
{
	unsigned n = store_drop(&s->store, key);

	if (key & SUP_KEY_CONN)
		s->conns -= n;
}

int engines_input(struct supervisor *s)
{
	int fds[SUP_MAXFDS];
	unsigned cnt;
	struct sup_msg m;
	int n = sup_recv(s->chan, &m, sizeof(m), fds, SUP_MAXFDS, &cnt, MSG_DONTWAIT);

	if (n == -EAGAIN)
		return 0;
	if (n <= 0)
		return n ? n : -EPIPE;
	if (n == sizeof(m) && m.type == ENG_KEEP)
		return keep(s, &m, fds, cnt);
	sup_close_fds(fds, cnt);
	if (n == sizeof(m) && m.type == ENG_LOW)
		return low_port(s, &m);
	if (n == sizeof(m) && m.type == ENG_DROP) {
		drop(s, m.key);
	} else if (n == sizeof(m) && m.type == ENG_READY) {
		s->ready = true;
	} else {
		sup_log("the engine sent nonsense");
		return -EPROTO;
	}
	return 0;
}

void engines_give_conn(struct supervisor *s, int fd)
{
	struct sup_msg m = { .type = SUP_CONN, .kind = KEEP_CONN,
			     .key = SUP_KEY_CONN | ++s->next_conn };
	struct sup_cred cred;

	if (judge_conn(s, fd, &cred) ||
	    s->conns >= SUP_CONNS_MAX - (cred.uid ? SUP_CONNS_ROOT : 0)) {
		dispose(fd);
		return;
	}
	memcpy(m.meta, &cred, sizeof(cred));
	if (store_put(&s->store, m.key, KEEP_CONN, m.meta, &fd, 1)) {
		dispose(fd);
		return;
	}
	s->conns++;
	/* With no engine at the moment it gets the connection with the store. */
	if (s->chan >= 0 && send_msg(s, &m, &fd, 1)) {
		sup_log("the engine does not take connections");
		engines_kill(s);
	}
}
