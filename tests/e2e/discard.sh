#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# What discards and zeroes cost: nothing where a COW file has nothing, and no
# memory where it gets all. Of whatever size the disk.
# kernel: release

. "$(dirname "$0")/lib.sh"

# megabytes COMMAND...: how much memory it takes, in whole MiB.
megabytes() {
	local before
	before=$(kernel_memory)
	"$@" || return
	echo $((($(kernel_memory) - before + 1023) / 1024))
}

# zeroed OFFSET LENGTH: by requests that need not keep the space, and a flush.
zeroed() {
	fallocate --punch-hole --offset "$1" --length "$2" /dev/ubda
}

# state: of the unit and its file.
state() {
	sync cow
	cat /sys/block/ubda/ubd/{cow_sectors,dirty_pages}
	stat -c "%b %s" cow
}

# A disk of which the COW file has nothing: on tmpfs and on xfs.

truncate -s 16T large
truncate -s 256M xfs.img
export TEST_DIR=x TEST_DEV=x QA_CHECK_FS=x
mkfs.xfs -q xfs.img
mkdir xfs
mount -o loop xfs.img xfs
timed() {
	local start=${EPOCHREALTIME/./}
	blkdiscard /dev/ubda && start=$(((${EPOCHREALTIME/./} - start) / 1000)) || return
	note "discarded in $start ms" >&2
}
for at in . xfs; do
	cd "$work/$at" || exit
	load "ubd0=$PWD/cow:$work/large"
	before=$(state)
	[ $at = . ] || timed
	used=$(megabytes timed)
	# What it takes it takes each time; what the kernel keeps for others, or frees
	# later, it does in one time or another.
	for _ in {1..3}; do
		[ "$used" -ge 2 ] || break
		note "$at: $used MiB"
		unload
		load "ubd0=$PWD/cow"
		used=$(megabytes timed)
	done
	check "$at: 16 TiB are discarded with less than 2 MiB of memory" test "$used" -lt 2
	is "$at: and nothing is added to the COW file" "$(state)" "$before"
	printf 'sector' | dd of=/dev/ubda bs=512 seek=$((12345 << 20)) conv=sync,fsync status=none
	blkdiscard -o $((12345 << 29)) -l 1M /dev/ubda
	check "$at: what is in the COW file reads as zeros" cmp -n 512 -i $((12345 << 29)):0 /dev/ubda /dev/zero
	is "$at: and stays there" "$(cat /sys/block/ubda/ubd/cow_sectors)" 8
	unload
	rm cow
	cd "$work" || exit
done

# Every shape: a discard is of what the COW file has.

model pattern back $((96 << 20)) back
for shape in random 40000; do
	for at in . xfs; do
		model make-cow $at/cow back --shape $shape --disk want
		load "ubd0=$work/$at/cow"
		before=$(cat /sys/block/ubda/ubd/cow_sectors)
		for range in "0 1" "1 9" "32760 16" "40000 70001" "131072 65536"; do
			read -r first count <<<"$range"
			blkdiscard -o $((first * 512)) -l $((count * 512)) /dev/ubda
			model discard want "$first" "$count" --cow $at/cow
		done
		check "$at, shape $shape: what the COW file has is zeros, all else as it was" \
			model cmp /dev/ubda want --direct
		is "$at, shape $shape: no bits are set" "$(cat /sys/block/ubda/ubd/cow_sectors)" "$before"
		model exercise /dev/ubda want --ops 60 --procs 2 --depth 8
		unload
		check "$at, shape $shape: so it is in the file" model cmp-cow $at/cow want
		rm $at/cow
	done
done

# Zeros are of all.

rm large
truncate -s 64G large
echo old | dd of=large bs=4k seek=1000 conv=notrunc status=none
load "ubd0=$work/cow:$work/large"
zeroed 4096 1M
check "64 GiB are zeroed with less than 2 MiB of memory" \
	test "$(megabytes zeroed 0 $((64 << 30)))" -lt 2
is "all sectors are in the COW file" "$(cat /sys/block/ubda/ubd/cow_sectors)" $((64 << 21))
check "they are zeros" cmp -n 8M /dev/ubda /dev/zero
is "no page is dirty after a flush" "$(cat /sys/block/ubda/ubd/dirty_pages)" 0
printf 'sector' | dd of=/dev/ubda bs=512 seek=$((12 << 20)) conv=sync,fsync status=none
is "nor by a write" "$(cat /sys/block/ubda/ubd/dirty_pages)" 0
unload
check "all bits are in the file" \
	cmp -n $((16 << 20)) -i 8192:0 cow <(head -c 16M /dev/zero | tr '\0' '\377')
load "ubd0=$work/cow"
all() {
	dd if=/dev/ubda of=/dev/null bs=512 count=1 skip=$((1 << 15)) iflag=direct status=none
	cat /sys/block/ubda/ubd/cow_sectors
}
is "they are there when it is attached again" "$(all)" $((64 << 21))
is "with what was written" \
	"$(dd if=/dev/ubda bs=512 skip=$((12 << 20)) count=1 iflag=direct status=none | tr -d '\0')" sector
blkdiscard /dev/ubda
check "a discard of all makes it zeros" cmp -n 8M -i 6442450944:0 /dev/ubda /dev/zero
unload
rm cow large

# More bits than the file system has room for.

truncate -s 16T large
mkdir small
mount -t tmpfs -o size=32M none small
load "ubd0=$work/small/cow:$work/large"
before=$(kernel_memory)
refuse "16 TiB are zeroed, and as there is no room for the bits, the flush fails" \
	zeroed 0 $((16 << 40))
is "all sectors are in the COW file" "$(cat /sys/block/ubda/ubd/cow_sectors)" $((16 << 31))
check "with less than 128 MiB of memory" test $(($(kernel_memory) - before)) -lt $((128 << 10))
is "the unit goes on" "$(cat /sys/block/ubda/ubd/state)" ok
check "it reads as zeros" cmp -n 1M -i 8796093022208:0 /dev/ubda /dev/zero
unload
umount small xfs

plan
