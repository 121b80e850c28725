# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2034,SC2154
#
# What scripts/bench --cold has over paths.sh: files on a device that takes its
# time, and nothing of them in the page cache. To be sourced after it.

fs=xfs latency_us=500
place="XFS on null_blk, $latency_us microseconds a request"

# move_files: from the memory that they were made in to the device, a memory with
# a timer for every request.
move_files() {
	local slow=/sys/kernel/config/nullb/slow name value

	mkdir $slow
	while read -r name value; do
		echo "$value" >"$slow/$name"
	done <<-END
		memory_backed 1
		blocksize 4096
		size 1536
		irqmode 2
		completion_nsec ${latency_us}000
		hw_queue_depth 256
		power 1
	END
	"mkfs.$fs" -q /dev/slow
	mv "$work" "$work.made"
	mkdir "$work"
	mount /dev/slow "$work"
	cd "$work" || exit
	cp -p "$work.made"/image* .
	rm "$work.made/image"
	# What is copied for every cell is read from where that is quick.
	mixed=$work.made/mixed
}

# suits PATH CELL: only paths that use the page cache read from it; and what is
# read of holes does not come from the device.
suits() {
	case $2 in
	cached*) [[ $1 != *-direct* ]] ;;
	*read*) [[ $1 = *-direct ]] ;;
	*) [[ $1 = *-direct* ]] ;;
	esac
}

settle() {
	sync
	echo 3 >/proc/sys/vm/drop_caches
	# Into the page cache of the files below: the path's own is passed by.
	[[ $1 != cached* ]] || dd if="$device" of=/dev/null bs=1M count=16 iflag=direct status=none
}

make_file_direct() {
	device=$work/image
}

make_loop_direct_sparse() {
	make_loop_sparse --direct-io=on
}

make_dm_snapshot_direct() {
	make_dm_snapshot --direct-io=on
}

make_ubd_plain_direct() {
	parameters=(direct_io=1)
	make_ubd_plain
}

make_ubd_cow_fresh_direct() {
	parameters=(direct_io=1)
	make_ubd_cow_fresh
}

make_ubd_cow_mixed_direct() {
	parameters=(direct_io=1)
	make_ubd_cow_mixed
}

count() {
	echo 4000
}

# measure_cached DEPTH: reads of what is in the page cache, at times that do not
# depend on how they go; and beside them, DEPTH reads at a time of what is not.
measure_cached() {
	local cold=()

	[ "$1" = 0 ] || cold=(--name=cold --iodepth="$1" --offset=64M --size=$((mib - 64))M)
	fio --output-format=json --name=global --thread --filename="$device" --ioengine=io_uring \
		--direct=1 --rw=randread --bs=4k --runtime=1 --time_based \
		--name=cached --size=16M --rate_iops=4000 "${cold[@]}"
}
