#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Units of configfs, all at once and by many processes.

. "$(dirname "$0")/lib.sh"
. "$e2e/configfs.bash"

# shellcheck disable=SC2119
load

# All at once.

model pattern piece $((64 << 10)) piece
tee_piece() {
	tee "$@" <piece >/dev/null
}
wrong=
for unit in {0..15}; do
	attach "$unit" file="$work/many$unit" backing_file="$work/back" || wrong+=" $unit"
done
is "16 units" "$wrong$(echo /dev/ubd? | wc -w)" 16
check "16 units: written" tee_piece /dev/ubd?
pids=()
for unit in {0..15}; do
	power "$unit" 0 &
	pids+=($!)
done
wait "${pids[@]}"
is "16 units: all are detached at once" "$(cat $config/*/power | sort | uniq -c | xargs)" "16 0"
is "16 units: no node is left" "$(echo /dev/ubd*)" "/dev/ubd*"
cp back.want many.want
dd if=piece of=many.want bs=64k conv=notrunc status=none
wrong=
model merge many0 merged --backing back
cmp merged many.want || wrong=merged
for unit in {1..15}; do
	cmp many0 "many$unit" || wrong+=" $unit"
done
is "16 units: each file has what was written" "$wrong" ""
rmdir $config/*
rm many*

# Many processes that do all of this to the same two units, as long as one of
# them attaches. Whoever has a disk open must be able to read it; for the rest,
# nothing but the end is certain.

rounds=12
[ -z "$slow" ] || rounds=4
# starts UNIT FILE BACKING_FILE
starts() {
	mkdir "$config/$1"
	echo "$2" >"$config/$1/file"
	echo "$3" >"$config/$1/backing_file"
	echo 1 >"$config/$1/power"
}
attaches() {
	starts 0 "$work/plain" ""
	starts 1 "$work/race" "$work/back"
	starts a "$work/plain" ""
	starts b "$work/race" "$work/back"
}
detaches() {
	local unit
	for unit in 0 1 a b; do
		echo 0 >$config/$unit/power
	done
}
removes() {
	rmdir $config/0
	detaches
	rmdir $config/a $config/1 $config/b
}
looks() {
	local text
	for text in "$config"/*/* /sys/block/ubd[ab]/ubd/*; do
		read -r text <"$text"
	done
}
opens() {
	local dev
	for dev in ubda ubdb; do
		exec 3</dev/$dev || continue
		echo "$dev" >>race.opened
		head -c 4096 <&3 | cmp -s - "first.$dev" || echo "$dev: $?" >>race.wrong
		blockdev --rereadpt /dev/$dev
		exec 3<&-
	done
}
writes() {
	# The first page stays as it is.
	dd if=/dev/urandom of=/dev/ubda bs=4k seek=$((RANDOM % 200 + 1)) count=1 oflag=direct conv=nocreat
	dd if=/dev/urandom of=/dev/ubdb bs=4k seek=$((RANDOM % 500 + 1)) count=1 conv=nocreat
}
race() {
	local i
	# Rounds enough, and until someone has seen a disk in one of them.
	for ((i = 0; i < rounds || $(wc -l <race.opened) == 0; i++)); do
		attaches
	done
	: >race.over
}
mkfifo never
exec 9<>never
repeat() {
	until [ -e race.over ]; do
		"$1"
		# A little sleep, without a process for it.
		read -rt 0.02 -u 9
	done
}
head -c 4096 plain >first.ubda
head -c 4096 back >first.ubdb
: >race.opened
: >race.wrong
pids=()
mark
for job in detaches removes looks opens opens writes; do
	repeat $job >/dev/null 2>&1 &
	pids+=($!)
done
race >/dev/null 2>&1
wait "${pids[@]}"
note "$(messages | grep -c 'ubd[ab]: [0-9]* bytes') times attached," \
	"$(messages | grep -c 'detached') detached, $(wc -l <race.opened) opened"
is "a race: what was open could be read" "$(cat race.wrong)" ""
refuse "a race: a unit was left without a folder" said "stays attached"
check "a race: disks were opened in it" test -s race.opened
for unit in 0 1; do
	[ -d $config/$unit ] || [ -d $config/${unit/0/a} ] || mkdir $config/$unit
done
wrong=
for folder in "$config"/*; do
	echo 0 >"$folder/power" && rmdir "$folder" || wrong+=" $folder"
done
is "a race: all can be detached" "$wrong" ""
is "a race: no node is left" "$(echo /dev/ubd*)" "/dev/ubd*"
for file in plain race back; do
	check "a race: no file is kept: $file" model lock $file exclusive
done
check "a race: the module can be unloaded" unload
is "the backing file is as it was" "$(sum back)" "$(cat back.sum)"

plan
