/* SPDX-License-Identifier: MIT */
/* supervisor/supervisor.c - start-up, one poll loop, stop
 * Start-up in this order, each step needing the ones above it:
 *   lock            no second daemon in this run directory; nothing is touched before
 *   limits          NOFILE and MEMLOCK, inherited by helpers and engines
 *   info            the page that all programs read, in a memfd of the engine's user
 *   device          through a helper, while there is CAP_NET_ADMIN
 *   socket          programs may knock now; they wait in the backlog until the engine is ready
 *   confine         capabilities and seccomp
 *   engine
 * The loop sleeps in poll() on: the control socket, the engine's channel, a signalfd. Nothing here
 * processes a packet or reads a byte that a program wrote.
 * Restarts: an engine that ends is started again, at once if it had run well or somebody killed it,
 * else after a pause that doubles up to RESTART_MAX_MS. One that never became ready at the first
 * start ends the daemon.
 */
#include "stackd/supervisor/supervisor_int.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "stackd/core/clock.h"

#define RESTART_MIN_MS	10u
#define RESTART_MAX_MS	5000u
#define RESTART_GOOD_MS	1000u		/* who ran so long is started again at once */
#define STOP_LIMIT_MS	5000u		/* for the engine to end after SUP_STOP */

static uint64_t now_ms(void)
{
	return clock_mono_us() / 1000;
}

static int make_info(struct supervisor *s)
{
	char path[40];
	int fd = memfd_create("stackd-info", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0 || ftruncate(fd, SD_INFO_SIZE) ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
		return -errno;
	s->info = mmap(NULL, SD_INFO_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (s->info == MAP_FAILED)
		return -errno;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	s->info_fd = fd;
	s->info_ro_fd = open(path, O_RDONLY | O_CLOEXEC);
	if (s->info_ro_fd < 0 || fchmod(fd, 0400) || fchown(fd, s->conf->uid, s->conf->gid))
		return -errno;
	return 0;
}

static int make_signals(struct supervisor *s)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	s->sig_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return s->sig_fd < 0 ? -errno : 0;
}

static int start_up(struct supervisor *s)
{
	int r = rundir_lock(s->conf->run_dir, &s->lock_fd);

	if (!r && s->conf->daemonize)
		r = daemonize_log(s);
	if (r)
		return r;		/* told already, as device and socket below */
	confine_raise_limits();
	r = make_info(s);
	if (!r)
		r = make_signals(s);
	if (r) {
		sup_log("cannot start: %s", strerror(-r));
		return r;
	}
	r = device_open(s->conf, &s->dev);
	if (!r)
		r = rundir_listen(s->conf->run_dir, &s->listen_fd);
	if (r)
		return r;
	r = confine_caps(s->dev.grant.pinned);
	if (!r)
		r = confine_seccomp();
	if (!r)
		r = engines_start(s);
	if (r)
		sup_log("cannot start: %s", strerror(-r));
	return r;
}

/* The parent of --daemonize waits for this byte. From now on, nobody reads our terminal. */
static void tell_ready(struct supervisor *s)
{
	const struct sup_dev *d = &s->dev;

	sup_log("ready: %s, %u worker%s, %s", d->grant.name, s->conf->workers,
		s->conf->workers == 1 ? "" : "s", s->conf->run_dir);
	notify_systemd("READY=1");
	if (s->daemon_fd < 0)
		return;
	if (write(s->daemon_fd, "", 1) != 1)
		sup_log("nobody waits for the start");
	close(s->daemon_fd);
	s->daemon_fd = -1;
}

static void engine_gone(struct supervisor *s, int status)
{
	bool killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
	bool good = killed || (s->ready && now_ms() - s->started_ms >= RESTART_GOOD_MS);
	uint32_t wait = RESTART_MIN_MS;

	if (s->chan >= 0)
		close(s->chan);
	s->chan = -1;
	s->engine = 0;
	if (s->stopping)
		return;
	s->crashed = !killed;
	s->crashes += s->crashed;
	s->unready = s->ready || killed ? 0 : s->unready + 1;
	if (WIFSIGNALED(status))
		sup_log("engine died: signal %d (%s)", WTERMSIG(status),
			strsignal(WTERMSIG(status)));
	else
		sup_log("engine died: exit code %d", WEXITSTATUS(status));
	if (s->epoch == 1 && !s->ready) {
		s->stopping = true;	/* it never worked: no use in trying again */
		return;
	}
	s->failures = good ? 0 : s->failures + 1;
	for (uint32_t i = 1; i < s->failures && wait < RESTART_MAX_MS; i++)
		wait *= 2;
	s->start_at_ms = now_ms() + (good ? 0 : wait < RESTART_MAX_MS ? wait : RESTART_MAX_MS);
	sup_log("starting it again (epoch %llu)", (unsigned long long)s->epoch + 1);
}

static void reap(struct supervisor *s)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid == s->engine)
			engine_gone(s, status);
	}
}

static void read_signals(struct supervisor *s)
{
	struct signalfd_siginfo si;

	while (read(s->sig_fd, &si, sizeof(si)) == sizeof(si)) {
		if (si.ssi_signo == SIGCHLD)
			reap(s);
		else
			s->stopping = true;
	}
}

static void accept_conns(struct supervisor *s)
{
	for (unsigned i = 0; i < 64; i++) {
		int fd = accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC);

		if (fd < 0)
			return;
		engines_give_conn(s, fd);
	}
}

static void channel_in(struct supervisor *s)
{
	bool was_ready = s->ready;
	int r = engines_input(s);

	if (r) {
		/* Its end shows as SIGCHLD; make sure that there is one. */
		close(s->chan);
		s->chan = -1;
		engines_kill(s);
	} else if (s->ready && !was_ready && s->epoch == 1) {
		tell_ready(s);
	}
}

static int poll_timeout(const struct supervisor *s)
{
	uint64_t now = now_ms();

	if (!s->start_at_ms)
		return -1;
	return s->start_at_ms > now ? (int)(s->start_at_ms - now) : 0;
}

static void loop(struct supervisor *s)
{
	while (!s->stopping) {
		/* New connections wait while no engine is ready for them. */
		struct pollfd p[3] = {
			{ .fd = s->sig_fd, .events = POLLIN },
			{ .fd = s->chan, .events = POLLIN },
			{ .fd = s->ready && s->chan >= 0 ? s->listen_fd : -1, .events = POLLIN },
		};

		if (poll(p, 3, poll_timeout(s)) < 0 && errno != EINTR)
			return;
		if (p[1].revents && s->chan >= 0)
			channel_in(s);
		if (p[2].revents && s->chan >= 0)
			accept_conns(s);
		if (p[0].revents)
			read_signals(s);
		if (s->start_at_ms && now_ms() >= s->start_at_ms && engines_start(s)) {
			s->failures++;
			s->start_at_ms = now_ms() + RESTART_MAX_MS;
		}
	}
}

static void stop_engine(struct supervisor *s)
{
	struct sup_msg m = { .type = SUP_STOP };
	uint64_t until = now_ms() + STOP_LIMIT_MS;

	if (s->chan >= 0 && sup_send(s->chan, &m, sizeof(m), NULL, 0, MSG_DONTWAIT))
		engines_kill(s);
	while (s->engine) {
		struct pollfd p = { .fd = s->sig_fd, .events = POLLIN };
		uint64_t now = now_ms();

		if (now >= until || s->chan < 0)
			engines_kill(s);
		poll(&p, 1, now < until ? (int)(until - now) : 1000);
		read_signals(s);
		reap(s);
	}
}

int supervisor_main(const struct conf *conf)
{
	static struct supervisor s;
	bool worked;

	s = (struct supervisor){ .conf = conf, .lock_fd = -1, .listen_fd = -1, .sig_fd = -1,
				 .daemon_fd = -1, .chan = -1, .info_fd = -1, .info_ro_fd = -1 };
	if (conf->daemonize && daemonize_begin(&s))
		return 1;
	if (start_up(&s)) {
		if (s.listen_fd >= 0)
			rundir_unlink(conf->run_dir);
		return 1;
	}
	loop(&s);
	worked = s.epoch > 1 || s.ready;
	notify_systemd("STOPPING=1");
	rundir_unlink(conf->run_dir);
	stop_engine(&s);
	store_fini(&s.store);
	return worked ? 0 : 1;
}
