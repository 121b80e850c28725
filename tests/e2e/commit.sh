#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Units in use that get other files below the one that they write: the COW file
# there is merged into the file below it, or another backing file takes the place
# of the one that there is. What a crash makes of that is in crash_files.sh.
# previous: yes
# daily: debug

. "$(dirname "$0")/lib.sh"
. "$e2e/configfs.bash"

# shellcheck disable=SC2119
load
unavailable="Resource temporarily unavailable"

# snapshot UNIT PATH, commit UNIT, switch UNIT PATH
snapshot() {
	echo "$2" >"$config/$1/snapshot"
}
commit() {
	echo 1 >"$config/$1/commit"
}
switch() {
	echo "$2" >"$config/$1/switch"
}

# ended UNIT: wait for the end of a commit; how it was.
ended() {
	wait_for grep -qx 0 "$config/$1/commit"
	cat "$config/$1/commit_state"
}

# slowly UNIT: a commit that goes no further than its first piece.
slowly() {
	echo 1 >"$config/$1/commit_rate"
	commit "$1"
}

# committed NAME: a commit of unit 0 comes to its end, and the disk is the same.
committed() {
	check "$1: a commit" commit 0
	is "$1: comes to its end" "$(ended 0)" "done"
	is "$1: without a message" "$(cat $config/0/last_error)" ""
	check "$1: the disk reads as before" model cmp /dev/ubda cow.want --direct
}

# same NAME: unit 0 has the files that it had, and the same disk, now and when it is
# attached again.
same() {
	is "$1: the unit has what it had" "$(cat /sys/block/ubda/ubd/{file,backing_file,state} | xargs)" "$before"
	check "$1: it is written as before" model write /dev/ubda cow.want $((RANDOM % 100 * 4096)) 4096 "$1"
	check "$1: and reads as before" model cmp /dev/ubda cow.want --direct
	again "$1"
}

# again NAME
again() {
	power 0 0
	check "$1: it is attached again" power 0 1
	check "$1: and has the same disk" model cmp /dev/ubda cow.want --direct
}

remember() {
	before=$(cat /sys/block/ubda/ubd/{file,backing_file,state} | xargs)
}

# written SEED: all over the disk, but for its end.
written() {
	local i
	for i in {0..7}; do
		model write /dev/ubda cow.want $((i * 253952 + 4096)) 20480 "$1.$i"
	done
}

mkdir $config/0
fails "a unit that is not attached" "No such device or address" commit 0
told "a unit that is not attached" 0 "nothing is committed" "not attached"
is "there was none" "$(cat $config/0/commit{,_state,_progress,_rate} | xargs)" "0 none 0 0 0"

# A COW file into a COW file.

attach 0 file="$work/cow" backing_file="$work/back"
fails "one COW file" "$invalid" commit 0
told "one COW file" 0 "$work/cow" "no COW file below"
written first
snapshot 0 "$work/sealed"
written second
model write /dev/ubda cow.want 1048576 131072 second
snapshot 0 "$work/top"
written third
cp --preserve=timestamps back elsewhere
sum sealed >sealed.sum
remember
exec 3<>/dev/ubda
mark
check "a slow commit begins" slowly 0
says "the message" ubda commit "$work/sealed" "is being merged into" "$work/cow"
is "it is told" "$(cat $config/0/{commit,commit_state,state,power} | xargs)" "1 running committing 1"
wait_for sh -c "! grep -q '^0 ' $config/0/commit_progress"
read -r at total <$config/0/commit_progress
check "and how far it is ($at of $total)" test "$at" -gt 0 -a "$at" -lt "$total"
is "of all that is there" "$total" $(($(model info sealed set) * 512))
check "the disk reads as before" model cmp /dev/ubda cow.want --direct
written fourth
check "what is written meanwhile reads as written" model cmp /dev/ubda cow.want --direct
refuse "nobody else gets the lower file" model lock cow shared
check "the sealed one can be read" model lock sealed shared
for what in "power 0 1" "commit 0" "snapshot 0 $work/new" "switch 0 $work/elsewhere" "set_up 0 reset=1" \
	"rmdir $config/0" "power 0 0"; do
	# shellcheck disable=SC2086
	fails "meanwhile: $what" "$busy" $what
done
told "meanwhile" 0 "not detached" "committing"
exec 3<&-
refuse "meanwhile: unloading" unload
check "it is cancelled" set_up 0 commit=0
is "and says so" "$(cat $config/0/{commit,commit_state,state} | xargs)" "0 cancelled attached"
same "cancelled"
check "to cancel none is nothing" set_up 0 commit=0
exec 3<>/dev/ubda
slowly 0
written fifth
check "the rate can be changed" set_up 0 commit_rate=0
mark
is "it comes to its end" "$(ended 0)" "done"
says "the message of its end" ubda commit "$work/sealed" "is all in" "$work/cow"
is "all is done" "$(cat $config/0/commit_progress)" "$total $total"
is "the sealed file is not used any more" "$(cat /sys/block/ubda/ubd/{file,backing_file} | xargs)" "$work/top $work/cow $work/back"
is "the folder has the new path" "$(cat $config/0/backing_file)" "$work/cow"
check "the disk reads as before" model cmp /dev/ubda cow.want --direct
written sixth
check "what is written then reads as written" model cmp /dev/ubda cow.want --direct
check "others can read the lower file again" model lock cow shared
check "and have the sealed one" model lock sealed exclusive
exec 3<&-
power 0 0
is "the header names the lower file" "$(model info top backing)" "$work/cow"
model merge cow below --backing back
model merge top merged --backing below
check "the files have what the disk had" cmp merged cow.want
dd if=sealed of=sealed.data bs=4096 skip=1 status=none
rm sealed
check "it is attached without the sealed file" power 0 1
again "without the sealed file"

# A COW file into a plain one, which nobody else may have.

cp back.want clone.want
attach 1 file="$work/clone" backing_file="$work/back"
model write /dev/ubdb clone.want 4096 4096 clone
remember
fails "a backing file that others have" "$unavailable" commit 0
told "a backing file that others have" 0 "$work/back" "another process or unit has it"
same "a backing file that others have"
power 1 0
sum back >back.before
mtime=$(stat -c %Y back)
slowly 0
check "a commit into a plain file is cancelled" set_up 0 commit=0 commit_rate=0
fails "a COW file over what has changed" "$invalid" power 1 1
told "a COW file over what has changed" 1 "modified"
again "cancelled in a plain file"
committed "into a plain file"
is "nothing is between them" "$(cat /sys/block/ubda/ubd/{file,backing_file} | xargs)" "$work/top $work/back"
check "its time has changed" test "$(stat -c %Y back)" != "$mtime"
check "and what is in it" test "$(sum back)" != "$(cat back.before)"
is "it is as long as before" "$(stat -c %s back)" $(((2 << 20) + 100))
again "into a plain file"
power 0 0
model merge top merged --backing back
check "the files have the disk" cmp merged cow.want
fails "a COW file over what was merged into" "$invalid" power 1 1
rmdir $config/1
power 0 1

# What can't be.

fails "nothing to merge" "$invalid" commit 0
fails "neither 0 nor 1" "$invalid" set_up 0 commit=x
fails "no rate" "$invalid" set_up 0 commit_rate=-1
snapshot 0 "$work/upper"
power 0 0
set_up 0 flags=c
power 0 1
fails "flag c" "$invalid" commit 0
told "flag c" 0 "$work/back" "flag c"
power 0 0
set_up 0 flags=r
power 0 1
fails "flag r" "Read-only file system" commit 0
power 0 0
set_up 0 flags=
power 0 1
mv back moved
cp moved back
remember
fails "a path that leads elsewhere" "$invalid" commit 0
told "a path that leads elsewhere" 0 "$work/back" "another file"
rm back
fails "a path that leads nowhere" "No such file or directory" commit 0
mv moved back
same "a path that leads elsewhere"
truncate -s %512 tail.img
model pattern tail.img 1000 tail
attach 1 file="$work/tail.cow" backing_file="$work/tail.img"
dd if=/dev/urandom of=/dev/ubdb bs=512 count=2 oflag=direct status=none
snapshot 1 "$work/tail.top"
fails "what a plain file has no place for" "$invalid" commit 1
told "what a plain file has no place for" 1 "$work/tail.cow" "behind the end of the disk"
check "zeros are fine" dd if=/dev/zero of=/dev/ubdb bs=512 count=2 oflag=direct status=none
snapshot 1 "$work/tail.upper"
commit 1
is "with a COW file between them it can be" "$(ended 1)" "done"
commit 1
is "and then into the plain one" "$(ended 1)" "done"
power 1 0
check "which has what it can have" cmp tail.img <(head -c 1000 /dev/zero)

# At the last close, and a unit that is not open.

attach 1 file="$work/tail.upper" backing_file=
dd if=/dev/urandom of=/dev/ubdb bs=512 count=1 oflag=direct status=none
snapshot 1 "$work/tail.new"
slowly 1
check "at the last close: wanted" set_up 1 detach_on_close=1
is "at the last close: not before the end" "$(cat $config/1/state)" committing
set_up 1 commit_rate=0
wait_for grep -qx detached $config/1/state
ok "at the last close: it goes then"
rmdir $config/1

# Nothing that is wrong with the lower file is with the unit.

mkdir small
mount -t tmpfs -o size=1M small small
power 0 0
rm -f cow top upper
cp back.want cow.want
model expect back cow.want
model make-cow small/cow back --shape none
attach 0 file="$work/small/cow" backing_file="$work/back"
snapshot 0 "$work/top"
model write /dev/ubda cow.want 0 1572864 big
snapshot 0 "$work/upper"
remember
commit 0
is "no space: it fails" "$(ended 0)" failed
told "no space" 0 "$work/small/cow" ENOSPC
same "no space"
mount -o remount,size=4M small
committed "space"
again "space"
power 0 0

# Sparse files stay sparse.

truncate -s 64M sparse
attach 0 file="$work/sparse.cow" backing_file="$work/sparse"
blkdiscard -z /dev/ubda
snapshot 0 "$work/sparse.top"
check "zeros are merged" commit 0
is "all of them" "$(ended 0)" "done"
check "and take no space" test "$(stat -c %b sparse)" -lt 512
power 0 0
rm -f sparse*

# Under load: what is written meanwhile is there, with files of all kinds.

truncate -s 96M fs.img
mkdir fs
# load_and_commits NAME DIRECT
load_and_commits() {
	local what=$1 direct=$2 i writer wrong=
	mount -o loop fs.img fs
	rm -rf counter* fs/l? fs/base fs/moved
	truncate -s 4M fs/base
	attach 0 file="$work/fs/l0" backing_file="$work/fs/base" direct_io="$direct" flags=
	python3 "$e2e/moments.py" write /dev/ubda counter &
	writer=$!
	for i in {1..6}; do
		wait_for sh -c "[ \$(tr -d ' ' <counter) -gt $((i * 40)) ]"
		snapshot 0 "$work/fs/l$i" || wrong+=" snapshot $i"
		commit 0 || wrong+=" commit $i"
		[ "$(ended 0)" = "done" ] || wrong+=" $i: $(cat $config/0/last_error)"
		if [ "$i" = 3 ]; then
			cp --preserve=timestamps fs/base fs/moved
			switch 0 "$work/fs/moved" || wrong+=" switch"
		fi
	done
	touch counter.stop
	wait $writer
	is "$what: the writer has no error" $? 0
	rm counter.stop
	is "$what: all is done" "$wrong" ""
	is "$what: two files are left" "$(cat /sys/block/ubda/ubd/{file,backing_file} | xargs)" "$work/fs/l6 $work/fs/moved"
	check "$what: the disk is whole" python3 "$e2e/moments.py" whole /dev/ubda counter
	power 0 0
	power 0 1
	check "$what: when it is attached again, too" python3 "$e2e/moments.py" whole /dev/ubda counter
	power 0 0
	umount fs
}
mkfs.ext4 -q fs.img
load_and_commits "ext4" 0
load_and_commits "ext4, direct I/O" 1
TEST_DIR=x TEST_DEV=x QA_CHECK_FS=x mkfs.xfs -q -f fs.img
load_and_commits "xfs, direct I/O" 1

# A file system that is mounted read-only.

mount -o loop fs.img fs
rm -f fs/* top upper
model pattern fs/back $((2 << 20)) back
cp fs/back cow.want
cp cow.want elsewhere
attach 0 file="$work/fs/cow" backing_file="$work/fs/back" direct_io=0
written first
snapshot 0 "$work/top"
mount -o remount,ro fs
remember
fails "a file system that is read-only" "Read-only file system" commit 0
told "a file system that is read-only" 0 "$work/fs/back" "cannot be opened to be written"
same "a file system that is read-only"
mount -o remount,rw fs
committed "a file system that can be written"
power 0 0
rm -f top

# Devices, which have no time that counts; and one that fails.

# table TABLE: make the device "lower", or give it another table while it is in use.
table() {
	if [ -b /dev/mapper/lower ]; then
		dmsetup load lower --table "$1"
		dmsetup resume --noflush --nolockfs --noudevsync lower
	else
		dmsetup create --noudevsync lower --table "$1"
		dmsetup mknodes lower
	fi
}
cp cow.want lower.img
loop=$(losetup --show -f lower.img)
good="0 4096 linear $loop 0" bad="0 4096 flakey $loop 0 0 1 1 error_writes"
table "$good"
attach 0 file="$work/cow1" backing_file=/dev/mapper/lower
written second
snapshot 0 "$work/top"
remember
table "$bad"
commit 0
is "a device that fails: so does it" "$(ended 0)" failed
told "a device that fails" 0 /dev/mapper/lower EIO
is "a device that fails: the unit does not" "$(cat /sys/block/ubda/ubd/state)" ok
table "$good"
same "a device that fails"
committed "a device"
again "a device"
power 0 0
dd if=/dev/mapper/lower of=merged iflag=direct bs=64k status=none
model merge top merged.top --backing merged
check "it has what was merged" cmp merged.top cow.want
dmsetup remove --noudevsync lower
losetup -d "$loop"
rm -f top cow1

# Another backing file.

cp back cow.want
model expect back cow.want
cp --preserve=timestamps back elsewhere
attach 0 file="$work/cow2" backing_file="$work/back"
written first
exec 3<>/dev/ubda
mark
check "a switch" switch 0 "$work/elsewhere"
says "the message" ubda "switched to backing file" "$work/elsewhere"
is "it is told" "$(cat /sys/block/ubda/ubd/{file,backing_file} | xargs) $(cat $config/0/backing_file)" \
	"$work/cow2 $work/elsewhere $work/elsewhere"
check "the disk reads as before" model cmp /dev/ubda cow.want --direct
check "the old file is nobody's" model lock back exclusive
check "the new one is read" model lock elsewhere shared
refuse "and nobody's to write" model lock elsewhere exclusive
exec 3<&-
again "a switch"
touch -d 2001-02-03 back
check "a file of another time" switch 0 "$work/back"
again "a file of another time"
model make-cow over elsewhere --shape none
check "a COW file of the same disk" switch 0 "$work/over"
is "has its own backing file" "$(xargs </sys/block/ubda/ubd/backing_file)" "$work/over $work/elsewhere"
again "a COW file of the same disk"
remember
head -c 100000 back >short
fails "a file of another length" "$invalid" switch 0 "$work/short"
told "a file of another length" 0 "$work/short" "100000"
fails "no file" "No such file or directory" switch 0 "$work/none"
fails "no path" "$invalid" switch 0 ""
fails "the COW file itself" "$invalid" switch 0 "$work/cow2"
told "the COW file itself" 0 "backing file of itself"
same "what can't be a backing file"
power 0 0
attach 0 file="$work/plain" backing_file=
fails "a plain image" "$invalid" switch 0 "$work/plain"
told "a plain image" 0 "no backing file"
fails "a plain image: commit" "$invalid" commit 0
power 0 0

# A unit with swap on it, and one that memory was swapped out to.

# swap_refused NAME
swap_refused() {
	local what
	for what in "snapshot 0 $work/new" "commit 0" "switch 0 $work/elsewhere"; do
		mark
		# shellcheck disable=SC2086
		fails "$1: ${what%% *}" "$busy" $what
		told "$1: ${what%% *}" 0 "memory is swapped out to it" EBUSY
		says "$1: ${what%% *}: the log" ubda "memory is swapped out to it"
	done
	check "$1: no file is made" test ! -e new
	is "$1: the unit has what it had" "$(cat /sys/block/ubda/ubd/{file,backing_file,state} | xargs)" "$before"
}
# swapped_out: pages, since the boot.
swapped_out() {
	awk '$1 == "pswpout" { print $2 }' /proc/vmstat
}
rm -f top upper
attach 0 file="$work/swap" backing_file="$work/back"
snapshot 0 "$work/top"
dd if=/dev/urandom of=/dev/ubda bs=64k count=16 oflag=direct status=none
mkswap -q /dev/ubda
remember
swapon /dev/ubda
swap_refused "swap on it"
swapoff /dev/ubda
check "without it a snapshot is made" snapshot 0 "$work/upper"
remember
slowly 0
swapon /dev/ubda
set_up 0 commit_rate=0
is "swap that comes meanwhile: a commit fails" "$(ended 0)" failed
told "swap that comes meanwhile" 0 "memory is swapped out to it" EBUSY
n=$(swapped_out)
check "memory is swapped out" python3 "$e2e/pressure.py" pageout 64
check "to the unit" test "$(swapped_out)" -ge $((n + 32))
swapoff /dev/ubda
swap_refused "swap that was on it"
dd if=/dev/ubda of=swap.want bs=1M iflag=direct status=none
power 0 0
power 0 1
check "attached anew: a commit" commit 0
is "comes to its end" "$(ended 0)" "done"
check "the disk is as it was" model cmp /dev/ubda swap.want --direct
power 0 0
rm -f top upper swap swap.want

# Below a disk that has grown there is a smaller one.

cp --preserve=timestamps back base
cp back cow.want
truncate -s %512 cow.want
attach 0 file="$work/grown0" backing_file="$work/base"
model write /dev/ubda cow.want 8192 65536 small
echo $((4 << 20)) >$config/0/size
snapshot 0 "$work/grown1"
truncate -s 4M cow.want
model write /dev/ubda cow.want $((3 << 20)) 65536 behind
model write /dev/ubda cow.want 4096 8192 within
committed "a disk that has grown"
is "a disk that has grown: the files" "$(cat /sys/block/ubda/ubd/{file,backing_file} | xargs)" "$work/grown1 $work/base"
again "a disk that has grown"
snapshot 0 "$work/grown2"
fails "what has grown does not fit below" "$invalid" commit 0
told "what has grown does not fit below" 0 "$work/base" "another length"
check "what has grown does not fit below: the disk is the same" model cmp /dev/ubda cow.want --direct
power 0 0
rm -f base grown*

# All of it, by many at once: nothing but the end is certain.

rm -f race*
attach 0 file="$work/race0" backing_file="$work/back" flags= commit_rate=0
rounds=$(scaled 16)
snapshots() {
	local i
	for ((i = 0; i < rounds; i++)); do
		snapshot 0 "$work/race.$i"
		commit 0
		switch 0 "$work/elsewhere"
	done
}
cycles() {
	local i
	for ((i = 0; i < rounds; i++)); do
		power 0 0
		power 0 1
		[ $((i % 4)) != 0 ] || set_up 0 reset=1
		set_up 0 commit=0
	done
}
uses() {
	local i
	for ((i = 0; i < rounds * 2; i++)); do
		dd if=/dev/zero of=/dev/ubda bs=64k count=4 seek="$1" oflag=direct conv=nocreat,fsync
		cat $config/0/* /sys/block/ubda/ubd/*
		set_up 0 commit_rate=$((i % 2 * 10000000))
		echo 0 >/sys/block/ubda/ubd/low_space
		rmdir $config/0
	done
}
# Of a unit that was removed nothing is known but its files, of which one may have got
# another file below it than it was made over.
at_once "$work/race" snapshots snapshots cycles "uses 1" "uses 2"
power 0 0
rmdir $config/0
umount fs small

plan
