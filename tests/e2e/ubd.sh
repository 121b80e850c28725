#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# where: host
#
# The program ubd and the driver: units are attached by several processes at a
# time, listed, shown, detached and reset; what goes wrong is said in the
# driver's words, and leaves nothing.
# kernel: release

. "$(dirname "$0")/lib.sh"
. "$e2e/guest.bash"
. "$e2e/program.bash"
. "$e2e/scsi.bash"

config=/sys/kernel/config/ubd

# printed ARGUMENT...: what ubd prints, with its exit code in front.
printed() {
	local code=0
	"$ubd" "$@" >out 2>err || code=$?
	echo "$code $(cat out err)"
}

# none NAME: no unit is attached, and none has a folder.
none() {
	is "$1" "$(echo $config/* /dev/ubd*)" "$config/* /dev/ubd*"
}

guest_units() {
	local disk pid pids said unit wrong
	mkdir /tmp/here && mount -t tmpfs none /tmp/here && cp "$work/ubd" /tmp/here && cd /tmp/here || return
	ubd=$PWD/ubd
	model pattern plain $((1 << 20)) plain
	model pattern back $(((2 << 20) + 100)) back
	model expect back back.want
	cp back.want cow.want

	# What has to be there.

	finds "no driver: detach" 1 "ubd: the driver is not loaded: 'modprobe rnull_ubd'" -- detach a
	finds "no driver: list" 1 "the driver is not loaded" -- list
	finds "no driver: what is for files works" 0 "" -- create made back
	is "no driver: attach, not root" "$(setpriv --reuid 65534 --regid 65534 --clear-groups "$ubd" attach plain 2>&1; echo $?)" \
		"ubd: the driver is not loaded, and cannot be: modprobe: ERROR: could not insert 'rnull_ubd': Operation not permitted"$'\n'1
	is "no driver, and no modprobe: attach" "$(PATH='' "$ubd" attach plain 2>&1; echo $?)" \
		"ubd: the driver is not loaded: 'modprobe rnull_ubd' does that, as root"$'\n'1
	is "attach loads it" "$(printed attach plain)" "0 /dev/ubda"
	"$ubd" detach a
	umount /sys/kernel/config
	finds "no configfs: attach" 1 "ubd: configfs is not mounted: 'mount -t configfs" -- attach plain
	finds "no configfs: list" 0 "" -- list
	mount -t configfs config /sys/kernel/config
	is "not root: attach" "$(setpriv --reuid 65534 --regid 65534 --clear-groups "$ubd" attach plain 2>&1; echo $?)" \
		"ubd: ubda: cannot be had: only root may do that"$'\n'1
	none "nothing is left of those"
	"$ubd" attach plain >out
	is "not root: detach" "$(setpriv --reuid 65534 --regid 65534 --clear-groups "$ubd" detach a 2>&1; echo $?)" \
		"ubd: ubda: cannot be detached: only root may do that"$'\n'1
	"$ubd" detach a

	# A plain image, and a COW file that is made.

	is "attach" "$(printed attach plain)" "0 /dev/ubda"
	check "the file's bytes are the disk" model cmp /dev/ubda plain --direct
	is "attach makes a COW file" "$(printed attach cow:back)" "0 /dev/ubdb"
	model write /dev/ubdb cow.want 50176 3072 first
	is "attach takes options" "$(printed attach -r --sync --direct --serial 'S 1' --no-discard --unit ubdq plain)" \
		"1 ubd: ubdq: ubd16rst=plain,,S 1: /tmp/here/plain: cannot be locked, another process or unit has it: EAGAIN"
	is "and they are the unit's" "$(printed attach -r --sync --direct --serial 'S 1' --no-discard --unit ubdq made)" \
		"0 /dev/ubdq"
	is "and in force" "$(cat /sys/block/ubdq/{ro,serial,ubd/{flags,direct_io}} | paste -sd ' ')" "1 S 1 rst 1"
	is "list" "$(printed list)" "0 $(printf '%s\n' \
		'NAME      STATE       SIZE RO DIO FILE            BACKING' \
		'/dev/ubda attached 1048576 0  0   /tmp/here/plain' \
		'/dev/ubdb attached 2097664 0  0   /tmp/here/cow   /tmp/here/back' \
		'/dev/ubdq attached 2097664 1  1   /tmp/here/made  /tmp/here/back')"
	is "list, some columns" "$(printed list -n -o unit,FLAGS,used,close)" "0 $(printf '%s\n' \
		' 0     1048576 0' ' 1        3072 0' '16 rst       0 0')"
	is "list -j: who uses a file" "$(printed list -j back -n -o NAME | xargs)" "0 /dev/ubdb /dev/ubdq"
	finds "list -j of no file" 1 "ubd: missing: there is no such file" -- list -j missing
	is "list -f" "$(printed list -f)" "0 /dev/ubdc"
	finds "list: no such column" 1 "invalid value 'FOO'" "NAME" "MAJ:MIN" -- list -o FOO
	finds "show" 0 "disk:            /dev/ubdb" "state:           attached" "used:            3072" \
		"backing files:   /tmp/here/back" -- show 1
	is "list needs no root" "$(setpriv --reuid 65534 --regid 65534 --clear-groups "$ubd" list -n -o NAME,STATE,FILE | xargs)" \
		"/dev/ubda attached /tmp/here/plain /dev/ubdb attached /tmp/here/cow /dev/ubdq attached /tmp/here/made"
	is "nor configfs" "$(umount -l /sys/kernel/config
		setpriv --reuid 65534 --regid 65534 --clear-groups "$ubd" list -n -o NAME,FILE,BACKING)" \
		"$(printf '%s\n' '/dev/ubda /tmp/here/plain' '/dev/ubdb /tmp/here/cow   /tmp/here/back' \
			'/dev/ubdq /tmp/here/made  /tmp/here/back')"
	mount -t configfs config /sys/kernel/config
	"$ubd" list --json >"$work/list.json"
	"$ubd" list --json -o NAME,BACKING >"$work/columns.json"
	"$ubd" list --json -f >"$work/find.json"
	"$ubd" show --json b >"$work/show.json"

	# Units have many names.

	wrong=
	for unit in 16 q ubdq /dev/ubdq /tmp/here/link; do
		ln -sf /dev/ubdq link
		[ "$("$ubd" show "$unit" | head -n 1)" = "unit:            16" ] || wrong+=" $unit"
	done
	is "a unit by all of its names" "$wrong" ""
	finds "what names none" 1 "invalid value '/dev/null' for '<UNIT>'" "a to bgqcv" -- show /dev/null
	finds "a unit that is not there" 1 "ubd: ubdc: is not attached" -- show c
	finds "nor can it be detached" 1 "ubd: ubdc: is not attached" -- detach c
	finds "a unit that somebody has" 1 "ubd: ubdq: is attached already" -- attach --unit 16 plain

	# What is in use is not detached, and all else is.

	exec 3</dev/ubda
	finds "detach: in use" 1 "ubd: ubda: not detached" open -- detach 0 ubdq
	exec 3<&-
	is "the other one is detached" "$("$ubd" list -n -o NAME | xargs)" "/dev/ubda /dev/ubdb"
	finds "a disk below another" 0 /dev/ubdc -- attach /dev/ubda --direct
	"$ubd" detach --json --all >"$work/detach.json"
	is "detach --all" $? 0
	none "detach --all leaves nothing"
	model merge cow merged --backing back
	check "the COW file has what was written" cmp merged cow.want
	is "a unit of an option needs no folder" "$(unload; load ubd0=/tmp/here/cow; printed detach 0)" "0 "
	none "nor has it one after that"

	# Reset.

	"$ubd" attach cow >out
	exec 3</dev/ubda
	finds "reset: in use" 1 "ubda" -- reset ubda
	exec 3<&-
	check "reset" "$ubd" reset ubda
	check "the disk is the backing file's" model cmp /dev/ubda back.want --direct
	finds "reset of a plain image" 1 "ubd: ubdb: not reset: EINVAL" -- reset "$("$ubd" attach plain)"
	"$ubd" detach --all

	# Another length.

	truncate -s 1M grows
	"$ubd" attach grows >out
	exec 3</dev/ubda
	truncate -s 3M grows
	is "rescan, in use" "$(printed rescan ubda --json | xargs)" "0 { unit: 0, disk: /dev/ubda, size: $((3 << 20)) }"
	is "the disk has the file's size" "$(blockdev --getsize64 /dev/ubda)" $((3 << 20))
	exec 3<&-
	finds "rescan of a COW file" 1 "ubd: ubdb: keeps its size: its file is a COW file" -- rescan "$("$ubd" attach cow)"
	finds "rescan of what is not attached" 1 "ubd: ubdc: is not attached" -- rescan c
	"$ubd" detach --all
	rm grows

	# Snapshots of what is in use, with the file systems on it frozen.

	truncate -s 24M disk
	mkfs.ext4 -q disk
	"$ubd" attach disk >out
	mkdir mnt
	mount /dev/ubda mnt
	echo first >mnt/file
	finds "snapshot --freeze on the unit's own disk" 1 "mnt/top" "own disk" -- snapshot --freeze ubda mnt/top
	finds "snapshot on the unit's own disk" 1 "own disk" -- snapshot ubda mnt/top
	rm mnt/top
	check "snapshot --freeze" sh -c "'$ubd' --json snapshot --freeze ubda top >json"
	is "it says what was frozen" "$(field json frozen) $(field json file) $(field json backing_file)" \
		"['$PWD/mnt'] $PWD/top $PWD/disk"
	check "it is thawed" sh -c "echo second >mnt/file && sync"
	check "the moment's file system is clean" e2fsck -fn disk
	finds "a file that is there" 1 "top" EEXIST -- snapshot --freeze ubda top
	check "it is thawed after that, too" sh -c "echo third >mnt/file && sync"
	umount mnt
	finds "snapshot of what is not attached" 1 "ubdc: is not attached" -- snapshot ubdc other
	"$ubd" detach --all
	rm disk top

	# With a file system that is mounted, the disk grows.

	truncate -s 24M disk
	mkfs.ext4 -q -b 1024 disk
	"$ubd" attach disk >out
	mount /dev/ubda mnt
	echo first >mnt/file
	finds "snapshot --size with less than there is" 1 "ubd: ubda: " "disk: has a larger disk than that: EINVAL" -- \
		snapshot --size 25165823 ubda top
	check "makes no file" test ! -e top
	is "nor is in the way of the next one" "$(cat $config/0/size)" 0
	is "and leaves the disk as large as it is" "$(blockdev --getsize64 /dev/ubda)" 25165824
	finds "snapshot --size with no size" 1 "is no number of bytes" -- snapshot --size many ubda top
	check "snapshot --size" "$ubd" snapshot --size 64M --freeze ubda top
	is "the disk has that" "$(blockdev --getsize64 /dev/ubda) $("$ubd" list -n -o SIZE | xargs)" "67108864 67108864"
	finds "and show says so" 0 "size:            67108864" -- show ubda
	check "a snapshot without --size, then" "$ubd" snapshot ubda top.2
	is "keeps it" "$(blockdev --getsize64 /dev/ubda)" 67108864
	check "the file system is grown" grow_ext4 mnt $((64 << 10))
	head -c 32M /dev/urandom >mnt/large
	sum mnt/large >large.sum
	umount mnt
	check "and is sound" e2fsck -fn /dev/ubda
	"$ubd" detach --all
	check "attached by the last file" "$ubd" attach top.2
	mount /dev/ubda mnt
	is "it has all that" "$(cat mnt/file) $(sum mnt/large)" "first $(cat large.sum)"
	umount mnt
	"$ubd" detach --all
	finds "info says where it grew" 0 "size:           67108864 bytes" "25165824 of them over the backing file" -- info top
	check "and the moment is there" e2fsck -fn disk
	rm disk top top.2 large.sum

	# What has changed since a snapshot, while the disk is in use.

	"$ubd" attach moments:back >out
	finds "diff --unit: nothing is written" 0 "" -- diff --unit ubda
	exec 3<>/dev/ubda
	dd if=/dev/zero of=/dev/ubda bs=512 seek=16 count=8 oflag=direct status=none
	is "diff --unit: what was written" "$("$ubd" diff --unit ubda)" "8192 4096"
	"$ubd" snapshot ubda moments.2
	dd if=/dev/zero of=/dev/ubda bs=512 seek=20 count=8 oflag=direct status=none
	"$ubd" snapshot ubda moments.3
	dd if=/dev/zero of=/dev/ubda bs=512 seek=22 count=1 oflag=direct status=none
	finds "diff of a file that is written" 1 "moments.3: is in use" -- diff moments.3
	is "and of one below, which is not" "$("$ubd" diff --from moments moments.2)" "10240 4096 moments.2"
	is "diff --unit --from" "$("$ubd" diff --from moments --unit 0)" "$(printf '%s\n' "10240 1024 $PWD/moments.2" \
		"11264 512 $PWD/moments.3" "11776 2560 $PWD/moments.2")"
	is "diff --unit --from what is below all" "$("$ubd" diff --from back --unit ubda | cut -d' ' -f-2 | xargs)" \
		"8192 2048 10240 1024 11264 512 11776 2560"
	# What is in the page cache of the disk has been written, too.
	dd if=/dev/zero of=/dev/ubda bs=4096 seek=100 count=1 status=none
	is "diff --unit: what is in the page cache" "$("$ubd" diff --unit ubda | xargs)" "11264 512 409600 4096"
	exec 3<&-
	finds "diff --unit --from a file of another unit" 1 "plain: is none" -- diff --unit a --from plain
	finds "diff --unit of what is not attached" 1 "ubdc: is not attached" -- diff --unit c
	"$ubd" attach plain >out
	finds "diff --unit of a plain image" 1 "plain: is no COW file" -- diff --unit b
	"$ubd" detach --all
	rm moments*

	# Files below what is in use: merged, and in another place.

	cp plain base
	"$ubd" attach one:base >out
	finds "commit with nothing to merge" 1 "one" "no COW file below" -- commit ubda
	dd if=/dev/urandom of=/dev/ubda bs=64k count=4 oflag=direct status=none
	"$ubd" snapshot ubda two
	dd if=/dev/urandom of=/dev/ubda bs=64k count=1 seek=2 oflag=direct status=none
	dd if=/dev/ubda of=want bs=64k iflag=direct status=none
	exec 3</dev/ubda
	"$ubd" commit --quiet --rate 1 ubda 2>err &
	wait_for grep -qx running /sys/kernel/config/ubd/0/commit_state
	is "the unit is told to be in that" "$("$ubd" list -n -o STATE)" committing
	finds "no snapshot meanwhile" 1 "committing" -- snapshot ubda three
	check "commit --cancel" "$ubd" commit --cancel ubda
	wait $!
	is "a commit that is cancelled" "$? $(cat err)" "1 ubd: ubda: the commit was cancelled"
	check "commit of a unit" sh -c "'$ubd' --json commit ubda 2>err >json"
	is "it says what is left" "$(field json disk) $(field json file) $(field json backing_file)" \
		"/dev/ubda $PWD/two $PWD/base"
	is "and that all was done" "$(tail -n 1 err)" "commit: 100 %, 262144 of 262144 bytes"
	check "the disk is as it was" model cmp /dev/ubda want --direct
	cp base copy
	finds "rebase of a unit" 0 -- rebase --quiet ubda copy
	is "it is there" "$("$ubd" list -n -o BACKING)" "$PWD/copy"
	printf x | dd of=base bs=1 seek=500000 conv=notrunc status=none
	finds "to what differs" 1 "differ at byte 500000" -- rebase --quiet ubda base
	head -c 4096 plain >short
	finds "or has another size" 1 "short" "another size" -- rebase --quiet ubda short
	finds "and by the driver, too" 1 "short" "4096" -- rebase --unsafe ubda short
	finds "--to is for files" 1 "no --to" -- commit --to x ubda
	finds "--cancel is for units" 1 "is no unit" -- commit --cancel two
	exec 3<&-
	"$ubd" detach --all
	model merge two merged --backing copy
	check "the files have the disk" cmp merged want
	rm one two base copy short

	# What can't be attached leaves nothing.

	finds "no such file" 1 "ubd: ubda: ubd0=missing: missing: cannot be opened" ENOENT -- attach missing
	finds "no such backing file" 1 "ubda" "backing file nothing" ENOENT -- attach new:nothing
	finds "a serial number that is too long" 1 "ubd: ubda: serial: File name too long" -- \
		attach --serial "$(printf '%05000d' 1)" plain
	finds "a limit for a plain image" 1 "cannot have limit" -- attach --limit 1M plain
	finds "no number of bytes" 1 "is no number of bytes" -- attach --limit 1X plain
	finds "no unit" 1 "out of range" -- attach --unit 1048576 plain
	"$ubd" attach plain >/dev/full 2>err
	is "an answer that is lost" "$? $(cat err)" "1 ubd: standard output: No space left on device (os error 28)"
	none "nothing is left of those"
	cp plain a:b
	is "a colon in a name: --plain" "$(printed attach --plain a:b; cat /sys/block/ubda/ubd/flags)" "0 /dev/ubda"$'\n'd
	is "a colon in a name: --backing" "$(printed attach --backing a:b c:d)" "1 $(cat err)"
	finds "it is locked, as the message says" 1 "a:b" locked -- attach --backing a:b c:d
	"$ubd" detach a
	is "a colon in a name: --backing, of a file that is free" "$(printed attach --backing a:b c:d)" "0 /dev/ubda"
	is "both have one" "$("$ubd" list -n -o FILE,BACKING)" "/tmp/here/c:d /tmp/here/a:b"
	"$ubd" attach --json made --limit 1M --low-space 4K >"$work/attach.json"
	"$ubd" detach --all

	# Eight processes.

	pids=()
	for unit in {1..8}; do
		"$ubd" attach "many$unit:back" >"out$unit" &
		pids+=($!)
	done
	wrong=
	for pid in "${pids[@]}"; do
		wait "$pid" || wrong+=" $pid"
	done
	is "eight processes attach" "$wrong" ""
	is "each has a disk of its own" "$(sort out? | xargs)" "$(echo /dev/ubd{a..h})"
	wrong=
	for unit in {1..8}; do
		read -r disk <"out$unit"
		[ "$(cat "/sys/block/${disk#/dev/}/ubd/file")" = "/tmp/here/many$unit" ] || wrong+=" $unit"
	done
	is "and its own file on it" "$wrong" ""
	pids=()
	for unit in {1..8}; do
		"$ubd" detach "$(cat "out$unit")" &
		pids+=($!)
	done
	wait "${pids[@]}"
	none "eight processes detach"

	# A unit for as long as a process is there.

	hold() {
		rm -f out
		"$ubd" attach --detach-on-close plain >out 2>err &
		pid=$!
		wait_for test -s out
		read -r disk <out
	}
	# ended NAME SIGNAL WANT: the code that it ends with, and what it says.
	ended() {
		kill "-$2" "$pid"
		wait "$pid" 2>/dev/null
		is "$1" "$? $(cat err)" "$3"
	}
	hold
	is "--detach-on-close" "$disk $("$ubd" list -n -o CLOSE)" "/dev/ubda 1"
	ended "ends by a signal" TERM "0 "
	none "and nothing is left"
	hold
	exec 3<"$disk"
	ended "when somebody else has the disk" TERM \
		"0 ubd: ubda: is in use, and goes when that ends; 'ubd detach ubda' removes its folder"
	check "the disk stays" model cmp "$disk" plain
	exec 3<&-
	wait_for grep -q detached $config/0/state
	is "until that one closes it" "$("$ubd" list -n -o NAME,STATE)" "/dev/ubda detached"
	check "its folder is removed" "$ubd" detach ubda
	hold
	ended "SIGKILL" KILL "137 "
	wait_for grep -q detached $config/0/state
	check "after SIGKILL the folder is left" "$ubd" detach ubda
	none "and then nothing"

	# A signal while a file does not answer.

	truncate -s 1M slow
	disk=$(losetup --show -f slow)
	dmsetup create --noudevsync slow --table "0 2048 linear $disk 0"
	dmsetup mknodes slow
	# hung: an attach that waits.
	hung() {
		dmsetup suspend --noflush --nolockfs slow
		"$ubd" attach /dev/mapper/slow >out 2>err &
		pid=$!
		wait_for grep -q attaching $config/0/state
	}
	# It has a second for that, which may be too little where others have the processors.
	for _ in {1..5}; do
		hung
		kill -TERM "$pid"
		dmsetup resume --noudevsync slow
		wait "$pid"
		said="$? $(cat out err)"
		[[ $said == "143 ubd: ubda: its file does not answer"* ]] || break
		wait_for grep -q detached $config/0/state
		"$ubd" detach ubda
	done
	is "SIGTERM while a file is opened that answers then" "$said" "143 "
	none "nothing is left"
	hung
	ended "SIGTERM while a file does not answer" TERM \
		"143 ubd: ubda: its file does not answer: the unit is not attached when it does, and 'ubd detach ubda' removes its folder then"
	is "that can be seen" "$("$ubd" list -n -o NAME,STATE)" "/dev/ubda attaching"
	finds "and not be detached" 1 "ubda" -- detach ubda
	dmsetup resume --noudevsync slow
	wait_for grep -q detached $config/0/state
	check "when it answers the folder is removed" "$ubd" detach ubda
	none "and nothing is left"
	dmsetup remove --noudevsync slow
	rm -f /dev/mapper/slow
	losetup -d "$disk"
	check "unload" unload

	# All blocks of a file, from a disk that makes zeros.
	scsi_disk
	mkdir disk
	blkdiscard /dev/sda
	mkfs.ext4 -q /dev/sda
	mount /dev/sda disk
	finds "all blocks of a file" 0 "" -- create --quiet --allocate disk/all back
	check "all blocks of a file: they are there" test "$(stat -c %b disk/all)" -ge $((2 << 11))
	check "all blocks of a file: as zeros that the disk does not hold" test "$(held disk/all)" -le 16
	model expect back back.want
	check "all blocks of a file: it is as one without" \
		model cmp-cow disk/all back.want --new --backing "$PWD/back"
	umount disk
	no_scsi_disk
	plan
}

if [ "${1:-}" = guest ]; then
	"guest_$3"
	exit
fi
get_program
guest_tests units

# json FILE EXPRESSION: what Python says of `it`, that file's JSON.
json() {
	python3 -c 'import json, sys; it = json.load(open(sys.argv[1])); print(eval(sys.argv[2]))' "$@"
}
is "list --json" "$(json list.json '[(u["unit"], u["disk"], u["file"], u["backing_files"], u["size"]) for u in it]')" \
	"[(0, '/dev/ubda', '/tmp/here/plain', [], 1048576), (1, '/dev/ubdb', '/tmp/here/cow', ['/tmp/here/back'], 2097664), (16, '/dev/ubdq', '/tmp/here/made', ['/tmp/here/back'], 2097664)]"
is "list --json -o" "$(json columns.json 'it[1]')" "{'disk': '/dev/ubdb', 'backing_files': ['/tmp/here/back']}"
is "list --json -f" "$(json find.json it)" "{'unit': 2, 'disk': '/dev/ubdc'}"
is "show --json" "$(json show.json '[it[k] for k in ("unit", "state", "health", "read_only", "direct_io", "flags", "serial", "limit", "used", "detach_on_close", "folder", "last_error")]')" \
	"[1, 'attached', 'ok', False, False, '', '', 0, 3072, False, '/sys/kernel/config/ubd/1', None]"
is "attach --json" "$(json attach.json '[it[k] for k in ("disk", "limit", "low_space", "space")]')" \
	"['/dev/ubdb', 1048576, 4096, 'ok']"
is "detach --json" "$(json detach.json it)" \
	"[{'unit': 0, 'disk': '/dev/ubda'}, {'unit': 1, 'disk': '/dev/ubdb'}, {'unit': 2, 'disk': '/dev/ubdc'}]"
plan
