/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the management console calls. mconsole.rs has it once more.
 */
#ifndef UBD_HOST_MCONSOLE_H
#define UBD_HOST_MCONSOLE_H

#include <linux/types.h>

struct ubd_mconsole {
	int (*config)(const void *data, const char *text, char **error);
	int (*show)(const void *data, const char *name, char *text, int size,
		    char **error);
	int (*unit)(const void *data, const char *name, int *first, int *last);
	int (*remove)(const void *data, int unit, char **error);
	const void *data;
};

void ubd_mconsole_register(const struct ubd_mconsole *mconsole);

#endif
