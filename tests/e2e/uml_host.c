// SPDX-License-Identifier: GPL-2.0
/*
 * For uml_host.sh, to be preloaded into User-mode Linux: says in the file $SYNCED
 * which file is synced, and, while there is a file $STALL, lets no read go on that
 * may wait for the disk, as if that stood still. $STALL.met has a byte for each.
 */

#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

/* User-mode Linux needs the environment's place for something else. */
static char synced[4096], stall[4096];

__attribute__((constructor)) static void begin(void)
{
	snprintf(synced, sizeof(synced), "%s", getenv("SYNCED") ?: "");
	snprintf(stall, sizeof(stall), "%s", getenv("STALL") ?: "");
}

int fdatasync(int fd)
{
	static int (*libc)(int fd);
	char link[32], path[4096];
	ssize_t len;
	int said;

	if (!libc)
		libc = dlsym(RTLD_NEXT, "fdatasync");
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	len = readlink(link, path, sizeof(path) - 1);
	if (*synced && len > 0) {
		path[len++] = '\n';
		said = open(synced, O_WRONLY | O_CREAT | O_APPEND, 0644);
		if (write(said, path, len) < 0)
			abort();
		close(said);
	}
	return libc(fd);
}

ssize_t preadv(int fd, const struct iovec *iov, int count, off_t offset)
{
	static ssize_t (*libc)(int fd, const struct iovec *iov, int count, off_t offset);
	char stalled[4200];
	int told;

	if (!libc)
		libc = dlsym(RTLD_NEXT, "preadv");
	if (*stall && !access(stall, F_OK)) {
		snprintf(stalled, sizeof(stalled), "%s.met", stall);
		told = open(stalled, O_WRONLY | O_CREAT | O_APPEND, 0644);
		if (write(told, "1", 1) < 0)
			abort();
		close(told);
		while (!access(stall, F_OK))
			usleep(1000);
	}
	return libc(fd, iov, count, offset);
}

ssize_t preadv64(int fd, const struct iovec *iov, int count, off_t offset)
	__attribute__((alias("preadv")));
