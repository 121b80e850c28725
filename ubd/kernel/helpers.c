// SPDX-License-Identifier: GPL-2.0
/*
 * What bindgen cannot see of the kernel's C interface. See helpers.h.
 */

#include <linux/blk-mq.h>
#include <linux/blk-cgroup.h>
#include <linux/blkdev.h>
#include <linux/ctype.h>
#include <linux/falloc.h>
#include <linux/filelock.h>
#include <linux/freezer.h>
#include <linux/fs.h>
#include <linux/hdreg.h>
#include <linux/init.h>
#include <linux/initrd.h>
#include <linux/kthread.h>
#include <linux/llist.h>
#include <linux/memcontrol.h>
#include <linux/moduleparam.h>
#include <linux/pagemap.h>
#include <linux/ptrace.h>
#include <linux/ratelimit.h>
#include <linux/sched.h>
#include <linux/sched/mm.h>
#include <linux/sched/task_stack.h>
#include <linux/shmem_fs.h>
#include <linux/sizes.h>
#include <linux/statfs.h>
#include <linux/string.h>
#include <linux/uio.h>
#include <uapi/linux/sched/types.h>
#include <asm/syscall.h>
#include <asm/unistd.h>

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

/* Where the next data is, by SEEK_DATA's word; -ENXIO if there is none. */
loff_t ubd_file_next_data(struct file *file, loff_t pos)
{
	return vfs_llseek(file, pos, SEEK_DATA);
}

/* Where the next hole is, by SEEK_HOLE's word; -ENXIO behind the end. */
loff_t ubd_file_next_hole(struct file *file, loff_t pos)
{
	return vfs_llseek(file, pos, SEEK_HOLE);
}

/*
 * A device that is read-only can be opened for writing all the same, and then
 * fails every write.
 */
bool ubd_file_is_read_only_device(struct file *file)
{
	struct inode *inode = file->f_mapping->host;

	return S_ISBLK(inode->i_mode) && bdev_read_only(I_BDEV(inode));
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

/*
 * What the page cache could not write counts as clean there, and reads as if it
 * had been written. Where that has happened, by whomever, the file is taken
 * from the disk again. *error is why it was not written, or 0.
 */
int ubd_file_forget_lost(struct file *file, int *error)
{
	struct address_space *mapping = file->f_mapping;
	errseq_t before;
	int ret;

	*error = filemap_check_wb_err(mapping, 0);
	if (!*error)
		return 0;
	/* An error that nobody has been told of would pass for a new one. */
	(void)file_check_and_advance_wb_err(file);
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

static struct block_device *ubd_file_bdev(struct file *file)
{
	struct inode *inode = file->f_mapping->host;

	return S_ISBLK(inode->i_mode) ? I_BDEV(inode) : inode->i_sb->s_bdev;
}

/*
 * Whether ranges can be punched out of the file. A file system that has
 * fallocate() may still refuse, so it is asked for a range behind the end,
 * where there is nothing to lose; and for once not to touch the file's times,
 * which are the identity of a backing file.
 */
bool ubd_file_can_punch(struct file *file)
{
	struct inode *inode = file->f_mapping->host;
	fmode_t mode = file->f_mode;
	loff_t end;
	int ret;

	if (S_ISBLK(inode->i_mode))
		return bdev_write_zeroes_sectors(I_BDEV(inode)) > 0;
	/* tmpfs always can, and its punch sets the times whatever the mode says. */
	if (ubd_file_in_memory(file))
		return true;
	end = round_up(i_size_read(inode), PAGE_SIZE);
	file->f_mode |= FMODE_NOCMTIME;
	ret = vfs_fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			    end, PAGE_SIZE);
	file->f_mode = mode;
	return ret == 0;
}

/* From now on writes leave the file's times as they are. */
void ubd_file_keep_times(struct file *file)
{
	spin_lock(&file->f_lock);
	file->f_mode |= FMODE_NOCMTIME;
	spin_unlock(&file->f_lock);
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
	if (ubd_file_in_memory(file)) {
		ret = ubd_shmem_write(file, iter, pos);
		if (ret != -EAGAIN)
			return ret;
	}
	init_sync_kiocb(&iocb, file);
	iocb.ki_pos = pos;
	if (direct)
		iocb.ki_flags |= IOCB_DIRECT;
	kiocb_start_write(&iocb);
	ret = file->f_op->write_iter(&iocb, iter);
	kiocb_end_write(&iocb);
	return ret;
}

/* The bio's own pages, from where its iterator stands: no copy, no array. */
void ubd_bio_iov_iter(struct bio *bio, struct iov_iter *iter, bool write)
{
	struct bvec_iter at = bio->bi_iter;
	const struct bio_vec *first = __bvec_iter_bvec(bio->bi_io_vec, at);
	unsigned int segments = 1;
	struct bio_vec bv;

	if (at.bi_size > first->bv_len - at.bi_offset) {
		segments = 0;
		for_each_mp_bvec(bv, bio->bi_io_vec, at, bio->bi_iter)
			segments++;
	}
	iov_iter_bvec(iter, write ? ITER_SOURCE : ITER_DEST, first, segments,
		      bio->bi_iter.bi_size);
	iter->iov_offset = bio->bi_iter.bi_offset;
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
	if (!vfs_getattr(&file->f_path, &stat, STATX_DIOALIGN, 0) &&
	    stat.result_mask & STATX_DIOALIGN) {
		*memory = stat.dio_mem_align;
		*offset = stat.dio_offset_align;
		return *memory && *offset;
	}
	*memory = bdev ? bdev_dma_alignment(bdev) + 1 : SECTOR_SIZE;
	*offset = bdev ? bdev_logical_block_size(bdev) : SECTOR_SIZE;
	return true;
}

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

bool ubd_llist_add(struct llist_node *node, struct llist_head *head)
{
	return llist_add(node, head);
}

/* All nodes, oldest first. */
struct llist_node *ubd_llist_take(struct llist_head *head)
{
	return llist_reverse_order(llist_del_all(head));
}

bool ubd_llist_empty(const struct llist_head *head)
{
	return llist_empty(head);
}

void ubd_thread_prepare_to_sleep(void)
{
	set_current_state(TASK_IDLE | TASK_FREEZABLE);
}

void ubd_thread_awake(void)
{
	__set_current_state(TASK_RUNNING);
	try_to_freeze();
}

/*
 * The calling thread writes to file systems, which it must not do while a
 * hibernation image is saved. With batch it does not preempt who has just woken
 * it with one request, and may be about to send more: on a processor that is idle
 * it runs at once, on another the more at a time.
 */
void ubd_thread_begin(bool batch)
{
	const struct sched_attr attr = {
		.sched_policy = SCHED_BATCH,
	};

	set_freezable();
	if (batch)
		sched_setattr_nocheck(current, &attr);
}

/* Sets flags of the calling task; returns those that were not set before. */
unsigned int ubd_task_flags_save(unsigned int flags)
{
	return memalloc_flags_save(flags);
}

/* Clears what was returned. */
void ubd_task_flags_restore(unsigned int flags)
{
	memalloc_flags_restore(flags);
}

bool ubd_request_fua(const struct request *rq)
{
	return rq->cmd_flags & REQ_FUA;
}

bool ubd_request_add_to_batch(struct request *rq, struct io_comp_batch *batch)
{
	return blk_mq_add_to_batch(rq, batch, false, blk_mq_end_request_batch);
}

void ubd_batch_end(struct io_comp_batch *batch)
{
	if (!rq_list_empty(&batch->req_list))
		blk_mq_end_request_batch(batch);
}

void ubd_fill_geometry(struct hd_geometry *geo, u8 heads, u8 sectors,
		       u16 cylinders)
{
	geo->heads = heads;
	geo->sectors = sectors;
	geo->cylinders = cylinders;
}

void ubd_limits_features(struct queue_limits *lim, bool write_cache,
			 bool rotational, bool stable_writes)
{
	if (write_cache)
		lim->features |= BLK_FEAT_WRITE_CACHE | BLK_FEAT_FUA;
	if (rotational)
		lim->features |= BLK_FEAT_ROTATIONAL;
	if (stable_writes)
		lim->features |= BLK_FEAT_STABLE_WRITES;
}

struct gendisk *ubd_disk(struct device *dev)
{
	return dev_to_disk(dev);
}

unsigned int ubd_disk_openers(struct gendisk *disk)
{
	return disk_openers(disk);
}

/*
 * Has the calling kernel thread work on the account of the cgroup that the
 * request came from, as loop does, until ubd_account_end().
 */
void ubd_account_begin(struct request *rq, struct ubd_account *account)
{
	memset(account, 0, sizeof(*account));
#ifdef CONFIG_BLK_CGROUP
	if (!rq->bio)
		return;
	account->blkcg_css = bio_blkcg_css(rq->bio);
	if (!account->blkcg_css)
		return;
	kthread_associate_blkcg(account->blkcg_css);
#ifdef CONFIG_MEMCG
	{
		struct cgroup_subsys_state *blkcg = account->blkcg_css;
		struct cgroup_subsys_state *memcg;

		memcg = cgroup_get_e_css(blkcg->cgroup, &memory_cgrp_subsys);
		account->memcg_css = memcg;
		account->old_memcg =
			set_active_memcg(mem_cgroup_from_css(memcg));
	}
#endif
#endif
}

void ubd_account_end(struct ubd_account *account)
{
#ifdef CONFIG_BLK_CGROUP
	if (!account->blkcg_css)
		return;
	kthread_associate_blkcg(NULL);
#ifdef CONFIG_MEMCG
	set_active_memcg(account->old_memcg);
	css_put(account->memcg_css);
#endif
#endif
}

void ubd_ratelimit_init(struct ratelimit_state *state)
{
	ratelimit_state_init(state, DEFAULT_RATELIMIT_INTERVAL, 2);
}

bool ubd_ratelimit(struct ratelimit_state *state)
{
	return __ratelimit(state);
}

/* Where lsblk and others look for a serial number: on the disk's device. */
static ssize_t serial_show(struct device *dev, struct device_attribute *attr,
			   char *buf)
{
	return sysfs_emit(buf, "%s\n", (const char *)dev_get_platdata(dev));
}
static DEVICE_ATTR_RO(serial);

static struct attribute *ubd_device_attr_attrs[] = {
	&dev_attr_serial.attr,
	NULL,
};
ATTRIBUTE_GROUPS(ubd_device_attr);

const struct attribute_group **ubd_device_groups(void)
{
	return ubd_device_attr_groups;
}

MODULE_PARM_DESC(ubd, "<unit><flags>=<file>[,<backing file>[,<serial>]], as ubd<unit><flags>=..., or sync");

#ifdef MODULE

void ubd_wait_for_initramfs(void)
{
}

/*
 * The parameters of the load in progress, or NULL. The loader's own copy has
 * been cut at every parameter by the time that a module's init runs, so the
 * caller's is read again. It serves only to tell a parameter that the loader
 * did not know.
 */
char *ubd_module_args(void)
{
	struct pt_regs *regs = task_pt_regs(current);
	unsigned long args[6];
	char *text;
	int nr;

	if (in_compat_syscall())
		return NULL;
	nr = syscall_get_nr(current, regs);
	syscall_get_arguments(current, regs, args);
	if (nr == __NR_finit_module)
		text = strndup_user((const char __user *)args[1], SZ_1M);
	else if (nr == __NR_init_module)
		text = strndup_user((const char __user *)args[2], SZ_1M);
	else
		return NULL;
	return IS_ERR(text) ? NULL : text;
}

#else

void ubd_wait_for_initramfs(void)
{
	wait_for_initramfs();
}

/*
 * The command line is parsed before memory can be allocated, and stays; the
 * driver's init comes for the texts. Those of typos are kept whole.
 */
static const char *ubd_options[64];
static const char *ubd_typos[8];

static void ubd_keep(const char **list, size_t len, const char *text)
{
	size_t i;

	for (i = 0; i < len; i++) {
		if (!list[i]) {
			list[i] = text;
			return;
		}
	}
	pr_err("rnull_ubd: too many options, ignored: %s\n", text);
}

static int __init ubd_setup(char *text)
{
	ubd_keep(ubd_options, ARRAY_SIZE(ubd_options), text);
	return 1;
}
__setup("ubd", ubd_setup);

static int __init udb_setup(char *text)
{
	/* Others have options that begin so: only what could name a unit. */
	if (*text != '=' && !isdigit(*text) && (*text < 'a' || *text > 'p'))
		return 0;
	ubd_keep(ubd_typos, ARRAY_SIZE(ubd_typos), text - strlen("udb"));
	return 1;
}
__setup("udb", udb_setup);

const char *ubd_boot_option(size_t i)
{
	return i < ARRAY_SIZE(ubd_options) ? ubd_options[i] : NULL;
}

const char *ubd_boot_typo(size_t i)
{
	return i < ARRAY_SIZE(ubd_typos) ? ubd_typos[i] : NULL;
}

static int __init fake_ide_setup(char *text)
{
	pr_warn("rnull_ubd: fake_ide is obsolete and does nothing\n");
	return 1;
}
__setup("fake_ide", fake_ide_setup);

#endif
