#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The driver and a UML process shut each other out, by the record locks that
# UML takes: here another process takes them.
# previous: yes
# smp: 1
# daily: debug

. "$(dirname "$0")/lib.sh"

# hold FILE KIND: another process takes the lock and keeps it.
hold() {
	local answer
	exec 3< <(model lock "$1" "$2" --hold)
	read -r answer holder <&3
	[ "$answer" = locked ] || not_ok "a process can lock $1" "$answer"
}

# release: and is gone.
release() {
	kill "$holder"
	cat <&3
	exec 3<&-
}

# absent NAME: unit 0 was refused.
absent() {
	check "$1" test ! -e /dev/ubda
}

model pattern plain $((1 << 20)) plain
model pattern back $((1 << 20)) back
model make-cow cow back --disk want
model make-cow cow2 back
sum plain >plain.sum

# Others first.
for file in plain cow; do
	for kind in exclusive shared; do
		hold $file $kind
		mark
		load "ubd0=$work/$file"
		absent "$file: not attached under another process's $kind lock"
		says "$file: the message says why ($kind)" ubda "$work/$file" lock
		unload
		release
	done
	hold $file shared
	load "ubd0r=$work/$file"
	check "$file: a shared lock does not hinder a read-only unit" test -b /dev/ubda
	unload
	release
	hold $file exclusive
	load "ubd0r=$work/$file"
	absent "$file: an exclusive one does"
	unload
	load "ubd0c=$work/$file"
	check "$file: flag c asks for no lock" test -b /dev/ubda
	unload
	release
	load "ubd0=$work/$file"
	check "$file: attached when the other process is gone" test -b /dev/ubda
	unload
done
hold back exclusive
mark
load "ubd0=$work/cow"
absent "not attached when the backing file is locked exclusively"
says "the message names the backing file" ubda "$work/back" lock
unload
release
hold back shared
load "ubd0=$work/cow"
check "attached when the backing file is locked shared" test -b /dev/ubda
unload
release
hold back exclusive
rm -f new
load "ubd0=$work/new:$work/back"
absent "no new COW file over a locked backing file"
unload
release

# Us first.
load "ubd0=$work/plain" "ubd1=$work/cow"
for file in plain cow; do
	refuse "$file: no exclusive lock for others" model lock $file exclusive
	refuse "$file: no shared lock for others" model lock $file shared
done
refuse "the backing file: no exclusive lock for others" model lock back exclusive
check "the backing file: shared locks" model lock back shared
# A process that closes a file loses its own locks on it, and no one else's.
cat plain cow back >/dev/null
refuse "still no lock for others after they closed the file" model lock cow exclusive
unload
check "unloaded: the lock is free" model lock cow exclusive
load "ubd0r=$work/plain" "ubd1r=$work/cow" "ubd2c=$work/cow2"
for file in plain cow; do
	check "$file, read-only: shared locks for others" model lock $file shared
	refuse "$file, read-only: no exclusive lock for others" model lock $file exclusive
done
check "flag c takes no lock" model lock cow2 exclusive
unload

# Two units.
mark
load "ubd0=$work/cow" "ubd1=$work/cow"
check "two units on one COW file: the first is attached" model cmp /dev/ubda want
check "two units on one COW file: the second is not" test ! -e /dev/ubdb
says "and the message says why" ubdb "$work/cow" lock
unload
mark
load "ubd0=$work/plain" "ubd1=$work/plain"
check "nor on one plain image" test -b /dev/ubda -a ! -e /dev/ubdb
unload
mark
load "ubd0=$work/cow" "ubd1=$work/back"
check "nor is a backing file in use written by another unit" test -b /dev/ubda -a ! -e /dev/ubdb
unload
load "ubd0=$work/cow" "ubd1=$work/cow2" "ubd2r=$work/back"
check "two COW files and a read-only unit share a backing file" \
	test -b /dev/ubda -a -b /dev/ubdb -a -b /dev/ubdc
unload
load "ubd0r=$work/cow" "ubd1r=$work/cow"
check "two read-only units share a COW file" test -b /dev/ubda -a -b /dev/ubdb
unload

# A block device, which has a name for every node: a lock on one is none on
# another.
model make-cow on-device back
device=$(losetup --show --find on-device)
mknod node b $((0x$(stat -c %t "$device"))) $((0x$(stat -c %T "$device")))
mark
load "ubd0=$device" "ubd1=$work/node"
check "two units on the nodes of one device: the first is attached" test -b /dev/ubda
check "two units on the nodes of one device: the second is not" test ! -e /dev/ubdb
says "and its message says why" ubdb "$work/node" EBUSY
refuse "nor is it mounted meanwhile" mount "$device" /mnt
unload
load "ubd0c=$device" "ubd1c=$work/node"
check "with flag c both are" test -b /dev/ubda -a -b /dev/ubdb
unload
load "ubd0r=$device" "ubd1r=$work/node"
check "and when both are read-only" test -b /dev/ubda -a -b /dev/ubdb
unload
losetup -d "$device"
is "nobody wrote to a file that was not theirs" "$(sum plain)" "$(cat plain.sum)"

# A lease, which its holder gives back when it is told that another wants the
# file: until then open(2) waits.
# leased FILE KIND
leased() {
	exec 3< <(exec python3 -c '
import fcntl, os, signal, sys
file = os.open(sys.argv[1], os.O_RDWR if sys.argv[2] == "F_WRLCK" else os.O_RDONLY)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGIO])
fcntl.fcntl(file, fcntl.F_SETLEASE, getattr(fcntl, sys.argv[2]))
print("leased", flush=True)
signal.sigwait([signal.SIGIO])
print("wanted", flush=True)
fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)
' "$1" "$2")
	read -r answer <&3
}
for kind in F_WRLCK F_RDLCK; do
	leased plain $kind
	load "ubd0=$work/plain"
	check "a file with a lease, $kind: attached when it was given back" test -b /dev/ubda
	is "a file with a lease, $kind: its holder was told" "$(cat <&3)" wanted
	unload
done
leased back F_WRLCK
load "ubd0=$work/cow"
check "a backing file with a lease: attached when it was given back" test -b /dev/ubda
unload
cat <&3 >/dev/null
exec 3<&-

# UML itself; it takes long to start on the debug kernel, and shows no more there.
if [ -z "$debug" ]; then
	rm -f image
	truncate -s 4M image
	load "ubd0=$work/image"
	timeout 600 linux.uml mem=64M "ubd0=$work/image" root=/dev/ubda con=null con0=null,fd:1 panic=-1 >uml.out 2>&1
	check "a UML is kept out of what is attached here" grep -q "Failed to lock '$work/image'" uml.out
	unload
	timeout 600 linux.uml mem=64M "ubd0=$work/image" root=/dev/root rootfstype=hostfs rootflags=/ \
		con=null con0=null,fd:1 init=/usr/bin/sleep 600 >uml.out 2>&1 &
	uml=$!
	holds() {
		grep -q ":$(stat -c %i image) " /proc/locks || ! kill -0 "$uml"
	}
	wait_for holds
	mark
	load "ubd0=$work/image"
	check "what a UML holds is not attached here" test ! -e /dev/ubda
	says "and the log says why" ubda "$work/image" locked
	unload
	kill $uml
	wait $uml
	pkill -9 linux.uml
fi

plan
