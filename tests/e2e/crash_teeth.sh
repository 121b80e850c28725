#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Whether crash.sh would notice: it must fail for a driver that lacks one of
# the syncs that it is there to prove.
#
# where: host
# kernel: release

. "$(dirname "$0")/lib.sh"

# without NAME SED_SCRIPT: a copy of the checkout, its ubd/files/flush.rs edited.
without() {
	local what=$1 output code
	rm -rf copy
	mkdir copy
	(cd "$top" && tar -c --exclude=.git --exclude=corpus .) | tar -x -C copy
	sed -i "$2" copy/ubd/files/flush.rs
	if cmp -s copy/ubd/files/flush.rs "$top/ubd/files/flush.rs"; then
		not_ok "without $what" "ubd/files/flush.rs is not as this test knows it"
		return
	fi
	# shellcheck disable=SC2086
	output=$(cd copy && RNULL_UBD_CRASH_PARTS=device scripts/vm ${UBD_TEST_VM:-} -- \
		bash tests/e2e/crash.sh 2>&1)
	code=$?
	note "without $what: $(grep -m 1 'crash at entry' <<<"$output")"
	if [ $code = 1 ] && grep -q '^not ok .*: a crash at any point' <<<"$output"; then
		ok "without $what: a crash is found to lose or to invent data"
	else
		not_ok "without $what: a crash is found to lose or to invent data" "exit code $code"$'\n'"$output"
	fi
}

# shellcheck disable=SC2016
{
	without "the sync of data before bitmap" \
		'/fn sync_and_write/,/^    }/s/self\.sync(layer)?;/if copies.is_empty() { self.sync(layer)?; }/'
	without "the sync of the bitmap" \
		'/fn flush(/,/^    }/s/None => return self\.sync(layer)/None => return Ok(())/'
}

plan
