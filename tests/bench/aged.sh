#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The half of scripts/bench --aged that runs in the guest: a unit and a loop device on
# a file of many extents, in a file system that is new, and in one that is nearly full
# of what was written and removed many times. Nothing of either is in memory when
# they are attached.
#
# usage: aged.sh FS EXTENTS

set -euo pipefail
. "$(dirname "$0")/paths.sh"
. "$(dirname "$0")/cold.sh"
. "$(dirname "$0")/disk.sh"

kind=$1 extents=$2
disk_of "$kind"
mib=$((extents * 8192 / 1048576 + 1))

# device SIZE: in MiB, with a file system, at $work.
device() {
	slow=/sys/kernel/config/nullb/slow
	mkdir $slow
	while read -r name value; do
		echo "$value" >$slow/"$name"
	done <<-END
		memory_backed 1
		blocksize 4096
		size $1
		irqmode 2
		completion_nsec ${latency_us}000
		hw_queue_depth 256
		power 1
	END
	"mkfs.$kind" -q /dev/slow
	mount /dev/slow "$work"
	cd "$work" || exit
}

no_device() {
	cd /
	umount "$work"
	echo 0 >$slow/power
	rmdir $slow
}

# used: per cent of the file system that are.
used() {
	df --output=pcent "$work" | tail -n 1 | tr -dc 0-9
}

# age: small files of many lengths come, every second one goes, and others come, until
# nine tenths are used.
age() {
	python3 - "$work" <<-'END'
		import os, random, sys

		random.seed(1)
		place = sys.argv[1]
		block = random.randbytes(96 << 10)


		def left():
		    stat = os.statvfs(place)
		    return stat.f_bavail / stat.f_blocks


		for turn in range(3):
		    names = []
		    folder = f"{place}/old{turn}"
		    os.mkdir(folder)
		    while left() > 0.1:
		        for _ in range(100):
		            names.append(f"{folder}/{len(names)}")
		            with open(names[-1], "wb") as file:
		                file.write(block[:random.randrange(4096, len(block), 4096)])
		        # What is reserved for what was not written yet is more than it takes.
		        if left() <= 0.1:
		            os.sync()
		    if turn < 2:
		        os.sync()
		        for name in names[::2]:
		            os.unlink(name)
	END
	sync
}

# fragment DEVICE: writes every second block, each a step of its own.
fragment() {
	fio --name=fragment --filename="$1" --direct=1 --rw=write:4k --bs=4k --io_size=$((extents * 4))k \
		--size=$((mib))M --ioengine=io_uring --iodepth=16 >/dev/null
}

# cold: forgets what is known of the files.
cold() {
	cd /
	umount "$work"
	mount /dev/slow "$work"
	cd "$work" || exit
	echo 3 >/proc/sys/vm/drop_caches
}

# figures WHAT: those of a device that is attached by attach_WHAT.
figures() {
	local start end q name from figure

	cold
	start=$(date +%s%N)
	"attach_$1"
	end=$(date +%s%N)
	echo "@aged $kind $state $1 attach-us $(((end - start) / 1000))"
	# Reads of what was written, and writes to what was not: where these begin, and which
	# of fio's figures are theirs.
	while read -r name from figure; do
		for q in 1 16; do
			echo "@aged $kind $state $1 $name-$q $(fio --name=x --thread --filename="$device" --direct=1 \
				--rw="$name" --bs=4k --ba=8k --norandommap --offset="$from" --size=$((mib - 1))M \
				--iodepth="$q" --number_ios=3000 --randseed="$q" --ioengine=io_uring \
				--output-format=terse --terse-version=3 </dev/null | tail -n 1 | cut -d ';' -f "$figure")"
		done
	done <<-END
		randread 0 8
		randwrite 4k 49
	END
	"detach_$1"
}

folder=/sys/kernel/config/ubd/0

attach_ubd() {
	echo 1 >$folder/power
	device=/dev/ubda
}
detach_ubd() {
	echo 0 >$folder/power
}
attach_loop() {
	losetup --direct-io=on /dev/loop7 "$work/sparse"
	device=/dev/loop7
}
detach_loop() {
	losetup -d /dev/loop7
}

modprobe rnull_ubd
mkdir $folder
for state in fresh aged; do
	device $((extents * 8 / 1024 + 600))
	truncate -s ${mib}M back
	echo "$work/cow" >$folder/file
	echo "$work/back" >$folder/backing_file
	echo 1 >$folder/direct_io
	# Or it would be of few extents.
	echo 0 >$folder/allocate
	attach_ubd
	fragment $device
	detach_ubd
	truncate -s ${mib}M sparse
	attach_loop
	fragment $device
	detach_loop
	[ $state = fresh ] || age
	echo "@aged $kind $state file used $(used) %, $(filefrag -v cow | grep -c '^ *[0-9]*:') extents"
	figures ubd
	figures loop
	no_device
done
