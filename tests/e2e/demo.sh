#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# where: host
#
# `make run`, without a terminal, twice: what it says is so.
# kernel: release

. "$(dirname "$0")/lib.sh"

# demo TIME: what it says, into out.TIME.
demo() {
	(cd "$top" && scripts/demo "$work/demo") >"out.$1" 2>err || { tail -n 40 err "out.$1"; return 1; }
}

# checksums FILE: all that it names.
checksums() {
	grep -o 'Checksum of the golden image: [0-9a-f]*' "$1" | sort -u
}

check "the first run" demo first
golden=$(sum demo/golden.img)
is "it names the golden image's checksum, before and after" "$(checksums out.first)" \
	"Checksum of the golden image: ${golden:0:16}"
check "there was no COW file" grep -q 'There is no COW file yet' out.first
check "a guest found no notes" grep -q 'no notes of an earlier run' out.first
note=$(grep -o 'run 1, .* UTC' out.first | sort -u)
is "the next found what the first has left" "$(sed '1,/Found, as the first guest left it/d' out.first | grep -o 'run 1, .*')" "$note"
check "the COW file is what it says" \
	grep -q "The COW file holds .* KiB (its length is $(($(stat -c %s demo/work.cow) / 1024)) KiB" out.first

check "the second run" demo second
is "the golden image is what it was" "$(checksums out.second) $(sum demo/golden.img)" "$(checksums out.first) $golden"
is "it finds what the first run has left" \
	"$(sed -n '/An earlier run was here/,/Changed/p' out.second | grep -o 'run 1, .*')" "$note"
check "and adds to it" grep -q 'run 2, .* UTC' <(sed '1,/Found, as the first guest left it/d' out.second)
plan
