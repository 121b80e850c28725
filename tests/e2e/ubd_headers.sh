#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# where: host
#
# The program ubd, what it does with headers: those of every version are read, and name another
# backing file when asked; damage is found, and a file in use is refused.
# kernel: release

. "$(dirname "$0")/lib.sh"

# Nothing is done to a file that is attached.
guest_attached() {
	local dir=/tmp/attached command
	mkdir $dir && mount -t tmpfs none $dir && cp -p back copy ubd $dir && cd $dir || return
	./ubd create cow back || return
	sum cow >cow.sum
	load "ubd0=$dir/cow" || return
	for command in info diff check "commit --to new" commit "rebase %s copy" "rebase --unsafe %s copy"; do
		[[ $command == *%s* ]] || command+=" %s"
		# shellcheck disable=SC2059,SC2046
		if ./ubd $(printf "$command" cow) >out 2>&1; then
			echo "ubd $command: done to a file that is attached"
			return 1
		fi
		grep -q "cow: is in use" out || { cat out; return 1; }
	done
	unload
	load "ubd0r=$dir/cow" || return
	./ubd info cow >/dev/null || { echo "no info on a file that is attached read-only"; return 1; }
	./ubd create other back || return
	! ./ubd commit other 2>out || { echo "commit into a file that is attached below"; return 1; }
	grep -q "back: is in use" out || { cat out; return 1; }
	unload
	[ "$(sum cow)" = "$(cat cow.sum)" ] && ./ubd info cow >/dev/null || return
	guest_locked && guest_device
}

# A file that is in the old chain and in the new one stays locked when the old
# one is closed: until the header is written, which a frozen file system holds up.
guest_locked() {
	local code=0
	truncate -s 16M disk && load "ubd0=$PWD/disk" && mkfs.ext4 -q /dev/ubda && mkdir mnt &&
		mount /dev/ubda mnt || return
	./ubd create middle back && ./ubd create mnt/top middle 2>/dev/null || return
	sync && fsfreeze -f mnt || return
	./ubd rebase --quiet mnt/top back &
	wait_for model lock middle exclusive >lock.log
	[ "$(model lock back exclusive)" = refused ] || { echo "not locked any more"; code=1; }
	fsfreeze -u mnt
	wait %% || code=1
	[ "$(model info mnt/top backing)" = "$PWD/back" ] || { echo "not done"; code=1; }
	tail -n 3 lock.log
	umount mnt && unload && return $code
}

# A device is known by its size: the time is its node's.
guest_device() {
	local node
	node=$(losetup --show --find back) && ./ubd create over "$node" || return
	touch -d @1000000000 "$node"
	./ubd check over || { echo "a device is refused for its node's time"; return 1; }
	losetup -d "$node"
}

if [ $# != 0 ]; then
	"$1_$3"
	exit
fi

. "$e2e/program.bash"
get_program

# hold FILE: another process locks it, until `release`.
hold() {
	exec 3< <(exec python3 -P -m model lock "$1" exclusive --hold)
	holder=$!
	read -r _ <&3
}

release() {
	kill $holder
	wait $holder 2>/dev/null
	exec 3<&-
}
size=$(((3 << 20) + 4096))
model pattern back $size back
cp -p back copy
sum back >back.sum
model make-cow cow back --disk cow.want
data=$(model info cow data_offset)

# Every version.

# Paths that take more than one sector of the header.
long=$work/$(printf '%0200d/%0200d/%0200d' 1 2 3)
mkdir -p "$long" "${long%3}4"
cp copy "$long/earlier"
touch -d @1234567 "$long/earlier"
cp copy "${long%3}4/later"
touch -d @7654321 "${long%3}4/later"
while read -r what options; do
	rm -f v merged moo
	# shellcheck disable=SC2086
	model make-cow v back $options --disk v.want
	"$ubd" commit --quiet --to merged v
	truncate -s $size v.want
	check "$what: commit --to" cmp merged v.want
	model info v >before
	check "$what: rebase" "$ubd" rebase --quiet v copy
	is "$what: only the path has changed" "$(model info v)" "$(sed "s|$work/back|$work/copy|" before)"
	finds "$what: check" 0 "no problem" -- check v
	if [[ $what == V1-* ]]; then
		sum v >v.sum
		finds "$what: no rebase to a path that has no place" 1 "limit is 255" -- rebase --quiet v "$long/earlier"
		is "$what: nothing has changed" "$(sum v)" "$(cat v.sum)"
	else
		for to in "$long/earlier" "${long%3}4/later" "$work/copy"; do
			check "$what: rebase to another path and mtime" "$ubd" rebase --quiet v "$to"
			is "$what: only those have changed" "$(model info v)" \
				"$(sed "s|$work/back|$to|; s|\"mtime\": [0-9]*|\"mtime\": $(stat -c %Y "$to")|" before)"
		done
	fi
	# It takes a V1 to be of its own machine's byte order.
	[ "$what" != V1-big ] || continue
	rm -f moo
	uml_moo -b back v moo >/dev/null
	check "$what: uml_moo makes the same" cmp moo merged
done <<'END'
V1-little --version 1 --order <
V1-big --version 1
V2 --version 2
V3-4096 --sectorsize 4096 --alignment 512
V3-64-bit --broken
END

# A chain.

"$ubd" create chained cow 2>/dev/null
check "commit --to through a chain" "$ubd" commit --quiet --to merged3 chained
check "it is the lower one's disk" cmp merged3 cow.want
finds "no commit into a COW file" 1 "--to" -- commit chained
finds "check of a chain" 0 "no problem" -- check chained
hold back
finds "where a lower file is in use, that is all that check says" 1 "back: is in use" -- check chained
finds "and info does not know" 0 "unknown: $work/back: is in use" -- info cow
release
# The work folder is for its owner only.
mkdir /tmp/nobody && cp -p ubd cow /tmp/nobody && chmod 755 /tmp/nobody/ubd
is "nor is it a finding that a file is not for this user to read" \
	"$(setpriv --reuid 65534 --regid 65534 --clear-groups /tmp/nobody/ubd check /tmp/nobody/cow 2>&1; echo $?)" \
	"ubd: $work/back: cannot be opened: Permission denied (os error 13)"$'\n'1

# check

# damage NAME WORD... -- OFFSET BYTES: a copy of the COW file with other bytes at an offset.
damage() {
	local what=$1 words=()
	shift
	while [ "$1" != -- ]; do
		words+=("$1")
		shift
	done
	cp cow damaged
	put damaged "$2" "$3"
	finds "check finds $what" 2 "${words[@]}" -- check damaged
}

finds "check of a good file" 0 "no problem" -- check cow
bitmap=$(model info cow bitmap_offset)
damage "an unknown version" "version 7" -- 7 '\7'
damage "a bad sector size" "sector size" -- 20 '\1'
damage "an alignment of 0" "alignment 0" -- 26 '\0'
damage "an unknown format" "cow_format" -- 31 '\2'
damage "another mtime" "modified" "$work/back" -- 11 '\0'
damage "another size" "bytes" "$work/back" -- 18 '\0'
damage "a backing file that is missing" "$work/bacX" -- $((32 + ${#work} + 4)) 'X'
damage "bytes between header and bitmap" "between" -- 5000 'x'
damage "bytes between bitmap and data" "between" -- $((data - 1)) 'x'
cp cow damaged
put damaged $((bitmap - 8)) 12345678
put damaged $((bitmap + $(model info cow bitmap_len))) 12345678
finds "check only notes the words that UML writes beside the bitmap" 0 "note: " "16 bytes" "no problem" -- \
	check damaged
damage "a byte before those" "1 bytes between the header and the bitmap" -- $((bitmap - 9)) 'x'
model pattern ten 5000 ten
"$ubd" create behind ten
printf '\200' | dd of=behind bs=1 seek=$((bitmap + 1)) conv=notrunc status=none
finds "check finds a bit behind the last sector" 2 "1 bits" "behind the last, 9" -- check behind
cp cow damaged
truncate -s $((data + size / 2)) damaged
finds "check finds data that is missing" 2 "should be in the file" -- check damaged
truncate -s $((bitmap + 5)) damaged
finds "check finds a bitmap that is cut off" 2 "bitmap ends at" -- check damaged
model make-cow circle back --name "$work/circle"
finds "check finds a circle" 2 "itself" -- check circle
"$ubd" check --json behind >info
is "check --json has what is found" "$? $(field info problems | grep -c '1 bits') $(field info notes)" "2 1 []"
finds "check of no COW file is an error" 1 "no COW file" -- check back
finds "check of no file is an error" 1 missing -- check missing

# rebase

sum cow >cow.sum
cp -p back differs
byte=$("$ubd" diff cow | awk '$1 > at + 0 { print at + 0; exit } { at = $1 + $2 }')
printf 'differs' | dd of=differs bs=1 seek="$byte" conv=notrunc status=none
touch -r back differs
finds "rebase to a file that differs where it shows" 1 "differ at byte $byte" -- rebase cow differs
finds "rebase to a file of another size" 1 "bytes" -- rebase cow ubd
finds "even with --unsafe" 1 "bytes" -- rebase --unsafe cow ubd
finds "rebase to itself" 1 "itself" -- rebase --unsafe cow cow
is "the COW file is as it was" "$(sum cow)" "$(cat cow.sum)"
cp -p back hidden
at=$("$ubd" diff cow | awk 'NR == 1 { print $1 }')
printf 'hidden' | dd of=hidden bs=1 seek="$at" conv=notrunc status=none
touch -d @1234567 hidden
check "rebase to one that differs only under the COW file" "$ubd" rebase --quiet cow hidden
check "the disk is the same" model cmp-cow cow cow.want --backing "$work/hidden"
is "the header has its mtime" "$(model info cow mtime)" 1234567
check "rebase --unsafe takes one that differs" "$ubd" rebase --unsafe cow differs
is "and names it" "$(model info cow backing)" "$work/differs"
finds "back again, safe mode sees the difference" 1 "differ" -- rebase cow back
rm differs
finds "and a backing file that is gone" 1 differs -- rebase cow back
check "which --unsafe does not look at" "$ubd" rebase --unsafe cow back
check "and all is as before" model cmp-cow cow cow.want --backing "$work/back"

# What a crash can leave in between names no file.

model make-cow between back --name / --disk between.want
truncate -s $size between.want
finds "info of a file whose backing file was not changed to the end" 0 "unusable" "not finished" -- info between
finds "check finds it" 2 "not finished" -- check between
finds "rebase has nothing to compare with" 1 "not finished" "rebase --unsafe" -- rebase between back
check "rebase --unsafe" "$ubd" rebase --unsafe between back
check "makes it whole" model cmp-cow between between.want --backing "$work/back"

# A relative path starts from the folder of the COW file.

mkdir sub
model make-cow sub/relative back --name ../back --disk relative.want
truncate -s $size relative.want
check "a relative path" "$ubd" commit --quiet --to merged4 sub/relative
check "is taken from the COW file's folder" cmp merged4 relative.want

# Files in use.

check "a file that is attached is refused, one that is twice in a chain locked, a device known" vm_self attached
hold cow
finds "a file that a process has locked is refused" 1 "in use" -- info cow
release
finds "and taken when it is gone" 0 V3 -- info cow
is "the backing file is as it was" "$(sum back)" "$(cat back.sum)"

plan
