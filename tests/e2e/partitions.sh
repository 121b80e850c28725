#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# What is around the disk: partitions, numbers, geometry, sysfs.
# previous: yes
# smp: 1
# daily: debug

. "$(dirname "$0")/lib.sh"

truncate -s 64M plain
truncate -s 96M back
truncate -s $((1 << 20)) read_only
truncate -s 64M more
load "ubda=$work/plain" "ubd1=$work/cow:$work/back" "ubd15r=$work/read_only" "ubd=16=$work/more" \
	"ubd=aa=$work/more_still:$work/back"

is "the size of a plain disk" "$(cat /sys/block/ubda/size)" $((64 << 11))
is "the size of a COW disk" "$(blockdev --getsize64 /dev/ubdb)" $((96 << 20))
is "the sector size" "$(blockdev --getss /dev/ubdb)" 512
is "a disk is writable" "$(blockdev --getro /dev/ubda)" 0
is "a disk with r is read-only" "$(blockdev --getro /dev/ubdp)" 1
is "and sysfs says so" "$(cat /sys/block/ubdp/ro)" 1
is "the numbers of unit 0" "$(cat /sys/block/ubda/dev)" 98:0
is "the numbers of unit 15" "$(cat /sys/block/ubdp/dev)" 98:240
is "those of unit 16 and on are the kernel's choice" \
	"$(cut -d: -f1 /sys/block/ubd{q,aa}/dev | xargs)" "259 259"
is "the major's name" "$(awk '$1 == 98 { print $2 }' /proc/devices)" ubd
is "the disk of unit 1 has its platform device for a parent" \
	"$(readlink -f /sys/block/ubdb/device)" /sys/devices/platform/uml-blkdev.1
is "the platform device has its driver" \
	"$(basename "$(readlink -f /sys/devices/platform/uml-blkdev.1/driver)")" uml-blkdev
is "a platform device a unit" "$(cd /sys/devices/platform && echo uml-blkdev.*)" \
	"uml-blkdev.0 uml-blkdev.1 uml-blkdev.15 uml-blkdev.16 uml-blkdev.26"
is "the geometry" "$(model ioctl /dev/ubdb geo)" "128 32 $(((96 << 20) / (128 * 32 * 512))) 0"
if identity=$(model ioctl /dev/ubdb identity); then
	is "the ATA identity" "$identity" "$(((96 << 20) / (128 * 32 * 512))) 128 32"
else
	skip "the ATA identity" "no HDIO_GET_IDENTITY: $identity"
fi

# attributes DISK: what sysfs says that it is made of.
attributes() {
	(cd "/sys/block/$1/ubd" && grep '' file backing_file flags state)
}
is "sysfs has the files of a plain disk" "$(attributes ubda)" "file:$work/plain
flags:
state:ok"
is "sysfs has the files of a COW disk" "$(attributes ubdb)" "file:$work/cow
backing_file:$work/back
flags:
state:ok"
is "sysfs has the flags of a disk, and its state" "$(attributes ubdp)" "file:$work/read_only
flags:r
state:read-only"

# Fifteen partitions, written by sfdisk and read by the kernel.
layout() {
	echo "label: gpt"
	for n in {1..15}; do
		echo "start=$((n * 4096)), size=4096"
	done
}
for dev in ubda ubdb ubdq ubdaa; do
	check "$dev: sfdisk makes fifteen partitions" sfdisk -q /dev/$dev < <(layout)
	is "$dev: they are there" "$(cd /dev && echo "$dev"[0-9] "$dev"[0-9]?)" "$(echo "$dev"{1..15})"
done
is "the numbers of partition 15 of unit 1" "$(cat /sys/block/ubdb/ubdb15/dev)" 98:31
is "a partition's start" "$(cat /sys/block/ubdb/ubdb15/start)" 61440
is "a partition's size" "$(cat /sys/block/ubdb/ubdb15/size)" 4096
is "a partition's geometry" "$(model ioctl /dev/ubdb15 geo)" \
	"128 32 $(((96 << 20) / (128 * 32 * 512))) 61440"

# A partition's bytes are the disk's.
model pattern part $((2 << 20)) part
for dev in ubda ubdb ubdq ubdaa; do
	dd if=part of=/dev/${dev}7 bs=64k oflag=direct status=none
	check "$dev: what is written to a partition reads there" model cmp /dev/${dev}7 part --direct
	dd if=/dev/$dev of=disk bs=1M skip=14 count=2 iflag=direct status=none
	check "$dev: and on the disk where the partition is" cmp disk part
done
unload
check "the partitions are gone with the disk" test ! -e /dev/ubda1
load "ubda=$work/plain" "ubd1=$work/cow" "ubd=16=$work/more" "ubd=aa=$work/more_still"
for dev in ubda ubdb ubdq ubdaa; do
	is "$dev: they are back with it" "$(cd /dev && echo "$dev"[0-9] "$dev"[0-9]?)" "$(echo "$dev"{1..15})"
	check "$dev: and the bytes in them" model cmp /dev/${dev}7 part --direct
done

plan
