/* SPDX-License-Identifier: MIT */
/* tcp/opts.c - TCP options, in and out
 * Spec:    RFC 9293 3.2 (MSS), RFC 7323 (window scale, timestamps), RFC 2018 (SACK)
 * Holds:   every byte read lies inside [opt, opt + len); whatever the length bytes say
 */
#include <string.h>

#include "stackd/tcp/tcp_int.h"

enum { OPT_END = 0, OPT_NOP = 1, OPT_MSS = 2, OPT_WS = 3, OPT_SACK_OK = 4, OPT_SACK = 5,
       OPT_TS = 8 };

static uint32_t rd32(const uint8_t *p)
{
	be32 v;

	memcpy(&v, p, 4);
	return be32_to_cpu(v);
}

static void wr32(uint8_t *p, uint32_t v)
{
	be32 w = cpu_to_be32(v);

	memcpy(p, &w, 4);
}

static void parse_sack(const uint8_t *opt, unsigned len, struct tcp_opts *ret)
{
	if (len < 10 || (len - 2) % 8)
		return;
	ret->sack_cnt = 0;
	for (unsigned i = 2; i < len && ret->sack_cnt < TCP_SACK_MAX; i += 8) {
		ret->sack[ret->sack_cnt].lo = rd32(opt + i);
		ret->sack[ret->sack_cnt].hi = rd32(opt + i + 4);
		ret->sack_cnt++;
	}
}

/* One option of @len bytes, its kind and length included. Wrong lengths: ignored, as Linux does. */
static void parse_one(const uint8_t *opt, unsigned len, struct tcp_opts *ret)
{
	switch (opt[0]) {
	case OPT_MSS:
		if (len == 4)
			ret->mss = (uint16_t)(opt[2] << 8 | opt[3]);
		break;
	case OPT_WS:
		if (len == 3) {
			ret->has_ws = true;
			ret->wscale = opt[2] > TCP_WSCALE_MAX ? TCP_WSCALE_MAX : opt[2];
		}
		break;
	case OPT_SACK_OK:
		if (len == 2)
			ret->sack_ok = true;
		break;
	case OPT_SACK:
		parse_sack(opt, len, ret);
		break;
	case OPT_TS:
		if (len == 10) {
			ret->has_ts = true;
			ret->tsval = rd32(opt + 2);
			ret->tsecr = rd32(opt + 6);
		}
		break;
	default:
		break;
	}
}

bool tcp_opts_parse(const uint8_t *opt, unsigned len, struct tcp_opts *ret)
{
	unsigned i = 0, n;

	memset(ret, 0, sizeof(*ret));
	while (i < len) {
		if (opt[i] == OPT_END)
			return true;
		if (opt[i] == OPT_NOP) {
			i++;
			continue;
		}
		if (i + 1 >= len)
			return false;
		n = opt[i + 1];
		if (n < 2 || n > len - i)
			return false;
		parse_one(opt + i, n, ret);
		i += n;
	}
	return true;
}

unsigned tcp_opts_ts(uint8_t *to, uint32_t tsval, uint32_t tsecr)
{
	to[0] = to[1] = OPT_NOP;
	to[2] = OPT_TS;
	to[3] = 10;
	wr32(to + 4, tsval);
	wr32(to + 8, tsecr);
	return TCP_TS_LEN;
}

unsigned tcp_opts_sack(uint8_t *to, const uint32_t (*blk)[2], unsigned cnt)
{
	if (!cnt)
		return 0;
	to[0] = to[1] = OPT_NOP;
	to[2] = OPT_SACK;
	to[3] = (uint8_t)(2 + 8 * cnt);
	for (unsigned i = 0; i < cnt; i++) {
		wr32(to + 4 + 8 * i, blk[i][0]);
		wr32(to + 8 + 8 * i, blk[i][1]);
	}
	return 4 + 8 * cnt;
}

/* In Linux's order: the two bytes of SACK-permitted stand where the timestamps' NOPs would. */
unsigned tcp_opts_syn(uint8_t *to, uint16_t mss, int wscale, bool sack, bool ts, uint32_t tsval,
		      uint32_t tsecr)
{
	unsigned n = 4;

	to[0] = OPT_MSS;
	to[1] = 4;
	to[2] = (uint8_t)(mss >> 8);
	to[3] = (uint8_t)mss;
	if (ts) {
		n += tcp_opts_ts(to + n, tsval, tsecr);
	} else if (sack) {
		to[n] = to[n + 1] = OPT_NOP;
		n += 4;
	}
	if (sack) {
		to[ts ? 4 : n - 2] = OPT_SACK_OK;
		to[ts ? 5 : n - 1] = 2;
	}
	if (wscale >= 0) {
		to[n] = OPT_NOP;
		to[n + 1] = OPT_WS;
		to[n + 2] = 3;
		to[n + 3] = (uint8_t)wscale;
		n += 4;
	}
	return n;
}
