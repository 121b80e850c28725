// SPDX-License-Identifier: GPL-2.0
/*
 * The driver's options on the kernel's command line, when it is built in. See
 * boot_param.rs.
 */

#include <linux/array_size.h>
#include <linux/ctype.h>
#include <linux/init.h>
#include <linux/printk.h>
#include <linux/string.h>

#include <asm/setup.h>

#include "helpers.h"

/*
 * The command line is parsed before memory can be allocated, and stays; the
 * driver's init comes for the texts. A line has room for so many of the
 * shortest.
 */
static const char *ubd_options[COMMAND_LINE_SIZE / sizeof("ubd0=f")];

static void __init ubd_keep_option(const char *text)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(ubd_options); i++) {
		if (!ubd_options[i]) {
			ubd_options[i] = text;
			return;
		}
	}
	pr_err("rnull_ubd: too many options, ignored: %s\n", text);
}

static int __init ubd_setup(char *text)
{
	ubd_keep_option(text - strlen("ubd"));
	return 1;
}
__setup("ubd", ubd_setup);

static int __init udb_setup(char *text)
{
	/* Others have options that begin so: only what could name a unit. */
	if (*text != '=' && !isdigit(*text) && !islower(*text))
		return 0;
	ubd_keep_option(text - strlen("udb"));
	return 1;
}
__setup("udb", udb_setup);

static int __init fake_ide_setup(char *text)
{
	ubd_keep_option(text - strlen("fake_ide"));
	return 1;
}
__setup("fake_ide", fake_ide_setup);

const char *ubd_boot_option(size_t i)
{
	return i < ARRAY_SIZE(ubd_options) ? ubd_options[i] : NULL;
}
