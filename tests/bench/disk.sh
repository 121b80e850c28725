# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2034,SC2154
#
# What scripts/bench --disk has over cold.sh: a fast device, and the file system
# that a cell's name begins with. To be sourced after it.

# disk_of FS
disk_of() {
	fs=$1 latency_us=10
	place="$fs on null_blk, $latency_us microseconds a request"
}

# suits PATH CELL: a first write is one to what is not allocated, or not copied.
suits() {
	case $2 in
	*-randread-*) [[ $1 != loop*-sparse && $1 != ubd-cow-a* ]] ;;
	*-overwrite-*) [[ $1 != *-sparse && $1 != dm-snapshot* && $1 != ubd-cow* ]] ;;
	*) [[ $1 = *-sparse || $1 = dm-snapshot* || $1 = ubd-cow* ]] ;;
	esac
}

make_ubd_cow_allocated_direct() {
	parameters=(direct_io=1)
	make_ubd_cow_allocated
}

# Space is taken ahead in pieces of a MiB.
make_ubd_cow_ahead_direct() {
	local setting

	make_ubd_cow_fresh
	unmake
	modprobe rnull_ubd
	loaded=1 device=/dev/ubda folder=/sys/kernel/config/ubd/0
	mkdir $folder
	for setting in file="$work/cow" direct_io=1 allocate=1048576 power=1; do
		echo "${setting#*=}" >"$folder/${setting%%=*}"
	done
}

count() {
	echo 3000
}

# measure_disk CELL JOBS REQUESTS [OPTION...]
measure_disk() {
	local depth=${1##*-}

	case $1 in
	*-randread-*) measure "randread-$depth" "$2" "$3" "${@:4}" ;;
	*-fsync-*) measure "randwrite-$depth" "$2" "$3" --fsync=16 "${@:4}" ;;
	*) measure "randwrite-$depth" "$2" "$3" "${@:4}" ;;
	esac
}
