#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Whether crash.sh and crash_files.sh would notice: they must fail for a driver that
# lacks one of the syncs that they are there to prove.
#
# where: host
# kernel: release
# when: all

. "$(dirname "$0")/lib.sh"

# without NAME TEST PART FILE SED_SCRIPT: TEST's PART must fail in a copy of the
# checkout whose FILE is edited.
without() {
	local what=$1 name=$2 part=$3 file=$4 output code seed
	rm -rf copy
	mkdir copy
	(cd "$top" && tar -c --exclude=.git --exclude=corpus .) | tar -x -C copy
	sed -i "$5" "copy/$file"
	if cmp -s "copy/$file" "$top/$file"; then
		not_ok "without $what" "$file is not as this test knows it"
		return
	fi
	# Which writes meet, and which of them a crash takes, is not the same each time: a
	# few times it may be none that tells.
	for seed in {1..8}; do
		# shellcheck disable=SC2086
		output=$(cd copy && RNULL_UBD_CRASH_PARTS=$part RNULL_UBD_SEED=$seed \
			scripts/vm ${UBD_TEST_VM:-} -- bash "tests/e2e/$name.sh" 2>&1)
		code=$?
		[ $code = 0 ] || break
	done
	note "without $what: $(grep -m 1 'crash at entry' <<<"$output") (seed $seed)"
	if [ $code = 1 ] && grep -Eq '^not ok .*: (a crash at any point|crashes)' <<<"$output"; then
		ok "without $what: a crash is found to lose or to invent data"
	else
		not_ok "without $what: a crash is found to lose or to invent data" "exit code $code"$'\n'"$output"
	fi
}

# shellcheck disable=SC2016
{
	flush=ubd/files/flush.rs
	for part in device direct; do
		without "the sync of data before bitmap, $part" crash $part $flush \
			'/fn sync_and_write/,/^    }/s/self\.sync(layer)?;/if copies.is_empty() { self.sync(layer)?; }/'
	done
	without "the sync of the bitmap" crash device $flush \
		'/fn flush(/,/^    }/s/Written::ToSync) => return self\.sync_bitmap(layer, map)/Written::ToSync) => return Ok(())/'
	without "the flush of what is sealed" crash_files snapshot ubd/files/snapshot.rs \
		'/pub(crate) fn seal/,/^    }/{/^            \.flush()$/d; s/^        self\.old$/        Ok(())/}'
	without "the flush of what was merged" crash_files commit ubd/setup/units/commit.rs \
		'/merge\.flush(/d'
	without "the sync of a header that names another file" crash_files switch ubd/files/below.rs \
		'/fn name(/,/^    }/s/self\.old\.synced(top, top\.file\.sync())?;//'
	without "a direct write of the bitmap that is durable" crash direct ubd/kernel/file/sync.c \
		's/iocb\.ki_flags |= IOCB_DSYNC/iocb.ki_flags |= 0/'
}

plan
