#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Runs several files of this folder one after the other, in one guest: to start
# a guest of the debug kernel takes longer than most of them. Speaks TAP, with
# the file in front of each test's name.
#
# usage: several.bash NAME...

set -u
e2e=$(cd "$(dirname "$0")" && pwd)
count=$(mktemp)

# tidy: takes away what a file has left behind, for it expects its guest to go.
tidy() {
	cd /
	findmnt -rno TARGET | awk '/^\/tmp\/ubd-/ { all = $0 "\n" all } END { printf "%s", all }' |
		while read -r place; do
			umount -l "$place"
		done
	dmsetup remove_all --force >/dev/null 2>&1
	losetup -D
	rm -rf /tmp/ubd-* /tmp/model*
}

tests=0
for name; do
	start=$SECONDS
	bash "$e2e/$name.sh" | awk -v name="$name" -v tests="$tests" '
		/^(not )?ok [0-9]+/ {
			seen++
			not = /^not / ? "not " : ""
			bad += not != ""
			sub(/^(not )?ok [0-9]+ (- )?/, "")
			print not "ok " ++tests " - " name ": " $0
			fflush()
			next
		}
		/^1\.\.[0-9]+$/ { plan = substr($0, 4); next }
		{ print; fflush() }
		END {
			if (plan == "" || plan != seen)
				print "not ok " ++tests " - " name ": " (plan == "" ? "no plan" : "planned " plan) ", ran " seen + 0
			print tests, bad + 0 >count
		}
	' count="$count"
	code=${PIPESTATUS[0]}
	echo "# $name: $((SECONDS - start)) s"
	read -r tests bad <"$count"
	if [ "$code" != 0 ] && [ "$bad" = 0 ]; then
		echo "not ok $((++tests)) - $name: exit code $code"
	fi
	tidy
done
echo "1..$tests"
