#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A file whose length changes while it is attached: the disk follows when asked.
# smp: 1
# arm64: yes
# daily: debug

. "$(dirname "$0")/lib.sh"

model pattern plain $((4 << 20)) plain
model pattern back $((4 << 20)) back
load "ubd0=$work/plain" "ubd1=$work/cow:$work/back"
sys=/sys/block/ubda
python3 "$e2e/watch.py" ubda >told &
watcher=$!
wait_for grep -q ready told
mkfs.ext4 -q -b 1024 /dev/ubda
mkdir mnt
mount /dev/ubda mnt
printf 'before\n' >mnt/file
truncate -s 16M plain
is "a longer file changes nothing by itself" "$(cat $sys/size)" 8192
check "it is taken up" sh -c "echo 1 >$sys/ubd/rescan"
is "the disk has the file's size" "$(cat $sys/size) $(blockdev --getsize64 /dev/ubda)" "32768 16777216"
wait_for grep -qx "uevent RESIZE=1" told
ok "with the uevent of a resize"
kill $watcher
wait $watcher 2>/dev/null
check "a mounted file system is grown" grow_ext4 mnt $((16 << 10))
head -c 9M /dev/urandom >mnt/large
sum mnt/large >large.sum
umount mnt
check "and sound" e2fsck -fn /dev/ubda
check "unloaded, and attached again" sh -c "modprobe -r rnull_ubd && modprobe rnull_ubd ubd0=$work/plain ubd1=$work/cow"
mount /dev/ubda mnt
is "with all its files" "$(cat mnt/file) $(sum mnt/large)" "before $(cat large.sum)"
umount mnt

truncate -s $((1024 * 1024 + 100)) plain
check "a shorter file is taken up" sh -c "echo 1 >$sys/ubd/rescan"
is "with its last sector, of which there is but a part" "$(cat $sys/size)" 2049
is "what is gone can't be read" \
	"$(dd if=/dev/ubda bs=512 skip=2049 count=1 iflag=direct status=none | wc -c)" 0
refuse "anything but 1 is refused" sh -c "echo 2 >$sys/ubd/rescan"
truncate -s 0 plain
refuse "an empty file is refused" sh -c "echo 1 >$sys/ubd/rescan"
is "and the size stays" "$(cat $sys/size)" 2049
truncate -s 8M back
refuse "a COW file has its size from its header" sh -c "echo 1 >/sys/block/ubdb/ubd/rescan"
is "and keeps it" "$(cat /sys/block/ubdb/size)" 8192

plan
