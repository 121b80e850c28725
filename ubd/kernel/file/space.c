// SPDX-License-Identifier: GPL-2.0
/*
 * The data and the holes of a file. See space.rs.
 */

#include <linux/bio.h>
#include <linux/blkdev.h>
#include <linux/dcache.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <linux/minmax.h>
#include <linux/overflow.h>
#include <linux/pgtable.h>
#include <linux/slab.h>
#include <linux/statfs.h>
#include <linux/uio.h>

#include "../helpers.h"

/*
 * Whether SEEK_DATA of the file system that has the file, below overlayfs or not,
 * takes what is dirty in the page cache for data. FUSE asks its server, which
 * need not have heard of it; of others there is no telling.
 */
static bool ubd_file_knows_data(struct file *file)
{
	switch (d_real_inode(file->f_path.dentry)->i_sb->s_magic) {
	case BTRFS_SUPER_MAGIC:
	case EXT4_SUPER_MAGIC:
	case F2FS_SUPER_MAGIC:
	case TMPFS_MAGIC:
	case XFS_SUPER_MAGIC:
		return true;
	default:
		return false;
	}
}

/*
 * Where the next data is, by SEEK_DATA's word; -ENXIO if there is none. Where
 * that can't be relied on all is data.
 */
loff_t ubd_file_next_data(struct file *file, loff_t pos)
{
	if (!ubd_file_knows_data(file))
		return pos;
	return vfs_llseek(file, pos, SEEK_DATA);
}

/* Where the next hole is, by SEEK_HOLE's word; -ENXIO behind the end. */
loff_t ubd_file_next_hole(struct file *file, loff_t pos)
{
	return vfs_llseek(file, pos, SEEK_HOLE);
}

/*
 * Whether the first write to a block of the file is so much more work than one to
 * zeros that some of them take as long as it takes to have zeros in a MiB around.
 */
bool ubd_file_gains_by_zeros(struct file *file)
{
	struct super_block *sb = file_inode(file)->i_sb;

	return sb->s_magic == XFS_SUPER_MAGIC ||
	       (sb->s_bdev && bdev_write_zeroes_unmap_sectors(sb->s_bdev));
}

/*
 * Writes zeros over so many pages of the file, or the first of them, and returns
 * how many bytes that were. They come from the page that is there for that.
 */
ssize_t ubd_file_fill_zeros(struct file *file, loff_t pos, size_t len,
			    bool direct)
{
	unsigned int i, count = min(len >> PAGE_SHIFT, BIO_MAX_VECS);
	struct bio_vec *bvecs;
	struct iov_iter iter;
	ssize_t ret;

	bvecs = kmalloc_array(count, sizeof(*bvecs), GFP_KERNEL | __GFP_NOWARN);
	if (!bvecs)
		return -ENOMEM;
	for (i = 0; i < count; i++)
		bvec_set_page(&bvecs[i], ZERO_PAGE(0), PAGE_SIZE, 0);
	iov_iter_bvec(&iter, ITER_SOURCE, bvecs, count,
		      (size_t)count << PAGE_SHIFT);
	ret = ubd_file_write_iter(file, &iter, pos, direct);
	kfree(bvecs);
	return ret;
}

/*
 * What the file system has left for those who are not root, in bytes. Returns
 * false if it does not say: then it counts no blocks.
 */
bool ubd_file_space_left(struct file *file, u64 *left)
{
	struct kstatfs stat;

	if (vfs_statfs(&file->f_path, &stat) || !stat.f_blocks)
		return false;
	if (check_mul_overflow(stat.f_bavail, (u64)stat.f_bsize, left))
		*left = U64_MAX;
	return true;
}

/*
 * Whether ranges may be punched out of the file. What a file system with
 * fallocate() can't do, or a server, it says when it is asked: that is at the
 * first discard, for to ask is to set the file's times.
 */
bool ubd_file_can_punch(struct file *file)
{
	struct inode *inode = file->f_mapping->host;

	if (S_ISBLK(inode->i_mode))
		return bdev_write_zeroes_sectors(I_BDEV(inode)) > 0;
	return file->f_op->fallocate;
}
