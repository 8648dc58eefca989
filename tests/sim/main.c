/* SPDX-License-Identifier: MIT */
/* tests/sim/main.c - seeds on all cores, the verdict
 *   sim                     what `make test-sim` runs: 10,000 seeds, then the flood
 *   sim SEED                one seed, told in detail; this is what a failure says to run
 *   sim -w FILE SEED        the same, and what each host sends and gets into FILE.0, FILE.1 ...
 *   sim -n N [-s S] [-j J]  N seeds from S on, in J processes
 *   sim -f N                the flood alone: N spoofed SYNs
 * A run ends when all programs have closed and TIME_WAIT is over; then nothing may be left
 * anywhere. Seeds are handed out by a shared counter; the first that fails ends all.
 */
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/sim/sim.h"

#define SIM_SEEDS	10000
#define FLOOD_SYNS	1000000
#define SIM_STEPS	30000000u	/* a run that goes round in circles ends here */
#define SIM_LIMIT_US	(SIM_START_US + 8 * 3600 * 1000000ull)	/* a stuck run ends here */
#define SEED_CPU_S	20		/* one that hangs ends here; most take 10 ms */
#define JOBS_MAX	64

/* What all processes add up; in shared memory. */
struct total {
	_Atomic uint64_t next, seeds, frames, segs, bytes, us, conns, loose, faults;
	_Atomic bool failed;
};

static uint64_t current_seed;
static const char *argv0;

static void tell(struct sim *s)
{
	const struct net_conf *c = &s->conf;
	static const char *const shapes[] = { "pair", "star", "dumbbell" };
	static const char *const kinds[] = { "tail", "mark", "fq_codel" };
	const struct net_stats *n = net_stats(s->net);

	printf("%s of %u%s%s\n", shapes[c->shape], c->hosts, c->offload ? ", offload" : "",
	       s->clean ? ", clean" : "");
	for (unsigned i = 0; i < NET_LINKS; i++) {
		const struct link_conf *l = &c->link[i];

		if (!l->delay_us || l->queue == 10000)
			continue;
		printf("  link %u: %u us, %lu bit/s, queue %u %s, per 100,000: loss %u, bursts "
		       "%u of %u, dup %u, reorder %u within %u us, corrupt %u\n", i, l->delay_us,
		       (unsigned long)l->rate_bps, l->queue, kinds[l->kind], l->loss, l->burst,
		       l->burst_len, l->dup, l->reorder, l->jitter_us, l->corrupt);
	}
	printf("  frames %lu, lost %lu, queue full %lu, cut %lu, corrupted %lu, twice %lu, late "
	       "%lu, marked %lu\n", (unsigned long)n->frames, (unsigned long)n->lost,
	       (unsigned long)n->full, (unsigned long)n->cut, (unsigned long)n->corrupted,
	       (unsigned long)n->dup, (unsigned long)n->late, (unsigned long)n->marked);
	prog_describe(s);
	for (unsigned i = 0; i < s->hosts; i++)
		for (unsigned k = 0; k < SNMP_MAX; k++)
			if (s->host[i].cnt.snmp[k])
				printf("  host %u %s%s %lu\n", i, snmp_group[k], snmp_name[k],
				       (unsigned long)s->host[i].cnt.snmp[k]);
}

_Noreturn void sim_fail(struct sim *s, const char *fmt, ...)
{
	va_list ap;

	printf("seed %lu at %.6f s: ", (unsigned long)s->seed,
	       (double)(s->now_us - SIM_START_US) / 1e6);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
	if (s->verbose)
		tell(s);
	else
		prog_describe(s);
	printf("replay: %s %lu\n", argv0, (unsigned long)s->seed);
	sim_pcap_close(s->pcap);
	fflush(stdout);
	_exit(1);
}

/* An ASSERT of the stack, or a seed that has used up its time. */
static void on_abort(int sig)
{
	char line[160];
	int n = snprintf(line, sizeof(line), "replay: %s %lu\n", argv0,
			 (unsigned long)current_seed);

	if (write(STDOUT_FILENO, line, (size_t)n) < 0)
		_exit(2);
	_exit(1);
}

/* ---- one seed ---- */

/* On a network that loses nothing and delays nothing nobody runs into a timeout, save a listener
 * with TCP_DEFER_ACCEPT whose client says nothing. */
static void must_be_calm(struct sim *s)
{
	for (unsigned i = 0; s->clean && i < s->hosts; i++) {
		const uint64_t *n = s->host[i].cnt.snmp;
		uint64_t timeouts = n[SNMP_TcpExt_TCPTimeouts];

		if (s->host[i].defer_accept)
			timeouts -= n[SNMP_TcpExt_TCPSynRetrans];
		if (timeouts || n[SNMP_TcpExt_TCPFastRetrans])
			sim_fail(s, "host %u: %lu timeouts, %lu fast retransmissions on a clean "
				 "network", i, (unsigned long)timeouts,
				 (unsigned long)n[SNMP_TcpExt_TCPFastRetrans]);
	}
}

static void run(struct sim *s)
{
	bool closing = false;
	uint64_t next, steps = 0;

	while (!closing || !sim_quiet(s)) {
		next = sim_next_us(s);
		if (next == UINT64_MAX)
			sim_fail(s, "stuck: nothing will ever happen again");
		if (next > SIM_LIMIT_US)
			sim_fail(s, "stuck: not finished after hours");
		if (++steps > SIM_STEPS)
			sim_fail(s, "stuck: much happens and nothing comes of it");
		sim_step(s, next);
		if (!closing && prog_all_done(s)) {
			closing = true;
			for (unsigned i = 0; i < s->hosts; i++)
				prog_unlisten(&s->host[i]);
		}
	}
	must_be_calm(s);
	watch_end(s->watch);
}

static void add_up(struct sim *s, struct total *t)
{
	const struct net_stats *n = net_stats(s->net);
	uint64_t loose;

	t->seeds++;
	t->frames += n->frames;
	t->segs += n->data_segs;
	t->bytes += s->bytes;
	t->us += s->now_us - SIM_START_US;
	t->conns += watch_conns(s->watch, &loose);
	t->loose += loose;
	t->faults += n->lost + n->full + n->cut + n->corrupted + n->dup + n->late;
}

/* @s keeps its hosts' memory from seed to seed. */
static void one_seed(struct sim *s, uint64_t seed, struct total *t, bool verbose,
		     const char *pcap)
{
	struct host_mem mem[SIM_HOSTS];

	memcpy(mem, s->mem, sizeof(mem));
	memset(s, 0, sizeof(*s));
	memcpy(s->mem, mem, sizeof(mem));
	setitimer(ITIMER_VIRTUAL, &(struct itimerval){ .it_value.tv_sec = SEED_CPU_S }, NULL);
	current_seed = s->seed = seed;
	s->now_us = SIM_START_US;
	rng_seed(s->rng, seed);
	s->verbose = verbose;
	seed_make(s);
	s->watch = watch_new(s);
	if (pcap)
		s->pcap = sim_pcap_open(pcap, s->hosts);
	run(s);
	if (verbose)
		tell(s);
	add_up(s, t);
	for (unsigned i = 0; i < s->hosts; i++)
		host_fini(&s->host[i]);
	watch_free(s->watch);
	net_free(s->net);
	sim_pcap_close(s->pcap);
}

/* ---- many ---- */

static void work(struct total *t, uint64_t first, uint64_t cnt)
{
	struct sim *s = calloc(1, sizeof(*s));
	uint64_t i;

	while ((i = t->next++) < cnt && !t->failed)
		one_seed(s, first + i, t, false, NULL);
	for (unsigned k = 0; k < SIM_HOSTS; k++)
		host_mem_free(&s->mem[k]);
	free(s);
}

static void report(const struct total *t, const char *name)
{
	printf("%s - %s: %lu seeds, %.1f million data segments, %.0f virtual hours, "
	       "%lu connections (%lu not judged), %.1f million frames, %lu of them harmed\n",
	       t->failed ? "not ok" : "ok", name, (unsigned long)t->seeds, (double)t->segs / 1e6,
	       (double)t->us / 3.6e9, (unsigned long)t->conns, (unsigned long)t->loose,
	       (double)t->frames / 1e6, (unsigned long)t->faults);
}

/* Return: did all pass? */
static bool many(uint64_t first, uint64_t cnt, unsigned jobs)
{
	struct total *t = mmap(NULL, sizeof(*t), PROT_READ | PROT_WRITE,
			       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int status;

	fflush(stdout);
	for (unsigned i = 0; i < jobs; i++) {
		if (fork())
			continue;
		work(t, first, cnt);
		exit(0);
	}
	for (unsigned i = 0; i < jobs; i++) {
		wait(&status);
		if (!WIFEXITED(status) || WEXITSTATUS(status))
			t->failed = true;
	}
	report(t, "random networks");
	return !t->failed;
}

static int usage(void)
{
	fprintf(stderr, "usage: %s [-n SEEDS] [-s FIRST] [-j JOBS] [-w FILE] [-f SYNS] [SEED]\n",
		argv0);
	return 2;
}

int main(int argc, char **argv)
{
	uint64_t n = 0, first = 1, syns = 0;
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	unsigned jobs = cpus > 0 && cpus < JOBS_MAX ? (unsigned)cpus : 1;
	const char *pcap = NULL;
	bool ok = true;
	int o;

	argv0 = argv[0];
	signal(SIGABRT, on_abort);
	signal(SIGVTALRM, on_abort);
	setvbuf(stdout, NULL, _IOLBF, 0);
	while ((o = getopt(argc, argv, "n:s:j:w:f:")) != -1) {
		if (o == 'n')
			n = strtoul(optarg, NULL, 0);
		else if (o == 's')
			first = strtoul(optarg, NULL, 0);
		else if (o == 'j')
			jobs = (unsigned)strtoul(optarg, NULL, 0);
		else if (o == 'f')
			syns = strtoul(optarg, NULL, 0);
		else if (o == 'w')
			pcap = optarg;
		else
			return usage();
	}
	if (jobs < 1 || jobs > JOBS_MAX)
		return usage();
	if (optind < argc) {
		struct total t = { 0 };

		one_seed(calloc(1, sizeof(struct sim)), strtoul(argv[optind], NULL, 0), &t, true,
			 pcap);
		report(&t, "one seed");
		return 0;
	}
	if (n || !syns)
		ok = many(first, n ? n : SIM_SEEDS, jobs);
	if (syns || !n)
		ok &= flood_run(syns ? syns : FLOOD_SYNS);
	return ok ? 0 : 1;
}
