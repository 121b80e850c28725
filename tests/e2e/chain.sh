#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# COW files upon COW files: read and written through to any depth up to 8, the
# lower ones never written, and what can't be is refused.
# kernel: release
# smp: 1

. "$(dirname "$0")/lib.sh"

# attribute NAME: what sysfs says of unit 0.
attribute() {
	cat "/sys/block/ubda/ubd/$1"
}

# above LOWER UPPER OPTION...: UPPER, a COW file over the disk of the COW file
# LOWER, and in UPPER.disk what it is.
above() {
	local lower=$1 upper=$2
	shift 2
	model make-cow "$upper" "$lower.disk" --name "$work/$lower" --mtime "$(stat -c %Y "$lower")" \
		--size $size --seed "$upper" --disk "$upper.disk" "$@"
}

# lowers NAME: no file but `top` has changed.
lowers() {
	check "$1" sha256sum --quiet -c sums
}

# Nine levels, of all versions and sector sizes; the disk is a whole number of
# the largest sectors.

size=$((300 * 4096))
levels=(
	""
	"--version 1 --order <"
	"--version 2 --sectorsize 1024"
	"--alignment 512"
	"--broken --sectorsize 4096"
	""
	"--version 1 --sectorsize 2048"
	"--sectorsize 4096 --alignment 1536"
	""
	""
)
model pattern cow0 $size cow0
cp cow0 cow0.disk
for i in {1..9}; do
	read -r -a options <<<"${levels[i]}"
	above cow$((i - 1)) "cow$i" "${options[@]}"
done
sha256sum cow? >sums

depths=({2..8})
[ -z "$slow" ] || depths=(2 5 8)
for depth in "${depths[@]}"; do
	cp "cow$depth" top
	cp "cow$depth.disk" want
	mark
	load "ubd0=$work/top"
	check "depth $depth: attached and read" model cmp /dev/ubda want --direct
	is "depth $depth: sysfs has each file" "$(attribute file; attribute backing_file)" \
		"$(printf '%s\n' "$work/top"; for ((i = depth - 1; i >= 0; i--)); do echo "$work/cow$i"; done)"
	is "depth $depth: sysfs says that it can be written" "$(attribute state)" ok
	check "depth $depth: written" model exercise /dev/ubda want --mode buffered --procs 1 --depth 8 \
		--max 65536 --ops "$(scaled 80)" --seed "$depth"
	unload
	check "depth $depth: read again" load "ubd0r=$work/top"
	check "depth $depth: reads as written" model cmp /dev/ubda want --direct
	is "depth $depth: sysfs says that it can't be" "$(attribute state) $(attribute flags)" "read-only r"
	unload
	model merge top merged --backing cow$((depth - 1)).disk
	check "depth $depth: the written file has all that was written" cmp merged want
done
lowers "the lower files are as they were"
says "the message at the set-up names all the files" "$work/top over $work/cow7 over" "over $work/cow0"

mark
load "ubd0=$work/cow9" "ubd1=$work/new:$work/cow8" "ubd2=$work/cow8"
check "depth 9 is refused" test ! -e /dev/ubda
says "the message has the number and the limit" ubda "$work/cow1" "number 9" "limit is 8"
check "nor is one made over a chain of 8" test ! -e /dev/ubdb -a ! -e new
says "and the message says why" ubdb "$work/cow1" "number 9" "limit is 8"
check "depth 8 itself is fine" model cmp /dev/ubdc cow8.disk
unload
lowers "no file has changed"

# New ones.

cp cow3.disk want
mark
load "ubd0=$work/new:$work/cow3"
says "a new COW file over a COW file: the message says that UML can't use it" ubda "$work/new" UML
check "it is the lower one's disk" model cmp /dev/ubda want --direct
check "and can be written" model exercise /dev/ubda want --procs 1 --depth 8 --max 65536 --ops "$(scaled 80)"
unload
is "its header has the disk's size" "$(model info new size)" $size
is "and the lower file's path" "$(model info new backing)" "$work/cow3"
load "ubd0=$work/new"
check "attached again" model cmp /dev/ubda want --direct
unload
lowers "the lower files are as they were"
cp cow3 short
truncate -s $size short
mark
load "ubd0=$work/new2:$work/short"
check "none is made over one whose length is its disk's" test ! -e /dev/ubda -a ! -e new2
says "because that could not be told apart" ubda "$work/short" $size
unload

# A COW file as raw bytes.

model make-cow raw cow2 --disk raw.want
mark
load "ubd0=$work/raw"
check "a header with the lower file's raw length means its raw bytes" model cmp /dev/ubda raw.want --direct
refuse "and no other file is used" said ubda cow1
unload
lowers "the lower file is as it was"

# Sizes that are no multiple of the largest sector.

size=$((4096 * 5 + 512 * 3 + 100))
model pattern odd0 $size odd0
cp odd0 odd0.disk
above odd0 odd1 --sectorsize 4096
above odd1 odd2
above odd2 odd3 --sectorsize 2048
sha256sum odd0 odd1 odd2 odd3 >sums
load "ubd0r=$work/odd1"
is "4096-byte sectors: the disk ends with a whole one" "$(blockdev --getsize64 /dev/ubda)" $((4096 * 6))
unload
load "ubd0r=$work/odd2"
is "512 over 4096: the block size is the upper file's" "$(blockdev --getss /dev/ubda)" 512
is "512 over 4096: so is the disk's end" "$(blockdev --getsize64 /dev/ubda)" $((4096 * 5 + 512 * 4))
check "512 over 4096: every sector can be read" model cmp /dev/ubda odd2.disk --bs 512
unload
load "ubd0r=$work/odd3"
is "2048 over 512 over 4096: the block size is the upper file's" "$(blockdev --getss /dev/ubda)" 2048
cp odd3.disk want
truncate -s $((2048 * 11)) want
check "2048 over 512 over 4096: every sector can be read" model cmp /dev/ubda want --bs 2048
unload
lowers "no file has changed"

# What does not fit together.

size=$((300 * 4096))
old=$(stat -c %Y cow1)
touch -d "@$((old + 5))" cow1
mark
load "ubd0=$work/cow3"
check "a lower file has another mtime: refused" test ! -e /dev/ubda
says "the message has both values and both paths" ubda "$work/cow2" "$work/cow1" "$old" "$((old + 5))"
unload
touch -d "@$old" cow1
cp -p cow1 cow1.kept
model make-cow cow1 cow0 --size $((size - 512)) --mtime "$(stat -c %Y cow0)"
touch -d "@$old" cow1
mark
load "ubd0=$work/cow3"
check "a lower file's disk has another size: refused" test ! -e /dev/ubda
says "the message has the sizes and both paths" ubda "$work/cow2" "$work/cow1" "$size" "$((size - 512))"
unload
mv cow1.kept cow1
printf '\7' | dd of=cow1 bs=1 seek=4 conv=notrunc status=none
touch -d "@$old" cow1
mark
load "ubd0=$work/cow3"
check "a lower file has a damaged header: refused" test ! -e /dev/ubda
says "the message names it and says what is wrong" ubda "$work/cow1" version
unload
printf '\1\0\0\0' | dd of=cow1 bs=1 seek=4 conv=notrunc status=none
touch -d "@$old" cow1
load "ubd0=$work/cow3"
check "put right, it is attached" model cmp /dev/ubda cow3.disk
unload

# Who attaches a file, and only reads, leaves it as it was: it may be below others.

before=$(stat -c '%.Y %s' cow1)
load "ubd0=$work/cow1"
cat /dev/ubda >/dev/null
unload
is "attached and read, a file keeps its mtime" "$(stat -c '%.Y %s' cow1)" "$before"
load "ubd0=$work/cow2"
check "and can still be used as a backing file" model cmp /dev/ubda cow2.disk
unload

plan
