#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# What a crash may take and what not, with several processes at work: writes,
# FUA writes, discards, zeroes and flushes that meet each other. The COW file is
# a device, or two of them are on ext4, or on xfs, with and without direct I/O, and
# some of these take space ahead of the writes; dm-log-writes below records.
# logwrites/ has the rules.
# daily: debug

. "$(dirname "$0")/lib.sh"
. "$e2e/logwrites.bash"
mountpoint -q /sys/kernel/config || mount -t configfs config /sys/kernel/config
folders=/sys/kernel/config/ubd

sectors=$(((17 << 20) / 512))
ops=$(scaled 16)
crashes base back $sectors
sum back >back.sum

# attached PARAMETER...: attach the units that these name. With pieces, which say for
# each in turn when it takes space ahead, that is done by their folders.
pieces=
attached() {
	local direct=${1#direct_io=} unit files each

	[ -n "$pieces" ] || { load "$@"; return; }
	load && shift || return
	read -r -a each <<<"$pieces"
	for files; do
		unit=${files%%=*} unit=${unit#ubd} files=${files#*=}
		mkdir "$folders/$unit"
		echo "${files%%:*}" >"$folders/$unit/file"
		echo "${files#*:}" >"$folders/$unit/backing_file"
		echo $((direct >> unit & 1)) >"$folders/$unit/direct_io"
		echo "${each[unit]}" >"$folders/$unit/allocate"
		echo 1 >"$folders/$unit/power" || return
	done
}

# detached: all units.
detached() {
	[ -z "$pieces" ] || rmdir "$folders"/* || return
	unload
}

# used NAME UNITS LOAD'S_OPTIONS... -- PARAMETER...: the units are attached, so
# many from 0 on, and used.
used() {
	local what=$1 units=() options=() i
	for ((i = 0; i < $2; i++)); do
		units+=("$(disk $i)")
	done
	shift 2
	while [ "$1" != -- ]; do
		options+=("$1")
		shift
	done
	shift
	if ! attached "$@" || [ ! -b "${units[-1]}" ]; then
		not_ok "$what: attached" "$(dmesg | tail -n 5)"
		! loaded || detached
		return 1
	fi
	check "$what: used" crashes load history "${units[@]}" --mark logged --seed "$seed" \
		--ops "$ops" "${options[@]}"
	detached
}

# raw NAME FLAGS DIRECT_IO [load's options]: no file system adds flushes of its
# own.
raw() {
	local what=$1 flags=$2 direct=$3 driven
	driven=$(scaled 4)
	[ -z "$points" ] || driven=200
	shift 3
	model make-cow start back --shape none
	truncate -s 18M start
	logged
	used "$what" 1 --lax "$@" -- direct_io="$direct" "ubd0$flags=/dev/mapper/logged"
	unlogged
	with_crashed
	result "$what: a crash at any point" crashes raw log start crashed.img "$crashed" history \
		--seed "$seed" --choices "$([ -n "$points" ] && echo 12 || echo 2)" \
		--param direct_io="$direct" --driver "$driven"
	without_crashed
}

parts=${parts:-device direct sync ext4 xfs ext4-ahead xfs-ahead}
# Where all is slow, those that have the driver do different things.
[ -z "$slow" ] || parts="device direct ext4"
! part device || raw "COW on a device" "" 0
! part direct || raw "COW on a device, direct I/O" "" 1
! part sync || raw "COW on a device, flag s" s 0 --sync --ops $((ops / 4 + 1))

# files FS [PIECES]: two COW files, the second one with direct I/O, over one backing
# file.
files() {
	local fs=$1 pieces=${2:-} what="COW on $1${2:+, space taken ahead}"
	made "$fs"
	mkdir -p mnt
	mount -o loop start mnt
	cp --preserve=timestamps back mnt
	umount mnt
	logged
	mount /dev/mapper/logged mnt
	used "$what" 2 --procs 8 -- direct_io=2 "ubd0=$work/mnt/cow0:$work/mnt/back" \
		"ubd1=$work/mnt/cow1:$work/mnt/back"
	umount mnt
	unlogged
	with_crashed
	# Where the headers say that the backing file is.
	result "$what: crashes" crashes files log start crashed.img "$crashed" "$fs" mnt \
		history back cow0 cow1 --seed "$seed" --points "${points:-$(scaled 10)}" --driver 2 \
		--param direct_io=2
	without_crashed
}

! part ext4 || files ext4
! part xfs || files xfs
! part ext4-ahead || files ext4 "131072 all"
! part xfs-ahead || files xfs "1048576 auto"

is "the backing file is as it was" "$(sum back)" "$(cat back.sum)"

plan
