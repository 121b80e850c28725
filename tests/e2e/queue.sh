#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# What may be changed of a queue while it is in use, and the processors that its
# hardware queues belong to: all requests end, and each byte is right.

. "$(dirname "$0")/lib.sh"

mb=$(scaled 32)
truncate -s 64M plain back
load "ubd0=$work/plain" "ubd1=$work/cow:$work/back"

# writes UNIT: fio's own verification, over and over, until told to stop. Leaves
# a line for each round.
writes() {
	until [ -e stop ]; do
		fio --name="$1" --filename="/dev/ubd$1" --rw=randwrite --bsrange=512-256k \
			--ioengine=io_uring --iodepth=32 --direct=1 --size=64M --io_size="${mb}M" --randrepeat=0 \
			--verify=crc32c --verify_fatal=1 --verify_state_save=0 --verify_backlog=64 \
			>"log.$1" 2>&1 || return
		echo >>"rounds.$1"
	done
}

# reads UNIT: past the page cache.
reads() {
	dd if="/dev/ubd$1" of=/dev/null bs=64k count="$(scaled 16)" iflag=direct status=none
}

declare -A jobs
for unit in a b; do
	writes $unit &
	jobs[$unit]=$!
done

# set_all ATTRIBUTE VALUE...: each value in turn, on both queues.
set_all() {
	local attribute=$1 value unit
	shift
	for value; do
		for unit in a b; do
			echo "$value" >"/sys/block/ubd$unit/queue/$attribute" || return
		done
		# Not before something has been done with it.
		reads a || return
	done
}

check "the number of requests" set_all nr_requests 4 17 127
check "the size of a request" set_all max_sectors_kb 4 64 1280
check "merges" set_all nomerges 2 0
check "where requests end" set_all rq_affinity 0 2 1
check "statistics" set_all iostats 0 1
check "the write cache" set_all write_cache "write through" "write back"
check "read-ahead" set_all read_ahead_kb 0 128
read -r -a schedulers < <(tr -d '[]' </sys/block/ubda/queue/scheduler)
check "schedulers: ${schedulers[*]}" set_all scheduler "${schedulers[@]}" none

# processors N: each but the first goes and comes back, N times.
processors() {
	local cpu i
	for ((i = 0; i < $1; i++)); do
		for cpu in /sys/devices/system/cpu/cpu[1-9]*/online; do
			echo 0 >"$cpu" || return
			reads a && reads b || return
			echo 1 >"$cpu" || return
		done
	done
}
if [ "${VM_ACCEL:-}" != uml ]; then
	check "processors go and come back" processors "$(scaled 6)"
else
	skip "processors go and come back" "those of User-mode Linux do not"
fi

touch stop
for unit in a b; do
	wait "${jobs[$unit]}"
	is "ubd$unit: fio found every byte" "$?" 0 || note "$(tail -n 20 "log.$unit")"
	check "ubd$unit: it did something" test -s "rounds.$unit"
done
check "nothing is on its way any more" wait_for idle ubda
check "unloaded" unload
plan
