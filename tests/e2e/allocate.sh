#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Space that is taken ahead of the writes: that it is there, that it is no more
# than there may be, and that no byte of the disk is another one for it.
# daily: release

. "$(dirname "$0")/lib.sh"
. "$e2e/configfs.bash"
. "$e2e/ahead.bash"

# shellcheck disable=SC2119
load

for value in -1 1x 1 65536 196608 $((32 << 20)) ""; do
	fails "'$value' is no length of pieces" "$invalid" set_up 0 allocate="$value"
done

# mkfs.xfs makes file systems this small for its own tests only.
export TEST_DIR=x TEST_DEV=x QA_CHECK_FS=x
mkdir mnt
# made FS [SIZE]: a file system at mnt.
made() {
	rm -f image
	truncate -s "${2:-200M}" image
	case $1 in
	ext4) mkfs.ext4 -q -b 4096 -m 0 -E lazy_itable_init=0,lazy_journal_init=0 image ;;
	xfs) mkfs.xfs -q image ;;
	esac
	mount -o loop image mnt
	cow=$work/mnt/cow
}

model pattern back $((12 * mib + 512)) space

# zeroed POSITION BYTES: so in the file want.
zeroed() {
	dd if=/dev/zero of=want bs="$2" count=1 oflag=seek_bytes seek="$1" conv=notrunc status=none
}
# ahead NAME: of a unit with pieces of a MiB.
ahead() {
	local what=$1
	is "$what: the pieces" "$(cat $config/0/allocate $attributes/allocate | xargs)" "1048576 1048576"
	fails "$what: they stay, while the unit is attached" "$busy" set_up 0 allocate=0
	model expect back want
	# The bitmap takes a block, and a file system some for what it knows of the file.
	grown "$what: the first write" 1024 1088 model write /dev/ubda want $((3 * mib + 12288)) 4096 first
	is "$what: the first write: with zeros" "$(unwritten)" 0
	grown "$what: more of that piece" 0 0 model write /dev/ubda want $((3 * mib + 512)) 8192 more
	grown "$what: over an end" 2048 2112 model write /dev/ubda want $((6 * mib - 512)) 1024 over
	grown "$what: a long one fills what it fills" 256 320 \
		model write /dev/ubda want $((7 * mib)) $((256 << 10)) long
	grown "$what: and so do those behind it" 4 8 model write /dev/ubda want $((8 * mib - 4096)) 4096 behind
	grown "$what: the end of the disk" 0 8 model write /dev/ubda want $((12 * mib)) 512 last
	is "$what: what is used is what was written" "$(cat $attributes/used)" 280064
	check "$what: a discard" blkdiscard -o $((3 * mib)) -l $mib /dev/ubda
	zeroed $((3 * mib + 512)) 8192
	zeroed $((3 * mib + 12288)) 4096
	check "$what: zeros" blkdiscard -z -o $((10 * mib + 4096)) -l 8192 /dev/ubda
	zeroed $((10 * mib + 4096)) 8192
	check "$what: and writes behind them" model write /dev/ubda want $((10 * mib + 512)) 4096 behind
	check "$what: of what was discarded, too" model write /dev/ubda want $((3 * mib + 1024)) 512 again
	check "$what: all is right" model cmp /dev/ubda want --direct
	power 0 0
	check "$what: so is the file" model cmp-cow "$cow" want --new --backing "$work/back"
	power 0 1
	grown "$what: what has its space needs none" 0 0 model write /dev/ubda want $((5 * mib)) 4096 new
	check "$what: all is right again" model cmp /dev/ubda want --direct
	check "$what: reset" set_up 0 reset=1
	model expect back want
	is "$what: reset: the pieces" "$(cat $attributes/allocate)" 1048576
	grown "$what: reset: the first write" 1000 1088 model write /dev/ubda want $((3 * mib + 12288)) 4096 first
	power 0 0
}

# limited NAME: no piece is taken that would be above the limit.
limited() {
	local what=$1 i before
	rm "$cow"
	attach 0 backing_file="$work/back" limit=$((3 * mib)) || return
	before=$(taken "$cow")
	for i in {0..11}; do
		put $((i * mib + 4096)) 4096
	done
	blockdev --flushbufs /dev/ubda
	note "$what: $(($(taken "$cow") - before)) KiB"
	check "$what: what is taken ahead is within the limit" \
		test $(($(taken "$cow") - before)) -ge 2048 -a "$(taken "$cow")" -le $((3072 + 12 * 4))
	is "$what: and all is written" "$(cat $attributes/used)" $((12 * 4096))
	power 0 0
	set_up 0 limit=0
}

# full NAME: on a full file system there is no more than there would be.
full() {
	local what=$1 left pages
	rm "$cow"
	attach 0 backing_file="$work/back" || return
	left=$(df --output=avail -B 1K mnt | tail -n 1)
	fallocate -l $((left - 1024))K mnt/filler
	sync
	grown "$what: a page" 4 128 put $((2 * mib)) 4096
	# As many as without pieces, all over the disk. The bitmap takes a block, and the
	# file system some.
	fio --name=fill --filename=/dev/ubda --direct=1 --rw=randwrite --bs=4k --size=12M \
		--ioengine=psync >/dev/null 2>&1
	pages=$(($(cat $attributes/used) / 4096))
	note "$what: $pages pages"
	check "$what: all that there is" test $pages -ge 128 -a $pages -le 256
	rm mnt/filler
	sync
	check "$what: and more, when there is more" put $((11 * mib + 524288)) 4096
	power 0 0
}

# Where all is slow, each file system and each way once.
ways=("ext4 0" "ext4 1" "xfs 0" "xfs 1") crowded=("ext4 0" "ext4 1" "xfs 1")
[ -z "$debug" ] || { ways=("ext4 1" "xfs 0") crowded=("xfs 1"); }
for how in "${ways[@]}"; do
	read -r fs direct <<<"$how"
	what="$fs, direct_io=$direct"
	made "$fs"
	attach 0 file="$cow" backing_file="$work/back" direct_io="$direct" allocate=$mib
	is "$what: attached" "$(cat $attributes/direct_io)" "$direct"
	ahead "$what"
	limited "$what, a limit"
	full "$what, no space"
	umount mnt
done

# on_still FS: a new file system at mnt, on a device that can be made to stand still.
on_still() {
	made "$1"
	umount mnt
	device=$(losetup --show -f image)
	dmsetup create --noudevsync still --table "0 $(blockdev --getsz "$device") linear $device 0"
	dmsetup mknodes still
	mount /dev/mapper/still mnt
}

off_still() {
	umount mnt
	dmsetup remove --noudevsync still
	losetup -d "$device"
}

# A write to a piece that is being filled waits for that, or zeros would come behind
# it: the device stands still meanwhile.
waiting() {
	awk '$2 ~ /^\(ubda/ && $3 == "D"' /proc/[0-9]*/stat 2>/dev/null | wc -l
}
for fs in ext4 xfs; do
	what="$fs, two in one piece"
	on_still "$fs"
	attach 0 file="$cow" backing_file="$work/back" direct_io=1 allocate=$((16 * mib))
	model expect back want
	dd if=/dev/urandom of=two bs=4k count=2 status=none
	writers=()
	dmsetup suspend --noflush --nolockfs --noudevsync still
	for cpu in 0 1; do
		taskset -c $cpu dd if=two of=/dev/ubda bs=4k count=1 skip=$cpu seek=$((cpu * 11 * 256)) oflag=direct \
			status=none &
		writers[cpu]=$!
		# The thread of the first is in the file system then, and that of the second waits for it.
		for _ in {1..200}; do
			[ "$(waiting)" -le $cpu ] || break
			sleep 0.05
		done
	done
	is "$what: the second waits for the first" "$(waiting)" 2
	dmsetup resume --noudevsync still
	wait "${writers[0]}" && wait "${writers[1]}"
	is "$what: both are written" $? 0
	for cpu in 0 1; do
		dd if=two of=want bs=4k count=1 skip=$cpu seek=$((cpu * 11 * 256)) conv=notrunc status=none
	done
	check "$what: and what they wrote is there" model cmp /dev/ubda want --direct
	power 0 0
	check "$what: so it is in the file" model cmp-cow "$cow" want --new --backing "$work/back"
	off_still
done

# Zeros of a piece that is filled later wait for a write that is under way there, or they
# would come behind it: until it has ended its blocks are holes to who looks.
on_still xfs
rm -f "$cow"
attach 0 file="$cow" backing_file="$work/back" direct_io=1 allocate=auto
model expect back want
# at POSITION FILE BYTES: onto the disk and into want.
at() {
	dd if="$2" of=/dev/ubda bs="$3" count=1 oflag=direct,seek_bytes seek="$1" status=none &&
		dd if="$2" of=want bs="$3" count=1 oflag=seek_bytes seek="$1" conv=notrunc status=none
}
dd if=/dev/urandom of=long bs=256K count=1 status=none
dd if=/dev/urandom of=short bs=4k count=1 status=none
what="under way"
check "$what: a part of the piece is written" at $((3 * mib)) short 4096
before=$(taken "$cow")
has_blocks() {
	[ "$(taken "$cow")" -ge $((before + 256)) ]
}
dmsetup suspend --noflush --nolockfs --noudevsync still
(taskset -cp 0 $BASHPID >/dev/null && at $((3 * mib + 262144)) long 262144) &
writers=($!)
check "$what: a long write has its blocks" wait_for has_blocks
before=$(waiting)
waits() {
	[ "$(waiting)" -gt "$before" ]
}
(taskset -cp 1 $BASHPID >/dev/null && at $((3 * mib + 786432)) short 4096) &
writers+=($!)
check "$what: a short one that has the piece filled waits" wait_for waits
dmsetup resume --noudevsync still
wait "${writers[0]}" && wait "${writers[1]}"
is "$what: both are written" $? 0
check "$what: and are there" model cmp /dev/ubda want --direct
power 0 0
check "$what: so they are in the file" model cmp-cow "$cow" want --new --backing "$work/back"
off_still

# Where zeros can't be written, those that could are taken away again: what is left
# of a file system is where every second 64 KiB of the device fail.
made ext4 40M
umount mnt
device=$(losetup --show -f image)
sectors=$(blockdev --getsz "$device")
# table LINE...: the device bad has this table, also while it is in use.
table() {
	if [ -b /dev/mapper/bad ]; then
		printf '%s\n' "$@" | dmsetup load bad
		dmsetup resume --noflush --nolockfs --noudevsync bad
	else
		printf '%s\n' "$@" | dmsetup create --noudevsync bad
		dmsetup mknodes bad
	fi
}
table "0 $sectors linear $device 0"
mount /dev/mapper/bad mnt
attach 0 file="$cow" backing_file="$work/back" direct_io=1 allocate=$mib
fallocate -l 8M mnt/room
sync
start=$(filefrag -v mnt/room | awk '$1 == "0:" { print $4 * 8 }')
cat /dev/zero >mnt/filler 2>/dev/null
sync
sync
lines=("0 $start linear $device 0")
for ((at = start; at < start + (8 << 11); at += 256)); do
	lines+=("$at 128 error" "$((at + 128)) 128 linear $device $((at + 128))")
done
[ "$at" = "$sectors" ] || lines+=("$at $((sectors - at)) linear $device $at")
table "${lines[@]}"
rm mnt/room
sync
before=$(taken "$cow")
# Where its block is it need not be good either.
put $((3 * mib)) 4096 2>/dev/null && note "a bad device: the write itself is done"
after=$(taken "$cow")
check "a bad device: $((after - before)) KiB are left of a piece whose zeros fail" test $((after - before)) -le 16
table "0 $sectors linear $device 0"
power 0 0
umount mnt
dmsetup remove --noudevsync bad
losetup -d "$device"

# By itself: where first writes are many. Where the zeros would cost as much as they
# gain, none.
made xfs
rm -f "$cow"
attach 0 file="$cow" backing_file="$work/back" direct_io=1 allocate=auto
is "by itself: set" "$(cat $config/0/allocate $attributes/allocate | xargs)" "auto auto"
model expect back want
# some OFFSET: eight writes, with something left out between them.
some() {
	local i
	for i in {0..7}; do
		model write /dev/ubda want $((3 * mib + $1 + i * 32768)) 4096 "some$1$i" || return
	done
}
grown "by itself: a write" 4 64 model write /dev/ubda want $((3 * mib + 12288)) 4096 one
grown "by itself: another" 960 1088 model write /dev/ubda want $((3 * mib + 65536)) 4096 two
is "by itself: with zeros" "$(unwritten)" 0
grown "by itself: and more" 0 0 some 0
grown "by itself: elsewhere" 4 64 model write /dev/ubda want $((5 * mib)) 4096 elsewhere
grown "by itself: long ones" 512 640 model write /dev/ubda want $((6 * mib)) $((512 << 10)) long
check "by itself: all is right" model cmp /dev/ubda want --direct
power 0 0
attach 0 direct_io=0
grown "by itself: nothing through the page cache" 32 128 some $((6 * mib))
power 0 0
check "by itself: so is the file" model cmp-cow "$cow" want --new --backing "$work/back"
umount mnt

# filled: all of the disk.
filled() {
	[ "$(cat $attributes/allocated)" = "$(stat -c %s back)" ]
}
# All of the disk, by a unit in use: with requests meanwhile, and with an end on the way.
for how in "ext4 0" "xfs 1"; do
	read -r fs direct <<<"$how"
	what="$fs, direct_io=$direct, all"
	made "$fs"
	rm -f "$cow"
	model make-cow "$cow" back --shape 8 --disk want
	attach 0 file="$cow" direct_io="$direct" backing_file="" allocate=all
	is "$what: set" "$(cat $config/0/allocate $attributes/allocate | xargs)" "all all"
	check "$what: reads and writes meanwhile" model exercise /dev/ubda want --mode direct \
		--ops "$(scaled 200)" --writes 70 --max 65536 --seed "$how"
	power 0 0
	check "$what: ended on the way" model cmp-cow "$cow" want
	power 0 1
	check "$what: done" wait_for filled
	check "$what: $(taken "$cow") KiB are there" test "$(taken "$cow")" -ge $((12 << 10))
	check "$what: all is right" model cmp /dev/ubda want --direct
	grown "$what: then nothing more is needed" 0 0 model write /dev/ubda want $((5 * mib)) 4096 new
	power 0 0
	check "$what: so is the file" model cmp-cow "$cow" want
	umount mnt
done
made ext4 40M
attach 0 file="$cow" backing_file="$work/back" allocate=0
power 0 0
fallocate -l $(($(df --output=avail -B 1K mnt | tail -n 1) - 4096))K mnt/filler
mark
attach 0 allocate=all
check "all, with no space for it: says so" \
	wait_for said "ubda: the space of its disk can't be taken any further"
check "all, with no space for it: stays short of it" test "$(cat $attributes/allocated)" -lt $((4 * mib))
check "all, with no space for it: it is written as ever" put $((11 * mib)) 4096
power 0 0
umount mnt

# Concurrent writers, of whom each is the first in some piece: every round has
# new files, some with much in them already.
model pattern back $((8 * mib + 1536)) many
ops=$(scaled 250)
for how in "${crowded[@]}"; do
	read -r fs direct <<<"$how"
	made "$fs"
	for round in "131072 none" "1048576 1" "131072 8" "16777216 random" "auto none"; do
		read -r piece shape <<<"$round"
		what="$fs, direct_io=$direct, pieces of $piece, shape $shape"
		rm -f "$cow"
		model make-cow "$cow" back --shape "$shape" --disk want
		cp --sparse=always want "$work/want.kept"
		attach 0 file="$cow" backing_file="$work/back" direct_io="$direct" allocate="$piece"
		is "$what: attached" "$(cat $attributes/allocate)" "$piece"
		check "$what: reads and writes at once" model exercise /dev/ubda want --mode direct --ops "$ops" \
			--writes 70 --max 65536 --seed "$how $round"
		check "$what: all is right" model cmp /dev/ubda want --direct
		power 0 0
		check "$what: so is the file" model cmp-cow "$cow" want
	done
	rm "$cow"
	attach 0 backing_file="$work/back" allocate=131072
	check "$fs, direct_io=$direct: writes and trims, four at a time" \
		fio --name=global --filename=/dev/ubda --direct=1 --ioengine=io_uring --iodepth=16 --bs=4k --size=2M \
		--verify=crc32c --verify_fatal=1 --group_reporting --output-format=terse \
		--name=a --rw=randwrite --name=b --rw=randwrite --offset=2M --name=c --rw=randtrimwrite --offset=4M \
		--name=d --rw=randwrite --bs=512 --size=512k --offset=6M
	power 0 0
	umount mnt
done

# Where there is nothing to take.
attach 0 file="$work/tmpfs.cow" backing_file="$work/back" direct_io=0 allocate=$mib
is "on tmpfs nothing is taken" "$(cat $config/0/allocate $attributes/allocate | xargs)" "0 0"
power 0 0
fails "a plain image" "$invalid" attach 0 file="$work/plain" backing_file= allocate=$mib
told "a plain image" 0 "$work/plain" "cannot have limit, low_space or allocate"
check "without it is attached" attach 0 allocate=0
power 0 0
rmdir $config/0

plan
