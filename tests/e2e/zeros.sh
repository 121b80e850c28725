#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Space that is taken ahead of the writes from a device that makes zeros: it is asked
# for them, and holds none. Its memory stays taken, so this has a guest of its own.
# vm: --mem 1G
# kernel: release

. "$(dirname "$0")/lib.sh"
. "$e2e/configfs.bash"
. "$e2e/ahead.bash"
. "$e2e/scsi.bash"

# shellcheck disable=SC2119
load
model pattern back $((12 * mib + 512)) space
mkdir mnt
cow=$work/mnt/cow
scsi_disk
check "the device makes zeros" test "$(cat /sys/block/sda/queue/write_zeroes_unmap_max_bytes)" -gt 0
# mkfs.xfs makes file systems this small for its own tests only.
export TEST_DIR=x TEST_DEV=x QA_CHECK_FS=x
for fs in ext4 xfs; do
	blkdiscard -f /dev/sda
	case $fs in
	ext4) mkfs.ext4 -q -b 4096 -m 0 -E lazy_itable_init=0,lazy_journal_init=0 /dev/sda ;;
	xfs) mkfs.xfs -q /dev/sda ;;
	esac
	mount /dev/sda mnt
	attach 0 file="$cow" backing_file="$work/back" direct_io=1 allocate=auto
	model expect back want
	grown "$fs: a write" 4 64 model write /dev/ubda want $((3 * mib + 12288)) 4096 one
	grown "$fs: another" 900 1088 model write /dev/ubda want $((3 * mib + 65536)) 4096 two
	is "$fs: with zeros" "$(unwritten)" 0
	check "$fs: which it does not hold ($(held "$cow") KiB of $(taken "$cow"))" \
		test "$(held "$cow")" -le 64 -a "$(taken "$cow")" -ge 960
	check "$fs: all is right" model cmp /dev/ubda want --direct
	power 0 0
	check "$fs: so is the file" model cmp-cow "$cow" want --new --backing "$work/back"
	umount mnt
done
no_scsi_disk
rmdir $config/0

plan
