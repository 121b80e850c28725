#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Loading and unloading, and what must not be unloaded. What many loads leave in
# memory, the test kernel's count of it shows, and the debug kernel's kmemleak
# when the guest ends.
# previous: yes

. "$(dirname "$0")/lib.sh"

rounds=40
[ -z "$debug" ] || rounds=15
model pattern plain $((1 << 20)) plain
model pattern back $(((2 << 20) + 100)) back
model expect plain plain.want
model expect back cow.want
sum back >back.sum

bad='' done=0
load_rounds() {
	local i
	for ((i = done; i < done + rounds; i++)); do
		load "ubd0=$work/plain" "ubd1=$work/cow:$work/back" || { bad="load $i"; break; }
		# A write that nobody flushes, and no read of it before the next load.
		model write /dev/ubda plain.want $((i * 7 % 2040 * 512)) $((i % 8 * 512 + 512)) "$i" || bad="write $i"
		model write /dev/ubdb cow.want $((i * 29 % 4080 * 512)) $((i % 16 * 512 + 512)) "$i" || bad="write $i"
		dd if=/dev/zero of=/dev/ubdb bs=512 seek=4096 count=1 status=none || bad="buffered write $i"
		unload || { bad="unload $i"; break; }
	done
	done=$i
}
no_growth "$rounds times loaded" "$rounds" load_rounds
dd if=/dev/zero of=cow.want bs=512 seek=4096 count=1 conv=notrunc status=none
is "loaded, written to and unloaded, again and again" "$bad" ""
load "ubd0=$work/plain" "ubd1=$work/cow"
check "the plain image has every round's write" model cmp /dev/ubda plain.want --direct
check "the COW file has every round's write" model cmp /dev/ubdb cow.want --direct

# Busy.

# in_use NAME: modprobe -r is refused as busy, and nothing is gone.
in_use() {
	local said
	if ! said=$(rmmod rnull_ubd 2>&1) && [[ $said == *"in use"* || $said == *busy* ]] &&
		[ -b /dev/ubda ] && [ -b /dev/ubdb ] && loaded; then
		ok "$1"
	else
		not_ok "$1" "$said"
	fi
}

exec 3</dev/ubda
in_use "no unload while a disk is open"
exec 3<&-
exec 3<>/dev/ubdb
in_use "no unload while a disk is open for writing"
check "the open disk still works" model cmp /dev/ubdb cow.want --direct
exec 3<&-
mkfs.ext4 -q /dev/ubdb
mkdir mnt
mount /dev/ubdb mnt
in_use "no unload while a disk is mounted"
echo hello >mnt/hello
umount mnt
check "unload when nothing is open" unload
check "the nodes are gone" test ! -e /dev/ubda
check "the disks are gone from sysfs" test ! -e /sys/block/ubda
check "the platform devices are gone from sysfs" test ! -e /sys/devices/platform/uml-blkdev.0
check "the files are nobody's: the image" model lock plain exclusive
check "the files are nobody's: the COW file" model lock cow exclusive
check "the files are nobody's: the backing file" model lock back exclusive
is "the backing file is as it was" "$(sum back)" "$(cat back.sum)"

# The files are not kept busy either.
truncate -s 48M image
mkfs.ext4 -q image
mkdir files
mount -o loop image files
truncate -s 8M files/plain
cp back files/back
load "ubd0=$work/files/plain" "ubd1=$work/files/cow:$work/files/back" "ubd2=$work/files/none"
model pattern /dev/ubda $((1 << 20)) more
refuse "no unmount below a unit" umount files
unload
check "unmount when the module is gone" umount files

# A load that fails leaves nothing behind.
refuse "a load that fails" load "ubd0=$work/plain" "ubd=1048576=$work/plain"
check "is no load" test ! -e /sys/module/rnull_ubd
check "leaves no disk" test ! -e /dev/ubda
check "leaves no lock" model lock plain exclusive
check "and the next one works" load "ubd0=$work/plain"
check "with the bytes that were there" model cmp /dev/ubda plain.want

plan
