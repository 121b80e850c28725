#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The half of scripts/bench --profile that runs in the guest: a short and a
# longer run of a cell. What a request costs is the difference.
#
# usage: profile.sh MODE PATH CELL

set -euo pipefail
. "$(dirname "$0")/paths.sh"
case $1 in
cold | disk) . "$(dirname "$0")/cold.sh" ;;&
disk) . "$(dirname "$0")/disk.sh" ;;
esac

# mark: the plugin takes a look at this file for the sign to start or stop.
mark() {
	cat /proc/version >/dev/null
}

# run REQUESTS OFFSET SIZE
run() {
	mark
	"$measure" "$cell" 1 "$1" --offset="$2M" --size="$3M" >fio.out || { cat fio.out >&2; exit 1; }
	mark
	grep -E '"runtime" : [1-9]' fio.out
}

path=$2 cell=$3 measure=measure
if [ "$1" = disk ]; then
	measure=measure_disk
	disk_of "${cell%%-*}"
fi
prepare "$path"
move_files
"make_${path//-/_}"
settle "$cell"
grep '\[' /proc/kallsyms || :
requests=$(count "$cell")
echo "@requests $requests"
# Regions of their own, so that first writes stay first writes.
short=$((requests / 8))
# The first brings fio into memory.
run 50 0 16
run $short 16 24
run $((short + requests)) 40 $((mib - 40))
unmake
