#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# where: host
# kernel: release
#
# What is tested in every other guest, in User-mode Linux with the driver built in,
# on files of the host: options, locks, a full file system; and as they are the test
# files whose units need nothing but files. Units come and go by the management
# console.

. "$(dirname "$0")/lib.sh"

# What is done in UML.

# In place of modprobe: the host is asked.
guest_files() {
	local scale names
	read -r scale names <files
	export UBD_TEST_FILES=$work UBD_TEST_SCALE=$scale
	cat >/run/vm/bin/modprobe <<-END
		#!/bin/bash
		[ "\$1" != -r ] || set -- -r \$(ls /dev/ubd*)
		call=$work/calls/\$\$
		printf '%s\0' "\$@" >\$call.new
		mv \$call.new \$call.call
		until [ -e \$call.code ]; do
			sleep 0.01
		done
		cat \$call.said >&2
		read -r code <\$call.code
		rm \$call.*
		exit \$code
	END
	chmod +x /run/vm/bin/modprobe
	# Each has a model of its own.
	# shellcheck disable=SC2046
	kill $(jobs -p)
	wait
	# shellcheck disable=SC2086
	exec bash "$e2e/several.bash" $names
}

guest_options() {
	# All that the kernel has said since it was booted.
	messages() {
		dmesg --notime
	}
	is "units by number, letter and with flags are there, and no other" "$(echo /dev/ubd*)" \
		"/dev/ubda /dev/ubdaa /dev/ubdb /dev/ubdc /dev/ubde /dev/ubdf /dev/ubdg /dev/ubdq"
	is "those with r are read-only" "$(cd /sys/block && grep -l 1 ubd*/ro | xargs)" \
		"ubdaa/ro ubdb/ro ubdc/ro ubdg/ro ubdq/ro"
	check "a COW file that was made" model cmp /dev/ubda want
	check "a plain image" model cmp /dev/ubdb plain
	check "a COW file's own bytes, with d" model cmp /dev/ubdc plain.cow --pad 512
	check "its disk, without" model cmp /dev/ubdg plain.want
	is "serial number" "$(cat /sys/block/ubda/serial) $(cat /sys/block/ubde/serial)" "Serial S-2"
	is "t: no discard" "$(cat /sys/block/ubdf/queue/discard_max_bytes)" 0
	is "units with no device number of their own" \
		"$(cut -d: -f1 /sys/block/ubdq/dev /sys/block/ubdaa/dev | xargs)" "259 259"
	says "a file that is missing" ubdd "$work/missing" open
	says "a unit out of range" "1048576=$work/plain" range
	says "no unit" "ubd==$work/plain" number
	says "a letter that is no flag" "0x=$work/plain" flag "not 'x'"
	says "too many flags" "0rrrrrrrrrrrrr=$work/plain" many
	says "d and a second file" "ubd0d=$work/new:$work/back" "'d'"
	check "of which nothing was made" test ! -e new
	says "no file" ubd7= file
	says "a unit twice" "0=$work/plain" already
	says "ubd=<n>" "ubd=<n>" obsolete
	says "ubd=sync" ubde "$work/other" "flags s"
	refuse "and none before it" said ubdf "$work/third" "flags s"
	check "udb is a typo" said "udb5=$work/plain" typo
	is "fake_ide: one warning" "$(messages | grep -c '^rnull_ubd: fake_ide is obsolete')" 1
	says "a header that is not trusted: the reason" ubdh "$work/untrusted" trust_header
	plan
}

guest_wait() {
	touch up
	until [ -e let_go ]; do
		sleep 0.05
	done
}

guest_full() {
	. "$e2e/faults.bash"
	faults tries /dev/ubda state --ops 40
	wait_for test -e filled
	echo "$(faults fill /dev/ubda state --start 32768) writes until there was no space"
	faults check /dev/ubda state && faults tries /dev/ubda state --again --ops 60 &&
		faults check /dev/ubda state && faults discard /dev/ubda state --start 32768 --count 4096 || return
	echo "$(faults fill /dev/ubda state --start 98304) after some was discarded"
	touch full
	wait_for test -e freed
	faults check /dev/ubda state --flush && faults tries /dev/ubda state --ops 100 --seed more
}

guest_checked() {
	. "$e2e/faults.bash"
	faults check /dev/ubda state
}

if [ $# != 0 ]; then
	"$1_$3"
	exit
fi

# home NAME [--VM-OPTION VALUE]... UBD...: guest_NAME in UML, with this on its command
# line.
home() {
	local function=$1 options=()
	shift
	while [[ ${1:-} == --* ]]; do
		options+=("$1" "$2")
		shift 2
	done
	vm_self "$function" "${flavour:---home}" --built-in --timeout 600 "${options[@]}" --append "uml_dir=$work/ umid=uml $*"
}

# console COMMAND: what it answers. uml_mconsole takes what is between commas for one
# path, says so when it is two, and passes it on.
console() {
	uml_mconsole "$work/uml/mconsole" "$*" 2>&1 | grep -v '^Warning\|^absolutize'
}

# passed_on: the results of a guest, as one's own.
passed_on() {
	local line
	while IFS= read -r line; do
		case $line in
		"ok "*"# SKIP "*) skip "${line#* - }" "" ;;
		"ok "*) ok "${line#* - }" ;;
		"not ok "*) not_ok "${line#* - }" ;;
		1..*) ;;
		*) echo "$line" ;;
		esac
	done
}

# modprobe WORD...: what it does where the driver is a module.
modprobe() {
	local what=config each answer code=0
	shift
	[[ ${1:-} != /dev/* ]] || what=remove
	for each; do
		answer=$(console $what "${each#/dev/}")
		case $answer in
		OK* | *"size of device's file"* | *"already configured"*) ;;
		*) echo "$each: $answer"; code=1 ;;
		esac
	done
	return $code
}

# serve PID: does what is asked for, as long as there is this process.
serve() {
	local call words
	exec {never}<> <(:)
	while kill -0 "$1" 2>/dev/null; do
		for call in calls/*.call; do
			[ -e "$call" ] || continue
			mapfile -d '' -t words <"$call"
			rm "$call"
			call=${call%.call}
			modprobe "${words[@]}" >"$call.said" 2>&1
			echo $? >"$call.new"
			mv "$call.new" "$call.code"
		done
		read -r -t 0.01 -u "$never"
	done
}

model pattern back $((1 << 20)) back
model expect back want
sum back >back.sum

# Options.

model pattern plain $((1 << 20)) plain
for file in other third; do
	cp plain $file
done
model make-cow plain.cow plain --disk plain.want
cp plain.cow untrusted
home options rnull_ubd.trust_header=n "ubd0=$work/cow:$work/back,Serial" "ubdbr=$work/plain" \
	"ubd2rd=$work/plain.cow" "ubd3=$work/missing" "ubd5t=$work/third" "ubd6r=$work/plain.cow,$work/plain" \
	"ubd7=$work/untrusted" "ubd1048576=$work/plain" "ubd16rc=$work/plain" "ubdaarc=$work/plain" "ubd==$work/plain" \
	"ubd0x=$work/plain" "ubd0rrrrrrrrrrrrr=$work/plain" "ubd0d=$work/new:$work/back" ubd7= "ubd0=$work/plain" ubd=7 \
	fake_ide "udb5=$work/plain" ubd=sync "ubd4=$work/other,,S-2" >out 2>&1
code=$?
passed_on <out
is "the guest with ubd options on its command line ended well" "$code" 0
rm cow

# Locks: those of other processes of the host.

# hold FILE KIND: another process takes the lock and keeps it.
hold() {
	rm -f holder
	python3 -P -m model lock "$1" "$2" --hold >holder &
	holder=$!
	wait_for grep -q locked holder
}

# released: and is gone.
released() {
	kill $holder
	wait $holder 2>/dev/null
}

# attaches OPTION..., refuses OPTION..., detach UNIT...
attaches() {
	console config "$1" | grep ^OK
}

refuses() {
	console config "$1" | grep "^ERR.*size of device's file"
}

detach() {
	console remove "$1" >/dev/null
}

model make-cow cow back --disk want
home wait --kernel-log "$work/log" &
uml=$!
wait_for test -e up
for file in plain cow; do
	for kind in exclusive shared; do
		hold $file $kind
		check "$file: not attached under another process's $kind lock" refuses "ubd0=$work/$file"
		released
	done
	hold $file shared
	check "$file: a shared lock does not hinder a read-only unit" attaches "ubd0r=$work/$file"
	detach ubd0
	released
	hold $file exclusive
	check "$file: an exclusive one does" refuses "ubd0r=$work/$file"
	check "$file: flag c asks for no lock" attaches "ubd0c=$work/$file"
	detach ubd0
	released
	check "$file: attached when the other process is gone" attaches "ubd0=$work/$file"
	for kind in exclusive shared; do
		refuse "$file: no $kind lock for others" model lock $file $kind
	done
	detach ubd0
	check "$file: free when it is detached" model lock $file exclusive
	check "$file: attached to be read" attaches "ubd0r=$work/$file"
	check "$file: shared locks for others" model lock $file shared
	refuse "$file: and no exclusive one" model lock $file exclusive
	detach ubd0
done
hold back exclusive
check "not attached when the backing file is locked exclusively" refuses "ubd0=$work/cow"
check "no new COW file over it" refuses "ubd0=$work/new,$work/back"
released
hold back shared
check "attached when it is locked shared" attaches "ubd0=$work/cow"
released
refuse "the backing file: no exclusive lock for others" model lock back exclusive
check "the backing file: shared locks" model lock back shared
check "it is no unit that is written meanwhile" refuses "ubd1=$work/back"
check "but one that is read" attaches "ubd1r=$work/back"
touch let_go
wait $uml
is "that guest ended well" $? 0
is "the messages say why" "$(grep -c "rnull_ubd: ubd[ab]: .* cannot be locked" log)" 9
rm -f up let_go new

# A full file system of the host.

mkdir small
if mount -t tmpfs -o size=16M small small 2>/dev/null; then
	truncate -s 64M zeros
	home full "ubd0=$work/small/cow,$work/zeros" >out 2>&1 &
	uml=$!
	wait_for test -e state
	cat /dev/zero >small/filler 2>/dev/null
	truncate -s -6M small/filler
	touch filled
	wait_for eval "[ -e full ] || ! kill -0 $uml"
	rm small/filler
	touch freed
	wait $uml
	is "a full file system: what was done is there, and what can be goes on" $? 0
	note "$(cat out)"
	check "a full file system: all is there after a reboot" home checked "ubd0=$work/small/cow"
	check "a full file system: uml_moo finds a COW file" uml_moo small/cow merged
	umount small
	rm -f zeros merged
else
	skip "a full file system" "nothing can be mounted here"
fi

# Test files, as they are.

# pass SCALE NAME...: they do, in UML.
pass() {
	local uml code
	echo "$*" >files
	rm -rf calls
	mkdir calls
	home files --mem 1G >out 2>&1 &
	uml=$!
	serve $uml
	wait $uml
	code=$?
	passed_on <out
	is "the guest with the test files ended well" "$code" 0
}
# Nothing of theirs is new but what is below: of every day is what reads and writes.
chosen="10 io"
[ -z "${ALL:-}" ] || chosen="100 formats io chain hostile"
# shellcheck disable=SC2086
pass ${UBD_TEST_TESTS:-$chosen}
# As it is built for one processor.
[ -z "${ALL:-}" ] || flavour=--home-up pass 30 io formats
is "the backing file is as it was" "$(sum back)" "$(cat back.sum)"

plan
