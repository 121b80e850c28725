// SPDX-License-Identifier: GPL-2.0
/*
 * What was written to a file, and whether the disk has it. See sync.rs.
 */

#include <linux/fs.h>
#include <linux/pagemap.h>

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
 * As fdatasync(). *lost is whether what was written may be gone, so that a
 * later call can say no more that all is there: not if the one that failed
 * had no memory, or was interrupted, and no page's write-back has failed.
 */
int ubd_file_sync(struct file *file, bool *lost)
{
	errseq_t before = READ_ONCE(file->f_wb_err);
	int ret = vfs_fsync(file, 1);

	*lost = ret && (filemap_check_wb_err(file->f_mapping, before) ||
			(ret != -ENOMEM && ret != -EINTR));
	return ret;
}
