# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# The program ubd, in the working folder. To be sourced after lib.sh.

ubd=$PWD/ubd

# get_program: build it, if that is needed, and copy it here.
get_program() {
	# shellcheck disable=SC2154
	cp "$("$top/scripts/ubd" --path)" ubd
}

# field JSON NAME
field() {
	python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$@"
}

# finds NAME CODE WORD... -- ARGUMENT...: ubd ends with CODE, and says the words.
finds() {
	local what=$1 code=$2 words=() word output got=0
	shift 2
	while [ "$1" != -- ]; do
		words+=("$1")
		shift
	done
	shift
	output=$("$ubd" "$@" 2>&1) || got=$?
	for word in "${words[@]}"; do
		[[ $output == *"$word"* ]] || { not_ok "$what" "no '$word' in: $output"; return; }
	done
	is "$what" "$got" "$code"
}

# put FILE OFFSET BYTES
put() {
	# shellcheck disable=SC2059
	printf "$3" | dd of="$1" bs=1 seek=$(($2)) conv=notrunc status=none
}
