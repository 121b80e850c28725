#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# where: host
#
# What is done to the files behind a unit's back, and to the file system that
# holds them: deleted, cut, shut down, on a server that goes. The request that
# needs what is gone has an I/O error, others go on, and the kernel log is not
# flooded.
# kernel: release

. "$(dirname "$0")/lib.sh"
. "$e2e/guest.bash"

# mkfs.xfs makes file systems this small for its own tests only.
export TEST_DIR=x TEST_DEV=x QA_CHECK_FS=x

# error COMMAND...: the last words of what it says when it fails.
error() {
	local said
	said=$("$@" 2>&1) && echo none && return
	echo "${said##*: }"
}

# put DISK [SECTOR [FILE]]: write FILE (data) to sector 1024, or another, and flush.
put() {
	dd if="${3:-data}" of="$1" bs=64k seek=$((${2:-1024} / 128)) oflag=direct conv=fsync,nocreat status=none
}
get() {
	dd if="$1" of=read bs=64k skip=$((${2:-1024} / 128)) count=4 iflag=direct status=none
}
# right DISK [SECTOR [FILE]]: what is read there is FILE.
right() {
	get "$@" && cmp read "${3:-data}"
}
flush() {
	dd if=/dev/zero of="$1" count=0 conv=fsync,nocreat status=none
}

# holds FS: a new file system in lower.
holds() {
	rm -f lower.img
	truncate -s "${2:-64M}" lower.img
	mkfs."$1" -q lower.img
	mount -o loop lower.img lower
	truncate -s 32M lower/back
}

# cold: nothing of a file is in memory.
cold() {
	sync
	echo 3 >/proc/sys/vm/drop_caches
}

available() {
	df --output=avail lower | tail -n 1
}

# deleted FS: the files have no name any more.
deleted() {
	local before
	holds "$1"
	before=$(available)
	load "ubd0=$PWD/lower/cow:$PWD/lower/back"
	put /dev/ubda
	rm lower/cow lower/back
	cold
	check "$1: deleted while attached: what was written is there" right /dev/ubda
	check "$1: deleted while attached: it can be written" put /dev/ubda 2048
	cold
	check "$1: deleted while attached: and read" right /dev/ubda 2048
	refuse "$1: deleted while attached: no unmount" umount lower
	check "$1: deleted while attached: unloaded" unload
	# What a deleted file had is freed soon after its last user has gone.
	check "$1: the space is free again" wait_for enough "$before"
	umount lower
}

enough() {
	sync -f lower
	[ "$(available)" -ge "$1" ]
}

# cut FS: a COW file ends in its bitmap, of which nothing has been read yet.
cut() {
	holds "$1" 320M
	put lower/back 399872 below
	truncate -s 256M lower/back
	load "ubd0=$PWD/lower/cow:$PWD/lower/back"
	put /dev/ubda
	put /dev/ubda 399872
	unload
	load "ubd0=$PWD/lower/cow"
	get /dev/ubda
	# The first page of the bitmap is in memory, the others are gone.
	truncate -s $((8192 + 2048)) lower/cow
	cold
	check "$1: cut in the bitmap: what was in the file reads as zeros" right /dev/ubda 1024 zeros
	check "$1: cut in the bitmap: a sector that has lost its bit is the backing file's" right /dev/ubda 399872 below
	check "$1: cut in the bitmap: it can be written" put /dev/ubda
	check "$1: cut in the bitmap: where the bitmap was, too" put /dev/ubda 399872
	cold
	check "$1: cut in the bitmap: and read" right /dev/ubda
	check "$1: cut in the bitmap: as well" right /dev/ubda 399872
	unload
	load "ubd0=$PWD/lower/cow"
	check "$1: cut in the bitmap: what was written since is there at the next attach" right /dev/ubda
	check "$1: cut in the bitmap: all of it" right /dev/ubda 399872
	unload
	umount lower
}

# few NAME: of many requests that fail the log has only a few lines, which name
# the unit.
few() {
	local result lines many
	many=$(scaled 1000)
	mark
	rm -f state
	result=$(faults tries /dev/ubda state --ops "$many" --errors EIO 2>&1)
	is "$1: of $many writes and flushes each fails with EIO" "${result##*failed: }" "{'EIO': $many}"
	lines=$(messages | grep -c ubda)
	check "$1: the log has the unit's name" test "$lines" -gt 0
	check "$1: and a few lines only ($lines)" test "$lines" -lt $((many / 2))
}

# shut FS HOW...: the file system is shut down below the COW file. Another unit, and the
# backing file, are elsewhere.
shut() {
	local what=$1
	shift
	truncate -s 1M plain
	load "ubd0=$PWD/lower/cow:$PWD/other" "ubd1=$PWD/plain"
	put /dev/ubda
	cold
	mark
	"$@" || note "$* failed"
	is "$what: a write is an I/O error" "$(error put /dev/ubda)" "Input/output error"
	is "$what: so is a flush" "$(error flush /dev/ubda)" "Input/output error"
	says "$what: the log names the file and says that the unit is read-only" "$PWD/lower/cow" "read-only"
}

# mounted_anew WHAT: no other unit has been harmed, and what was flushed is there
# when the file system is mounted again.
mounted_anew() {
	few "$1"
	check "$1: another unit goes on" put /dev/ubdb 0
	check "$1: unloaded" unload
	umount lower
	mount -o loop lower.img lower
	load "ubd0=$PWD/lower/cow"
	check "$1: what was flushed is there after a new attach" right /dev/ubda
}

# aborted: ext4 has found an error and takes no more writes.
aborted() {
	holds ext4
	cp --sparse=always lower/back other
	shut "ext4, aborted" mount -o remount,abort lower
	check "ext4, aborted: what was written can be read" right /dev/ubda
	check "ext4, aborted: what is elsewhere, too" right /dev/ubda 4096 zeros
	mounted_anew "ext4, aborted"
	check "ext4, aborted: and can be written" put /dev/ubda 2048
	unload
	umount lower
}

# going_down MOUNTPOINT: XFS_IOC_GOINGDOWN, which is ext4's EXT4_IOC_SHUTDOWN too,
# without another write to the log.
going_down() {
	python3 -c 'import fcntl, os, struct, sys
fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587D, struct.pack("I", 2))' "$1"
}

# shutdown FS
shutdown() {
	holds "$1"
	cp --sparse=always lower/back other
	shut "$1, shut down" going_down lower
	is "$1, shut down: what was in the COW file is an I/O error" "$(error get /dev/ubda)" "Input/output error"
	check "$1, shut down: what is elsewhere can be read" right /dev/ubda 4096 zeros
	mounted_anew "$1, shut down"
	unload
	umount lower
}

# untouched NAME FILE...: each is attached, read and detached, and none changes.
untouched() {
	local name=$1 file before
	shift
	before=$(stat -c '%n %Y %Z' "$@" && sha256sum "$@")
	for file; do
		load "ubd0=$file"
		dd if=/dev/ubda of=/dev/null bs=64k iflag=direct status=none
		unload
		sync -f "$file"
	done
	is "$name: attached, read and detached, the files are as before" \
		"$(stat -c '%n %Y %Z' "$@" && sha256sum "$@")" "$before"
}

# p9 FOLDER: on a folder of the host's.
p9() {
	load "ubd0=$1/cow:$1/image" "ubd1=$1/plain"
	check "9p: a COW file and a plain image are attached" test -b /dev/ubda -a -b /dev/ubdb
	model expect "$1/image" "$1/want"
	cp "$1/want" want
	check "9p: reads and writes" model exercise /dev/ubda want --ops "$(scaled 400)" --procs 2 --depth 8 --max 65536
	check "9p: the COW file reads as written" model cmp /dev/ubda want --direct
	check "9p: the plain image is written" put /dev/ubdb
	refuse "9p: no discard where the file system has none" blkdiscard -o 0 -l 65536 /dev/ubda
	unload
	untouched 9p "$1/cow" "$1/image" "$1/plain"
	load "ubd0=$1/cow"
	check "9p: it reads as written at the next attach" model cmp /dev/ubda want --direct
	unload
	load direct_io=1 "ubd0=$1/cow"
	is "9p: past the page cache" "$(cat /sys/block/ubda/ubd/direct_io)" 1
	check "9p: past the page cache, reads and writes" \
		model exercise /dev/ubda want --ops "$(scaled 200)" --procs 2 --depth 8 --max 65536 --seed direct
	unload
	cp want "$1/want"
}

# serve: an NFS server for this machine, which exports lower. It knows its
# clients again when it was away, so that it need not wait for those it forgot.
serve() {
	mkdir -p /run/rpc_pipefs /var/lib/nfs/nfsdcld &&
		mount -t nfsd nfsd /proc/fs/nfsd &&
		mount -t rpc_pipefs rpc /run/rpc_pipefs &&
		echo "$PWD/lower 127.0.0.1(rw,no_root_squash,no_subtree_check,fsid=0)" >/etc/exports &&
		nfsdcld && exportfs -a && rpc.mountd --no-nfs-version 3 --no-udp && up
}

up() {
	rpc.nfsd --no-nfs-version 3 -G 10 -L 10 2
}

# nfs: on a server that goes, and comes back.
nfs() {
	local said pid
	holds ext4
	if ! said=$(serve 2>&1 && mount -t nfs4 -o vers=4.1 127.0.0.1:/ net 2>&1); then
		skip "a COW file on NFS" "no server: $said"
		return
	fi
	model pattern lower/image $(((2 << 20) + 1000)) image
	truncate -s 1M plain
	load "ubd0=$PWD/net/cow:$PWD/net/image" "ubd1=$PWD/plain"
	check "NFS: a COW file is attached" test -b /dev/ubda
	model expect lower/image want
	check "NFS: reads and writes" model exercise /dev/ubda want --ops "$(scaled 400)" --procs 2 --depth 8 --max 65536
	check "NFS: it reads as written" model cmp /dev/ubda want --direct
	unload
	untouched NFS "$PWD/net/cow" "$PWD/net/image"
	load "ubd0=$PWD/net/cow" "ubd1=$PWD/plain"
	check "NFS: and at the next attach" model cmp /dev/ubda want --direct

	rpc.nfsd 0
	dd if=data of=/dev/ubda bs=64k seek=8 oflag=direct conv=fsync,nocreat status=none &
	pid=$!
	wait_for sleeps $pid
	check "NFS: the server is gone: another unit goes on" put /dev/ubdb 0
	check "NFS: the server is gone: a write waits" kill -0 $pid
	up
	wait $pid
	is "NFS: and ends when it is there again" "$?" 0
	cold
	check "NFS: with what was written" right /dev/ubda

	mark
	exportfs -u "127.0.0.1:$PWD/lower"
	exportfs -f
	is "NFS: the folder is not served any more: a write is an I/O error" "$(error put /dev/ubda 2048)" "Input/output error"
	cold
	is "NFS: so is a read of what is not in memory" "$(error get /dev/ubda 0)" "Input/output error"
	check "NFS: another unit goes on" put /dev/ubdb 0
	few "NFS"
	exportfs -a
	check "NFS: unloaded" unload
	load "ubd0=$PWD/net/cow"
	check "NFS: what was flushed is there after a new attach" right /dev/ubda
	check "NFS: and can be written" put /dev/ubda 2048
	unload
	umount net
	rpc.nfsd 0
	exportfs -ua
	umount lower
}

guest_all() {
	local shared=$work
	mkdir /tmp/here
	cd /tmp/here || return
	. "$e2e/faults.bash"
	mkdir lower net
	dd if=/dev/urandom of=data bs=64k count=4 status=none
	dd if=/dev/urandom of=below bs=64k count=4 status=none
	truncate -s 256K zeros
	deleted ext4
	cut xfs
	shutdown xfs
	if [ -z "$debug" ]; then
		aborted
		deleted xfs
		cut ext4
		shutdown ext4
	fi
	p9 "$shared/folder"
	nfs
	plan
}

if [ $# != 0 ]; then
	"$1_$3"
	exit
fi

mkdir folder
model pattern folder/image $(((2 << 20) + 1000)) image
model pattern folder/plain $((1 << 20)) plain
guest_tests all
check "9p: the host finds a COW file that is right" model cmp-cow folder/cow folder/want --backing "$work/folder/image"
plan
