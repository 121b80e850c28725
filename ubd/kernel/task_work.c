// SPDX-License-Identifier: GPL-2.0
/*
 * What a task does when it goes back to user space. See task_work.rs.
 */

#include <linux/anon_inodes.h>
#include <linux/fs.h>

#include "helpers.h"

/* A file whose fops->release() is called when its last reference was put. */
struct file *ubd_file_with_release(const struct file_operations *fops,
				   void *data)
{
	return anon_inode_getfile("[rnull_ubd]", fops, data, O_RDONLY);
}
