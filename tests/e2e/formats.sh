#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# COW files of every version, byte order, sector size and alignment, made by
# the model with random contents: they are read and written here to the byte,
# and keep their version and their header, a switch of the backing file too.
# previous: yes
# kernel: release
# smp: 1
# arm64: yes

. "$(dirname "$0")/lib.sh"

FORMATS_OPS=$(scaled 25)
export FORMATS_OPS

# each WHAT STEP GROUP: a step on every file of a group, a test each.
each() {
	local what=$1 line lines=0 output
	output=$(python3 "$e2e/formats.py" "$2" "$3" 2>&1)
	while IFS= read -r line; do
		case $line in
		"ok "*) ok "$what: ${line#ok }" ;;
		"not ok "*) not_ok "$what: ${line#not ok }" "$(messages | tail -n 5)" ;;
		*) not_ok "$what" "$output"; return ;;
		esac
		lines=$((lines + 1))
	done <<<"$output"
}

# made GROUP: the files; the parameters that attach them.
made() {
	check "$1: the files are made" python3 "$e2e/formats.py" make "$1"
	mapfile -t params < <(python3 "$e2e/formats.py" params "$1")
}

for group in v1 v2-broken v3 paths; do
	made $group
	mark
	# Relative paths start from the folder of the COW file, not from here.
	(cd / && load "${params[@]}")
	each "read and written" use $group
	unload
	each "in the file" verify $group
	rm -f ./*.cow ./*.back ./*.copy ./*.want
done

made switch
mark
load "${params[@]}"
each "switched in place" switched switch
says "a message says so" "switched from backing file" ".copy"
unload
load "${params[@]%:*}"
each "and attached as switched" switched switch
unload

# A path that a header has no space for.

model make-cow cow V2.back --version 1 --order '<' --mtime $((0x92345678))
long=$work/V2.copy
while [ ${#long} -lt 256 ]; do
	long=/.$long
done
sum cow >cow.sum
mark
load "ubd0=$work/cow:$long"
check "a path too long for the header of a V1: not attached" test ! -e /dev/ubda
says "a message with the length and the limit" ubda "$work/cow" "V1" "${#long} bytes" "limit is 255"
is "the COW file is as it was" "$(sum cow)" "$(cat cow.sum)"
unload

plan
