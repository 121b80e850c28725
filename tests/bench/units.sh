#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The half of scripts/bench --units that runs in a guest: disks over one image are
# attached one by one, and stay. Prints what they take, for units.py.
#
# usage: units.sh KIND COUNT...    (of paths.sh; the numbers of disks to look at)

set -euo pipefail
shopt -s inherit_errexit
. "$(dirname "$0")/used.sh"
. "$(dirname "$0")/paths.sh"

kind=$1
size=1G
shift

# threads: those of the kernel that are there for good. Workers that all share
# come and go.
threads() {
	ps -e -o ppid=,comm= | awk '$1 == 2 && $2 !~ /^kworker\/[0-9u]/ { n++ } END { print n + 0 }'
}

# attach N: as a user does it.
attach() {
	local folder=/sys/kernel/config/ubd/$1

	case $kind in
	loop) losetup -f "$1.img" ;;
	dm-snapshot)
		store=$(losetup --show -f "$1.img")
		dmsetup create --noudevsync "snapshot$1" --table "0 $sectors snapshot $origin $store P 8"
		;;
	ubd-cow)
		mkdir "$folder"
		echo "$work/$1.cow" >"$folder/file"
		echo "$work/image" >"$folder/backing_file"
		echo 1 >"$folder/power"
		;;
	esac
}

# attached: how many disks there are.
attached() {
	case $kind in
	loop) losetup -nlO NAME | wc -l ;;
	dm-snapshot) dmsetup ls | wc -l ;;
	ubd-cow) echo /dev/ubd* | wc -w ;;
	esac
}

describe
truncate -s $size image
case $kind in
loop | dm-snapshot)
	# A file for each: of its own contents, or with room for what was changed.
	seq -f %g.img 0 $((${*: -1} - 1)) | xargs truncate -s $size
	;;&
dm-snapshot)
	origin=$(losetup --show -f --read-only image)
	sectors=$(blockdev --getsz "$origin")
	# The target's module, and what it makes once.
	dmsetup create --noudevsync once --table "0 $sectors linear $origin 0"
	dmsetup remove --noudevsync once
	;;
ubd-cow)
	mount -t configfs config /sys/kernel/config
	modprobe rnull_ubd
	;;
esac

n=0
took=()
read -r before _ <<<"$(used)"
threads_before=$(threads)
for count; do
	for ((; n < count; n++)); do
		start=${EPOCHREALTIME/./}
		attach $n
		took+=($((${EPOCHREALTIME/./} - start)))
	done
	[ "$(attached)" = "$count" ]
	# Threads with nothing to do end.
	sleep 15
	read -r now _ <<<"$(used)"
	echo "@units $(nproc --all) $kind $count $((now - before)) $(($(threads) - threads_before))" \
		"$(printf '%s\n' "${took[@]}" | tail -n 5 | middle)"
done
