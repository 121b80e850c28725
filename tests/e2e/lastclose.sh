#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Units that go when nobody has them open any more.
# daily: debug

. "$(dirname "$0")/lib.sh"
. "$e2e/configfs.bash"

# shellcheck disable=SC2119
load

# detached UNIT: it is.
detached() {
	[ "$(cat $config/"$1"/state)" = detached ]
}
# goes NAME UNIT: it goes, and leaves nothing but its folder.
goes() {
	wait_for detached "$2"
	is "$1: power" "$(power "$2")" 0
	gone "$1: its disk is gone" "$2"
}
# wanted UNIT
wanted() {
	cat $config/"$1"/detach_on_close
}

mkdir $config/0
is "what is not attached does not go" "$(wanted 0)" 0
fails "nor can it be told to" "No such device or address" set_up 0 detach_on_close=1

attach 0 file="$work/cow" backing_file="$work/back"
is "a unit stays" "$(wanted 0)" 0
fails "it is 0 or 1" "$invalid" set_up 0 detach_on_close=2
exec 3<>/dev/ubda
exec 3<&-
is "after it was open, too" "$(power 0)" 1

# As a program does that must not leave its unit.
exec 3<>/dev/ubda
exec 4<&3
check "while it is open it is told to go" set_up 0 detach_on_close=1
is "which is shown" "$(wanted 0)" 1
model write /dev/ubda cow.want 51200 5120 close
exec 3<&-
is "while another has it open it stays" "$(power 0)" 1
mark
exec 4<&-
goes "the last close" 0
says "the message" ubda detached
told "the last close" 0
model merge cow merged --backing back
check "what was written is in the file" cmp merged cow.want
check "the file is nobody's" model lock cow exclusive
check "the backing file is nobody's" model lock back exclusive
is "and as it was" "$(sum back)" "$(cat back.sum)"

power 0 1
is "attached again it stays, until it is told" "$(wanted 0)" 0
set_up 0 detach_on_close=1
goes "told while nobody has it open" 0

power 0 1
exec 3</dev/ubda
set_up 0 detach_on_close=1
set_up 0 detach_on_close=0
exec 3<&-
is "told to stay after all" "$(power 0)" 1
bash -c "exec 3</dev/ubda; echo 1 >$config/0/detach_on_close; kill -9 \$\$" 2>/dev/null
goes "a process that is killed" 0

# A partition, a mount and another unit are open disks, too.
sfdisk -q plain < <(echo "label: gpt"; echo "start=256, size=512")
attach 1 file="$work/plain"
exec 3</dev/ubdb1
set_up 1 detach_on_close=1
is "open by a partition" "$(power 1)" 1
exec 3<&-
goes "open by a partition" 1
power 1 1
attach 2 file=/dev/ubdb
set_up 1 detach_on_close=1
is "below another unit" "$(power 1)" 1
set_up 2 detach_on_close=1
goes "above another unit" 2
goes "below another unit" 1
rmdir $config/[12]

# A flush that fails.
mkdir small
mount -t tmpfs -o size=1M small small
attach 4 file="$work/small/cow" backing_file="$work/back"
cp back.want small.want
exec 3</dev/ubde
set_up 4 detach_on_close=1
model write /dev/ubde small.want 8192 4096 small
dd if=/dev/zero of=small/filler bs=4k status=none 2>/dev/null
mark
exec 3<&-
wait_for said ubde "not detached" "1 bitmap pages" ENOSPC
told "a flush that fails" 4 "could not be flushed" ENOSPC
is "a flush that fails: the unit stays" "$(power 4)" 1
rm small/filler
exec 3</dev/ubde
exec 3<&-
goes "the next close" 4
model merge small/cow merged --backing back
check "and nothing is lost" cmp merged small.want
rmdir $config/4
umount small

# Opened, told, closed, detached and removed by many, all at once: whoever comes
# last, nobody is left with a unit that nobody has open.
rounds=$(scaled 40)
opens() {
	local i
	for i in {1..5}; do
		exec 3</dev/ubda
		exec 3<&-
	done
}
wrong=
for ((i = 0; i < rounds; i++)); do
	power 0 1 || wrong+=" attach"
	exec 3</dev/ubda
	opens 2>/dev/null &
	jobs=($!)
	set_up 0 detach_on_close=1 || wrong+=" told"
	if ((i % 3 == 0)); then
		power 0 0 2>/dev/null &
		jobs+=($!)
	elif ((i % 3 == 1)); then
		rmdir $config/0 2>/dev/null &
		jobs+=($!)
	fi
	exec 3<&-
	wait "${jobs[@]}"
	[ -d $config/0 ] || set_up 0 file="$work/cow"
	wait_for detached 0
done
is "$rounds times at once: all went" "$wrong" ""
check "the file is nobody's after that" model lock cow exclusive

# The module waits for one that goes.
power 0 1
exec 3</dev/ubda
set_up 0 detach_on_close=1
exec 3<&-
wait_for rmdir $config/0
check "the module is unloaded" unload
check "the file is nobody's then" model lock cow exclusive

plan
