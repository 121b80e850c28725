// SPDX-License-Identifier: GPL-2.0
/*
 * Work that a kernel thread does for a task. See killable_thread.rs.
 */

#include <linux/completion.h>
#include <linux/cred.h>
#include <linux/file.h>
#include <linux/freezer.h>
#include <linux/fs_struct.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/path.h>
#include <linux/sched.h>
#include <linux/sched/task.h>
#include <linux/seqlock.h>
#include <linux/slab.h>

#include "helpers.h"

/*
 * How a task sees files: its root and working directory, its umask and its
 * credentials, for a kernel thread that works for it.
 */
struct ubd_view {
	struct fs_struct fs;
	const struct cred *cred;
	/* Those of the thread while it has others. */
	struct fs_struct *own_fs;
	const struct cred *own_cred;
};

struct ubd_view *ubd_view_get(void)
{
	struct ubd_view *view = kzalloc(sizeof(*view), GFP_KERNEL);

	if (!view)
		return NULL;
	view->fs.users = 1;
	seqlock_init(&view->fs.seq);
	view->fs.umask = current_umask();
	get_fs_root(current->fs, &view->fs.root);
	get_fs_pwd(current->fs, &view->fs.pwd);
	view->cred = get_current_cred();
	return view;
}

/* Others who look at a task's root and folder hold its lock. */
static struct fs_struct *ubd_swap_fs(struct fs_struct *fs)
{
	struct fs_struct *old;

	task_lock(current);
	old = current->fs;
	WRITE_ONCE(current->fs, fs);
	task_unlock(current);
	return old;
}

/* The calling kernel thread stands still while the machine is suspended. */
void ubd_set_freezable(void)
{
	set_freezable();
}

void ubd_view_enter(struct ubd_view *view)
{
	view->own_fs = ubd_swap_fs(&view->fs);
	view->own_cred = override_creds(view->cred);
}

void ubd_view_leave(struct ubd_view *view)
{
	revert_creds(view->own_cred);
	ubd_swap_fs(view->own_fs);
}

void ubd_view_put(struct ubd_view *view)
{
	path_put(&view->fs.root);
	path_put(&view->fs.pwd);
	put_cred(view->cred);
	kfree(view);
}

/*
 * The last reference that a kernel thread puts of a file is put by another one
 * later, and so is that of a disk whose partitions it has looked for. When this
 * returns they are.
 */
void ubd_flush_delayed_fput(void)
{
	flush_delayed_fput();
}

/*
 * The main function of a kernel thread that has a reference of this module, for
 * a struct ubd_job. Whoever waits for the end has a reference, too, and finds that
 * the thread's is gone. The end is here, and not in Rust, for objtool: a function
 * of ours that does not return it would only know by its own list.
 */
int ubd_killable_thread(void *data)
{
	struct ubd_job *job = data;
	struct completion *ended = job->run(job);

	if (!ended)
		module_put_and_kthread_exit(0);
	module_put(THIS_MODULE);
	kthread_complete_and_exit(ended, 0);
}
