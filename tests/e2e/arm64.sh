#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# where: host
# when: all
#
# COW files go from x86 to arm64 and back, with pages of 4 and of 64 KiB: each reads what
# the other has written, and writes on. Files that are new on the one are used by the
# other, past the page cache too. What arm64 has flushed is there when its power is cut.
# kernel: release

. "$(dirname "$0")/lib.sh"

# In a guest, a file system of its own.
here=/run/here

files=(v1 v2 v3 big)

# A guest of either kind: each file is read, then written.
guest_round() {
	local file round
	round=$(cat "$work/round")
	for file in "${files[@]}"; do
		load "ubd0=$work/$file" &&
			model cmp /dev/ubda "$file.want" --direct --bs 4096 &&
			model cmp /dev/ubda "$file.want" --bs 65536 &&
			model exercise /dev/ubda "$file.want" --seed "$round$file" --ops 60 --procs 2 --depth 4 --max 65536 &&
			unload || return
	done
}

# What is made here, past the page cache if that can be: on ext4, for tmpfs has none.
guest_make() {
	mkdir -p $here && mount -t tmpfs none $here && cd $here &&
		truncate -s 64M disk && mkfs.ext4 -q disk && mkdir mnt && mount -o loop disk mnt &&
		cp -p "$work/back" "$work/back.want" mnt && cp mnt/back.want new.want &&
		load direct_io=1 "ubd0=$here/mnt/new:$here/mnt/back" || return
	cat /sys/block/ubda/ubd/direct_io >"$work/new.direct"
	model exercise /dev/ubda new.want --seed make --ops 60 --procs 2 --depth 4 --max 65536 && unload &&
		cp -p mnt/new new.want "$work"
}

guest_use() {
	mkdir -p $here && mount -t tmpfs none $here && cd $here &&
		truncate -s 64M disk && mkfs.ext4 -q disk && mkdir mnt && mount -o loop disk mnt &&
		cp -p "$work/back" "$work/new" mnt && cp -p "$work/new.want" . &&
		load direct_io=1 "ubd0=$here/mnt/new:$here/mnt/back" &&
		cat /sys/block/ubda/ubd/direct_io >"$work/used.direct" &&
		model cmp /dev/ubda new.want --direct --bs 65536 && unload
}

# A COW file with sectors of 64 KiB, which only pages of that size can have.
guest_sectors() {
	load "ubd0=$work/sectors" &&
		model cmp /dev/ubda sectors.want --direct --bs 65536 && unload
}

# Each flush meets other writes; after the last one the power is cut. The bitmap has two pages
# whatever their size.
guest_cut() {
	load ubd0=/dev/vda && exec 3</dev/ubda && model history /dev/ubda --rounds 6 --how pipelined &&
		[ "$(cat /sys/block/ubda/ubd/dirty_pages)" = 0 ] || return
	: >"$work/cut"
	echo b >/proc/sysrq-trigger
	sleep 60
}

if [ $# != 0 ]; then
	"$1_$3"
	exit
fi

model pattern back $((4 << 20)) back
model expect back back.want
sum back >back.sum
for version in 1 2 3; do
	model make-cow v$version back --version $version --name "$work/back" --seed $version --disk v$version.want
done
model make-cow big back --name "$work/back" --sectorsize 4096 --alignment 65536 --seed big --disk big.want
model make-cow sectors back --name "$work/back" --sectorsize 65536 --alignment 65536 --seed sectors --disk sectors.want

round=0
for machine in "" --arm64 "" --arm64-64k ""; do
	round=$((round + 1))
	echo $round >round
	# shellcheck disable=SC2086
	check "round $round, ${machine:-x86}: reads what the one before has left, and writes on" vm_self round $machine
	for file in "${files[@]}"; do
		check "round $round: $file is right" model cmp-cow "$file" "$file.want" --backing "$work/back"
	done
done
is "the file below is as it was" "$(sum back)" "$(cat back.sum)"

for machine in --arm64 --arm64-64k; do
	check "$machine makes a COW file" vm_self make $machine
	is "and is used past the page cache" "$(cat new.direct)" 1
	check "x86 reads it" vm_self use
	is "past the page cache, too" "$(cat used.direct)" 1
done
truncate -s $(((257 << 20) + 512)) large
for machine in --arm64 --arm64-64k; do
	rm -f flushed cut
	model make-cow flushed large --name "$work/large" --shape none
	truncate -s 258M flushed
	vm_self cut $machine --disk "$work/flushed" >cut.log 2>&1
	is "$machine flushes, and its power is cut" "$? $(ls cut)" "125 cut" || note "$(cat cut.log)"
	check "what it has flushed is there" model crash-check flushed large 5 --rounds 6
done
check "sectors of 64 KiB in pages of 64 KiB" vm_self sectors --arm64-64k
refuse "not in pages of 4 KiB" vm_self sectors --arm64

plan
