// SPDX-License-Identifier: GPL-2.0
/*
 * This module, as the C side of the kernel knows it. See module.rs.
 */

#include <linux/init.h>
#include <linux/types.h>
#include <linux/initrd.h>
#include <linux/module.h>
#include <linux/moduleparam.h>

#include "helpers.h"

MODULE_PARM_DESC(ubd, "<unit><flags>=<file>[,<backing file>[,<serial>]], as ubd<unit><flags>=..., or sync");

void ubd_module_get(void)
{
	__module_get(THIS_MODULE);
}

void ubd_wait_for_initramfs(void)
{
#ifndef MODULE
	wait_for_initramfs();
#endif
}
