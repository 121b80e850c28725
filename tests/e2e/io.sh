#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Reads and writes, compared to the byte with the model, on plain images and
# COW files, through the disk and then in the files themselves.
# previous: yes
# arm64: yes

. "$(dirname "$0")/lib.sh"

disk_bytes=$((($(scaled 20) + 4) << 20))
ops=$(scaled 600)

# Every size and alignment, direct and buffered, 64 deep, four processes.
# Neither file's size is a multiple of 512.

model pattern plain $((disk_bytes + 777)) plain
model pattern back $((disk_bytes + 1031)) back
model expect plain plain.want
model expect back cow.want --written cow.written
sum back >back.sum
check "a plain image and a new COW file are attached" load "ubd0=$work/plain" "ubd1=$work/cow:$work/back"
check "the plain image reads as it is" model cmp /dev/ubda plain.want --direct
check "the new COW file reads as its backing file" model cmp /dev/ubdb cow.want --direct

# The last sector, of which the files have but a part.
model write /dev/ubda plain.want $((disk_bytes + 512)) 512 last
model write /dev/ubdb cow.want $((disk_bytes + 1024)) 512 last
printf '\1' | dd of=cow.written bs=1 seek=$((disk_bytes / 512 + 2)) conv=notrunc status=none

check "direct I/O on the plain image" \
	model exercise /dev/ubda plain.want --mode direct --ops "$ops"
check "direct I/O on the COW file" \
	model exercise /dev/ubdb cow.want --written cow.written --mode direct --ops "$ops"
check "the plain image reads as written" model cmp /dev/ubda plain.want --direct --bs 65536
check "the COW file reads as written" model cmp /dev/ubdb cow.want --direct --bs 65536
check "unload" unload
check "the image file has what was written" model cmp plain plain.want
check "the COW file has what was written, and bits for that and no more" \
	model cmp-cow cow cow.want --new --sparse --backing "$work/back" --written cow.written
is "the backing file is as it was" "$(sum back)" "$(cat back.sum)"

check "both are attached again" load "ubd0=$work/plain" "ubd1=$work/cow"
check "the plain image reads as it was left" model cmp /dev/ubda plain.want --bs 12345
check "the COW file reads as it was left" model cmp /dev/ubdb cow.want --bs 12345
for how in "buffered 64" "direct 16"; do
	read -r mode depth <<<"$how"
	check "$mode I/O on the plain image, second time, $depth deep" \
		model exercise /dev/ubda plain.want --mode "$mode" --ops "$ops" --depth "$depth" --seed "$mode"
	check "$mode I/O on the COW file, second time, $depth deep" \
		model exercise /dev/ubdb cow.want --mode "$mode" --ops "$ops" --depth "$depth" --seed "$mode"
	blockdev --flushbufs /dev/ubda /dev/ubdb
done
check "unload" unload
check "the image file has what was written" model cmp plain plain.want
check "the COW file has what was written" \
	model cmp-cow cow cow.want --new --backing "$work/back"
is "the backing file is as it was" "$(sum back)" "$(cat back.sum)"
rm plain* cow* back*

# Sectors that alternate between the two files.

small=$((($(scaled 4) << 20) + (2 << 20) + 3 * 512))
shapes=(1 8 random)
[ -z "$slow" ] || shapes=(1 random)
params=()
model pattern back $small back
sum back >back.sum
for i in "${!shapes[@]}"; do
	model make-cow "cow$i" back --shape "${shapes[i]}" --disk "want$i"
	params+=("ubd$i=$work/cow$i")
done
check "COW files made by the model are attached" load "${params[@]}"
for i in "${!shapes[@]}"; do
	dev=$(disk "$i")
	what="alternating: ${shapes[i]}"
	for bs in 16384 131072 1048576; do
		check "$what: direct reads of $bs bytes" model cmp "$dev" "want$i" --direct --bs $bs
	done
	is "$what: dd bs=16k iflag=direct reads the same as bs=4k" \
		"$(dd if="$dev" bs=16k iflag=direct status=none | sha256sum)" \
		"$(dd if="$dev" bs=4k iflag=direct status=none | sha256sum)"
	check "$what: direct reads of every size and alignment" \
		model exercise "$dev" "want$i" --procs 2 --depth 16 --writes 0 --ops "$(scaled 200)" --max $((small / 6))
	check "$what: direct writes between them" \
		model exercise "$dev" "want$i" --procs 2 --depth 16 --writes 60 --ops "$(scaled 200)" --max $((small / 6))
done
check "unload" unload
for i in "${!shapes[@]}"; do
	check "alternating: ${shapes[i]}: the COW file has all" model cmp-cow "cow$i" "want$i"
done
is "the backing file is as it was" "$(sum back)" "$(cat back.sum)"
rm cow* want* back*

# fio, by its own lights.

model pattern plain $((18 << 20)) plain
model pattern back $((18 << 20)) back
load "ubd0=$work/plain" "ubd1=$work/cow:$work/back"
job=$(((($(scaled 12) + 4) << 20) / 4 + 512))
for dev in ubda ubdb; do
	check "fio verifies on $dev: io_uring, four jobs 64 deep" \
		fio --name=verify --filename=/dev/$dev --direct=1 --rw=randwrite --ioengine=io_uring \
		--iodepth=64 --numjobs=4 --bsrange=512-1m --size=$job --offset_increment=$job \
		--verify=crc32c --verify_fatal=1 --group_reporting
done
for dev in a b; do
	dd if=/dev/ubd$dev of=read.$dev bs=1M status=none
done
check "unload" unload
check "the image file has what fio wrote" cmp plain read.a
check "the COW file has what fio wrote" model cmp-cow cow read.b --new
rm plain cow back read.*

# Sixteen units at once.

units=$((2 << 20))
params=()
model pattern back $units back
sum back >back.sum
for i in {0..15}; do
	if [ $((i % 2)) = 0 ]; then
		cp back "file$i"
		params+=("ubd$i=$work/file$i")
	else
		params+=("ubd$i=$work/file$i:$work/back")
	fi
	cp back "want$i"
done
check "sixteen units are attached" load "${params[@]}"
pids=()
for i in {0..15}; do
	dev=$(disk "$i")
	model exercise "$dev" "want$i" --procs 1 --depth 4 --max 262144 --seed "$i" --ops "$(scaled 100)" >"log$i" &
	pids+=($!)
done
bad=
for i in {0..15}; do
	wait "${pids[i]}" || bad+="unit $i: $(cat "log$i")"$'\n'
done
is "sixteen units at once" "$bad" ""
check "unload" unload
bad=
for i in {0..15}; do
	if [ $((i % 2)) = 0 ]; then
		model cmp "file$i" "want$i" >log || bad+="unit $i: $(cat log)"$'\n'
	else
		model cmp-cow "file$i" "want$i" --new >log || bad+="unit $i: $(cat log)"$'\n'
	fi
done
is "all sixteen files have what was written" "$bad" ""
is "the backing file of eight is as it was" "$(sum back)" "$(cat back.sum)"
rm file* want* back* log*

# Files of any size, to the last byte.

sizes=(1 511 4097 1049089)
params=()
for i in "${!sizes[@]}"; do
	model pattern "plain$i" "${sizes[i]}" "$i"
	cp -p "plain$i" "back$i"
	model expect "plain$i" "want$i"
	params+=("ubd$i=$work/plain$i" "ubd$((i + 4))=$work/cow$i:$work/back$i")
done
check "images of ${sizes[*]} bytes are attached" load "${params[@]}"
bad=
for i in "${!sizes[@]}"; do
	sectors=$(((sizes[i] + 511) / 512))
	for unit in $i $((i + 4)); do
		dev=$(disk "$unit")
		[ "$(blockdev --getsz "$dev")" = $sectors ] ||
			bad+="$dev has $(blockdev --getsz "$dev") sectors, must have $sectors"$'\n'
		model cmp "$dev" "want$i" --direct >log || bad+="read: $(cat log)"$'\n'
	done
done
is "their sizes are rounded up, and zeros follow" "$bad" ""
bad=
for i in "${!sizes[@]}"; do
	cp "want$i" other
	for unit in $i $((i + 4)); do
		dev=$(disk "$unit")
		model write "$dev" "want$i" $(((sizes[i] - 1) / 512 * 512)) 512 "last$i" ||
			bad+="$dev: write failed"$'\n'
		model cmp "$dev" "want$i" --direct >log || bad+="read: $(cat log)"$'\n'
	done
done
is "their last sectors can be written" "$bad" ""
check "unload" unload
bad=
for i in "${!sizes[@]}"; do
	model cmp "plain$i" "want$i" >log || bad+="$(cat log)"$'\n'
	model cmp-cow "cow$i" "want$i" --new --backing "$work/back$i" >log || bad+="$(cat log)"$'\n'
	[ "$(stat -c %s "back$i")" = "${sizes[i]}" ] || bad+="back$i has another size"$'\n'
done
is "and are in the files" "$bad" ""

plan
