#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# What a crash may take and what not. dm-log-writes records all that reaches a
# device below the driver's files, with every flush; the model then crashes the
# device at every point of the record, loses what a disk may lose, and looks at
# what is left: all that a completed flush covered is there, and a sector holds
# what it held before or what was last written, never anything else.
# previous: yes
# arm64: yes
# smp: 1

. "$(dirname "$0")/lib.sh"
. "$e2e/logged.bash"

rounds=6
choices=3
[ -z "$slow" ] || rounds=4 choices=1 more_points=

# The file is the device itself: no file system adds flushes of its own. The
# COW file's bitmap has two pages.

model pattern back $(((20 << 20) + 512)) back
model pattern image $((1 << 20)) image

# crash NAME COW|PLAIN FLAGS HOW [ROUNDS [AHEAD]]
crash() {
	local what=$1 kind=$2 flags=$3 how=$4 rounds=${5:-$rounds} ahead=${6:-1}
	local first=image as=(--plain) output

	if [ "$kind" = cow ]; then
		model make-cow start back --shape none
		truncate -s 21M start
		first=back as=()
	else
		cp image start
	fi
	logged
	if ! load "ubd0$flags=/dev/mapper/logged" || [ ! -b /dev/ubda ]; then
		not_ok "$what: attached" "$(dmesg | tail -n 5)"
		! loaded || unload
		unlogged
		return
	fi
	if [ "$how" = unload ]; then
		check "$what: written" model history /dev/ubda --rounds 1 --how nothing
		dmsetup message logged 0 mark round--1
		unload
		dmsetup message logged 0 mark round-0
	else
		check "$what: written" model history /dev/ubda --rounds "$rounds" --how "$how" --mark logged
		unload
	fi
	unlogged
	if output=$(model crash-replay log start "$first" "${as[@]}" --rounds "$rounds" \
		--choices "$choices" --ahead "$ahead" 2>&1); then
		ok "$what: a crash at any point ($output)"
	else
		not_ok "$what: a crash at any point" "$output"
	fi
}

# What is recorded, and crashed at any point of that.
recorded() {
	crash "COW, direct writes and fsync" cow "" direct
	crash "COW, each fsync during other writes" cow "" pipelined "" 2
	crash "COW, no fsync but flag s" cow s nothing 2
	crash "COW, no fsync but unloaded" cow "" unload 1
	if [ -z "$slow" ]; then
		crash "COW, buffered writes and fsync" cow "" buffered
		crash "COW, writes with RWF_DSYNC" cow "" dsync 2
		crash "plain, direct writes and fsync" plain "" direct 3
		crash "plain, no fsync but flag s" plain s nothing 2
		crash "plain, no fsync but unloaded" plain "" unload 1
	fi

	# Files on ext4.

	model pattern back $(((1 << 20) + 512)) back
	truncate -s $(((1 << 20) + 512)) back
	mkdir first mnt crashed
	cp back first
	mkfs.ext4 -q -d first start 12M
	logged
	mount /dev/mapper/logged mnt
	load "ubd0=$work/mnt/cow:$work/mnt/back"
	# A new file must survive as such from the first flush on.
	dd if=/dev/zero of=/dev/ubda bs=512 count=0 conv=fsync status=none
	check "COW on ext4: written" model history /dev/ubda --rounds "$rounds" --how buffered --mark logged
	unload
	umount mnt
	unlogged
	bad=
	points=0
	for point in 0.3 0.6:--lucky ${more_points-0.8 0.9:--lucky 1:--lucky} 1; do
		# shellcheck disable=SC2046
		round=$(model crash-state log start "${point%:*}" crashed.img $([ "${point%:*}" = "$point" ] || echo --lucky))
		mount -o loop crashed.img crashed || { bad+="at $point: no mount"$'\n'; continue; }
		cmp crashed/back back || bad+="at $point: the backing file differs"$'\n'
		model crash-check crashed/cow crashed/back "$round" --rounds "$rounds" >out ||
			bad+="at $point, after round $round: $(cat out)"$'\n'
		umount crashed
		points=$((points + 1))
	done
	is "COW on ext4: a crash at $points points" "$bad" ""

	# What was left is a disk that goes on.
	mount -o loop crashed.img crashed
	load "ubd0=$work/crashed/cow:$work/crashed/back"
	model merge crashed/cow want --backing crashed/back
	check "after the last crash: the COW file is attached and right" model cmp /dev/ubda want --direct
	unload
	umount crashed
}

if grep -q device-mapper /proc/misc; then
	recorded
else
	skip "a crash at any point" "this kernel has no dm-log-writes"
fi

# Nobody asks for a flush: it comes by itself.
model pattern back $((1 << 20)) back
cp back want
rm -f cow
load "ubd0=$work/cow:$work/back"
exec 3</dev/ubda
dirty() {
	[ "$(cat /sys/block/ubda/ubd/dirty_pages)" = "$1" ]
}
# Where the guest stands still in between, it may have come already.
at=0
until model write /dev/ubda want $at 65536 timed && dirty 1; do
	at=$((at + 65536))
done
ok "with no flush: the bitmap is behind"
wait_for dirty 0
cp --sparse=always cow seen
check "with no flush: after a while it is not" model cmp-cow seen want
is "with no flush: what is in the COW file is counted" "$(cat /sys/block/ubda/ubd/cow_sectors)" \
	$(((at + 65536) / 512))
exec 3<&-
unload

# Nor for one by who closes the disk: that comes with the last close.
rm -f cow
cp back want
load "ubd0=$work/cow:$work/back"
exec 3</dev/ubda
at=65536
until model write /dev/ubda want $at 65536 direct && dirty 1; do
	at=$((at + 65536))
done
exec 3<&-
is "the last close: the bitmap is not behind" "$(cat /sys/block/ubda/ubd/dirty_pages)" 0
dd if=want of=/dev/ubda bs=64k count=1 conv=notrunc status=none
is "the last close, with data in the page cache: nor is it then" \
	"$(cat /sys/block/ubda/ubd/dirty_pages)" 0
cp --sparse=always cow seen
check "the last close: what was written is in the COW file" model cmp-cow seen want
is "the last close: all of it" "$(cat /sys/block/ubda/ubd/cow_sectors)" $(((at + 65536) / 512))
unload

plan
