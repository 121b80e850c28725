#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The half of scripts/bench --memory that runs in no guest: has the compilers
# say how large that is which there is for every request. Prints bytes.
#
# usage: sizes.sh DIR    (to work in)

set -euo pipefail
. "$(dirname "$0")/../../scripts/lib.sh"

dir=$1
tree=$("$scripts/kernel")
mkdir -p "$dir/c" "$dir/driver"

# Types that only their own file knows.
cat >"$dir/c/loop.c" <<-'END'
	#include "drivers/block/loop.c"
	char sizeof_request[sizeof(struct request)];
	char sizeof_loop_cmd[sizeof(struct loop_cmd)];
END
cat >"$dir/c/snapshot.c" <<-'END'
	#include "drivers/md/dm-snap.c"
	#include "drivers/md/dm-core.h"
	char sizeof_dm_bio[DM_IO_BIO_OFFSET + sizeof(struct bio) + sizeof(struct dm_snap_tracked_chunk)];
	char sizeof_exception[sizeof(struct dm_exception)];
	char sizeof_pending[sizeof(struct dm_snap_pending_exception)];
END
cat >"$dir/c/Kbuild" <<-'END'
	obj-m := loop.o snapshot.o
	ccflags-y := -I$(srctree)
END
# shellcheck disable=SC2016
driver_files | "$scripts/toolchain" bash -euc '
	tree=$1 dir=$2
	rsync --files-from=- "$3" "$dir/driver"
	make -C "$tree" M="$dir/c" LLVM=1 loop.o snapshot.o >"$dir/log" 2>&1 </dev/null
	nm -t d -S "$dir/c/loop.o" "$dir/c/snapshot.o" | awk "\$4 ~ /^sizeof_/ { print \"@\" \$4, +\$2 }"
	# What is there already was not compiled, and then nothing is said.
	rm -f "$dir/driver/rnull_ubd_rust.o"
	make -C "$tree" M="$dir/driver" LLVM=1 KRUSTFLAGS=-Zprint-type-sizes rnull_ubd_rust.o \
		>"$dir/log" 2>&1 </dev/null
	awk "/ type: .*::RequestData.: / { print \"@sizeof_RequestData\", \$4 }" "$dir/log"
' sizes "$tree" "$dir" "$top"
