#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# where: host
#
# Little memory, and the driver above itself: units on files of file systems
# that are on other units, in a machine that is short of memory, swaps to units,
# is frozen and told to sleep. All of it ends, and every byte is right. A
# deadlock is a hung task, which fails the guest.

. "$(dirname "$0")/lib.sh"
. "$e2e/guest.bash"

# mkfs.xfs makes file systems this small for its own tests only.
export TEST_DIR=x TEST_DEV=x QA_CHECK_FS=x

check_ext4() { e2fsck -fn "$1"; }
check_xfs() { xfs_repair -n "$1"; }

# swing NAME FILE: the device NAME is what is in FILE, from now on. All units
# are attached at once; this is how one gets a file that is on another.
declare -A loops
swing() {
	local old=${loops[$1]:-} table
	loops[$1]=$(losetup --show -f "$2")
	table="0 $(blockdev --getsz "${loops[$1]}") linear ${loops[$1]} 0"
	if [ -n "$old" ]; then
		dmsetup load "$1" --table "$table"
		dmsetup suspend --nolockfs "$1"
		dmsetup resume --noudevsync "$1"
		losetup -d "$old"
	else
		dmsetup create --noudevsync "$1" --table "$table"
		dmsetup mknodes "$1"
	fi
}

# gone NAME
gone() {
	dmsetup remove --noudevsync "$1"
	rm -f "/dev/mapper/$1"
	losetup -d "${loops[$1]}"
	unset "loops[$1]"
}

# waiting UNIT [N]: it has writes that have not ended, N of them or more.
waiting() {
	local writes
	read -r _ writes <"/sys/block/ubd$1/inflight"
	[ "$writes" -ge "${2:-1}" ]
}

# files TURN OPTION...: random writes to files in top, whose bytes are known by
# their place and the turn; or, with --verify_only, a look at every one of them.
files() {
	local turn=$1
	shift
	fio --directory=top --name=file --numjobs=3 --ioengine=psync --rw=randwrite --bsrange=4k-64k \
		--size=${mb}M --randseed="$turn" --verify=pattern --verify_pattern="%o\"turn $turn\"" \
		--verify_fatal=1 --verify_state_save=0 "$@"
}

# writes: turn after turn, until told to stop; the file turn has the last one.
# While there is a file hold it does nothing, and there is a file held.
writes() {
	local turn=0
	until [ -e stop ]; do
		if [ -e hold ]; then
			touch held
			wait_for test ! -e hold
			rm held
			continue
		fi
		turn=$((turn + 1))
		files $turn --do_verify=0 --fsync=64 || return
		echo $turn >turn
	done
}

# hold: the load has ended a turn, and starts no other.
hold() {
	touch hold
	until [ -e held ] || ! kill -0 "$load"; do
		sleep 0.05
	done
}

# release: the load goes on.
release() {
	rm hold
	while [ -e held ] && kill -0 "$load"; do
		sleep 0.05
	done
}

# goes_on: the load ends one more turn, or has ended.
goes_on() {
	local last
	last=$(cat turn 2>/dev/null)
	until [ "$(cat turn 2>/dev/null)" != "$last" ] || ! kill -0 "$load"; do
		sleep 0.05
	done 2>/dev/null
	kill -0 "$load"
}

# slept LEVEL N: N times the machine goes as far into its sleep as the level says,
# and comes back.
slept() {
	local i code
	echo 0 >/sys/module/suspend/parameters/pm_test_delay
	echo "$1" >/sys/power/pm_test || return
	for ((i = 0; i < $2; i++)); do
		echo freeze >/sys/power/state || break
	done
	[ $i = "$2" ]
	code=$?
	echo none >/sys/power/pm_test
	return $code
}

# Of ubda, most is one device, and the last 8192 sectors another, which can be
# written while a file system has the one, and has nothing to do with its journal.
split() {
	local rest
	rest=$(($(blockdev --getsz /dev/ubda) - 8192))
	dmsetup create --noudevsync most --table "0 $rest linear /dev/ubda 0"
	dmsetup create --noudevsync spare --table "0 8192 linear /dev/ubda $rest"
	dmsetup mknodes
	dd if=data of=/dev/mapper/spare bs=64k oflag=direct status=none
}

unsplit() {
	dmsetup remove --noudevsync most spare
	rm -f /dev/mapper/{most,spare}
}

# read_everywhere: 64 KiB, which are known, past the page cache, from each
# processor. Where nothing on the disk is dirty in its own page cache: a read
# past that would write it first, and wait for it.
read_everywhere() {
	local cpu skip
	skip=$(($(blockdev --getsize64 /dev/ubda) - 8192 * 512))
	for ((cpu = 0; cpu < $(nproc); cpu++)); do
		taskset -c $cpu dd if=/dev/ubda bs=4k skip=$skip count=16 iflag=direct,skip_bytes status=none |
			cmp -n 65536 - data || return
	done
}

# write_everywhere: eight writes at a time from each processor. They are the jobs
# in writers.
write_everywhere() {
	local cpu
	writers=()
	for ((cpu = 0; cpu < $(nproc); cpu++)); do
		taskset -c $cpu fio --name=waits --filename=/dev/mapper/spare --offset=$((cpu + 1))M --size=64k \
			--rw=write --bs=4k --ioengine=libaio --direct=1 --iodepth=8 >"waits.$cpu" &
		writers+=($!)
	done
}

# stack NAME DIRECT DEVICE FS FS FS: three units, one upon the other.
stack() {
	local what=$1 direct=$2 load flusher writer writers
	shift
	mount "$2" low
	rm -rf low/*
	truncate -s 400M low/back
	truncate -s 200M low/back2
	truncate -s 360M start1
	model make-cow start2 low/back2 --shape none --name "$PWD/low/back2"
	swing one start1
	swing two start2
	load direct_io="$direct" "ubd0=$PWD/low/cow:$PWD/low/back" ubd1=/dev/mapper/one ubd2=/dev/mapper/two
	split
	mkfs."$3" -q /dev/mapper/most
	mount /dev/mapper/most mid
	truncate -s 360M mid/file
	swing one mid/file
	mkfs."$4" -q /dev/ubdb
	mount /dev/ubdb mid2
	cp --sparse=always start2 mid2/file
	swing two mid2/file
	mkfs."$5" -q /dev/ubdc
	mount /dev/ubdc top
	check "$what: three units upon each other, each on the file system on the next" test -b /dev/ubdc

	rm -f stop turn hold held
	writes >log 2>&1 &
	load=$!
	wait_for test -e top/file.2.0
	for ((i = 0; i < $(scaled 4); i++)); do
		sync
		echo 3 >/proc/sys/vm/drop_caches
	done
	check "$what: synced, and caches dropped, under load" kill -0 $load

	# A queue holds 127 requests. If all are writes that wait, a read waits for one
	# of them to end, as for every driver. So the load stands still, and what waits
	# is known: eight writes in each queue, and what a sync of 64 KiB takes.
	hold
	sync
	fsfreeze -f low
	write_everywhere
	wait_for waiting a $((8 * $(nproc)))
	# In one process, whichever of it has to wait first.
	{ printf "%65536s" "" >top/data && exec sync -f top; } &
	flusher=$!
	wait_for sleeps $flusher
	refuse "$what: on a frozen file system fewer writes wait than a queue holds" waiting a 128
	check "$what: reads go on" read_everywhere
	check "$what: and writes wait" waiting a $((8 * $(nproc)))
	check "$what: as does a sync two levels above" kill -0 $flusher
	# From here on as many may wait as the load has.
	release
	fsfreeze -u low
	wait $flusher
	is "$what: which ends when it is thawed" "$?" 0
	for writer in "${writers[@]}"; do
		wait "$writer"
		is "$what: and so do the writes" "$?" 0
	done

	# The machine goes to sleep, as far as a guest can and wake up.
	echo 0 >/sys/power/sync_on_suspend
	echo 1 >/sys/power/freeze_filesystems
	# With lockdep the freezer warns of a task that waits for a frozen file system,
	# whatever that is on: it counts the one that is waited for as held.
	[ -z "$slow" ] || hold
	mark
	check "$what: told to sleep and called off" python3 "$e2e/pressure.py" suspend "$(scaled 4)"
	check "$what: when all file systems were frozen" grep -q "Freezing user space processes aborted" <(messages)
	# Further than that only where the kernel can be told to try. Its devices would
	# take the guest's own root with them: see builtin.sh.
	[ ! -e /sys/power/pm_test ] ||
		check "$what: and when all tasks were" slept freezer 4
	[ -z "$slow" ] || release
	check "$what: the load goes on" goes_on
	touch stop
	wait $load
	is "$what: and ends well" "$?" 0
	sync
	echo 3 >/proc/sys/vm/drop_caches
	check "$what: every byte is right" files "$(cat turn)" --verify_only

	# What holds a file system must let go of it, from the top down.
	umount top
	check "$what: fsck" "check_$5" /dev/ubdc
	sync /dev/ubdc
	swing two start2
	umount mid2
	sync /dev/ubdb
	swing one start1
	umount mid
	unsplit
	check "$what: unloaded" unload
	gone one
	gone two
	umount low
}

# frozen NAME DEVICE: the last close, when the file system with the file is frozen.
frozen() {
	local what=$1 pid
	mount "$2" low
	truncate -s 16M low/image
	load "ubd0=$PWD/low/frozen:$PWD/low/image"
	# As long as somebody has the disk open, what was written need not be durable.
	mkfifo close
	bash -c 'exec 5<>/dev/ubda; : <close' &
	pid=$!
	wait_for test -e /proc/$pid/fd/5
	dd if=data of=/dev/ubda bs=64k oflag=direct status=none
	fsfreeze -f low
	: >close
	wait_for eval "sleeps $pid || grep -q '^State:.*Z' /proc/$pid/status"
	check "$what: the last close waits for a frozen file system" sleeps $pid
	fsfreeze -u low
	wait $pid
	is "$what: and ends when it is thawed" "$?" 0
	rm close
	unload
	load "ubd0=$PWD/low/frozen"
	check "$what: with all that was written" cmp -n "$(stat -c %s data)" data /dev/ubda
	unload
	umount low
}

# swapped: pages written to swap since the boot.
swapped() {
	awk '$1 == "pswpout" { print $2 }' /proc/vmstat
}

# swap_cached FILE: pages of a file on tmpfs that are not in memory.
swap_cached() {
	echo $(($(stat -c %s "$1") / 4096 - $(fincore -bnro pages "$1")))
}

# swap_some DEVICE [OPTION...]: swap out a few pages to it, and back. A flush ends
# when what the driver has to say of that is said.
swap_some() {
	local before
	mkswap -q "$1" && swapon "${@:2}" "$1" || return
	before=$(swapped)
	python3 "$e2e/pressure.py" pageout 256 || return
	[ $(($(swapped) - before)) -ge 128 ] || return
	swapoff "$1" && sync "$1"
}

# advice NAME DEVICE: where swap can hang, the log says so, once for each unit.
# There is memory enough here, so that it does not.
advice() {
	local what=$1 said="memory is swapped out to it"
	mount "$2" low
	rm -rf low/*
	truncate -s 16M low/{holes,cached,filled,reserved,once,back,back2}
	fallocate -l 16M low/reserved
	load direct_io=0x7d "ubd0=$PWD/low/holes" "ubd1=$PWD/low/cached" "ubd2=$PWD/low/filled" \
		"ubd3=$PWD/low/cow:$PWD/low/back" "ubd4=$PWD/low/cow2:$PWD/low/back2" "ubd5=$PWD/low/reserved" \
		"ubd6s=$PWD/low/once"
	for unit in b c e; do
		dd if=/dev/zero of=/dev/ubd$unit bs=1M oflag=direct status=none 2>/dev/null
	done
	sync -f low
	mark
	check "$what: to a file with holes, twice" eval "swap_some /dev/ubda && swap_some /dev/ubda"
	says "$what: the log says that it can hang" low/holes: "$said" "file has holes" "can hang"
	is "$what: once" "$(messages | grep -c "$said")" 1
	mark
	check "$what: to a COW file with holes" swap_some /dev/ubdd
	says "$what: the log says so too" low/cow: "$said" "file has holes"
	mark
	check "$what: to a file with space that was never written" swap_some /dev/ubdf
	says "$what: which counts as holes" low/reserved: "$said" "file has holes"
	mark
	check "$what: to a synchronous unit with holes" swap_some /dev/ubdg
	says "$what: the log says so as well" low/once: "$said" "file has holes"
	mark
	check "$what: by the page cache" swap_some /dev/ubdb
	says "$what: the log says that" low/cached: "$said" "page cache"
	mark
	check "$what: to files with no holes" eval "swap_some /dev/ubdc && swap_some /dev/ubde"
	refuse "$what: of them it says nothing" said "$said"
	check "$what: to one that swapon punches a hole into" swap_some /dev/ubdc --discard
	says "$what: the log says that it has holes now" low/filled: "$said" "file has holes"
	check "$what: unloaded" unload
	umount low
}

# swaps NAME DEVICE: swap on a COW unit and on a plain one. Past the page cache:
# when there is no memory, there is none to put a page in that is to go out, and
# the units wait for it for ever, as loop devices do.
swaps() {
	local what=$1 mb before after sum
	mount "$2" low
	rm -rf low/*
	truncate -s 256M low/plain low/swap_back
	head -c 24M /dev/urandom >image
	sum=$(sum image)
	load direct_io=3 "ubd0=$PWD/low/plain" "ubd1=$PWD/low/swap:$PWD/low/swap_back" "ubd2=$PWD/image"
	# As a swap file, with no holes: a file system needs memory to fill one.
	dd if=/dev/zero of=/dev/ubda bs=1M oflag=direct status=none 2>/dev/null
	dd if=/dev/zero of=/dev/ubdb bs=1M oflag=direct status=none 2>/dev/null
	sync -f low
	mark
	mkswap -q /dev/ubda
	mkswap -q /dev/ubdb
	# Of one priority: pages go to both by turns.
	swapon -p 1 /dev/ubda /dev/ubdb
	before=$(swapped)
	mb=$(awk '$1 == "MemAvailable:" { print int($2 / 1024) + 32 }' /proc/meminfo)
	check "$what: a program with more memory than there is" python3 "$e2e/pressure.py" memory "$mb"
	after=$(swapped)
	note "$what: $((after - before)) pages swapped out"
	check "$what: it was swapped out" test $((after - before)) -gt 4096
	# What is in swap must not be waited for by who is about to read it. Which
	# pages go out, the kernel chooses: it may be the program's only, at first.
	while [ "$(swap_cached image)" = 0 ]; do
		python3 "$e2e/pressure.py" memory "$mb" >/dev/null || break
	done
	check "$what: so were pages of an image on tmpfs" test "$(swap_cached image)" -gt 0
	is "$what: which reads as ever" "$(dd if=/dev/ubdc bs=256k iflag=direct status=none | sha256sum)" "$sum"
	refuse "$what: no unload while there is swap on a unit" rmmod rnull_ubd
	check "$what: swap is taken off" swapoff /dev/ubda /dev/ubdb
	sync /dev/ubda /dev/ubdb
	refuse "$what: the log has no warning of it" said "memory is swapped out"
	check "$what: unloaded" unload
	rm image
	umount low
}

guest_all() {
	mkdir /tmp/here
	cd /tmp/here || return
	mkdir low mid mid2 top
	dd if=/dev/urandom of=data bs=1M count=4 status=none
	note "$(awk '/^MemTotal|^MemAvail/ { print $1 $2 / 1024 " MB" }' /proc/meminfo)"
	stack "on ext4" 0 /dev/vda ext4 xfs ext4
	[ -n "$slow" ] || stack "on xfs, direct" 7 /dev/vdb xfs ext4 xfs
	frozen "ext4" /dev/vda
	frozen "xfs" /dev/vdb
	swaps swap /dev/vda
	advice "a few pages, ext4" /dev/vda
	[ -n "$slow" ] || advice "a few pages, xfs" /dev/vdb
	plan
}

mb=5 mem=288M
[ -z "$slow" ] || mb=2 mem=512M
if [ $# != 0 ]; then
	"$1_$3"
	exit
fi

truncate -s 3G ext4 xfs
mkfs.ext4 -q ext4
mkfs.xfs -q xfs
guest_tests all --disk "$work/ext4" --disk "$work/xfs" --mem $mem
plan
