#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# What keeps a unit of configfs from being detached, how long that takes, and its
# folder's removal meanwhile.
# daily: debug

. "$(dirname "$0")/lib.sh"
. "$e2e/configfs.bash"

load
attach b file="$work/cow" backing_file="$work/back"
model write /dev/ubdb cow.want 50176 3072 busy
power b 0

# What is in use.

# held NAME: unit 0 cannot be detached, and is as it was.
held() {
	fails "$1: it is not detached" "$busy" power 0 0
	told "$1" 0 "not detached" open
	is "$1: power" "$(power 0)" 1
	node "$1: its disk is there" 0
}
truncate -s 16M plain
attach 0 file="$work/plain"
exec 3</dev/ubda
held "open"
check "open: it can be read" cmp <(head -c 65536 <&3) <(head -c 65536 plain)
exec 3<&-
mkfs.ext4 -q /dev/ubda
mkdir mnt
mount /dev/ubda mnt
held "mounted"
echo hello >mnt/hello
umount mnt
attach 3 file=/dev/ubda
held "below another unit"
rmdir $config/3
gone "the other unit is gone with its folder" 3
check "it is detached when nobody has it" power 0 0
check "what was written in a file system is in the file" grep -qx hello <(debugfs -R "cat /hello" plain 2>/dev/null)
sfdisk -q plain < <(echo "label: gpt"; echo "start=2048, size=2048")
power 0 1
check "it has a partition" test -b /dev/ubda1
exec 3</dev/ubda1
held "with a partition open"
check "with a partition open: that is there" test -b /dev/ubda1
exec 3<&-
exec 4</sys/block/ubda/ubd/state
check "it is detached, with a file of sysfs open" power 0 0
check "the partition is gone with it" test ! -e /dev/ubda1
fails "the file of sysfs says nothing more" "No such device" cat <&4
exec 4<&-
fails "the module stays while there are folders" "Module rnull_ubd is in use" rmmod rnull_ubd

# A flush that fails: the data has its place in the file, its bit has none.

mkdir small
mount -t tmpfs -o size=1M small small
attach 4 file="$work/small/cow" backing_file="$work/back"
cp back.want small.want
mark
exec 3</dev/ubde
model write /dev/ubde small.want 8192 4096 small
dd if=/dev/zero of=small/filler bs=4k status=none 2>/dev/null
exec 3<&-
says "a flush that fails: the last close says so" ubde "last close" "1 bitmap pages" ENOSPC
mark
fails "a flush that fails" "No space left on device" power 4 0
says "a flush that fails: the message" ubde "could not be flushed" "1 bitmap pages" ENOSPC
told "a flush that fails" 4 "could not be flushed" "1 bitmap pages" ENOSPC
is "a flush that fails: power" "$(power 4)" 1
check "a flush that fails: it can be read" model cmp /dev/ubde small.want --direct
mark
rmdir $config/4
says "a flush that fails: without its folder it stays" ubde "stays attached" ENOSPC
check "a flush that fails: it can be read after that" model cmp /dev/ubde small.want --direct
mkdir $config/4
told "a flush that fails: in its next folder" 4 "could not be flushed" ENOSPC
is "a flush that fails: it is taken up again" "$(settings 4)" "$work/small/cow $work/back   0 1"
rm small/filler
check "it is detached when there is space" power 4 0
model merge small/cow merged --backing back
check "and nothing is lost" cmp merged small.want
rmdir $config/4
umount small

# A flush that takes long: the file is on a device that stands still.

cp cow slow
truncate -s %512 slow
loop=$(losetup -f --show slow)
dmsetup create --noudevsync slow --table "0 $(blockdev --getsz "$loop") linear $loop 0"
dmsetup mknodes slow
cp cow.want slow.want
attach 5 file=/dev/mapper/slow
mkfifo held
# has_open: a process, $closer, has the disk open until it reads from "held".
has_open() {
	bash -c 'exec 3</dev/ubdf; echo >held; read -r <held; exec 3<&-' &
	closer=$!
	read -r <held
}
has_open
model write /dev/ubdf slow.want 16384 4096 slow
dmsetup suspend --noflush --nolockfs slow
echo >held
# closing: $closer waits for the end of its close.
closing() {
	[ ! -e /proc/$closer/fd/3 ] && sleeps $closer
}
wait_for closing
power 5 0 &
detacher=$!
wait_for grep -qx detaching $config/5/state
is "a flush that takes long: the state" "$(cat $config/5/state)" detaching
is "a flush that takes long: the power" "$(power 5)" 1
fails "a flush that takes long: the settings cannot be changed" "$busy" set_up 5 flags=r
fails "a flush that takes long: nobody else detaches it" "$busy" power 5 0
told "a flush that takes long" 5 "somebody else"
fails "a flush that takes long: its folder is not removed" "$busy" rmdir $config/5
set_up 6 file="$work/plain"
check "a flush that takes long: another unit is attached" power 6 1
check "a flush that takes long: and detached" rmdir $config/6
gone "a flush that takes long: it is gone" 6
dmsetup resume --noudevsync slow
wait $closer
is "a flush that takes long: the disk is closed in the end" $? 0
wait $detacher
is "a flush that takes long: the unit is detached in the end" $? 0
is "a flush that takes long: the state then" "$(cat $config/5/state)" detached
gone "a flush that takes long: its disk is gone" 5
model merge slow merged --backing back
check "a flush that takes long: and nothing is lost" cmp merged slow.want

# The same at the end of rmdir.

attach 5 file=/dev/mapper/slow
has_open
model write /dev/ubdf slow.want 32768 4096 slow
dmsetup suspend --noflush --nolockfs slow
echo >held
wait_for closing
# What it has begun goes on.
kill -9 $closer
wait $closer 2>/dev/null
mark
rmdir $config/5 &
remover=$!
wait_for test ! -d $config/5
fails "rmdir that takes long: there is no next folder before its end" "$busy" mkdir $config/5
fails "rmdir that takes long: nor by its other name" "$busy" mkdir $config/f
fails "rmdir that takes long: the disk is not opened" "No such device or address" head -c1 /dev/ubdf
dmsetup resume --noudevsync slow
wait $remover
gone "rmdir that takes long: its disk is gone" 5
refuse "rmdir that takes long: a message says that it stays" said "stays attached"
model merge slow merged --backing back
check "rmdir that takes long: and nothing is lost" cmp merged slow.want
set_up 5 file=/dev/mapper/slow

# A device that fails for good.

power 5 1
dmsetup load slow --table "0 $(blockdev --getsz "$loop") error"
mark
exec 3</dev/ubdf
model write /dev/ubdf slow.want 24576 4096 failed
dmsetup suspend --noflush --nolockfs slow
dmsetup resume --noudevsync slow
exec 3<&-
says "a device that fails: the last close says so" ubdf "last close" EIO
is "a device that fails: the state" "$(cat /sys/block/ubdf/ubd/state)" failed
mark
check "a device that fails: its unit is detached when that was said" power 5 0
says "a device that fails: the message of that" ubdf "are lost"
gone "a device that fails: its disk is gone" 5
rmdir $config/5
dmsetup remove --noudevsync slow
rm -f /dev/mapper/slow
losetup -d "$loop"

# rmdir.

attach b backing_file="$work/back" serial=S-2
model write /dev/ubdb cow.want 102400 5120 rmdir
exec 4<$config/b/power
mark
check "rmdir of a unit that is attached" rmdir $config/b
says "rmdir: the message" ubdb detached
gone "rmdir: nothing is left of it" 1
fails "rmdir: nor in a file that was open" "No such file or directory" cat <&4
exec 4<&-
model merge cow merged --backing back
check "rmdir: the file has what was written" cmp merged cow.want
attach 1 file="$work/cow" serial=S-3 flags=s
exec 3<>/dev/ubdb
mark
fails "rmdir of a unit that is open" "$busy" rmdir $config/1
is "rmdir, open: the unit has all that it had" "$(settings 1)" "$work/cow $work/back S-3 s 0 1"
node "rmdir, open: its disk is there" 1
check "rmdir, open: and works" model cmp /dev/ubdb cow.want --direct
fails "rmdir, open: again" "$busy" rmdir $config/1
exec 4<&3
exec 3<&-
fails "rmdir of a unit that another has open" "$busy" rmdir $config/1
exec 4<&-
check "rmdir of a unit that was open" rmdir $config/1
gone "rmdir: nothing is left of it either" 1
attach 1 file="$work/cow"
model write /dev/ubdb cow.want 204800 5120 unload
rmdir $config/1
model merge cow merged --backing back
check "rmdir: what was written is in the file" cmp merged cow.want
attach 1 file="$work/cow"
is "rmdir: who opens the disk when the folder has just gone" \
	"$(python3 "$e2e/removal.py" "$config/1" /dev/ubdb)" ENXIO
gone "rmdir: nothing is left of it then" 1
check "rmdir: its next folder attaches it" attach 1 file="$work/cow"
rmdir $config/1
rmdir $config/0
refuse "rmdir: a message says that a unit has no folder" said "stays attached"
check "the module is unloaded" unload

# A folder of a unit that is in use when it is made.

load "ubd0=$work/cow"
exec 3</dev/ubda
mkdir $config/0
fails "rmdir of a folder that was made while the unit was open" "$busy" rmdir $config/0
exec 3<&-
check "rmdir of it when that is closed" rmdir $config/0
gone "which detaches the unit" 0
unload

is "the backing file is as it was" "$(sum back)" "$(cat back.sum)"

plan
