#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# What a crash may take and what not, with several processes at work: writes,
# FUA writes, discards, zeroes and flushes that meet each other. The COW file is
# a device, or on ext4, or on xfs; dm-log-writes below it records. logwrites.py
# has the rules.
#
# vm: --mem 2G
# kernel: release

. "$(dirname "$0")/lib.sh"
. "$e2e/logwrites.bash"

sectors=$(((20 << 20) / 512))
ops=$(scaled 16)
crashes base back $sectors
sum back >back.sum

# used NAME OPTION [load's options]: the unit is attached, and used.
used() {
	local what=$1 option=$2
	shift 2
	if ! load "$option" || [ ! -b /dev/ubda ]; then
		not_ok "$what: attached" "$(dmesg | tail -n 5)"
		! loaded || unload
		return 1
	fi
	check "$what: used" crashes load /dev/ubda history --mark logged --seed "$seed" \
		--ops "$ops" "$@"
	unload
}

# result NAME COMMAND...: what it prints is part of the result's name.
result() {
	local what=$1 output
	shift
	if output=$("$@" 2>&1); then
		ok "$what ($output)"
	else
		not_ok "$what" "$output"
	fi
}

# raw NAME FLAGS [load's options]: no file system adds flushes of its own.
raw() {
	local what=$1 flags=$2
	shift 2
	model make-cow start back --shape none
	truncate -s 21M start
	logged
	used "$what" "ubd0$flags=/dev/mapper/logged" --lax "$@"
	unlogged
	result "$what: a crash at any point" crashes raw log start history --seed "$seed" \
		--choices "$([ -n "$points" ] && echo 12 || echo 2)"
}

# Parts can be chosen: crash_teeth.sh does.
part() {
	[[ " ${UBD_CRASH_PARTS:-${RNULL_UBD_CRASH_PARTS:-device sync ext4 xfs new}} " == *" $1 "* ]]
}

! part device || raw "COW on a device" ""
! part sync || raw "COW on a device, flag s" s --sync --ops $((ops / 4 + 1))

# files FS
files() {
	local fs=$1
	made "$fs"
	logged
	mkdir -p mnt
	mount /dev/mapper/logged mnt
	used "COW on $fs" "ubd0=$work/mnt/cow:$work/back"
	umount mnt
	unlogged
	with_crashed
	result "COW on $fs: crashes" crashes files log start crashed.img "$crashed" "$fs" \
		crashed cow history --seed "$seed" --points "${points:-$(scaled 10)}" --driver 5
	without_crashed
}

! part ext4 || files ext4
! part xfs || files xfs

# A COW file while it is made, and while it is switched to another backing file:
# a crash leaves the one state or the other, and the next attach goes on from it.

cat >found <<END
#!/bin/bash
# found LAST_MARK: what the next attach finds; for "logwrites.py states".
cd "$work" || exit
option=ubd0=crashed/cow
[ \$1 != begin ] || option=ubd0=\$PWD/crashed/cow:\$PWD/back
dmesg --clear
modprobe rnull_ubd \$option || exit
if [ ! -b /dev/ubda ] && dmesg --notime | grep -q 'a switch to another one was not finished'; then
	# Between two long paths there is a third state, that says so and asks for one of them.
	modprobe -r rnull_ubd
	modprobe rnull_ubd "ubd0=\$PWD/crashed/cow:\$PWD/back" || exit
	between="after a third state, "
fi
if [ ! -b /dev/ubda ]; then
	modprobe -r rnull_ubd
	echo "not attached, the file has \$(stat -c '%s bytes in %b blocks' crashed/cow):"
	dmesg --notime | grep '^rnull_ubd: '
	exit 1
fi
dd if=/dev/ubda of=disk bs=64k count=1 iflag=direct status=none
modprobe -r rnull_ubd || exit
cmp -n 65536 disk back || exit
over=\$(dd if=crashed/cow bs=512 skip=32 count=4096 iflag=skip_bytes,count_bytes status=none | tr -d '\\0')
if dmesg --notime | grep -q 'made as a COW file'; then echo "made again"; else echo "\${between:-}over \${over##*/}"; fi
END
chmod +x found

new() {
	made ext4 32M
	logged
	mkdir -p mnt
	mount /dev/mapper/logged mnt
	cp --preserve=timestamps back back2
	# Paths that take more than one sector of the header.
	long=$(printf '%0200d/%0200d/%0200d' 1 2 3)
	mkdir -p "$long" "${long%3}4"
	cp --preserve=timestamps back "$long/back3"
	cp --preserve=timestamps back "${long%3}4/back4"
	marked begin
	load "ubd0=$work/mnt/cow:$work/back"
	marked made
	check "COW made on ext4" test -b /dev/ubda
	unload
	for to in back2 "$long/back3" "${long%3}4/back4" back; do
		load "ubd0=$work/mnt/cow:$work/$to"
		unload
	done
	marked switched
	umount mnt
	unlogged
	with_crashed
	result "a crash while a COW file is made" crashes states log start crashed.img "$crashed" \
		ext4 crashed begin made --seed "$seed" --repeat 2 --points "${points:-6}" ./found
	result "a crash while it is switched to another backing file" crashes states log start \
		crashed.img "$crashed" ext4 crashed made switched --seed "$seed" \
		--repeat "$([ -n "$points" ] && echo 20 || echo 3)" ./found
	without_crashed
}

! part new || new

is "the backing file is as it was" "$(sum back)" "$(cat back.sum)"

plan
