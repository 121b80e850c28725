// SPDX-License-Identifier: GPL-2.0
/*
 * Direct I/O of requests. See direct_io.rs.
 */

#include <linux/bio.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/uio.h>

#include "helpers.h"

/*
 * Starts direct I/O of a bio's pages. Returns -EIOCBQUEUED if complete() will
 * be called, in any context, maybe already; in any case what was taken here is
 * for ubd_direct_end() to give back, when the I/O has ended and this returned:
 * file systems use the iocb until they return.
 */
ssize_t ubd_direct_start(struct kiocb *iocb, struct file *file,
			 struct bio *bio, loff_t pos, bool write,
			 void (*complete)(struct kiocb *iocb, long result))
{
	struct iov_iter iter;

	*iocb = (struct kiocb) {
		.ki_filp = get_file(file),
		.ki_pos = pos,
		.ki_complete = complete,
		.ki_flags = iocb_flags(file) | IOCB_DIRECT,
		.ki_ioprio = bio->bi_ioprio,
	};
	ubd_bio_iov_iter(bio, &iter, write);
	if (write)
		kiocb_start_write(iocb);
	/* Without it file systems may not even look whether they can. */
	if (!(file->f_mode & FMODE_CAN_ODIRECT))
		return -EOPNOTSUPP;
	return write ? file->f_op->write_iter(iocb, &iter) :
		       file->f_op->read_iter(iocb, &iter);
}

void ubd_direct_end(struct kiocb *iocb, bool write)
{
	if (write)
		kiocb_end_write(iocb);
	fput(iocb->ki_filp);
}
