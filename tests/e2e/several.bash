#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Runs several files of this folder one after the other, in one guest: to start
# a guest takes longer than most of them. Speaks TAP, with the file in front of
# each test's name.
#
# usage: several.bash NAME...

set -u
# A file that hangs is not to take the time of all others.
seconds=${UBD_TEST_SECONDS:-1200}
[ "${VM_KERNEL:-}${VM_ACCEL:-}" != debugtcg ] || seconds=1800
e2e=$(cd "$(dirname "$0")" && pwd)

# tidy: takes away what a file has left behind, for it expects its guest to go.
tidy() {
	cd /
	findmnt -rno TARGET | awk '/^\/run\/e2e\// { all = $0 "\n" all } END { printf "%s", all }' |
		while read -r place; do
			umount -l "$place"
		done
	dmsetup remove_all --force >/dev/null 2>&1
	rmdir /sys/kernel/config/nullb/nullb* 2>/dev/null
	losetup -D
	rm -rf /run/e2e /tmp/model /tmp/faults
}

tests=0
for name; do
	start=$SECONDS
	plan=none seen=0 bad=0
	while IFS= read -r line; do
		said=${line#not } said=${said#ok * } said=${said#- }
		case $line in
		"ok "*) seen=$((seen + 1)); echo "ok $((++tests)) - $name: $said" ;;
		"not ok "*)
			seen=$((seen + 1)) bad=$((bad + 1))
			echo "not ok $((++tests)) - $name: $said"
			;;
		1..*) plan=${line#1..} ;;
		"exit code "*) code=${line##* }; break ;;
		*) echo "$line" ;;
		esac
	done < <(timeout -k 10 "$seconds" bash "$e2e/$name.sh"; echo "exit code $?")
	[ "$code" != 124 ] || { bad=$((bad + 1)); echo "not ok $((++tests)) - $name: it did not end within $seconds s"; }
	[ "$plan" = $seen ] || { bad=$((bad + 1)); echo "not ok $((++tests)) - $name: planned $plan, ran $seen"; }
	echo "# $name: $((SECONDS - start)) s"
	if [ "$code" != 0 ] && [ "$bad" = 0 ]; then
		echo "not ok $((++tests)) - $name: exit code $code"
	fi
	tidy
done
echo "1..$tests"
