#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# where: host
#
# ubd convert: disks to and from raw and qcow2, compared by qemu-img.
# kernel: release

. "$(dirname "$0")/lib.sh"
. "$e2e/program.bash"

get_program

# like NAME FILE: qemu-img sees no difference between the image FILE and `want`, and
# nothing wrong with FILE.
like() {
	check "$1" qemu-img compare -f qcow2 -F raw "$2" want
	check "$1, and is sound" qemu-img check -q -f qcow2 "$2"
}

# A disk with data at its ends and in between, and with holes; of a size that no unit
# of qcow2 has.
size=$(((600 << 20) + 1000))
model pattern back $((1 << 20)) back
truncate -s $size back
dd if=back of=back bs=64k count=3 seek=8193 conv=notrunc status=none
printf 'the end' | dd of=back bs=1 seek=$((size - 7)) conv=notrunc status=none
cp back want

# To qcow2.

check "raw to qcow2" "$ubd" convert --quiet back raw.qcow2
like "raw to qcow2: is the same" raw.qcow2
check "it takes no more space than its data" test "$(stat -c %b raw.qcow2)" -lt $((8 << 11))
check "and back to raw" "$ubd" convert raw.qcow2 again
is "which has whole sectors" "$(stat -c %s again)" $(((size + 511) / 512 * 512))
truncate -s $size again
check "and the same bytes" cmp again back
check "without a suffix it is raw" "$ubd" convert --quiet back plain
check "with holes" test "$(stat -c %b plain)" -lt $((8 << 11))
check "and the same bytes" cmp plain back

# A COW file is its disk.

model pattern small $(((3 << 20) + 512)) small
model make-cow cow small --name "$work/small" --disk cow.want --seed cow
truncate -s $(((3 << 20) + 512)) cow.want
cp cow.want want
"$ubd" convert --json cow cow.q --to qcow2 >json 2>progress
is "a COW file to qcow2, by --to" "$? $(field json format) $(field json written_format) $(field json size)" \
	"0 cow qcow2 $(((3 << 20) + 512))"
is "which says how far it is" "$(tail -n 1 progress)" "convert: 100 %, $(((3 << 20) + 512)) of $(((3 << 20) + 512)) bytes"
like "is the same" cow.q
check "a COW file over what was a qcow2 image" sh -c "'$ubd' convert --quiet cow.q raw && '$ubd' create --quiet --diff diff small raw"
check "shows the same" model cmp-cow diff cow.want --backing "$work/small"
finds "--from cow of none" 1 "small: is no COW file" -- convert --from cow small none
check "--from raw of a COW file: its bytes" "$ubd" convert --quiet --from raw cow bytes
check "are these" cmp bytes cow

# What QEMU has made.

# made NAME OPTION...: qemu-img's image of `want` with these options becomes raw.
made() {
	local what=$1
	shift
	rm -f theirs.qcow2 ours
	qemu-img convert -q -f raw -O qcow2 "$@" want theirs.qcow2 || { not_ok "$what: made by qemu-img"; return; }
	check "$what to raw" "$ubd" convert --quiet theirs.qcow2 ours
	check "$what: the same bytes" cmp ours want
}
made "an image of QEMU"
made "a compressed one" -c
made "one of version 2" -o compat=0.10
made "one with clusters of 4 KiB" -o cluster_size=4k
qemu-img create -q -f qcow2 -b small -F raw upper.qcow2
qemu-io -f qcow2 -c "write -P 7 1M 100k" -c "write -z 2M 64k" upper.qcow2 >/dev/null
qemu-img convert -q -f qcow2 -O raw upper.qcow2 want
rm -f ours
check "one with a backing file" "$ubd" convert --quiet upper.qcow2 ours
check "has what shows through" cmp ours want
mkdir -p elsewhere
check "from another folder" sh -c "cd elsewhere && '$ubd' convert --quiet ../upper.qcow2 ours"
check "its path is the image's" cmp elsewhere/ours want
sum upper.qcow2 >upper.sum

# What can't be.

finds "a file that exists" 1 "ours: exists" -- convert upper.qcow2 ours
mv small gone
finds "the backing file is gone" 1 "upper.qcow2: cannot be read as qcow2" "No such file" -- convert upper.qcow2 none
mv gone small
qemu-img create -q -f qcow2 --object secret,id=s,data=x -o encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10 secret.qcow2 1M
finds "an encrypted one" 1 "secret.qcow2: is encrypted" -- convert secret.qcow2 none
qemu-img create -q -f qcow2 -o extended_l2=on,cluster_size=128k extended.qcow2 1M
finds "one with extended L2 entries" 1 "extended.qcow2: cannot be read as qcow2" "extended L2" -- convert extended.qcow2 none
head -c 100 upper.qcow2 >short.qcow2
finds "one that was cut short" 1 "short.qcow2: cannot be read as qcow2" -- convert short.qcow2 none
printf 'QFI\373\0\0\0\003' | dd of=small conv=notrunc status=none
finds "a plain image that begins like one" 1 "small: " -- convert small none
check "--from raw says that it is none" "$ubd" convert --quiet --from raw small bytes2
check "these are its bytes" cmp bytes2 small
finds "a format that there is not" 1 "vmdk" "raw, qcow2" -- convert --to vmdk small none
check "nothing is left of those" test ! -e none -a ! -e none.partial
is "the source is as it was" "$(sum upper.qcow2)" "$(cat upper.sum)"
finds "convert -h shows how" 0 "Usage: ubd convert" "  ubd convert " -- convert -h
plan
