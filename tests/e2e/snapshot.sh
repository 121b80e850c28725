#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Snapshots of units in use: a new COW file over the files that a unit has. What
# a crash makes of that is in crash_files.sh.
# previous: yes
# daily: debug

. "$(dirname "$0")/lib.sh"
. "$e2e/configfs.bash"

# shellcheck disable=SC2119
load

# snapshot UNIT PATH
snapshot() {
	echo "$2" >"$config/$1/snapshot"
}

# unchanged NAME: unit 0 is as it was before a snapshot that failed.
unchanged() {
	is "$1: the unit has what it had" "$(settings 0) $(cat $config/0/state)" "$before attached"
	check "$1: it is written as before" model write /dev/ubda cow.want $((RANDOM % 100 * 4096)) 4096 "$1"
	check "$1: and reads as before" model cmp /dev/ubda cow.want --direct
}

mkdir $config/0
fails "a unit that is not attached" "No such device or address" snapshot 0 "$work/top"
told "a unit that is not attached" 0 "no snapshot" "not attached"
check "no file is made for it" test ! -e top

# A COW file, in use.

attach 0 file="$work/cow" backing_file="$work/back" serial=S-1 limit=1048576
exec 3<>/dev/ubda
model write /dev/ubda cow.want 8192 65536 first
cp cow.want moment.want
mark
check "a snapshot" snapshot 0 "$work/top"
says "the message" ubda snapshot "$work/top" "is written from now on"
told "a snapshot" 0
is "it is told by the folder" "$(settings 0)" "$work/top $work/cow S-1  0 1"
is "and by sysfs" "$(cat /sys/block/ubda/ubd/{file,backing_file,state,cow_sectors} | xargs)" \
	"$work/top $work/cow $work/back ok 0"
sum cow >cow.sum
is "what was written is in the file below" "$(model merge cow merged --backing back; sum merged)" "$(sum moment.want)"
check "the disk reads as before" model cmp /dev/ubda cow.want --direct
model write /dev/ubda cow.want 4096 16384 second
check "what is written then reads as written" model cmp /dev/ubda cow.want --direct
is "and is in the new file" "$(cat /sys/block/ubda/ubd/cow_sectors)" 32
is "the limit is the new file's" "$(cat $config/0/limit /sys/block/ubda/ubd/limit | xargs)" "1048576 1048576"
fails "it holds" "No space left on device" dd if=/dev/zero of=/dev/ubda bs=1M count=2 oflag=direct status=none
dd if=/dev/ubda of=cow.want bs=512 count=4096 conv=notrunc iflag=direct status=none
is "the file below stays as it is" "$(sum cow)" "$(cat cow.sum)"
check "its lock is shared" model lock cow shared
refuse "and not to be had by who writes" model lock cow exclusive
refuse "the new one's is not shared" model lock top shared
attach 1 file="$work/clone" backing_file="$work/cow"
check "another unit is a clone of the moment" model cmp /dev/ubdb moment.want --direct
cp moment.want clone.want
check "it can be written" model write /dev/ubdb clone.want 0 12288 clone
check "and does not change the first one" model cmp /dev/ubda cow.want --direct
power 1 0
rmdir $config/1
exec 3<&-
power 0 0
is "the settings are those of the new file" "$(settings 0)" "$work/top $work/cow S-1  0 0"
model merge top merged --backing moment.want
check "the new file has what was written since" cmp merged cow.want
check "the unit can be attached by them" power 0 1
check "and has the same disk" model cmp /dev/ubda cow.want --direct
check "reset takes it back to the moment" set_up 0 reset=1
cp moment.want cow.want
check "all of it" model cmp /dev/ubda cow.want --direct

# What can't be.

power 0 0
set_up 0 limit=0
power 0 1
before=$(settings 0)
echo something >there
for path in there top cow back .; do
	fails "$path, which is there" "File exists" snapshot 0 "$work/$path"
done
told "a folder" 0 "$work/." "is there already"
is "what is there stays" "$(cat there)" something
unchanged "what is there"
fails "no folder" "No such file or directory" snapshot 0 "$work/none/top"
told "no folder" 0 "$work/none/top" ENOENT
fails "no path" "$invalid" snapshot 0 ""
fails "a path that may go on" "File name too long" snapshot 0 "$(printf '/%04095d' 0)"
exec 3<top
unchanged "no path"
exec 3<&-
mkdir small
mount -t tmpfs -o nr_blocks=1 small small
fails "no space" "No space left on device" snapshot 0 "$work/small/top"
told "no space" 0 "$work/small/top" "cannot be made" ENOSPC
is "the file that was made is empty" "$(stat -c %s small/top)" 0
unchanged "no space"
mount -o remount,nr_blocks=100 small
check "with space it is made of the empty one" snapshot 0 "$work/small/top"
check "which has the disk" model cmp /dev/ubda cow.want --direct
before=$(settings 0)
check "a path that is relative" sh -c "cd small && echo next >$config/0/snapshot"
is "is told as an absolute one" "$(cat $config/0/file)" "$work/small/next"
for level in {5..8}; do
	check "COW file number $level" snapshot 0 "$work/small/$level"
done
before=$(settings 0)
fails "one more" "$invalid" snapshot 0 "$work/small/9"
told "one more" 0 "$work/small/8" "8 COW files" limit
check "no file is made for it" test ! -e small/9
unchanged "one more"
power 0 0
check "8 can be attached" power 0 1
check "and have the disk" model cmp /dev/ubda cow.want --direct
power 0 0
set_up 0 file="$work/top" flags=r
power 0 1
fails "a read-only unit" "Read-only file system" snapshot 0 "$work/new"
check "no file is made for that either" test ! -e new
power 0 0
rm -f small/*
umount small

# Sealed: nobody has it open for writing any more.

truncate -s 64M fs.img
mkfs.ext4 -q fs.img
mkdir fs
mount -o loop fs.img fs
cp --preserve=timestamps back fs
attach 0 file="$work/fs/cow" backing_file="$work/back" flags=
cp back.want cow.want
exec 3<>/dev/ubda
check "written" model write /dev/ubda cow.want 98304 20480 sealed
refuse "a file in use keeps its file system writable" mount -o remount,ro fs
check "a snapshot on another file system" snapshot 0 "$work/new"
check "a file below does not" mount -o remount,ro fs
check "the disk reads as before" model cmp /dev/ubda cow.want --direct
exec 3<&-
power 0 0
mount -o remount,rw fs

# A plain image, whose contents look like a COW file.

model make-cow looks back --shape random
cp looks looks.want
attach 0 file="$work/looks" backing_file= serial= flags=d
exec 3<>/dev/ubda
cp "$work/looks" looks.want
model write /dev/ubda looks.want 8192 8192 plain
check "a plain image" snapshot 0 "$work/first"
is "has a COW file then" "$(settings 0)" "$work/first $work/looks   0 1"
check "of the same disk" model cmp /dev/ubda looks.want --direct
check "is written" model write /dev/ubda looks.want 16384 5120 plain2
exec 3<&-
power 0 0
check "is attached again" power 0 1
check "and reads as written" model cmp /dev/ubda looks.want --direct
power 0 0

# One that grew, which its disk has not taken up.

cp plain.want grown
attach 0 file="$work/grown" backing_file=
truncate -s +4096 grown
fails "an image that has grown" "$invalid" snapshot 0 "$work/new2"
told "an image that has grown" 0 "$work/grown" "another length" rescan
echo 1 >/sys/block/ubda/ubd/rescan
check "is taken when its disk has" snapshot 0 "$work/new2"
refuse "and can't grow then" sh -c "echo 1 >/sys/block/ubda/ubd/rescan"
power 0 0

# On a file system that is on the unit itself, which would wait for itself.

truncate -s 24M disk
mkfs.ext4 -q disk
attach 0 file="$work/disk" backing_file=
mkdir own
mount /dev/ubda own
fails "the unit's own disk" "$invalid" snapshot 0 "$work/own/top"
told "the unit's own disk" 0 "own disk"
check "with a file system on it" snapshot 0 "$work/disk.top"
echo hello >own/hello
sync
check "which goes on" grep -q hello own/hello
umount own
check "its file system is whole" e2fsck -fn /dev/ubda
power 0 0
check "and below it, too" e2fsck -fp disk
rm -f disk disk.top

# Under load: every byte is known, and every file that was sealed is a moment.

# load_and_snapshots NAME FOLDER DIRECT
load_and_snapshots() {
	local what=$1 in=$2 direct=$3 i least writer wrong=
	rm -f "$in"/l? "$in"/c? "$in/base" counter*
	truncate -s 4M "$in/base"
	attach 0 file="$in/l0" backing_file="$in/base" direct_io="$direct" flags=
	python3 "$e2e/moments.py" write /dev/ubda counter &
	writer=$!
	for ((i = 1; i <= 6; i++)); do
		wait_for test -s counter
		least=$(tr -d ' ' <counter)
		snapshot 0 "$in/l$i" || wrong+=" $i"
		is "$what: it is told" "$(cat $config/0/file)" "$in/l$i"
		attach 1 file="$in/c$i" backing_file="$in/l$((i - 1))" direct_io="$direct"
		result "$what: file $i is a moment" python3 "$e2e/moments.py" check /dev/ubdb counter "$least"
		power 1 0
		# There is more to write of.
		wait_for sh -c "[ \$(tr -d ' ' <counter) -gt $((least + 50)) ]"
	done
	touch counter.stop
	wait $writer
	is "$what: the writer has no error" $? 0
	rm counter.stop
	is "$what: all were made" "$wrong" ""
	check "$what: the disk is whole" python3 "$e2e/moments.py" whole /dev/ubda counter
	power 0 0
	power 0 1
	check "$what: when it is attached again, too" python3 "$e2e/moments.py" whole /dev/ubda counter
	power 0 0
	note "$(dmesg --notime | grep -o 'requests were held for .*' | tail -n 6 | xargs)"
}
load_and_snapshots tmpfs "$work" 0
load_and_snapshots "ext4, direct I/O" "$work/fs" 1
rmdir $config/1
umount fs

# Disks that fail: below the new file, and below the old one.

# table NAME TABLE: make the device, or give it another table while it is in use.
table() {
	if [ -b "/dev/mapper/$1" ]; then
		dmsetup load "$1" --table "$2"
		dmsetup resume --noflush --nolockfs --noudevsync "$1"
	else
		dmsetup create --noudevsync "$1" --table "$2"
		dmsetup mknodes "$1"
	fi
}
for what in new old; do
	truncate -s 0 "$what.img"
	truncate -s 24M "$what.img"
done
new_loop=$(losetup --show -f new.img) old_loop=$(losetup --show -f old.img)
new_size=$(blockdev --getsz "$new_loop") old_size=$(blockdev --getsz "$old_loop")
mkfs.ext4 -q new.img
good_new="0 $new_size linear $new_loop 0" bad_new="0 $new_size flakey $new_loop 0 0 1 1 error_writes"
good_old="0 $old_size linear $old_loop 0" bad_old="0 $old_size flakey $old_loop 0 0 1 1 error_writes"
table new "$good_new"
mkdir bad
mount /dev/mapper/new bad
rm -f cow top
attach 0 file="$work/cow" backing_file="$work/back" direct_io=0 flags=
before=$(settings 0)
cp back.want cow.want
table new "$bad_new"
fails "a new file that can't be written" "Input/output error" snapshot 0 "$work/bad/top"
told "a new file that can't be written" 0 "$work/bad/top" EIO
is "the unit has not failed" "$(cat /sys/block/ubda/ubd/state)" ok
unchanged "a new file that can't be written"
power 0 0
umount bad
table new "$good_new"
dmsetup remove --noudevsync new

table old "$good_old"
model make-cow cow.start back --shape none
dd if=cow.start of=/dev/mapper/old bs=64k conv=fsync status=none
attach 0 file=/dev/mapper/old backing_file="$work/back"
check "a COW file on a device" model write /dev/ubda cow.want 0 4096 device
check "takes a snapshot" snapshot 0 "$work/top"
cp back.want cow.want
model write /dev/ubda cow.want 0 4096 device
exec 3<>/dev/ubda
check "which is written" model write /dev/ubda cow.want 8192 4096 device
exec 3<&-
power 0 0
rm top
attach 0 file=/dev/mapper/old backing_file="$work/back"
dd if=/dev/ubda of=old.want bs=1M iflag=direct status=none
exec 3<>/dev/ubda
dd if=/dev/zero of=/dev/ubda bs=4k seek=40 count=4 oflag=direct status=none
table old "$bad_old"
mark
fails "what was written can't be made durable" "Input/output error" snapshot 0 "$work/top"
told "what was written can't be made durable" 0 flushed EIO
is "the unit has failed, as by any flush" "$(cat /sys/block/ubda/ubd/state)" failed
is "it has the file that it had" "$(cat $config/0/file)" /dev/mapper/old
is "the new one is empty" "$(stat -c %s top)" 0
fails "another one" "Input/output error" snapshot 0 "$work/top"
exec 3<&-
table old "$good_old"
power 0 0
dmsetup remove --noudevsync old
losetup -d "$new_loop" "$old_loop"

# Snapshots, resets, opens, and power, by many at once: nothing but the end is
# certain.

rm -f race*
attach 0 file="$work/race0" backing_file="$work/back" flags=
rounds=$(scaled 20)
snapshots() {
	local i
	for ((i = 0; i < rounds; i++)); do
		snapshot 0 "$work/race$1.$i"
		snapshot 0 "$work/race.$i"
	done
}
cycles() {
	local i
	for ((i = 0; i < rounds; i++)); do
		power 0 0
		power 0 1
		set_up 0 reset=1
		[ $((i % 4)) != 0 ] || echo 1 >$config/0/detach_on_close
	done
}
uses() {
	local i
	for ((i = 0; i < rounds * 2; i++)); do
		dd if=/dev/zero of=/dev/ubda bs=64k count=4 seek="$1" oflag=direct conv=nocreat,fsync
		cat $config/0/{file,backing_file,state,snapshot,power} /sys/block/ubda/ubd/*
		echo 0 >/sys/block/ubda/ubd/low_space
		rmdir $config/0
	done
}
at_once "$work/race0" "snapshots 1" "snapshots 2" cycles cycles "uses 1" "uses 2"
set_up 0 detach_on_close=0
power 0 0
rmdir $config/0

plan
