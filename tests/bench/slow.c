// SPDX-License-Identifier: GPL-2.0
/*
 * For uml.sh, to be preloaded into User-mode Linux: as if the page cache had
 * nothing, and each read of a disk took a millisecond, whatever else is under way.
 */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <sys/uio.h>
#include <unistd.h>

ssize_t pread64(int fd, void *buf, size_t len, off64_t offset)
{
	static ssize_t (*libc)(int fd, void *buf, size_t len, off64_t offset);

	if (!libc)
		libc = dlsym(RTLD_NEXT, "pread64");
	usleep(1000);
	return libc(fd, buf, len, offset);
}

ssize_t preadv64(int fd, const struct iovec *iov, int count, off64_t offset)
{
	static ssize_t (*libc)(int fd, const struct iovec *iov, int count, off64_t offset);

	if (!libc)
		libc = dlsym(RTLD_NEXT, "preadv64");
	usleep(1000);
	return libc(fd, iov, count, offset);
}

ssize_t preadv64v2(int fd, const struct iovec *iov, int count, off64_t offset, int flags)
{
	static ssize_t (*libc)(int fd, const struct iovec *iov, int count, off64_t offset,
			       int flags);

	if (!libc)
		libc = dlsym(RTLD_NEXT, "preadv64v2");
	if (flags & RWF_NOWAIT) {
		errno = EAGAIN;
		return -1;
	}
	usleep(1000);
	return libc(fd, iov, count, offset, flags);
}
