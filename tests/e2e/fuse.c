// SPDX-License-Identifier: GPL-2.0
/*
 * A file system that has a folder's files, by FUSE with a write-back cache: what
 * the kernel has not sent yet the folder does not have, and that is asked where
 * there is data. usage: fuse FOLDER MOUNTPOINT
 */

#define FUSE_USE_VERSION 31
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <fuse.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static int folder;

static void *start(struct fuse_conn_info *conn, struct fuse_config *config)
{
	conn->want |= FUSE_CAP_WRITEBACK_CACHE;
	config->kernel_cache = 1;
	return NULL;
}

static int answer(ssize_t result)
{
	return result < 0 ? -errno : result;
}

static int get_attr(const char *path, struct stat *stat,
		    struct fuse_file_info *info)
{
	return answer(fstatat(folder, path[1] ? path + 1 : ".", stat, 0));
}

static int set_size(const char *path, off_t size, struct fuse_file_info *info)
{
	int fd = openat(folder, path + 1, O_RDWR);
	int result = answer(ftruncate(fd, size));

	close(fd);
	return result;
}

static int set_times(const char *path, const struct timespec times[2],
		     struct fuse_file_info *info)
{
	return answer(utimensat(folder, path + 1, times, 0));
}

static int open_file(const char *path, struct fuse_file_info *info)
{
	int fd = openat(folder, path + 1, O_RDWR);

	info->fh = fd;
	return fd < 0 ? -errno : 0;
}

static int create_file(const char *path, mode_t mode,
		       struct fuse_file_info *info)
{
	int fd = openat(folder, path + 1, O_RDWR | O_CREAT, mode);

	info->fh = fd;
	return fd < 0 ? -errno : 0;
}

static int read_file(const char *path, char *data, size_t size, off_t at,
		     struct fuse_file_info *info)
{
	return answer(pread(info->fh, data, size, at));
}

static int write_file(const char *path, const char *data, size_t size, off_t at,
		      struct fuse_file_info *info)
{
	return answer(pwrite(info->fh, data, size, at));
}

static int sync_file(const char *path, int data, struct fuse_file_info *info)
{
	return answer(fsync(info->fh));
}

static int close_file(const char *path, struct fuse_file_info *info)
{
	return answer(close(info->fh));
}

static off_t seek_file(const char *path, off_t at, int whence,
		       struct fuse_file_info *info)
{
	off_t found = lseek(info->fh, at, whence);

	return found < 0 ? -errno : found;
}

static int allocate(const char *path, int mode, off_t at, off_t length,
		    struct fuse_file_info *info)
{
	return answer(fallocate(info->fh, mode, at, length));
}

static const struct fuse_operations operations = {
	.init = start,
	.getattr = get_attr,
	.truncate = set_size,
	.utimens = set_times,
	.open = open_file,
	.create = create_file,
	.read = read_file,
	.write = write_file,
	.fsync = sync_file,
	.release = close_file,
	.lseek = seek_file,
	.fallocate = allocate,
};

int main(int argc, char **argv)
{
	char *args[] = { argv[0], argv[2], NULL };

	if (argc != 3)
		return 2;
	folder = open(argv[1], O_DIRECTORY | O_PATH);
	if (folder < 0) {
		perror(argv[1]);
		return 1;
	}
	return fuse_main(2, args, &operations, NULL);
}
