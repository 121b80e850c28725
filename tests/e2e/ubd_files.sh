#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# where: host
#
# The program ubd, what it does with files: its results are uml_moo's and the model's, what it makes
# is good for the driver and for UML, damage is found, a file in use is refused,
# and nothing that it prints is lost.
# kernel: release

. "$(dirname "$0")/lib.sh"
. "$e2e/uml.bash"

# Run in a guest.

# The driver takes what `create` made.
guest_write() {
	load "ubd0r=$work/upper" || return
	model cmp /dev/ubda cow.want --direct || return
	unload
	load "ubd0=$work/cow" "ubd2=$work/large:$work/back" || return
	model cmp /dev/ubda cow.want --direct || return
	model exercise /dev/ubda cow.want --ops 300 --procs 2 --depth 16 --max 65536 || return
	[ "$(blockdev --getss /dev/ubdc)" = 4096 ] || { echo "no sectors of 4096 bytes"; return 1; }
	unload
}

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

# Run in UML.

uml_write() {
	model cmp /dev/ubda made.want --direct --bs 4096 || return
	model exercise /dev/ubda made.want --procs 1 --depth 4 --max 65536 --ops 60 --writes 100
}

if [ $# != 0 ]; then
	"$1_$3"
	exit
fi

. "$e2e/program.bash"
get_program

# put FILE OFFSET BYTES
put() {
	# shellcheck disable=SC2059
	printf "$3" | dd of="$1" bs=1 seek=$(($2)) conv=notrunc status=none
}

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

# create

size=$(((3 << 20) + 4096))
model pattern back $size back
cp -p back copy
sum back >back.sum
check "create" "$ubd" create cow back
model expect back cow.want
check "what is made is as the driver makes it" model cmp-cow cow cow.want --new --sparse --backing "$work/back"
finds "a file that exists is not made again" 1 cow -- create cow back
finds "create over a file that is missing" 1 missing -- create new missing
finds "create with a sector size that can't be" 1 "sector size 1000" 512 -- create --sector-size 1000 new back
finds "create with an alignment that can't be" 1 "alignment 0" 512 -- create --alignment 0 new back
finds "create --allocate shows how far it is" 0 "allocate: 100 %" -- create --allocate allocated back
check "with a place for every sector" test $(($(stat -c %b allocated) * 512)) -ge $size
model expect back allocated.want
check "it is as one without" model cmp-cow allocated allocated.want --new --backing "$work/back"
check "create --allocate --diff" "$ubd" create --quiet --allocate --diff allocated2 back allocated
check "has the difference only, and all places" test "$("$ubd" --json info allocated2 |
	python3 -c 'import json, sys; print(json.load(sys.stdin)["sectors_in_cow"])')" = 0 -a \
	$(($(stat -c %b allocated2) * 512)) -ge $size
rm allocated allocated2 allocated.want
mkdir small
mount -t tmpfs -o size=1M small small
finds "create --allocate where there is no space" 1 "No space left" -- create --quiet --allocate small/new back
is "and no file" "$(ls small)" ""
umount small
is "nothing is left of those" "$(ls new* 2>&1)" "ls: cannot access 'new*': No such file or directory"
check "create with other sizes" "$ubd" create --sector-size 4096 --alignment 512 large back
is "they are in the header" "$(model info large sectorsize) $(model info large alignment)" "4096 512"
finds "create over a COW file: says that UML can't use it" 0 UML -- create upper cow
is "the size is the lower one's disk's" "$(model info upper size)" $size
cp cow.want cow.want.0

# The driver and UML take it.

check "the driver attaches, reads and writes what is made" vm_self write
"$ubd" create made back
cp cow.want.0 made.want
check "so does UML" uml write "ubd0=$work/made"

# info and diff

for file in cow made; do
	# shellcheck disable=SC2094
	"$ubd" info --json "$file" >info
	model info "$file" >want
	for pair in backing_file:backing mtime:mtime size:size sector_size:sectorsize alignment:alignment \
		bitmap_offset:bitmap_offset bitmap_length:bitmap_len data_offset:data_offset sectors_in_cow:set; do
		[ "$(field info ${pair%:*})" = "$(field want ${pair#*:})" ] ||
			not_ok "info of $file: ${pair%:*}" "$(cat info want)"
	done
	is "info of $file says what the model says" \
		"$(field info version) $(field info backing_state) $(field info cow_format)" "V3 matches 0"
	is "and which share of the sectors is in it" "$(field info share_in_cow)" \
		"$(python3 -c "print(float('%.6f' % ($(field want set) / $(field info sectors))))")"
	set_bytes=$(($(field want set) * 512))
	is "diff of $file has as many bytes" "$("$ubd" diff $file | awk '{ n += $2 } END { print n + 0 }')" $set_bytes
	is "so has diff --json" "$("$ubd" diff --json $file |
		python3 -c 'import json, sys; print(sum(r["length"] for r in json.load(sys.stdin)))')" $set_bytes
done
finds "info for people" 0 "V3" "$work/back" "matches" "$size bytes" "0 (bitmap)" "%" -- info cow
finds "info of no COW file" 1 "no COW file" -- info back
finds "info of no file" 1 missing -- info missing
finds "info of a folder" 1 "neither a regular file" -- info .

# commit, beside uml_moo

silent() {
	"$ubd" commit "$@" 2>/dev/full
}

for file in cow made; do
	rm -f merged moo
	check "commit --to: $file" "$ubd" commit --to merged $file
	check "it is what was written" cmp merged $file.want
	uml_moo -b back $file moo >/dev/null
	check "and what uml_moo makes of it" cmp merged moo
done
finds "commit --to shows how far it is" 0 "100 %" -- commit --to merged2 cow
finds "commit --to a file that exists" 1 merged -- commit --to merged cow
check "it needs no one to tell" silent --to merged5 cow
check "and is the same" cmp merged5 cow.want
# It waits for someone to read how far it is, and ends there.
mkfifo full
exec 6<>full
dd if=/dev/zero of=full bs=4096 oflag=nonblock 2>/dev/null
"$ubd" commit --to interrupted cow 2>&6 &
begun() {
	[ -n "$(find . -name 'interrupted*' -size +0)" ] || ! kill -0 $!
}
wait_for begun
kill -9 $!
wait $! 2>/dev/null
exec 6>&-
is "commit --to that is interrupted leaves no file of that name" "$(ls interrupted*)" interrupted.partial
finds "the next one finds what it left" 1 "interrupted.partial: exists" -- commit --to interrupted cow
rm -f interrupted*
check "and goes on without it" "$ubd" commit --quiet --to interrupted cow
is "to the end" "$(cmp interrupted cow.want; ls interrupted*)" interrupted
for by in ubd uml_moo; do
	cp -p back back-$by
	cp cow cow-$by
	"$ubd" rebase --quiet cow-$by back-$by
done
check "commit into the backing file" "$ubd" commit --quiet cow-ubd
uml_moo -d cow-uml_moo >/dev/null
check "makes it what uml_moo -d makes it" cmp back-ubd back-uml_moo
check "and that is the disk" cmp back-ubd cow.want
finds "the COW file can still be used" 0 "no problem" -- check cow-ubd
check "and is the same disk" model cmp-cow cow-ubd cow.want --backing "$work/back-ubd"
is "the other backing file is as it was" "$(sum back)" "$(cat back.sum)"
cp cow-ubd again
touch back-ubd
"$ubd" rebase --unsafe again back-ubd
"$ubd" create another back-ubd
check "commit within the second in which the backing file was made" "$ubd" commit --quiet again
finds "other COW files over it see that" 2 "modified" -- check another
finds "and this one can be used" 0 "no problem" -- check again
data=$(model info cow data_offset)
cp cow cut
cp -p back back-cut
"$ubd" rebase --quiet cut back-cut
truncate -s $((data + size / 2)) cut
finds "no commit of a file that was cut short" 1 "should be in the file" -- commit cut
is "its backing file keeps what was there" "$(sum back-cut)" "$(cat back.sum)"
finds "commit --to says what it lacks" 0 "should be in the file" zeros -- commit --to merged6 cut

# create --diff: the model makes a COW file and the disk that it is, and of that
# disk the program makes the same COW file, to the byte.

while read -r what options; do
	rm -f want got
	# shellcheck disable=SC2086
	model make-cow want back $options --disk shown
	truncate -s $size shown
	# shellcheck disable=SC2046
	"$ubd" create --diff --quiet $(sed 's/--shape [^ ]*//; s/sectorsize/sector-size/' <<<"$options") got back shown
	is "create --diff: $what: exit code" $? 0
	check "create --diff: $what" cmp got want
done <<'END'
random
nothing --shape none
all --shape all
every-other --shape 1
runs --shape 40
large-sectors --sectorsize 4096 --alignment 512
END
model pattern odd $((size + 100)) odd
cp odd shown
put shown $((size + 99)) x
finds "create --diff: a part of a sector" 0 '"sectors_in_cow": 1' -- create --diff --quiet --json oddcow odd shown
model expect shown shown.want
check "create --diff: a part of a sector: the disk" model cmp-cow oddcow shown.want --backing "$work/odd"
finds "create --diff with a COW file, shows how far it is" 0 "100 %" -- create --diff new back cow
check "and the disk is the same" model cmp-cow new cow.want --backing "$work/back"
finds "create --diff over a COW file" 0 UML "100 %" -- create --diff new2 cow back
check "and the disk is the other one" "$ubd" commit --quiet --to merged8 new2
check "to the byte" cmp merged8 back
finds "create --diff with another size" 1 "odd: has $((size + 100)) bytes, but the backing file has $size" -- \
	create --diff new3 back odd
finds "create --diff without a file" 1 "required" -- create --diff new3 back
finds "a third file without --diff" 1 "--diff" -- create new3 back cow
finds "create --diff of a file that exists" 1 "new: exists" -- create --diff new back cow
is "nothing is left of those" "$(ls new*)" new$'\n'new2
rm -f interrupted
exec 6<>full
dd if=/dev/zero of=full bs=4096 oflag=nonblock 2>/dev/null
"$ubd" create --diff interrupted back cow 2>&6 &
wait_for begun
kill -9 $!
wait $! 2>/dev/null
exec 6>&-
is "create --diff that is interrupted leaves no file of that name" "$(ls interrupted*)" interrupted.partial
finds "which is no COW file" 1 "no COW file" -- info interrupted.partial
finds "the next one finds what it left" 1 "interrupted.partial: exists" -- create --diff interrupted back cow
rm -f interrupted* new new2

# A backing file of the right length is raw, whatever it begins with.

cp -p back magic
"$ubd" create over magic
printf 'OOOM\0\0\0\11' | dd of=magic conv=notrunc status=none
touch -r back magic
cp -p magic magic2
finds "check over a file that begins as a bad COW file" 0 "no problem" -- check over
check "rebase to another one" "$ubd" rebase --quiet over magic2
check "commit of what is over it" "$ubd" commit --quiet --to merged7 over
check "it is its raw bytes" cmp merged7 magic

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
finds "check of one that UML wrote" 0 "no problem" -- check made
bitmap=$(model info cow bitmap_offset)
damage "an unknown version" "version 7" -- 7 '\7'
damage "a bad sector size" "sector size" -- 20 '\1'
damage "an alignment of 0" "alignment 0" -- 26 '\0'
damage "an unknown format" "cow_format" -- 31 '\1'
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

# Nothing is lost.

mkfifo pipe
exec 4<>pipe
exec 5>pipe
exec 4<&-
for command in --help "info cow" "info --json cow" "check cow" "diff cow" "diff --json cow"; do
	code=0
	# shellcheck disable=SC2086
	"$ubd" $command >/dev/full 2>err || code=$?
	is "$command: says when the disk is full" "$code $(cat err)" \
		"1 ubd: standard output: No space left on device (os error 28)"
	code=0
	# shellcheck disable=SC2086
	"$ubd" $command >&5 2>err || code=$?
	is "$command: ends in silence when nobody reads" "$code $(cat err)" "0 "
done
code=0
"$ubd" check behind >&5 || code=$?
is "but check tells what it has found" $code 2
exec 5>&-

# Names that move the cursor, or turn the text around.

evil=$'x\e[2J\e]0;y\a\u202ez'
cp cow "$evil"
model make-cow gone back --name "$work/$evil.gone"
model make-cow other back --name "$work/$evil"
while IFS='|' read -r -a words; do
	"$ubd" "${words[@]//EVIL/$evil}"
done >said 2>&1 <<'END'
info|gone
info|--json|gone
check|gone
commit|gone
rebase|gone|copy
info|other
check|other
commit|--to|new|other
rebase|--quiet|other|copy
info|EVIL
info|EVIL.gone
check|EVIL
diff|EVIL.gone
create|EVIL|back
create|new|EVIL.gone
create|new|EVIL
commit|--to|EVIL|cow
commit|--to|EVIL/new|cow
rebase|--quiet|cow|EVIL.gone
rebase|--quiet|EVIL|EVIL
EVIL
info|--|-EVIL
END
is "no path is printed as it is" "$(LC_ALL=C grep -ac $'[\e\a]\|\xe2\x80\xae' said)" 0 || note "$(cat -v said)"
is "they are all there" "$(grep -c '\\u{1b}\[2J.*\\u{202e}z' said)" 23 || note "$(cat -v said)"

# The command line.

finds "no command" 1 "no command" "Usage:" --
finds "an unknown command" 1 "ubd: unrecognized subcommand 'frobnicate'" "Usage:" -- frobnicate
finds "an unknown option" 1 "ubd: unexpected argument '--frob'" "Usage:" -- info --frob cow
finds "a file too many" 1 "unexpected argument 'cow'" -- info cow cow
finds "no number" 1 "invalid value 'many'" -- create --alignment many new back
finds "--help" 0 "Usage:" "Exit status:" -- --help
finds "--version" 0 "ubd $(sed -n 's/^version = "\(.*\)"/\1/p' "$top/tools/ubd/Cargo.toml")" -- --version
for command in attach list show detach reset rescan snapshot create info check commit convert rebase diff; do
	finds "$command -h shows how" 0 "Usage: ubd $command" "Examples:" "  ubd $command " -- $command -h
done
check "the manual page is what the program says" diff "$top/Documentation/ubd.8" <("$ubd" generate manual)
is "and there is nothing to say against it" "$(man --warnings -l -Tutf8 "$top/Documentation/ubd.8" 2>&1 >/dev/null)" ""
"$ubd" generate bash >completion
# shellcheck disable=SC2016
is "completions for bash" "$(bash -c '. ./completion
	COMP_WORDS=(ubd commit --) COMP_CWORD=2
	_ubd ubd -- commit; echo "${COMPREPLY[@]}"')" "--to --quiet --json --help"
for shell in zsh fish; do
	check "completions for $shell" grep -q detach <("$ubd" generate $shell)
done
is "the backing file is as it was" "$(sum back)" "$(cat back.sum)"

plan
