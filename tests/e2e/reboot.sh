#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# where: host
#
# Disks over guest boots: clean ones, and some that end like a power cut.
# kernel: release

. "$(dirname "$0")/lib.sh"

# mkfs.xfs makes file systems this small for its own tests only.
export TEST_DIR=x TEST_DEV=x QA_CHECK_FS=x

systems=(ext4 xfs)
check_ext4() { e2fsck -fn "$1"; }
check_xfs() { xfs_repair -n "$1"; }

list() {
	(cd "$1" && find . -type f -print0 | sort -z | xargs -0 -r sha256sum)
}

# each COMMAND...: for each file system; what follows finds its name in `fs`, and
# the disk that it is on in `disk`.
each() {
	local fs disk=/dev/ubda
	for fs in "${systems[@]}"; do
		"$@" || return
		disk=/dev/ubdb
	done
}

mounted() { mkdir -p "/tmp/mnt/$fs" && mount "$disk" "/tmp/mnt/$fs"; }
filled() { model tree "/tmp/mnt/$fs" "$1" 40; }
checked() { umount "/tmp/mnt/$fs" && "check_$fs" "$disk" && sum "$disk" >"$fs.sum"; }
synced() { sync -f "/tmp/mnt/$fs"; }
later() { mkdir "/tmp/mnt/$fs/later" && cp list "/tmp/mnt/$fs/later"; }

attach() {
	local dir=/tmp/disk
	mkdir -p $dir && mount /dev/vda $dir &&
		load ubd0=$dir/ext4.cow:$dir/ext4.img ubd1=$dir/xfs.cow:$dir/xfs.img && each mounted
}

detach() {
	each checked && unload && umount /tmp/disk
}

# shellcheck disable=SC2094 # list is a command and a file
guest_first() {
	attach && list /tmp/mnt >golden.list && each filled first || return
	list /tmp/mnt >list && detach
}

guest_cut() {
	attach && list /tmp/mnt | diff list - && each filled second && list /tmp/mnt >list.next &&
		mv list.next list && sync -f list && each synced || return
	# What comes now may be lost, and no more than that.
	each later
	echo b >/proc/sysrq-trigger
	sleep 60
}

guest_after() {
	attach && list /tmp/mnt >found && grep -v '/later/' found | diff list - && detach
}

# What was written is durable when the disk was closed, and when the machine is
# rebooted in an orderly way: no unit is detached here.

# units: a COW file and a plain image on one disk.
units() {
	mkdir -p /tmp/disk && mount /dev/vda /tmp/disk &&
		load ubd0=/tmp/disk/cow:/tmp/disk/back ubd1=/tmp/disk/plain
}

# written OFFSET SEED: to both, and to what is expected of them. A bit that is set
# does not get dirty again.
written() {
	model write /dev/ubda cow.want "$1" 65536 "$2" && model write /dev/ubdb plain.want "$1" 65536 "$2"
}

guest_closed() {
	units && written 8192 closed || return
	echo b >/proc/sysrq-trigger
	sleep 60
}

guest_rebooted() {
	units && model cmp /dev/ubda cow.want --direct && model cmp /dev/ubdb plain.want --direct &&
		exec 3</dev/ubda 4</dev/ubdb && written 262144 rebooted || return
	[ "$(cat /sys/block/ubda/ubd/dirty_pages)" = 1 ] || return
	# As `reboot -f` does, and more than five seconds before the driver would flush.
	python3 -c 'import ctypes; ctypes.CDLL(None).reboot(0x01234567)'
	sleep 60
}

guest_found() {
	units && model cmp /dev/ubda cow.want --direct && model cmp /dev/ubdb plain.want --direct &&
		unload && umount /tmp/disk
}

if [ $# != 0 ]; then
	"$1_$3"
	exit
fi

# sum_is FILE SUM
sum_is() {
	[ "$(sum "$1")" = "$(cat "$2")" ] && [ -s "$2" ]
}

mkdir files disk
model tree files golden 40
mkfs.ext4 -q -d files disk/ext4.img 24M
truncate -s 48M disk/xfs.img
mkfs.xfs -q disk/xfs.img
mkfs.ext4 -q -d disk disk.img 120M

check "first boot: files on ext4 and on xfs" vm_self first --disk "$work/disk.img"
(cd files && list . | sed 's,\./,./ext4/,') >files.list
# lost+found is empty: what the golden image had is what was there.
check "what was in the golden image was there" diff files.list golden.list
vm_self cut --disk "$work/disk.img" >cut.log 2>&1
is "second boot: found, changed, synced, and cut" $? 125
refuse "and nothing went wrong before the cut" grep -E 'diff|rror|console:.*(WARNING|BUG)' cut.log
check "third boot: all that was synced is there" vm_self after --disk "$work/disk.img"

for fs in "${systems[@]}"; do
	for file in $fs.cow $fs.img; do
		debugfs -R "dump -p $file found.$file" disk.img 2>/dev/null
	done
	check "$fs: the golden image is as it was" cmp "found.$fs.img" "disk/$fs.img"
	check "$fs: the model's merge" model merge "found.$fs.cow" merged --backing "disk/$fs.img"
	check "$fs: is what the disk read" sum_is merged "$fs.sum"
	rm merged
	check "$fs: uml_moo's merge" uml_moo -b "found.$fs.img" "found.$fs.cow" merged
	check "$fs: is what the disk read" sum_is merged "$fs.sum"
	rm merged
done

rm -rf disk
mkdir disk
model pattern disk/back $((1 << 20)) back
model pattern disk/plain $((1 << 20)) plain
cp disk/back cow.want
cp disk/plain plain.want
mkfs.ext4 -q -d disk units.img 16M
vm_self closed --disk "$work/units.img" >closed.log 2>&1
is "units are closed, and the power is cut" $? 125
vm_self rebooted --disk "$work/units.img" >rebooted.log 2>&1
is "what was closed is there; units are written to, and the machine is rebooted" $? 125
refuse "and nothing went wrong before" grep -E 'differ|rror|console:.*(WARNING|BUG)' closed.log rebooted.log
check "what was written before the reboot is there" vm_self found --disk "$work/units.img"

plan
