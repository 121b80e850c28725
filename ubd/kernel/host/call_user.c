// SPDX-License-Identifier: GPL-2.0
/*
 * Calls of the host's kernel, seen from the host: built with its C library, as
 * all files of User-mode Linux whose names end in _user. See call.rs.
 *
 * What is here runs in threads of the host that the kernel knows nothing of, and
 * must call none of its functions.
 */

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <unistd.h>

#include <os.h>

#include "call.h"

/* The result of a system call, as the kernel has it. */
#define RESULT(expression) ({						\
	long _result;							\
									\
	CATCH_EINTR(_result = (expression));				\
	_result < 0 ? -errno : _result;					\
})

static_assert(sizeof(struct ubd_host_vec) == sizeof(struct iovec), "an iovec");

static const struct iovec *iovecs(const struct ubd_host_vec *vecs)
{
	return (const struct iovec *)vecs;
}

/* Only a look at first: to open a pipe is to wait for who writes to it. */
static long open_file(const char *path, enum ubd_host_access access)
{
	int flags = O_CLOEXEC | O_NOCTTY;
	struct stat st;
	long fd;

	switch (access) {
	case UBD_HOST_ACCESS_CREATE:
		return RESULT(open(path, flags | O_RDWR | O_CREAT | O_EXCL, 0644));
	case UBD_HOST_ACCESS_READ:
		flags |= O_RDONLY;
		break;
	case UBD_HOST_ACCESS_WRITE:
		flags |= O_RDWR;
		break;
	case UBD_HOST_ACCESS_CLAIM:
		flags |= O_RDWR | O_EXCL;
		break;
	}
	if (stat(path, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		return -EINVAL;
	if (!S_ISBLK(st.st_mode))
		flags &= ~O_EXCL;
	/* Who may not ask for it is told EPERM for that alone. */
	fd = RESULT(open(path, flags | O_NOATIME));
	if (fd == -EPERM)
		fd = RESULT(open(path, flags));
	return fd;
}

static void stat_device(int fd, struct ubd_host_stat *stat)
{
	unsigned int value;
	unsigned short rotational;
	unsigned long long size;
	int number;

	stat->says_space = 0;
	stat->knows_data = 0;
	stat->allocated = 0;
	if (fd < 0)
		return;
	if (!ioctl(fd, BLKGETSIZE64, &size))
		stat->size = size;
	if (!ioctl(fd, BLKSSZGET, &number))
		stat->logical_block_size = number;
	if (!ioctl(fd, BLKPBSZGET, &value))
		stat->physical_block_size = value;
	if (!ioctl(fd, BLKIOOPT, &value))
		stat->optimal_io_size = value;
	if (!ioctl(fd, BLKROTATIONAL, &rotational))
		stat->rotational = !!rotational;
	if (!ioctl(fd, BLKROGET, &number))
		stat->refuses_writes = !!number;
	stat->block_size = stat->logical_block_size;
}

static long stat_file(int fd, const char *path, struct ubd_host_stat *stat)
{
	struct statfs fs = { };
	struct stat st;
	unsigned long long block;

	memset(stat, 0, sizeof(*stat));
	if (path ? fstatat(AT_FDCWD, path, &st, 0) : fstat(fd, &st))
		return -errno;
	stat->device = ((unsigned long long)major(st.st_dev) << 20) | minor(st.st_dev);
	stat->inode = st.st_ino;
	stat->size = st.st_size;
	stat->allocated = st.st_blocks * 512ULL;
	stat->mtime = st.st_mtime;
	stat->mode = st.st_mode;
	stat->links = st.st_nlink;
	stat->block_size = st.st_blksize;
	stat->punches = 1;
	if (S_ISBLK(st.st_mode)) {
		stat->device = 0;
		stat->inode = ((unsigned long long)major(st.st_rdev) << 20) | minor(st.st_rdev);
		stat_device(path ? -1 : fd, stat);
		return 0;
	}
	if (path || fstatfs(fd, &fs))
		return 0;
	stat->says_space = fs.f_blocks > 0;
	block = fs.f_frsize ?: fs.f_bsize;
	if (__builtin_mul_overflow(block, fs.f_bavail, &stat->space_left))
		stat->space_left = ~0ULL;
	/* Where SEEK_DATA knows of what is dirty in the page cache. */
	switch ((unsigned int)fs.f_type) {
	case TMPFS_MAGIC:
		stat->in_memory = 1;
		stat->knows_data = 1;
		break;
	case EXT4_SUPER_MAGIC:
	case XFS_SUPER_MAGIC:
	case BTRFS_SUPER_MAGIC:
	case F2FS_SUPER_MAGIC:
		stat->knows_data = 1;
		break;
	}
	return 0;
}

/*
 * A lock that is the open file's own and not the process's: closing another
 * descriptor of the same file does not lose it, and a second unit on the file is
 * refused as another process is. Record locks of other processes, as the C driver
 * takes them, and these shut each other out.
 */
static long lock_file(int fd, int exclusive)
{
	struct flock lock = {
		.l_type = exclusive ? F_WRLCK : F_RDLCK,
		.l_whence = SEEK_SET,
	};
	long ret = RESULT(fcntl(fd, F_OFD_SETLK, &lock));

	if (ret == -EINVAL)
		ret = RESULT(fcntl(fd, F_SETLK, &lock));
	return ret;
}

static long write_zeros(int fd, unsigned long long pos, unsigned long long len)
{
	static const char zeros[64 << 10];

	while (len) {
		size_t part = len < sizeof(zeros) ? len : sizeof(zeros);
		long n = RESULT(pwrite(fd, zeros, part, pos));

		if (n <= 0)
			return n ?: -EIO;
		pos += n;
		len -= n;
	}
	return 0;
}

/* The absolute path of an open file. */
static long path_of(int fd, char *buf, unsigned long len)
{
	char link[32];
	long n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = RESULT(readlink(link, buf, len));
	return n == (long)len ? -ENAMETOOLONG : n;
}

/* Where folders can't be synced there is nothing to do. */
static long sync_folder(const char *path)
{
	long ret, fd = RESULT(open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));

	if (fd < 0)
		return fd;
	ret = RESULT(fsync(fd));
	close(fd);
	return ret == -EINVAL ? 0 : ret;
}

/* May wait for the host. */
long ubd_host_do(struct ubd_host_call *call)
{
	const int keep = FALLOC_FL_KEEP_SIZE;
	int fd = call->fd;

	switch (call->op) {
	case UBD_HOST_OPEN:
		return open_file(call->path, call->arg);
	case UBD_HOST_CLOSE:
		close(fd);
		return 0;
	case UBD_HOST_STAT:
		return stat_file(fd, NULL, call->stat);
	case UBD_HOST_STAT_PATH:
		return stat_file(-1, call->path, call->stat);
	case UBD_HOST_READLINK:
		return path_of(fd, call->buf, call->len);
	case UBD_HOST_LOCK:
		return lock_file(fd, call->arg);
	case UBD_HOST_READ:
		return RESULT(preadv(fd, iovecs(call->vecs), call->count, call->pos));
	case UBD_HOST_WRITE:
		return RESULT(pwritev(fd, iovecs(call->vecs), call->count, call->pos));
	case UBD_HOST_ZEROS:
		return write_zeros(fd, call->pos, call->len);
	case UBD_HOST_PUNCH:
		return RESULT(fallocate(fd, FALLOC_FL_PUNCH_HOLE | keep, call->pos, call->len));
	case UBD_HOST_ZERO_RANGE:
		return RESULT(fallocate(fd, FALLOC_FL_ZERO_RANGE | keep, call->pos, call->len));
	case UBD_HOST_TRUNCATE:
		return RESULT(ftruncate(fd, call->len));
	case UBD_HOST_SYNC:
		return RESULT(fdatasync(fd));
	case UBD_HOST_SYNC_ALL:
		return RESULT(fsync(fd));
	case UBD_HOST_SYNC_FOLDER:
		return sync_folder(call->path);
	case UBD_HOST_NEXT_DATA:
		return RESULT(lseek(fd, call->pos, SEEK_DATA));
	case UBD_HOST_NEXT_HOLE:
		return RESULT(lseek(fd, call->pos, SEEK_HOLE));
	}
	return -EINVAL;
}

/* What the host has at hand: -EAGAIN rather than wait for more. */
long ubd_host_read_nowait(const struct ubd_host_call *call)
{
	return RESULT(preadv2(call->fd, iovecs(call->vecs), call->count, call->pos,
			      RWF_NOWAIT));
}

/*
 * Two pipes of pointers. The threads wait for the one, and for room in the other;
 * the kernel's ends wait for nothing.
 */
static int threads_submitted = -1, threads_ended = -1;

int ubd_host_open_pipes(int *submit, int *ended)
{
	int submitted[2], done[2], err;

	if (pipe2(submitted, O_CLOEXEC) < 0)
		return -errno;
	if (pipe2(done, O_CLOEXEC) < 0) {
		err = -errno;
		goto out_submitted;
	}
	if (fcntl(submitted[1], F_SETFL, O_NONBLOCK) < 0 ||
	    fcntl(done[0], F_SETFL, O_NONBLOCK) < 0) {
		err = -errno;
		goto out_done;
	}
	threads_submitted = submitted[0];
	threads_ended = done[1];
	*submit = submitted[1];
	*ended = done[0];
	return 0;

out_done:
	close(done[0]);
	close(done[1]);
out_submitted:
	close(submitted[0]);
	close(submitted[1]);
	return err;
}

int ubd_host_submit(int submit, struct ubd_host_call *call)
{
	long n = RESULT(write(submit, &call, sizeof(call)));

	return n < 0 ? n : 0;
}

/* How many calls have ended, at most so many of them: their pointers are whole. */
int ubd_host_take_ended(int ended, struct ubd_host_call **calls, int most)
{
	long n = RESULT(read(ended, calls, most * sizeof(*calls)));

	return n < 0 ? 0 : n / sizeof(*calls);
}

void *ubd_host_thread(void *unused)
{
	struct ubd_host_call *call;

	os_fix_helper_thread_signals();
	while (RESULT(read(threads_submitted, &call, sizeof(call))) == sizeof(call)) {
		call->result = ubd_host_do(call);
		RESULT(write(threads_ended, &call, sizeof(call)));
	}
	return NULL;
}
