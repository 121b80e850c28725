#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# What a crash may take and what not while a unit gets other files: while a COW file
# is made, made anew, switched to another backing file, covered by a snapshot, made
# larger or committed. dm-log-writes below records. logwrites/ has the rules.
# daily: debug

. "$(dirname "$0")/lib.sh"
. "$e2e/logwrites.bash"
mountpoint -q /sys/kernel/config || mount -t configfs config /sys/kernel/config
folders=/sys/kernel/config/ubd

crashes base back $(((17 << 20) / 512))
sum back >back.sum

parts=${parts:-new reset snapshot commit switch larger}
# Where all is slow, a few.
[ -z "$slow" ] || parts="new snapshot"

# A COW file while it is made, and while it is switched to another backing file:
# a crash leaves the one state or the other, and the next attach goes on from it.

cat >found <<END
#!/bin/bash
# found LAST_MARK: what the next attach finds; for "logwrites states".
cd "$work" || exit
option=ubd0=crashed/cow
[ \$1 != begin ] || option=ubd0=\$PWD/crashed/cow:\$PWD/back
dmesg --clear
modprobe rnull_ubd \$option || exit
if [ ! -b /dev/ubda ] && dmesg --notime | grep -q 'a switch to another one was not finished'; then
	# Between two long paths there is a third state, that says so and asks for one of them.
	modprobe -r rnull_ubd
	modprobe rnull_ubd "ubd0=\$PWD/crashed/cow:\$PWD/back" || exit
	between="after a third state, "
fi
if [ ! -b /dev/ubda ]; then
	modprobe -r rnull_ubd
	echo "not attached, the file has \$(stat -c '%s bytes in %b blocks' crashed/cow):"
	dmesg --notime | grep '^rnull_ubd: '
	exit 1
fi
dd if=/dev/ubda of=disk bs=64k count=1 iflag=direct status=none
modprobe -r rnull_ubd || exit
cmp -n 65536 disk back || exit
over=\$(dd if=crashed/cow bs=512 skip=32 count=4096 iflag=skip_bytes,count_bytes status=none | tr -d '\\0')
if dmesg --notime | grep -q 'made as a COW file'; then echo "made again"; else echo "\${between:-}over \${over##*/}"; fi
END
chmod +x found

new() {
	made ext4 32M
	logged
	mkdir -p mnt
	mount /dev/mapper/logged mnt
	cp --preserve=timestamps back back2
	# Paths that take more than one sector of the header.
	long=$(printf '%0200d/%0200d/%0200d' 1 2 3)
	mkdir -p "$long" "${long%3}4"
	cp --preserve=timestamps back "$long/back3"
	cp --preserve=timestamps back "${long%3}4/back4"
	marked begin
	load "ubd0=$work/mnt/cow:$work/back"
	marked made
	check "COW made on ext4" test -b /dev/ubda
	unload
	for to in back2 "$long/back3" "${long%3}4/back4" back; do
		load "ubd0=$work/mnt/cow:$work/$to"
		unload
	done
	marked switched
	umount mnt
	unlogged
	with_crashed
	result "a crash while a COW file is made" crashes states log start crashed.img "$crashed" \
		ext4 crashed begin made --seed "$seed" --repeat 2 --points "${points:-6}" ./found
	result "a crash while it is switched to another backing file" crashes states log start \
		crashed.img "$crashed" ext4 crashed made switched --seed "$seed" \
		--repeat "$([ -n "$points" ] && echo 20 || echo 2)" ./found
	without_crashed
}

! part new || new

# A COW file while it is made anew: a crash leaves what was in it, or nothing.

cat >left <<END
#!/bin/bash
# left LAST_MARK: what the disk has; for "logwrites states".
cd "$work" || exit
dmesg --clear
modprobe rnull_ubd ubd0=\$PWD/crashed/cow:\$PWD/back || exit
if [ ! -b /dev/ubda ]; then
	modprobe -r rnull_ubd
	dmesg --notime | grep '^rnull_ubd: '
	exit 1
fi
dd if=/dev/ubda of=disk bs=1M iflag=direct status=none
modprobe -r rnull_ubd || exit
between=
! dmesg --notime | grep -q 'is finished now' || between=", finished"
if cmp -s disk old; then
	[ \$1 = written ] || { echo "old, behind \$1"; exit 1; }
	echo "old"
elif cmp -s disk new; then
	echo "empty\$between"
else
	echo "a mix\$between"
	exit 1
fi
END
chmod +x left

anew() {
	made ext4 64M
	logged
	mkdir -p mnt
	mount /dev/mapper/logged mnt
	cp back new
	truncate -s %512 new
	cp new old
	load "ubd0=$work/mnt/cow:$work/back"
	mkdir /sys/kernel/config/ubd/0
	# All over the disk, so that the bitmap has more than one page of the file with bits.
	for at in {0..16}; do
		dd if=/dev/urandom of=old bs=64k seek=$((at << 20)) count=1 oflag=seek_bytes conv=notrunc status=none
		dd if=old of=/dev/ubda bs=64k skip=$((at << 20)) seek=$((at << 20)) count=1 \
			iflag=skip_bytes oflag=seek_bytes conv=fsync status=none
	done
	marked written
	check "COW on ext4: reset" bash -c "echo 1 >/sys/kernel/config/ubd/0/reset"
	marked reset
	rmdir /sys/kernel/config/ubd/0
	unload
	marked end
	umount mnt
	unlogged
	with_crashed
	result "a crash while a COW file is made anew" crashes states log start crashed.img "$crashed" \
		ext4 crashed written end --seed "$seed" --repeat "$([ -n "$points" ] && echo 20 || echo 2)" \
		--points "${points:-10}" ./left
	without_crashed
}

! part reset || anew

# A unit that is written all the while gets other files: after a crash the last of
# them that can be attached has all that was flushed.

cat >after <<END
#!/bin/bash
# after LAST_MARK: what the last file has that can be attached; for "logwrites states".
# As little as can be is started for it: that is most of what each of the many takes.
cd "$work" || exit
made=0 told=0 flushed=0
declare -A behind=()
while read -r mark; do
	case \$mark in
	snapshot-*) made=\$((made + 1)) ;;
	switched-*) told=\$((told + 1)) ;;
	flushed-*) flushed=\${mark#*-} ;;
	behind-*) behind[\${mark#*-}]=1 ;;
	esac
done <seen
# What the header may name: what was told last, or what comes next.
name=
if [ -s names ]; then
	IFS= read -rd '' name < <(tail -c +33 mnt/cow0)
	mapfile -t names <names
	names=("\${names[@]:told:2}")
	case \$name in
	"\${names[0]}") what="over what was told, " ;;
	"\${names[-1]}") what="over what was not told, " ;;
	/) what="between two names, " ;;
	*) echo "\$told switches were told, but the header names '\$name'"; exit 1 ;;
	esac
fi
unit=$folders/0
# Who finds a fault leaves no unit behind, or the driver could not be unloaded.
trap "rmdir \$unit" EXIT
mkdir \$unit && read -r direct <direct && echo "\$direct" >\$unit/direct_io || exit
for ((i = 4; i >= made; i--)); do
	# What was not finished has no header, and would be a plain image.
	magic=
	[ ! -e mnt/cow\$i ] || IFS= read -rd '' -n 4 magic <mnt/cow\$i
	[ "\$magic" = OOOM ] || continue
	echo "\$PWD/mnt/cow\$i" >\$unit/file
	[ "\$name" != / ] || echo "\${names[1]}" >\$unit/backing_file
	! echo 1 2>/dev/null >\$unit/power || break
done
if ((i < made)); then
	echo "of \$made snapshots the last one can't be attached:"
	ls -l --time-style=+%s mnt
	cat \$unit/last_error
	exit 1
fi
dd if=/dev/ubda of=disk bs=1M iflag=direct status=none
trap - EXIT
rmdir \$unit || exit
mapfile -t sizes <sizes
read -r size < <(stat -c %s disk)
if [ "\$size" != \$(((sizes[i] + 511) / 512 * 512)) ]; then
	echo "the disk of file \$i has \$size bytes, must have \${sizes[i]}"
	exit 1
fi
# What was written behind the end of each that is smaller.
pieces=()
for ((n = 1; n <= i; n++)); do
	((sizes[n] == sizes[n - 1])) ||
		pieces+=("piece\$n:\$((sizes[n - 1] / 4096 * 4096)):\${behind[\$n]:-0}")
done
# What is not what it was, other COW files over it must be able to tell.
if ! cmp -s mnt/base base && [ "\$(stat -c %Y mnt/base)" = "\$(stat -c %Y base)" ]; then
	echo "the file below has changed, but not its time"
	exit 1
fi
echo -n "\${what:-}"
[ \$i = \$made ] || echo -n "one that was not told, "
exec python3 "$e2e/moments.py" left disk "\$flushed" base "\${pieces[@]}"
END
chmod +x after

# step NAME NUMBER: what a unit in use gets, as the step with this number.
step() {
	local old=${sizes[-1]} size=${sizes[-1]}

	case $1 in
	snapshot | larger)
		i=$((i + 1))
		if [ "$1" = larger ]; then
			# To where the last sector has but a part, and on from there.
			size=$(((old / 1000000 + 1) * 1000000 + i * 100))
			echo $size >$folders/0/size
			marked "before-$2"
		fi
		sizes+=("$size")
		printf '%s\n' "${sizes[@]}" >sizes
		check "step $2, $1, on $what" sh -c "echo $work/mnt/cow$i >$folders/0/snapshot"
		marked "snapshot-$i"
		[ "$1" = larger ] || return
		model pattern "piece$i" 65536 "piece$i"
		check "which is written behind the old end" dd if="piece$i" of=/dev/ubda bs=64k \
			seek=$((old / 4096 * 4096)) oflag=direct,seek_bytes conv=fsync,notrunc status=none
		marked "behind-$i"
		;;
	commit)
		marked "before-$2"
		check "step $2, commit, on $what" sh -c "echo 1 >$folders/0/commit"
		marked "during-$2"
		wait_for grep -qx 0 $folders/0/commit
		is "it comes to its end" "$(cat $folders/0/commit_state)" "done"
		marked "commit-$2"
		;;
	*)
		echo "$1" >>names
		marked "before-$2"
		check "step $2, to another backing file, on $what" sh -c "echo $1 >$folders/0/switch"
		marked "switched-$2"
		;;
	esac
}

# in_use FS DIRECT_IO STEP...: snapshot, larger, commit, or a path to switch to, each.
in_use() {
	local fs=$1 direct=$2 writer i=0 n=0 step what sizes=($((2 << 20)))
	shift 2
	what="$fs, direct_io=$direct"
	rm -f base names piece*
	model pattern base $((2 << 20)) base
	made "$fs" 64M
	logged
	mkdir -p mnt
	mount /dev/mapper/logged mnt
	if [ "$1" = larger ]; then
		# So is the first one.
		truncate -s 700100 base
	fi
	cp --preserve=timestamps base mnt
	[ "$1" != larger ] || model make-cow mnt/cow0 base --name "$work/mnt/base" --below 700100 \
		--size "${sizes[0]}" --shape none
	for step; do
		case $step in
		"$work/mnt/base") ;;
		/*)
			mkdir -p "${step%/*}"
			cp base "$step"
			touch -d "@$((++n))000000" "$step"
			;;
		esac
	done
	[ "$n" = 0 ] || echo "$work/mnt/base" >names
	sync
	printf '%s\n' "${sizes[@]}" >sizes
	echo "$direct" >direct
	load "ubd0=$work/mnt/cow0:$work/mnt/base" direct_io="$direct"
	mkdir $folders/0
	rm -f counter*
	marked begin
	python3 "$e2e/moments.py" mark /dev/ubda counter logged &
	writer=$!
	n=0
	for step; do
		n=$((n + 1))
		wait_for sh -c "[ \$(tr -d ' ' <counter) -gt $((n * 30)) ]"
		step "$step" $n
	done
	wait_for sh -c "[ \$(tr -d ' ' <counter) -gt $((n * 30 + 60)) ]"
	touch counter.stop
	wait $writer
	is "the writer has no error" $? 0
	marked end
	rmdir $folders/0
	unload
	umount mnt
	unlogged
	with_crashed
}

# crash_in_use NAME POINTS REPEAT FIRST LAST: crashes between two marks of what in_use has recorded.
crash_in_use() {
	# shellcheck disable=SC2119
	load
	result "$1: crashes" crashes states log start crashed.img "$crashed" "$fs" mnt "$4" "$5" \
		--seed "$seed" --repeat "$([ -n "$points" ] && echo 8 || echo "$3")" --points "${points:-$2}" ./after
	unload
}

for fs in ext4 xfs; do
	direct=0
	[ $fs = ext4 ] || direct=1
	on="on $fs, direct_io=$direct"
	if part snapshot; then
		in_use $fs "$direct" snapshot snapshot snapshot snapshot
		crash_in_use "snapshot $on" 12 2 begin end
		without_crashed
	fi
	# Into a COW file, and into the plain one. Whatever is left can be attached.
	if part commit; then
		in_use $fs "$direct" snapshot snapshot commit commit snapshot snapshot commit commit
		crash_in_use "commit snapshot $on" 12 2 begin end
		# Few of these points are where the first commit gives the lower file another time.
		crash_in_use "times that change $on" 4 1 before-3 during-3
		without_crashed
	fi
	# The disk is larger than what is below, and grows.
	if part larger; then
		in_use $fs "$direct" larger snapshot larger
		crash_in_use "larger $on" "$(scaled 8)" 2 begin end
		for n in 1 3; do
			crash_in_use "growing, step $n, $on" "$(scaled 4)" 2 "before-$n" "behind-$n"
		done
		without_crashed
	fi
	# To another backing file, by paths of one and of several sectors of the header.
	if part switch; then
		long=$work/mnt/$(printf '%0200d/%0200d/%0200d' 1 2 3)
		in_use $fs "$direct" "$work/mnt/back2" "$long/back3" "${long%3}4/back4" "$work/mnt/base"
		for n in 1 2 3 4; do
			crash_in_use "switch $n $on" "$(scaled 3)" 2 "before-$n" "switched-$n"
		done
		without_crashed
	fi
done

is "the backing file is as it was" "$(sum back)" "$(cat back.sum)"

plan
