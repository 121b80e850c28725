# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# What every test here needs. To be sourced. Each test file is run as root in a
# guest of scripts/vm (or, with `# where: host`, in the tool chain, from where
# it starts its guests itself), and speaks TAP.

set -u
e2e=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
top=$(cd "$e2e/../.." && pwd)
name=$(basename "$0" .sh)
# Where Python finds the packages that are here, and leaves what it has compiled of
# them, for the checkout is read-only.
export PYTHONPATH=$e2e PYTHONPYCACHEPREFIX=/tmp/pycache

# TAP

tests=0
failures=0
served=

# ok NAME
ok() {
	tests=$((tests + 1))
	echo "ok $tests - $1"
}

# not_ok NAME [DIAGNOSTICS]
not_ok() {
	tests=$((tests + 1))
	failures=$((failures + 1))
	echo "not ok $tests - $1"
	[ -z "${2:-}" ] || printf '%s\n' "$2" | tail -n 30 | sed 's/^/# /'
}

# skip NAME REASON
skip() {
	tests=$((tests + 1))
	echo "ok $tests - $1 # SKIP $2"
}

# note TEXT
note() {
	printf '%s\n' "$*" | sed 's/^/# /'
}

# check NAME COMMAND...: the command succeeds; its output is the diagnostics.
check() {
	local test_name=$1 output
	shift
	if output=$("$@" 2>&1); then
		ok "$test_name"
	else
		not_ok "$test_name" "${output:-$* failed}"
		false
	fi
}

# refuse NAME COMMAND...: the command fails.
refuse() {
	local test_name=$1 output
	shift
	if output=$("$@" 2>&1); then
		not_ok "$test_name" "${output:+$output$'\n'}$* succeeded"
		false
	else
		ok "$test_name"
	fi
}

# result NAME COMMAND...: the command succeeds; what it prints is part of the
# test's name.
result() {
	local test_name=$1 output
	shift
	if output=$("$@" 2>&1); then
		ok "$test_name ($output)"
	else
		not_ok "$test_name" "$output"
		false
	fi
}

# is NAME GOT WANT
is() {
	if [ "$2" = "$3" ]; then
		ok "$1"
	else
		not_ok "$1" "got:  $2"$'\n'"want: $3"
		false
	fi
}

# plan: the last line of a test file.
plan() {
	echo "1..$tests"
	[ "$failures" = 0 ]
}

# What checks memory also keeps some of it; and how much a guest can be asked: a
# debug kernel is slower, and an emulated one by far.
debug='' slow='' scale=100
if [ "${VM_KERNEL:-release}" = debug ]; then
	debug=1 scale=30
	# For those who source this.
	# shellcheck disable=SC2034
	[ "${VM_ACCEL:-}" = uml ] || { slow=1 scale=12; }
fi
[[ ${VM_KERNEL:-} != arm64* ]] || scale=30
scale=${UBD_TEST_SCALE:-$scale}

# scaled N: N, or less of it where the kernel is slow.
scaled() {
	echo $((($1 * scale + 99) / 100))
}

# model COMMAND...: the package model. In a guest one process forks for every request:
# to start Python takes a second or more there.
model() {
	if [ -n "$served" ]; then
		ask /tmp/model "$@"
	else
		python3 -P -m model "$@"
	fi
}

# ask FILE COMMAND...: what the Python program that serves the port in FILE
# prints for the command, and its exit code. Starts no process, which takes long
# in a guest, too.
ask() {
	local file=$1 port connection line code=1 IFS=$'\x1f'
	shift
	until [ -e "$file" ]; do
		sleep 0.05
	done
	read -r port <"$file"
	exec {connection}<>"/dev/tcp/127.0.0.1/$port" || return
	printf '%s\n' "$PWD$IFS$*" >&"$connection"
	while IFS= read -r line; do
		case $line in
		$'\4'*) code=${line#?}; break ;;
		*) printf '%s\n' "$line" ;;
		esac
	done <&"$connection"
	exec {connection}>&-
	return "$code"
}

sum() {
	sha256sum <"$1"
}

# grow_ext4 FOLDER BLOCKS: what is mounted there has so many. resize2fs wants to write to
# the device beside the file system.
grow_ext4() {
	python3 -c '
import fcntl, os, struct, sys
fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x40086610, struct.pack("Q", int(sys.argv[2])))' "$@"
}

# wait_for COMMAND...: until it succeeds. What never comes, the guest's own
# limits end: a hung task, or the time that it has.
wait_for() {
	until "$@" 2>/dev/null; do
		sleep 0.05
	done
}

# idle DISK: no request of it is on its way. Whoever waits for one is woken before
# it is counted as done.
idle() {
	[ "$(xargs <"/sys/block/$1/inflight")" = "0 0" ]
}

# sleeps PID: it waits for something that no signal ends.
sleeps() {
	grep -q '^State:.*D' "/proc/$1/status"
}

# The driver

# load PARAMETER...: with no udev in the guest, the nodes are there when
# modprobe returns, or never will be.
load() {
	modprobe rnull_ubd "$@"
}

unload() {
	modprobe -r rnull_ubd
}

# disk UNIT: the node of a unit.
disk() {
	local alphabet=abcdefghijklmnopqrstuvwxyz letters='' unit=$1
	while [ "$unit" -ge 0 ]; do
		letters=${alphabet:unit % 26:1}$letters
		unit=$((unit / 26 - 1))
	done
	echo "/dev/ubd$letters"
}

loaded() {
	# A built-in driver has no count of references.
	[ -e /sys/module/rnull_ubd/refcnt ] || { [ -n "${UBD_TEST_FILES:-}" ] && compgen -G "/dev/ubd*" >/dev/null; }
}

# kernel_memory: kilobytes that the kernel has for itself, and gives to nobody
# when it is short of memory. Free pages that a processor keeps at hand, tens of
# megabytes, count as in use in meminfo.
kernel_memory() {
	echo 3 >/proc/sys/vm/drop_caches
	awk '/^MemTotal:/ { kb += $2 }
		/^(MemFree|Buffers|Cached|SwapCached|AnonPages|SReclaimable):/ { kb -= $2 }
		$1 == "count:" { kb -= $2 * 4 }
		END { print kb }' /proc/meminfo /proc/zoneinfo
}

# no_growth NAME CYCLES COMMAND...: the command, which is so many cycles, leaves
# less than a page of memory for each. What is lost is lost every time; what the
# kernel keeps for the next time, hundreds of kilobytes of slabs that are not full,
# it keeps in one time or another: the command is given some. Where KASAN keeps what
# was freed there is no telling, and kmemleak tells.
no_growth() {
	# What the command has of its own is not to have one of these names.
	local grown=0 most=$(($2 * 4)) before time test_name=$1 cycles=$2
	shift 2
	[ $most -ge 512 ] || most=512
	for time in {1..6}; do
		before=$(kernel_memory)
		"$@"
		# What is freed after a grace period of RCU, or by a thread of the kernel's,
		# is so in the end.
		for _ in {1..20}; do
			grown=$(($(kernel_memory) - before))
			[[ -z $debug && $grown -ge $most ]] || break 2
			sleep 0.1
		done
		note "$test_name: $cycles cycles, the time number $time: the kernel has $grown kB more"
	done
	[ -n "$debug" ] || check "$test_name: memory does not grow with them" test "$grown" -lt $most
}

# What the kernel said since the last mark.
marks=0
mark() {
	# All of them: by default the kernel takes ten in five seconds.
	[ $marks != 0 ] || echo on >/proc/sys/kernel/printk_devkmsg
	marks=$((marks + 1))
	echo "<6>$name: mark $marks" >/dev/kmsg
}

messages() {
	dmesg --notime 2>/dev/null | awk -v m="$name: mark $marks" 'seen { print } index($0, m) { seen = 1 }'
}

# said WORD...: one message of the driver has all the words.
said() {
	messages | awk '
		BEGIN { for (i = 1; i < ARGC; i++) word[i] = tolower(ARGV[i]); words = ARGC - 1; ARGC = 1 }
		/^rnull_ubd: / {
			line = tolower($0)
			for (i = 1; i <= words && index(line, word[i]); i++);
			if (i > words)
				found = 1
		}
		END { exit !found }
	' "$@"
}

# says NAME WORD...
says() {
	local test_name=$1
	shift
	if said "$@"; then
		ok "$test_name"
	else
		not_ok "$test_name" "no message with: $*"$'\n'"$(messages)"
		false
	fi
}

# A folder for the test's files. In a guest it is gone with the guest; what is
# left over is unloaded, so that the kernel's own checks (of memory, above all)
# see the end of it. On the host, the same file can be both sides: `vm_self`
# runs its function guest_NAME in a guest that shares the folder.
if [ $# = 0 ] && grep -q '^# where: host' "$0"; then
	work=$(mktemp -d "${RNULL_UBD_CACHE:-/tmp}/e2e-$name.XXXXXX")
	cd "$work" || exit
	trap 'rm -rf "$work"' EXIT

	# vm OPTION... -- COMMAND...
	vm() {
		# shellcheck disable=SC2086
		(cd "$top" && scripts/vm ${UBD_TEST_VM:-} "$@")
	}

	# vm_self NAME [OPTION...]
	vm_self() {
		local function=$1
		shift
		vm --share-rw "$work" "$@" -- bash "$e2e/$name.sh" guest "$work" "$function"
	}
else
	# Not below /tmp: the checkout may lie there, by any name. UBD_TEST_FILES is a
	# folder of the host's, see uml_files.sh.
	work=${2:-${UBD_TEST_FILES:-/run/e2e}/$name}
	if [ ! -d "$work" ]; then
		mkdir -p "$work"
		[ -n "${UBD_TEST_FILES:-}" ] || mount -t tmpfs -o size=90% ubd-test "$work"
	fi
	cd "$work" || exit
	if [ "${1:-}" != uml ]; then
		served=1
		python3 -P -m model serve /tmp/model &
	fi
	leave() {
		local code=$?
		# What is left holds the pipe that this file's results go through.
		# shellcheck disable=SC2046
		kill $(jobs -p) 2>/dev/null
		rm -f /tmp/model
		if loaded && ! unload 2>/dev/null; then
			note "rnull_ubd could not be unloaded at the end"
			code=1
		fi
		exit $code
	}
	[ "${1:-}" = uml ] || trap leave EXIT
fi
