#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Units at run time: folders of configfs that attach, show and detach them, and
# the settings in them.
# previous: yes
# daily: debug

. "$(dirname "$0")/lib.sh"
. "$e2e/configfs.bash"

# Folders.

load
check "there is a folder for units" test -d $config
wrong=
for unit in 0 9 10 15 16 1048575 a j p q ac bgqcv; do
	mkdir $config/$unit && rmdir $config/$unit || wrong+=" $unit"
done
is "units by number and by letters" "$wrong" ""
mark
wrong=
names=(1048576 99999999999999999999 bgqcw A -1 00 07 0x1 1r a1 aA "1 " $'1\n')
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
is "the files" "$(cd $config/a && echo *)" "allocate backing_file commit commit_progress commit_rate commit_state detach_on_close direct_io file flags last_error limit low_space power reset serial size snapshot state switch"
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
told "attached twice" 0 "device already configured"
model write /dev/ubda plain.want 5120 7168 one
mark
check "detached" power 0 0
told "detached" 0
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
	told "$what" 2 ubdc "$@"
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
cannot "a path of many bytes" "No such file or directory" file="$work/$(printf '%0200d/' {1..15})" -- \
	"bytes more" "cannot be opened: ENOENT"
cannot "a folder" "$invalid" file="$work" -- "size cannot be determined"
cannot "a plain image with a backing file" "$invalid" file="$work/plain" backing_file="$work/back" -- \
	"$work/plain" "COW header"
attach 0 file="$work/plain"
cannot "a file of another unit" "Resource temporarily unavailable" file="$work/plain" -- "$work/plain" locked
power 0 0
attach 2 file="$work/missing" 2>/dev/null
set_up 2 file="$work/plain"
check "attached after that" power 2 1
told "attached after that" 2
rmdir $config/2
rm -f new
fails "power is 0 or 1" "$invalid" power 0 2
fails "no zero byte in a path" "$invalid" bash -c "printf 'a\\0b' >$config/0/file"
is "the file is as it was" "$(cat $config/0/file)" "$work/plain"
rmdir $config/*
unload

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

# Relative paths, from a folder that the next one is not in; and files that are gone.

mkdir images elsewhere
cp -p back images/golden
cp back.want relative.want
(cd images && load ubd0=work.cow:golden)
is "a relative path: sysfs has it whole" "$(cat /sys/block/ubda/ubd/file /sys/block/ubda/ubd/backing_file)" \
	"$work/images/work.cow"$'\n'"$work/images/golden"
is "a relative path: so has the header" "$(model info images/work.cow backing)" "$work/images/golden"
unload
(cd images && load ubd0=work.cow)
mkdir $config/0
is "a relative path: so has the folder" "$(settings 0)" "$work/images/work.cow $work/images/golden   0 1"
model write /dev/ubda relative.want 8192 4096 relative
power 0 0
check "a relative path: attached again from elsewhere" eval "(cd elsewhere && power 0 1)"
check "a relative path: it is the same file" model cmp /dev/ubda relative.want --direct
is "a relative path: nothing is made elsewhere" "$(ls elsewhere)" ""
power 0 0
mv images/work.cow work.gone
fails "what was attached and is gone" "No such file or directory" power 0 1
check "is not made anew" test ! -e images/work.cow
: >images/work.cow
fails "nor is an empty file made a COW file" "$invalid" power 0 1
is "but left as it is" "$(stat -c %s images/work.cow)" 0
rm images/work.cow
check "unless the backing file is written again" attach 0 backing_file="$work/images/golden"
check "then it is new" model cmp /dev/ubda back.want --direct
power 0 0
attach 0 file=images/own backing_file=images/golden
power 0 0
is "relative paths that were written are whole, too" "$(settings 0)" "$work/images/own $work/images/golden   0 0"
check "and good from elsewhere" eval "(cd elsewhere && power 0 1)"
power 0 0
rm images/own
fails "and when the file is gone, none is made" "No such file or directory" power 0 1
rmdir $config/0
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
unload
is "the backing file is as it was" "$(sum back)" "$(cat back.sum)"

plan
