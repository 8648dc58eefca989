/* SPDX-License-Identifier: MIT */
/* supervisor/dispose.c - the last close of a socket that a program writes into
 * With the socket goes what was not read from it, with an unread message the descriptors in it, and
 * the last close of one of those can take as long as the program likes (SO_LINGER). So what comes
 * without descriptors is read first; a socket in which one is waiting is left to a child that ends:
 * a process that exits waits for no socket. Nothing of a message is looked at but whether
 * descriptors are with it, which the kernel says.
 * Holds:   D1 this process never drops the last reference of a descriptor that a program has passed
 * Threads: the supervisor's one
 */
#include "stackd/supervisor/store.h"

#include <errno.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <unistd.h>

#include "stackd/supervisor/proto.h"

/* Close @fd while a child holds it, which ends then. Return: false when there can be no child. */
static bool by_child(int fd)
{
	int go[2];
	pid_t pid;
	char c;

	if (pipe(go))
		return false;
	pid = fork();
	if (pid == 0) {
		close(go[1]);
		if (read(go[0], &c, 1))
			_exit(1);
		_exit(0);
	}
	if (pid > 0)
		close(fd);
	close(go[0]);
	close(go[1]);
	return pid > 0;
}

void dispose(int fd)
{
	uint32_t type;
	bool rights;

	shutdown(fd, SHUT_RDWR);	/* nothing more comes */
	while (sup_peek(fd, &type, &rights) >= 0) {
		if (rights) {
			by_child(fd);	/* else it stays open: better than to wait */
			return;
		}
		if (sup_skip(fd))
			break;
	}
	close(fd);
}
