#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A disk as programs see it: ioctls of 64-bit and 32-bit callers, the tools of
# util-linux, hdparm and udev, read-only and back, partitions read anew, the
# counts of what it did, and requests that must not wait.
# previous: yes
# smp: 1
# daily: debug

. "$(dirname "$0")/lib.sh"

mkdir mnt
truncate -s 64M plain
model pattern back $((1 << 20)) back
truncate -s 64M back
truncate -s 3T huge
sfdisk -q plain <<-END
	label: dos
	start=2048, size=16M
	start=65536
END

# What an ioctl answers, in 64 bits and in 32, which User-mode Linux has not.

widths=(64 32)
[ "${VM_ACCEL:-}" != uml ] || widths=(64)
for bits in "${widths[@]}"; do
	check "a program for $bits-bit ioctls is built" \
		gcc -m"$bits" -O1 -Wall -Werror -static -nostdlib -ffreestanding -fno-pic \
		-fno-stack-protector -o "ask$bits" "$e2e/ioctl.c"
done
load "ubd0=$work/plain,,Serial 42" "ubd1=$work/cow:$work/back" "ubd2r=$work/huge"
cat >want <<'END'
HDIO_GETGEO 0x80 0x20 0x20 0x0
HDIO_GET_IDENTITY 0x20 0x80 0x20 "Serial 42" "User-mode Linux block device"
CDROMVOLREAD 0xffffffff
BLKROGET 0x0
BLKGETSIZE 0x20000
BLKGETSIZE64 0x4000000
BLKSSZGET 0x200
BLKPBSZGET 0x1000
BLKIOMIN 0x1000
BLKIOOPT 0x0
BLKALIGNOFF 0x0
BLKDISCARDZEROES 0x0
BLKROTATIONAL 0x0
BLKSECTGET 0x2000
HDIO_GET_32BIT -0x19
HDIO_DRIVE_CMD -0x19
SG_IO -0x19
END
# Of 6442450944 sectors and 1572864 cylinders not all bits have a place.
sed -e '/^HDIO_GETGEO/s/0x20 0x0$/0x0 0x0/; /^HDIO_GET_ID/s/.*/HDIO_GET_IDENTITY 0x0 0x80 0x20 "" "User-mode Linux block device"/' \
	-e '/^BLKROGET/s/0x0/0x1/; s/^BLKGETSIZE .*/BLKGETSIZE 0x180000000/; /^BLKGETSIZE64/s/0x.*/0x30000000000/' want >want.huge
sed -e '/^HDIO_GETGEO/s/0x0$/0x10000/; s/^BLKGETSIZE .*/BLKGETSIZE 0x10000/; /^BLKGETSIZE64/s/0x.*/0x2000000/' want >want.part
for bits in "${widths[@]}"; do
	is "$bits bits: a disk" "$(./"ask$bits" /dev/ubda | diff - want)" ""
	is "$bits bits: a partition" "$(./"ask$bits" /dev/ubda2 | diff - want.part)" ""
	[ "$bits" = 64 ] || sed -i '/^BLKGETSIZE /s/ .*/ -0x1b/' want.huge
	is "$bits bits: a disk of 3 TiB" "$(./"ask$bits" /dev/ubdc | diff - want.huge)" ""
done

# Tools.

is "hdparm -g" "$(hdparm -g /dev/ubda | tail -n 1 | xargs)" \
	"geometry = 32/128/32, sectors = 131072, start = 0"
check "hdparm -i has the model and the serial number" \
	grep -q 'Model=User-mode Linux block device,.*SerialNo=Serial 42' <(hdparm -i /dev/ubda)
is "lsblk" "$(lsblk -nro NAME,SIZE,RO,TYPE,SERIAL /dev/ubda /dev/ubdc | sed 's/\\x20/ /')" \
	"ubda 64M 0 disk Serial 42"$'\n'"ubda1 16M 0 part "$'\n'"ubda2 32M 0 part "$'\n'"ubdc 3T 1 disk "
mkfs.ext4 -q -L label -U 01234567-89ab-cdef-0123-456789abcdef /dev/ubdb
is "blkid" "$(blkid -p -o value -s LABEL -s UUID -s TYPE /dev/ubdb | xargs)" \
	"label 01234567-89ab-cdef-0123-456789abcdef ext4"
check "wipefs" wipefs -qa /dev/ubdb
refuse "and there is no file system" blkid -p /dev/ubdb
refuse "no secure erase" blkdiscard -f -s /dev/ubdb

# Read-only, and back.

mkfs.ext4 -q /dev/ubdb
mount /dev/ubdb mnt
echo hello >mnt/hello
umount mnt
blockdev --setro /dev/ubdb
is "set read-only: it says so" "$(blockdev --getro /dev/ubdb) $(cat /sys/block/ubdb/ro)" "1 1"
refuse "set read-only: no write" dd if=/dev/zero of=/dev/ubdb bs=4k count=1 oflag=direct
refuse "set read-only: no discard" blkdiscard -f /dev/ubdb
refuse "set read-only: no mount to write" mount -w /dev/ubdb mnt
check "set read-only: mounted to read" mount -r /dev/ubdb mnt
check "set read-only: and read" grep -q hello mnt/hello
refuse "set read-only: not mounted anew to write" mount -o remount,rw mnt
umount mnt
blockdev --setrw /dev/ubdb
check "set back: mounted to write" mount -w /dev/ubdb mnt
check "set back: and written" cp mnt/hello mnt/world
umount mnt
blockdev --setrw /dev/ubdc
is "a disk with flag r stays read-only" "$(blockdev --getro /dev/ubdc)" 1
refuse "and is not written" dd if=/dev/zero of=/dev/ubdc bs=4k count=1 oflag=direct

# Partitions, and the page cache.

mkfs.ext4 -q /dev/ubda1
mount /dev/ubda1 mnt
sfdisk -q --no-reread --no-tell-kernel --force /dev/ubda 2>/dev/null <<-END
	label: dos
	start=2048, size=16M
	start=40960, size=8M
	start=81920
END
refuse "the table is not read anew while a partition is mounted" blockdev --rereadpt /dev/ubda
check "which stays" test -e /dev/ubda2 -a ! -e /dev/ubda3
umount mnt
check "it is read anew when none is" blockdev --rereadpt /dev/ubda
is "and right" "$(cat /sys/block/ubda/ubda?/start | xargs)" "2048 40960 81920"
exec 3<>/dev/ubda3
printf 'buffered' >&3
check "BLKFLSBUF" blockdev --flushbufs /dev/ubda3
is "and what was written is in the file" \
	"$(dd if=plain bs=512 skip=81920 count=1 status=none | head -c 8)" buffered
exec 3>&-

# The counts: requests, those merged into others, and sectors.

counts() {
	wait_for idle "$1"
	awk '{ print $1, $2, $3, $5, $6, $7, $12, $13, $14, $16 }' "/sys/block/$1/stat"
}

# counted NAME DISK WANT COMMAND...
counted() {
	local what="$2: $1" disk=$2 want=$3 before after i got=
	shift 3
	read -r -a before <<<"$(counts "$disk")"
	"$@" >log 2>&1 || { not_ok "$what" "$(cat log)"; return; }
	read -r -a after <<<"$(counts "$disk")"
	for i in 0 1 2 3 4 5 6 7 8 9; do
		[ $((i % 3)) != 0 ] || got+="${got:+ }${names[i / 3]}"
		got+=" $((after[i] - before[i]))"
	done
	is "$what" "$got" "$want"
}

names=(read write discard flush)
none=("read 0 0 0" "write 0 0 0" "discard 0 0 0" "flush 0")
for dev in ubda ubdb; do
	counted "16 reads" $dev "read 16 0 128 ${none[1]} ${none[2]} ${none[3]}" \
		dd if=/dev/$dev of=/dev/null bs=4k count=16 iflag=direct
	counted "4 writes" $dev "${none[0]} write 4 0 64 ${none[2]} ${none[3]}" \
		dd if=/dev/zero of=/dev/$dev bs=8k count=4 oflag=direct
	# An empty write is what asks for the flush.
	counted "a write and a flush" $dev "${none[0]} write 2 0 1 ${none[2]} flush 1" \
		dd if=/dev/zero of=/dev/$dev bs=512 count=1 oflag=direct conv=fsync
	counted "a discard" $dev "${none[0]} ${none[1]} discard 1 0 2048 ${none[3]}" \
		blkdiscard -f -o 4M -l 1M /dev/$dev
	counted "a write of zeros" $dev "${none[0]} write 1 0 2048 ${none[2]} ${none[3]}" \
		blkdiscard -f -z -o 4M -l 1M /dev/$dev
	counted "8 neighbours at once" $dev "read 1 7 64 ${none[1]} ${none[2]} ${none[3]}" \
		fio --name=merge --filename=/dev/$dev --readonly --direct=1 --ioengine=libaio --iodepth=8 \
		--iodepth_batch_submit=8 --bs=4k --size=32k --rw=read --thread
	check "$dev: nothing is in flight" wait_for idle $dev
done

# Each request's way, as blktrace sees it.

if [ ! -e /sys/block/ubda/trace ]; then
	skip "blktrace" "needs CONFIG_BLK_DEV_IO_TRACE"
else
	# Small buffers: it is not told of one before that is full.
	blktrace -d /dev/ubda -o trace -b 4 -n 64 >blktrace.log 2>&1 &
	tracer=$!
	# It has started when it has seen something.
	until [ -n "$(find . -name 'trace.blktrace.*' -size +0)" ] || ! kill -0 $tracer; do
		dd if=/dev/ubda of=/dev/null bs=512 count=64 iflag=direct status=none
	done
	dd if=/dev/ubda of=/dev/null bs=4k skip=100 count=3 iflag=direct status=none
	dd if=/dev/zero of=/dev/ubda bs=1k seek=1000 count=2 oflag=direct conv=fsync status=none
	blkdiscard -f -o 2M -l 64k /dev/ubda
	kill -INT $tracer
	wait $tracer
	blkparse -q -i trace -f 'one %a %d %S %n %e\n' | sed -n 's/^one //p' |
		awk '$3 >= 800 || $2 ~ /F/ { print $1, $2, $3, $4, $1 == "C" ? $5 : 0 }' >seen
	for event in Q G D C; do
		is "blktrace: $event of each request, with its place and no error" \
			"$(awk -v e=$event '$1 == e && $2 !~ /F/ { print $2, $3, $4, $5 }' seen | sort)" \
			"$(printf '%s\n' "DS 4096 128 0" "RS 800 8 0" "RS 808 8 0" "RS 816 8 0" "WS 2000 2 0" "WS 2002 2 0")"
		is "blktrace: $event of the flush" "$(awk -v e=$event '$1 == e && $2 ~ /F/' seen | wc -l)" 1
	done
fi

# Without waiting: right, or EAGAIN.

cat >nowait.py <<'END'
import mmap
import os
import sys

dev, file, at = sys.argv[1], sys.argv[2], int(sys.argv[3])
with open(file, "rb") as f:
    want = f.read()
buf = mmap.mmap(-1, 16384)


def tried(how, *args):
    try:
        return how(*args, os.RWF_NOWAIT)
    except BlockingIOError:
        return None


for flags in (0, os.O_DIRECT):
    fd = os.open(dev, os.O_RDWR | flags)
    done = 0
    for place in range(at, at + (1 << 20), len(buf)):
        data = want[place - at:place - at + len(buf)]
        for _ in (1, 2):
            n = tried(os.preadv, fd, [buf], place)
            assert n is None or n > 0 and buf[:n] == data[:n], (flags, place, n)
            done += n is not None
            # In the cache, where there is one.
            assert os.preadv(fd, [buf], place) == len(buf) and buf[:] == data
    assert done >= 64, (flags, done)
    if flags:
        done = 0
        for place in range(at, at + (1 << 20), len(buf)):
            buf[:] = bytes(len(buf))
            n = tried(os.pwritev, fd, [buf], place)
            assert n is None or n == len(buf), n
            done += n is not None
            assert n is None or os.preadv(fd, [buf], place) == n and buf[:] == bytes(n)
            buf[:] = want[place - at:place - at + len(buf)]
            assert os.pwritev(fd, [buf], place) == len(buf)
        assert done, "no write was done"
    os.close(fd)
END
model pattern part $((1 << 20)) part
for dev in ubda ubdb; do
	dd if=part of=/dev/$dev bs=1M seek=5 oflag=direct status=none
	check "$dev: reads and writes that must not wait are done, or refused" \
		python3 nowait.py /dev/$dev part $((5 << 20))
	check "$dev: all is as it was" cmp part <(dd if=/dev/$dev bs=1M skip=5 count=1 status=none)
done
unload

# What udev makes of it.

sfdisk -q plain <<<"label: dos"$'\n'"size=32M"$'\n'"size=16M"
mkdir -p /run/udev/rules.d
cp "$top/scripts/61-ubd.rules" /run/udev/rules.d
/lib/systemd/systemd-udevd --resolve-names=never 2>udevd.log &
udevd=$!
until udevadm control --ping 2>/dev/null || ! kill -0 $udevd; do :; done
load "ubd0=$work/plain,,Serial 42" "ubd1=$work/cow"
# It has seen the new disks, and watches from then on what is written to them:
# what it sees so is no event of the kernel's, for which `settle` waits.
udevadm settle
mkfs.ext4 -q -U 01234567-89ab-cdef-0123-456789abcdef /dev/ubda1
udevadm wait --timeout=600 /dev/disk/by-uuid/01234567-89ab-cdef-0123-456789abcdef
udevadm info -q property /dev/ubda >properties
is "udev has the disk's path" "$(grep '^ID_PATH=' properties)" "ID_PATH=platform-uml-blkdev.0"
is "and the table of its partitions" "$(grep '^ID_PART_TABLE_TYPE=' properties)" ID_PART_TABLE_TYPE=dos
is "and its serial number" "$(grep '^ID_SERIAL=' properties)" "ID_SERIAL=Serial 42"
for link in by-id/ubd-Serial_42:ubda by-id/ubd-Serial_42-part2:ubda2 \
	by-path/platform-uml-blkdev.0:ubda by-path/platform-uml-blkdev.0-part2:ubda2 \
	by-path/platform-uml-blkdev.1:ubdb by-uuid/01234567-89ab-cdef-0123-456789abcdef:ubda1 \
	by-diskseq/"$(cat /sys/block/ubdb/diskseq)":ubdb; do
	is "the link ${link%:*}" "$(readlink -f "/dev/disk/${link%:*}")" "/dev/${link#*:}"
done
# Until it has looked at all that was written.
until unload 2>/dev/null; do
	udevadm settle
done
udevadm settle
check "the links go with the disks" test ! -e /dev/disk/by-path/platform-uml-blkdev.0
kill $udevd
wait $udevd
# Nobody else is to believe what it knew.
rm -rf /run/udev /dev/disk

plan
