#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Block devices as the files of units: such that can't be written, and such
# whose sectors are larger than the disk's.
# kernel: release
# smp: 1

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

# As a backing file it is known by its size: the time is its node's.

model pattern image $((1 << 20)) image
device 512 image
touch -d @1000000000 "$node"
load "ubd0=$work/over:$node"
unload
is "a backing device: the header has its node's time" "$(model info over mtime)" 1000000000
touch "$node"
load "ubd0=$work/over"
check "a backing device: it is attached after a touch" model cmp /dev/ubda image --direct
unload
other=$(losetup --show --find image)
mark
load "ubd0=$work/over:$other"
says "a backing device: switched to another of that size" ubda "switched from backing file $node to $other"
check "a backing device: and read" model cmp /dev/ubda image --direct
unload
losetup -D
rm over
truncate -s 2M image
device 512 image
model make-cow over "$node" --shape none
losetup -D
truncate -s 1M image
losetup "$node" image
load "ubd0=$work/over"
check "a backing device: not with another size" test ! -e /dev/ubda
unload
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
cows=("" "--cow $work/mnt/v2" "--cow $work/mnt/v3")
for file in image v2 v3; do
	device 4096 mnt/$file
	params+=("ubd${#params[@]}=$node")
done
ranges=("1 1" "8 8" "21 14" "40 1000" "1001 999" "4095 3")
[ -z "$slow" ] || ranges=("8 8" "21 14" "1001 999")
load "${params[@]}"
is "the block size is the device's if that is the disk" "$(cat /sys/block/ubd[abc]/queue/logical_block_size | xargs)" \
	"4096 512 512"
for i in 0 1 2; do
	dev=$(disk $i)
	for range in "${ranges[@]}"; do
		read -r start count <<<"$range"
		[ $i != 0 ] || ((start = (start + 7) & ~7, count = (count + 7) & ~7))
		for how in "" -z; do
			check "${params[i]##*=} ${how:+zeroed }${how:-discarded }: $count sectors from $start" \
				blkdiscard $how -o $((start * 512)) -l $((count * 512)) "$dev"
			start=$((start + 2048))
		done
		# shellcheck disable=SC2086
		model discard "want$i" $((start - 4096)) "$count" ${cows[i]}
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
