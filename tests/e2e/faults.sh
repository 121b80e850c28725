#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Disks that fail below the COW file and below the backing file: the request
# that fails has its error, others go on, what was durable stays readable, and
# when the cause is gone the unit goes on; except after a failed sync, when
# nobody knows what is on disk: then it is read-only, and says so.
# kernel: release

. "$(dirname "$0")/lib.sh"
. "$e2e/faults.bash"

# The COW file is a device, for a file system would have its own say.

truncate -s 64M back.img
back_loop=$(losetup --show -f back.img)
# table NAME TABLE...: make the device, or give it another table while it is in use.
table() {
	local name=$1
	shift
	if dmsetup info "$name" >/dev/null 2>&1; then
		printf '%s\n' "$@" | dmsetup load "$name"
		dmsetup suspend --noflush --nolockfs "$name"
		dmsetup resume --noudevsync "$name"
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
# good_cow, bad_cow: all of the device; bad_bitmap: writes of the bitmap only.
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

# start_anew: both devices are good and the unit is attached.
start_anew() {
	! loaded || unload
	[ -z "${cow_loop:-}" ] || gone cow
	[ -z "${cow_loop:-}" ] || losetup -d "$cow_loop"
	cp --sparse=always cow.start cow.img
	cow_loop=$(losetup --show -f cow.img)
	good_back
	good_cow
	rm -f state
	load ubd0=/dev/mapper/cow
	check "$1: attached" test -b /dev/ubda
	check "$1: written and flushed" faults tries /dev/ubda state --ops 64
	check "$1: all of it" faults check /dev/ubda state --flush
	cp state durable
	mark
}

flush() {
	dd if=/dev/zero of=/dev/ubda count=0 conv=fsync status=none
}

# A sync that fails: of data, and of the bitmap alone.
for what in cow bitmap; do
	start_anew "bad $what"
	bad_$what
	check "bad $what: writes that end in memory" faults tries /dev/ubda state --ops 7 --seed bad
	refuse "bad $what: the flush fails" flush
	says "bad $what: the unit is read-only from now on" /dev/mapper/cow sync failed read-only
	is "bad $what: and says so where users look" "$(cat /sys/block/ubda/ubd/state)" failed
	refuse "bad $what: so does the next" flush
	good_cow
	refuse "bad $what: and one when the cause is gone" flush
	refuse "bad $what: a write fails" model write /dev/ubda /dev/null 0 4096 x
	check "bad $what: what was durable can be read" faults check /dev/ubda durable --later state
	unload
	load ubd0=/dev/mapper/cow
	check "bad $what: a new attach finds what was durable, and of the rest old or new" \
		faults check /dev/ubda durable --later state
	check "bad $what: and is written and flushed" faults tries /dev/ubda durable --ops 32
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
table fs "0 $bad linear $fs_loop 0" "$bad 8 flakey $fs_loop $bad 0 1 1 error_writes" \
	"$((bad + 8)) $((fs_sectors - bad - 8)) linear $fs_loop $((bad + 8))"
dd if=new of=/dev/ubda bs=64k oflag=direct status=none
refuse "bad block of a file system: the flush fails" flush
table fs "0 $fs_sectors linear $fs_loop 0"
unload
mark
load "ubd0=$work/mnt/cow"
says "bad block of a file system: attached again, the log tells" "$work/mnt/cow" "has failed before"
check "bad block of a file system: what is read is on the disk" \
	cmp -n 4096 /dev/ubda <(dd if="$fs_loop" bs=4k skip=$((bad / 8)) count=1 iflag=direct status=none)
check "bad block of a file system: which is what was durable" cmp -n 4096 /dev/ubda old
dd if=new of=/dev/ubda bs=64k oflag=direct conv=fsync status=none
check "bad block of a file system: what is written now is on it" \
	cmp -n 4096 new <(dd if="$fs_loop" bs=4k skip=$((bad / 8)) count=1 iflag=direct status=none)
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
check "bad backing file: writes and flushes go on" faults tries /dev/ubda state --ops 64 --seed back
check "bad backing file: and are right" faults check /dev/ubda state --flush
good_back
check "bad backing file: it can be read when the cause is gone" \
	dd if=/dev/ubda of=read bs=4096 skip=9000 count=1 iflag=direct status=none
check "bad backing file: and has what it had" cmp -n 4096 read /dev/zero
refuse "bad backing file: the unit was read-only" said read-only

# A page of the bitmap that can't be read: sectors 32768 to 65535.
start_anew "bad bitmap page"
unload
gone cow
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
check "bad bitmap page: and written and flushed" faults tries /dev/ubda state --ops 64 --seed page
refuse "bad bitmap page: the unit was read-only" said read-only

# Data that can't be read: one page of it.
start_anew "bad data"
faults fill /dev/ubda state --start 1280 --most 1 >/dev/null
flush
unload
gone cow
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

# A device that stalls, for as long as it likes.
start_anew "stalled"
unload
truncate -s 1M plain
load ubd0=/dev/mapper/cow "ubd1=$work/plain"
faults fill /dev/ubda state --start 0 --most 2 >/dev/null
dmsetup suspend --noflush --nolockfs cow
flush 2>flushed &
flusher=$!
check "stalled: another unit goes on" dd if=/dev/zero of=/dev/ubdb bs=64k count=8 oflag=direct conv=fsync status=none
check "stalled: reads from memory go on" dd if=/dev/ubda of=read bs=64k count=2 iflag=direct status=none
check "stalled: the flush waits" kill -0 $flusher
dmsetup resume --noudevsync cow
wait $flusher
is "stalled: it ends when the device goes on" "$?" 0
check "stalled: all is there" faults check /dev/ubda state --flush
refuse "stalled: the unit was read-only" said read-only
unload
gone cow
gone back

plan
