// SPDX-License-Identifier: GPL-2.0
/*
 * What the devices of the driver show. See platform.rs.
 */

#include <linux/device.h>
#include <linux/sysfs.h>

#include "helpers.h"

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
