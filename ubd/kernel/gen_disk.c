// SPDX-License-Identifier: GPL-2.0
/*
 * Disks. See gen_disk.rs.
 */

#include <linux/blkdev.h>
#include <linux/hdreg.h>

#include "helpers.h"

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
 * Whether swap is on the disk or a partition of it. Of swap files, and of what is
 * made of the disk, it knows nothing.
 */
bool ubd_disk_is_swap(struct gendisk *disk)
{
	struct block_device *part;
	unsigned long number;
	bool is_swap = false;

	rcu_read_lock();
	xa_for_each(&disk->part_tbl, number, part)
		is_swap |= !!IS_SWAPFILE(part->bd_mapping->host);
	rcu_read_unlock();
	return is_swap;
}
