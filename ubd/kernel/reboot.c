// SPDX-License-Identifier: GPL-2.0
/*
 * Notifiers of a reboot. See reboot.rs.
 */

#include <linux/reboot.h>

#include "helpers.h"

int ubd_reboot_notifier_register(struct notifier_block *block)
{
	return register_reboot_notifier(block);
}

void ubd_reboot_notifier_unregister(struct notifier_block *block)
{
	unregister_reboot_notifier(block);
}
