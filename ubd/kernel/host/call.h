/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Calls of the host's kernel: what call.c, which is a part of the kernel, and
 * call_user.c, which sees the host's C library, have in common. call.rs has it
 * once more.
 */
#ifndef UBD_HOST_CALL_H
#define UBD_HOST_CALL_H

/* What a call does. It returns a number, or an error of the kernel's. */
enum ubd_host_op {
	UBD_HOST_OPEN,		/* path, arg: enum ubd_host_access; the file descriptor */
	UBD_HOST_CLOSE,		/* fd */
	UBD_HOST_STAT,		/* fd, stat */
	UBD_HOST_STAT_PATH,	/* path, stat */
	UBD_HOST_READLINK,	/* fd, buf, len: its path; the length */
	UBD_HOST_LOCK,		/* fd, arg: whether exclusive */
	UBD_HOST_READ,		/* fd, vecs, count, pos; how many bytes */
	UBD_HOST_WRITE,		/* fd, vecs, count, pos; how many bytes */
	UBD_HOST_ZEROS,		/* fd, pos, len: writes them */
	UBD_HOST_PUNCH,		/* fd, pos, len */
	UBD_HOST_ZERO_RANGE,	/* fd, pos, len */
	UBD_HOST_TRUNCATE,	/* fd, len */
	UBD_HOST_SYNC,		/* fd */
	UBD_HOST_SYNC_ALL,	/* fd */
	UBD_HOST_SYNC_FOLDER,	/* path */
	UBD_HOST_NEXT_DATA,	/* fd, pos; the position */
	UBD_HOST_NEXT_HOLE,	/* fd, pos; the position */
};

enum ubd_host_access {
	UBD_HOST_ACCESS_READ,
	UBD_HOST_ACCESS_WRITE,
	UBD_HOST_ACCESS_CLAIM,
	UBD_HOST_ACCESS_CREATE,
};

/* What there is to know of a file. */
struct ubd_host_stat {
	unsigned long long device;
	unsigned long long inode;
	unsigned long long size;
	unsigned long long allocated;
	unsigned long long space_left;
	long long mtime;
	unsigned int mode;
	unsigned int links;
	unsigned int block_size;
	unsigned int logical_block_size;
	unsigned int physical_block_size;
	unsigned int optimal_io_size;
	unsigned char in_memory;
	unsigned char knows_data;
	unsigned char says_space;
	unsigned char rotational;
	unsigned char punches;
	unsigned char refuses_writes;
};

/* As the host's struct iovec. */
struct ubd_host_vec {
	void *base;
	unsigned long len;
};

/* A call: who makes it keeps it, and all that it points to, until it has ended. */
struct ubd_host_call {
	enum ubd_host_op op;
	int fd;
	const char *path;
	union {
		char *buf;
		struct ubd_host_stat *stat;
		const struct ubd_host_vec *vecs;
	};
	unsigned int count;
	unsigned int arg;
	unsigned long long pos;
	unsigned long long len;
	long result;
	/* Of call.c: what is done when it has ended, and who waits for that. */
	void (*done)(struct ubd_host_call *call);
	void *waiter;
};

/* call_user.c, for the kernel: may be called in any context. */
long ubd_host_do(struct ubd_host_call *call);
long ubd_host_read_nowait(const struct ubd_host_call *call);
int ubd_host_open_pipes(int *submit, int *ended);
int ubd_host_submit(int submit, struct ubd_host_call *call);
int ubd_host_take_ended(int ended, struct ubd_host_call **calls, int most);
void *ubd_host_thread(void *unused);

#endif
