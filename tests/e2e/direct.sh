#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Units whose files are used past the page cache: what they hold is right, the
# page cache stays empty, and where it can't be done the log says why.
# previous: yes
# kernel: release

. "$(dirname "$0")/lib.sh"
. "$e2e/configfs.bash"

bytes=$((($(scaled 12) + 4) << 20))
ops=$(scaled 300)

# device BLOCK SIZE: a device with blocks of that many bytes, in memory.
devices=0
device() {
	truncate -s "$2" "device$devices"
	node=$(losetup --show --find --sector-size "$1" "device$devices")
	devices=$((devices + 1))
}

# made FS BLOCK: a file system on such a device, at ./mnt-FS-BLOCK.
made() {
	device "$2" $((400 << 20))
	case $1 in
	ext4) mkfs.ext4 -q -b 4096 "$node" ;;
	xfs) mkfs.xfs -q -s size="$2" "$node" ;;
	esac
	mkdir "mnt-$1-$2"
	mount "$node" "mnt-$1-$2"
}

# uncached FILE: the page cache has no more of it than around its header, which
# every attach reads.
uncached() {
	[ "$(fincore -bnro res "$1")" -le 65536 ]
}

params=()
unit=0
places=()
for place in ext4-512 xfs-4096; do
	made "${place%-*}" "${place#*-}"
	dir=mnt-$place
	model pattern "$dir/plain" $bytes "$place"
	model pattern "$dir/back" $bytes "$place-back"
	cp "$dir/plain" "want$unit"
	cp "$dir/back" "want$((unit + 1))"
	sum "$dir/back" >"$place.sum"
	params+=("ubd$unit=$work/$dir/plain" "ubd$((unit + 1))=$work/$dir/cow:$work/$dir/back")
	places+=("$dir/plain" "$dir/cow")
	unit=$((unit + 2))
done
# A disk has whole sectors; its file need not.
truncate -s -300 mnt-ext4-512/plain
truncate -s -300 want0
truncate -s +300 want0
device 512 $((64 << 20))
head -c 64M /dev/zero >want$unit
params+=("ubd$unit=$node")
places+=("$node")
sync
echo 1 >/proc/sys/vm/drop_caches

check "plain images, COW files and a device are attached with direct I/O" \
	load direct_io=$(((1 << unit + 1) - 1)) "${params[@]}"
for ((i = 0; i <= unit; i++)); do
	name=$(basename "$(disk "$i")")
	sys=/sys/block/$name
	is "${places[i]}: direct I/O is on" "$(cat "$sys/ubd/direct_io")" 1
	is "${places[i]}: the block size is the disk's" "$(cat "$sys/queue/logical_block_size")" 512
	check "${places[i]}: direct I/O, 64 deep" model exercise "/dev/$name" "want$i" --mode direct \
		--ops "$ops"
	check "${places[i]}: buffered I/O" model exercise "/dev/$name" "want$i" --mode buffered \
		--ops "$(scaled 200)" --depth 8
	blockdev --flushbufs "/dev/$name"
	check "${places[i]}: reads as written" model cmp "/dev/$name" "want$i" --direct
	case ${places[i]} in
	*512/plain) check "${places[i]}: and is not in the page cache" uncached "${places[i]}" ;;
	esac
done
check "mnt-ext4-512/back: is not in the page cache" uncached mnt-ext4-512/back

check "unload" unload
for ((i = 1; i < unit; i += 2)); do
	check "${places[i]}: the file has what was written" \
		model cmp-cow "${places[i]}" "want$i" --new --backing "$work/${places[i]%cow}back"
done
check "the device has what was written" model cmp "$node" "want$unit"
for place in ext4-512 xfs-4096; do
	is "mnt-$place/back is as it was" "$(sum "mnt-$place/back")" "$(cat $place.sum)"
done
# Writes that wait for a thread to be woken, and reads behind them in one batch.
# On xfs reads are started where they come from, and some are not as it is writing.
for place in ext4-512 xfs-4096; do
	load direct_io=3 "ubd0=$work/mnt-$place/plain" "ubd1=$work/mnt-$place/cow"
	for unit in ubda ubdb; do
		check "$place, $unit: reads and writes sent together" \
			fio --name=batch --filename=/dev/$unit --direct=1 --rw=randrw --bsrange=4k-64k --size=2M \
			--ioengine=io_uring --iodepth=16 --iodepth_batch_submit=8 --iodepth_batch_complete_min=8 \
			--number_ios="$(scaled 600)" --verify=crc32c --verify_fatal=1
	done
	unload
done

# switches: how often the unit's thread has gone to sleep so far.
switches() {
	awk '/^voluntary/ { print $2 }' "/proc/$(pgrep -x ubda)/status"
}
# A read that waits for nothing needs no thread of the unit.
load direct_io=1 "ubd0=$work/mnt-xfs-4096/plain"
before=$(switches)
check "reads one by one" dd if=/dev/ubda of=/dev/null bs=4k count=256 iflag=direct status=none
after=$(switches)
note "the thread has slept $((after - before)) times"
check "which are started where they are made" test $((after - before)) -lt 64
unload
# Nor does a write to what is there already, but for the file's time, which is here
# left to be written later. Who may have no long files writes to a disk as anybody.
mount -o remount,lazytime mnt-xfs-4096
# What is in the page cache would be in the way.
cp mnt-xfs-4096/plain want
load direct_io=1 "ubd0=$work/mnt-xfs-4096/plain"
check "the first write" model write /dev/ubda want 65536 4096 first
before=$(switches)
check "writes one by one" dd if=/dev/zero of=/dev/ubda bs=4k count=256 seek=32 oflag=direct status=none
after=$(switches)
dd if=/dev/zero of=want bs=4k count=256 seek=32 conv=notrunc status=none
note "the thread has slept $((after - before)) times"
check "which are started where they are made, too" test $((after - before)) -lt 64
check "with a limit for files" bash -c "ulimit -f 16; exec dd if=$work/want of=/dev/ubda bs=4k count=16 skip=300 seek=600 oflag=direct status=none"
dd if=want of=want bs=4k count=16 skip=300 seek=600 conv=notrunc status=none
check "all is there" model cmp /dev/ubda want --direct
unload

# Nor on a unit whose files are on a unit, which takes more of the stack.
device 512 $((400 << 20))
load direct_io=1 "ubd0=$node"
mkfs.xfs -q /dev/ubda
mkdir inner
mount /dev/ubda inner
model pattern inner/back $((4 << 20)) inner
cp inner/back want
check "a unit on a unit" attach 1 file="$work/inner/cow" backing_file="$work/inner/back" direct_io=1
check "a unit on a unit: reads and writes" model exercise /dev/ubdb want --mode direct --ops "$ops"
check "a unit on a unit: all is there" model cmp /dev/ubdb want --direct
power 1 0
rmdir "$config/1"
umount inner
unload

for shape in 1 8; do
	rm -f mnt-xfs-4096/cow
	model make-cow mnt-xfs-4096/cow mnt-xfs-4096/back --shape $shape --disk want
	load direct_io=1 "ubd0=$work/mnt-xfs-4096/cow"
	is "sectors that alternate by $shape: direct I/O is on" "$(cat /sys/block/ubda/ubd/direct_io)" 1
	check "sectors that alternate by $shape: reads and writes" model exercise /dev/ubda want --mode direct \
		--ops "$(scaled 300)" --writes 30
	unload
	check "sectors that alternate by $shape: the file has all" model cmp-cow mnt-xfs-4096/cow want
done

# A full file system: a write that does not fit fails, and what did fit stays.
rm mnt-ext4-512/{plain,back,cow}
model pattern mnt-ext4-512/back $((64 << 20)) small
load direct_io=1 "ubd0=$work/mnt-ext4-512/cow:$work/mnt-ext4-512/back"
dd if=/dev/zero of=mnt-ext4-512/filler bs=1M status=none 2>/dev/null
refuse "a full file system: a write that does not fit fails" \
	dd if=/dev/urandom of=/dev/ubda bs=1M count=32 oflag=direct status=none
rm mnt-ext4-512/filler
check "and succeeds when there is space" \
	dd if=mnt-ext4-512/back of=/dev/ubda bs=1M count=32 oflag=direct conv=fsync status=none
check "and is read back" cmp <(dd if=/dev/ubda bs=1M iflag=direct status=none) mnt-ext4-512/back
unload

# Where it can't be.
model make-cow mnt-xfs-4096/v2 mnt-ext4-512/back --version 2 --shape none
mark
load direct_io=1 "ubd0=$work/mnt-xfs-4096/v2"
says "data and bitmap in one page: the log says why not" ubda "no direct I/O" "its data starts at byte"
is "data and bitmap in one page: the page cache is used" "$(cat /sys/block/ubda/ubd/direct_io)" 0
unload
mark
model pattern mnt-xfs-4096/odd $((4096 * 5 + 512)) odd
load direct_io=3 "ubd0=$work/mnt-xfs-4096/odd" "ubd1=$work/want0"
is "a size of no whole blocks: direct I/O is on" "$(cat /sys/block/ubda/ubd/direct_io)" 1
check "a size of no whole blocks: and all can be read" cmp /dev/ubda mnt-xfs-4096/odd
is "a file on tmpfs has no cache to be used past" "$(cat /sys/block/ubdb/ubd/direct_io)" 1
unload
for place in ext4-512 xfs-4096; do
	umount "mnt-$place"
done
# There is not memory enough for all that follows, too.
losetup -D
rm device*

# A file whose blocks another one shares is written in blocks of its file system:
# the disk, and its partitions, are in sectors as before.
mkdir shared
truncate -s 400M shared.img
mkfs.xfs -q -m reflink=1 shared.img
mount -o loop shared.img shared
model pattern shared/plain $((4 << 20)) shared
model pattern shared/back $((4 << 20)) shared-back
cp --reflink=always shared/plain shared/plain.copy
cp --reflink=always shared/back shared/back.copy
cp shared/plain want0
cp shared/back want1
cp shared/back before
load direct_io=3 "ubd0=$work/shared/plain" "ubd1=$work/shared/cow:$work/shared/back"
for i in 0 1; do
	name=$(basename "$(disk $i)")
	is "$name, shared blocks: direct I/O is on" "$(cat "/sys/block/$name/ubd/direct_io")" 1
	is "$name, shared blocks: the block size is the disk's" "$(cat "/sys/block/$name/queue/logical_block_size")" 512
	check "$name, shared blocks: reads and writes" model exercise "/dev/$name" want$i --mode direct --ops "$ops"
done
unload
check "shared blocks: the image has all" cmp shared/plain want0
check "shared blocks: so has the COW file" model cmp-cow shared/cow want1 --new --backing "$work/shared/back"
check "shared blocks: the backing file has none" cmp shared/back before
check "shared blocks: nor has its copy" cmp shared/back.copy before
umount shared

# File systems that have direct I/O by their own word, and leave it to one below
# that has none.
mkdir ram squash
mount -t ramfs ram ram
mkdir ram/lower ram/upper ram/work
model pattern ram/lower/plain $((1 << 20)) below
model pattern ram/lower/back $((1 << 20)) below-back
cp ram/lower/plain want0
cp ram/lower/back want1
mksquashfs ram/lower lower.squash -quiet -no-progress >/dev/null
mount -o loop lower.squash squash
for lower in ram/lower squash; do
	mkdir over
	mount -t overlay over -o "lowerdir=$lower,upperdir=ram/upper,workdir=ram/work" over
	mark
	load direct_io=3 "ubd0=$work/over/plain" "ubd1=$work/over/cow:$work/over/back"
	for i in 0 1; do
		name=$(basename "$(disk $i)")
		check "overlayfs over $lower: $name is read and written" model exercise "/dev/$name" want$i \
			--mode direct --ops "$(scaled 60)"
		is "overlayfs over $lower: $name uses the page cache" "$(cat "/sys/block/$name/ubd/direct_io")" 0
	done
	for file in plain cow back; do
		is "overlayfs over $lower: $file: one line says so" \
			"$(messages | grep -c "$work/over/$file: no direct I/O")" 1
	done
	unload
	check "overlayfs over $lower: the image has all" cmp over/plain want0
	check "overlayfs over $lower: so has the COW file" model cmp-cow over/cow want1 --new --backing "$work/over/back"
	umount over
	rmdir over
	rm -rf ram/upper ram/work
	mkdir ram/upper ram/work
	cp ram/lower/plain want0
	cp ram/lower/back want1
done

plan
