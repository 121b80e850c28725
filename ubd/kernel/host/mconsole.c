// SPDX-License-Identifier: GPL-2.0
/*
 * The driver in User-mode Linux's management console. See mconsole.rs.
 */

#include <linux/export.h>
#include <linux/list.h>
#include <linux/string.h>
#include <linux/types.h>

#include <mconsole_kern.h>

#include "mconsole.h"

static const struct ubd_mconsole *ubd_mconsole;

static int ubd_mconsole_config(char *text, char **error)
{
	return ubd_mconsole->config(ubd_mconsole->data, text, error);
}

static int ubd_mconsole_get_config(char *name, char *text, int size, char **error)
{
	return ubd_mconsole->show(ubd_mconsole->data, name, text, size, error);
}

/* What follows the number is none of its. */
static int ubd_mconsole_id(char **text, int *first, int *last)
{
	return ubd_mconsole->unit(ubd_mconsole->data, *text, first, last);
}

static int ubd_mconsole_remove(int unit, char **error)
{
	return ubd_mconsole->remove(ubd_mconsole->data, unit, error);
}

static struct mc_device ubd_mconsole_device = {
	.list = LIST_HEAD_INIT(ubd_mconsole_device.list),
	.name = "ubd",
	.config = ubd_mconsole_config,
	.get_config = ubd_mconsole_get_config,
	.id = ubd_mconsole_id,
	.remove = ubd_mconsole_remove,
};

void ubd_mconsole_register(const struct ubd_mconsole *mconsole)
{
	ubd_mconsole = mconsole;
	mconsole_register_dev(&ubd_mconsole_device);
}
