// SPDX-License-Identifier: GPL-2.0
/*
 * Folders of configfs. See configfs_item.rs.
 */

#include <linux/configfs.h>
#include <linux/mutex.h>

#include "helpers.h"

/* Whether a folder is there: its mkdir has not failed, and it is not gone. */
bool ubd_configfs_is_linked(struct config_group *group)
{
	return READ_ONCE(group->cg_subsys);
}

/*
 * Has rmdir of a folder fail with EBUSY until ubd_configfs_undepend(). Returns
 * -ENOENT if it is being removed. The subsystem is there: this module has it,
 * and somebody uses the module.
 */
int ubd_configfs_depend(struct config_group *group)
{
	int ret = -ENOENT;
#if IS_ENABLED(CONFIG_CONFIGFS_FS)
	struct configfs_subsystem *subsys = READ_ONCE(group->cg_subsys);

	if (!subsys)
		return ret;
	/* What it is linked to goes under this lock. */
	mutex_lock(&subsys->su_mutex);
	if (group->cg_subsys)
		ret = configfs_depend_item_unlocked(subsys, &group->cg_item);
	mutex_unlock(&subsys->su_mutex);
#endif
	return ret;
}

void ubd_configfs_undepend(struct config_group *group)
{
#if IS_ENABLED(CONFIG_CONFIGFS_FS)
	configfs_undepend_item(&group->cg_item);
#endif
}
