// SPDX-License-Identifier: GPL-2.0
/*
 * What a file, its file system and its device want I/O to be like. See limits.rs.
 */

#include <linux/blkdev.h>
#include <linux/fs.h>
#include <linux/minmax.h>
#include <linux/stat.h>
#include <linux/statfs.h>

#include "../helpers.h"

static struct block_device *ubd_file_bdev(struct file *file)
{
	struct inode *inode = file->f_mapping->host;

	return S_ISBLK(inode->i_mode) ? I_BDEV(inode) : inode->i_sb->s_bdev;
}

/*
 * What I/O to the file should be a multiple of, in bytes, by its device; 0 if
 * there is no telling. *lbs is what it has to be, if it is a device itself.
 */
void ubd_file_device_limits(struct file *file, unsigned int *lbs,
			    unsigned int *pbs, unsigned int *io_opt,
			    bool *stable_writes)
{
	struct block_device *bdev = ubd_file_bdev(file);

	*lbs = 0;
	*pbs = 0;
	*io_opt = 0;
	*stable_writes = false;
	if (!bdev)
		return;
	if (S_ISBLK(file->f_mapping->host->i_mode))
		*lbs = bdev_logical_block_size(bdev);
	*pbs = bdev_physical_block_size(bdev);
	*io_opt = bdev_io_opt(bdev);
	*stable_writes = bdev_stable_writes(bdev);
}

bool ubd_file_is_rotational(struct file *file)
{
	struct block_device *bdev = ubd_file_bdev(file);

	return bdev && bdev_rot(bdev);
}

/* The unit in which the file system, or the device, allocates. */
unsigned int ubd_file_block_size(struct file *file)
{
	struct inode *inode = file->f_mapping->host;
	struct kstatfs stat;

	if (S_ISBLK(inode->i_mode))
		return max(bdev_physical_block_size(I_BDEV(inode)),
			   bdev_discard_granularity(I_BDEV(inode)));
	return vfs_statfs(&file->f_path, &stat) ? 0 : stat.f_bsize;
}

/*
 * What direct I/O to the file has to be aligned to, in bytes: memory, and
 * offset and length. False if there is none. A file system that does not say
 * goes by its device.
 */
bool ubd_file_direct_alignment(struct file *file, unsigned int *memory,
			       unsigned int *offset)
{
	struct block_device *bdev = ubd_file_bdev(file);
	struct kstat stat;

	if (!(file->f_mode & FMODE_CAN_ODIRECT))
		return false;
	if (!vfs_getattr(&file->f_path, &stat,
			 STATX_DIOALIGN | STATX_DIO_READ_ALIGN, 0) &&
	    stat.result_mask & STATX_DIOALIGN) {
		*memory = stat.dio_mem_align;
		*offset = stat.dio_offset_align;
		/* What is only read can do with less, where the file is shared. */
		if (!(file->f_mode & FMODE_WRITE) &&
		    stat.result_mask & STATX_DIO_READ_ALIGN)
			*offset = stat.dio_read_offset_align ?: *offset;
		return *memory && *offset;
	}
	*memory = bdev ? bdev_dma_alignment(bdev) + 1 : SECTOR_SIZE;
	*offset = bdev ? bdev_logical_block_size(bdev) : SECTOR_SIZE;
	return true;
}
