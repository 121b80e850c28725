#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A COW file on a file system that has not so large files: a write that the file
# system cuts short fails, with no bit of what is not there, and a read ends in
# zeros.
# kernel: release

. "$(dirname "$0")/lib.sh"

# Of files by blocks of 1 KiB, and without huge_file: the end of the largest, and
# what is never read behind.
file_end=17247252480
read_end=$((((1 << 31) - 1) << 10))
# Of a disk of 3 TiB.
bitmap=8192
data=$((bitmap + (3 << 40) / 4096))
k=1024

mkdir mnt
truncate -s 64M ext3.img
mkfs.ext4 -q -b 1024 -O ^extent,^64bit,^huge_file ext3.img
mount -o loop ext3.img mnt
truncate -s 3T back
# at BYTE-OF-FILE: where on the disk that is.
at() {
	echo $(($1 - data))
}
model pattern pieces $((256 * k)) pieces
# What the backing file has there: 128 KiB and more on both sides. A byte of the
# bitmap begins 63 KiB before the second end.
write_at=$(($(at $file_end) - 128 * k))
read_at=$(($(at $read_end) - 127 * k))
for at in $write_at $read_at; do
	dd if=pieces of=back bs=1M seek="$at" oflag=seek_bytes conv=notrunc status=none
done
load "ubd0=$work/cow:$work/back"
unload
# Header and bitmap of it only, as its data are holes.
head -c $bitmap cow >mnt/cow
truncate -s $data mnt/cow
model pattern new $((128 * k)) new

# bits: how many are set.
bits() {
	sync
	cat /sys/block/ubda/ubd/cow_sectors
}

# try NAME DD-FLAG: 128 KiB across the end, and then of what is behind it.
try() {
	local what=$1 flags=${2:-} before
	before=$(bits)
	refuse "$what: a write across the end of the file fails" \
		dd if=new of=/dev/ubda bs=128k seek=$(($(at $file_end) - 64 * k)) oflag=seek_bytes"$flags" conv=notrunc,fsync status=none
	is "$what: and sets no bit" "$(bits)" "$before"
	blockdev --flushbufs /dev/ubda
	check "$what: the disk has what it had" model look /dev/ubda pieces $write_at
	refuse "$what: a write behind the end fails" \
		dd if=new of=/dev/ubda bs=64k count=1 seek="$(at $file_end)" oflag=seek_bytes"$flags" conv=notrunc,fsync status=none
	is "$what: and sets no bit" "$(bits)" "$before"
	blockdev --flushbufs /dev/ubda
	check "$what: the disk has what it had behind it" model look /dev/ubda pieces $write_at
}

for direct in 0 1; do
	load direct_io=$direct "ubd0=$work/mnt/cow"
	try "direct_io=$direct" ,direct
	try "direct_io=$direct, through the page cache"
	unload
done
load "ubd0=$work/mnt/cow"
check "a write up to the end is taken" \
	dd if=new of=/dev/ubda bs=64k count=1 seek=$(($(at $file_end) - 64 * k)) oflag=seek_bytes,direct conv=notrunc,fsync status=none
dd if=new of=pieces bs=64k count=1 seek=1 conv=notrunc status=none
is "and sets its bits" "$(bits)" 128
check "and is there" model look /dev/ubda pieces $write_at
unload

# A bitmap that says that the file has 64 KiB on both sides of where it can't be
# read any more. What is asked for goes on from there into the backing file.
head -c 32 /dev/zero | tr '\0' '\377' |
	dd of=mnt/cow bs=1 seek=$((bitmap + (read_at + 64 * k) / 4096)) conv=notrunc status=none
model pattern pieces $((256 * k)) pieces
dd if=/dev/zero of=pieces bs=64k seek=1 count=2 conv=notrunc status=none
for direct in 0 1; do
	load direct_io=$direct "ubd0=$work/mnt/cow"
	check "direct_io=$direct: a read that is cut short ends in zeros" \
		model look /dev/ubda pieces $read_at
	unload
done
umount mnt

plan
