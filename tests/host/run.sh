#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Tests of the driver's pure modules on the host: unit tests, properties, the
# unit tests of the program ubd, and then each fuzzer for a bounded number of runs, or for FUZZ_SECONDS seconds if
# that is set. To be run in the tool chain's folder: scripts/toolchain
# tests/host/run.sh. Speaks TAP.
#
# What a longer fuzzing finds is kept in the cache and used again; an input
# that breaks something is left there too, and named.

set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
: "${RNULL_UBD_CACHE:?run this as: scripts/toolchain tests/host/run.sh}"

fuzz_runs=${FUZZ_RUNS:-200000}
fuzz_seconds=${FUZZ_SECONDS:-}
targets="header options"
log=$(mktemp)
trap 'rm -f "$log"' EXIT

count=0
failed=0

# report ok|not NAME [REMARK]: one line of TAP.
report() {
	count=$((count + 1))
	[ "$1" = ok ] || failed=1
	printf '%s %d - host: %s%s\n' "${1/not/not ok}" "$count" "$2" "${3:+ # $3}"
}

# The log as TAP comments, for whoever has to find out why.
show_log() {
	tail -n "${1:-200}" "$log" | sed 's/^/# /'
}

# run_tests FOLDER TARGET [PREFIX]: the unit tests of a crate, which is built in
# the cache.
run_tests() {
	local rc before=$count failed_before=$failed

	failed=0
	CARGO_TARGET_DIR=$RNULL_UBD_CACHE/$2 \
		cargo test --locked --manifest-path "$1/Cargo.toml" >"$log" 2>&1
	rc=$?
	while read -r name result; do
		name=${3:-}$name
		case $result in
		ok) report ok "$name" ;;
		ignored*) report ok "$name" "SKIP $result" ;;
		*) report not "$name" ;;
		esac
	done < <(sed -nE 's/^test (.+) \.\.\. (ok|FAILED|ignored.*)$/\1 \2/p' "$log")
	# It may have failed before or between the tests.
	if [ $count = "$before" ] || { [ $rc != 0 ] && [ $failed = 0 ]; }; then
		report not "${3:-}cargo test"
	fi
	[ $failed = 0 ] || show_log
	[ "$failed_before" = 0 ] || failed=1
}

# Coverage is counted by a pass of the compiler. It needs the fuzzer's run time,
# which build scripts do not have: with --target, cargo leaves them alone.
build_fuzzers() {
	local host flags=(
		-Cpasses=sancov-module
		-Cllvm-args=-sanitizer-coverage-level=4
		-Cllvm-args=-sanitizer-coverage-inline-8bit-counters
		-Cllvm-args=-sanitizer-coverage-pc-table
		-Cllvm-args=-sanitizer-coverage-trace-compares
		-Ccodegen-units=1
		--cfg fuzzing
	)

	host=$(rustc -vV | sed -n 's/^host: //p')
	fuzzers=$RNULL_UBD_CACHE/host-fuzz-target/$host/release
	CARGO_TARGET_DIR=$RNULL_UBD_CACHE/host-fuzz-target \
		RUSTFLAGS="${flags[*]}" CC=clang CXX=clang++ \
		cargo build --locked --release --target "$host" \
		--manifest-path "$here/fuzz/Cargo.toml" >"$log" 2>&1
}

# fuzz TARGET: new inputs go to the cache, never to the checkout.
fuzz() {
	local target=$1 found=$RNULL_UBD_CACHE/host-corpus/$1 limit stats
	local broken=$RNULL_UBD_CACHE/host-broken/$1

	if [ -n "$fuzz_seconds" ]; then
		limit=-max_total_time=$fuzz_seconds
	else
		limit=-runs=$fuzz_runs
	fi
	mkdir -p "$found" "$broken"
	if "$fuzzers/$target" "$limit" -timeout=10 -rss_limit_mb=1024 -max_len=4200 \
		-print_final_stats=1 -artifact_prefix="$broken/" \
		"$found" "$here/fuzz/corpus/$target" >"$log" 2>&1; then
		stats=$(sed -nE 's/^#([0-9]+)\s+DONE\s+cov: ([0-9]+).*/\1 runs, \2 places reached/p' "$log")
		report ok "fuzz $target"
		echo "# fuzz $target: $stats"
	else
		report not "fuzz $target"
		show_log 60
	fi
}

run_tests "$here" host-target
run_tests "$here/../../tools/ubd" ubd-check "the program: "
if build_fuzzers; then
	for target in $targets; do
		fuzz "$target"
	done
else
	for target in $targets; do
		report not "fuzz $target"
	done
	show_log
fi
echo "1..$count"
exit $failed
