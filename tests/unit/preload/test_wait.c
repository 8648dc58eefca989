/* SPDX-License-Identifier: MIT */
/* pl_wait() and pl_rpc(): waking, time-outs, signals, cancellation. */
#include "wait_fx.h"

static volatile sig_atomic_t handled;

static void on_sig(int sig)
{
	handled++;
}

static void catch(int sig, int flags)
{
	struct sigaction sa = { .sa_handler = on_sig, .sa_flags = flags };

	sigaction(sig, &sa, NULL);
}

static pthread_t main_th;

static void kick_main(void *sig)
{
	pthread_kill(main_th, (int)(intptr_t)sig);
}

/* A signal, then data. */
static void kick_then_rx(void *fd)
{
	pthread_kill(main_th, SIGUSR1);
	usleep(30000);
	wx_rx((int)(intptr_t)fd, 1);
}

static int start(void)
{
	wx_init();
	main_th = pthread_self();
	return wx_sock(SOCK_STREAM);
}

Test(wait, ready_at_once)
{
	int s = start();

	cr_expect_eq(pl_wait(wx_slot(s), SD_EV_OUT, -1, -1), 0);
	wx_rx(s, 1);
	cr_expect_eq(pl_wait(wx_slot(s), SD_EV_IN, -1, -1), 0);
}

Test(wait, woken_while_asleep, .timeout = 10)
{
	struct wx_later l;
	int s = start();

	wx_later(&l, 30, wx_later_rx, (void *)(intptr_t)s);
	cr_expect_eq(pl_wait(wx_slot(s), SD_EV_IN, -1, -1), 0);
	cr_expect_eq(pl_ready(wx_slot(s)) & SD_EV_IN, SD_EV_IN);
	cr_expect_eq(wx_subs(s), 0);
	wx_join(&l);
}

Test(wait, woken_while_spinning, .timeout = 10)
{
	struct wx_later l;
	int s = start();

	wx_info.spin_ns = 2000000000;
	wx_later(&l, 30, wx_later_rx, (void *)(intptr_t)s);
	cr_expect_eq(pl_wait(wx_slot(s), SD_EV_IN, -1, -1), 0);
	wx_join(&l);
}

Test(wait, reset_always_wakes, .timeout = 10)
{
	int s = start();

	wx_rst(s);
	cr_expect_eq(pl_wait(wx_slot(s), SD_EV_PRI, -1, -1), 0);
}

Test(wait, times_out, .timeout = 10)
{
	int s = start();

	errno = 7;
	cr_expect_eq(pl_wait(wx_slot(s), SD_EV_IN, 20, -1), -EAGAIN);
	cr_expect_eq(errno, 7);
	cr_expect_eq(pl_wait(wx_slot(s), SD_EV_IN, 0, -1), -EAGAIN);
	cr_expect_eq(wx_subs(s), 0);
}

Test(wait, stale_wakeup_is_not_readiness, .timeout = 10)
{
	int s = start();
	uint64_t one = 1;

	real.write(pl_efd[pl_thread_mbox()->mbox], &one, 8);
	cr_expect_eq(pl_wait(wx_slot(s), SD_EV_IN, 20, -1), -EAGAIN);
}

Test(wait, eintr, .timeout = 10)
{
	struct wx_later l;
	int s = start();

	catch(SIGUSR1, 0);
	wx_later(&l, 30, kick_main, (void *)SIGUSR1);
	cr_expect_eq(pl_wait(wx_slot(s), SD_EV_IN, -1, -1), -EINTR);
	wx_join(&l);
	wx_later(&l, 30, kick_main, (void *)SIGUSR1);
	cr_expect_eq(pl_wait(wx_slot(s), SD_EV_IN, 10000, -1), -EINTR);
	wx_join(&l);
	cr_expect_eq(handled, 2);
	cr_expect_eq(wx_subs(s), 0);
}

Test(wait, eintr_while_spinning, .timeout = 10)
{
	struct wx_later l;
	int s = start();

	wx_info.spin_ns = 100000000;
	catch(SIGUSR1, 0);
	wx_later(&l, 30, kick_main, (void *)SIGUSR1);
	cr_expect_eq(pl_wait(wx_slot(s), SD_EV_IN, -1, -1), -EINTR);
	cr_expect_eq(handled, 1);
	wx_join(&l);
}

Test(wait, sa_restart, .timeout = 10)
{
	struct wx_later l;
	int s = start();

	catch(SIGUSR1, SA_RESTART);
	wx_later(&l, 30, kick_then_rx, (void *)(intptr_t)s);
	cr_expect_eq(pl_wait(wx_slot(s), SD_EV_IN, -1, -1), 0);
	cr_expect_eq(handled, 1);
	wx_join(&l);
}

Test(wait, hybrid_kernel_side, .timeout = 10)
{
	struct wx_later l;
	int s = start(), p[2];

	cr_assert_eq(pipe(p), 0);
	wx_later(&l, 30, wx_later_kern, (void *)(intptr_t)p[1]);
	cr_expect_eq(pl_wait(wx_slot(s), SD_EV_IN, -1, p[0]), 0);
	wx_join(&l);
}

Test(wait, hybrid_signals, .timeout = 10)
{
	struct wx_later l;
	int s = start(), p[2];

	cr_assert_eq(pipe(p), 0);
	catch(SIGSEGV, 0);		/* a crash reporter's handler changes nothing */
	catch(SIGUSR1, SA_RESTART);
	wx_later(&l, 30, kick_then_rx, (void *)(intptr_t)s);
	cr_expect_eq(pl_wait(wx_slot(s), SD_EV_IN, -1, p[0]), 0, "restarted");
	cr_expect_eq(handled, 1);
	wx_join(&l);
	pl_p(wx_slot(s))->rx_head = 1;
	catch(SIGUSR1, 0);
	wx_later(&l, 30, kick_main, (void *)SIGUSR1);
	cr_expect_eq(pl_wait(wx_slot(s), SD_EV_IN, -1, p[0]), -EINTR);
	cr_expect_eq(handled, 2);
	wx_join(&l);
}

static int nested_sock, nested_result;

static void nested_wait(int sig)
{
	wx_rx(nested_sock, 0);		/* a post for nobody */
	nested_result = pl_wait(wx_slot(nested_sock), SD_EV_IN, 20, -1);
}

Test(wait, in_a_handler_that_interrupted_a_wait, .timeout = 10)
{
	struct sigaction sa = { .sa_handler = nested_wait, .sa_flags = SA_RESTART };
	struct wx_later l;
	int s = start();

	nested_sock = wx_sock(SOCK_STREAM);
	sigaction(SIGUSR1, &sa, NULL);
	wx_later(&l, 30, kick_then_rx, (void *)(intptr_t)s);
	cr_expect_eq(pl_wait(wx_slot(s), SD_EV_IN, -1, -1), 0);
	cr_expect_eq(nested_result, -EAGAIN);
	wx_join(&l);
}

static void *wait_in(void *fd)
{
	pl_wait(wx_slot((int)(intptr_t)fd), SD_EV_IN, -1, -1);
	return NULL;
}

Test(wait, cancellation_leaves_no_subscription, .timeout = 10)
{
	int s;
	pthread_t th;
	void *res;

#ifdef __SANITIZE_ADDRESS__
	cr_skip_test("forced unwinding leaves marks of dead frames that ASan then trips over");
#endif
	s = start();
	pthread_create(&th, NULL, wait_in, (void *)(intptr_t)s);
	while (!wx_subs(s))
		usleep(1000);
	usleep(20000);
	pthread_cancel(th);
	pthread_join(th, &res);
	cr_expect_eq(res, PTHREAD_CANCELED);
	cr_expect_eq(wx_subs(s), 0);
}

Test(wait, thread_exit_returns_the_mailbox, .timeout = 10)
{
	int s = start();

	wx_rx(s, 1);
	for (int i = 0; i < 4 * SD_CTL_EVENTFDS; i++) {
		pthread_t th;

		pl_p(wx_slot(s))->rx_head = pl_e(wx_slot(s))->rx_tail;
		pthread_create(&th, NULL, wait_in, (void *)(intptr_t)s);
		while (!wx_subs(s))
			usleep(100);
		wx_rx(s, 1);
		pthread_join(th, NULL);
	}
	cr_expect_not_null(pl_thread_mbox());
}

Test(wait, without_a_mailbox, .timeout = 10)
{
	struct pl_mbox mb[SD_CTL_EVENTFDS];
	struct wx_later l;
	int s = start();

	for (int i = 0; i < SD_CTL_EVENTFDS; i++)
		cr_assert_eq(pl_mbox_get(&mb[i]), 0);
	cr_expect_eq(pl_wait(wx_slot(s), SD_EV_IN, 20, -1), -EAGAIN);
	wx_later(&l, 30, wx_later_rx, (void *)(intptr_t)s);
	cr_expect_eq(pl_wait(wx_slot(s), SD_EV_IN, -1, -1), 0);
	wx_join(&l);
}

/* One connection, two who wait for it, woken in turn. */
Test(wait, acceptors_are_exclusive, .timeout = 10)
{
	pthread_t th[2];
	int s;

	wx_init();
	s = wx_listener();
	for (int i = 0; i < 2; i++)
		pthread_create(&th[i], NULL, wait_in, (void *)(intptr_t)s);
	while (wx_subs(s) < 2)
		usleep(1000);
	usleep(50000);
	wx_conn(s);
	while (wx_subs(s) > 1)
		usleep(1000);
	usleep(20000);
	cr_expect_eq(wx_subs(s), 1, "the other one sleeps on");
	wx_conn(s);
	pthread_join(th[0], NULL);
	pthread_join(th[1], NULL);
}

/* ---- rpc ---- */

static void *answer(void *arg)
{
	struct shm_cmd_reader rd = { 0 };
	struct sd_cmd cmd;
	struct sd_reply *rep;
	uint64_t one = 1;

	while (!shm_cmd_pop(&pl.seg, pl.proc_idx, 0, &rd, &cmd))
		usleep(1000);
	usleep((useconds_t)(intptr_t)arg);
	rep = shm_reply(&pl.seg, cmd.mbox);
	rep->err = -EADDRINUSE;
	rep->len = 4;
	memcpy(rep->data, "abcd", 4);
	st_rel(&rep->seq, cmd.rseq);
	if (shm_mbox_post(shm_mbox(&pl.seg, cmd.mbox), SD_MBOX_REPLY_BIT))
		real.write(pl_efd[cmd.mbox], &one, 8);
	return NULL;
}

Test(rpc, answers_come_back, .timeout = 10)
{
	static const useconds_t delay[] = { 0, 30000 };

	start();
	for (int i = 0; i < 2; i++) {
		struct sd_cmd cmd = { .op = SD_OP_BIND };
		char buf[8] = "";
		size_t len = 0;
		pthread_t th;

		pthread_create(&th, NULL, answer, (void *)(intptr_t)delay[i]);
		shm_proc(&pl.seg, pl.proc_idx)->rings[0].r = (struct sd_cmd_ring){ 0 };
		cr_expect_eq(pl_rpc(0, &cmd, buf, sizeof(buf), &len), -EADDRINUSE);
		cr_expect_eq(len, 4);
		cr_expect_str_eq(buf, "abcd");
		pthread_join(th, NULL);
	}
}

static void hang_up(void *fd)
{
	real.close((int)(intptr_t)fd);
}

Test(rpc, engine_gone, .timeout = 10)
{
	struct sd_cmd cmd = { .op = SD_OP_BIND };
	struct wx_later l;
	int sv[2];

	start();
	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, sv), 0);
	pl.ctl_fd = sv[0];
	wx_later(&l, 30, hang_up, (void *)(intptr_t)sv[1]);
	cr_expect_eq(pl_rpc(0, &cmd, NULL, 0, NULL), -ECONNRESET);
	wx_join(&l);
}
