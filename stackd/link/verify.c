/* SPDX-License-Identifier: MIT */
/* link/verify.c - is the device right about a checksum? (sysctl stackd.rx_csum_verify)
 *
 * With it on, a packet that the device vouches for is summed in software. A device that was
 * wrong is counted (Dev.RxCsumWrong) and its word forgotten: the transport then sums and drops by
 * itself.
 * Packets that never were on a wire have nothing but a pseudo-header sum and are left alone, so are
 * fragments, of which no device can know.
 * Spec:    RFC 793 3.1, RFC 768 (a zero checksum says nothing)
 * In/Out:  frame -> the same, checksum state NONE where the device was wrong
 * Threads: owning worker only
 */
#include "stackd/core/csum.h"
#include "stackd/link/link_int.h"

/* Sum over pseudo-header and transport, 0 when right. @l4, @len: inside the packet. */
static uint16_t transport_sum(const struct pkt *p, const uint8_t *ip, uint32_t l4_off, uint32_t len)
{
	uint8_t pseudo[12];

	memcpy(pseudo, ip + 12, 8);
	pseudo[8] = 0;
	pseudo[9] = ip[9];
	put16(pseudo + 10, len);
	return csum_done(csum_add64(csum_pkt(p, l4_off), csum_fold(csum_add(0, pseudo, 12))));
}

static bool has_sum(const struct pkt *p, const uint8_t *ip, uint32_t l4)
{
	if (ip[0] >> 4 != 4 || (ip[0] & 15) < 5 || (get16(ip + 6) & 0x3fff))
		return false;
	if (ip[9] == 17)
		return p->len >= l4 + 8 && get16(p->data + l4 + 6) != 0;
	return ip[9] == 6 && p->len >= l4 + 20;
}

void link_verify(struct stack *st, struct pkt *p)
{
	const uint8_t *ip = p->data + ETH_HLEN;
	uint32_t l4, total;

	if ((p->csum_state != PKT_CSUM_UNNECESSARY && p->csum_state != PKT_CSUM_COMPLETE) ||
	    p->csum_start || p->len < ETH_HLEN + 20)
		return;
	l4 = ETH_HLEN + (ip[0] & 15) * 4u;
	total = get16(ip + 2);
	/* Padding behind the packet is not summed by us: such short frames prove nothing. */
	if (!has_sum(p, ip, l4) || pkt_total(p) != ETH_HLEN + total)
		return;
	if (p->csum_state == PKT_CSUM_COMPLETE &&
	    csum_fold(csum_pkt(p, (uint32_t)(p->data - p->buf) + l4)) == p->csum)
		return;
	if (p->csum_state == PKT_CSUM_UNNECESSARY &&
	    transport_sum(p, ip, (uint32_t)(p->data - p->buf) + l4, ETH_HLEN + total - l4) == 0)
		return;
	snmp_inc(st, SNMP_Dev_RxCsumWrong);
	p->csum_state = PKT_CSUM_NONE;
}
