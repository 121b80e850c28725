#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Every option and every error of the reference, as module parameters: what is
# attached, and what the kernel log says.
# previous: yes
# smp: 1
# daily: release

. "$(dirname "$0")/lib.sh"

# chosen: whether the next of many options is tried: on the debug kernel every
# third, for they are parsed alike on both.
turn=0
chosen() {
	turn=$((turn + 1))
	[ -z "$slow" ] || [ $((turn % 3)) = 1 ]
}

# malformed NAME PARAMETER... -- WORD...: the load fails, and a message with
# the words says why.
malformed() {
	local what=$1 params=()
	chosen || return 0
	shift
	while [ "$1" != -- ]; do
		params+=("$1")
		shift
	done
	shift
	mark
	if load "${params[@]}" 2>/dev/null; then
		not_ok "$what: the load fails" "$(messages)"
		unload
	elif said "$@"; then
		ok "$what: the load fails and says why"
	else
		not_ok "$what: the message" "no message with: $*"$'\n'"$(messages)"
	fi
}

# failing NAME OPTION -- WORD...: unit 0 fails with a message with the words,
# the option among them, and unit 1 is there.
failing() {
	local what=$1 option=$2
	shift 3
	mark
	if ! load "$option" "ubd1=$work/other"; then
		not_ok "$what: the load goes on" "$(messages)"
	elif [ -e /dev/ubda ] || [ ! -b /dev/ubdb ]; then
		not_ok "$what: the one is absent and the other there" "$(ls /dev/ubd*)"$'\n'"$(messages)"
	elif said "$@"; then
		ok "$what: the message; the other unit is there"
	else
		not_ok "$what: the message" "no message with: $*"$'\n'"$(messages)"
	fi
	! loaded || unload
}

# attached NAME OPTION DEVICE: an option that must give the device.
attached() {
	chosen || return 0
	if load "$2" 2>/dev/null; then
		check "$1" test -b "$3"
		unload
	else
		not_ok "$1" "load $2 failed"
	fi
}

back_bytes=$(((1 << 20) + 100))
model pattern plain $((1 << 20)) plain
model pattern other $((1 << 20)) other
model pattern back $back_bytes back
model expect back want
sum back >back.sum

# Which unit.

malformed "no unit" "ubd==$work/plain" -- "=$work/plain" number
malformed "no number and no letter" "ubd=A=$work/plain" -- "A=$work/plain" number
malformed "a unit too many" "ubd=1048576=$work/plain" -- "1048576=$work/plain" range 1048575 bgqcv
malformed "by its letters" "ubd=bgqcw=$work/plain" -- "bgqcw=$work/plain" range
malformed "a huge unit" "ubd=99999999999999999999=$work/plain" -- "99999999999999999999=$work/plain" range
malformed "one unit twice" "ubd0=$work/plain" "ubd0=$work/other" -- ubda "$work/other" already
malformed "one unit by two names" "ubda=$work/plain" "ubd=0=$work/other" -- ubda "$work/other" already
attached "unit as a letter" "ubdc=$work/plain" /dev/ubdc
attached "unit as a letter, the other way" "ubd=c=$work/plain" /dev/ubdc
attached "unit in hexadecimal" "ubd=0xe=$work/plain" /dev/ubdo
attached "unit in octal" "ubd=010=$work/plain" /dev/ubdi
attached "unit 15" "ubd15=$work/plain" /dev/ubdp
attached "unit 16" "ubd=16=$work/plain" /dev/ubdq
attached "the last unit" "ubd=1048575=$work/plain" /dev/ubdbgqcv
attached "unit by several letters" "ubd=zz=$work/plain" /dev/ubdzz
attached "letters at the end are flags" "ubd=ac=$work/plain" /dev/ubda
attached "but the first, and those before them" "ubd=rcas=$work/plain" /dev/ubdrca
attached "what these letters name, by number" "ubd=28=$work/plain" /dev/ubdac

# A name that is none of the module's parameters is for the kernel to name.
for param in ubd16 ubdq ubd0q ubd0sr; do
	mark
	check "$param=: taken, by a kernel that passes it over" load "$param=$work/plain" "ubd1=$work/other"
	is "$param=: the kernel's message" \
		"$(messages | grep -c "rnull_ubd: unknown parameter '$param' ignored")" 1
	check "$param=: nothing else" test ! -e /dev/ubda -a -b /dev/ubdb
	unload
done

# Flags.

malformed "a letter that is no flag" "ubd=0x=$work/plain" -- "0x=$work/plain" flag "not 'x'"
malformed "too many flags" "ubd=0rrrrrrrrrrrrr=$work/plain" -- "0rrrrrrrrrrrrr=$work/plain" many
malformed "no '='" "ubd=0r" -- "0r" "'='"
malformed "no '=' at all" ubd0 -- ubd0 "'='"
malformed "no file" "ubd0=" -- ubd0= file
malformed "d and a second file" "ubd0d=$work/new:$work/back" -- "$work/new:$work/back" "'d'"
check "nothing was created" test ! -e new

# Every set of flags in the order r, s, c, d, t by its own name, in two loads.
halves=(0 16)
[ -z "$slow" ] || halves=(16)
for half in "${halves[@]}"; do
	params=()
	read_only=
	for i in {0..15}; do
		flags=
		for bit in 0 1 2 3 4; do
			letter=rscdt
			[ $(((i + half) >> bit & 1)) = 0 ] || flags+=${letter:bit:1}
		done
		cp plain "image$i"
		params+=("ubd$i$flags=$work/image$i")
		[[ $flags != *r* ]] || read_only+="$i "
	done
	mark
	check "flags by their own names, ${params[0]%=*} to ${params[15]%=*}" load "${params[@]}"
	found=
	for i in {0..15}; do
		dev=$(disk "$i")
		[ "$(blockdev --getro "$dev")" = 0 ] || found+="$i "
	done
	is "those with r are read-only" "$found" "$read_only"
	is "no parameter is unknown to the kernel" "$(messages | grep -i 'unknown parameter')" ""
	unload
done
rm image*
attached "flags in another order" "ubd=2tsdr=$work/plain" /dev/ubdc
attached "a flag twice" "ubd=2srs=$work/plain" /dev/ubdc

sum plain >plain.sum
load "ubd0r=$work/plain"
is "r: the disk is read-only" "$(blockdev --getro /dev/ubda)" 1
refuse "r: no write" dd if=/dev/zero of=/dev/ubda bs=4k count=1 oflag=direct
check "r: reads" model cmp /dev/ubda plain --direct
unload
is "r: the file is as it was" "$(sum plain)" "$(cat plain.sum)"

model make-cow cow back --disk cow.want
load "ubd0d=$work/cow" "ubd1=$work/plain" "ubd2t=$work/other"
check "d: the COW file's own bytes are the disk" model cmp /dev/ubda cow --direct --pad 512
is "t: no discard" "$(cat /sys/block/ubdc/queue/discard_max_bytes)" 0
is "t: no write-zeroes" "$(cat /sys/block/ubdc/queue/write_zeroes_max_bytes)" 0
unload

# Files, separators, serial number.

for separators in "::" ",," ":," ",:"; do
	chosen || continue
	a=${separators:0:1} b=${separators:1:1}
	rm -f new
	load "ubd0=$work/new$a$work/back${b}S-1" "ubd1=$work/plain$a${b}S-2"
	check "separators $separators: a COW file and a plain one" test -b /dev/ubda -a -b /dev/ubdb -a -e new
	if [ -e /sys/block/ubda/serial ]; then
		is "separators $separators: the serial numbers" \
			"$(cat /sys/block/ubda/serial /sys/block/ubdb/serial | tr '\n' ' ')" "S-1 S-2 "
	else
		skip "separators $separators: the serial numbers" "no attribute serial"
	fi
	unload
done

rm -f new
mark
load "ubd0=$work/new:$work/back" "ubd1rs=$work/plain"
says "a new COW file: the message" ubda "$work/new" "$work/back" made
says "an attached unit: the message" ubda "$work/new" "$work/back"
says "an attached unit: the message with flags" ubdb "$work/plain" "flags rs"
model write /dev/ubda want 5120 1024 new
unload
check "a new COW file is in V3, sparse, and names its backing file" \
	model cmp-cow new want --new --backing "$work/back"
model expect back want
(cd / && load "ubd0=${work#/}/relative:${work#/}/back")
unload
check "a relative name: the file" test -e relative
is "a relative name: the path in the header is absolute" "$(model info relative backing)" "$work/back"

# Files that cannot be used.

failing "a file that is missing" "ubd0=$work/missing" -- ubda "$work/missing" open
mknod none b 98 240
failing "a ubd that is missing" "ubd0=$work/none" -- ubda "$work/none" ENXIO
failing "a backing file that is a ubd that is missing" "ubd0=$work/new2:$work/none" -- ubda "$work/none" ENXIO
mknod first b 98 16
load "ubd1=$work/other" "ubd2s=$work/first"
check "a ubd that is there, by a node of one's own" cmp /dev/ubdc other
# Which keeps the module, as long as it has a disk of it open.
mountpoint -q /sys/kernel/config || mount -t configfs config /sys/kernel/config
mkdir /sys/kernel/config/ubd/2
rmdir /sys/kernel/config/ubd/2
unload
failing "a backing file that is missing" "ubd0=$work/new2:$work/missing" -- ubda "$work/missing" open
check "no COW file was made of it" test ! -s new2
model make-cow cow back --name "$work/gone"
failing "a COW file whose backing file is missing" "ubd0=$work/cow" -- ubda "$work/gone" open
failing "a folder" "ubd0=$work" -- ubda "$work" size
failing "a file without a size" "ubd0=/dev/zero" -- ubda /dev/zero size
failing "a plain image with a backing file" "ubd0=$work/plain:$work/back" -- ubda "$work/plain" COW
is "and it is as it was" "$(sum plain)" "$(cat plain.sum)"
mark
load
check "no unit at all: the module loads" loaded
unload

# The backing file by another name.

model make-cow cow back --disk cow.want
sum cow >cow.sum
ln -s back symlink
ln back hardlink
for other in symlink hardlink; do
	load "ubd0=$work/cow:$work/$other"
	check "the same inode by a $other" model cmp /dev/ubda cow.want --direct
	unload
	is "the same inode by a $other: the header is not rewritten" "$(sum cow)" "$(cat cow.sum)"
done

model pattern copy $back_bytes copy
touch -r back copy
mark
load "ubd0=$work/cow:$work/copy"
model merge cow copy.want --backing copy
check "another file of the same size and mtime is used" model cmp /dev/ubda copy.want --direct
says "a message says so" ubda "$work/cow" "$work/copy"
unload
is "the header names it" "$(model info cow backing)" "$work/copy"
load "ubd0=$work/cow"
check "and it is used from then on" model cmp /dev/ubda copy.want --direct
unload

model make-cow cow back --disk cow.want
sum cow >cow.sum
for wrong in size mtime; do
	if [ $wrong = size ]; then
		model pattern copy $((back_bytes + 512)) copy
		touch -r back copy
	else
		model pattern copy $back_bytes copy
		truncate -s $back_bytes copy
		touch -d "@$(($(stat -c %Y back) + 1))" copy
	fi
	mark
	load "ubd0=$work/cow:$work/copy"
	check "a file of another $wrong is not used" model cmp /dev/ubda cow.want --direct
	says "a message has both paths, sizes and mtimes ($wrong)" ubda "$work/copy" \
		"given has $(stat -c '%s bytes, modified at %Y' copy)" \
		"header says $(stat -c '%s, modified at %Y' back)" "using its $work/back"
	unload
	is "the header is as it was ($wrong)" "$(sum cow)" "$(cat cow.sum)"
done

# All of it fits into a line of the log, whose lines have 1023 bytes.
deep=$work/$(printf '%0200d/%0200d' 1 2)
mkdir -p "$deep"
cp -p back copy "$deep"
model make-cow "$deep/cow" "$deep/back"
mark
load "ubd0=$deep/cow:$deep/copy:$(printf '%0300d' 3)"
says "with long paths, too" ubda "given has $(stat -c '%s bytes, modified at %Y' copy)" \
	"header says $(stat -c '%s, modified at %Y' back)" "using its $work" "${deep: -100}/back"
unload

mtime=$(stat -c %Y back)
touch -d "@$((mtime + 7))" back
failing "the backing file has another mtime" "ubd0=$work/cow" -- ubda "$work/back" "$mtime" "$((mtime + 7))"
truncate -s $((back_bytes + 1)) back
touch -d "@$mtime" back
failing "the backing file has another size" "ubd0=$work/cow" -- ubda "$work/back" "$back_bytes" "$((back_bytes + 1))"
truncate -s $back_bytes back
touch -d "@$mtime.75" back
load "ubd0=$work/cow"
check "the mtime's whole seconds count" model cmp /dev/ubda cow.want --direct
unload
touch -d "@$mtime" back

# What cannot be written is read.

mkdir fixed
mount -t tmpfs -o size=16M fixed fixed
cp -p plain cow back fixed
model make-cow fixed/cow fixed/back --disk fixed/want
mount -o remount,ro fixed
mark
load "ubd0=$work/fixed/plain" "ubd1=$work/fixed/cow"
for dev in ubda ubdb; do
	is "on a read-only file system: $dev is read-only" "$(blockdev --getro /dev/$dev)" 1
done
check "on a read-only file system: the image" model cmp /dev/ubda plain --direct
check "on a read-only file system: the COW file" model cmp /dev/ubdb fixed/want --direct
unload
failing "no COW file can be made on a read-only file system" "ubd0=$work/fixed/new:$work/back" -- ubda "$work/fixed/new"
umount fixed

# Block devices as files.

model pattern /dev/ram0 $((4 << 20)) ram0
model pattern /dev/ram1 $((4 << 20)) ram1
cp /dev/ram0 ram0.want
cp /dev/ram1 ram1.want
sum /dev/ram1 >ram1.sum
rm -f new
load "ubd0=/dev/ram0" "ubd1=$work/new:/dev/ram1"
check "a block device as an image" model cmp /dev/ubda ram0.want --direct
check "a block device as a backing file" model cmp /dev/ubdb ram1.want --direct
model exercise /dev/ubda ram0.want --procs 1 --depth 8 --ops 40 >log || not_ok "writes to it" "$(cat log)"
model exercise /dev/ubdb ram1.want --procs 1 --depth 8 --ops 40 >log || not_ok "writes over it" "$(cat log)"
unload
check "the device has what was written" model cmp /dev/ram0 ram0.want
check "the COW file over the device has what was written" model cmp-cow new ram1.want --new --backing /dev/ram1
is "the device below a COW file is as it was" "$(sum /dev/ram1)" "$(cat ram1.sum)"

# The rest.

mark
check "ubd=<n>: the obsolete fake major is taken" load ubd=7 "ubd0=$work/plain"
says "ubd=<n>: one warning" "ubd=<n>" obsolete
check "ubd=<n>: nothing else" test -b /dev/ubda
unload
for fake in fake_ide fake_ide=1; do
	mark
	check "$fake: taken" load $fake "ubd0=$work/plain"
	is "$fake: one warning, and no other" "$(messages | grep -c fake_ide)" 1
	says "$fake: which says why" fake_ide obsolete
	check "$fake: nothing else" test -b /dev/ubda
	unload
done
mark
load "ubd0=$work/plain" ubd=sync "ubd1=$work/other"
check "ubd=sync is taken" test -b /dev/ubda -a -b /dev/ubdb
says "ubd=sync: the units after it have s" ubdb "$work/other" "flags s"
refuse "ubd=sync: those before it do not" said ubda "$work/plain" flags
unload
mark
check "udb…: taken" load "udb0=$work/plain" "ubd1=$work/other"
says "udb…: one message that it is a typo" "udb0=$work/plain" typo
check "udb…: nothing else" test ! -e /dev/ubda -a -b /dev/ubdb
unload

# What can be read but refuses to be written, for one reason or another.

mkdir refusing
truncate -s 32M refusing.img
mkfs.ext4 -q refusing.img
mount -o loop refusing.img refusing
for file in immutable append program swap; do
	cp plain refusing/$file
done
chattr +i refusing/immutable
chattr +a refusing/append
cp /usr/bin/sleep refusing/program
# As much as is compared below.
truncate -s 64K refusing/program
chmod +x refusing/program
refusing/program 1000 &
program=$!
# Until then it is a copy of the shell.
until [ "$(readlink /proc/$program/exe)" = "$work/refusing/program" ]; do
	sleep 0.05
done
dd if=/dev/zero of=refusing/swap bs=1M count=1 status=none
mkswap -q refusing/swap
swapon refusing/swap
for how in immutable:EPERM append:EPERM program:ETXTBSY swap:ETXTBSY; do
	file=${how%:*}
	mark
	load "ubd0=$work/refusing/$file"
	is "$file: read-only" "$(cat /sys/block/ubda/ubd/state)" read-only
	says "$file: the message" ubda "$work/refusing/$file" "cannot be written (${how#*:}), read-only"
	check "$file: reads" cmp -n $((64 << 10)) /dev/ubda refusing/"$file"
	unload
done
swapoff refusing/swap
kill $program
wait $program 2>/dev/null
chattr -i refusing/immutable
chattr -a refusing/append
umount refusing

plan
