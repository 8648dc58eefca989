/* SPDX-License-Identifier: MIT */
/* tests/fault/cancel.c - threads cancelled in calls on sockets, and handlers that jump out of them
 *   cancel ADDR DEAD       ADDR: own address to use; DEAD: an address that nobody has
 * Prints the same on the kernel's sockets and on stackd's.
 */
#include <setjmp.h>

#include "tests/fault/sigs.h"

#define ROUNDS	600			/* more than the subscriptions that a socket has room for */

/* ---- cancellation ---- */

struct victim {
	const struct call *c;
	struct sock *s;
	pthread_t thread;
	int tid;
	bool ready, done;
	bool off;			/* cancellation disabled */
	long r;
	int err, type;
};

static void *victim_main(void *arg)
{
	struct victim *v = arg;
	int old;

	v->tid = (int)syscall(SYS_gettid);
	if (v->off)
		pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old);
	__atomic_store_n(&v->ready, true, __ATOMIC_RELEASE);
	v->r = v->c->fn(v->s);
	v->err = errno;
	pthread_setcanceltype(PTHREAD_CANCEL_DEFERRED, &v->type);
	__atomic_store_n(&v->done, true, __ATOMIC_RELEASE);
	return NULL;
}

static void victim_start(struct victim *v, const struct call *c, struct sock *s, bool off)
{
	*v = (struct victim){ .c = c, .s = s, .off = off };
	pthread_create(&v->thread, NULL, victim_main, v);
	while (!__atomic_load_n(&v->ready, __ATOMIC_ACQUIRE))
		sched_yield();
}

/* Another thread uses the socket as if nothing had been. */
static void use_after(const struct call *c, struct sock *s, const char *what)
{
	struct victim v;
	void *end;

	victim_start(&v, c, s, false);
	wait_asleep(v.tid, &v.done);
	sock_release(s);
	pthread_join(v.thread, &end);
	printf("%s, after %s: %ld %s, type %d\n", c->name, what, v.r, err_name(v.r, v.err), v.type);
}

static void cancelled(const struct call *c)
{
	struct victim v;
	struct sock s;
	void *end;

	sock_open(&s, c->kind);
	victim_start(&v, c, &s, false);
	wait_asleep(v.tid, &v.done);
	pthread_cancel(v.thread);
	pthread_join(v.thread, &end);
	printf("%s: %s\n", c->name, end == PTHREAD_CANCELED ? "cancelled" : "returned");
	use_after(c, &s, "cancel");
	sock_close(&s);
	if (c->kind == STREAM_FULL)
		return;
	sock_open(&s, c->kind);
	victim_start(&v, c, &s, true);
	wait_asleep(v.tid, &v.done);
	pthread_cancel(v.thread);
	wait_asleep(v.tid, &v.done);
	sock_release(&s);
	pthread_join(v.thread, &end);
	printf("%s, disabled: %s %ld %s\n", c->name, end ? "cancelled" : "returned", v.r,
	       err_name(v.r, v.err));
	sock_close(&s);
}

/* A request that is pending acts before the call does anything. */
static void *late_victim(void *arg)
{
	struct victim *v = arg;
	int old;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old);
	pthread_cancel(pthread_self());
	pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &old);
	v->r = v->c->fn(v->s);
	return NULL;
}

static void cancelled_before(const struct call *c)
{
	struct victim v = { .c = c };
	char buf[8] = "";
	struct sock s;
	void *end;
	long n;

	sock_open(&s, c->kind);
	v.s = &s;
	sock_release(&s);
	poll(&(struct pollfd){ s.fd, POLLIN, 0 }, 1, -1);
	pthread_create(&v.thread, NULL, late_victim, &v);
	pthread_join(v.thread, &end);
	n = c->kind == LISTENER ? call_accept(&s) : recv(s.fd, buf, 8, MSG_DONTWAIT);
	printf("%s, pending: %s, left %ld %s\n", c->name,
	       end == PTHREAD_CANCELED ? "cancelled" : "returned", n, buf);
	sock_close(&s);
}

/* close() with a request pending closes nothing, as on Linux. */
static void *close_victim(void *arg)
{
	int old;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old);
	pthread_cancel(pthread_self());
	pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &old);
	close(*(int *)arg);
	return NULL;
}

static void cancelled_close(void)
{
	struct sock s;
	pthread_t t;
	void *end;

	sock_open(&s, STREAM);
	pthread_create(&t, NULL, close_victim, &s.fd);
	pthread_join(t, &end);
	printf("close, pending: %s, ", end == PTHREAD_CANCELED ? "cancelled" : "returned");
	printf("fd %d\n", fcntl(s.fd, F_GETFD));
	sock_close(&s);
}

/* ---- moments picked by a clock: spins, copies, the edge of sleep ---- */

static void pause_ns(unsigned ns)
{
	struct timespec a, b;

	clock_gettime(CLOCK_MONOTONIC, &a);
	do
		clock_gettime(CLOCK_MONOTONIC, &b);
	while ((uint64_t)(b.tv_sec - a.tv_sec) * 1000000000u + (uint64_t)b.tv_nsec -
	       (uint64_t)a.tv_nsec < ns);
}

static void cancelled_often(const struct call *c)
{
	unsigned n = 0, x = 1;
	struct victim v;
	struct sock s;
	void *end;

	sock_open(&s, c->kind);
	for (int i = 0; i < ROUNDS; i++) {
		x = x * 1664525u + 1013904223u;
		victim_start(&v, c, &s, false);
		pause_ns(x >> 15);	/* up to 131 us */
		pthread_cancel(v.thread);
		pthread_join(v.thread, &end);
		n += end == PTHREAD_CANCELED;
	}
	printf("%s: %u of %u cancelled\n", c->name, n, ROUNDS);
	use_after(c, &s, "many cancels");
	sock_close(&s);
}

/* ---- siglongjmp ---- */

static sigjmp_buf back;

static void on_alarm(int sig)
{
	siglongjmp(back, 1);
}

static void jumped(const struct call *c)
{
	struct itimerval it = { 0 }, none = { 0 };
	volatile unsigned x = 7, n = 0;
	sigset_t now;
	struct sock s;

	sock_open(&s, c->kind);
	for (volatile int i = 0; i < ROUNDS; i++) {
		x = x * 1664525u + 1013904223u;
		it.it_value.tv_usec = 1 + (x >> 24);
		if (sigsetjmp(back, 1)) {
			n++;
			continue;
		}
		setitimer(ITIMER_REAL, &it, NULL);
		c->fn(&s);
	}
	setitimer(ITIMER_REAL, &none, NULL);
	pthread_sigmask(SIG_BLOCK, NULL, &now);
	printf("%s: %u of %u jumped, SIGALRM blocked %d, SIGUSR1 blocked %d\n", c->name, n, ROUNDS,
	       sigismember(&now, SIGALRM), sigismember(&now, SIGUSR1));
	use_after(c, &s, "jumps");
	sock_close(&s);
}

/* ---- signals at any moment of a transfer, handlers that write into it ---- */

#define BULK	(8u << 20)

static int storm_fd;
static volatile unsigned storm_sent, storm_failed;

static void on_storm(int sig)
{
	int saved = errno;

	if (send(storm_fd, "\1", 1, MSG_DONTWAIT) == 1)
		storm_sent++;
	else if (errno != EAGAIN)
		storm_failed++;
	errno = saved;
}

struct sink {
	int fd;
	unsigned zeros, ones;
};

static void *sink_main(void *arg)
{
	static char buf[65536];
	struct sink *k = arg;
	ssize_t n;
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, NULL);
	while ((n = read(k->fd, buf, sizeof(buf))) > 0)
		for (ssize_t i = 0; i < n; i++) {
			k->zeros += buf[i] == 0;
			k->ones += buf[i] == 1;
		}
	return NULL;
}

static void storm(void)
{
	static const char zeros[100000];
	const struct itimerval it = { { 0, 150 }, { 0, 150 } }, none = { 0 };
	struct sink k = { 0 };
	unsigned sent = 0;
	pthread_t t;

	stream_pair(&storm_fd, &k.fd);
	pthread_create(&t, NULL, sink_main, &k);
	sigaction(SIGALRM, &(struct sigaction){ .sa_handler = on_storm, .sa_flags = SA_RESTART },
		  NULL);
	setitimer(ITIMER_REAL, &it, NULL);
	while (sent < BULK) {
		size_t len = BULK - sent < sizeof(zeros) ? BULK - sent : sizeof(zeros);
		ssize_t n = send(storm_fd, zeros, len, 0);

		if (n < 0)
			die("send");
		sent += (unsigned)n;
	}
	setitimer(ITIMER_REAL, &none, NULL);
	shutdown(storm_fd, SHUT_WR);
	pthread_join(t, NULL);
	printf("storm: %u bytes, handlers' lost %d, failed %u, some %d\n", k.zeros,
	       (int)(storm_sent - k.ones), storm_failed, k.ones > 0);
	close(storm_fd);
	close(k.fd);
}

/* Handlers that jump out of copies, too: neither direction of the connection stays locked. */
static void *echo_main(void *arg)
{
	static char buf[65536];
	int fd = *(int *)arg;
	ssize_t n;

	while ((n = recv(fd, buf, sizeof(buf), 0)) > 0)
		send(fd, buf, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL);
	return NULL;
}

static void jumped_copies(void)
{
	static char buf[100000];
	struct itimerval it = { 0 }, none = { 0 };
	volatile unsigned x = 3, jumps = 0, errors = 0;
	sigset_t all, old;
	int fd[2];
	pthread_t t;

	stream_pair(&fd[0], &fd[1]);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);	/* the other thread starts with that */
	pthread_create(&t, NULL, echo_main, &fd[1]);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	sigaction(SIGALRM, &(struct sigaction){ .sa_handler = on_alarm }, NULL);
	for (volatile int i = 0; i < 3 * ROUNDS; i++) {
		x = x * 1664525u + 1013904223u;
		it.it_value.tv_usec = 1 + (x >> 25);
		if (sigsetjmp(back, 1)) {
			jumps++;
			continue;
		}
		setitimer(ITIMER_REAL, &it, NULL);
		for (;;) {
			errors += send(fd[0], buf, sizeof(buf), 0) < 0;
			recv(fd[0], buf, sizeof(buf), MSG_DONTWAIT);
		}
	}
	setitimer(ITIMER_REAL, &none, NULL);
	printf("jumps out of copies: %d, errors %u, ", jumps == 3 * ROUNDS, errors);
	while (recv(fd[0], buf, sizeof(buf), MSG_DONTWAIT) > 0)
		;
	printf("%s\n", strerrorname_np(errno));
	shutdown(fd[0], SHUT_RDWR);
	pthread_join(t, NULL);
	close(fd[0]);
	close(fd[1]);
}

static const struct call *by_name(const char *name)
{
	for (unsigned i = 0; i < CALLS; i++)
		if (!strcmp(calls[i].name, name))
			return &calls[i];
	die(name);
	return NULL;
}

int main(int argc, char **argv)
{
	static const char *const before[] = { "accept", "recv", "read", "readv", "recvmsg",
					      "udp recvfrom", "poll", "select", "epoll_wait" };
	static const char *const often[] = { "accept", "accept4 any", "recv", "udp recvfrom",
					     "udp recvmsg any", "poll", "select", "epoll_wait" };
	const struct call *c;

	if (argc < 3)
		return 2;
	own_addr = argv[1];
	dead_addr = argv[2];
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (unsigned i = 0; i < CALLS; i++)
		if (calls[i].kind != STREAM_FULL || calls[i].fn == call_send ||
		    calls[i].fn == call_poll)
			cancelled(&calls[i]);
	for (unsigned i = 0; i < sizeof(before) / sizeof(before[0]); i++)
		cancelled_before(by_name(before[i]));
	cancelled_close();
	for (unsigned i = 0; i < sizeof(often) / sizeof(often[0]); i++)
		cancelled_often(by_name(often[i]));
	sigaction(SIGALRM, &(struct sigaction){ .sa_handler = on_alarm }, NULL);
	for (unsigned i = 0; i < sizeof(often) / sizeof(often[0]); i++) {
		c = by_name(often[i]);
		jumped(c);
	}
	storm();
	jumped_copies();
	full_close();
	return 0;
}
