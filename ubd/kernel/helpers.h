/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What bindgen cannot see of the kernel's C interface: inline functions,
 * macros and functions with no binding. Each is in the C file beside the Rust
 * one that declares it once more and calls it; nothing here decides anything.
 */
#ifndef UBD_HELPERS_H
#define UBD_HELPERS_H

#include <linux/blk_types.h>
#include <linux/errno.h>
#include <linux/spinlock_types.h>
#include <linux/types.h>

struct attribute_group;
struct bio;
struct completion;
struct config_group;
struct device;
struct file;
struct file_operations;
struct gendisk;
struct hd_geometry;
struct io_comp_batch;
struct iov_iter;
struct kiocb;
struct kvec;
struct llist_head;
struct llist_node;
struct notifier_block;
struct queue_limits;
struct ratelimit_state;
struct request;
struct ubd_view;
struct work_struct;

/* On whose account a thread works: see ubd_account_begin(). */
struct ubd_account {
	void *blkcg_css;
	void *memcg_css;
	void *old_memcg;
};

/* Into how many pieces of memory a direct write can be: DIRECT_PIECES of sync.rs. */
#define UBD_DIRECT_PIECES 16

int ubd_file_lock(struct file *file, bool exclusive);
void ubd_file_no_atime(struct file *file);
loff_t ubd_file_size(struct file *file);
umode_t ubd_file_mode(struct file *file);
bool ubd_file_nowait(struct file *file);
bool ubd_file_in_memory(struct file *file);
bool ubd_file_is_unlinked(struct file *file);
int ubd_file_refuses_writes(struct file *file);
bool ubd_file_is_missing_disk(struct file *file, unsigned int major);
void ubd_file_no_readahead(struct file *file);
int ubd_file_invalidate_failed_writeback(struct file *file, int *error);
void ubd_file_forget(struct file *file, loff_t pos, loff_t len);
int ubd_file_sync(struct file *file, loff_t start, loff_t end, bool *lost);
int ubd_file_sync_all(struct file *file, bool *lost);
struct file *ubd_file_reopen(struct file *file);
bool ubd_file_is_on_disk(struct file *file, struct gendisk *disk);
ssize_t ubd_file_write_direct(struct file *file, const struct kvec *pieces,
			      unsigned int count, loff_t pos, bool durable,
			      bool *lost);
void ubd_file_device_limits(struct file *file, unsigned int *lbs,
			    unsigned int *pbs, unsigned int *io_opt,
			    bool *stable_writes);
loff_t ubd_file_next_data(struct file *file, loff_t pos);
loff_t ubd_file_next_hole(struct file *file, loff_t pos);
bool ubd_file_gains_by_zeros(struct file *file);
ssize_t ubd_file_fill_zeros(struct file *file, loff_t pos, size_t len,
			    bool direct);
bool ubd_file_space_left(struct file *file, u64 *left);
bool ubd_file_can_punch(struct file *file);
void ubd_file_keep_times(struct file *file);
bool ubd_file_can_keep_times(struct file *file);
int ubd_file_set_mtime(struct file *file, s64 mtime);
s64 ubd_now(void);
bool ubd_file_is_rotational(struct file *file);
unsigned int ubd_file_block_size(struct file *file);
ssize_t ubd_file_read_iter(struct file *file, struct iov_iter *iter,
			   loff_t pos, bool nowait, bool direct);
ssize_t ubd_file_write_iter(struct file *file, struct iov_iter *iter,
			    loff_t pos, bool direct);

#ifdef CONFIG_SHMEM
ssize_t ubd_shmem_read_nowait(struct file *file, struct iov_iter *iter,
			      loff_t pos);
#else
static inline ssize_t ubd_shmem_read_nowait(struct file *file,
					    struct iov_iter *iter, loff_t pos)
{
	return -EAGAIN;
}
#endif

bool ubd_file_direct_alignment(struct file *file, unsigned int *memory,
			       unsigned int *offset);

ssize_t ubd_direct_start(struct kiocb *iocb, struct file *file,
			 struct bio *bio, loff_t pos, bool write,
			 void (*complete)(struct kiocb *iocb, long result));
bool ubd_direct_at_once(struct file *file, bool write);
bool ubd_direct_may_start_here(struct file *file, bool write);
ssize_t ubd_direct_start_at_once(struct kiocb *iocb, struct file *file,
				 struct bio *bio, loff_t pos, bool write,
				 void (*complete)(struct kiocb *iocb,
						  long result));
void ubd_direct_end(struct kiocb *iocb);

void ubd_gate_wait(atomic64_t *users);
void ubd_gate_wake(atomic64_t *users);

void ubd_bio_iov_iter(struct bio *bio, struct iov_iter *iter, bool write);

bool ubd_llist_add(struct llist_node *node, struct llist_head *head);
struct llist_node *ubd_llist_take(struct llist_head *head);
bool ubd_llist_empty(const struct llist_head *head);

void ubd_thread_begin(bool batch);
void ubd_thread_prepare_to_sleep(void);
void ubd_thread_awake(void);
unsigned int ubd_task_flags_save(unsigned int flags);
void ubd_task_flags_restore(unsigned int flags);

void ubd_set_freezable(void);
struct ubd_view *ubd_view_get(void);
void ubd_view_enter(struct ubd_view *view);
void ubd_view_leave(struct ubd_view *view);
void ubd_view_put(struct ubd_view *view);
void ubd_flush_delayed_fput(void);
/*
 * What a thread is to do: run() gets the job, which it frees, and returns what is
 * to be completed when the thread has ended, or NULL.
 */
struct ubd_job {
	struct completion *(*run)(struct ubd_job *job);
};

int ubd_killable_thread(void *job);

struct file *ubd_file_with_release(const struct file_operations *fops,
				   void *data);

int ubd_reboot_notifier_register(struct notifier_block *block);
void ubd_reboot_notifier_unregister(struct notifier_block *block);

bool ubd_configfs_is_linked(struct config_group *group);
int ubd_configfs_depend(struct config_group *group);
void ubd_configfs_undepend(struct config_group *group);

bool ubd_request_add_to_batch(struct request *rq, struct io_comp_batch *batch);
void ubd_batch_end(struct io_comp_batch *batch);
#ifdef CONFIG_UML
void ubd_request_end(struct request *rq, blk_status_t status);
#endif
void ubd_fill_geometry(struct hd_geometry *geo, u8 heads, u8 sectors,
		       u16 cylinders);
void ubd_limits_features(struct queue_limits *lim, bool write_cache,
			 bool rotational, bool stable_writes);
struct gendisk *ubd_disk(struct device *dev);
unsigned int ubd_disk_openers(struct gendisk *disk);
bool ubd_disk_is_swap(struct gendisk *disk);

void ubd_account_begin(struct request *rq, struct ubd_account *account);
void ubd_account_end(struct ubd_account *account);

const struct attribute_group **ubd_device_groups(void);

void ubd_ratelimit_init(struct ratelimit_state *state);
bool ubd_ratelimit(struct ratelimit_state *state);

unsigned long ubd_spin_lock_irqsave(spinlock_t *lock);
bool ubd_spin_trylock_irqsave(spinlock_t *lock, unsigned long *flags);
void ubd_spin_unlock_irqrestore(spinlock_t *lock, unsigned long flags);

void ubd_module_get(void);
void ubd_wait_for_initramfs(void);

#ifndef MODULE
const char *ubd_boot_option(size_t i);
#endif

#endif
