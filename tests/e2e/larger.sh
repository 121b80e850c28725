#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# COW files of a disk larger than the file below: what lies beyond that reads as zeros, is written
# as all else, and only a header that says so makes it one.
# smp: 1
# previous: yes
# daily: debug
# arm64: yes

. "$(dirname "$0")/lib.sh"
. "$e2e/configfs.bash"

# The disk is larger by a byte, by less than a sector, within the last sector of the file below,
# by more than a page of the bitmap; sectors are of several sizes, and so is the file.

while read -r below size options; do
	what="$size bytes over $below${options:+, $options}"
	rm -f base cow
	model pattern base "$below" "$what"
	# shellcheck disable=SC2086
	model make-cow cow base --size "$size" --below "$below" --disk want $options
	block=${options##*--sectorsize } block=${block%% *}
	[[ $options == *--sectorsize* ]] || block=512
	truncate -s $(((size + block - 1) / block * block)) want
	load "ubd0r=$work/cow"
	check "$what: it reads as it must" model cmp /dev/ubda want --direct --bs 65536
	check "$what: by the page cache, too" model cmp /dev/ubda want --bs 4096
	unload
	load "ubd0=$work/cow"
	check "$what: it is written" model exercise /dev/ubda want --procs 1 --depth 4 --max 65536 \
		--ops "$(scaled 30)" --mode sectors
	unload
	load "ubd0=$work/cow"
	check "$what: and reads as written" model cmp /dev/ubda want --direct
	unload
	model merge cow merged --backing base
	check "$what: the files have that" cmp -n "$size" merged want
done <<'END'
1048576 1048577
1048000 1048576 --shape all
1048576 1150001 --shape none
21004 20000000
100 69632 --sectorsize 4096
4097 36000000 --shape 64 --alignment 512
END
is "the disk has the header's size" "$(load "ubd0=$work/cow"; blockdev --getsize64 /dev/ubda; unload)" 36000256

# Larger ones over larger ones, and over others, with larger sectors than below and with smaller ones:
# the last sector of l2 goes on behind what is the end for those above.

rm -f l? base
model pattern base 20100 chain
model make-cow l1 base --size 40300 --below 20100 --disk l1.disk --shape random
model make-cow l2 l1.disk --name "$work/l1" --mtime "$(stat -c %Y l1)" --size 300100 --below 40300 \
	--sectorsize 4096 --shape all --disk l2.disk
model make-cow l3 l2.disk --name "$work/l2" --mtime "$(stat -c %Y l2)" --size 300100 --disk l3.disk --shape 3
model make-cow l4 l3.disk --name "$work/l3" --mtime "$(stat -c %Y l3)" --size 499712 --below 300100 \
	--sectorsize 1024 --disk l4.disk
sha256sum base l1 l2 l3 >sums
load "ubd0=$work/l4"
check "a chain of four" model cmp /dev/ubda l4.disk --direct --bs 65536
check "in small pieces" model cmp /dev/ubda l4.disk --bs 1024 --direct
check "is written" model exercise /dev/ubda l4.disk --procs 1 --depth 4 --max 65536 --ops "$(scaled 60)" --mode sectors
check "a discard beyond what is below" blkdiscard -o 409600 -l 65536 /dev/ubda
check "zeroes there" blkdiscard -z -o 450560 -l 8192 /dev/ubda
dd if=/dev/ubda of=l4.disk bs=1M iflag=direct status=none
is "which are zeros" "$(tail -c +450561 l4.disk | head -c 8192 | tr -d '\0' | wc -c)" 0
unload
load "ubd0r=$work/l4"
check "and attached again" model cmp /dev/ubda l4.disk --direct
unload
check "the lower files are as they were" sha256sum --quiet -c sums

# In use: a snapshot, and a reset to it; past the page cache, if there is a file system for that.

truncate -s 32M fs.img
mkfs.ext4 -q fs.img
mkdir fs
mount -o loop fs.img fs
model pattern fs/base 70100 direct
model make-cow fs/cow fs/base --size 300000 --below 70100 --disk want
truncate -s 300032 want
# shellcheck disable=SC2119
load
attach 0 file="$work/fs/cow" direct_io=1
exec 3<>/dev/ubda
python3 "$e2e/watch.py" ubda >heard &
watcher=$!
wait_for grep -q ready heard
check "direct I/O" model cmp /dev/ubda want --direct --bs 65536
check "across the end of what is below" model write /dev/ubda want 69632 4096 across
check "a snapshot" sh -c "echo $work/fs/next >$config/0/snapshot"
is "has the disk's size, and needs no mark" "$(model info fs/next size) $(model info fs/next below)" "300000 None"
check "and its bytes" model cmp /dev/ubda want --direct
check "one of more bytes" sh -c "echo 400000 >$config/0/size && echo $work/fs/grown >$config/0/snapshot"
truncate -s 400384 want
is "has them" "$(model info fs/grown size) $(model info fs/grown below) $(cat $config/0/size)" "400000 300000 0"
is "so has the disk" "$(blockdev --getsize64 /dev/ubda) $(cat /sys/block/ubda/size)" "400384 782"
wait_for grep -q RESIZE heard
is "which tells of that, and did not before" "$(grep -c RESIZE heard)" 1
kill $watcher
wait $watcher 2>/dev/null
check "which are zeros, behind what there was" model cmp /dev/ubda want --direct --bs 65536
for size in 399999 many; do
	refuse "not one of $size" sh -c "echo $size >$config/0/size && echo $work/fs/new >$config/0/snapshot"
done
told "not one of fewer" 0 "has a larger disk than that"
is "the disk stays as large as it is" "$(blockdev --getsize64 /dev/ubda)" 400384
check "no file is made for it" test ! -e fs/new
echo 0 >$config/0/size
cp want moment
check "it is written" model write /dev/ubda want 389120 8192 grown
check "it is written, in the middle, too" model write /dev/ubda want 262144 8192 snapshot
check "and reads as written" model cmp /dev/ubda want --direct --bs 65536
exec 3<&-
power 0 0
power 0 1
check "a reset" set_up 0 reset=1
check "is the moment" model cmp /dev/ubda moment --direct
power 0 0
rmdir $config/0
unload
umount fs

# Another file in the place of the one below: the mark stays.

model make-cow cow base --size 300000 --below 20100 --disk want
truncate -s 300032 want
cp -p base moved
load "ubd0=$work/cow:$work/moved"
check "switched to another file" model cmp /dev/ubda want --direct
unload
is "which the header names, with its size" "$(model info cow backing) $(model info cow below)" "$work/moved 20100"
load "ubd0=$work/cow"
check "it can be attached so" model cmp /dev/ubda want --direct
unload

# What is not said is refused.

refused() {
	local what=$1
	shift
	mark
	load "ubd0=$work/cow"
	check "$what: refused" test ! -e /dev/ubda
	says "$what: the message" ubda "$@"
	unload
}
model make-cow cow base --size 300000
refused "a file below that is smaller, and no mark" "has 300000 bytes, but $work/base has 20100"
model make-cow cow base --size 300000 --below 20099
refused "one that is longer than the mark says" "has 20099 bytes, but $work/base has 20100"
model make-cow cow base --size 300000 --below 20101
refused "one that is shorter" "has 20101 bytes, but $work/base has 20100"
truncate -s 300000 base
model make-cow cow base --size 300000 --below 20100
refused "one that has the disk's size" "has 20100 bytes, but $work/base has 300000"
truncate -s 20100 base
model make-cow cow base --size 300000 --below 0
refused "a mark of 0" "size 0 in the COW header"
model make-cow cow base --size 20100 --below 20101
refused "a mark of more than the disk" "size 20101 in the COW header" "20100"
model make-cow cow base --size 300000 --below 20100
printf '\2' | dd of=cow bs=1 seek=31 conv=notrunc status=none
refused "an unknown format" "cow_format 2"

plan
