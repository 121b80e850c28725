/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What call.c has for the Rust files beside it.
 */
#ifndef UBD_HOST_CALL_KERN_H
#define UBD_HOST_CALL_KERN_H

#include <linux/types.h>

struct iov_iter;
struct ubd_host_call;

/* How a file is read or written. */
enum ubd_host_wait {
	UBD_HOST_MAY_WAIT,
	UBD_HOST_MUST_NOT_WAIT,	/* a read: -EAGAIN instead */
	UBD_HOST_NEVER_WAITS,	/* a file in memory */
};

long ubd_host_call(struct ubd_host_call *call);
ssize_t ubd_host_rw_iter(int fd, struct iov_iter *iter, loff_t pos, bool write,
			 enum ubd_host_wait wait);
ssize_t ubd_host_rw(int fd, void *buf, size_t len, loff_t pos, bool write,
		    enum ubd_host_wait wait);

#endif
