// SPDX-License-Identifier: GPL-2.0
/*
 * When a file was modified. See times.rs.
 */

#include <linux/fs.h>
#include <linux/magic.h>
#include <linux/stat.h>
#include <linux/timekeeping.h>

#include "../helpers.h"

/*
 * Whether the file system leaves the file's times as they are when the file is
 * written with FMODE_NOCMTIME. Btrfs sets them all the same, and others leave
 * them to a server.
 */
bool ubd_file_can_keep_times(struct file *file)
{
	switch (file_inode(file)->i_sb->s_magic) {
	case EXT4_SUPER_MAGIC:
	case TMPFS_MAGIC:
	case XFS_SUPER_MAGIC:
		return true;
	default:
		return false;
	}
}

/* From now on writes leave the file's times as they are. */
void ubd_file_keep_times(struct file *file)
{
	spin_lock(&file->f_lock);
	file->f_mode |= FMODE_NOCMTIME;
	spin_unlock(&file->f_lock);
}

/* Sets the time of modification, in seconds since 1970. */
int ubd_file_set_mtime(struct file *file, s64 mtime)
{
	struct timespec64 times[2] = {
		{ .tv_nsec = UTIME_OMIT },
		{ .tv_sec = mtime },
	};

	return vfs_utimes(&file->f_path, times);
}

/* What time it is, in seconds since 1970. */
s64 ubd_now(void)
{
	return ktime_get_real_seconds();
}
