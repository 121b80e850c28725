// SPDX-License-Identifier: GPL-2.0
/*
 * What was written to a file, and whether the disk has it. See sync.rs.
 */

#include <linux/bvec.h>
#include <linux/fadvise.h>
#include <linux/fs.h>
#include <linux/pagemap.h>
#include <linux/uio.h>

#include "../helpers.h"

/*
 * What the page cache could not write counts as clean there, and reads as if it
 * had been written. Where that has happened, by whomever, the file is taken
 * from the disk again. *error is why it was not written, or 0.
 */
int ubd_file_invalidate_failed_writeback(struct file *file, int *error)
{
	struct address_space *mapping = file->f_mapping;
	errseq_t before;
	int ret;

	*error = filemap_check_wb_err(mapping, 0);
	if (!*error)
		return 0;
	/* What nobody has been told of would pass for new: *error has it already. */
	ret = file_check_and_advance_wb_err(file);
	before = filemap_sample_wb_err(mapping);
	filemap_fdatawrite(mapping);
	filemap_fdatawait_keep_errors(mapping);
	ret = filemap_check_wb_err(mapping, before);
	return ret ?: invalidate_inode_pages2(mapping);
}

/*
 * Drops what the page cache has of these bytes, whole pages, and need not write. As
 * long as it has any page of a file, a direct write ends in a thread, which looks
 * whether there is one in its way.
 */
void ubd_file_forget(struct file *file, loff_t pos, loff_t len)
{
	if (file->f_mapping->nrpages)
		vfs_fadvise(file, round_down(pos, PAGE_SIZE),
			    round_up(len + offset_in_page(pos), PAGE_SIZE),
			    POSIX_FADV_DONTNEED);
}

/*
 * Whether what was written before may be gone when a sync has ended with ret, so
 * that a later one can say no more that all is there: not if it had no memory, or
 * was interrupted, and no page's write-back has failed.
 */
static bool ubd_file_lost(struct file *file, errseq_t before, int ret)
{
	return ret && (filemap_check_wb_err(file->f_mapping, before) ||
		       (ret != -ENOMEM && ret != -EINTR));
}

/* As fdatasync(), of the bytes from start to end. *lost is as above. */
int ubd_file_sync(struct file *file, loff_t start, loff_t end, bool *lost)
{
	errseq_t before = READ_ONCE(file->f_wb_err);
	int ret = vfs_fsync_range(file, start, end, 1);

	*lost = ubd_file_lost(file, before, ret);
	return ret;
}

/* As fsync(): the file's times, too. *lost is as above. */
int ubd_file_sync_all(struct file *file, bool *lost)
{
	errseq_t before = READ_ONCE(file->f_wb_err);
	int ret = vfs_fsync(file, 0);

	*lost = ubd_file_lost(file, before, ret);
	return ret;
}

/*
 * Writes past the page cache, at pos, what lies in memory in so many pieces, and
 * as with O_DSYNC if durable. *lost is as above, and as for a sync of which no
 * more was heard than that it failed; but not if no write was begun, for which
 * there is no place, or which the file does not take.
 */
ssize_t ubd_file_write_direct(struct file *file, const struct kvec *pieces,
			      unsigned int count, loff_t pos, bool durable,
			      bool *lost)
{
	errseq_t before = READ_ONCE(file->f_wb_err);
	struct bio_vec bvecs[UBD_DIRECT_PIECES];
	struct iov_iter iter;
	struct kiocb iocb;
	size_t len = 0;
	ssize_t ret;
	int i;

	*lost = false;
	if (!(file->f_mode & FMODE_CAN_ODIRECT))
		return -EOPNOTSUPP;
	for (i = 0; i < count && i < UBD_DIRECT_PIECES; i++) {
		bvec_set_virt(&bvecs[i], pieces[i].iov_base, pieces[i].iov_len);
		len += pieces[i].iov_len;
	}
	iov_iter_bvec(&iter, ITER_SOURCE, bvecs, i, len);
	init_sync_kiocb(&iocb, file);
	iocb.ki_pos = pos;
	iocb.ki_flags |= IOCB_DIRECT;
	if (durable)
		iocb.ki_flags |= IOCB_DSYNC;
	kiocb_start_write(&iocb);
	ret = file->f_op->write_iter(&iocb, &iter);
	kiocb_end_write(&iocb);
	switch (ret) {
	case -ENOSPC:
	case -EDQUOT:
	case -EFBIG:
	case -EINVAL:
	case -EOPNOTSUPP:
		*lost = filemap_check_wb_err(file->f_mapping, before);
		break;
	default:
		*lost = durable && ret < 0 && ubd_file_lost(file, before, ret);
	}
	return ret;
}
