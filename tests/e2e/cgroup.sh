#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Who is charged: what a unit reads, writes and keeps in memory for a cgroup is
# on the account of that cgroup, and of no other, as with loop devices.
# kernel: debug

. "$(dirname "$0")/lib.sh"

mkdir cgroup mnt
mount -t cgroup2 cgroup cgroup
echo "+io +memory" >cgroup/cgroup.subtree_control

# A device of its own, so that nobody else reads or writes it.
null=/sys/kernel/config/nullb/nullb7
mkdir $null
for setting in memory_backed=1 size=64 power=1; do
	echo "${setting#*=}" >"$null/${setting%%=*}"
done
number=$(cat /sys/block/nullb7/dev)
# Without a journal, whose thread would write for all.
mkfs.ext4 -q -O ^has_journal /dev/nullb7
mount /dev/nullb7 mnt

# within GROUP COMMAND...
within() {
	(echo "$BASHPID" >"cgroup/$1/cgroup.procs" && shift && exec "$@")
}

# writes GROUP MB DISK HOW: from the start on. reads: the same.
writes() {
	within "$1" dd if=/dev/zero of="$3" bs=128k count=$(($2 * 8)) oflag="$4" status=none
}
reads() {
	within "$1" dd if="$3" of=/dev/null bs=128k count=$(($2 * 8)) iflag="$4" status=none
}

# charged GROUP FIELD: what is in io.stat of the device, in KiB, but for a block or
# two of the file system's own.
charged() {
	local bytes
	bytes=$(sed -n "s/^$number .*\\b$2=\\([0-9]*\\).*/\\1/p" "cgroup/$1/io.stat")
	echo $((${bytes:-0} >> 16 << 6))
}

# kept GROUP: page cache, to the nearest MiB: the kernel counts a processor's pages
# in batches.
kept() {
	awk '$1 == "file" { printf "%d\n", $2 / 1048576 + 0.5 }' "cgroup/$1/memory.stat"
}

# both COMMAND HOW HOW: by two cgroups at once, each on a disk of its own.
both() {
	local first
	"$1" a 5 "$one" "$2" &
	first=$!
	"$1" b 2 "$two" "$3" && wait $first
}

# writing: what the cgroups are charged with for writes. Those of b are durable when
# they end, which another thread sees to.
writing() {
	local group
	if [ $how = direct ]; then
		both writes direct direct,dsync
		for group in a b; do
			echo "$group writes $(charged $group wbytes) KiB, keeps $(kept $group) MiB"
		done
		return
	fi
	# A file's pages are written back on the account of whoever made it dirty, and that
	# is nobody's at first: the kernel sees after a while who it is.
	while :; do
		both writes direct,dsync direct,dsync
		[ "$(charged a wbytes)" = 0 ] || [ "$(charged b wbytes)" = 0 ] || break
	done
	for group in a b; do
		echo "$group writes $([ "$(charged $group wbytes)" = 0 ] || echo some), keeps $(kept $group) MiB"
	done
}

reading() {
	local group
	both reads direct direct
	for group in a b; do
		echo "$group reads $(charged $group rbytes) KiB, keeps $(kept $group) MiB"
	done
}

# used: what the cgroups are charged with for all that they do on disks `one` and
# `two`, each of them new.
used() {
	mkdir cgroup/{a,b}
	writing
	rmdir cgroup/{a,b}
	sync -f mnt
	echo 3 >/proc/sys/vm/drop_caches
	mkdir cgroup/{a,b}
	reading
	rmdir cgroup/{a,b}
}

# anew: the kernel knows nothing of the files.
anew() {
	umount mnt
	mount /dev/nullb7 mnt
}

head -c 5M /dev/urandom >mnt/one
head -c 2M /dev/urandom >mnt/two
# What dd needs is in memory, and no cgroup's.
dd if=/dev/null of=/dev/null status=none

for how in buffered direct; do
	anew
	option=off mask=0 cached=1 written=some
	[ $how = buffered ] || option=on mask=3 cached=0 written=
	one=$(losetup --show -f --direct-io=$option mnt/one)
	two=$(losetup --show -f --direct-io=$option mnt/two)
	used >loop
	losetup -d "$one" "$two"
	anew
	load direct_io=$mask "ubd0=$work/mnt/one" "ubd1=$work/mnt/two"
	one=/dev/ubda two=/dev/ubdb
	used >ubd
	unload
	is "$how: each cgroup is charged with what it does, and keeps" "$(cat ubd)" \
		"a writes ${written:-5120 KiB}, keeps $((cached * 5)) MiB
b writes ${written:-2048 KiB}, keeps $((cached * 2)) MiB
a reads 5120 KiB, keeps $((cached * 5)) MiB
b reads 2048 KiB, keeps $((cached * 2)) MiB"
	is "$how: the same as through loop devices" "$(diff loop ubd)" ""
done

umount mnt
rmdir $null
umount cgroup

plan
