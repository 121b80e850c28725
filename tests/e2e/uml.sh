#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# where: host
#
# COW files exchanged with User-mode Linux (linux.uml, which runs here as a
# plain process) and uml_moo, in both directions and back again. UML reads in
# blocks of 4 KiB: its larger reads are wrong, and one test here shows that.
# kernel: release

. "$(dirname "$0")/lib.sh"

# Run in UML.

uml_first() {
	model cmp /dev/ubda ours.want --direct --bs 4096 || return
	# Larger ones are wrong: the reason why this driver exists.
	model cmp /dev/ubda ours.want --direct --bs 16384 >wrong && echo "UML's 16 KiB reads are right" >&2
	for unit in a:ours b:theirs; do
		dev=/dev/ubd${unit%:*} want=${unit#*:}.want
		model exercise "$dev" "$want" --procs 1 --depth 4 --max 65536 --ops 200 \
			--writes 100 --seed uml || return
		model cmp "$dev" "$want" --direct --bs 4096 || return
	done
}

uml_second() {
	for unit in a:ours b:theirs; do
		model cmp "/dev/ubd${unit%:*}" "${unit#*:}.want" --direct --bs 4096 || return
	done
}

# Run in a guest.

guest_first() {
	load "ubd0=$work/ours:$work/back" &&
		model exercise /dev/ubda ours.want --ops "$(scaled 400)" --seed here --procs 2 --max 65536 --depth 16 &&
		unload
}

guest_second() {
	load "ubd0=$work/ours:$work/back" "ubd1=$work/theirs" || return
	for unit in a:ours b:theirs; do
		dev=/dev/ubd${unit%:*} want=${unit#*:}.want
		for bs in 4096 16384 1048576; do
			model cmp "$dev" "$want" --direct --bs $bs || return
		done
		model exercise "$dev" "$want" --ops "$(scaled 400)" --seed again --procs 2 --max 65536 --depth 16 || return
	done
	unload
}

if [ $# != 0 ]; then
	"$1_$3"
	exit
fi

# uml NAME UBD…: run uml_NAME in UML, whose root is the folder that we are in.
uml() {
	local function=$1
	shift
	rm -f uml.code
	cat >uml.init <<-END
		#!/bin/bash
		export PATH=/usr/sbin:/usr/bin
		mount -t proc proc /proc
		mount -t devtmpfs dev /dev
		bash $e2e/$name.sh uml $work $function >$work/uml.out 2>&1
		echo \$? >$work/uml.code
		sync
		exec busybox poweroff -f
	END
	chmod +x uml.init
	timeout 120 linux.uml mem=128M root=/dev/root rootfstype=hostfs rootflags=/ rw \
		init="$work/uml.init" con=null con0=null,fd:1 "$@" </dev/null >uml.log 2>&1
	cat uml.out
	[ "$(cat uml.code)" = 0 ] || { tail -n 20 uml.log; false; }
}

# merges FILE: uml_moo, the model and what is expected are of one mind.
merges() {
	rm -f merged
	check "$1: uml_moo's merge" uml_moo "$1" merged
	check "$1: is right" cmp merged "$1.want"
	check "$1: the model's, too" model cmp-cow "$1" "$1.want" --backing "$work/back"
}

model pattern back $((8 << 20)) back
model expect back ours.want
model expect back theirs.want
sum back >back.sum

check "a COW file made and written here" vm_self first
merges ours
check "is read and written on by UML, and UML makes its own" \
	uml first ubd0="$work/ours" ubd1="$work/theirs,$work/back"
check "UML's direct reads of 16 KiB are wrong" test -s wrong && note "UML: $(head -n 1 wrong)"
merges ours
merges theirs
check "both are read in blocks of any size and written on here" vm_self second
merges ours
merges theirs
check "both are read by UML again" uml second ubd0="$work/ours" ubd1="$work/theirs"
is "the backing file is as it was" "$(sum back)" "$(cat back.sum)"

plan
