#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# where: host
# when: all
#
# Both kernels by both compilers: the module builds, and neither rustc nor the C compiler,
# objtool or modpost warns. Two of the four are those that other tests boot.
# kernel: release

. "$(dirname "$0")/lib.sh"

for flavour in "" --gcc --previous --previous-clang; do
	tree=$("$top/scripts/kernel" ${flavour:+"$flavour"} 2>kernel.err) || { not_ok "the kernel $flavour" "$(cat kernel.err)"; continue; }
	what="Linux $(make -s -C "$tree" kernelversion) by $(sed -n 's/^CONFIG_CC_VERSION_TEXT="\(.*\)"/\1/p' "$tree/.config")"
	folder=$("$top/scripts/module" ${flavour:+"$flavour"} 2>err)
	is "$what: the module builds" $? 0 || { note "$(cat err)"; continue; }
	check "$what: it is there" test -s "$(echo "$folder"/lib/modules/*/updates/rnull_ubd.ko)"
	is "$what: without a warning" "$(cat err)" ""
done
plan
