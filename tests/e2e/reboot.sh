#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# where: host
#
# A COW disk over guest boots: a clean one, and one that ends like a power cut.
# kernel: release

. "$(dirname "$0")/lib.sh"

list() {
	(cd "$1" && find . -type f -print0 | sort -z | xargs -0 -r sha256sum)
}

attach() {
	mkdir -p /tmp/disk /tmp/mnt &&
		mount /dev/vda /tmp/disk &&
		load "ubd0=/tmp/disk/work.cow:/tmp/disk/golden.img" &&
		mount /dev/ubda /tmp/mnt
}

detach() {
	umount /tmp/mnt && e2fsck -fn /dev/ubda && dd if=/dev/ubda bs=1M status=none | sha256sum >read.sum &&
		unload && umount /tmp/disk
}

# shellcheck disable=SC2094 # list is a command and a file
guest_first() {
	attach && list /tmp/mnt >golden.list && model tree /tmp/mnt first 40 || return
	list /tmp/mnt >list && detach
}

guest_cut() {
	attach && list /tmp/mnt | diff list - && model tree /tmp/mnt second 40 && list /tmp/mnt >list.next &&
		mv list.next list && sync -f list && sync -f /tmp/mnt || return
	# What comes now may be lost, and no more than that.
	mkdir /tmp/mnt/later && cp list /tmp/mnt/later
	echo b >/proc/sysrq-trigger
	sleep 60
}

guest_after() {
	attach && list /tmp/mnt >found && grep -v ' ./later/' found | diff list - && detach
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
mkfs.ext4 -q -d files golden.img 24M
cp golden.img disk
mkfs.ext4 -q -d disk disk.img 80M

check "first boot: files on /dev/ubda" vm_self first --disk "$work/disk.img"
(cd files && list .) >files.list
# lost+found is empty: what the golden image had is what was there.
check "what was in the golden image was there" diff files.list golden.list
vm_self cut --disk "$work/disk.img" >cut.log 2>&1
is "second boot: found, changed, synced, and cut" $? 125
refuse "and nothing went wrong before the cut" grep -E 'diff|rror|console:.*(WARNING|BUG)' cut.log
check "third boot: all that was synced is there" vm_self after --disk "$work/disk.img"

for file in work.cow golden.img; do
	debugfs -R "dump -p $file found.$file" disk.img 2>/dev/null
done
check "the golden image is as it was" cmp found.golden.img golden.img
check "the model's merge" model merge found.work.cow merged --backing golden.img
check "is what /dev/ubda read" sum_is merged read.sum
rm merged
check "uml_moo's merge" uml_moo -b found.golden.img found.work.cow merged
check "is what /dev/ubda read" sum_is merged read.sum

plan
