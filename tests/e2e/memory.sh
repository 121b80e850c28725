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

# Each time another allocation, of all that attaching takes.
seed=${UBD_SEED:-${RNULL_UBD_SEED:-1}}
note "UBD_SEED=$seed"
model pattern back $((1 << 20)) back
model make-cow cow back --disk want
result "attached with an allocation that fails" python3 "$e2e/memory.py" \
	"$(modinfo -n rnull_ubd)" "$work/cow" want "$work/new" "$work/back" --seed "$seed" \
	--count "${UBD_CYCLES:-${RNULL_UBD_CYCLES:-24}}"

plan
