#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# What a unit tells of itself: that its space runs low, and that it has failed;
# once each.
# daily: debug

. "$(dirname "$0")/lib.sh"
. "$e2e/configfs.bash"

attributes=/sys/block/ubda/ubd
# shellcheck disable=SC2119
load

# watch: have what is told of unit 0 come into the file told.
watch() {
	: >told
	python3 "$e2e/watch.py" ubda >told &
	watcher=$!
	wait_for grep -q ready told
}
# heard LINES: so much was told by now.
heard() {
	until [ "$(wc -l <told)" -gt "$1" ]; do
		read -rt 0.05 -u 9
	done
}
# tells NAME WHAT...: this was told since the last time, in any order.
tells() {
	local what=$1 want
	shift
	want=$(printf '%s\n' "$@")
	heard $#
	is "$what" "$(sed 1d told | sort)" "$(sort <<<"$want")"
	kill $watcher
	wait $watcher 2>/dev/null
}
mkfifo never
exec 9<>never
# put SECTOR SECTORS
put() {
	dd if=/dev/urandom of=/dev/ubda bs=$(($2 * 512)) count=1 oflag=direct,seek_bytes \
		seek=$(($1 * 512)) status=none
}
# space VALUE: it becomes this.
space() {
	[ "$(cat $attributes/space)" = "$1" ]
}
# limit BYTES
limit() {
	echo "$1" >$attributes/limit
}

# Of a limit.
attach 0 file="$work/cow" backing_file="$work/back" limit=$((1 << 20)) low_space=$((256 << 10))
is "the threshold" "$(cat $config/0/low_space $attributes/low_space | xargs)" "262144 262144"
is "there is space" "$(cat $attributes/space)" ok
watch
put 0 1536
is "there is just enough" "$(cat $attributes/space)" ok
put 1536 1
check "less than that" wait_for space low
heard 2
put 1537 1
put 1538 8
limit $((2 << 20))
check "raised, there is space again" wait_for space ok
put 1600 512
limit $((1 << 20))
check "lowered, there is not" wait_for space low
# Before it is other again: what is told is what it is when the watcher looks.
heard 4
echo 0 >$attributes/low_space
check "with no threshold there is space" wait_for space ok
put 16 16
echo x 2>/dev/null >$attributes/low_space
is "what is no number changes nothing" "$(cat $attributes/low_space)" 0
tells "told each time that it was crossed, once" "poll space low" "uevent UBD_SPACE=low" \
	"poll space low" "uevent UBD_SPACE=low"
power 0 0
power 0 1
check "a unit that comes with too little says so" wait_for space low
power 0 0

# Of the file system. What others take is seen when something is written.
mkdir small
mount -t tmpfs -o size=16M small small
truncate -s 32M large
attach 0 file="$work/small/cow" backing_file="$work/large" limit=0 low_space=$((8 << 20))
is "a file system with space" "$(cat $attributes/space)" ok
watch
put 0 8192
is "there is enough" "$(cat $attributes/space)" ok
put 8192 2048
put 10240 2048
put 12288 2048
put 14336 2048
put 16384 4096
check "less than that: the file system" wait_for space low
heard 2
blkdiscard -l $((8 << 20)) /dev/ubda
# Somebody has to look.
echo $((4 << 20)) >$attributes/low_space
check "space given back" wait_for space ok
tells "told once" "poll space low" "uevent UBD_SPACE=low"
watch
fallocate -l 12M small/filler 2>/dev/null || dd if=/dev/zero of=small/filler bs=64k status=none 2>/dev/null
put 30000 16384
put 48000 8192
check "others have taken it: the write that finds none" wait_for space low
tells "told then" "poll space low" "uevent UBD_SPACE=low"
power 0 0
umount small

# A unit that fails.
cp cow slow
truncate -s %512 slow
loop=$(losetup -f --show slow)
dmsetup create --noudevsync bad --table "0 $(blockdev --getsz "$loop") linear $loop 0"
dmsetup mknodes bad
attach 0 file=/dev/mapper/bad backing_file= low_space=0
watch
exec 3</dev/ubda
put 2000 8
dmsetup load bad --table "0 $(blockdev --getsz "$loop") error"
dmsetup suspend --noflush --nolockfs bad
dmsetup resume --noudevsync bad
blockdev --flushbufs /dev/ubda 2>/dev/null
exec 3<&-
wait_for grep -q failed $attributes/state
blockdev --flushbufs /dev/ubda 2>/dev/null
tells "a unit that fails says so" "poll state failed" "uevent UBD_STATE=failed"
rmdir $config/0
dmsetup remove --noudevsync bad
losetup -d "$loop"

# A plain image.
fails "a plain image has none" "$invalid" attach 0 file="$work/plain" low_space=4096
told "a plain image has none" 0 "cannot have limit, low_space or allocate"
rmdir $config/0

plan
