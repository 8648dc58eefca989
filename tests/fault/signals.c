/* SPDX-License-Identifier: MIT */
/* tests/fault/signals.c - what signals do to calls on sockets, told line by line
 *   signals ADDR DEAD      ADDR: own address to use; DEAD: an address that nobody has
 * Run on the kernel's sockets and on stackd's, it prints the same: results, errnos, how often the
 * handler ran. Never times.
 */
#include <sys/sendfile.h>

#include "tests/fault/sigs.h"

static volatile sig_atomic_t hits;

static void on_signal(int sig)
{
	hits++;
}

static void handle(int sig, void (*fn)(int), int flags)
{
	struct sigaction sa = { .sa_handler = fn, .sa_flags = flags };

	sigaction(sig, &sa, NULL);
}

/* ---- a signal for a call that sleeps ---- */

struct poke {
	pthread_t thread, target;
	int tid;
	struct sock *s;
	void (*act)(struct sock *s);	/* instead of a signal */
	bool done;			/* the call has returned */
};

static void *poke_main(void *arg)
{
	struct poke *p = arg;
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, NULL);
	wait_asleep(p->tid, &p->done);
	if (p->act) {
		p->act(p->s);
		return NULL;
	}
	pthread_kill(p->target, SIGUSR1);
	while (!hits && !__atomic_load_n(&p->done, __ATOMIC_ACQUIRE))
		sched_yield();
	wait_asleep(p->tid, &p->done);
	if (!__atomic_load_n(&p->done, __ATOMIC_ACQUIRE))
		sock_release(p->s);	/* the call goes on; let it end */
	return NULL;
}

static void poke_start(struct poke *p, struct sock *s, void (*act)(struct sock *s))
{
	*p = (struct poke){ .target = pthread_self(), .s = s, .act = act };
	p->tid = (int)syscall(SYS_gettid);
	hits = 0;
	pthread_create(&p->thread, NULL, poke_main, p);
}

static void poke_end(struct poke *p)
{
	__atomic_store_n(&p->done, true, __ATOMIC_RELEASE);
	pthread_join(p->thread, NULL);
}

static void timeo(struct sock *s, int ms)
{
	struct timeval tv = { ms / 1000, ms % 1000 * 1000 };

	setsockopt(s->fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	setsockopt(s->fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
}

static void interrupted(const struct call *c, const char *how, int flags, int timeo_ms)
{
	struct sock s;
	struct poke p;
	long r;
	int err;

	handle(SIGUSR1, on_signal, flags);
	sock_open(&s, c->kind);
	if (timeo_ms)
		timeo(&s, timeo_ms);
	poke_start(&p, &s, NULL);
	r = c->fn(&s);
	err = errno;
	poke_end(&p);
	printf("%s, %s: %ld %s, handler %d\n", c->name, how, r, err_name(r, err), (int)hits);
	sock_close(&s);
}

/* A call that has some bytes already tells of them. */
static void interrupted_half(void)
{
	struct sock s;
	struct poke p;
	long r;

	handle(SIGUSR1, on_signal, SA_RESTART);
	sock_open(&s, STREAM);
	send(s.peer, "ab", 2, 0);
	poke_start(&p, &s, NULL);
	r = call_waitall(&s);
	poke_end(&p);
	printf("half of recv waitall: %ld, handler %d\n", r, (int)hits);
	sock_close(&s);
}

static void timed_out(const struct call *c)
{
	struct sock s;
	long r;

	sock_open(&s, c->kind);
	timeo(&s, 30);
	r = c->fn(&s);
	printf("%s, time-out: %ld %s\n", c->name, r, err_name(r, errno));
	sock_close(&s);
}

static void interrupts(void)
{
	for (unsigned i = 0; i < CALLS; i++) {
		interrupted(&calls[i], "plain", 0, 0);
		interrupted(&calls[i], "restart", SA_RESTART, 0);
		if (calls[i].fn != call_write && calls[i].fn != call_sendmsg &&
		    calls[i].fn != call_poll && calls[i].fn != call_ppoll &&
		    calls[i].fn != call_select && calls[i].fn != call_epoll) {
			interrupted(&calls[i], "restart and time-out", SA_RESTART, 9000);
			timed_out(&calls[i]);
		}
	}
	interrupted_half();
}

/* ---- others act on the socket that a call waits on ---- */

static void act_shutdown(struct sock *s)
{
	shutdown(s->fd, SHUT_RDWR);
}

static void act_hangup(struct sock *s)
{
	close(s->peer);
	s->peer = -1;
}

static void acted(const struct call *c, const char *how, void (*act)(struct sock *s))
{
	struct sock s;
	struct poke p;
	long r;
	int err;

	handle(SIGPIPE, on_signal, 0);
	sock_open(&s, c->kind);
	poke_start(&p, &s, act);
	r = c->fn(&s);
	err = errno;
	poke_end(&p);
	printf("%s, %s: %ld %s, SIGPIPE %d\n", c->name, how, r, err_name(r, err), (int)hits);
	sock_close(&s);
}

static void others(void)
{
	for (unsigned i = 0; i < CALLS; i++) {
		if (calls[i].kind != DGRAM_ANY && calls[i].kind != DGRAM)
			acted(&calls[i], "shutdown", act_shutdown);
		if (calls[i].kind == STREAM)
			acted(&calls[i], "hang-up", act_hangup);
	}
}

/* Another thread closes the fd under a call, which goes on with the socket until it is served. */
static void *close_main(void *arg)
{
	struct poke *p = arg;
	struct sock *s = p->s;
	uint16_t port = port_of(s->fd);

	wait_asleep(p->tid, &p->done);
	close(s->fd);
	wait_asleep(p->tid, &p->done);
	if (s->kind == LISTENER)
		s->peer = dial(SOCK_STREAM, own_addr, port);
	else
		send(s->peer, "data", 4, MSG_NOSIGNAL);
	return NULL;
}

static void closed_under(const struct call *c)
{
	struct sock s;
	struct poke p = { .target = pthread_self(), .tid = (int)syscall(SYS_gettid), .s = &s };
	char ch;
	long r, end;
	int err;

	sock_open(&s, c->kind);
	pthread_create(&p.thread, NULL, close_main, &p);
	r = c->fn(&s);
	err = errno;
	poke_end(&p);
	printf("%s, closed under it: %ld %s, fd %d", c->name, r, err_name(r, err),
	       fcntl(s.fd, F_GETFD));
	end = c->kind == STREAM ? recv(s.peer, &ch, 1, 0) : 0;
	printf(", the peer then: %ld %s\n", end, err_name(end, errno));
	close(s.peer);
	close(s.ep);
}

static void closes(void)
{
	for (unsigned i = 0; i < CALLS; i++)
		if (calls[i].fn == call_recv || calls[i].fn == call_readv ||
		    calls[i].fn == call_accept || calls[i].fn == call_recvfrom)
			closed_under(&calls[i]);
}

/* ---- masks ---- */

static long masked_call(int which, struct sock *s, int timeout_ms, const sigset_t *mask)
{
	struct timespec ts = { timeout_ms / 1000, timeout_ms % 1000 * 1000000L };
	struct pollfd p = { s->fd, POLLIN, 0 };
	struct epoll_event ev;
	fd_set set;

	FD_ZERO(&set);
	FD_SET(s->fd, &set);
	switch (which) {
	case 0:
		return ppoll(&p, 1, &ts, mask);
	case 1:
		return pselect(s->fd + 1, &set, NULL, NULL, &ts, mask);
	case 2:
		return epoll_pwait(s->ep, &ev, 1, timeout_ms, mask);
	default:
		return epoll_pwait2(s->ep, &ev, 1, &ts, mask);
	}
}

static void masks(enum kind kind, bool data, int timeout_ms, bool pending)
{
	static const char *const names[] = { "ppoll", "pselect", "epoll_pwait", "epoll_pwait2" };
	sigset_t usr1, open, old, now, pend;
	struct sock s;

	handle(SIGUSR1, on_signal, 0);
	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	for (int i = 0; i < 4; i++) {
		sock_open(&s, kind);
		if (data) {
			sock_release(&s);
			poll(&(struct pollfd){ s.fd, POLLIN, 0 }, 1, -1);
		}
		sigprocmask(SIG_BLOCK, &usr1, &old);
		sigemptyset(&open);
		hits = 0;
		if (pending)
			raise(SIGUSR1);
		long r = masked_call(i, &s, timeout_ms, &open);
		int err = errno;

		pthread_sigmask(SIG_BLOCK, NULL, &now);
		sigpending(&pend);
		printf("%s kind %d data %d time-out %d pending %d: %ld %s, handler %d, blocked %d, "
		       "left %d\n", names[i], kind, data, timeout_ms, pending, r,
		       err_name(r, err), (int)hits, sigismember(&now, SIGUSR1),
		       sigismember(&pend, SIGUSR1));
		sigprocmask(SIG_SETMASK, &old, NULL);
		sock_close(&s);
	}
}

static void all_masks(void)
{
	for (int k = 0; k < 2; k++) {
		enum kind kind = k ? DGRAM_ANY : STREAM;

		masks(kind, false, 5000, true);
		masks(kind, false, 0, true);
		masks(kind, true, 5000, true);
		masks(kind, false, 10, false);
	}
}

/* ---- SIGPIPE ---- */

static void pipe_line(const char *what, long r)
{
	printf("SIGPIPE %s: %ld %s, handler %d\n", what, r, err_name(r, errno), (int)hits);
	hits = 0;
}

static void pipes(void)
{
	sigset_t set, pend;
	struct sock s;
	FILE *f = tmpfile();

	fwrite("some", 4, 1, f);
	fflush(f);
	handle(SIGPIPE, on_signal, 0);
	hits = 0;
	sock_open(&s, STREAM);
	shutdown(s.fd, SHUT_WR);
	pipe_line("write", write(s.fd, "x", 1));
	pipe_line("nosignal", send(s.fd, "x", 1, MSG_NOSIGNAL));
	pipe_line("writev", call_writev(&s));
	pipe_line("sendmsg", call_sendmsg(&s));
	pipe_line("sendfile", sendfile(s.fd, fileno(f), &(off_t){ 0 }, 4));
	handle(SIGPIPE, SIG_IGN, 0);
	pipe_line("ignored", write(s.fd, "x", 1));
	handle(SIGPIPE, on_signal, 0);
	sigemptyset(&set);
	sigaddset(&set, SIGPIPE);
	sigprocmask(SIG_BLOCK, &set, NULL);
	pipe_line("blocked", write(s.fd, "x", 1));
	sigpending(&pend);
	printf("SIGPIPE pending %d\n", sigismember(&pend, SIGPIPE));
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	pipe_line("after", 0);
	sock_close(&s);

	sock_open(&s, STREAM);
	send(s.fd, "unread", 6, 0);
	poll(&(struct pollfd){ s.peer, POLLIN, 0 }, 1, -1);
	act_hangup(&s);
	poll(&(struct pollfd){ s.fd, POLLIN, 0 }, 1, -1);
	pipe_line("reset, first", write(s.fd, "x", 1));
	pipe_line("reset, then", write(s.fd, "x", 1));
	sock_close(&s);
	fclose(f);
}

/* ---- handlers that use the very socket ---- */

static struct sock *in_handler;
static long handler_got[4];
static int handler_err;

static void on_signal_io(int sig)
{
	struct pollfd p = { in_handler->fd, POLLIN | POLLOUT, 0 };
	struct epoll_event ev;
	int saved = errno;

	hits++;
	handler_got[0] = poll(&p, 1, 0) < 0 ? -1 : p.revents;
	handler_got[1] = epoll_wait(in_handler->ep, &ev, 1, 0);
	handler_got[2] = recv(in_handler->fd, in_handler->buf, 1, MSG_DONTWAIT);
	handler_err = errno;
	handler_got[3] = send(in_handler->fd, "h", 1, MSG_DONTWAIT);
	errno = saved;
}

static void on_signal_wait(int sig)
{
	hits++;
	handler_got[0] = recv(in_handler->fd, in_handler->buf, 1, 0);
}

static void handlers(void)
{
	for (unsigned i = 0; i < CALLS; i++) {
		struct sock s;
		struct poke p;
		long r;
		int err;

		if (calls[i].kind != STREAM && calls[i].fn != call_writev &&
		    (calls[i].kind != STREAM_FULL || calls[i].fn != call_poll))
			continue;
		handle(SIGUSR1, on_signal_io, SA_RESTART);
		sock_open(&s, calls[i].kind);
		in_handler = &s;
		poke_start(&p, &s, NULL);
		r = calls[i].fn(&s);
		err = errno;
		poke_end(&p);
		printf("%s, handler on the socket: %ld %s; poll %lx epoll %ld "
		       "recv %ld %s send %ld\n",
		       calls[i].name, r, err_name(r, err), handler_got[0], handler_got[1],
		       handler_got[2], err_name(handler_got[2], handler_err), handler_got[3]);
		sock_close(&s);
	}
}

static void *feed(void *arg)
{
	struct poke *p = arg;
	bool never = false;

	wait_asleep(p->tid, &never);
	pthread_kill(p->target, SIGUSR1);
	while (!hits)
		sched_yield();
	wait_asleep(p->tid, &never);
	send(p->s->peer, "1", 1, 0);
	wait_asleep(p->tid, &p->done);
	send(p->s->peer, "2", 1, 0);
	return NULL;
}

/* The handler blocks on what the interrupted call blocks on. */
static void handler_blocks(void)
{
	struct sock s;
	struct poke p = { .target = pthread_self(), .tid = (int)syscall(SYS_gettid), .s = &s };
	long r;

	sock_open(&s, STREAM);
	in_handler = &s;
	hits = 0;
	handle(SIGUSR1, on_signal_wait, SA_RESTART);
	pthread_create(&p.thread, NULL, feed, &p);
	r = recv(s.fd, s.buf + 1, 1, 0);
	poke_end(&p);
	printf("handler blocks: it got %ld %.1s, then %ld %.1s\n", handler_got[0], s.buf, r,
	       s.buf + 1);
	sock_close(&s);
}

/* ---- alarms, and signals for the process ---- */

static void *idle(void *arg)
{
	const struct timespec ms = { .tv_nsec = 1000000 };

	while (!__atomic_load_n((bool *)arg, __ATOMIC_ACQUIRE))
		nanosleep(&ms, NULL);
	return NULL;
}

static void alarms(void)
{
	const struct itimerval it = { .it_value.tv_usec = 20000 };

	handle(SIGALRM, on_signal, 0);
	for (unsigned i = 0; i < CALLS; i++) {
		bool done = false;
		pthread_t t;
		struct sock s;
		long r;

		if (calls[i].kind == STREAM_FULL && calls[i].fn != call_send)
			continue;
		sock_open(&s, calls[i].kind);
		pthread_create(&t, NULL, idle, &done);	/* the main thread is to get it */
		hits = 0;
		setitimer(ITIMER_REAL, &it, NULL);
		r = calls[i].fn(&s);
		printf("%s, alarm: %ld %s, handler %d\n", calls[i].name, r, err_name(r, errno),
		       (int)hits);
		__atomic_store_n(&done, true, __ATOMIC_RELEASE);
		pthread_join(t, NULL);
		sock_close(&s);
	}
}

/* ---- SIGIO ---- */

static void async(void)
{
	int fd = socket(AF_INET, SOCK_DGRAM, 0), peer, r = fcntl(fd, F_SETOWN, getpid());
	struct sockaddr_in sa = at("127.0.0.1", 0);

	handle(SIGIO, on_signal, SA_RESTART);
	printf("owner %d %d, ", r, fcntl(fd, F_GETOWN) == getpid());
	r = fcntl(fd, F_SETFL, O_ASYNC);
	printf("O_ASYNC %d %d, ", r, (fcntl(fd, F_GETFL) & O_ASYNC) != 0);
	if (bind(fd, (void *)&sa, sizeof(sa)))
		die("bind");
	hits = 0;
	peer = dial(SOCK_DGRAM, "127.0.0.1", port_of(fd));
	send(peer, "x", 1, 0);
	poll(&(struct pollfd){ fd, POLLIN, 0 }, 1, -1);
	printf("SIGIO %d\n", (int)hits);
	close(fd);
	close(peer);
}

int main(int argc, char **argv)
{
	if (argc < 3)
		return 2;
	own_addr = argv[1];
	dead_addr = argv[2];
	setvbuf(stdout, NULL, _IOLBF, 0);
	interrupts();
	others();
	closes();
	all_masks();
	pipes();
	handlers();
	handler_blocks();
	alarms();
	async();
	full_close();
	return 0;
}
