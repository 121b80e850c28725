#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Files with wrong, damaged and malicious COW headers: each gets an error
# message that says what is wrong, and nothing else. Nothing is written to any
# of them, and other units are none the worse for it.
# previous: yes
# smp: 1
# daily: debug

. "$(dirname "$0")/lib.sh"

HOSTILE_SEED=${UBD_TEST_SEED:-$RANDOM$RANDOM}
export HOSTILE_SEED
note "seed of the random damage: $HOSTILE_SEED (UBD_TEST_SEED repeats it)"

# hostile KIND...: a test for each file.
hostile() {
	local line lines=0
	while IFS= read -r line; do
		case $line in
		"# "*) note "${line#\# }" ;;
		"ok "*) ok "${line#ok }" ;;
		"not ok "*) not_ok "${line#not ok }" ;;
		*) not_ok "hostile.py $*" "$line" ;;
		esac
		lines=$((lines + 1))
	done < <(python3 "$e2e/hostile.py" "$@" 2>&1)
	[ $lines != 0 ] || not_ok "hostile.py $*"
}

# The backing file that most of them name.
model pattern gold $((1 << 20)) gold
touch -d "@$((0x4d3b2a19))" gold
model pattern other 65536 other

hostile wrong
hostile random "$(scaled 8)"

# The corpus of the fuzzers: real headers, good and bad. Their backing file is
# /tmp/gold.img, and nothing follows them.
cp -p gold /tmp/gold.img
hostile corpus "$top/tests/host/fuzz/corpus/header"

# With bitmap and data the good ones are attached.
cp -r "$top/tests/host/fuzz/corpus/header" corpus
chmod -R u+w corpus
params=()
for name in v1-big v1-little v1-short-of-room v2 v2-sector-4096 v3 v3-alignment-1536 v3-broken v3-sector-4096; do
	truncate -s 3M "corpus/$name"
	params+=("ubd${#params[@]}=$work/corpus/$name:$work/gold")
done
cp -p gold short-gold
truncate -s $((1857 * 512)) short-gold
touch -r gold short-gold
params[2]=ubd2=$work/corpus/v1-short-of-room:$work/short-gold
load "${params[@]}"
for i in "${!params[@]}"; do
	want=gold
	[ "$i" != 2 ] || want=short-gold
	name=${params[i]%:*}
	check "${name##*/}: attached when the rest of it is there" model cmp "$(disk "$i")" $want
done
unload

# Two files that are each other's backing file, by the sizes of their disks.
model make-cow a gold --name "$work/b" --mtime 1000
model make-cow b gold --name "$work/a" --mtime 1000
touch -d @1000 a b
sha256sum a b >sums
for flags in "" r c; do
	mark
	load "ubd0$flags=$work/a"
	check "a cycle of two is refused (flags '$flags')" test ! -e /dev/ubda
	says "the message says why (flags '$flags')" ubda itself
	unload
done
check "no file has changed" sha256sum --quiet -c sums

# Who does not trust headers names the backing file. It is a parameter of the module.

untrusted() {
	model make-cow cow gold --disk cow.want
	model make-cow upper cow.want --name "$work/cow" --mtime "$(stat -c %Y cow)" --size $((1 << 20))
	cp -p gold copy
	model pattern wrong $((1 << 20)) wrong
	sha256sum cow upper gold >sums
	mark
	load trust_header=n "ubd0=$work/cow" "ubd1=$work/cow:$work/wrong" "ubd2=$work/upper:$work/cow" \
		"ubd3=$work/new:$work/cow" "ubd4=$work/other"
	check "trust_header=n: a backing file that only the header names is not used" test ! -e /dev/ubda
	says "the message has its name and the reason" ubda "$work/cow" "$work/gold" trust_header
	check "trust_header=n: nor is it when the given one does not match" test ! -e /dev/ubdb
	says "the message says that it does not" ubdb "$work/wrong" "$work/cow" modified
	check "trust_header=n: nor one that a lower header names" test ! -e /dev/ubdc -a ! -e /dev/ubdd
	says "the message names the lower file" ubdc "$work/cow" "$work/gold" trust_header
	check "trust_header=n: no COW file is made over a header that is not trusted" test ! -e new
	check "trust_header=n: plain images are" test -b /dev/ubde
	unload
	check "trust_header=n: no file has changed" sha256sum --quiet -c sums
	load trust_header=n "ubd0=$work/cow:$work/gold" "ubd1=$work/new:$work/gold"
	check "trust_header=n: a given backing file is used" model cmp /dev/ubda cow.want
	check "trust_header=n: for a new COW file, too" model cmp /dev/ubdb gold
	unload
	check "trust_header=n: the header is as it was" sha256sum --quiet -c sums
	load trust_header=n "ubd0=$work/cow:$work/copy"
	check "trust_header=n: another that matches is used" model cmp /dev/ubda cow.want
	unload
	is "trust_header=n: and the header names it" "$(model info cow backing)" "$work/copy"
	refuse "trust_header takes y or n only" load trust_header=perhaps
	! loaded || unload
}
[ -n "${UBD_TEST_FILES:-}" ] || untrusted

# A pipe, where to open it is to wait, and a device, where to open it is to act.

mkfifo pipe
model make-cow fifo gold --name "$work/pipe"
sum fifo >fifo.sum
mark
check "a pipe as a backing file: nothing waits for it" timeout -s KILL 600 modprobe rnull_ubd "ubd0=$work/fifo"
check "a pipe as a backing file is refused" test ! -e /dev/ubda
says "the message names it" ubda "$work/pipe"
! loaded || unload
is "the COW file is as it was" "$(sum fifo)" "$(cat fifo.sum)"

plan
