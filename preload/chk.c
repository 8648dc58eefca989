/* SPDX-License-Identifier: MIT */
/* preload/chk.c - the fortified twins of transfer, called by programs built with _FORTIFY_SOURCE
 * Each checks the object's size as libc does and goes on with the plain wrapper.
 * Spec:    S1
 */
#undef _FORTIFY_SOURCE
#include "preload/pl.h"

void __chk_fail(void) __attribute__((noreturn));
ssize_t __read_chk(int fd, void *buf, size_t n, size_t size);
ssize_t __recv_chk(int fd, void *buf, size_t n, size_t size, int flags);
ssize_t __recvfrom_chk(int fd, void *buf, size_t n, size_t size, int flags, struct sockaddr *sa,
		       socklen_t *len);

PL_EXPORT ssize_t __read_chk(int fd, void *buf, size_t n, size_t size)
{
	if (n > size)
		__chk_fail();
	return read(fd, buf, n);
}

PL_EXPORT ssize_t __recv_chk(int fd, void *buf, size_t n, size_t size, int flags)
{
	if (n > size)
		__chk_fail();
	return recv(fd, buf, n, flags);
}

PL_EXPORT ssize_t __recvfrom_chk(int fd, void *buf, size_t n, size_t size, int flags,
				 struct sockaddr *sa, socklen_t *len)
{
	if (n > size)
		__chk_fail();
	return recvfrom(fd, buf, n, flags, sa, len);
}
