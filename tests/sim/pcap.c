/* SPDX-License-Identifier: MIT */
/* tests/sim/pcap.c - what each host sends and gets, a file per host, as tcpdump would write it */
#include <pcap/pcap.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/sim/sim.h"

struct sim_pcap {
	pcap_t *p;
	pcap_dumper_t *file[SIM_HOSTS];
};

/* FILE.0, FILE.1 ... */
struct sim_pcap *sim_pcap_open(const char *path, unsigned hosts)
{
	struct sim_pcap *d = calloc(1, sizeof(*d));
	char name[4096];

	d->p = pcap_open_dead(DLT_EN10MB, 262144);
	for (unsigned i = 0; d->p && i < hosts; i++) {
		snprintf(name, sizeof(name), "%s.%u", path, i);
		d->file[i] = pcap_dump_open(d->p, name);
		if (!d->file[i])
			fprintf(stderr, "%s\n", pcap_geterr(d->p));
	}
	return d;
}

void sim_pcap_close(struct sim_pcap *d)
{
	for (unsigned i = 0; d && i < SIM_HOSTS; i++)
		if (d->file[i])
			pcap_dump_close(d->file[i]);
	if (d && d->p)
		pcap_close(d->p);
	free(d);
}

void sim_pcap_put(struct sim_pcap *d, unsigned host, uint64_t us, const struct frame *f)
{
	struct pcap_pkthdr h = { .ts = { (long)(us / 1000000), (long)(us % 1000000) },
				 .caplen = f->len, .len = f->len };

	if (d->file[host])
		pcap_dump((u_char *)d->file[host], &h, f->bytes);
}
