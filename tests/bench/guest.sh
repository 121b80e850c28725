#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The half of scripts/bench that runs in the guest: makes each path, gives it
# each cell, and prints what fio says, for report.py to read.
#
# usage: guest.sh MODE PATHS CELLS JOBS ROUNDS    (each a list with commas; one number)

set -euo pipefail
. "$(dirname "$0")/paths.sh"
case $1 in
cold | disk) . "$(dirname "$0")/cold.sh" ;;&
disk) . "$(dirname "$0")/disk.sh" ;;
esac

IFS=, read -r -a paths <<<"$2"
IFS=, read -r -a cells <<<"$3"
IFS=, read -r -a jobs <<<"$4"
rounds=$5
[ "$1" != disk ] || disk_of "${cells[0]%%-*}"

describe
prepare "${paths[@]}"
move_files
for ((round = 1; round <= rounds; round++)); do
	for path in "${paths[@]}"; do
		for cell in "${cells[@]}"; do
			suits "$path" "$cell" || continue
			for n in "${jobs[@]}"; do
				# What is called "fresh" is fresh for every cell.
				"make_${path//-/_}"
				settle "$cell"
				echo "@run $path $cell $n"
				case $cell in
				*-*-*) measure_disk "$cell" "$n" "$(count "$cell")" ;;
				cached*) measure_cached "${cell#*-}" ;;
				*) measure "$cell" "$n" "$(count "$cell")" ;;
				esac
				echo "@end"
				unmake
			done
		done
	done
done
