// SPDX-License-Identifier: GPL-2.0
/*
 * What "linux --help" says of the driver's options.
 */

#include <init.h>

__uml_help(ubd,
	   "ubd<unit><flags>=<file>[(:|,)<backing file>[(:|,)<serial number>]]\n"
	   "    A disk, /dev/ubda for unit 0 or a, whose contents are those of a file of\n"
	   "    the host. With a backing file, which is never written, the first one is\n"
	   "    the COW file that takes all changes, and is made if it is not there. A\n"
	   "    file that is alone is a COW file if it has such a header. Behind a ':'\n"
	   "    the shell expands a '~', behind a ',' it does not. A field may be empty:\n"
	   "        ubd0=File,,Serial\n"
	   "    Without any ubd0 the disk of unit 0 is the file root_fs. The flags are\n"
	   "        r  read-only\n"
	   "        s  what is written is on the host's disk before the write ends\n"
	   "        d  data: no COW file, whatever its header says\n"
	   "        c  shared with other UMLs, as for a cluster file system: no locks\n"
	   "        t  no trim: neither discards nor write-zeroes\n\n"
);

__uml_help(ubd_sync,
	   "ubd=sync\n"
	   "    All disks as if they had the flag s.\n\n"
);

__uml_help(fake_ide,
	   "fake_ide\n"
	   "    Obsolete, does nothing.\n\n"
);

__uml_help(udb,
	   "udb\n"
	   "    Catches a typo that is hard to see: says that ubd was meant, and does\n"
	   "    nothing else.\n\n"
);
