#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# All that a disk says of itself in sysfs and by ioctl, on every kind of file,
# held against a loop device on the same file: only what stands here, and in
# Documentation/compared-with-loop.rst, is otherwise. And what it says is true.
# kernel: release

. "$(dirname "$0")/lib.sh"

# Of ioctls, what sysfs does not have by another name.
ioctls=(--getss --getbsz --getalignoff --getdiscardzeroes --getsize64)

# traits DISK: what it says of itself, by name, into the array `traits`.
traits() {
	local file value answers i
	traits=()
	cd "/sys/block/$1" || return
	for file in * queue/*; do
		case $file in
		# Another one of each disk.
		dev | diskseq | uevent) continue ;;
		esac
		[ -f "$file" ] || continue
		value=
		{ IFS= read -r value <"$file"; } 2>/dev/null
		if [ "$file" = stat ]; then
			# How many numbers there are.
			read -r -a answers <<<"$value"
			value=${#answers[@]}
		fi
		traits[$file]=${value:-nothing}
	done
	for file in mq/*/; do
		traits[queues]=$((${traits[queues]:-0} + 1))
	done
	mapfile -t answers < <(blockdev "${ioctls[@]}" "/dev/$1")
	for i in "${!ioctls[@]}"; do
		traits[${ioctls[i]}]=${answers[i]}
	done
	cd "$work" || return
}

# differ NAME UNIT FILE [OPTION...]: a unit, and a loop device on FILE made with
# losetup's options, differ in what `always` and stdin list, and in nothing
# else. A line has a name, the unit's value and the loop device's.
differ() {
	local what=$1 unit=$2 file=$3 loop name line
	local -A traits ours want=()
	shift 3
	while IFS= read -r line; do
		want[${line%%|*}]=$line
	done < <(cat "$work/always" -)
	loop=$(losetup --show -f "$@" "$file" 2>/dev/null)
	traits "$unit"
	for name in "${!traits[@]}"; do
		ours[$name]=${traits[$name]}
	done
	traits "${loop#/dev/}"
	losetup -d "$loop"
	for name in "${!ours[@]}" "${!traits[@]}"; do
		line="$name|${ours[$name]:-absent}|${traits[$name]:-absent}"
		[ "${ours[$name]:-}" = "${traits[$name]:-}" ] || echo "$line"
	done | sort -u >got
	for name in "${!want[@]}"; do
		[ "${want[$name]}" = "$name" ] || echo "${want[$name]}"
	done | sort -u >wanted
	is "$what: differs from loop in nothing else (${#ours[@]} traits)" "$(diff got wanted)" ""
}

# zeros DISK: reads as zeros.
zeros() {
	cmp -n $((mb << 20)) "/dev/$1" /dev/zero
}

# space FILE: what it takes, in KiB, with what has been put off until now.
space() {
	sync "$1"
	du -k "$1" | cut -f 1
}

# written DISK
written() {
	dd if=random of="/dev/$1" bs=1M oflag=direct conv=fsync status=none
}

# trim DISK FILE: a discard is what the limits say, and what is discarded or
# zeroed reads as zeros. The one frees the file's space, down to the unit that
# is named, and the other keeps it.
trim() {
	local disk=$1 file=$2 queue=/sys/block/$1/queue size before
	size=$(cat "$queue/discard_granularity")
	written "$disk"
	if [ "$size" = 0 ]; then
		refuse "$disk: no discard, as it says" blkdiscard "/dev/$disk"
	else
		# The first hole can cost the file system a block of its own.
		blkdiscard -o $((size * 3)) -l "$size" "/dev/$disk"
		before=$(space "$file")
		blkdiscard -o $((size * 5)) -l "$size" "/dev/$disk"
		is "$disk: a discard of $size bytes frees so many" \
			$(((before - $(space "$file")) << 10)) "$size"
		check "$disk: a discard" blkdiscard "/dev/$disk"
		check "$disk: it reads as zeros" zeros "$disk"
		check "$disk: and has freed the space" test "$(space "$file")" -lt $((mb << 7))
		written "$disk"
	fi
	check "$disk: zeroed" blkdiscard -z "/dev/$disk"
	check "$disk: it reads as zeros" zeros "$disk"
	[ -b "$file" ] || check "$disk: and has kept the space" test "$(space "$file")" -ge $((mb << 10))
}

# count DISK FIELD COMMAND...: by how much a field of its counts goes up.
count() {
	local disk=$1 field=$2 before after
	shift 2
	read -r -a before <"/sys/block/$disk/stat"
	"$@"
	wait_for idle "$disk"
	read -r -a after <"/sys/block/$disk/stat"
	echo $((after[field - 1] - before[field - 1]))
}

# The files. An ext4 without extents, which can't zero a range, with blocks of 1
# KiB on a device that turns; an xfs with blocks of 8 KiB; and devices: one with
# sectors of 4 KiB that can neither discard nor zero, and one that can.

mkdir ext4 ext3 xfs
export TEST_DIR=x TEST_DEV=x QA_CHECK_FS=x
truncate -s 64M ext4.img xfs.img
mkfs.ext4 -q ext4.img
mkfs.xfs -q -b size=8192 -m reflink=0,rmapbt=0 -d agcount=2 xfs.img
mount -o loop ext4.img ext4
mount -o loop xfs.img xfs
nullb() {
	mkdir "/sys/kernel/config/nullb/$1"
	local setting
	for setting in memory_backed=1 size=16 "${@:2}" power=1; do
		echo "${setting#*=}" >"/sys/kernel/config/nullb/$1/${setting%%=*}"
	done
}
nullb nullb8 rotational=1
nullb nullb9 blocksize=4096
mkfs.ext4 -q -b 1024 -O ^extents,^64bit,^metadata_csum /dev/nullb8
mount /dev/nullb8 ext3

mb=2
model pattern random $((mb << 20)) random
for at in ext4 ext3 xfs .; do
	cp random $at/plain
done
cp random ext4/back
cp random back
cp random flags
cp random odd
truncate -s $(((mb << 20) + 100)) odd
cp random xfs/device
device=$(losetup --show -f xfs/device)
model make-cow sectors back --shape none --sectorsize 4096
# The checkout comes by 9p. Half a sector is at the end.
odd_one=$(find "$e2e" -maxdepth 1 -name '*.sh' -printf '%s %f\n' | awk '$1 % 512 { print $2; exit }')
touch shared
mount --bind "$e2e/$odd_one" shared
load "ubd0=$work/ext4/plain" "ubd1=$work/ext4/cow:$work/ext4/back" \
	"ubd3=$work/xfs/plain" "ubd4=$work/plain" "ubd5=$work/cow:$work/back" ubd6=/dev/nullb9 \
	"ubd7=$device" "ubd8=$work/shared" "ubd9=$work/odd" "ubd10=$work/sectors"

# What is otherwise with every file.
cat >always <<'END'
events|nothing|media_change
partscan|1|0
queue/async_depth|127|128
queue/fua|1|0
queue/max_hw_sectors_kb|4096|1280
queue/max_sectors_kb|4096|1280
queue/max_segment_size|4294967295|65536
queue/max_segments|65535|128
queue/minimum_io_size|4096|512
queue/nr_requests|127|128
queue/physical_block_size|4096|512
queues|2|1
range|16|1
serial|nothing|absent
END

differ "ext4" ubda ext4/plain <<<"queue/discard_granularity|4096|1024"
differ "ext4, COW" ubdb ext4/back <<<"queue/discard_granularity|4096|1024"
differ "xfs" ubdd xfs/plain </dev/null
differ "tmpfs" ubde plain </dev/null
differ "tmpfs, COW" ubdf back </dev/null
differ "a device with sectors of 4 KiB that can't zero" ubdg /dev/nullb9 <<END
queue/hw_sector_size|4096|512
queue/logical_block_size|4096|512
--getss|4096|512
END
differ "a device that can" ubdh "$device" </dev/null
# block_size SECTORS: of the page cache of a disk of that size.
block_size() {
	local sectors=$1 size=512
	while [ $size -lt 4096 ] && [ $((sectors % 2)) = 0 ]; do
		sectors=$((sectors / 2)) size=$((size * 2))
	done
	echo $size
}
down=$(($(stat -c %s shared) / 512)) up=$((down + 1))
differ "9p, read-only" ubdi shared <<END
queue/fua
size|$up|$down
--getsize64|$((up * 512))|$((down * 512))
--getbsz|$(block_size $up)|$(block_size $down)
END
differ "half a sector" ubdj odd <<END
size|$((mb * 2048 + 1))|$((mb * 2048))
--getsize64|$(((mb * 2048 + 1) * 512))|$((mb << 20))
--getbsz|512|4096
END
differ "COW with sectors of 4 KiB" ubdk back <<END
queue/hw_sector_size|4096|512
queue/logical_block_size|4096|512
--getss|4096|512
END

trim ubda ext4/plain
trim ubdb ext4/cow
[ -n "$slow" ] || trim ubdd xfs/plain
[ -n "$slow" ] || trim ubde plain
trim ubdg /dev/nullb9
is "the longest read is one request" \
	"$(count ubdg 1 dd if=/dev/ubdg of=/dev/null bs=4M count=1 iflag=direct status=none)" 1
is "a flush is sent to a disk with a cache" "$(count ubde 16 written ubde)" 1
unload

cp random sync
cp random read_only
load "ubd0t=$work/flags" "ubd1s=$work/sync" "ubd2r=$work/read_only"
differ "flag t" ubda flags <<END
queue/discard_granularity|0|4096
queue/discard_max_bytes|0|4294966784
queue/discard_max_hw_bytes|0|4294966784
queue/write_zeroes_max_bytes|0|4294966784
END
differ "flag s" ubdb sync <<END
queue/fua
queue/write_cache|write through|write back
END
differ "flag r" ubdc read_only -r <<END
queue/fua
queue/discard_granularity|0|4096
queue/discard_max_bytes|0|4294966784
queue/discard_max_hw_bytes|0|4294966784
queue/write_zeroes_max_bytes|0|4294966784
END
trim ubda flags
is "a flush is not sent to a disk without a cache" "$(count ubdb 16 written ubdb)" 0
unload

# Past the page cache, against loop devices that are so, too.
past() {
	differ "direct: $1" "$2" "$3" --direct-io=on <<-END
		queue/minimum_io_size
		queue/physical_block_size
	END
}
load direct_io=15 "ubd0=$work/ext4/plain" "ubd1=$work/ext4/cow:$work/ext4/back" "ubd2=$work/xfs/plain" \
	ubd3=/dev/nullb9
past "ext4" ubda ext4/plain
past "ext4, COW" ubdb ext4/back
past "xfs" ubdc xfs/plain
past "a device with sectors of 4 KiB that can't zero" ubdd /dev/nullb9
unload

# The last, for a loop device keeps what it has learned of reading ahead.
load "ubd0=$work/ext3/plain"
differ "ext4 without extents, on a device that turns" ubda ext3/plain <<END
queue/discard_granularity|4096|1024
queue/read_ahead_kb|8192|2560
END
trim ubda ext3/plain
unload
losetup -d "$device"
umount ext3 ext4 xfs
rmdir /sys/kernel/config/nullb/nullb[89]

plan
