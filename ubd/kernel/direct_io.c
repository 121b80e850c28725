// SPDX-License-Identifier: GPL-2.0
/*
 * Direct I/O of requests. See direct_io.rs.
 */

#include <linux/bio.h>
#include <linux/blkdev.h>
#include <linux/file.h>
#include <linux/fileattr.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/sched/task_stack.h>
#include <linux/uio.h>

#include "helpers.h"

/*
 * As kiocb_start_write(), which waits for a file system that is frozen, unless
 * the iocb says that nothing is waited for. The iocb says for its end whether
 * this was done.
 */
static bool start_write(struct kiocb *iocb)
{
	struct super_block *sb = file_inode(iocb->ki_filp)->i_sb;

	if (!(iocb->ki_flags & IOCB_NOWAIT)) {
		kiocb_start_write(iocb);
	} else {
		if (!sb_start_write_trylock(sb))
			return false;
		__sb_writers_release(sb, SB_FREEZE_WRITE);
	}
	iocb->ki_flags |= IOCB_WRITE;
	return true;
}

/*
 * Starts direct I/O of a bio's pages. Returns -EIOCBQUEUED if complete() will
 * be called, in any context, maybe already; in any case what was taken here is
 * for ubd_direct_end() to give back, when the I/O has ended and this returned:
 * file systems use the iocb until they return. ki_flags are IOCB_ flags more.
 */
static ssize_t direct_start(struct kiocb *iocb, struct file *file,
			    struct bio *bio, loff_t pos, bool write,
			    int ki_flags,
			    void (*complete)(struct kiocb *iocb, long result))
{
	struct iov_iter iter;

	*iocb = (struct kiocb) {
		.ki_filp = get_file(file),
		.ki_pos = pos,
		.ki_complete = complete,
		.ki_flags = iocb_flags(file) | IOCB_DIRECT | ki_flags,
		.ki_ioprio = bio->bi_ioprio,
	};
	ubd_bio_iov_iter(bio, &iter, write);
	if (write && !start_write(iocb))
		return -EAGAIN;
	/* Without it file systems may not even look whether they can. */
	if (!(file->f_mode & FMODE_CAN_ODIRECT))
		return -EOPNOTSUPP;
	return write ? file->f_op->write_iter(iocb, &iter) :
		       file->f_op->read_iter(iocb, &iter);
}

/* Starts it in a thread of the driver's own. May sleep. */
ssize_t ubd_direct_start(struct kiocb *iocb, struct file *file,
			 struct bio *bio, loff_t pos, bool write,
			 void (*complete)(struct kiocb *iocb, long result))
{
	return direct_start(iocb, file, bio, pos, write, 0, complete);
}

static bool on_xfs(struct file *file)
{
	return S_ISREG(file_inode(file)->i_mode) &&
	       file_inode(file)->i_sb->s_magic == XFS_SUPER_MAGIC;
}

/* Whether an XFS has the file's data on a device of its own, or in zones. */
static bool is_realtime(struct file *file)
{
	struct file_kattr attributes = {};

	return vfs_fileattr_get(file->f_path.dentry, &attributes) ||
	       attributes.fsx_xflags & FS_XFLAG_REALTIME;
}

/*
 * Whether direct I/O to the file may be started where requests are submitted,
 * by tasks that hold locks of file systems above. There is no word for that: a
 * file system that takes IOCB_NOWAIT may still take locks for its map of the
 * file that it takes for a file above as well, and read what it lacks of the map.
 * XFS tries its locks, and has the map in memory or gives up; a device has none.
 * And the device must be one that gives up, too.
 *
 * A write besides must not need a journal: XFS gives up where a place has to be
 * found, shared, or called written, and where the file's time is to change. To
 * write to a device sets the time of its node, in whatever file system that is.
 */
bool ubd_direct_at_once(struct file *file, bool write)
{
	const fmode_t modes = FMODE_NOWAIT | FMODE_CAN_ODIRECT;
	struct inode *inode = file_inode(file);

	if ((file->f_mode & modes) != modes)
		return false;
	if (S_ISBLK(inode->i_mode))
		return !write;
	return on_xfs(file) && bdev_nowait(inode->i_sb->s_bdev) &&
	       !(write && is_realtime(file));
}

/*
 * Starts I/O as above where the request was submitted, of a file of which it
 * may be. Returns -EAGAIN if it can't be done without waiting; complete() may be
 * called with that as well. Whatever is returned, ubd_direct_end() is to be called.
 *
 * What is submitted below goes to the device at once: neither to the list of the
 * bios of the submitter, who is not to be waited for, nor to a plug whose requests
 * are just being submitted. So there must be enough left of the stack. And where a
 * plug has requests to other devices those may be the ones that are waited for.
 */
ssize_t ubd_direct_start_at_once(struct kiocb *iocb, struct file *file,
				 struct bio *bio, loff_t pos, bool write,
				 void (*complete)(struct kiocb *iocb,
						  long result))
{
	struct bio_list *bios = current->bio_list;
	struct blk_plug *plug = current->plug;
	ssize_t ret;

	if (plug) {
		/* What it knows of the time the scheduler has it forget. */
		plug->cur_ktime = 0;
		current->flags &= ~PF_BLOCK_TS;
	}
	current->bio_list = NULL;
	current->plug = NULL;
	ret = direct_start(iocb, file, bio, pos, write, IOCB_NOWAIT, complete);
	current->plug = plug;
	current->bio_list = bios;
	return ret;
}

/*
 * Whether a write leaves the one who submits it alone: it would be sent a signal
 * for the length that its own files may have; with a journal's handle in its hand
 * it must not come to another; and whether the file has attributes that a write
 * takes away, such as capabilities, is read once.
 */
static bool may_write_here(struct inode *inode)
{
	return rlimit(RLIMIT_FSIZE) == RLIM_INFINITY &&
	       !current->journal_info && IS_NOSEC(inode);
}

/*
 * Whether it can be tried now: on the account of the one who submits, which a
 * thread of the kernel is not, with enough of the stack, and with no work to be
 * set up for the file system, for which it takes locks once.
 */
bool ubd_direct_may_start_here(struct file *file, bool write)
{
	unsigned long left = (unsigned long)__builtin_frame_address(0) -
			     (unsigned long)task_stack_page(current);
	struct inode *inode = file_inode(file);

	return left >= THREAD_SIZE / 2 && !(current->flags & PF_KTHREAD) &&
	       !(current->plug && current->plug->multiple_queues) &&
	       (S_ISBLK(inode->i_mode) ||
		READ_ONCE(inode->i_sb->s_dio_done_wq)) &&
	       (!write || may_write_here(inode));
}

void ubd_direct_end(struct kiocb *iocb)
{
	if (iocb->ki_flags & IOCB_WRITE)
		kiocb_end_write(iocb);
	fput(iocb->ki_filp);
}
