#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A device that stalls, below a COW file or its backing file: what needs it
# waits, for minutes if it must, and no longer than the device; all else goes on.
# Who attaches a file on it can be killed, and so can who asks for other files of a
# unit in use.
# Where the guest's clock counts instructions, a minute in which nothing happens
# takes no time.
#
# vm: --icount
# kernel: release

. "$(dirname "$0")/lib.sh"
. "$e2e/faults.bash"

# What waits here is meant to.
echo 0 >/proc/sys/kernel/hung_task_timeout_secs

# stall NAME, go_on NAME
stall() {
	dmsetup suspend --noflush --nolockfs "$1"
}
go_on() {
	dmsetup resume --noudevsync "$1"
}

# device NAME FILE
device() {
	loop=$(losetup --show -f "$2")
	dmsetup create --noudevsync "$1" --table "0 $(blockdev --getsz "$loop") linear $loop 0"
	dmsetup mknodes "$1"
}

# started COMMAND...: in the background, as one of those that will wait.
waiters=()
started() {
	"$@" &
	waiters+=($!)
}

# wait_all NAME: all of them wait, and have done so for more than a minute; then
# the device NAME goes on, and they end well.
wait_all() {
	local pid wrong=
	sleep 70
	for pid in "${waiters[@]}"; do
		grep -q '^State:.*[DS]' "/proc/$pid/status" 2>/dev/null || wrong+=" $pid"
	done
	is "$what: whoever needs it waits" "$wrong" ""
	go_on "$1"
	for pid in "${waiters[@]}"; do
		wait "$pid" || wrong+=" $pid: $?"
	done
	is "$what: and ends well when it goes on" "$wrong" ""
	waiters=()
}

head -c 4M /dev/urandom >back.img
device back back.img
model make-cow cow.img "$loop" --name /dev/mapper/back --shape none \
	--mtime "$(stat -c %Y /dev/mapper/back)"
truncate -s 5M cow.img
device cow cow.img
truncate -s 1M plain

for direct in 0 1; do
	what="direct_io=$direct"
	rm -f state
	load direct_io=$direct ubd0=/dev/mapper/cow "ubd1=$work/plain"
	faults fill /dev/ubda state --start 0 --most 2 >/dev/null
	mark
	stall cow
	started dd if=/dev/zero of=/dev/ubda count=0 conv=fsync status=none
	[ $direct = 0 ] || started dd if=/dev/ubda of=read bs=64k count=2 iflag=direct status=none
	started dd if=back.img of=/dev/ubda bs=64k seek=40 skip=40 count=1 oflag=direct,dsync \
		conv=notrunc status=none
	check "$what: another unit goes on" dd if=/dev/zero of=/dev/ubdb bs=64k count=8 \
		oflag=direct conv=fsync status=none
	check "$what: reads of the backing file go on" \
		cmp <(dd if=back.img bs=64k skip=48 count=1 status=none) \
		<(dd if=/dev/ubda bs=64k skip=48 count=1 iflag=direct status=none)
	[ $direct = 1 ] || check "$what: reads from memory do" \
		dd if=/dev/ubda of=read bs=64k count=2 iflag=direct status=none
	wait_all cow
	stall back
	echo 3 >/proc/sys/vm/drop_caches
	started dd if=/dev/ubda of=read bs=64k skip=20 count=1 iflag=direct status=none
	check "$what: with the backing file stalled, writes and flushes go on" \
		faults fill /dev/ubda state --start 1024 --most 2
	check "$what: and what is in the COW file is read" faults check /dev/ubda state --flush
	wait_all back
	check "$what: what was waited for is right" \
		cmp read <(dd if=back.img bs=64k skip=20 count=1 status=none)
	check "$what: all is there" faults check /dev/ubda state --flush
	refuse "$what: the unit was read-only" said read-only
	unload
done

# A unit that is being attached meanwhile: it can be looked at, its attach can be
# killed, and nobody else is concerned.

mountpoint -q /sys/kernel/config || mount -t configfs config /sys/kernel/config
config=/sys/kernel/config/ubd

# refused NAME COMMAND...: as busy.
refused() {
	local what=$1 said
	shift
	if said=$(LC_ALL=C "$@" 2>&1) || [[ $said != *"Device or resource busy" ]]; then
		not_ok "$what" "$said"
	else
		ok "$what"
	fi
}

# attaching NAME FILE: unit 0, while the device held stands still.
attaching() {
	local what=$1 unit=$config/0 attacher
	mkdir "$unit"
	echo "$2" >"$unit/file"
	stall held
	bash -c "echo 1 >$unit/power" &
	attacher=$!
	until [ "$(cat "$unit/state")" = attaching ]; do
		sleep 0.1
	done
	# Whatever does not wait for the device has come to an end by then.
	sleep 70
	is "$what: the attach waits" "$(cat "$unit/state")" attaching
	is "$what: it is not attached" "$(cat "$unit/power")" 0
	is "$what: its settings can be read" "$(cat "$unit/file")" "$2"
	refused "$what: they cannot be changed" bash -c "echo x >$unit/file"
	refused "$what: it is not attached twice" bash -c "echo 1 >$unit/power"
	refused "$what: nor detached" bash -c "echo 0 >$unit/power"
	refused "$what: nor is its folder removed" rmdir "$unit"
	check "$what: another unit has a folder" mkdir $config/17
	echo "$work/plain" >$config/17/file
	check "$what: and is attached" bash -c "echo 1 >$config/17/power"
	check "$what: and can be read" cmp /dev/ubdr plain
	check "$what: and is removed" rmdir $config/17
	kill -KILL $attacher
	wait $attacher 2>/dev/null
	is "$what: who attaches it can be killed" $? 137
	refused "$what: its file is not given back yet" bash -c "echo 1 >$unit/power"
	go_on held
	until [ "$(cat "$unit/state")" = detached ]; do
		sleep 0.1
	done
	ok "$what: when the device goes on, it is detached"
	check "$what: with no disk" test ! -e /dev/ubda
	check "$what: and can be attached" bash -c "echo 1 >$unit/power"
	check "$what: and detached" rmdir "$unit"
}

load
rm -f held.img
truncate -s 16M held.img
device held held.img
attaching "a device" /dev/mapper/held
mkfs.ext4 -q /dev/mapper/held
mkdir mnt
mount /dev/mapper/held mnt
cp plain mnt/image
# Nothing of the file is in memory.
umount mnt
mount /dev/mapper/held mnt
attaching "a file" "$work/mnt/image"
check "a file: its file system is given back" umount mnt
unload

# A unit in use that is to get other files, on the device, or with what has to be written
# there first: who asks for that can be killed, and the unit is what it was.

sys=/sys/block/ubda/ubd

# files: those of unit 0.
files() {
	cat $sys/file $sys/backing_file $config/0/{file,backing_file} | xargs
}

# asked NAME ATTRIBUTE PATH STATE [COMMAND...]: for the file at PATH; meanwhile the
# command succeeds.
asked() {
	local what=$1 unit=$config/0 attribute=$2 path=$3 state=$4 asker before
	shift 4
	before=$(files)
	stall held
	bash -c "echo $path >$unit/$attribute" &
	asker=$!
	until [ "$(cat $unit/state)" = "$state" ]; do
		sleep 0.1
	done
	sleep 70
	is "$what: it waits" "$(cat $unit/state $sys/state | xargs)" "$state ok"
	[ $# = 0 ] || check "$what: the unit goes on" "$@"
	refused "$what: nothing else is done meanwhile" bash -c "echo $work/other >$unit/snapshot"
	refused "$what: nor is it detached" bash -c "echo 0 >$unit/power"
	kill -KILL $asker
	wait $asker 2>/dev/null
	is "$what: who asks for it can be killed" $? 137
	refused "$what: which is not its end yet" bash -c "echo $work/other >$unit/snapshot"
	go_on held
	until [ "$(cat $unit/state)" = attached ]; do
		sleep 0.1
	done
	check "$what: when the device goes on, it says why" grep -q "who asked for it was killed" $unit/last_error
	is "$what: it has the files that it had" "$(files)" "$before"
	[ "$attribute" = switch ] || is "$what: the new one is empty" "$(stat -c %s "$path")" 0
	check "$what: the disk is as it was" faults check /dev/ubda state --flush
	check "$what: it can be had then" bash -c "echo $path >$unit/$attribute"
	is "$what: without a message" "$(cat $unit/last_error)" ""
	check "$what: the disk is the same" faults check /dev/ubda state --flush
}

# over_back: unit 0, of a new COW file over back.img, with something in it.
over_back() {
	rm -f state asked
	echo "$work/asked" >$config/0/file
	echo "$work/back.img" >$config/0/backing_file
	echo 1 >$config/0/power
	faults fill /dev/ubda state --most 2 >/dev/null
}

load
mount /dev/mapper/held mnt
cp back.img mnt/back
sync -f mnt
mkdir $config/0
over_back
asked "a snapshot on it" snapshot "$work/mnt/top" snapshotting \
	eval "faults fill /dev/ubda state --start 1024 --most 2 && faults check /dev/ubda state --flush"
# Something to be flushed, which the last close would do.
exec 3<>/dev/ubda
faults fill /dev/ubda state --start 2048 --most 2 >/dev/null
asked "a snapshot of what is on it" snapshot "$work/next" snapshotting
exec 3<&-
echo 0 >$config/0/power
over_back
# Nothing of the other file is in memory.
echo 3 >/proc/sys/vm/drop_caches
asked "another backing file on it" switch "$work/mnt/back" switching \
	eval "faults fill /dev/ubda state --start 1024 --most 2 && faults check /dev/ubda state --flush"
is "another backing file on it: it is used" "$(files)" "$work/asked $work/mnt/back $work/asked $work/mnt/back"
check "another backing file on it: and read" cmp -n 65536 -i $((3 << 20)) /dev/ubda back.img
rmdir $config/0
umount mnt
unload

plan
