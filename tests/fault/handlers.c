/* SPDX-License-Identifier: MIT */
/* tests/fault/handlers.c - handlers that meet a call in the middle of its bytes, and what a program
 * is told of its own handlers
 *   handlers ADDR DEAD     ADDR: own address to use; DEAD: not used
 * Prints the same on the kernel's sockets and on stackd's.
 */
#include <setjmp.h>
#include <sys/ioctl.h>

#pragma GCC diagnostic ignored "-Wunused-function"		/* sigs.h has more than is used */
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"	/* sigset() and its like */
#include "tests/fault/sigs.h"

#define BLOCK	(512u * 1024)		/* more than the shim publishes at once */
#define ROUNDS	300
#define ROOM	(8 << 20)

static void every(unsigned us)
{
	const struct itimerval it = { { 0, us }, { 0, us } };

	setitimer(ITIMER_REAL, &it, NULL);
}

static void handle(int sig, void (*fn)(int))
{
	sigaction(sig, &(struct sigaction){ .sa_handler = fn, .sa_flags = SA_RESTART }, NULL);
}

static void pair(int fd[2])
{
	int l = bound(SOCK_STREAM, own_addr), room = ROOM;

	setsockopt(l, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room));
	fd[0] = dial(SOCK_STREAM, own_addr, port_of(l));
	fd[1] = accept(l, NULL, NULL);
	if (fd[1] < 0)
		die("accept");
	setsockopt(fd[0], SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room));
	close(l);
}

static void start(pthread_t *t, void *(*fn)(void *arg), void *arg)
{
	sigset_t all, old;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);	/* the other thread starts with that */
	pthread_create(t, NULL, fn, arg);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
}

/* ---- a handler that sends ---- */

static int hot_fd;
static volatile unsigned put, refused;

static void on_put(int sig)
{
	int saved = errno;

	if (send(hot_fd, "\1", 1, MSG_DONTWAIT) == 1)
		put++;
	else
		refused++;
	errno = saved;
}

struct sink {
	int fd;
	uint64_t zeros;
	unsigned ones, inside;
};

/* Zeros in blocks, each answered by a byte; ones come between blocks, never inside. */
static void *sink_main(void *arg)
{
	static char buf[1 << 18];
	struct sink *k = arg;
	ssize_t n;

	while ((n = read(k->fd, buf, sizeof(buf))) > 0)
		for (ssize_t i = 0; i < n; i++) {
			if (buf[i]) {
				k->ones++;
				k->inside += k->zeros % BLOCK != 0;
			} else if (++k->zeros % BLOCK == 0 && write(k->fd, "", 1) != 1) {
				return NULL;
			}
		}
	return NULL;
}

/* Return: whether the first call sent it all. */
static bool send_all(int fd, const char *buf, size_t len)
{
	size_t done = 0;
	int cnt;

	for (cnt = 0; done < len; cnt++) {
		ssize_t n = send(fd, buf + done, len - done, 0);

		if (n < 0)
			die("send");
		done += (size_t)n;
	}
	return cnt == 1;
}

static void puts_in_the_middle(void)
{
	static char block[BLOCK];
	unsigned whole = 0, rounds;
	struct sink k = { 0 };
	pthread_t t;
	int fd[2];

	pair(fd);
	hot_fd = fd[0];
	k.fd = fd[1];
	start(&t, sink_main, &k);
	handle(SIGALRM, on_put);
	for (rounds = 0; rounds < ROUNDS; rounds++) {
		bool once = send_all(fd[0], block, sizeof(block));
		char c;

		whole += rounds && once;	/* the buffer has grown by the second */
		if (recv(fd[0], &c, 1, 0) != 1)
			break;
		if (!rounds)
			every(130);
	}
	every(0);
	shutdown(fd[0], SHUT_WR);
	pthread_join(t, NULL);
	printf("handlers that send: %u rounds, %u whole, refused %u, lost %d, inside %u, some %d\n",
	       rounds, whole, refused, (int)(put - k.ones), k.inside, k.ones > 10);
	close(fd[0]);
	close(fd[1]);
}

/* ---- a handler that receives ---- */

#define TOTAL	(48u << 20)

static uint8_t at_pos(uint64_t pos)
{
	return (uint8_t)(pos * 2654435761u >> 16);
}

static volatile unsigned taken, denied;
static uint8_t got[4096];
static volatile unsigned got_len;

static void on_take(int sig)
{
	int saved = errno, there = 0;
	ssize_t n;

	ioctl(hot_fd, FIONREAD, &there);
	n = recv(hot_fd, got + got_len, sizeof(got) - got_len < 16 ? 0 : 16, MSG_DONTWAIT);
	if (n > 0) {
		got_len += (unsigned)n;
		taken++;
	} else if (there && sizeof(got) - got_len >= 16) {
		denied++;
	}
	errno = saved;
}

static void *source_main(void *arg)
{
	static uint8_t buf[1 << 17];
	int fd = *(int *)arg;

	for (uint64_t pos = 0; pos < TOTAL; pos += sizeof(buf)) {
		for (size_t i = 0; i < sizeof(buf); i++)
			buf[i] = at_pos(pos + i);
		for (size_t done = 0; done < sizeof(buf); ) {
			ssize_t n = write(fd, buf + done, sizeof(buf) - done);

			if (n <= 0)
				return NULL;
			done += (size_t)n;
		}
	}
	shutdown(fd, SHUT_WR);
	return NULL;
}

static bool as_sent(const uint8_t *p, size_t n, uint64_t pos)
{
	for (size_t i = 0; i < n; i++)
		if (p[i] != at_pos(pos + i))
			return false;
	return true;
}

/* What a call got is in one piece; a handler's bytes follow it, or came before it began. */
static void takes_in_the_middle(void)
{
	static uint8_t buf[1 << 18];
	unsigned torn = 0;
	uint64_t pos = 0;
	pthread_t t;
	ssize_t n;
	int fd[2];

	pair(fd);
	hot_fd = fd[1];
	start(&t, source_main, &fd[0]);
	handle(SIGALRM, on_take);
	every(130);
	do {
		sigset_t set, old;

		n = recv(fd[1], buf, sizeof(buf), 0);
		sigemptyset(&set);
		sigaddset(&set, SIGALRM);
		sigprocmask(SIG_BLOCK, &set, &old);
		if (!(as_sent(buf, (size_t)n, pos) && as_sent(got, got_len, pos + (uint64_t)n)) &&
		    !(as_sent(got, got_len, pos) && as_sent(buf, (size_t)n, pos + got_len)))
			torn += got_len < 17;	/* more than one: they may be on both sides */
		pos += (uint64_t)n + got_len;
		got_len = 0;
		sigprocmask(SIG_SETMASK, &old, NULL);
	} while (n > 0);
	every(0);
	pthread_join(t, NULL);
	printf("handlers that receive: end %zd, all %d, torn %u, denied %u, some %d\n", n,
	       pos == TOTAL, torn, denied, taken > 10);
	close(fd[0]);
	close(fd[1]);
}

/* ---- a handler that leaves the middle of epoll calls ---- */

static sigjmp_buf back;

static void on_jump(int sig)
{
	siglongjmp(back, 1);
}

static void leaves(void)
{
	struct itimerval it = { 0 };
	struct epoll_event ev = { .events = EPOLLIN };
	volatile unsigned x = 5, jumps = 0, bad = 0;
	int fd[2], ep = epoll_create1(0);

	pair(fd);
	epoll_ctl(ep, EPOLL_CTL_ADD, fd[1], &ev);
	send(fd[0], "x", 1, 0);
	poll(&(struct pollfd){ fd[1], POLLIN, 0 }, 1, -1);
	handle(SIGALRM, on_jump);
	for (volatile int i = 0; i < 2000; i++) {
		x = x * 1664525u + 1013904223u;
		it.it_value.tv_usec = 1 + (x >> 27);
		if (sigsetjmp(back, 1)) {
			jumps++;
			continue;
		}
		setitimer(ITIMER_REAL, &it, NULL);
		for (;;) {
			bad += epoll_wait(ep, &ev, 1, 0) != 1;
			bad += epoll_ctl(ep, EPOLL_CTL_MOD, fd[1], &ev) != 0;
		}
	}
	printf("jumps out of epoll: %u, wrong %u, then %d\n", jumps, bad,
	       epoll_wait(ep, &ev, 1, 0));
	close(ep);
	close(fd[0]);
	close(fd[1]);
}

/* ---- queued signals keep order and values ---- */

static volatile int last_value;
static volatile unsigned queued, disordered, wrong_info;

static void on_queued(int sig, siginfo_t *info, void *ctx)
{
	queued++;
	disordered += info->si_value.sival_int != last_value + 1;
	wrong_info += info->si_code != SI_QUEUE || info->si_pid != getpid() || !ctx;
	last_value = info->si_value.sival_int;
}

static void *queue_main(void *arg)
{
	pthread_t *to = arg;

	for (int i = 1; i <= 3000; i++)
		while (pthread_sigqueue(*to, SIGRTMIN, (union sigval){ .sival_int = i }))
			sched_yield();
	return NULL;
}

static void in_order(void)
{
	static char block[BLOCK];
	pthread_t self = pthread_self(), t, s;
	struct sink k = { 0 };
	int fd[2];

	pair(fd);
	k.fd = fd[1];
	start(&s, sink_main, &k);
	sigaction(SIGRTMIN, &(struct sigaction){ .sa_sigaction = on_queued,
						 .sa_flags = SA_SIGINFO | SA_RESTART }, NULL);
	start(&t, queue_main, &self);
	while (queued < 3000) {
		char c;

		send_all(fd[0], block, sizeof(block));
		if (recv(fd[0], &c, 1, 0) != 1)
			break;
	}
	pthread_join(t, NULL);
	shutdown(fd[0], SHUT_WR);
	pthread_join(s, NULL);
	printf("queued: %u, disordered %u, wrong %u\n", queued, disordered, wrong_info);
	close(fd[0]);
	close(fd[1]);
}

/* ---- what a program is told of its handlers ---- */

static void on_a(int sig) { }
static void on_b(int sig) { }
static void on_info(int sig, siginfo_t *info, void *ctx) { }

static const char *name_of(const void *fn)
{
	return fn == on_a ? "a" : fn == on_b ? "b" : fn == on_info ? "info" :
	       fn == SIG_DFL ? "dfl" : fn == SIG_IGN ? "ign" : fn == SIG_HOLD ? "hold" :
	       fn == SIG_ERR ? strerrorname_np(errno) : "?";
}

static void show(const char *what, int sig)
{
	struct sigaction sa;

	if (sigaction(sig, NULL, &sa)) {
		printf("%s: %s\n", what, strerrorname_np(errno));
		return;
	}
	printf("%s: %s flags %x masks itself %d, USR2 %d\n", what, name_of(sa.sa_handler),
	       (unsigned)sa.sa_flags, sigismember(&sa.sa_mask, sig),
	       sigismember(&sa.sa_mask, SIGUSR2));
}

static void told(int sig)
{
	struct sigaction sa = { .sa_sigaction = on_info, .sa_flags = SA_SIGINFO | SA_NODEFER }, old;

	printf("signal %d: was %s", sig, name_of(signal(sig, on_a)));
	printf(" %s", name_of(signal(sig, on_b)));
	printf(" %s", name_of(signal(sig, SIG_IGN)));
	printf(" %s\n", name_of(signal(sig, on_a)));
	show("signal", sig);
	sigaddset(&sa.sa_mask, SIGUSR2);
	sigaction(sig, &sa, &old);
	printf("old: %s flags %x\n", name_of(old.sa_handler), (unsigned)old.sa_flags);
	show("info", sig);
	siginterrupt(sig, 0);
	show("siginterrupt 0", sig);
	siginterrupt(sig, 1);
	printf("after it: %s\n", name_of(signal(sig, on_b)));
	show("signal, interrupting", sig);
	siginterrupt(sig, 0);
	printf("sysv: %s\n", name_of(sysv_signal(sig, on_a)));
	show("sysv", sig);
	sa = (struct sigaction){ .sa_handler = on_a, .sa_flags = SA_RESETHAND };
	sigaction(sig, &sa, NULL);
	raise(sig);
	show("once, after it ran", sig);
	printf("sigset: %s", name_of(sigset(sig, on_b)));
	printf(" %s", name_of(sigset(sig, SIG_HOLD)));
	printf(" %s", name_of(sigset(sig, on_a)));
	printf(" %s\n", name_of(sigset(sig, SIG_DFL)));
	show("sigset", sig);
}

static void all_told(void)
{
	static const int bad[] = { 0, -1, 32, 33, 65, SIGKILL, SIGSTOP };

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		printf("signal(%d): %s\n", bad[i], name_of(signal(bad[i], on_a)));
		show("sigaction", bad[i]);
	}
	told(SIGUSR1);
	told(SIGRTMAX);
	signal(SIGUSR1, on_a);
	printf("system: %d, ", system("exit 3"));
	show("then", SIGUSR1);
	signal(SIGINT, on_b);
	printf("system: %d, ", system("true"));
	show("then", SIGINT);
}

int main(int argc, char **argv)
{
	if (argc < 3)
		return 2;
	own_addr = argv[1];
	dead_addr = argv[2];
	setvbuf(stdout, NULL, _IOLBF, 0);
	puts_in_the_middle();
	takes_in_the_middle();
	leaves();
	in_order();
	all_told();
	full_close();
	return 0;
}
