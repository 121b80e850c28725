#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# where: host
#
# A file system whose server does not know what is dirty in the page cache, and
# says that there are holes: no data is taken for missing, by the driver or by
# ubd.
# kernel: release

. "$(dirname "$0")/lib.sh"
. "$e2e/guest.bash"

# put FILE NAME: a copy in mnt, which is open there as long as `holder` runs: to
# close it, or a duplicate, would tell the server.
put() {
	coproc holder {
		exec python3 -c 'import shutil, sys
with open(sys.argv[1], "rb") as file, open("mnt/" + sys.argv[2], "wb", buffering=0) as copy:
    shutil.copyfileobj(file, copy)
    print("there", flush=True)
    sys.stdin.read()' "$@"
	}
	read -r _ <&"${holder[0]}"
	is "the server knows nothing of $2 yet" "$(stat -c %b "below/$2")" 0
}

let_go() {
	# shellcheck disable=SC2154
	local pid=$holder_PID
	eval "exec ${holder[1]}>&-"
	wait "$pid"
}

guest_tests_here() {
	mkdir /tmp/here
	mount -t tmpfs none /tmp/here
	cp fuse ubd /tmp/here
	cd /tmp/here || return
	mkdir mnt below
	# Nothing is sent because of its age, or because there is much of it.
	echo 0 >/proc/sys/vm/dirty_writeback_centisecs
	echo 90 | tee /proc/sys/vm/dirty_{ratio,background_ratio} >/dev/null
	check "a file system by FUSE" ./fuse below mnt
	local bdi
	bdi=/sys/class/bdi/$(mountpoint -d mnt)
	echo 0 >"$bdi/strict_limit"
	echo 100 >"$bdi/max_ratio"
	model pattern back $((4 << 20)) back
	model make-cow cow back --shape 8 --disk want

	put cow first
	check "a COW file that was copied a moment ago is attached" load "ubd0r=$PWD/mnt/first"
	is "sysfs says how much is in it" "$(cat /sys/block/ubda/ubd/cow_sectors)" "$(model info cow set)"
	check "all of it is there" model cmp /dev/ubda want --direct
	unload
	let_go

	put cow second
	is "ubd sees all of it" "$(./ubd diff mnt/second)" "$(./ubd diff cow)"
	let_go

	put cow third
	check "one is attached to be written" load "ubd0=$PWD/mnt/third"
	blkdiscard -o 1M -l 1M /dev/ubda
	model discard want 2048 2048 --cow cow
	check "a discard finds what is in it" model cmp /dev/ubda want --direct
	model write /dev/ubda want 4096 512 seed --fsync
	let_go
	unload
	check "and so it is when all is written" model cmp-cow mnt/third want

	# What has the length of a COW file for a crash to leave, and data.
	dd if=cow of=other bs=8k skip=1 seek=1 status=none
	truncate -s "$(stat -c %s cow)" other
	put other fourth
	mark
	load "ubd0=$PWD/mnt/fourth:$PWD/back"
	says "what has data is not made a COW file" "$PWD/mnt/fourth" "no COW header"
	check "nor is it attached" test ! -e /dev/ubda
	unload
	let_go
	check "it is as it was" cmp other mnt/fourth
	umount mnt
	plan
}

if [ "${1:-}" = guest ]; then
	"guest_$3"
	exit
fi
cp "$("$top/scripts/ubd" --path)" ubd
# shellcheck disable=SC2046
check "the server is built" gcc -O1 -Wall -Werror -o fuse "$e2e/fuse.c" $(pkg-config --cflags --libs fuse3)
guest_tests tests_here
plan
