# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# What the COW file $cow of unit 0 takes on its file system. To be sourced after
# configfs.bash.

mib=$((1 << 20))
attributes=/sys/block/ubda/ubd

# taken FILE: kilobytes that its file system has allocated for it.
taken() {
	echo $(($(stat -c %b "$1") / 2))
}
# put POSITION BYTES: write there.
put() {
	dd if=/dev/urandom of=/dev/ubda bs="$2" count=1 oflag=direct,seek_bytes seek="$1" status=none
}
# grown NAME LEAST MOST COMMAND...: the COW file takes so many kilobytes more when it
# has been flushed.
grown() {
	local what=$1 least=$2 most=$3 before after
	shift 3
	before=$(taken "$cow")
	check "$what: done" "$@"
	blockdev --flushbufs /dev/ubda
	after=$(taken "$cow")
	note "$what: $((after - before)) KiB"
	check "$what: the file grows by $least to $most KiB" \
		test $((after - before)) -ge "$least" -a $((after - before)) -le "$most"
}
# unwritten: how many extents of the COW file are allocated only.
unwritten() {
	filefrag -v "$cow" | grep -c unwritten
}
