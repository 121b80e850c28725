# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# A disk, /dev/sda, that makes zeros without having them written, and then has no
# blocks of its own there. To be sourced after lib.sh.

scsi=/sys/bus/pseudo/drivers/scsi_debug

# scsi_disk: it comes. Fails where the kernel has none.
scsi_disk() {
	[ -d $scsi ] || return
	echo 0 >$scsi/delay
	echo 1 >$scsi/add_host
	wait_for test -b /dev/sda
}

# no_scsi_disk: it goes.
no_scsi_disk() {
	echo -1 >$scsi/add_host
}

# held FILE: how many KiB of what the file has on a file system there the disk holds.
held() {
	filefrag -b512 -v "$1" | awk -v map="$(cat $scsi/map)" '
		BEGIN {
			for (n = split(map, ranges, ","); n; n--) {
				split(ranges[n], ends, "-")
				for (i = ends[1] + 0; i <= (2 in ends ? ends[2] : ends[1]) + 0; i++)
					held[i] = 1
			}
		}
		$1 ~ /^[0-9]+:$/ {
			gsub(/[.:]/, " ")
			for (i = $4; i <= $5; i++)
				n += i in held
		}
		END { print int(n / 2) }'
}
