#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A limit to what a COW file takes: writes that need more fail, and nothing else
# does.
# previous: yes
# daily: debug

. "$(dirname "$0")/lib.sh"
. "$e2e/configfs.bash"

full="No space left on device"
attributes=/sys/block/ubda/ubd
# shellcheck disable=SC2119
load

# limit BYTES: change it in use.
limit() {
	echo "$1" 2>/dev/null >$attributes/limit
}
# put SECTOR SECTORS: write there, as somebody does who is to be refused.
put() {
	dd if=/dev/urandom of=/dev/ubda bs=$(($2 * 512)) count=1 oflag=direct,seek_bytes \
		seek=$(($1 * 512)) status=none
}
# is_full NAME SECTOR SECTORS: a write there fails, and leaves what was there.
is_full() {
	fails "$1" "$full" put "$2" "$3"
	check "$1: what was there is there" model cmp /dev/ubda cow.want --direct
}
# used NAME BYTES
used() {
	is "$1: used" "$(cat $attributes/used) $(($(cat $attributes/cow_sectors) * 512))" "$2 $2"
}

for value in -1 1x 18446744073709551616 ""; do
	fails "'$value' is no limit" "$invalid" set_up 0 limit="$value"
done

# limited NAME: of a unit with a limit of 64 KiB and nothing in its COW file.
limited() {
	local what=$1
	is "$what: the limit" "$(cat $config/0/limit $attributes/limit | xargs)" "65536 65536"
	fails "$what: the folder says it while the unit is detached" "$busy" set_up 0 limit=1
	used "$what: nothing" 0
	model write /dev/ubda cow.want 0 61440 one
	used "$what: a part" 61440
	is_full "$what: more than is left" 200 16
	model write /dev/ubda cow.want 1048576 4096 two
	used "$what: all" 65536
	is_full "$what: a new sector" 300 1
	is_full "$what: a part of it new" 112 16
	check "$what: what is there can be written" model write /dev/ubda cow.want 512 50176 three
	check "$what: and be made durable" blockdev --flushbufs /dev/ubda
	check "$what: a discard" blkdiscard -o 4096 -l 8192 /dev/ubda
	dd if=/dev/zero of=cow.want bs=4k seek=1 count=2 conv=notrunc status=none
	used "$what: a discard gives the file's space back, not its sectors" 65536
	check "$what: which can be written again" model write /dev/ubda cow.want 4096 8192 four
	fails "$what: zeros in new sectors" "$full" \
		blkdiscard -z -o 204800 -l 4096 /dev/ubda
	check "$what: zeros in those that are there" blkdiscard -z -o 8192 -l 4096 /dev/ubda
	dd if=/dev/zero of=cow.want bs=4k seek=2 count=1 conv=notrunc status=none

	limit 69632
	check "$what: raised" model write /dev/ubda cow.want 524288 4096 five
	is_full "$what: raised, and used up" 1200 1
	limit 1000
	is_full "$what: lowered below what is used" 1200 1
	check "$what: lowered, what is there can be written" model write /dev/ubda cow.want 524288 4096 six
	fails "$what: a limit that is no number" "$invalid" bash -c "printf x >$attributes/limit"
	limit 0
	check "$what: none" model write /dev/ubda cow.want 600064 5120 seven
	used "$what: none" 74752

	# As many as there is space for, whoever they are.
	limit $((74752 + 10 * 4096))
	local pids=() done=0
	for i in {0..19}; do
		put $((2304 + i * 8)) 8 2>/dev/null &
		pids+=($!)
	done
	for i in "${pids[@]}"; do
		wait "$i" && done=$((done + 1))
	done
	is "$what: at once, as many succeed as there is space for" $done 10
	used "$what: at once" $((74752 + 10 * 4096))
	power 0 0
	power 0 1
	is "$what: the folder keeps the limit for the next time" "$(cat $attributes/limit)" 65536
	used "$what: the sectors are counted again" $((74752 + 10 * 4096))
	fails "$what: it holds" "$full" put 3000 1
	power 0 0
}
attach 0 file="$work/cow" backing_file="$work/back" limit=65536
limited "a COW file"
rm cow
cp back.want cow.want
attach 0 backing_file="$work/back" direct_io=1 limit=65536
limited "with direct I/O"
set_up 0 direct_io=0 limit=0

# Pages of the bitmap that are set as a whole, without being read: 16 MiB.
truncate -s 48M large
attach 0 file="$work/large.cow" backing_file="$work/large"
put 32769 7
power 0 0
power 0 1
blkdiscard -z -o $((16 << 20)) -l $((16 << 20)) /dev/ubda
used "a page set before they are counted" $((16 << 20))
put 0 1
put 65537 3
used "and more" $(((16 << 20) + 2048))
limit $((48 << 20))
check "a page set after that" blkdiscard -z -o $((32 << 20)) -l $((16 << 20)) /dev/ubda
used "a page set after that" $(((32 << 20) + 512))
limit $(((48 << 20) - 512))
fails "a page that does not fit" "$full" \
	blkdiscard -z -l $((16 << 20)) /dev/ubda
power 0 0
power 0 1
used "they are in the file" $(((32 << 20) + 512))
power 0 0

# Who can't have one.
fails "a plain image" "$invalid" attach 0 file="$work/plain" backing_file= limit=4096
told "a plain image" 0 "$work/plain" "cannot have limit"
check "without one it is attached" attach 0 limit=0
is "without one it has none" "$(cat $attributes/limit)" 0
fails "and gets none" "$invalid" bash -c "printf 4096 >$attributes/limit"
is "all of it is used" "$(cat $attributes/used)" 1048576
rmdir $config/0

plan
