#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Work of every kind at once, and each byte known: fio with trims between its
# writes; random programs on the disks themselves and on a file on ext4 and xfs,
# with mapped memory, holes and new mounts; and processes that make, link, move
# and delete files in each other's way. On a plain image and a COW file, and on
# such that are used past the page cache.

. "$(dirname "$0")/lib.sh"

python3 "$e2e/load.py" serve "$work/load" &

# load_py COMMAND...: load.py; like model().
load_py() {
	ask "$work/load" "$@"
}

mkdir lower
truncate -s 64M lower.img
mkfs.ext4 -q lower.img
mount -o loop lower.img lower
model pattern plain $(((8 << 20) + 512)) plain
model pattern back $(((8 << 20) + 777)) back
cp plain back lower
cp back back.kept
check "plain images and COW files are attached" load direct_io=12 "ubd0=$work/plain" \
	"ubd1=$work/cow:$work/back" "ubd2=$work/lower/plain" "ubd3=$work/lower/cow:$work/lower/back"
is "two of them for direct I/O" "$(cat /sys/block/ubd[a-d]/ubd/direct_io | xargs)" "0 0 1 1"

check "random programs on all disks" \
	load_py known /dev/ubd{a..d} --ops "$(scaled 200)" --left "$work/want."
unload
check "the image file has what they wrote" cmp plain want.ubda
check "the COW file has what they wrote" model cmp-cow cow want.ubdb --new --backing "$work/back"
check "direct: the image file has what they wrote" cmp lower/plain want.ubdc
check "direct: the COW file has what they wrote" \
	model cmp-cow lower/cow want.ubdd --new --backing "$work/lower/back"
check "the backing file is as it was" cmp back back.kept

load direct_io=12 "ubd0=$work/plain" "ubd1=$work/cow" "ubd2=$work/lower/plain" "ubd3=$work/lower/cow"
part=$((($(scaled 2) + 1) << 20))
# Trims from the start on and of one size, for fio trims what it writes next
# only then.
hows=("libaio 1 512 a b c d" "io_uring 0 20k a d")
[ -z "$slow" ] || hows=("io_uring 0 20k a b c d")
for how in "${hows[@]}"; do
	read -r engine direct bs units <<<"$how"
	jobs=()
	for dev in $units; do
		jobs+=(--name="trims-$dev" --filename="/dev/ubd$dev" --rw=randtrimwrite --bs="$bs" --size=256k)
		for at in 1 4; do
			jobs+=(--name="writes-$dev$at" --filename="/dev/ubd$dev" --rw=randwrite
				--bsrange=512-1m --offset="${at}m" --size="$part")
		done
	done
	check "fio verifies what it trims and writes: $engine, direct=$direct" \
		fio --name=global --ioengine="$engine" --direct="$direct" --iodepth=16 \
		--verify=crc32c --verify_fatal=1 --group_reporting "${jobs[@]}"
done
check "unload" unload
check "the backing file is as it was" cmp back back.kept
check "direct: the backing file is as it was" cmp lower/back back.kept
umount lower
rm plain back back.kept cow want.* lower.img

# mkfs.xfs makes file systems this small for its own tests only.
export TEST_DIR=x TEST_DEV=x QA_CHECK_FS=x

make_ext4() { mkfs.ext4 -q "$1"; }
make_xfs() { mkfs.xfs -qf "$1"; }
check_ext4() { e2fsck -fn "$1"; }
check_xfs() { xfs_repair -n "$1"; }

mkdir a b
model pattern back $((1 << 20)) back
truncate -s 48M plain back
systems=(ext4 xfs)
[ -z "$slow" ] || systems=(ext4)
for fs in "${systems[@]}"; do
	rm -f cow
	load "ubd0=$work/plain" "ubd1=$work/cow:$work/back"
	make_"$fs" /dev/ubda
	make_"$fs" /dev/ubdb
	check "$fs: random programs on a file, mounted anew between them" \
		load_py known "/dev/ubda:$work/a/file" "/dev/ubdb:$work/b/file" --ops "$(scaled 300)"
	mount /dev/ubda a
	mount /dev/ubdb b
	check "$fs: processes in each other's way" load_py tree a b --ops "$(scaled 200)"
	umount a b
	check "$fs: unload" unload
	load "ubd0=$work/plain" "ubd1=$work/cow"
	for unit in a b; do
		check "$fs on ubd$unit: fsck" check_"$fs" /dev/ubd$unit
		mount /dev/ubd$unit $unit
		rm $unit/file
		check "$fs on ubd$unit: every file is whole" load_py whole $unit
		umount $unit
	done
	unload
done

plan
