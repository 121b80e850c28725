#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# where: host
#
# More units than User-mode Linux has, over one golden image: attached, written
# and detached by eight processes at a time, with a reboot in between, and every
# byte of all of them looked at; and what a unit costs that does nothing.

. "$(dirname "$0")/lib.sh"

golden=/tmp/disk/golden

# set_up: the driver, and the disk that all files are on.
set_up() {
	mount -t configfs config /sys/kernel/config && mkdir /tmp/disk &&
		mount /dev/vda /tmp/disk && modprobe rnull_ubd
}

# units WHAT [OPTION...]: with all of them.
units() {
	python3 -P "$e2e/units.py" each "$1" $golden /tmp/disk --count "$count" "${@:2}"
}

# threads NUMBER: so many are there for the units.
threads() {
	[ "$(pgrep -c ^ubd)" = "$1" ]
}

# shrink: has the kernel give back what its caches keep for the next ones.
shrink() {
	local cache
	for cache in /sys/kernel/slab/*; do
		[ -h "$cache" ] || echo 1 >"$cache/shrink"
	done
}

# The machine is rebooted in an orderly way, with all units attached.
guest_first() {
	read -r count _ <asked
	set_up && units attach && units write || return
	python3 -c 'import ctypes; ctypes.CDLL(None).reboot(0x01234567)'
	sleep 60
}

# again: all of them written to once more.
wrong=
again() {
	[ -z "$wrong" ] || return
	{ units attach && units write --round "$round" && units detach &&
		units merge --round $((round + 1)); } || { wrong=1; return; }
	round=$((round + 1))
	wait_for threads 0
	shrink
}

guest_second() {
	local before idle
	read -r count most round <asked
	set_up || return
	before=$(kernel_memory)
	units attach || return
	# The threads that an attach has needed besides go again.
	wait_for threads "$count"
	idle=$((($(kernel_memory) - before) / count))
	echo "$idle" >idle
	[ -n "$debug" ] || [ "$idle" -le "$most" ] || { echo "$idle kB, at most $most"; return 1; }
	units check --round "$round" && units detach || return
	wait_for threads 0
	shrink
	no_growth "$count units" "$count" again && [ -z "$wrong" ] && unload
}

if [ $# != 0 ]; then
	"$1_$3"
	exit
fi

# prepare COUNT MOST ROUND: for so many units, of which one takes so many kilobytes
# at most when it does nothing, and which were written so often.
prepare() {
	echo "$*" >asked
	rm -rf disk
	mkdir disk
	model pattern disk/golden $((32 << 10)) golden
	truncate -s 0 disk.img
	mkfs.ext4 -q -N $(($1 + 100)) -d disk disk.img 160M
}

# second NAME [OPTION...]: the last guest of some units.
second() {
	check "$1: what was written is there, more is written, and all is given back" \
		vm_self second --mem 2G --disk "$work/disk.img" --kernel-log "$work/second.log" "${@:2}"
	note "$1: one that does nothing takes $(cat idle) kB"
	is "$1: the log says what they are, and no more" \
		"$(sed -n 's/.*rnull_ubd: //p' ./*.log | grep -vE "$common")" ""
}
common='^loading out-of-tree|^ubd[a-z]+: (ubd[0-9]+=.*: made as a COW file over|[0-9]+ bytes, |detached$)'

if [ -z "$debug" ]; then
	many=${many:-96}
	prepare "$many" 200 1
	vm_self first --mem 2G --disk "$work/disk.img" --kernel-log "$work/first.log" >first.out 2>&1
	is "$many units: attached and written to, and the machine is rebooted" $? 125 || note "$(cat first.out)"
	second "$many units"
fi
prepare 48 288 0
second "48 units, 64 possible processors" --smp 64 --append maxcpus=2

plan
