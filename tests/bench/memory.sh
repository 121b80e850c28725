#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The half of scripts/bench --memory that runs in a guest: how much memory the
# kernel takes for units, and how that grows. Prints bytes, for memory.py.
#
# usage: memory.sh SIZE...    (of the disks; with several, how units grow, too)

set -euo pipefail
shopt -s inherit_errexit
. "$(dirname "$0")/used.sh"
. "$(dirname "$0")/paths.sh"

units=16
kinds=(loop dm-snapshot ubd-plain ubd-cow)

# below KIND: makes what lies below a kind's units: files and, for dm-snapshot,
# loops. They are of $size.
below() {
	local i

	rm -f image ./*.cow ./*.store
	truncate -s "$size" image
	[ "$1" = dm-snapshot ] || return 0
	loop --read-only image
	for ((i = 0; i < units; i++)); do
		# With room for all, and for where it is.
		truncate -s "$size" $i.store
		truncate -s +64M $i.store
		loop $i.store
	done
}

# attach KIND COUNT: sets device to the first.
attach() {
	local i options=()

	rm -f ./*.cow
	for ((i = 0; i < $2; i++)); do
		case $1 in
		# Not one of those that the kernel has made when it started.
		loop) losetup /dev/loop$((100 + i)) image ;;
		dm-snapshot)
			dmsetup create --noudevsync snapshot$i --table \
				"0 $(blockdev --getsz "${loops[0]}") snapshot ${loops[0]} ${loops[i + 1]} P 8"
			;;
		# Shared: all are of one file.
		ubd-plain) options+=("ubd${i}c=$work/image") ;;
		ubd-cow) options+=("ubd$i=$work/$i.cow:$work/image") ;;
		esac
	done
	case $1 in
	loop) device=/dev/loop100 ;;
	dm-snapshot) device=/dev/$(dmsetup info -c --noheadings -o blkdevname snapshot0) ;;
	ubd*) load "${options[@]}" ;;
	esac
}

# detach KIND COUNT
detach() {
	local i

	case $1 in
	loop)
		for ((i = 100; i < 100 + $2; i++)); do
			losetup -d /dev/loop$i
		done
		# LOOP_CTL_REMOVE, which losetup has no option for.
		python3 -c "import fcntl
for i in range(100, 100 + $2):
    fcntl.ioctl(open('/dev/loop-control'), 0x4c81, i)"
		;;
	dm-snapshot)
		for ((i = 0; i < $2; i++)); do
			dmsetup remove --noudevsync --retry snapshot$i
		done
		;;
	ubd*) modprobe -r rnull_ubd ;;
	esac
	loaded=
}

# a_unit KIND: prints what a unit more takes.
a_unit() {
	local round one many

	# The first round makes what stays.
	for round in 0 1 2 3; do
		attach "$1" 1
		read -r -a one <<<"$(used)"
		detach "$1" 1
		attach "$1" $units
		read -r -a many <<<"$(used)"
		detach "$1" $units
		[ $round = 0 ] || for i in "${!one[@]}"; do
			echo -n "$(((many[i] - one[i]) / (units - 1))) "
		done
		[ $round = 0 ] || echo
	done | middle
}

# transfer OPTION...
transfer() {
	fio --name=transfer --thread --filename="$device" --ioengine=io_uring --direct=1 --bs=4k \
		--iodepth=32 "$@" >fio.out || { cat fio.out >&2; exit 1; }
}

# growth KIND SIZE OPTION...: prints how many bytes more there are after fio has
# written so to a disk of that size.
growth() {
	local kind=$1 size=$2 round before after

	for round in 1 2 3; do
		below "$kind"
		attach "$kind" 1
		# The first run makes what stays.
		transfer --rw=randread --size=1m
		before=$(used)
		transfer "${@:3}"
		after=$(used)
		detach "$kind" 1
		unmake
		echo $((${after%% *} - ${before%% *}))
	done | middle
}

# took COMMAND...: microseconds, the middle of five times.
took() {
	local i start

	for i in 1 2 3 4 5; do
		rm -f ./*.cow
		start=${EPOCHREALTIME/./}
		"$@" >&2
		echo $((${EPOCHREALTIME/./} - start))
		modprobe -r rnull_ubd
	done | middle
}

describe
for size in "$@"; do
	for kind in "${kinds[@]}"; do
		below "$kind"
		taken=$(a_unit "$kind")
		echo "@unit $(nproc) $kind $size $taken"
		unmake
	done
done
for kind in loop ubd-plain; do
	attach $kind 1
	mq=(/sys/block/"${device#/dev/}"/mq/*)
	echo "@queues $(nproc) $kind ${#mq[@]} $(cat "${mq[0]}/nr_tags")"
	detach $kind 1
done
[ $# -gt 1 ] || exit 0
for kind in "${kinds[@]}"; do
	# After every request fio leaves as much out.
	taken=$(growth "$kind" 16G --rw=write:16380k --size=16g --io_size=4m)
	echo "@grown $kind sparse $taken"
	taken=$(growth "$kind" 256M --rw=randwrite --size=256m)
	echo "@grown $kind dense $taken"
done
taken=$(took modprobe rnull_ubd)
echo "@attach none $taken"
for size in "$@"; do
	below ubd-cow
	taken=$(took modprobe rnull_ubd "ubd0=$work/0.cow:$work/image")
	echo "@attach $size $taken"
done
