#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The whole machine killed while it writes: what it had flushed is there, and
# nothing is that it did not write. Its disks are files, of which it loses what
# it had in memory.
# where: host
# kernel: release

. "$(dirname "$0")/lib.sh"

seed=${UBD_SEED:-${RNULL_UBD_SEED:-1}}
note "UBD_SEED=$seed"
RANDOM=$seed

# The COW file is the disk itself, or a file on it.
attach() {
	case $(cat place) in
	device) load ubd0=/dev/vda ;;
	ext4)
		mkdir /tmp/mnt
		mount /dev/vda /tmp/mnt && load ubd0=/tmp/mnt/cow
		;;
	esac
}

guest_write() {
	attach && exec python3 "$e2e/kill.py" write /dev/ubda "$(cat seed)"
}

guest_read() {
	attach && cp --sparse=always /dev/ubda found && sync -f found
}

if [ $# != 0 ]; then
	"$1_$3"
	exit
fi

model pattern back $((96 << 20)) back
sum back >back.sum
for place in device ext4; do
	echo $place >place
	rm -f disk cow
	truncate -s 200M disk
	model make-cow cow back --shape none
	if [ $place = device ]; then
		dd if=cow of=disk conv=notrunc,sparse bs=64k status=none
	else
		mkdir -p root
		mv cow root
		mkfs.ext4 -q -d root disk
	fi
	cp --sparse=always back before
	for round in 1 2; do
		echo "$((seed * 100 + round))" >seed
		# A moment is one of the machine's own: it has flushed so often.
		moment=$((RANDOM % 60 + 3))
		: >said
		# The shell becomes the script, for a signal to reach it.
		# shellcheck disable=SC2086
		(cd "$top" && exec scripts/vm ${UBD_TEST_VM:-} --share-rw "$work" --disk "$work/disk" \
			-- bash "$e2e/kill.sh" guest "$work" write) >said 2>errors &
		guest=$!
		tail -n +1 -s 0.05 -f --pid=$guest said | grep -m $moment '^flushed' | tail -n 1 >/dev/null
		kill $guest
		wait $guest
		while pgrep -f "file=$work/disk" >/dev/null; do
			sleep 0.1
		done
		flushed=$(awk '/^flushed/ { n = $2 } END { print n + 0 }' said)
		[ "$flushed" != 0 ] || not_ok "$place, round $round: flushed anything" "$(tail -n 20 said errors)"
		check "$place, round $round: the next guest reads the disk" vm_self read --disk "$work/disk"
		if output=$(python3 "$e2e/kill.py" judge found before "$(cat seed)" "$flushed"); then
			ok "$place, round $round: killed after write $flushed ($output)"
		else
			not_ok "$place, round $round: killed after write $flushed" "$output"
		fi
		mv found before
	done
	if [ $place = device ]; then
		model merge disk want
		check "$place: the format's words for the disk are the same" cmp want before
	fi
done
is "the backing file is as it was" "$(sum back)" "$(cat back.sum)"

plan
