// SPDX-License-Identifier: GPL-2.0
/*
 * Files opened by the kernel for its own use. See file.rs.
 */

#include <linux/blkdev.h>
#include <linux/cred.h>
#include <linux/dcache.h>
#include <linux/filelock.h>
#include <linux/fs.h>
#include <linux/sched.h>
#include <linux/shmem_fs.h>
#include <linux/slab.h>
#include <linux/uio.h>

#include "helpers.h"

/*
 * A record lock on the whole file, as fcntl(F_SETLK) takes it, owned by the
 * struct file itself: filp_close() with the same owner drops it.
 */
int ubd_file_lock(struct file *file, bool exclusive)
{
	struct file_lock *fl = locks_alloc_lock();
	int ret;

	if (!fl)
		return -ENOMEM;
	fl->c.flc_flags = FL_POSIX;
	fl->c.flc_type = exclusive ? F_WRLCK : F_RDLCK;
	fl->c.flc_owner = (fl_owner_t)file;
	fl->c.flc_pid = current->tgid;
	fl->c.flc_file = file;
	fl->fl_start = 0;
	fl->fl_end = OFFSET_MAX;
	ret = vfs_lock_file(file, F_SETLK, fl, NULL);
	locks_free_lock(fl);
	return ret;
}

/*
 * Reads do not touch the access time: that is a write, and a read may be made
 * by a task that holds a journal handle of the file system above.
 */
void ubd_file_no_atime(struct file *file)
{
	spin_lock(&file->f_lock);
	file->f_flags |= O_NOATIME;
	spin_unlock(&file->f_lock);
}

/*
 * No large folios by readahead: of a file used past the page cache only what is
 * read and written by it must be in there.
 */
void ubd_file_no_readahead(struct file *file)
{
	spin_lock(&file->f_lock);
	file->f_mode |= FMODE_RANDOM;
	spin_unlock(&file->f_lock);
}

/* Asked anew: what is cached of a file on a server may be old. */
loff_t ubd_file_size(struct file *file)
{
	struct inode *inode = file->f_mapping->host;
	struct kstat stat;

	if (S_ISBLK(inode->i_mode))
		return i_size_read(inode);
	return vfs_getattr_nosec(&file->f_path, &stat, STATX_SIZE, 0) ? 0 :
									stat.size;
}

umode_t ubd_file_mode(struct file *file)
{
	return file_inode(file)->i_mode;
}

bool ubd_file_nowait(struct file *file)
{
	return file->f_mode & FMODE_NOWAIT;
}

bool ubd_file_in_memory(struct file *file)
{
	return shmem_file(file);
}

bool ubd_file_is_unlinked(struct file *file)
{
	return d_unlinked(file->f_path.dentry);
}

/*
 * A device that is read-only, or a file that is swapped to, can be opened for
 * writing all the same, and then fails every write.
 */
int ubd_file_refuses_writes(struct file *file)
{
	struct inode *inode = file->f_mapping->host;

	if (S_ISBLK(inode->i_mode))
		return bdev_read_only(I_BDEV(inode)) ? -EACCES : 0;
	return IS_SWAPFILE(inode) ? -ETXTBSY : 0;
}

/*
 * Whether this is a node of a disk with that major number, opened with O_PATH,
 * and there is no such disk. To open one that is not there asks user space for
 * a module, where BLOCK_LEGACY_AUTOLOAD is on.
 */
bool ubd_file_is_missing_disk(struct file *file, unsigned int major)
{
	struct inode *node = file_inode(file);
	struct inode *bdev;

	if (!S_ISBLK(node->i_mode) || MAJOR(node->i_rdev) != major)
		return false;
	bdev = ilookup(blockdev_superblock, node->i_rdev);
	iput(bdev);
	return !bdev;
}

ssize_t ubd_file_read_iter(struct file *file, struct iov_iter *iter,
			   loff_t pos, bool nowait, bool direct)
{
	struct kiocb iocb;

	if (direct && !(file->f_mode & FMODE_CAN_ODIRECT))
		return -EOPNOTSUPP;
	if (nowait && ubd_file_in_memory(file))
		return ubd_shmem_read_nowait(file, iter, pos);
	init_sync_kiocb(&iocb, file);
	iocb.ki_pos = pos;
	/* Nor readahead, which takes locks of the file's mapping. */
	if (nowait)
		iocb.ki_flags |= IOCB_NOWAIT | IOCB_NOIO;
	if (direct)
		iocb.ki_flags |= IOCB_DIRECT;
	return file->f_op->read_iter(&iocb, iter);
}

ssize_t ubd_file_write_iter(struct file *file, struct iov_iter *iter,
			    loff_t pos, bool direct)
{
	struct kiocb iocb;
	ssize_t ret;

	if (direct && !(file->f_mode & FMODE_CAN_ODIRECT))
		return -EOPNOTSUPP;
	init_sync_kiocb(&iocb, file);
	iocb.ki_pos = pos;
	if (direct)
		iocb.ki_flags |= IOCB_DIRECT;
	kiocb_start_write(&iocb);
	ret = file->f_op->write_iter(&iocb, iter);
	kiocb_end_write(&iocb);
	return ret;
}
