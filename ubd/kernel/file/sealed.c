// SPDX-License-Identifier: GPL-2.0
/*
 * Files that are not written any more, and where a file lies. See sealed.rs.
 */

#include <linux/blkdev.h>
#include <linux/fs.h>
#include <linux/rcupdate.h>
#include <linux/xarray.h>

#include "../helpers.h"

/*
 * The same file once more, read-only. It is reached by no path, which may lead
 * elsewhere by now, but by the folder's entry; and for who has opened it before.
 */
struct file *ubd_file_reopen(struct file *file)
{
	return dentry_open(&file->f_path, O_RDONLY | O_LARGEFILE | O_NOATIME,
			   file->f_cred);
}

/* Whether the file's file system is on this disk, or one of its partitions. */
bool ubd_file_is_on_disk(struct file *file, struct gendisk *disk)
{
	struct super_block *sb = file_inode(file)->i_sb;
	struct block_device *part;
	unsigned long i;
	bool found = sb->s_bdev && sb->s_bdev->bd_disk == disk;

	/* One that can be on many devices has none of its own. */
	rcu_read_lock();
	xa_for_each(&disk->part_tbl, i, part)
		found |= READ_ONCE(part->bd_holder) == sb;
	rcu_read_unlock();
	return found;
}
