/* SPDX-License-Identifier: MIT */
/* nic/vfio/faults.c - DMA that the IOMMU has refused, as the kernel's log tells it
 * The kernel gives vfio users no event for such a fault: it writes a line to its log, naming the
 * device. The helper opens the log at its end; worker 0 reads what has come once a second. Lines of
 * other devices are dropped unread by anybody.
 *   DMAR: [DMA Read NO_PASID] Request device [00:02.0] fault addr 0x7000 ...     (Intel)
 *   AMD-Vi: Event logged [IO_PAGE_FAULT device=0000:00:02.0 ...                  (AMD)
 * Spec:    Documentation/ABI/testing/dev-kmsg (one record per read, EPIPE after an overrun)
 * Threads: worker 0
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "stackd/nic/vfio/vfio.h"

#define LINES_AT_ONCE	64u
#define LINE_MAX	1024u

bool vfio_is_fault(const char *line, const char *pci)
{
	const char *bdf = strlen(pci) > 5 ? pci + 5 : pci;	/* Intel's line has no domain */
	bool who = strstr(line, "DMAR:") || strstr(line, "AMD-Vi:") || strstr(line, "arm-smmu");

	return who && (strstr(line, "fault") || strstr(line, "FAULT")) && strstr(line, bdf);
}

unsigned vfio_read_faults(struct vfio *v)
{
	char line[LINE_MAX];
	unsigned cnt = 0;

	for (unsigned i = 0; i < LINES_AT_ONCE; i++) {
		ssize_t n = read(v->kmsg, line, sizeof(line) - 1);

		if (n < 0 && errno == EPIPE)
			continue;	/* lines were lost: the next read goes on behind them */
		if (n <= 0)
			break;
		line[n] = '\0';
		cnt += vfio_is_fault(line, v->id.pci);
	}
	return cnt;
}
