#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Large disks: 16 TiB is attached with little memory, and works at its ends, and
# 4 EiB with not much more; a COW file of 64 GiB with every second sector set is
# read right.
# kernel: release
# smp: 1

. "$(dirname "$0")/lib.sh"

# taken COMMAND...: kilobytes that the kernel has more when it has run.
taken() {
	local before
	before=$(kernel_memory)
	"$@" || return
	echo $(($(kernel_memory) - before))
}

attach() {
	local start=${EPOCHREALTIME/./}
	rm -f cow
	load "ubd0=$work/cow:$work/$1"
	note "attached in $(((${EPOCHREALTIME/./} - start) / 1000)) ms, modprobe and the partition scan included" >&2
	[ -b /dev/ubda ]
}

# middle NUMBER...: of five
middle() {
	printf '%s\n' "$@" | sort -n | sed -n 3p
}

# The module itself takes memory, and what the kernel has in stock comes and
# goes: the middle of a few, of a small disk and of a large one by turns.
truncate -s 1M small
truncate -s 16T large
model pattern small $((1 << 20)) small
small=() large=()
for i in warm-up 1 2 3 4 5; do
	now=$(taken attach small)
	unload
	[ $i = warm-up ] || small+=("$now")
	now=$(taken attach large)
	unload
	[ $i = warm-up ] || large+=("$now")
done
note "taken by 1 MiB: ${small[*]} kB; by 16 TiB: ${large[*]} kB"
check "16 TiB are attached with less than 2 MiB of memory" \
	test $(($(middle "${large[@]}") - $(middle "${small[@]}"))) -lt 2048

# ends NAME BYTES MIB...: the disk large has that size, and works at its ends and
# at those MiB.
ends() {
	local what=$1 bytes=$2 at got wrong=
	shift 2
	is "$what have their size" "$(blockdev --getsize64 /dev/ubda)" "$bytes"
	printf 'the start' | dd of=/dev/ubda conv=notrunc,fsync status=none
	for at; do
		printf 'sector at %s MiB' "$at" | dd of=/dev/ubda bs=512 seek=$((at << 11)) conv=sync,fsync status=none
	done
	printf 'the end' | dd of=/dev/ubda bs=512 seek=$((bytes / 512 - 1)) conv=sync,fsync status=none
	unload
	load "ubd0=$work/cow"
	for at; do
		got=$(dd if=/dev/ubda bs=512 skip=$((at << 11)) count=1 iflag=direct status=none | tr -d '\0')
		[ "$got" = "sector at $at MiB" ] || wrong+="$at: $got"$'\n'
		dd if=/dev/ubda bs=512 skip=$(((at << 11) + 1)) count=1 iflag=direct status=none |
			cmp -n 512 - /dev/zero || wrong+="behind $at"
	done
	is "$what are written and read everywhere" "$wrong" ""
	is "$what: at the start" "$(dd if=/dev/ubda bs=512 count=1 iflag=direct status=none | tr -d '\0')" "the start"
	is "$what: at the end" \
		"$(dd if=/dev/ubda bs=512 skip=$((bytes / 512 - 1)) iflag=direct status=none | tr -d '\0')" "the end"
	note "the COW file takes $(du -k cow | cut -f1) kB"
	unload
	rm cow
}

# MiB from the start: ends of bitmap pages and leaves, and the disk's.
attach large
ends "16 TiB" $((16 << 40)) 8191 8192 4194303 8388607 12345678 16777215

# The largest disk that the format and the kernel leave room for is twice that.
rm large
truncate -s $((4 << 60)) large
now=$(taken attach large)
note "taken by 4 EiB: $now kB"
check "4 EiB are attached with less than 64 MiB of memory" \
	test $((now - $(middle "${small[@]}"))) -lt 65536
ends "4 EiB" $((4 << 60)) 4194303 4194304 1234567890123 4398046511103
rm large

# Every second sector of 64 GiB.
seed=${UBD_SEED:-${RNULL_UBD_SEED:-1}}
note "UBD_SEED=$seed"
truncate -s 64G back
check "64 GiB: a COW file with every second sector set" python3 "$e2e/scale.py" make cow back --seed "$seed"
load "ubd0=$work/cow"
check "64 GiB: samples are right" python3 "$e2e/scale.py" sample /dev/ubda --seed "$seed"
unload
check "64 GiB: the bitmap has what it had, and what was written" python3 "$e2e/scale.py" bits cow --seed "$seed"
load "ubd0=$work/cow"
check "64 GiB: what was written is there" python3 "$e2e/scale.py" sample /dev/ubda --seed "$seed" --again
unload

plan
