#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# where: host
#
# COW files exchanged with User-mode Linux (linux.uml, which runs here as a
# plain process), with this driver in User-mode Linux, and with uml_moo, in both
# directions and back again. Two files get the same writes, round by round: what is
# written to the one here is written to the other in UML, and they must be the same
# disk. UML's own driver reads in blocks of 4 KiB: its larger reads are wrong, and one
# test here shows that.
# kernel: release

. "$(dirname "$0")/lib.sh"
. "$e2e/uml.bash"

# writes FILE ROUND: the same ones wherever it is called, for whichever file.
writes() {
	model exercise "$(device "$1")" "$1.want" --seed "$2" --ops 200 --writes 100 \
		--procs 1 --depth 4 --max 65536
}

device() {
	[ "$1" = ours ] && echo /dev/ubda || echo /dev/ubdb
}

# Run in UML.

uml_first() {
	model cmp /dev/ubda ours.want --direct --bs 4096 || return
	# Larger ones are wrong: the reason why this driver exists.
	model cmp /dev/ubda ours.want --direct --bs 16384 >wrong && echo "UML's 16 KiB reads are right" >&2
	writes theirs first && model cmp /dev/ubdb theirs.want --direct --bs 4096 &&
		writes ours second && model cmp /dev/ubda ours.want --direct --bs 4096
}

uml_second() {
	for file in ours theirs; do
		model cmp "$(device $file)" $file.want --direct --bs 4096 || return
	done
	writes theirs fourth && model cmp /dev/ubdb theirs.want --direct --bs 4096
}

# Run in a guest.

guest_first() {
	load "ubd0=$work/ours:$work/back" && writes ours first && unload
}

# In UML with this driver, whose files are the same as UML's own has.
guest_home() {
	local file
	for file in ours theirs; do
		model cmp "$(device $file)" $file.want --direct || return
	done
	writes theirs second && writes ours third
}

guest_second() {
	load "ubd0=$work/ours:$work/back" "ubd1=$work/theirs" || return
	for file in ours theirs; do
		for bs in 4096 16384 1048576; do
			model cmp "$(device $file)" $file.want --direct --bs $bs || return
		done
	done
	writes theirs third && writes ours fourth || return
	for file in ours theirs; do
		model exercise "$(device $file)" $file.want --ops "$(scaled 400)" --writes 0 \
			--procs 2 --depth 16 --max 65536 || return
	done
	unload
}

if [ $# != 0 ]; then
	"$1_$3"
	exit
fi

# merges FILE ROUND: uml_moo, the model and what is expected are of one mind
# after a round. What uml_moo makes is kept.
merges() {
	check "$1: uml_moo's merge after the $2 round" uml_moo "$1" "$1.$2"
	check "$1: is right" cmp "$1.$2" "$1.want"
	check "$1: the model's, too" model cmp-cow "$1" "$1.want" --backing "$work/back"
}

# same ROUND
same() {
	check "the same writes here and in UML make the same disk: $1 round" cmp "ours.$1" "theirs.$1"
}

model pattern back $((8 << 20)) back
model expect back ours.want
model expect back theirs.want
sum back >back.sum

check "a COW file made and written here" vm_self first
merges ours first
check "is read and written on by UML, and UML makes its own" \
	uml first ubd0="$work/ours" ubd1="$work/theirs,$work/back"
check "UML's direct reads of 16 KiB are wrong" test -s wrong && note "UML: $(head -n 1 wrong)"
merges ours second
merges theirs first
same first
check "both are read and written on by this driver in UML" \
	vm_self home --home --built-in --append "ubd0=$work/ours ubd1=$work/theirs"
merges theirs second
same second
merges ours third
check "both are read in blocks of any size and written on here" vm_self second
merges theirs third
same third
merges ours fourth
check "both are read by UML again, and its own written on" uml second ubd0="$work/ours" ubd1="$work/theirs"
merges theirs fourth
same fourth
is "the backing file is as it was" "$(sum back)" "$(cat back.sum)"

plan
