#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A device that stalls, below a COW file or its backing file: what needs it
# waits, for minutes if it must, and no longer than the device; all else goes on.
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

plan
