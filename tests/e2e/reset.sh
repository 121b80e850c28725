#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Units that are made anew: back to the backing file, in place. What a crash
# makes of that is in crash_files.sh.
# previous: yes
# daily: debug

. "$(dirname "$0")/lib.sh"
. "$e2e/configfs.bash"

# shellcheck disable=SC2119
load

# fresh NAME: unit 0 reads as the backing file, in a new state.
fresh() {
	is "$1: the unit is attached" "$(cat $config/0/state $config/0/power $config/0/reset | xargs)" "attached 1 0"
	told "$1" 0
	check "$1: it reads as the backing file" model cmp /dev/ubda back.want --direct
	is "$1: nothing is in the COW file" "$(cat /sys/block/ubda/ubd/cow_sectors)" 0
}
# used_again NAME FILE: what is written to it then is kept.
used_again() {
	cp back.want cow.want
	model write /dev/ubda cow.want 51200 5120 again
	power 0 0
	model merge "$2" merged --backing back
	check "$1: what is written then is in the file" cmp merged cow.want
}

mkdir $config/0
fails "a unit that is not attached" "No such device or address" set_up 0 reset=1
told "a unit that is not attached" 0 "not reset" "not attached"
attach 0 file="$work/cow" backing_file="$work/back" serial=S-1 limit=1048576 low_space=4096
blocks=$(stat -c %b cow)
model pattern pattern $((1 << 20)) reset
dd if=pattern of=/dev/ubda bs=1M oflag=direct status=none
fails "0 does nothing" "$invalid" set_up 0 reset=0
exec 3</dev/ubda
fails "a unit that is open" "$busy" set_up 0 reset=1
told "a unit that is open" 0 "not reset" open
check "a unit that is open has what it had" cmp -n 1048576 /dev/ubda pattern
exec 3<&-
inode=$(stat -c '%i %a %h' cow)
mark
check "reset" set_up 0 reset=1
says "the message" ubda reset
fresh "reset"
check "its space is given back" test "$(stat -c %b cow)" -le $((blocks + 64))
is "it is the same file" "$(stat -c '%i %a %h' cow)" "$inode"
is "the unit has what else it had" "$(settings 0) $(cat $config/0/limit $config/0/low_space | xargs)" \
	"$work/cow $work/back S-1  0 1 1048576 4096"
refuse "its locks are there all the time" model lock cow exclusive
dd if=pattern of=/dev/ubda bs=1M oflag=direct status=none
fails "its limit, too" "No space left on device" dd if=pattern of=/dev/ubda bs=4k count=1 seek=300 oflag=direct status=none
check "reset again" set_up 0 reset=1
used_again "reset" cow
set_up 0 limit=0 low_space=0

# All kinds of files.
for version in 1 2 3; do
	model make-cow "cow.$version" back --shape random --version "$version"
	attach 0 file="$work/cow.$version" backing_file=
	check "V$version" set_up 0 reset=1
	fresh "V$version"
	used_again "V$version" "cow.$version"
done
model make-cow device back --shape random
truncate -s %4096 device
loop=$(losetup -f --show device)
attach 0 file="$loop" direct_io=1
check "a device, direct I/O" set_up 0 reset=1
fresh "a device"
used_again "a device" device
losetup -d "$loop"
set_up 0 direct_io=0

# A file system that is full.
mkdir small
mount -t tmpfs -o size=3M small small
attach 0 file="$work/small/cow" backing_file="$work/back"
dd if=pattern of=/dev/ubda bs=1M oflag=direct status=none
dd if=/dev/zero of=small/filler bs=4k status=none 2>/dev/null
check "on a full file system" set_up 0 reset=1
fresh "on a full file system"
used_again "on a full file system" small/cow
umount small

# Who can't be.
attach 0 file="$work/plain" backing_file=
fails "a plain image" "$invalid" set_up 0 reset=1
told "a plain image" 0 "not reset" EINVAL
is "a plain image stays" "$(power 0)" 1
check "and can be opened" model cmp /dev/ubda plain.want --direct
power 0 0
attach 0 file="$work/cow" flags=r
fails "a read-only unit" "Read-only file system" set_up 0 reset=1
power 0 0

# One that was not finished: its version has all bits turned.
model pattern junk 65536 junk
dd if=junk of=cow bs=64k seek=8192 count=1 oflag=seek_bytes conv=notrunc status=none
printf '\377\377\377\374' | dd of=cow bs=1 seek=4 conv=notrunc status=none
fails "not finished, read-only" "$invalid" power 0 1
told "not finished, read-only" 0 "$work/cow" "not finished"
fails "not finished, below another" "$invalid" attach 0 file="$work/upper" backing_file="$work/cow" flags=
told "not finished, below another" 0 "$work/cow" "not finished"
mark
check "not finished" attach 0 file="$work/cow" backing_file="$work/back"
says "not finished: the message" ubda "$work/cow" "is finished now"
fresh "not finished"
used_again "not finished" cow

# Reset, opened, and detached by many at once.
rounds=$(scaled 20)
power 0 1
wrong=
for ((i = 0; i < rounds; i++)); do
	dd if=pattern of=/dev/ubda bs=64k count=1 oflag=direct,nonblock conv=nocreat status=none 2>/dev/null &
	jobs=($!)
	set_up 0 reset=1 2>/dev/null &
	jobs+=($!)
	if ((i % 2)); then
		power 0 0 2>/dev/null &
		jobs+=($!)
	fi
	wait "${jobs[@]}"
	until [ "$(power 0)" = 1 ]; do
		power 0 1 || wrong+=" $i"
	done
done
is "at once: the unit can be attached" "$wrong" ""
wait_for set_up 0 reset=1
fresh "at once"
used_again "at once" cow
is "the backing file is as it was" "$(sum back)" "$(cat back.sum)"
rmdir $config/0

plan
