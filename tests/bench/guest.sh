#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The half of scripts/bench that runs in the guest: makes each path, gives it
# each cell, and prints what fio says, for report.py to read.
#
# usage: guest.sh PATHS CELLS JOBS ROUNDS    (each a list with commas; one number)

set -euo pipefail
. "$(dirname "$0")/paths.sh"

IFS=, read -r -a paths <<<"$1"
IFS=, read -r -a cells <<<"$2"
IFS=, read -r -a jobs <<<"$3"
rounds=$4

describe
prepare "${paths[@]}"
for ((round = 1; round <= rounds; round++)); do
	for path in "${paths[@]}"; do
		for cell in "${cells[@]}"; do
			for n in "${jobs[@]}"; do
				# What is called "fresh" is fresh for every cell.
				"make_${path//-/_}"
				echo "@run $path $cell $n"
				measure "$cell" "$n" "$(count "$cell")"
				echo "@end"
				unmake
			done
		done
	done
done
