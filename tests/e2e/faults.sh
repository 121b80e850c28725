#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Disks that fail below the COW file and below the backing file: the request
# that fails has its error, others go on, what was durable stays readable, and
# when the cause is gone the unit goes on; except after a failed sync, when
# nobody knows what is on disk: then it is read-only, and says so.
# daily: debug

. "$(dirname "$0")/lib.sh"
. "$e2e/faults.bash"

ops=$(scaled 64)

# The COW file is a device, for a file system would have its own say.

truncate -s 64M back.img
# All zeros but one place, which no seed of this file happens to write to.
place=20000
head -c 4096 /dev/urandom >there
dd if=there of=back.img bs=512 seek=$place conv=notrunc status=none
back_loop=$(losetup --show -f back.img)
# table NAME TABLE...: make the device, or give it another table while it is in use.
table() {
	local name=$1
	shift
	if [ -b "/dev/mapper/$name" ]; then
		printf '%s\n' "$@" | dmsetup load "$name"
		dmsetup resume --noflush --nolockfs --noudevsync "$name"
	else
		printf '%s\n' "$@" | dmsetup create --noudevsync "$name"
		dmsetup mknodes "$name"
	fi
}

# gone NAME
gone() {
	dmsetup remove --noudevsync "$1"
	rm -f "/dev/mapper/$1"
}

cow_sectors=$((66 << 11))
# good_cow, bad_cow: all of the device; bad_bitmap: writes of the bitmap only;
# bad_place: of its data what has that place.
good_cow() {
	table cow "0 $cow_sectors linear $cow_loop 0"
}
bad_cow() {
	table cow "0 $cow_sectors flakey $cow_loop 0 0 1 1 error_writes"
}
bad_bitmap() {
	table cow "0 16 linear $cow_loop 0" "16 32 flakey $cow_loop 16 0 1 1 error_writes" \
		"48 $((cow_sectors - 48)) linear $cow_loop 48"
}
bad_place() {
	local at=$((48 + place))
	table cow "0 $at linear $cow_loop 0" "$at 8 error" \
		"$((at + 8)) $((cow_sectors - at - 8)) linear $cow_loop $((at + 8))"
}
good_back() {
	table back "0 $((64 << 11)) linear $back_loop 0"
}
bad_back() {
	table back "0 $((64 << 11)) error"
}

good_back
model make-cow cow.start "$back_loop" --name /dev/mapper/back --shape none \
	--mtime "$(stat -c %Y /dev/mapper/back)"
truncate -s 66M cow.start
cp --sparse=always cow.start cow.img
cow_loop=$(losetup --show -f cow.img)

# start_anew NAME [PARAMETER...]: the COW file is a new one, its device is good,
# and the unit is attached.
start_anew() {
	! loaded || unload
	cp --sparse=always cow.start cow.img
	good_cow
	rm -f state
	load "${@:2}" ubd0=/dev/mapper/cow
	check "$1: attached" test -b /dev/ubda
	check "$1: written and flushed" faults tries /dev/ubda state --ops "$ops"
	check "$1: all of it" faults check /dev/ubda state --flush
	cp state durable
	mark
}

flush() {
	dd if=/dev/zero of=/dev/ubda count=0 conv=fsync status=none
}

# A write past the page cache has its error itself, and then nothing is lost
# that anybody was told is there.
start_anew "bad place" direct_io=1
is "bad place: direct I/O is on" "$(cat /sys/block/ubda/ubd/direct_io)" 1
bad_place
refuse "bad place: a direct write fails" \
	dd if=/dev/zero of=/dev/ubda seek=$place count=8 bs=512 oflag=direct status=none
check "bad place: it is still the backing file's" \
	cmp there <(dd if=/dev/ubda skip=$place count=8 bs=512 iflag=direct status=none)
check "bad place: others are written and flushed" faults tries /dev/ubda state --ops "$ops" --seed place
check "bad place: and are right" faults check /dev/ubda state --flush
good_cow
check "bad place: it can be written when the cause is gone" \
	dd if=there of=/dev/ubda seek=$((place + 4)) count=4 bs=512 oflag=direct conv=fsync status=none
check "bad place: sector by sector" cmp <(head -c 2k there; head -c 2k there) \
	<(dd if=/dev/ubda skip=$place count=8 bs=512 iflag=direct status=none)
refuse "bad place: the unit was read-only" said read-only

# A sync that fails: of data, of the bitmap alone, and of what has no page cache
# to wait in.
for what in cow bitmap direct; do
	params=()
	[ $what != direct ] || params=(direct_io=1)
	start_anew "bad $what" "${params[@]}"
	if [ $what = direct ]; then
		bad_cow
		# The last close would be a flush.
		exec 3</dev/ubda
		failed=$(faults tries /dev/ubda state --ops 7 --seed bad --errors EIO 2>&1)
		is "bad $what: writes fail by themselves" "${failed##*failed: }" "{'EIO': 7}"
		refuse "bad $what: the unit is read-only for that" said read-only
		exec 3<&-
	else
		bad_$what
		check "bad $what: writes that end in memory" faults tries /dev/ubda state --ops 7 --seed bad
	fi
	refuse "bad $what: the flush fails" flush
	says "bad $what: the unit is read-only from now on" /dev/mapper/cow sync failed read-only
	is "bad $what: and says so where users look" "$(cat /sys/block/ubda/ubd/state)" failed
	refuse "bad $what: so does the next" flush
	good_cow
	refuse "bad $what: and one when the cause is gone" flush
	refuse "bad $what: a write fails" model write /dev/ubda /dev/null 0 4096 x
	check "bad $what: what was durable can be read" faults check /dev/ubda durable --later state
	unload
	load "${params[@]}" ubd0=/dev/mapper/cow
	check "bad $what: a new attach finds what was durable, and of the rest old or new" \
		faults check /dev/ubda durable --later state
	check "bad $what: and is written and flushed" faults tries /dev/ubda durable --ops "$ops"
done

# A sync that fails on a file system, which keeps what it could not write in
# memory, as if it had: who attaches the file again must not take that for what
# is on disk.
! loaded || unload
truncate -s 200M fs.img
fs_loop=$(losetup --show -f fs.img)
fs_sectors=$((200 << 11))
table fs "0 $fs_sectors linear $fs_loop 0"
mkfs.ext4 -q -b 4096 /dev/mapper/fs
mkdir -p mnt
mount /dev/mapper/fs mnt
truncate -s 16M mnt/back
load "ubd0=$work/mnt/cow:$work/mnt/back"
head -c 64k /dev/urandom >old
head -c 64k /dev/urandom >new
dd if=old of=/dev/ubda bs=64k oflag=direct conv=fsync status=none
sync
data=$(model info mnt/cow data_offset)
# Where that is on the device, in blocks of 4 KiB.
bad=$(($(filefrag -v -b4096 mnt/cow | tr -s '.:' ' ' | awk -v block=$((data / 4096)) \
	'$1 ~ /^[0-9]+$/ && $2 <= block && block <= $3 { print $4 + block - $2; exit }') * 8))
# on_disk: the block, without the file system.
on_disk() {
	dd if="$fs_loop" bs=4k skip=$((bad / 8)) count=1 iflag=direct status=none
}
good_fs() {
	table fs "0 $fs_sectors linear $fs_loop 0"
}
bad_fs() {
	table fs "0 $bad linear $fs_loop 0" "$bad 8 flakey $fs_loop $bad 0 1 1 error_writes" \
		"$((bad + 8)) $((fs_sectors - bad - 8)) linear $fs_loop $((bad + 8))"
}
# The second time the page cache loses more when the unit has failed, of which
# nobody is told.
for told in "all told" "some not told"; do
	what="bad block of a file system, $told"
	bad_fs
	dd if=new of=/dev/ubda bs=64k oflag=direct status=none
	refuse "$what: the flush fails" flush
	if [ "$told" = "some not told" ]; then
		dd if=new of=mnt/cow bs=4k count=1 seek=$((data / 4096)) conv=notrunc status=none
		sync
	fi
	good_fs
	unload
	mark
	load "ubd0=$work/mnt/cow"
	check "$what: attached again" test -b /dev/ubda
	says "$what: the log tells" "$work/mnt/cow" "has failed before"
	check "$what: what is read is on the disk" cmp -n 4096 /dev/ubda <(on_disk)
	check "$what: which is what was durable" cmp -n 4096 /dev/ubda old
	dd if=new of=/dev/ubda bs=64k oflag=direct conv=fsync status=none
	check "$what: what is written now is on it" cmp -n 4096 new <(on_disk)
	mv new newer
	mv old new
	mv newer old
done
unload
umount mnt
gone fs
losetup -d "$fs_loop"
rm fs.img

# Reads of the backing file.
start_anew "bad backing file"
bad_back
blockdev --flushbufs /dev/mapper/back
refuse "bad backing file: a cold read of it fails" dd if=/dev/ubda of=read bs=4096 skip=9000 count=1 iflag=direct status=none
check "bad backing file: what is in the COW file can be read" faults check /dev/ubda state
check "bad backing file: writes and flushes go on" faults tries /dev/ubda state --ops "$ops" --seed back
check "bad backing file: and are right" faults check /dev/ubda state --flush
good_back
check "bad backing file: it can be read when the cause is gone" \
	dd if=/dev/ubda of=read bs=4096 skip=9000 count=1 iflag=direct status=none
check "bad backing file: and has what it had" cmp -n 4096 read /dev/zero
refuse "bad backing file: the unit was read-only" said read-only

# A page of the bitmap that can't be read: sectors 32768 to 65535.
start_anew "bad bitmap page"
unload
table cow "0 $cow_sectors dust $cow_loop 0 512"
for ((i = 24; i < 32; i++)); do
	dmsetup message cow 0 addbadblock $i >/dev/null
done
dmsetup message cow 0 enable
load ubd0=/dev/mapper/cow
check "bad bitmap page: attached" test -b /dev/ubda
refuse "bad bitmap page: a read that needs it fails" dd if=/dev/ubda of=read skip=40000 count=8 iflag=direct status=none
refuse "bad bitmap page: so does a write" dd if=/dev/zero of=/dev/ubda seek=40000 count=8 oflag=direct status=none
check "bad bitmap page: others can be read" dd if=/dev/ubda of=read bs=4096 count=4096 iflag=direct status=none
check "bad bitmap page: and written" faults fill /dev/ubda state --start 0 --most 4
check "bad bitmap page: and flushed" flush
dmsetup message cow 0 disable
check "bad bitmap page: all can be read when the cause is gone" faults check /dev/ubda state
check "bad bitmap page: and written and flushed" faults tries /dev/ubda state --ops "$ops" --seed page
refuse "bad bitmap page: the unit was read-only" said read-only

# Data that can't be read: one page of it.
start_anew "bad data"
faults fill /dev/ubda state --start 1280 --most 1 >/dev/null
flush
unload
table cow "0 $cow_sectors dust $cow_loop 0 512"
data=$(model info cow.img data_offset)
dmsetup message cow 0 addbadblock $((data / 512 + 1280 + 8)) >/dev/null
dmsetup message cow 0 enable
load ubd0=/dev/mapper/cow
refuse "bad data: its read fails" dd if=/dev/ubda of=read skip=1288 count=1 iflag=direct status=none
check "bad data: the page before it can be read" dd if=/dev/ubda of=read skip=1280 count=8 iflag=direct status=none
check "bad data: the page behind it too" dd if=/dev/ubda of=read skip=1296 count=8 iflag=direct status=none
dmsetup message cow 0 disable
check "bad data: all when the cause is gone" faults check /dev/ubda state
refuse "bad data: the unit was read-only" said read-only

unload
gone cow
gone back

plan
