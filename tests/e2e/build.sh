#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# where: host
#
# The driver as its user builds it, on a kernel tree of one's own: by the
# Makefile out of the tree, and by scripts/integrate as a part of it.
# kernel: release

. "$(dirname "$0")/lib.sh"

tree=$("$top/scripts/kernel")
# Of the checkout, what a user has who has built nothing in it.
mkdir copy
# shellcheck disable=SC2016
bash -c '. "$1/scripts/lib.sh" && cd "$1" && { driver_files; echo Makefile; } | cpio --quiet -pdm "$2"' \
	copy "$top" "$work/copy"

# state FOLDER: each file in it, with its bytes and its time.
state() {
	(cd "$1" && find . -type f -printf '%T@ ' -exec sha256sum {} \; -o ! -type f -printf '%y %p %l\n' | sort -k 2)
}

# Out of the tree.

state copy >before
make -C copy LLVM=1 KDIR="$tree" >out 2>&1
is "make LLVM=1 KDIR=...: builds" $? 0 || note "$(tail -n 40 out)"
check "the module" modinfo -F description copy/rnull_ubd.ko
is "with no warning" "$(grep -i warning out)" ""
check "make modules_install" make -C copy LLVM=1 KDIR="$tree" INSTALL_MOD_PATH="$work/root" modules_install
version=$(make -s -C "$tree" kernelrelease)
is "the module is where modprobe looks" "$(modprobe -d "$work/root" -S "$version" -n -v rnull_ubd 2>&1 | xargs)" \
	"insmod $work/root/lib/modules/$version/updates/rnull_ubd.ko"
check "make clean" make -C copy LLVM=1 KDIR="$tree" clean
is "and the checkout is as it was" "$(state copy | diff before -)" ""
for word in modules_install KDIR= clean run test; do
	check "make help has $word" grep -q "$word" <(make -s -C copy help)
done
make -s -C copy KDIR="$work/none" >out 2>&1
is "no tree there: make fails" $? 2
is "and has one line on it" "$(grep -v '^make' out)" \
	"there is no kernel to build for in $work/none: install its headers, or name a tree with KDIR="

# As a part of a tree: of links, but for what may change.

docs=Documentation/admin-guide/blockdev
abi=Documentation/ABI/testing
mkdir -p linux/drivers/block linux/$docs linux/$abi
for file in "$tree"/{*,drivers/*,drivers/block/*,Documentation/*,Documentation/{admin-guide,ABI}/*,$docs/*,$abi/*}; do
	place=linux${file#"$tree"}
	[ -d "$place" ] || ln -s "$file" "$place"
done
for file in drivers/block/{Kconfig,Makefile} $docs/index.rst .config; do
	rm -f "linux/$file"
	cp -p "$tree/$file" "linux/$file"
done
rm -f linux/.config.old
state linux >before
mkdir -p kept
cp -pr linux/drivers/block/{Kconfig,Makefile} kept
cp -p linux/$docs/index.rst documents
check "scripts/integrate" "$top/scripts/integrate" linux
check "the driver is in the tree" test -e linux/drivers/block/ubd/rnull_ubd.rs -a -e linux/drivers/block/ubd/ubd/kernel/helpers.h
is "and the tree knows of it" "$(diff kept linux/drivers/block | grep '^>')" \
	"> source \"drivers/block/ubd/Kconfig\""$'\n'"> obj-\$(CONFIG_BLK_DEV_RUST_UBD) += ubd/"
check "and so are its documents" test -e linux/$docs/ubd/index.rst -a -e linux/$abi/configfs-ubd
is "which the tree's list has" "$(diff documents linux/$docs/index.rst | grep '^>')" ">    ubd/index"
state linux >integrated
check "scripts/integrate, again" "$top/scripts/integrate" linux
is "changes nothing" "$(state linux | diff integrated -)" ""
for value in y m; do
	cp -p "$tree/.config" linux/.config
	echo "CONFIG_BLK_DEV_RUST_UBD=$value" >>linux/.config
	check "make olddefconfig takes the driver as $value" make -s -C linux LLVM=1 olddefconfig
	check "and keeps it" grep -qx "CONFIG_BLK_DEV_RUST_UBD=$value" linux/.config
done
rm -f linux/.config.old
cp -p "$tree/.config" linux/.config
check "scripts/integrate --remove" "$top/scripts/integrate" linux --remove
is "leaves the tree as it was" "$(state linux | sed 's/^[0-9.]* //' | diff <(sed 's/^[0-9.]* //' before) -)" ""
check "scripts/integrate --remove, where there is nothing to remove" "$top/scripts/integrate" linux --remove
refuse "what is no tree is refused" "$top/scripts/integrate" kept
plan
