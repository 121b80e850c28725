#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# where: host
# kernel: release
#
# User-mode Linux with the driver built in, killed while it writes, at any moment
# (UBD_KILLS of them; a thousand with ALL=1): what it had flushed is there, and nothing
# is that it did not write. The host lives on, and has all that was handed to it.

. "$(dirname "$0")/lib.sh"

guest_write() {
	exec python3 "$e2e/kill.py" write /dev/ubda "$(cat seed)"
}

guest_read() {
	cmp /dev/ubda found
}

if [ $# != 0 ]; then
	"$1_$3"
	exit
fi

seed=${UBD_SEED:-1}
note "UBD_SEED=$seed"
RANDOM=$seed
kills=${UBD_KILLS:-$([ -z "${ALL:-}" ] && echo 4 || echo 1000)}
kernel=$("$top/scripts/kernel" --home --built-in)/linux
model pattern back $((20 << 20)) back
sum back >back.sum

# home NAME FOLDER: guest_NAME in UML, with the files of a folder.
home() {
	vm_self "$1" --home --built-in --timeout 200 --append "ubd0=$2/cow,$work/back"
}

# killed FOLDER ROUND: one that writes is killed, and what it leaves is judged.
killed() {
	local vm flushed
	echo $((seed * 10000 + $2)) >seed
	: >said
	home write "$1" >said 2>errors &
	vm=$!
	tail -n +1 -s 0.01 -f --pid=$vm said | grep -m $((RANDOM % 30 + 1)) '^flushed' | tail -n 1 >last
	[ -s last ] || { cat errors; return 1; }
	# No other process has this folder on its command line behind this kernel.
	kill -9 "$(pgrep -f "^$kernel .*ubd0=$1/cow,")"
	wait $vm
	mv found before
	flushed=$(awk '/^flushed/ { n = $2 } END { print n + 0 }' said)
	uml_moo "$1/cow" found && python3 "$e2e/kill.py" judge found before "$(cat seed)" "$flushed"
}

memory=$(mktemp -d /dev/shm/ubd-kill.XXXXXX)
trap 'rm -rf "$work" "$memory"' EXIT
for folder in "$memory" "$work"; do
	what=$(stat -f -c %T "$folder")
	cp --sparse=always back found
	rm -f "$folder/cow"
	for ((round = 1; round <= kills / 2; round++)); do
		judged=$(killed "$folder" $round 2>&1) || break
	done
	if [ $round -gt $((kills / 2)) ]; then
		ok "$what: killed $((kills / 2)) times (the last time $judged)"
	else
		not_ok "$what: killed, the time that is number $round" "$judged"
	fi
	check "$what: the disk is what its file is by the format's words" home read "$folder"
done
is "the backing file is as it was" "$(sum back)" "$(cat back.sum)"

plan
