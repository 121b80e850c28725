#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A COW file on a full file system: writes that need space fail with ENOSPC,
# all others and all reads go on, and freed space brings the rest back. Nor can
# a COW file be made there, or be switched to another backing file.
# kernel: release
# smp: 1

. "$(dirname "$0")/lib.sh"
. "$e2e/faults.bash"

truncate -s 64M back

# filled: mnt has space for nothing more.
filled() {
	cat /dev/zero >>mnt/filler 2>/dev/null
	# What was too little for a large piece.
	dd if=/dev/zero of=mnt/filler bs=1k oflag=append conv=notrunc status=none 2>/dev/null
}

# no_new NAME WORDS: no COW file is made, and the log says why.
no_new() {
	local what=$1 words=$2
	mark
	load "ubd0=$work/mnt/cow:$work/back"
	check "$what: no COW file is made" test ! -e /dev/ubda
	says "$what: the log says why" "$work/mnt/cow" "$words" ENOSPC
	unload
}

# no_space NAME: for a COW file that is made or switched in mnt.
no_space() {
	local what="$1, no space"
	filled
	no_new "$what" "cannot be made a COW file"
	rm mnt/filler
	load "ubd0=$work/mnt/cow:$work/back"
	check "$what: made when there is some" test -b /dev/ubda
	dd if=there of=/dev/ubda bs=64k conv=fsync status=none
	unload

	# Behind the header's first page there is a hole, as in many a copy, and the
	# header's end is to go there.
	cp --preserve=timestamps back "$long/back2"
	cp --preserve=timestamps back "$long/back3"
	for to in back2 back3; do
		cp --sparse=always mnt/cow mnt/copy
		mv mnt/copy mnt/cow
		filled
		mark
		load "ubd0=$work/mnt/cow:$work/$long/$to"
		check "$what: not switched to $to" test ! -e /dev/ubda
		says "$what: the log says why" "$work/mnt/cow" "cannot be switched" ENOSPC
		unload
		rm mnt/filler
		load "ubd0=$work/mnt/cow:$work/$long/$to"
		is "$what: switched to $to when there is some" "$(cat /sys/block/ubda/ubd/backing_file)" \
			"$work/$long/$to"
		check "$what: with what it had" cmp -n 65536 /dev/ubda there
		unload
		is "$what: the header names $to" "$(model info mnt/cow backing)" "$work/$long/$to"
	done
	rm mnt/cow
}

# Paths that take more than one sector of the header.
long=$(printf '%0200d/%0200d/%0200d' 1 2 3)
mkdir -p "$long"
head -c 64k /dev/urandom >there

# full NAME: with the COW file in mnt.
full() {
	local what=$1 pieces more before flushed
	rm -f state
	load "ubd0=$work/mnt/cow:$work/back"
	check "$what: attached" test -b /dev/ubda || return
	check "$what: written while there is space" faults tries /dev/ubda state --ops 40
	# What somebody else takes, and will give back.
	dd if=/dev/zero of=mnt/filler bs=1M count=6 status=none
	sync
	mark
	pieces=$(faults fill /dev/ubda state --start 32768)
	check "$what: a write that needs space fails with ENOSPC, after $pieces that were done" \
		test "$pieces" -gt 0
	check "$what: all that was done is there" faults check /dev/ubda state
	check "$what: what has space can be written" faults tries /dev/ubda state --again --ops "$(scaled 60)"
	check "$what: and is there" faults check /dev/ubda state
	before=$(df --output=avail mnt | tail -n 1)
	check "$what: discarded" faults discard /dev/ubda state --start 32768 --count 4096
	sync -f mnt/cow
	check "$what: a discard frees space" test "$(df --output=avail mnt | tail -n 1)" -gt "$before"
	pieces=$(faults fill /dev/ubda state --start 98304)
	check "$what: which can be used: $pieces writes done until the next that fails" test "$pieces" -gt 0
	rm mnt/filler
	sync
	check "$what: a flush when there is space again" faults check /dev/ubda state --flush
	more=$(faults tries /dev/ubda state --ops "$(scaled 100)" --seed more)
	is "$what: nothing fails when there is space again" "${more##*: }" none
	refuse "$what: nothing was said of a failed sync" said "read-only from now on"
	unload
	load "ubd0=$work/mnt/cow"
	check "$what: all that was done is there after a reload" faults check /dev/ubda state
	unload

	# The sector has its place, its bit has none: unless the driver has already
	# flushed it, after a few seconds and by itself. The last close flushes, too.
	while :; do
		rm -f mnt/cow state
		load "ubd0=$work/mnt/cow:$work/back"
		exec {held}</dev/ubda
		dd if=/dev/zero of=mnt/place bs=64k count=2 conv=fsync status=none
		cat /dev/zero >mnt/filler 2>/dev/null
		rm mnt/place
		sync
		faults fill /dev/ubda state --start 98304 --most 1 >/dev/null
		filled
		flushed=$(dd if=/dev/zero of=/dev/ubda count=0 conv=fsync status=none 2>&1) || break
		exec {held}<&-
		rm mnt/filler
		unload
	done
	is "$what: a flush that needs space for the bitmap fails" "${flushed##*: }" "No space left on device"
	check "$what: what it was for can be read" faults check /dev/ubda state
	exec {held}<&-
	rm mnt/filler
	if [ "$what" = ext4 ]; then
		written() {
			[ "$(cat /sys/block/ubda/ubd/dirty_pages)" = 0 ]
		}
		wait_for written
		ok "$what: when there is space it is written with nobody asking for it"
	fi
	check "$what: the next flush, when there is space, does not" faults check /dev/ubda state --flush
	unload
	load "ubd0=$work/mnt/cow"
	check "$what: and makes all durable" faults check /dev/ubda state
	unload
	rm mnt/cow
}

mkdir mnt
truncate -s 24M device
mkfs.ext4 -q device
mount -o loop device mnt
full ext4
no_space ext4
umount mnt

mount -t tmpfs -o size=16M full mnt
full tmpfs
no_space tmpfs
# Nor for its name.
mount -o remount,nr_inodes=2 mnt
touch mnt/other
no_new "tmpfs, no inode" "cannot be created"
mount -o remount,nr_inodes=0 mnt
load "ubd0=$work/mnt/cow:$work/back"
check "tmpfs, no inode: made when there is one" test -b /dev/ubda
unload
umount mnt

plan
