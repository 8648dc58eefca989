/* SPDX-License-Identifier: MIT */
/* stackctl/pcapng.c - pcapng by libwiretap: a section, an interface per point, packets with their
 * direction, counts at the end */
#include <wireshark.h>
#include <wiretap/wtap.h>
#include <wiretap/wtap_opttypes.h>
#include <wsutil/wslog.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stackctl/pcapng.h"

#define FLAG_IN		1u		/* pcapng's epb_flags: direction */
#define FLAG_OUT	2u

struct pcapng {
	wtap_dumper *out;
	wtapng_iface_descriptions_t idbs;
	uint32_t iface[SD_CAP_POINTS];	/* number of each point's interface */
	wtap_rec rec;
};


static int told(const char *doing, int err, char *info)
{
	fprintf(stderr, "stackctl: %s: %s%s%s\n", doing, err > 0 ? strerror(err) : "libwiretap",
		info ? ": " : "", info ? info : "");
	g_free(info);
	return -1;
}

/* Return: its number in the file. */
static uint32_t add_iface(struct pcapng *f, const char *dev, const char *suffix, const char *what,
			  uint32_t snaplen)
{
	wtap_block_t b = wtap_block_create(WTAP_BLOCK_IF_ID_AND_INFO);
	wtapng_if_descr_mandatory_t *m = wtap_block_get_mandatory_data(b);

	m->wtap_encap = WTAP_ENCAP_ETHERNET;
	m->time_units_per_second = 1000000000;
	m->tsprecision = WTAP_TSPREC_NSEC;
	m->snap_len = snaplen;
	wtap_block_add_uint8_option(b, OPT_IDB_TSRESOL, WTAP_TSPREC_NSEC);
	wtap_block_add_string_option_format(b, OPT_IDB_NAME, "%s%s", dev, suffix);
	wtap_block_add_string_option_format(b, OPT_IDB_DESCRIPTION, "stackd: %s", what);
	g_array_append_val(f->idbs.interface_data, b);
	return f->idbs.interface_data->len - 1;
}

int pcapng_open(const char *file, const char *dev, uint32_t points, uint32_t snaplen,
		struct pcapng **ret)
{
	wtap_dump_params params = WTAP_DUMP_PARAMS_INIT;
	struct pcapng *f = calloc(1, sizeof(*f));
	char *info = NULL;
	int err = 0, type;

	if (!f)
		return told(file, ENOMEM, NULL);
	ws_log_init("stackctl", NULL);
	wtap_init(FALSE);
	type = wtap_pcapng_file_type_subtype();
	f->idbs.interface_data = g_array_new(FALSE, FALSE, sizeof(wtap_block_t));
	if (points & (SD_CAP_BIT(SD_CAP_RX) | SD_CAP_BIT(SD_CAP_TX)))
		f->iface[SD_CAP_RX] = f->iface[SD_CAP_TX] =
			add_iface(f, dev, "", "received, before GRO, and sent", snaplen);
	if (points & SD_CAP_BIT(SD_CAP_GRO))
		f->iface[SD_CAP_GRO] = add_iface(f, dev, " after GRO", "received, after GRO",
						 snaplen);
	params.encap = WTAP_ENCAP_ETHERNET;
	params.snaplen = (int)snaplen;
	params.tsprec = WTAP_TSPREC_NSEC;
	params.idb_inf = &f->idbs;
	wtap_rec_init(&f->rec);
	if (strcmp(file, "-"))
		f->out = wtap_dump_open(file, type, WTAP_UNCOMPRESSED, &params, &err, &info);
	else
		f->out = wtap_dump_open_stdout(type, WTAP_UNCOMPRESSED, &params, &err, &info);
	if (!f->out) {
		free(f);
		return told(file, err, info);
	}
	*ret = f;
	return pcapng_flush(f);
}

int pcapng_write(struct pcapng *f, const struct sd_cap_rec *r, const uint8_t *frame)
{
	wtap_rec *rec = &f->rec;
	char *info = NULL;
	gboolean ok;
	int err = 0;

	rec->rec_type = REC_TYPE_PACKET;
	rec->presence_flags = WTAP_HAS_TS | WTAP_HAS_CAP_LEN | WTAP_HAS_INTERFACE_ID;
	rec->ts.secs = (time_t)(r->time_ns / 1000000000);
	rec->ts.nsecs = (int)(r->time_ns % 1000000000);
	rec->tsprec = WTAP_TSPREC_NSEC;
	rec->rec_header.packet_header.caplen = r->cap_len;
	rec->rec_header.packet_header.len = r->wire_len;
	rec->rec_header.packet_header.pkt_encap = WTAP_ENCAP_ETHERNET;
	rec->rec_header.packet_header.interface_id = f->iface[r->point];
	rec->block = wtap_block_create(WTAP_BLOCK_PACKET);
	wtap_block_add_uint32_option(rec->block, OPT_PKT_FLAGS,
				     r->point == SD_CAP_TX ? FLAG_OUT : FLAG_IN);
	ok = wtap_dump(f->out, rec, frame, &err, &info);
	wtap_block_unref(rec->block);
	rec->block = NULL;
	return ok ? 0 : told("writing", err, info);
}

int pcapng_flush(struct pcapng *f)
{
	int err = 0;

	return wtap_dump_flush(f->out, &err) ? 0 : told("writing", err, NULL);
}

int pcapng_close(struct pcapng *f)
{
	gboolean reload;
	char *info = NULL;
	int err = 0, r = 0;

	if (!wtap_dump_close(f->out, &reload, &err, &info))
		r = told("closing", err, info);
	wtap_rec_cleanup(&f->rec);
	free(f);
	return r;
}
