#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The half of scripts/bench --hold that runs in a guest: how long a snapshot holds the
# requests of a unit, as the driver says it. Prints a table of microseconds, the middle
# of some times.
#
# usage: hold.sh PLACE    (tmpfs, or a file system on a device of disk.sh)

set -euo pipefail
shopt -s inherit_errexit
. "$(dirname "$0")/used.sh"
. "$(dirname "$0")/paths.sh"
. "$(dirname "$0")/cold.sh"
. "$(dirname "$0")/disk.sh"

# A page of the bitmap is for 16 MiB.
gib=16
kind=$1
folder=/sys/kernel/config/ubd/0

place=tmpfs
if [ "$kind" != tmpfs ]; then
	disk_of "$kind"
	touch image
	move_files
fi

# written PAGES: the bits of so many pages of the bitmap, each by a write.
written() {
	[ "$1" = 0 ] || fio --name=written --thread --filename=/dev/ubda --direct=1 --ioengine=io_uring \
		--iodepth=32 --rw=write:16380k --bs=4k --size=${gib}G --number_ios="$1" >/dev/null
}

# held FILES PAGES SIZE: microseconds, with so many COW files before, so many pages of the
# bitmap that are not on disk, and meanwhile writes all over the first SIZE bytes, if any.
held() {
	local n load=''

	rm -f cow*
	echo "$work/cow1" >$folder/file
	echo "$work/back" >$folder/backing_file
	echo 1 >$folder/power
	for ((n = 2; n <= $1; n++)); do
		echo "$work/cow$n" >$folder/snapshot
	done
	if [ -n "$3" ]; then
		fio --name=load --thread --filename=/dev/ubda --direct=1 --ioengine=io_uring --iodepth=32 \
			--rw=randwrite --bs=4k --size="$3" --norandommap --time_based --runtime=1000 >/dev/null &
		load=$!
		until [ "$(awk '{ print $5 }' /sys/block/ubda/stat)" -gt 1000 ]; do
			sleep 0.01
		done
	fi
	written "$2"
	echo "$work/cow$n" >$folder/snapshot
	if [ -n "$load" ]; then
		kill -INT $load
		wait $load || :
	fi
	echo 0 >$folder/power
	dmesg --notime | sed -n 's/.*requests were held for \([0-9]*\) us.*/\1/p' | tail -n 1
}

modprobe rnull_ubd
mkdir $folder
truncate -s ${gib}G back
echo "$place: microseconds that requests were held for"
printf '%-46s %8s %8s %8s\n' "COW files, before" 1 4 7
while IFS=, read -ru 3 what pages size; do
	printf '%-46s' "$what"
	for files in 1 4 7; do
		figure=$(for ((time = 0; time < 5; time++)); do held $files "$pages" "$size"; done | middle)
		printf ' %8d' "${figure% }"
	done
	echo
done 3<<-END
	idle; all bits on disk,0
	idle; 1 MiB of bits are not (256 pages),256
	idle; no page of the bits is (1024),1024
	load in one page of the bits; the others on disk,0,16M
	load in one page; 1 MiB of bits are not,256,16M
	load in one page; none of the others is,1024,16M
END
