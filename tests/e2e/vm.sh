#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# where: host
#
# What all other tests rest on: scripts/vm hands back what a command says and its
# exit code, sees what the kernel complains of, and ends a guest in time.
# kernel: release

. "$(dirname "$0")/lib.sh"

guest_ends() {
	echo "one line on stdout"
	echo "one line on stderr" >&2
	exit 7
}

guest_warns() {
	echo "WARNING: this is not one" >/dev/kmsg
	echo "and goes on"
}

if [ $# != 0 ]; then
	"$1_$3"
	exit
fi

vm_self ends >out 2>err
is "a command's exit code is handed back" $? 7
is "so is its stdout" "$(cat out)" "one line on stdout"
is "and its stderr" "$(grep -v '==>' err)" "one line on stderr"

vm_self warns --no-module --kernel-log "$work/log" >out 2>err
is "a guest whose kernel warns has failed, whatever its command says" $? 125
is "its stdout is handed back" "$(cat out)" "and goes on"
check "the warning is shown" grep -q '^vm: console: .*WARNING: this is not one' err
check "and is in the log" grep -q 'WARNING: this is not one' log

# However far it comes by then.
vm --no-module --timeout 3 -- sleep 1000 >out 2>err
is "a guest that does not end in time has failed" $? 125
check "and it is said why" grep -q '^vm: the guest did not end within 3 s' err

refuse "no guest without a command" vm --
refuse "no guest with an option that there is not" vm --no-such-option -- true
plan
