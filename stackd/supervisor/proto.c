/* SPDX-License-Identifier: MIT */
/* supervisor/proto.c - messages with fds over a Unix socket, used by supervisor, engine and control
 * Spec: unix(7), cmsg(3)
 */
#include "stackd/supervisor/proto.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

union fd_space {
	struct cmsghdr align;
	char buf[CMSG_SPACE(SUP_BATCH_FDS * sizeof(int)) + CMSG_SPACE(sizeof(struct ucred))];
};

void sup_close_fds(const int *fds, unsigned cnt)
{
	for (unsigned i = 0; i < cnt; i++)
		close(fds[i]);
}

int sup_send(int sock, const void *msg, size_t len, const int *fds, unsigned cnt, int flags)
{
	struct iovec iov = { .iov_base = (void *)(uintptr_t)msg, .iov_len = len };
	struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1 };
	union fd_space space;
	ssize_t n;

	if (cnt > SUP_BATCH_FDS)
		return -EINVAL;
	if (cnt) {
		mh.msg_control = space.buf;
		mh.msg_controllen = CMSG_SPACE(cnt * sizeof(int));
		memset(space.buf, 0, mh.msg_controllen);
		*CMSG_FIRSTHDR(&mh) = (struct cmsghdr){
			.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS,
			.cmsg_len = CMSG_LEN(cnt * sizeof(int)),
		};
		memcpy(CMSG_DATA(CMSG_FIRSTHDR(&mh)), fds, cnt * sizeof(int));
	}
	do {
		n = sendmsg(sock, &mh, flags | MSG_NOSIGNAL);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}

/* Move received fds to the caller; what does not fit is closed. */
static unsigned take_fds(struct msghdr *mh, int *fds, unsigned max)
{
	unsigned cnt = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(mh); c; c = CMSG_NXTHDR(mh, c)) {
		unsigned n;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		n = (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		for (unsigned i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
			if (cnt < max)
				fds[cnt++] = fd;
			else
				close(fd);
		}
	}
	return cnt;
}

static uint32_t sender(struct msghdr *mh)
{
	struct ucred uc = { 0 };

	for (struct cmsghdr *c = CMSG_FIRSTHDR(mh); c; c = CMSG_NXTHDR(mh, c))
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_CREDENTIALS)
			memcpy(&uc, CMSG_DATA(c), sizeof(uc));
	return (uint32_t)uc.pid;
}

int sup_recv(int sock, void *msg, size_t size, int *fds, unsigned max, unsigned *ret_cnt, int flags)
{
	uint32_t pid;

	return sup_recv_from(sock, msg, size, fds, max, ret_cnt, flags, &pid);
}

int sup_recv_from(int sock, void *msg, size_t size, int *fds, unsigned max, unsigned *ret_cnt,
		  int flags, uint32_t *ret_pid)
{
	struct iovec iov = { .iov_base = msg, .iov_len = size };
	union fd_space space;
	struct msghdr mh = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = space.buf, .msg_controllen = sizeof(space.buf),
	};
	ssize_t n;

	*ret_cnt = 0;
	do {
		n = recvmsg(sock, &mh, flags | MSG_CMSG_CLOEXEC);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	*ret_cnt = take_fds(&mh, fds, max);
	*ret_pid = sender(&mh);
	if (mh.msg_flags & MSG_TRUNC) {
		sup_close_fds(fds, *ret_cnt);
		*ret_cnt = 0;
		return -EMSGSIZE;
	}
	return (int)n;
}

/* Room for what says who sent it and not for one descriptor: so that none is installed, and
 * MSG_CTRUNC says that there is one. Return: bytes, or -errno; *ret_some: there was a message. */
static ssize_t without_fds(int sock, void *buf, size_t size, int flags, bool *ret_some,
			   bool *ret_rights)
{
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(sizeof(struct ucred))];
	} space;
	struct iovec iov = { .iov_base = buf, .iov_len = size };
	struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1 };
	socklen_t len = sizeof(int);
	int creds = 0;
	ssize_t n;

	getsockopt(sock, SOL_SOCKET, SO_PASSCRED, &creds, &len);
	if (creds) {
		mh.msg_control = space.buf;
		mh.msg_controllen = CMSG_LEN(sizeof(struct ucred));
	}
	do {
		n = recvmsg(sock, &mh, flags | MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	} while (n < 0 && errno == EINTR);
	*ret_rights = n >= 0 && mh.msg_flags & MSG_CTRUNC;
	/* an empty message says who sent it; the end does not */
	*ret_some = n > 0 || *ret_rights || (n == 0 && creds && mh.msg_controllen);
	return n < 0 ? -errno : n;
}

int sup_peek(int sock, uint32_t *ret_type, bool *ret_rights)
{
	bool some;
	ssize_t n;

	*ret_type = 0;
	n = without_fds(sock, ret_type, sizeof(*ret_type), MSG_PEEK | MSG_TRUNC, &some, ret_rights);
	if (n >= 0 && n < (ssize_t)sizeof(*ret_type))
		*ret_type = 0;
	return n >= 0 && !some ? -ENOMSG : (int)n;
}

int sup_skip(int sock)
{
	static char waste[4096];
	bool some, rights;
	ssize_t n = without_fds(sock, waste, sizeof(waste), 0, &some, &rights);

	return n < 0 ? (int)n : 0;
}
