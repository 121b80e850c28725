#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Files in memory, whose pages the driver looks up by itself for reads: small and
# large ones, new ones and those that space was only taken for, with whatever
# was in memory before; and files that their owner has sealed.
# smp: 1
# daily: debug

. "$(dirname "$0")/lib.sh"

mb=$(($(scaled 20) + 4))
disk_bytes=$((mb << 20))
ops=$(scaled 300)

mkdir memory
sizes=(never within_size always)
[ -z "$slow" ] || sizes=(never always)
# User-mode Linux has no large pages.
[ "${VM_ACCEL:-}" != uml ] || sizes=(never)
for huge in "${sizes[@]}"; do
	mount -t tmpfs -o "huge=$huge,size=$((mb * 8))M" ubd-test memory
	# What a page that is not wholly written must not show.
	model pattern memory/before $((disk_bytes * 2)) before
	rm memory/before

	# No multiple of a page, with space taken in part of the file, and of its end.
	truncate -s $((disk_bytes + 777)) memory/plain
	fallocate -n -o $((disk_bytes / 2)) -l $((disk_bytes / 4 + 12345)) memory/plain
	fallocate -n -o $((disk_bytes - 4096)) -l 4096 memory/plain
	model expect memory/plain plain.want
	model pattern memory/back $((disk_bytes + 1031)) back
	model expect memory/back cow.want --written cow.written
	# A V2 file's data does not start where a page does.
	model pattern memory/back2 $disk_bytes back2
	model make-cow memory/v2 memory/back2 --version 2 --shape random --name "$PWD/memory/back2" --disk v2.want
	touch -d @1 memory/plain
	load "ubd0=$PWD/memory/plain" "ubd1=$PWD/memory/cow:$PWD/memory/back" "ubd2=$PWD/memory/v2"

	what="huge=$huge"
	check "$what: what was never written reads as zeros" model cmp /dev/ubda plain.want --direct --bs 262144
	# The last sector, of which the file has but a part.
	model write /dev/ubda plain.want $((disk_bytes + 512)) 512 last
	# Of one sector and up, so that most of a new page is left as it is.
	check "$what: writes to a plain image" \
		model exercise /dev/ubda plain.want --mode direct --ops "$ops" --seed "$huge"
	check "$what: writes to a COW file" \
		model exercise /dev/ubdb cow.want --written cow.written --mode direct --ops "$ops" --seed "$huge"
	check "$what: writes to a V2 COW file" \
		model exercise /dev/ubdc v2.want --mode direct --ops "$ops" --seed "$huge"
	check "$what: the plain image reads as written" model cmp /dev/ubda plain.want --direct --bs 65536
	check "$what: the COW file reads as written" model cmp /dev/ubdb cow.want --direct --bs 65536
	check "$what: the V2 COW file reads as written" model cmp /dev/ubdc v2.want --direct --bs 65536
	check "$what: unload" unload
	check "$what: the image file has what was written" model cmp memory/plain plain.want
	check "$what: the COW file has what was written" \
		model cmp-cow memory/cow cow.want --new --backing "$PWD/memory/back" --written cow.written
	check "$what: the V2 COW file has what was written" model cmp-cow memory/v2 v2.want
	check "$what: a write has set the time of modification" test "$(stat -c %Y memory/plain)" -gt 1
	umount memory
	rm -f ./*.want ./*.written
done

# A file that has no name, and that its owner can seal.
coproc owner {
	python3 -uc '
import fcntl, os
fd = os.memfd_create("ubd", os.MFD_ALLOW_SEALING)
os.ftruncate(fd, 1 << 20)
print(f"/proc/{os.getpid()}/fd/{fd}")
while True:
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, getattr(fcntl, "F_SEAL_" + input()))
    print("sealed")
'
}
read -r file <&"${owner[0]}"

# seal NAME
seal() {
	echo "$1" >&"${owner[1]}"
	read -r _ <&"${owner[0]}"
}

head -c 1M /dev/urandom >data
load "ubd0=$file"
for each in none GROW SHRINK; do
	[ $each = none ] || seal $each
	check "seal $each: written" dd if=data of=/dev/ubda bs=64k oflag=direct status=none
	check "seal $each: as it should be" cmp data "$file"
	head -c 1M /dev/urandom >data
done
cat "$file" >before
seal WRITE
refuse "seal WRITE: not written" dd if=data of=/dev/ubda bs=64k oflag=direct status=none
check "seal WRITE: and as it was" cmp before "$file"
check "seal WRITE: which can be read" cmp before /dev/ubda
check "seal WRITE: unload" unload

plan
