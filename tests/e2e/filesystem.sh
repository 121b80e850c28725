#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# File systems on a COW unit: made, filled, checked, found again; and the COW
# file merged by uml_moo and by the model is what the disk read.
# smp: 1
# daily: release

. "$(dirname "$0")/lib.sh"

mb=64
[ -z "$slow" ] || mb=40
files=$((10 + $(scaled 150)))
mkdir mnt

# mkfs.xfs makes file systems this small for its own tests only.
export TEST_DIR=x TEST_DEV=x QA_CHECK_FS=x

make_ext4() { mkfs.ext4 -q "$1"; }
make_xfs() { mkfs.xfs -q "$1"; }
check_ext4() { e2fsck -fn "$1"; }
check_xfs() { xfs_repair -n "$1"; }

list() {
	(cd mnt && find . -type f -print0 | sort -z | xargs -0 -r sha256sum)
}

for fs in ext4 xfs; do
	rm -f back cow
	# What the new file system does not write is not zeros.
	model pattern back $((mb << 20)) $fs
	sum back >back.sum
	load "ubd0=$work/cow:$work/back"
	check "$fs: made" make_$fs /dev/ubda
	check "$fs: mounted" mount /dev/ubda mnt || continue
	check "$fs: filled" model tree mnt first "$files"
	list >files
	check "$fs: the files are right before they are on disk" test -s files
	check "$fs: unmounted" umount mnt
	check "$fs: fsck" check_$fs /dev/ubda
	check "$fs: unload" unload

	load "ubd0=$work/cow"
	check "$fs: fsck after a reload" check_$fs /dev/ubda
	mount /dev/ubda mnt
	list >found
	check "$fs: the files are as they were" diff files found
	check "$fs: files changed" model tree mnt second "$((files / 2))"
	list >files
	umount mnt
	check "$fs: fsck after the changes" check_$fs /dev/ubda
	check "$fs: unload" unload

	load "ubd0r=$work/cow"
	mount -o ro /dev/ubda mnt
	list >found
	check "$fs: the files are as they were, on a read-only unit" diff files found
	umount mnt
	dd if=/dev/ubda of=read bs=1M iflag=direct status=none
	unload
	is "$fs: the backing file is as it was" "$(sum back)" "$(cat back.sum)"
	model merge cow merged
	check "$fs: the model's merge is what the disk read" cmp merged read
	rm -f merged
	check "$fs: uml_moo merges the COW file" uml_moo -b "$work/back" cow merged
	check "$fs: uml_moo's merge is what the disk read" cmp merged read
	check "$fs: fsck of the merged image" check_$fs merged
	rm -f merged read
done

# A file system on a disk whose files are on a file system: what the upper one
# reads within a transaction of its own must start none below.
mkdir lower
truncate -s 64M lower.img
mkfs.ext4 -q lower.img
mount -o loop,strictatime lower.img lower
truncate -s 24M lower/back
mkfs.ext4 -q lower/back
mark
load "ubd0=$work/lower/cow:$work/lower/back"
mount /dev/ubda mnt
for i in {1..100}; do
	echo "$i" >mnt/"$i"
done
for _ in 1 2; do
	sync
	# Read again, from the page cache below.
	stat mnt/* >/dev/null
	echo 1 >/proc/sys/vm/drop_caches
	cat lower/cow lower/back >/dev/null
	chmod 600 mnt/*
done
umount mnt
check "ext4 on ext4: fsck" check_ext4 /dev/ubda
unload
umount lower
is "ext4 on ext4: no complaint of the kernel" "$(messages | grep -A 30 WARNING)" ""

plan
