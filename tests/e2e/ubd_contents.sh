#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# where: host
#
# The program ubd, what it does with the contents of files: its results are uml_moo's and the
# model's, and what it makes is good for the driver and for UML.
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
finds "which does it no harm" 0 "no problem" -- check made

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

# diff between the files of a chain: of all versions and sector sizes

# patched FILE OTHER RANGES: FILE is OTHER, but for the ranges.
patched() {
	python3 - "$@" <<-'END'
		import sys
		a, b = (bytearray(open(name, "rb").read()) for name in sys.argv[1:3])
		for line in open(sys.argv[3]):
		    at, length = map(int, line.split()[:2])
		    b[at:at + length] = a[at:at + length]
		sys.exit(a != b)
	END
}

cp back l0
cp back l0.disk
chain=("$work/l0")
while read -r options; do
	n=${#chain[@]}
	# shellcheck disable=SC2086
	model make-cow l$n l$((n - 1)).disk --name "$work/l$((n - 1))" --mtime "$(stat -c %Y l$((n - 1)))" \
		--size $size --seed $n --disk l$n.disk $options
	truncate -s $size "l$n.disk"
	chain=("$work/l$n" "${chain[@]}")
done <<'END'
--version 1 --order <
--version 2 --sectorsize 1024
--alignment 512 --sectorsize 4096
--broken --shape 7
END
for from in 3 2 1 0; do
	"$ubd" diff --from l$from "$work/l4" >ranges
	check "diff --from l$from is what the model says" diff ranges <(model diff "${chain[@]::$((4 - from))}")
	check "and in those the disks differ, in no others" patched l4.disk l$from.disk ranges
done
is "diff --json --from has the same" "$("$ubd" diff --json --from l0 "$work/l4" |
	python3 -c 'import json, sys; [print(r["offset"], r["length"], r["file"]) for r in json.load(sys.stdin)]')" "$(cat ranges)"
is "a lower file has the lower ones" "$("$ubd" diff --from l1 l2)" "$(model diff l2)"
is "nothing is between a file and itself" "$("$ubd" diff --from l2 l2)" ""
finds "diff --from a file that is not below" 1 "copy: is none of the files down to $work/l0" -- diff --from copy l4
finds "nor is one that is above" 1 "l4: is none" -- diff --from l4 l3
finds "diff --from a file that is missing" 1 "missing: there is no such file" -- diff --from missing l4
finds "diff of no COW file" 1 "no COW file" -- diff back
finds "diff of nothing" 1 "required" -- diff --from l0
finds "diff of a file and a unit" 1 "cannot be used with" -- diff --unit a l4
touch -d @1234567 l1
finds "diff --from through a file that was modified" 1 "$work/l1" modified -- diff --from l0 l4
rm l?

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

# create --size: a disk larger than its backing file.

model pattern few 20100 few
model make-cow want few --size 300000 --below 20100 --shape none
check "create --size" "$ubd" create --size 300000 wide1 few
check "makes what the model makes" cmp wide1 want
finds "info says so" 0 "cow_format:     1 (a bitmap, of a disk larger" "300000 bytes" \
	"20100 of them over the backing file" matches -- info wide1
cp wide1 want
uml none "ubd0=$work/wide1" >/dev/null 2>&1
is "UML refuses it, by the sizes" "$(grep -c 'Size mismatch (300000 vs 20100)' uml.log)" 1
refuse "so does uml_moo" uml_moo -b few wide1 moo9
check "and both leave it as it was" cmp wide1 want
finds "create --size with less than there is" 1 "few: has 20100 bytes" "less: 20099" -- create --size 20099 new few
finds "create --size with no size" 1 "is no number of bytes" -- create --size many new few
"$ubd" create --size 20100 equal few
is "create --size with the same needs no mark" "$(model info equal below)" None
for options in "" "--sectorsize 4096 --alignment 512" "--shape none"; do
	rm -f wide1 merged raw got
	cp -p few few1
	# shellcheck disable=SC2086
	model make-cow wide1 few1 --size 299008 --below 20100 --disk shown $options
	what="larger${options:+, $options}"
	finds "$what: check" 0 "no problem" -- check wide1
	check "$what: commit --to" "$ubd" commit --quiet --to merged wide1
	check "$what: is the disk" cmp merged shown
	check "$what: convert" "$ubd" convert --quiet --to raw wide1 raw
	check "$what: is the disk, too" cmp raw shown
	is "$what: diff --from" "$("$ubd" diff --from few1 wide1 | cut -d' ' -f-2)" "$("$ubd" diff wide1)"
	check "$what: create --diff" "$ubd" create --quiet --size 299008 --diff got few1 shown
	check "$what: which has the mark" model cmp-cow got shown --backing "$work/few1"
	check "$what: rebase" "$ubd" rebase --quiet wide1 few
	is "$what: keeps the mark" "$(model info wide1 backing) $(model info wide1 below)" "$work/few 20100"
	check "$what: rebase to the whole disk" "$ubd" rebase --quiet wide1 merged
	is "$what: needs none any more" "$(model info wide1 backing) $(model info wide1 below)" "$work/merged None"
	finds "$what: and leaves nothing of it" 0 "no problem" -- check wide1
	check "$what: it is the same disk" model cmp-cow wide1 shown --backing "$work/merged"
	check "$what: commit" "$ubd" commit --quiet got
	check "$what: makes the backing file the disk" cmp few1 shown
	finds "$what: and the file one as any other" 0 "no problem" -- check got
	check "$what: of the same disk" model cmp-cow got shown --backing "$work/few1"
done
finds "create --size over a COW file" 0 UML -- create --size 1M wide2 got
"$ubd" commit --quiet --to merged9 wide2
check "which has its disk, and zeros" cmp merged9 <(cat shown; head -c $(((1 << 20) - 299008)) /dev/zero)
finds "a backing file that is cut off is found" 2 "20100 bytes, but $work/few2 has 20000" -- check "$(cp -p few few2; "$ubd" create --size 30000 wide3 few2
	truncate -s 20000 few2; echo wide3)"
rm -f few* wide*

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
is "the backing file is as it was" "$(sum back)" "$(cat back.sum)"

plan
