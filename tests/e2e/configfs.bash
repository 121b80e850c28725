# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Units by their folders in configfs, and files for them: plain, back, and what
# they and the COW file cow must be. To be sourced after lib.sh.

mountpoint -q /sys/kernel/config || mount -t configfs config /sys/kernel/config
config=/sys/kernel/config/ubd

# set_up UNIT SETTING=VALUE...: make the unit's folder, if it has none, and
# write its settings, without a newline behind them.
set_up() {
	local folder=$config/$1 setting value
	shift
	[ -d "$folder" ] || mkdir "$folder" || return
	for setting; do
		value=${setting#*=}
		# Of nothing there is no write.
		printf %s "${value:-$'\n'}" >"$folder/${setting%%=*}" || return
	done
}

# power UNIT [0|1]: write it, or read it.
power() {
	if [ $# = 1 ]; then
		read -r REPLY <"$config/$1/power" && echo "$REPLY"
	else
		echo "$2" >"$config/$1/power"
	fi
}

# attach UNIT SETTING=VALUE...: with a folder of its own.
attach() {
	set_up "$@" && power "$1" 1
}

# told NAME UNIT WORD...: the message that the unit's folder keeps has all the
# words; with none, it keeps none.
told() {
	local what=$1 word text wrong=
	read -r text <"$config/$2/last_error"
	shift 2
	[[ $# != 0 || -z $text ]] || wrong=none
	for word; do
		[[ $text == *"$word"* ]] || wrong+=" $word"
	done
	is "$what: last_error" "$wrong${wrong:+ in: $text}" ""
}

# settings UNIT: all of them, in one line.
settings() {
	local name value all=
	for name in file backing_file serial flags direct_io power; do
		IFS= read -r value <"$config/$1/$name"
		all+=" $value"
	done
	echo "${all:1}"
}

# fails NAME ERROR COMMAND...: the command fails, and says that it is this error.
fails() {
	local what=$1 error=$2 output
	shift 2
	if output=$(LC_ALL=C "$@" 2>&1) || [[ $output != *": $error" ]]; then
		not_ok "$what" "$output"$'\n'"$(messages)"
		false
	else
		ok "$what"
	fi
}
# shellcheck disable=SC2034
busy="Device or resource busy"
# shellcheck disable=SC2034
invalid="Invalid argument"

# node NAME UNIT: the unit's disk is there.
node() {
	check "$1" test -b "$(disk "$2")" -a -d /sys/block/"$(basename "$(disk "$2")")"
}

# gone NAME UNIT: nothing of it is there.
gone() {
	check "$1" test ! -e "$(disk "$2")" -a ! -e /sys/block/"$(basename "$(disk "$2")")" \
		-a ! -e "/sys/devices/platform/uml-blkdev.$2"
}

# at_once FILE JOB...: what these do with unit 0 at the same time leaves a unit that can be
# attached: with the disk that it had, or if it has no files any more, by FILE.
at_once() {
	local other=$1 job file pids=()
	shift
	for job; do
		$job >/dev/null 2>&1 &
		pids+=($!)
	done
	wait "${pids[@]}"
	[ -d $config/0 ] || mkdir $config/0
	wait_for grep -qx -e attached -e detached $config/0/state
	if [ "$(power 0)" = 1 ]; then
		dd if=/dev/ubda of=at_once.want bs=1M iflag=direct status=none
		file=$(cat $config/0/file)
		check "at once: it is detached" wait_for power 0 0
		check "at once: it is attached by its settings" power 0 1
		is "at once: with the same file" "$(cat $config/0/file)" "$file"
		check "at once: and is the same disk" model cmp /dev/ubda at_once.want --direct
	else
		note "at once: it is detached at the end"
		[ -n "$(cat $config/0/file)" ] || set_up 0 file="$other" backing_file="$work/back"
		check "at once: it can be attached" power 0 1
	fi
}

model pattern plain $((1 << 20)) plain
model pattern back $(((2 << 20) + 100)) back
cp plain plain.want
model expect back back.want
cp back.want cow.want
sum back >back.sum
