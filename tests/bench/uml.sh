#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# scripts/bench --uml: User-mode Linux with the C driver and with this one, in turn,
# on the same files of this machine: a fresh COW file over an image that the page
# cache has, on tmpfs and on what has the cache; and reads of an image on a device
# that takes a millisecond each, side by side. Requests a second, the best of all
# rounds, as whatever else the machine does only takes away. On tmpfs both with all
# processors of the machine and with one: each system call in UML wakes another process
# of the host, which takes many times as long where that wakes an idle processor.
#
# usage: uml.sh ROUNDS

set -euo pipefail
shopt -s inherit_errexit
top=$(cd "$(dirname "$0")/../.." && pwd)
cells=(randread-1 randread-32 randwrite-1 randwrite-32 read-8 write-8)

# cell NAME: what fio makes of /dev/ubda.
cell() {
	local kind=${1%-*} size=4k

	[[ $kind == rand* ]] || size=128k
	fio --name="$1" --filename=/dev/ubda --direct=1 --ioengine=libaio --rw="$kind" --bs=$size \
		--iodepth="${1##*-}" --time_based --runtime=1 --size=128M --randrepeat=0 --minimal |
		awk -F';' '{ print $8 + $49 }'
}

if [ "$1" = guest ]; then
	shift
	for name; do
		echo "$name $(cell "$name")"
	done
	exit
fi

rounds=$1
slow=$(mktemp --suffix=.so)
memory=$(mktemp -d /dev/shm/ubd-bench.XXXXXX)
disk=$(mktemp -d "$RNULL_UBD_CACHE/bench-uml.XXXXXX")
trap 'rm -rf "$memory" "$disk" "$slow"' EXIT
gcc -shared -fPIC -O2 -Wall -o "$slow" "$top/tests/bench/slow.c"

# measured DRIVER OPTION FOLDER CELL...
measured() {
	local driver=$1 option=$2 folder=$3
	shift 3
	rm -f "$folder/cow"
	# shellcheck disable=SC2086
	$pinned "$top/scripts/vm" --home-up $option --append "ubd0=$folder/cow,$folder/back" --share "$folder" \
		-- "$top/tests/bench/uml.sh" guest "$@" | sed "s/^/$driver /"
}

# compared WHAT FOLDER CELL...
compared() {
	local what=$1 folder=$2 i
	shift 2
	head -c 128M /dev/urandom >"$folder/back"
	for ((i = 0; i < rounds; i++)); do
		measured c "" "$folder" "$@"
		measured this --built-in "$folder" "$@"
	done | awk -v what="$what" '
		$3 > best[$2 " " $1] { best[$2 " " $1] = $3 }
		!seen[$2]++ { cells[++n] = $2 }
		END {
			printf "\n%s\n%-14s %10s %10s %6s\n", what, "", "C", "this", "times"
			for (i = 1; i <= n; i++) {
				c = best[cells[i] " c"]; this = best[cells[i] " this"]
				printf "%-14s %10d %10d %6.2f\n", cells[i], c, this, c ? this / c : 0
			}
		}'
}

pinned="taskset -c 0"
compared "files on tmpfs, one processor of the machine" "$memory" "${cells[@]}"
pinned=
compared "files on tmpfs, all of them" "$memory" "${cells[@]}"
compared "files on $(stat -f -c %T "$disk"), in the page cache" "$disk" "${cells[@]}"
export LD_PRELOAD=$slow
compared "the same, with reads that take a millisecond each" "$disk" randread-1 randread-32
