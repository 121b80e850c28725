# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# A device whose writes are recorded by dm-log-writes, and what crashes it. To
# be sourced after lib.sh.

# shellcheck disable=SC2154
. "$e2e/logged.bash"

# UBD_CRASH_POINTS says how many crashes are looked at in each part of a test
# (0: all there are), UBD_SEED which ones, and what is asked of the disk before.
# scripts/vm passes them on as RNULL_UBD_CRASH_POINTS and RNULL_UBD_SEED.
points=${UBD_CRASH_POINTS:-${RNULL_UBD_CRASH_POINTS:-}}
seed=${UBD_SEED:-${RNULL_UBD_SEED:-1}}
note "UBD_SEED=$seed UBD_CRASH_POINTS=${points:-(default)}"

# part NAME: whether it is one of the parts of a test that are looked at. Some can be
# chosen, as crash_teeth.sh does.
parts=${UBD_CRASH_PARTS:-${RNULL_UBD_CRASH_PARTS:-}}
part() {
	[[ " $parts " == *" $1 "* ]]
}

# mkfs.xfs makes file systems this small for its own tests only.
export TEST_DIR=x TEST_DEV=x QA_CHECK_FS=x

# crashes COMMAND...: the package logwrites
crashes() {
	# shellcheck disable=SC2154
	python3 -P -m logwrites "$@"
}

# made FS: the file start is a new file system.
made() {
	rm -f start
	truncate -s "${2:-48M}" start
	case $1 in
	ext4) mkfs.ext4 -q -E lazy_itable_init=0,lazy_journal_init=0 start ;;
	xfs) mkfs.xfs -q start ;;
	esac
}

# marked TEXT
marked() {
	dmsetup message logged 0 mark "$1"
}

# crashed: a loop device to put in $crashed, for the states that a crash left.
with_crashed() {
	cp start crashed.img
	crashed=$(losetup --show -f crashed.img)
	mkdir -p crashed
}

without_crashed() {
	losetup -d "$crashed"
	rm crashed.img
}
