/* SPDX-License-Identifier: MIT */
/* stackctl/pcapng.h - a pcapng file or stream, written by Wireshark's own library (libwiretap) */
#ifndef STACKCTL_PCAPNG_H
#define STACKCTL_PCAPNG_H

#include <stdint.h>

#include "stackd/capture.h"

struct pcapng;

/* @file: "-" = stdout. The device is one interface, "DEV after GRO" another where @points has it.
 * Return: 0, or -1 = told on stderr. */
int pcapng_open(const char *file, const char *dev, uint32_t points, uint32_t snaplen,
		struct pcapng **ret);
/* Return: 0, or -1 = told (a reader that went away, a full disk). */
int pcapng_write(struct pcapng *f, const struct sd_cap_rec *r, const uint8_t *frame);
/* What was written so far can be read now. Return: as above. */
int pcapng_flush(struct pcapng *f);
int pcapng_close(struct pcapng *f);

#endif
