# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# A device whose writes are recorded by dm-log-writes. To be sourced after
# lib.sh.

# logged: /dev/mapper/logged is a device like the file start, and is recorded.
logged() {
	cp --sparse=always start device
	device=$(losetup --show -f device)
	rm -f log
	truncate -s 1G log
	log_loop=$(losetup --show -f log)
	dmsetup create --noudevsync logged --table \
		"0 $(blockdev --getsz "$device") log-writes $device $log_loop"
	dmsetup mknodes logged
}

unlogged() {
	dmsetup remove --noudevsync logged
	losetup -d "$log_loop" "$device"
}
