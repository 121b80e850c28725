#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Memory that can't be had, by the unit's own threads: the request that needs it
# fails, and no other does. And by the one who attaches units: that works or
# fails, and leaves nothing. The files are on tmpfs, for a file system would have
# its own say.
# kernel: debug

. "$(dirname "$0")/lib.sh"
. "$e2e/faults.bash"

rm -f state
truncate -s 1G sparse
for where in failslab fail_page_alloc; do
	inject=/sys/kernel/debug/$where
	rm -f memory.cow state
	load "ubd0=$work/memory.cow:$work/sparse"
	# The thread for flushes is there as soon as one is asked for.
	sync /dev/ubda
	for pid in $(pgrep '^ubda(-|$)'); do
		echo 1 >"/proc/$pid/make-it-fail"
	done
	echo 0 >$inject/verbose
	echo Y >$inject/task-filter
	echo N >$inject/ignore-gfp-wait
	[ ! -e $inject/min-order ] || echo 0 >$inject/min-order
	[ ! -e $inject/ignore-gfp-highmem ] || echo N >$inject/ignore-gfp-highmem
	echo -1 >$inject/times
	echo 1 >$inject/interval
	echo 7 >$inject/probability
	result=$(faults tries /dev/ubda state --ops 400 --errors ENOMEM 2>&1)
	echo 0 >$inject/probability
	note "$where: $result"
	check "$where: requests fail with ENOMEM, and others do not" test "${result##*ENOMEM}" != "$result"
	check "$where: what was done is there" faults check /dev/ubda state --flush
	check "$where: nothing fails when there is memory" faults tries /dev/ubda state --ops 100 --seed again
	unload
	load "ubd0=$work/memory.cow"
	check "$where: all is there after a reload" faults check /dev/ubda state
	unload
done

# A snapshot, or a commit: the threads that make it, too, can fail at any of them, and
# then the unit has what it had. A new thread of the kernel is as the one that starts them.
mountpoint -q /sys/kernel/config || mount -t configfs config /sys/kernel/config
config=/sys/kernel/config/ubd
inject=/sys/kernel/debug/failslab
model pattern base $((2 << 20)) base
cp base want
# shellcheck disable=SC2119
load
mkdir $config/0
echo "$work/snap0" >$config/0/file
echo "$work/base" >$config/0/backing_file
echo 1 >$config/0/power
made=0 failed=0 committed=0 uncommitted=0 wrong=
echo 1 >/proc/2/make-it-fail
# As many as are needed for some of each kind.
few() {
	[ $made -lt 3 ] || [ $failed -lt 3 ] || [ $committed -lt 3 ] || [ $uncommitted -lt 3 ]
}
rounds=$(scaled 200)
for ((i = 1; i <= 1000; i++)); do
	[ "$i" -le "$rounds" ] || few || break
	was=$(cat $config/0/file)
	[ $((i % 4)) != 0 ] || model write /dev/ubda want $((i * 4096)) 4096 "$i"
	echo 4 >$inject/probability
	if echo "$work/snap$i" >$config/0/snapshot; then
		result=$work/snap$i made=$((made + 1))
	else
		result=$was failed=$((failed + 1))
	fi 2>/dev/null
	echo 0 >$inject/probability
	[ "$(cat $config/0/file)" = "$result" ] || wrong+=" $i: $(cat $config/0/file)"
	below=$(wc -l </sys/block/ubda/ubd/backing_file)
	if [ $((i % 3)) = 0 ] && [ "$below" -gt 1 ]; then
		echo 2 >$inject/probability
		state="not begun"
		! echo 1 >$config/0/commit || {
			wait_for grep -qx 0 $config/0/commit
			state=$(cat $config/0/commit_state)
		}
		echo 0 >$inject/probability
		if [ "$state" = "done" ]; then
			committed=$((committed + 1)) below=$((below - 1))
		else
			uncommitted=$((uncommitted + 1))
		fi
		[ "$(wc -l </sys/block/ubda/ubd/backing_file)" = "$below" ] || wrong+=" $i: $state"
	fi 2>/dev/null
	if [ "$(wc -l </sys/block/ubda/ubd/backing_file)" = 8 ]; then
		model cmp /dev/ubda want --direct || wrong+=" $i"
		echo 0 >$config/0/power
		echo 1 >$config/0/power || wrong+=" $i: $(cat $config/0/last_error)"
		model cmp /dev/ubda want --direct || wrong+=" $i"
		echo 0 >$config/0/power
		rm snap*
		cp want base
		echo "$work/snap0" >$config/0/file
		echo "$work/base" >$config/0/backing_file
		echo 1 >$config/0/power
	fi
done
echo 0 >/proc/2/make-it-fail
is "snapshots: the unit has the files that it should have" "$wrong" ""
check "snapshots: some were made ($made), and some not ($failed)" test $made -gt 2 -a $failed -gt 2
check "commits: some were made ($committed), and some not ($uncommitted)" test $committed -gt 2 -a $uncommitted -gt 2
check "snapshots: the disk has what was written" model cmp /dev/ubda want --direct
echo 0 >$config/0/power
rmdir $config/0
unload

# Each time another allocation, of all that attaching takes.
seed=${UBD_SEED:-${RNULL_UBD_SEED:-1}}
note "UBD_SEED=$seed"
model pattern back $((1 << 20)) back
model make-cow cow back --disk want
result "attached with an allocation that fails" python3 "$e2e/memory.py" \
	"$(modinfo -n rnull_ubd)" "$work/cow" want "$work/new" "$work/back" --seed "$seed" \
	--count "${UBD_CYCLES:-${RNULL_UBD_CYCLES:-24}}"

plan
