#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# where: host
# kernel: release
#
# At home: the driver built into User-mode Linux, in the C driver's place, with
# files of the host. Files go back and forth between the two and uml_moo, and each
# keeps the other off what it has; UML goes on while a file stands still; and one
# that is killed loses nothing that it had flushed.

. "$(dirname "$0")/lib.sh"

# What is done in UML.

writes() {
	model exercise /dev/ubda want --seed "$1" --ops 150 --writes 70 --procs 2 --depth 16 --max 65536
}

guest_write() {
	grep -q '^ *98 ubd$' /proc/devices && writes "$(cat round)" && model cmp /dev/ubda want --direct
}

# The C driver's larger reads are wrong.
guest_c() {
	model cmp /dev/ubda want --direct --bs 4096 &&
		model exercise /dev/ubda want --seed c --ops 100 --writes 100 --procs 1 --depth 4 --max 65536 &&
		model cmp /dev/ubda want --direct --bs 4096
}

guest_read() {
	model cmp /dev/ubda want --direct && model cmp /dev/ubda want --direct --bs 1048576
}

guest_hold() {
	[ -b /dev/ubda ] && touch held
	until [ -e let_go ]; do
		sleep 0.05
	done
}

guest_none() {
	[ ! -b /dev/ubda ] && dmesg
}

guest_units() {
	dmesg
	ls /dev/ubd?
}

# Reads that wait for a disk, all of them at a time, and meanwhile one of another
# unit, and programs.
guest_stall() {
	local i pids=()
	touch stall
	for i in {0..7}; do
		dd if=/dev/ubda of=/dev/null bs=64k count=1 skip=$((64 + 8 * i)) iflag=direct status=none &
		pids+=($!)
	done
	until [ "$(wc -c <stall.met)" = 8 ]; do
		sleep 0.05
	done
	dd if=/dev/ubdb of=/dev/null bs=64k count=1 iflag=direct status=none && kill -0 "${pids[@]}" && rm stall &&
		wait "${pids[@]}"
}

guest_sync() {
	rm -f synced
	dd if=/dev/zero of=/dev/ubda bs=64k count=1 conv=fsync,notrunc status=none && cat synced
}

guest_space() {
	blkdiscard -o 0 -l 8M /dev/ubda && blkdiscard -z -o 8M -l 1M /dev/ubda
}

guest_console() {
	touch up
	until [ -e open ]; do
		sleep 0.05
	done
	exec 3</dev/ubdb
	touch opened
	until [ -e close ]; do
		sleep 0.05
	done
	exec 3<&-
	touch closed
	until [ -e let_go ]; do
		sleep 0.05
	done
}

if [ $# != 0 ]; then
	"$1_$3"
	exit
fi

# home NAME OPTION...: guest_NAME in UML with this driver, and these options on its
# command line; c NAME OPTION... with the C driver.
home() {
	local function=$1
	shift
	vm_self "$function" "${flavour:---home}" --built-in --timeout 120 --append "$*"
}

c() {
	local function=$1
	shift
	vm_self "$function" --home --timeout 120 --append "$*"
}

# preloaded COMMAND...: with uml_host.c in UML.
preloaded() {
	LD_PRELOAD=$work/preload.so SYNCED=$work/synced STALL=$work/stall "$@"
}

# merges WHAT: uml_moo makes of the COW file what it must hold.
merges() {
	check "uml_moo merges $1" uml_moo cow merged
	check "into what was written" cmp merged want
}

# uncached FILE: the host has to fetch it from its disk.
uncached() {
	dd of="$1" oflag=nocache conv=notrunc,fdatasync count=0 status=none
}

back=$work/back cow=$work/cow
kernel=$("$top/scripts/kernel" --home --built-in)/linux
gcc -shared -fPIC -O2 -Wall -o preload.so "$e2e/uml_host.c"

# Files.

model pattern back $((20 << 20)) back
model expect back want
sum back >back.sum
echo first >round
check "a COW file is made and written" home write ubd0="$cow,$back"
merges "this driver's file"
check "the C driver reads it, and writes on" c c ubd0="$cow"
check "what that wrote is read, in blocks of any size" home read ubd0="$cow:$back"
echo second >round
check "on one processor, and traced, it is written on" home write ubd0="$cow" ncpus=1 seccomp=off
[ -z "${ALL:-}" ] || flavour=--home-up check "by a kernel for one processor, too" home write ubd0="$cow"
merges "the file of both"
mv want want.cow
model pattern plain $((8 << 20)) plain
cp plain want
uncached plain
check "a plain file that the host has to fetch is read, and written" home write ubd0="$work/plain"
check "as what it is" cmp plain want
mv want.cow want

# What waits, and what is synced.

uncached plain
: >stall.met
check "while a file stands still UML goes on" preloaded home stall ubd0="$work/plain" ubd1="$back"
rm -f stall
check "a flush of a COW file" preloaded home sync ubd0="$cow" ubd1="$back"
is "is one of that, and of no other" "$(sort -u synced)" "$cow"
cp --sparse=always cow spaced
before=$(stat -c %b spaced)
check "what is discarded" home space ubd0="$work/spaced"
check "takes no space any more" test "$(stat -c %b spaced)" -lt "$before"
uml_moo spaced merged
is "what is zeroed reads as zeros" "$(head -c 9M merged | tail -c 1M | tr -d '\0' | wc -c)" 0
check "nothing else has changed" cmp -i 9M merged want

# Locks: who has a file keeps others off it.

# kept_off HOLDER OTHER WORD...: a unit of the one's keeps the other's off the file.
kept_off() {
	local holder=$1 other=$2 holding
	shift 2
	rm -f held let_go
	$holder hold ubd0="$cow" &
	holding=$!
	wait_for test -e held
	if $other none ubd0="$cow" >said; then
		grep -q "$*" said
	else
		false
	fi
	local code=$?
	touch let_go
	wait $holding && return $code
}
check "the C driver keeps this one off" kept_off c home "cannot be locked, another process or unit has it"
check "and this one that" kept_off home c "Failed to lock '$cow'"
home units ubd0="$cow" ubd1="$cow" ubd2r="$back" ubd3r="$back" fake_ide udb4=x ubd=sync >attached
check "a second unit is kept off as well, readers are not" \
	grep -qx '/dev/ubda /dev/ubdc /dev/ubdd' <(grep /dev/ubda$ -A9 attached | xargs)
check "fake_ide is obsolete" grep -q "fake_ide is obsolete" attached
check "udb is a typo" grep -q "udb4=x: almost certainly a typo, ubd was meant" attached

# The console: both drivers answer the same.

# console DRIVER: what they answer.
console() {
	local folder uml command answer state=close
	folder=$(mktemp -d)
	rm -f up open opened close closed let_go
	$1 console ubd0r="$back" uml_dir="$folder/" umid=console &
	uml=$!
	wait_for test -e up
	while read -r command; do
		case $command in
		open | close)
			touch "$command"
			state=$command
			wait_for test -e "${command%e}ed"
			;;
		*)
			# What it says before it finds the console is not the console's; and who
			# looked for partitions in the C driver's disk may still have it open.
			while answer=$(uml_mconsole "$folder/console/mconsole" "$command" 2>&1 | grep -v ^Warning) &&
				[ "$state $answer" = "close ERR Device is currently open" ]; do
				sleep 0.05
			done
			echo "$command: $answer"
			;;
		esac
	done <<-END
		config ubd1=$work/plain
		config ubd1
		config ubdb
		config ubd1=$work/plain
		open
		remove ubd1
		close
		remove ubd1
		remove ubd1
		config ubd1
		config ubd1=$cow,$back
		config ubd1
		remove ubdb
		config ubd1
		config ubd
		config ubd1=$work/none
		config ubd2x=$work/plain
		config ubd2rrrrrrr=$work/plain
		config ubd2d=$cow,$back
		config ubd-=$work/plain
		remove ubd
		remove ubd3
	END
	touch let_go
	wait $uml
	rm -rf "$folder"
}
console c >answers.c
console home >answers
check "the management console has the C driver's answers" diff answers.c answers
note "$(grep -c ': OK' answers) of $(wc -l <answers) commands were carried out"

# A root.

# boots NAME OPTION...: UML with its root on a ubd, whose init says so.
boots() {
	timeout 60 "$kernel" mem=64M con=null con0=null,fd:1 init=/init panic=-1 "$@" </dev/null >root.log 2>&1
	grep -q "init is there" root.log || { tail -n 20 root.log; false; }
}
mkdir -p root/dev root/bin
cp "$(command -v busybox)" root/bin
printf '#!/bin/busybox sh\nbusybox mount -t devtmpfs dev /dev\necho "init is there" >/dev/kmsg\nbusybox poweroff -f\n' >root/init
chmod +x root/init
truncate -s 8M root_fs
mkfs.ext4 -q -d root root_fs
check "root_fs is the disk that is there without an option, and the root" boots
truncate -s 10M disk
echo 'start=2048, type=83' | sfdisk -q disk
dd if=root_fs of=disk bs=1M seek=1 conv=notrunc,sparse status=none
check "a partition is the root" boots ubd0=top:disk root=/dev/ubda1
check "help tells of the option" grep -q '^ubd<unit><flags>=<file>' <("$kernel" --help)
check "the unit tests are run" boots kunit.enable=1 kunit.autorun=1 kunit.filter_glob='rnull_ubd*'
suites=$(tr -d '\r' <root.log | sed -n 's/^1\.\.\([1-9][0-9]*\)$/\1/p')
is "and all suites pass" "$(grep -c '^ok [0-9]* rnull_ubd' root.log)" "${suites:-none}"
is "the backing file is as it was" "$(sum back)" "$(cat back.sum)"

plan
