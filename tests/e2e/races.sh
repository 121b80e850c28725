#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Hostile use: many processes that load, unload, open, read and write at once;
# options at their limits; files that change behind the driver's back. What is
# wrong in the kernel, the debug kernel says.

. "$(dirname "$0")/lib.sh"

seed=${UBD_SEED:-${RNULL_UBD_SEED:-1}}
note "UBD_SEED=$seed"

# Whoever comes first loads it, whoever finds it idle unloads it, and others use
# the disks that are there at the moment. Nothing but the end state is certain.

model pattern back $((8 << 20)) back
model pattern plain $((4 << 20)) plain
sum back >back.sum
RANDOM=$seed
rounds=$(scaled 8)

loads() {
	local i
	for ((i = 0; i < rounds; i++)); do
		load "ubd$1=$work/cow$1:$work/back" "ubd15=$work/plain"
	done
}
unloads() {
	local i
	for ((i = 0; i < rounds * 2; i++)); do
		rmmod rnull_ubd
	done
}
writes() {
	local i dev
	for ((i = 0; i < rounds; i++)); do
		for dev in /dev/ubd[a-o]; do
			[ ! -b "$dev" ] || dd if=/dev/zero of="$dev" bs=4k count=8 seek=$((RANDOM % 2000)) \
				oflag=direct conv=fsync,nocreat
		done
	done
}
reads() {
	local i
	for ((i = 0; i < rounds; i++)); do
		dd if="/dev/ubd$1" of=/dev/null bs=64k count=4 iflag=direct
		cat /sys/block/ubd?/size /sys/block/ubd?/stat
		blockdev --rereadpt /dev/ubda
	done
}
others() {
	# Not before the node is there, lest the shell makes a file of that name.
	pids=()
	for job in "loads 0" "loads 1" unloads unloads writes "reads a" "reads p"; do
		$job >/dev/null 2>&1 &
		pids+=($!)
	done
	wait "${pids[@]}"
}
others
[ ! -d /sys/module/rnull_ubd ] || unload
check "unloaded after a race" test ! -d /sys/module/rnull_ubd
is "no node is left" "$(echo /dev/ubd*)" "/dev/ubd*"
for file in back cow?; do
	# Which of the loads came first, nobody knows.
	[ ! -e "$file" ] || check "no file is kept: $file" model lock "$file" exclusive
done
is "the backing file is as it was" "$(sum back)" "$(cat back.sum)"
for unit in 0 1; do
	load "ubd0=$work/cow$unit:$work/back"
	model merge cow$unit want
	check "what the race left of COW file $unit is attached, and right" model cmp /dev/ubda want --direct
	unload
done

# Limits.

# deep LENGTH: a path of that many bytes.
deep() {
	local path=$work left
	while left=$(($1 - ${#path} - 1)) && [ $left -gt 200 ]; do
		path+=/$(printf '%0100d' 0)
	done
	echo "$path/$(printf "%0${left}d" 7)"
}
for length in 4095 4096; do
	path=$(deep $length)
	# By folders, for no system call takes it whole.
	python3 - "${path#"$work"/}" "$work/plain" <<-'END'
		import os, shutil, sys
		*folders, name = sys.argv[1].split("/")
		for folder in folders:
		    os.makedirs(folder, exist_ok=True)
		    os.chdir(folder)
		shutil.copy(sys.argv[2], name)
	END
	mark
	load "ubd0=$path" 2>/dev/null
	if [ $length = 4095 ]; then
		check "a path of $length bytes" test -b /dev/ubda
	else
		check "a path of $length bytes is none" test ! -e /dev/ubda
		says "and the message says why" ubda "cannot be opened"
	fi
	! loaded || unload
done
options=()
for ((i = 0; i < 16; i++)); do
	options+=("ubd$i=$work/many$i:$work/back")
done
load "${options[@]}"
pieces=$(scaled 64)
is "16 units over one backing file" "$(echo /dev/ubd? | wc -w)" 16
pids=()
for dev in /dev/ubd?; do
	dd if=plain of="$dev" bs=64k count="$pieces" oflag=direct conv=fsync status=none &
	pids+=($!)
done
wait "${pids[@]}"
wrong=
for dev in /dev/ubd?; do
	dd if="$dev" bs=64k count="$pieces" iflag=direct status=none |
		cmp -s -n $((pieces << 16)) - plain || wrong+=" $dev"
done
is "and all at work at once" "$wrong" ""
unload
rm -f many*
serial=$(printf '%03000d' 5)
load "ubd0=$work/plain,,$serial"
check "a serial number of 3000 digits does no harm" test -b /dev/ubda
unload

# Files that are changed by others while they are attached.

model pattern plain $((4 << 20)) plain
load "ubd0=$work/plain"
truncate -s 1M plain
check "a file cut short: what is gone reads as zeros" \
	cmp <(dd if=/dev/ubda bs=1M skip=1 iflag=direct status=none) <(head -c 3M /dev/zero)
check "a file cut short: it can be written" dd if=/dev/urandom of=/dev/ubda bs=1M seek=2 count=1 oflag=direct conv=fsync status=none
unload

rm -f cow
load "ubd0=$work/cow:$work/back"
dd if=plain of=/dev/ubda bs=64k count=4 oflag=direct status=none
truncate -s 0 cow
check "a COW file cut to nothing: reads do no harm" dd if=/dev/ubda of=/dev/null bs=1M iflag=direct status=none
check "a COW file cut to nothing: nor do writes" dd if=plain of=/dev/ubda bs=64k count=8 oflag=direct conv=fsync status=none
unload
mark
load "ubd0=$work/cow:$work/back"
note "attached again: $(messages | tail -n 1)"
! loaded || unload

rm -f cow
load "ubd0=$work/cow:$work/back"
dd if=/dev/urandom of=cow bs=64k count=64 conv=notrunc status=none
check "a COW file overwritten: reads do no harm" dd if=/dev/ubda of=/dev/null bs=1M iflag=direct status=none
unload
mark
load "ubd0=$work/cow:$work/back"
check "a COW file overwritten: found at the next attach" test ! -e /dev/ubda
says "a COW file overwritten: and said" ubda "no COW header"
unload

rm -f cow
load "ubd0=$work/cow:$work/back"
# The time is kept in whole seconds.
touch -d @$(($(stat -c %Y back) + 1)) overwritten
printf changed | dd of=back conv=notrunc status=none
touch -r overwritten back
check "a backing file overwritten: reads do no harm" dd if=/dev/ubda of=/dev/null bs=1M iflag=direct status=none
unload
mark
load "ubd0=$work/cow"
check "a backing file overwritten: found at the next attach" test ! -e /dev/ubda
says "a backing file overwritten: and said" ubda "$work/back" modified
unload
rm cow
load "ubd0=$work/cow:$work/back"
unlink back
unlink cow
check "files deleted while attached: reads go on" dd if=/dev/ubda of=/dev/null bs=1M iflag=direct status=none
check "files deleted while attached: writes too" dd if=plain of=/dev/ubda bs=64k count=8 oflag=direct conv=fsync status=none
unload

# Many cycles: what they leave in memory adds up.
model pattern back $((1 << 20)) back
cycles=${UBD_CYCLES:-${RNULL_UBD_CYCLES:-$(scaled 20)}}
rm -f cow
load "ubd0=$work/cow:$work/back" "ubd1=$work/plain"
unload
bad=
attach_cycles() {
	for ((i = 0; i < cycles; i++)); do
		load "ubd0=$work/cow" "ubd1=$work/plain" && [ -b /dev/ubda ] && unload || bad=$i
	done
}
no_growth "$cycles more times attached" "$cycles" attach_cycles
is "$cycles more times attached" "$bad" ""

plan
