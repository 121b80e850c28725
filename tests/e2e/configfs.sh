#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Units at run time: folders of configfs that attach, show and detach them, what
# keeps a unit from being detached, and all of it at once by many processes.

. "$(dirname "$0")/lib.sh"

mountpoint -q /sys/kernel/config || mount -t configfs config /sys/kernel/config
config=/sys/kernel/config/ubd

# set_up UNIT SETTING=VALUE...: make the unit's folder, if it has none, and
# write its settings, without a newline behind them.
set_up() {
	local folder=$config/$1 setting value
	shift
	[ -d "$folder" ] || mkdir "$folder" || return
	for setting; do
		value=${setting#*=}
		# Of nothing there is no write.
		printf %s "${value:-$'\n'}" >"$folder/${setting%%=*}" || return
	done
}

# power UNIT [0|1]: write it, or read it.
power() {
	if [ $# = 1 ]; then
		read -r REPLY <"$config/$1/power" && echo "$REPLY"
	else
		echo "$2" >"$config/$1/power"
	fi
}

# attach UNIT SETTING=VALUE...: with a folder of its own.
attach() {
	set_up "$@" && power "$1" 1
}

# settings UNIT: all of them, in one line.
settings() {
	local name value all=
	for name in file backing_file serial flags direct_io power; do
		IFS= read -r value <"$config/$1/$name"
		all+=" $value"
	done
	echo "${all:1}"
}

# fails NAME ERROR COMMAND...: the command fails, and says that it is this error.
fails() {
	local what=$1 error=$2 output
	shift 2
	if output=$(LC_ALL=C "$@" 2>&1) || [[ $output != *": $error" ]]; then
		not_ok "$what" "$output"$'\n'"$(messages)"
		false
	else
		ok "$what"
	fi
}
busy="Device or resource busy"
invalid="Invalid argument"

# node NAME UNIT: the unit's disk is there.
node() {
	check "$1" test -b "$(disk "$2")" -a -d /sys/block/"$(basename "$(disk "$2")")"
}

# gone NAME UNIT: nothing of it is there.
gone() {
	check "$1" test ! -e "$(disk "$2")" -a ! -e /sys/block/"$(basename "$(disk "$2")")" \
		-a ! -e "/sys/devices/platform/uml-blkdev.$2"
}

model pattern plain $((1 << 20)) plain
model pattern back $(((2 << 20) + 100)) back
cp plain plain.want
model expect back back.want
cp back.want cow.want
sum back >back.sum

# Folders.

load
check "there is a folder for units" test -d $config
wrong=
for unit in 0 9 10 15 a j p; do
	mkdir $config/$unit && rmdir $config/$unit || wrong+=" $unit"
done
is "units by number and by letter" "$wrong" ""
mark
wrong=
names=(16 99999999999999999999 q A -1 00 07 0x1 1r aa ubda "1 " $'1\n')
for unit in "${names[@]}"; do
	! said=$(LC_ALL=C mkdir "$config/$unit" 2>&1) && [[ $said == *": $invalid" ]] || wrong+=" $unit"
done
is "what is no unit is refused" "$wrong" ""
is "with a message each" "$(messages | grep -c "^rnull_ubd: ubd.*: .*device number")" ${#names[@]}
mkdir $config/0
fails "no second folder of a unit" "File exists" mkdir $config/0
mark
fails "nor one by its other name" "File exists" mkdir $config/a
says "and a message says why" ubda "other name"
check "the folder of another unit" mkdir $config/b
rmdir $config/0
check "by its other name when the first is gone" mkdir $config/a
is "the files" "$(cd $config/a && echo *)" "backing_file direct_io file flags power serial"
is "and what is in them" "$(settings a)" "    0 0"
rmdir $config/a $config/b

# A plain image.

mark
check "a plain image is attached" attach 0 file="$work/plain" serial=S-1
node "its disk is there" 0
says "the message" ubda 1048576 "$work/plain"
check "the file's bytes are the disk" model cmp /dev/ubda plain.want --direct
is "the settings" "$(settings 0)" "$work/plain  S-1  0 1"
is "the serial number" "$(cat /sys/block/ubda/serial)" S-1
for setting in file=x backing_file=x serial=x flags=r direct_io=1; do
	fails "while it is attached: no other ${setting%%=*}" "$busy" set_up 0 $setting
done
is "the settings are as they were" "$(settings 0)" "$work/plain  S-1  0 1"
mark
fails "it is not attached twice" "$busy" power 0 1
says "and the message says so" ubda already
model write /dev/ubda plain.want 5120 7168 one
mark
check "detached" power 0 0
says "the message of that" ubda detached
gone "nothing is left of it" 0
is "power" "$(power 0)" 0
check "the file has what was written" cmp plain plain.want
check "the file is nobody's" model lock plain exclusive
is "the settings are still there" "$(settings 0)" "$work/plain  S-1  0 0"
check "detached again, which is nothing" power 0 0
check "attached again with the same settings" power 0 1
check "with the same bytes" model cmp /dev/ubda plain.want --direct
power 0 0

# A COW file. What is written is in the file at once, with nobody having asked
# for a flush: after five seconds it would be in any case.

check "a COW file is attached" attach b file="$work/cow" backing_file="$work/back"
is "its settings" "$(settings b)" "$work/cow $work/back   0 1"
wrong=
for round in {1..3}; do
	model write /dev/ubdb cow.want $((round * 50000 / 512 * 512)) 3072 "$round"
	power b 0 && model merge cow merged --backing back && cmp merged cow.want || wrong+=" $round"
	power b 1
done
is "detached, the file has what was written, three times" "$wrong" ""
power b 0
echo >$config/b/backing_file
is "a setting is taken back" "$(settings b)" "$work/cow    0 0"
power b 1
is "the backing file of the header is shown" "$(settings b)" "$work/cow $work/back   0 1"
check "and used" model cmp /dev/ubdb cow.want --direct
power b 0
is "only while it is attached" "$(settings b)" "$work/cow    0 0"
is "the backing file is as it was" "$(sum back)" "$(cat back.sum)"

# Flags, direct I/O.

set_up 0 flags=tsr
is "flags are shown in their order" "$(cat $config/0/flags)" rst
power 0 1
is "r and t are in force" "$(cat /sys/block/ubda/ro /sys/block/ubda/queue/discard_max_bytes | paste -sd ' ')" "1 0"
is "and shown in sysfs" "$(cat /sys/block/ubda/ubd/flags)" rst
power 0 0
mark
fails "a letter that is no flag" "$invalid" set_up 0 flags=rx
says "the message" ubda rx "not 'x'"
mark
fails "too many flags" "$invalid" set_up 0 flags=rrrrrrr
says "the message" ubda rrrrrrr "too many"
is "the flags are as they were" "$(cat $config/0/flags)" rst
echo >$config/0/flags
is "no flags" "$(cat $config/0/flags)" ""
fails "direct_io is 0 or 1" "$invalid" set_up 0 direct_io=2
check "direct_io" set_up 0 direct_io=1
power 0 1
power b 1
is "is for the unit that has it" "$(cat /sys/block/ubd[ab]/ubd/direct_io $config/[0b]/direct_io | paste -sd ' ')" \
	"1 0 1 0"
check "which works" model cmp /dev/ubda plain.want --direct
power 0 0
power b 0
set_up 0 direct_io=0
mkdir fixed
mount -t tmpfs fixed fixed
cp plain fixed
mount -o remount,ro fixed
set_up 0 file="$work/fixed/plain"
power 0 1
is "a file that cannot be written has flag r" "$(cat $config/0/flags)" r
power 0 0
is "for as long as it is attached" "$(cat $config/0/flags)" ""
umount fixed

# What cannot be attached.

# cannot NAME ERROR SETTING=VALUE... -- WORD...: with these settings unit 2
# cannot be attached, and a message has the words.
cannot() {
	local what=$1 error=$2 list=()
	shift 2
	while [ "$1" != -- ]; do
		list+=("$1")
		shift
	done
	shift
	mark
	fails "$what" "$error" attach 2 "${list[@]}"
	says "$what: the message" ubdc "$@"
	gone "$what: no disk" 2
	is "$what: power" "$(power 2)" 0
	rmdir $config/2
}
cannot "no file" "$invalid" serial=x -- "no file"
cannot "flag d and a backing file" "$invalid" file="$work/new" backing_file="$work/back" flags=d -- "flag 'd'"
check "flag d and a backing file: no COW file" test ! -e new
cannot "a file that is missing" "No such file or directory" file="$work/missing" -- \
	"ubd2=$work/missing" "cannot be opened" ENOENT
cannot "a backing file that is missing" "No such file or directory" file="$work/new" \
	backing_file="$work/missing" -- "$work/missing" "cannot be opened"
check "a backing file that is missing: no COW file" test ! -s new
cannot "a folder" "$invalid" file="$work" -- "size cannot be determined"
cannot "a plain image with a backing file" "$invalid" file="$work/plain" backing_file="$work/back" -- \
	"$work/plain" "COW header"
attach 0 file="$work/plain"
cannot "a file of another unit" "Resource temporarily unavailable" file="$work/plain" -- "$work/plain" locked
power 0 0
rm -f new
fails "power is 0 or 1" "$invalid" power 0 2
fails "no zero byte in a path" "$invalid" bash -c "printf 'a\\0b' >$config/0/file"
is "the file is as it was" "$(cat $config/0/file)" "$work/plain"

# What is in use.

# held NAME: unit 0 cannot be detached, and is as it was.
held() {
	fails "$1: it is not detached" "$busy" power 0 0
	is "$1: power" "$(power 0)" 1
	node "$1: its disk is there" 0
}
truncate -s 16M plain
power 0 1
exec 3</dev/ubda
held "open"
check "open: it can be read" cmp <(head -c 65536 <&3) <(head -c 65536 plain)
exec 3<&-
mkfs.ext4 -q /dev/ubda
mkdir mnt
mount /dev/ubda mnt
held "mounted"
echo hello >mnt/hello
umount mnt
attach 3 file=/dev/ubda
held "below another unit"
rmdir $config/3
gone "the other unit is gone with its folder" 3
check "it is detached when nobody has it" power 0 0
check "what was written in a file system is in the file" grep -qx hello <(debugfs -R "cat /hello" plain 2>/dev/null)
sfdisk -q plain < <(echo "label: gpt"; echo "start=2048, size=2048")
power 0 1
check "it has a partition" test -b /dev/ubda1
exec 3</dev/ubda1
held "with a partition open"
check "with a partition open: that is there" test -b /dev/ubda1
exec 3<&-
exec 4</sys/block/ubda/ubd/state
check "it is detached, with a file of sysfs open" power 0 0
check "the partition is gone with it" test ! -e /dev/ubda1
fails "the file of sysfs says nothing more" "No such device" cat <&4
exec 4<&-
fails "the module stays while there are folders" "Module rnull_ubd is in use" rmmod rnull_ubd

# A flush that fails: the data has its place in the file, its bit has none.

mkdir small
mount -t tmpfs -o size=1M small small
attach 4 file="$work/small/cow" backing_file="$work/back"
cp back.want small.want
mark
model write /dev/ubde small.want 8192 4096 small
dd if=/dev/zero of=small/filler bs=4k status=none 2>/dev/null
fails "a flush that fails" "No space left on device" power 4 0
says "a flush that fails: the message" ubde "could not be flushed" "1 bitmap pages" ENOSPC
is "a flush that fails: power" "$(power 4)" 1
check "a flush that fails: it can be read" model cmp /dev/ubde small.want --direct
mark
rmdir $config/4
says "a flush that fails: without its folder it stays" ubde "stays attached" ENOSPC
check "a flush that fails: it can be read after that" model cmp /dev/ubde small.want --direct
mkdir $config/4
is "a flush that fails: it is taken up again" "$(settings 4)" "$work/small/cow $work/back   0 1"
rm small/filler
check "it is detached when there is space" power 4 0
model merge small/cow merged --backing back
check "and nothing is lost" cmp merged small.want
rmdir $config/4
umount small

# A flush that takes long: the file is on a device that stands still.

cp cow slow
truncate -s %512 slow
loop=$(losetup -f --show slow)
dmsetup create --noudevsync slow --table "0 $(blockdev --getsz "$loop") linear $loop 0"
dmsetup mknodes slow
cp cow.want slow.want
attach 5 file=/dev/mapper/slow
model write /dev/ubdf slow.want 16384 4096 slow
dmsetup suspend --noflush --nolockfs slow
power 5 0 2>/dev/null &
detacher=$!
for _ in {1..100}; do
	read -r stat </proc/$detacher/stat
	[[ $stat != *") D "* ]] || break
	sleep 0.1
done
fails "a flush that takes long: the disk cannot be opened" "No such device or address" \
	dd if=/dev/ubdf of=/dev/null count=1 status=none
set_up 6 file="$work/plain"
check "a flush that takes long: another unit is attached" power 6 1
check "a flush that takes long: and detached" rmdir $config/6
gone "a flush that takes long: it is gone" 6
dmsetup resume --noudevsync slow
wait $detacher
is "a flush that takes long: the unit is detached in the end" $? 0
gone "a flush that takes long: its disk is gone" 5
model merge slow merged --backing back
check "a flush that takes long: and nothing is lost" cmp merged slow.want

# A device that fails for good.

power 5 1
dmsetup load slow --table "0 $(blockdev --getsz "$loop") error"
mark
model write /dev/ubdf slow.want 24576 4096 failed
dmsetup suspend --noflush --nolockfs slow
dmsetup resume --noudevsync slow
if said /dev/mapper/slow "sync failed"; then
	skip "a device that fails: its unit is not detached" "the driver has found out by itself"
else
	fails "a device that fails: its unit is not detached" "Input/output error" power 5 0
	says "a device that fails: the message" ubdf "not detached" EIO
fi
is "a device that fails: the state" "$(cat /sys/block/ubdf/ubd/state)" failed
mark
check "a device that fails: its unit is detached when that was said" power 5 0
says "a device that fails: the message of that" ubdf "are lost"
gone "a device that fails: its disk is gone" 5
rmdir $config/5
dmsetup remove --noudevsync slow
rm -f /dev/mapper/slow
losetup -d "$loop"

# rmdir.

set_up b backing_file="$work/back" serial=S-2
power b 1
model write /dev/ubdb cow.want 102400 5120 rmdir
exec 4<$config/b/power
mark
check "rmdir of a unit that is attached" rmdir $config/b
says "rmdir: the message" ubdb detached
gone "rmdir: nothing is left of it" 1
fails "rmdir: nor in a file that was open" "No such file or directory" cat <&4
exec 4<&-
model merge cow merged --backing back
check "rmdir: the file has what was written" cmp merged cow.want
attach 1 file="$work/cow" serial=S-3 flags=s
exec 3<>/dev/ubdb
mark
check "rmdir of a unit that is open" rmdir $config/1
says "rmdir, open: it stays, and a message says so" ubdb "stays attached" EBUSY
node "rmdir, open: its disk is there" 1
check "rmdir, open: and works" model cmp /dev/ubdb cow.want --direct
check "mkdir takes it up" mkdir $config/b
is "with all that it has" "$(settings b)" "$work/cow $work/back S-3 s 0 1"
fails "it is still open" "$busy" power b 0
rmdir $config/b
exec 3<&-
model write /dev/ubdb cow.want 204800 5120 unload
rmdir $config/0
check "what stays is detached with the module" unload
model merge cow merged --backing back
check "and flushed" cmp merged cow.want

# Units of module parameters.

load direct_io=1 "ubd0=$work/plain" ubd=sync "ubd1=$work/cow,,S-4"
mkdir $config/0 $config/1
is "a unit of a parameter" "$(settings 0)" "$work/plain    1 1"
is "a unit of a parameter, COW, after ubd=sync" "$(settings 1)" "$work/cow $work/back S-4 s 0 1"
fails "which is attached" "$busy" power 0 1
fails "and keeps its settings" "$busy" set_up 0 flags=r
model write /dev/ubdb cow.want 307200 5120 parameter
check "it is detached" power 0 0
check "the other one, too" power 1 0
gone "nothing is left of it" 0
model merge cow merged --backing back
check "the file has what was written" cmp merged cow.want
is "its settings are there" "$(settings 1)" "$work/cow $work/back S-4 s 0 0"
check "and attach it again" power 1 1
is "to be as it was" "$(settings 1)" "$work/cow $work/back S-4 s 0 1"
check "with the same bytes" model cmp /dev/ubdb cow.want --direct
attach 2 file="$work/plain"
is "ubd=sync is for units that follow, direct_io for those of parameters" "$(settings 2)" "$work/plain   s 0 1"
rmdir $config/*
is "no node is left" "$(echo /dev/ubd*)" "/dev/ubd*"
unload
load trust_header=n
cannot "a backing file that only the header names, with trust_header=n" "$invalid" file="$work/cow" -- trust_header
check "one that is named" attach 2 file="$work/cow" backing_file="$work/back"
rmdir $config/2

# Paths that no option can have.

cp -p back 'b:1,2'
attach 0 file="$work/c,3:4" backing_file="$work/b:1,2" serial='S:5,6'
is "paths with separators" "$(settings 0)" "$work/c,3:4 $work/b:1,2 S:5,6  0 1"
check "paths with separators: the disk" model cmp /dev/ubda back.want --direct
is "paths with separators: the serial number" "$(cat /sys/block/ubda/device/serial)" "S:5,6"
power 0 0
check "paths with separators: the header" test "$(model info 'c,3:4' backing)" = "$work/b:1,2"
printf 'new\n line\xff' >value
set_up 0 backing_file=
# The shell would write it line by line.
cat value >$config/0/file
check "any byte" cmp <(cat value; echo) $config/0/file
cp plain "$(cat value)"
check "any byte, from the writer's folder" power 0 1
check "any byte: the disk" cmp /dev/ubda plain
power 0 0

# 4095 bytes, in two halves, for no system call takes it whole.
path=$work
half=$work
while [ $((4095 - ${#path} - 1)) -gt 255 ]; do
	path+=/$(printf %0200d 0)
	[ ${#path} -gt 2000 ] || half=$path
done
(
	mkdir -p "$half" && cd "$half" || exit
	rest=${path#"$half/"}
	mkdir -p "$rest" && cd "$rest" || exit
	cp "$work/plain" "$(printf "%0$((4095 - ${#path} - 1))d" 7)"
)
path+=/$(printf "%0$((4095 - ${#path} - 1))d" 7)
check "a path of 4095 bytes" set_up 0 file="$path"
check "it is shown" cmp <(echo "$path") $config/0/file
check "it is attached" power 0 1
check "and shown" cmp <(echo "$path") $config/0/file
power 0 0
echo >$config/0/file
check "a path of 4095 bytes and a newline" bash -c "echo '$path' >$config/0/file"
check "it is shown without" cmp <(echo "$path") $config/0/file
check "what was read can be written" eval "cat $config/0/file >read; cat read >$config/0/file"
check "and is the same" cmp <(echo "$path") $config/0/file
fails "more than 4095 bytes" "File name too long" set_up 0 file="$path/"
is "leave nothing" "$(cat $config/0/file)" ""
serial=$(printf '%04095d' 8)
attach 0 file="$work/plain" serial="$serial"
check "a serial number of 4095 digits" cmp <(echo "$serial") $config/0/serial
check "does no harm in sysfs" test "$(wc -c </sys/block/ubda/serial)" -ge 4095
rmdir $config/0

# All at once.

model pattern piece $((64 << 10)) piece
tee_piece() {
	tee "$@" <piece >/dev/null
}
wrong=
for unit in {0..15}; do
	attach "$unit" file="$work/many$unit" backing_file="$work/back" || wrong+=" $unit"
done
is "16 units" "$wrong$(echo /dev/ubd? | wc -w)" 16
check "16 units: written" tee_piece /dev/ubd?
pids=()
for unit in {0..15}; do
	power "$unit" 0 &
	pids+=($!)
done
wait "${pids[@]}"
is "16 units: all are detached at once" "$(cat $config/*/power | sort | uniq -c | xargs)" "16 0"
is "16 units: no node is left" "$(echo /dev/ubd*)" "/dev/ubd*"
cp back.want many.want
dd if=piece of=many.want bs=64k conv=notrunc status=none
wrong=
model merge many0 merged --backing back
cmp merged many.want || wrong=merged
for unit in {1..15}; do
	cmp many0 "many$unit" || wrong+=" $unit"
done
is "16 units: each file has what was written" "$wrong" ""
rmdir $config/*
rm many*

# Many processes that do all of this to the same two units, as long as one of
# them attaches. Whoever has a disk open must be able to read it; for the rest,
# nothing but the end is certain.

rm plain
model pattern plain $((1 << 20)) plain
rounds=$(scaled "${UBD_ROUNDS:-30}")
# starts UNIT FILE BACKING_FILE
starts() {
	mkdir "$config/$1"
	echo "$2" >"$config/$1/file"
	echo "$3" >"$config/$1/backing_file"
	echo 1 >"$config/$1/power"
}
attaches() {
	starts 0 "$work/plain" ""
	starts 1 "$work/race" "$work/back"
	starts a "$work/plain" ""
	starts b "$work/race" "$work/back"
}
detaches() {
	local unit
	for unit in 0 1 a b; do
		echo 0 >$config/$unit/power
	done
}
removes() {
	rmdir $config/0
	detaches
	rmdir $config/a $config/1 $config/b
}
looks() {
	local text
	for text in "$config"/*/* /sys/block/ubd[ab]/ubd/*; do
		read -r text <"$text"
	done
}
opens() {
	local dev
	for dev in ubda ubdb; do
		exec 3</dev/$dev || continue
		echo "$dev" >>race.opened
		head -c 4096 <&3 | cmp -s - "first.$dev" || echo "$dev: $?" >>race.wrong
		blockdev --rereadpt /dev/$dev
		exec 3<&-
	done
}
writes() {
	# The first page stays as it is.
	dd if=/dev/urandom of=/dev/ubda bs=4k seek=$((RANDOM % 200 + 1)) count=1 oflag=direct conv=nocreat
	dd if=/dev/urandom of=/dev/ubdb bs=4k seek=$((RANDOM % 500 + 1)) count=1 conv=nocreat
}
race() {
	local i
	for ((i = 0; i < rounds; i++)); do
		attaches
	done
	: >race.over
}
mkfifo never
exec 9<>never
repeat() {
	until [ -e race.over ]; do
		"$1"
		# A little sleep, without a process for it.
		read -rt 0.02 -u 9
	done
}
head -c 4096 plain >first.ubda
head -c 4096 back >first.ubdb
: >race.opened
: >race.wrong
pids=()
mark
for job in detaches removes looks opens opens writes; do
	repeat $job >/dev/null 2>&1 &
	pids+=($!)
done
race >/dev/null 2>&1
wait "${pids[@]}"
note "$(messages | grep -c 'ubd[ab]: [0-9]* bytes') times attached," \
	"$(messages | grep -c 'detached') detached, $(wc -l <race.opened) opened," \
	"$(messages | grep -c 'stays attached') left without a folder"
is "a race: what was open could be read" "$(cat race.wrong)" ""
check "a race: disks were opened in it" test -s race.opened
for unit in 0 1; do
	[ -d $config/$unit ] || [ -d $config/${unit/0/a} ] || mkdir $config/$unit
done
wrong=
for folder in "$config"/*; do
	echo 0 >"$folder/power" && rmdir "$folder" || wrong+=" $folder"
done
is "a race: all can be detached" "$wrong" ""
is "a race: no node is left" "$(echo /dev/ubd*)" "/dev/ubd*"
for file in plain race back; do
	check "a race: no file is kept: $file" model lock $file exclusive
done
check "a race: the module can be unloaded" unload
is "the backing file is as it was" "$(sum back)" "$(cat back.sum)"

plan
