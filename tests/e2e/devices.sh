#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Block devices as the files of units: such that can't be written, and such
# whose sectors are larger than the disk's.
# kernel: release

. "$(dirname "$0")/lib.sh"

# device SECTOR FILE [OPTION...]: FILE as a device, into `node`.
device() {
	node=$(losetup --show --find --sector-size "$1" "${@:3}" "$2")
}

# Read-only.

model pattern image $((1 << 20)) image
cp image set_ro
device 512 image --read-only
never=$node
device 512 set_ro
blockdev --setro "$node"
mark
load "ubd0=$never" "ubd1=$node"
for unit in a b; do
	is "a read-only device: ubd$unit is read-only" "$(blockdev --getro /dev/ubd$unit)" 1
	says "a read-only device: ubd$unit says so" ubd$unit "cannot be written" EACCES
	check "a read-only device: ubd$unit is read" model cmp /dev/ubd$unit image --direct
	refuse "a read-only device: ubd$unit is not written" \
		dd if=/dev/zero of=/dev/ubd$unit bs=4k count=1 oflag=direct status=none
done
unload
blockdev --setrw "$node"
losetup -D

# Sectors of 4 KiB below a disk with sectors of 512 bytes, and a COW file whose
# data starts within one. What is zeroed are not whole sectors.

mkdir mnt
truncate -s 64M xfs.img
export TEST_DIR=x TEST_DEV=x QA_CHECK_FS=x
mkfs.xfs -q xfs.img
mount -o loop xfs.img mnt
model pattern mnt/image $((4 << 20)) zeroed
model pattern back $((4 << 20)) back
cp mnt/image want0
model make-cow mnt/v2 back --version 2 --shape 8 --disk want1
truncate -s 6M mnt/v2
model make-cow mnt/v3 back --shape 8 --disk want2
truncate -s 6M mnt/v3
params=()
for file in image v2 v3; do
	device 4096 mnt/$file
	params+=("ubd${#params[@]}=$node")
done
ranges=("1 1" "8 8" "21 14" "40 1000" "1001 999" "4095 3")
[ -z "$debug" ] || ranges=("8 8" "21 14" "1001 999")
load "${params[@]}"
for i in 0 1 2; do
	dev=$(disk $i)
	for range in "${ranges[@]}"; do
		read -r start count <<<"$range"
		for how in "" -z; do
			check "${params[i]##*=} ${how:+zeroed }${how:-discarded }: $count sectors from $start" \
				blkdiscard $how -o $((start * 512)) -l $((count * 512)) "$dev"
			start=$((start + 2048))
		done
		dd if=/dev/zero of="want$i" bs=512 seek=$((start - 4096)) count="$count" conv=notrunc status=none
		dd if=/dev/zero of="want$i" bs=512 seek=$((start - 2048)) count="$count" conv=notrunc status=none
	done
	check "${params[i]##*=}: all reads as it should" model cmp "$dev" "want$i" --direct
	check "${params[i]##*=}: and is written" model exercise "$dev" "want$i" --procs 1 --depth 8 --ops 40
done
unload
load "${params[@]}"
for i in 0 1 2; do
	check "${params[i]##*=}: attached again, all is there" model cmp "$(disk $i)" "want$i" --direct
done
unload
losetup -D
umount mnt

plan
