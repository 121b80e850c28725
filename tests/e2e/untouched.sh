#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Files of many file systems that are attached, read and detached: no byte and
# no time of them is another one than before.
# kernel: release

. "$(dirname "$0")/lib.sh"

export TEST_DIR=x TEST_DEV=x QA_CHECK_FS=x
old=1000000000
mkdir under

# made FS: at ./under.
made() {
	case $1 in
	tmpfs) mount -t tmpfs tmpfs under ;;
	overlay)
		mkdir -p upper work lower
		prepare lower
		mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work under
		;;
	btrfs | ext4 | xfs)
		rm -f fs.img
		truncate -s 400M fs.img
		"mkfs.$1" -q fs.img
		mount -o loop,strictatime fs.img under
		;;
	esac
}

# prepare FOLDER: files that are old, and have not been read since.
prepare() {
	model pattern "$1/plain" $((1 << 20)) plain
	model pattern "$1/back" $((1 << 20)) back
	touch -d @$old "$1/plain" "$1/back"
	model make-cow "$1/cow" "$1/back" --shape 8 --disk want
	touch -d @$old "$1/plain" "$1/back" "$1/cow"
	(cd "$1" && sha256sum plain back cow) >sums
}

times() {
	stat -c '%n %X %Y %Z' under/plain under/cow under/back
}

for fs in ext4 xfs btrfs tmpfs overlay; do
	made $fs || {
		not_ok "$fs: mounted"
		continue
	}
	[ $fs = overlay ] || prepare under
	# An open for writing copies up, which any program's would, and which is
	# no change of the file's own times.
	[ $fs != overlay ] || : 3<>under/plain 4<>under/cow
	before=$(times)
	for flags in "" r; do
		check "$fs, flags '$flags': attached" load "ubd=0$flags=$work/under/plain" "ubd=1$flags=$work/under/cow"
		dd if=/dev/ubda of=/dev/null bs=64k iflag=direct status=none
		dd if=/dev/ubdb of=/dev/null bs=64k iflag=direct status=none
		unload
		sync
		is "$fs, flags '$flags': the times are as before" "$(times)" "$before"
	done
	is "$fs: so are the bytes" "$(cd under && sha256sum plain back cow)" "$(cat sums)"
	umount under
done

plan
