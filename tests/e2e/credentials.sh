#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Files are opened as the one sees them who writes power: from his root, in his
# mounts, with his rights.
# kernel: release

. "$(dirname "$0")/lib.sh"
. "$e2e/configfs.bash"

# shellcheck disable=SC2119
load
mkdir $config/0
# on: attach unit 0, as whoever this is put before.
on=(bash -c "echo 1 >$config/0/power")
# opened NAME FILE: unit 0 is what is in this file.
opened() {
	check "$1" cmp -n 1048576 /dev/ubda "$2"
	power 0 0
}
# image NAME SEED
image() {
	model pattern "$1" $((1 << 20)) "$2"
}

# A mount namespace: the same path is another file.
mkdir here
image here/image outside
image inside inside
set_up 0 file="$work/here/image"
power 0 1
opened "the mounts of the one who attaches: all" here/image
check "in a mount namespace" unshare -m bash -c \
	"mount --bind inside here/image && echo 1 >$config/0/power"
opened "in a mount namespace: what is mounted there" inside
unshare -m bash -c "mount -t tmpfs none here && cp inside here/only && printf $work/here/only >$config/0/file &&
	echo 1 >$config/0/power"
opened "in a mount namespace: a file that is nowhere else" inside
fails "which others do not find" "No such file or directory" power 0 1
told "which others do not find" 0 "$work/here/only" "cannot be opened" ENOENT

# A root of its own.
mkdir -p root/images root/config
mount --bind $config root/config
image root/images/image chroot
cp /bin/busybox root/ 2>/dev/null || cp "$(command -v busybox)" root/
set_up 0 file=/images/image
fails "a path in another root" "No such file or directory" power 0 1
check "from that root" chroot root /busybox sh -c "echo 1 >/config/0/power"
opened "from that root: the file in there" root/images/image
set_up 0 file=image
check "a relative path" chroot root /busybox sh -c "cd images && echo 1 >/config/0/power"
is "a relative path: it is from the root of who attached" "$(cat $config/0/file)" /images/image
opened "a relative path: the file" root/images/image
umount root/config

# Without rights. The file of configfs is root's, and one who has it open can have
# others write to it: they open what they may open themselves.
image secret secret
chmod 600 secret
image public public
chmod 644 public
chmod 755 "$work"
nobody=(setpriv --reuid 65534 --regid 65534 --clear-groups)
set_up 0 file="$work/secret"
fails "who may not write power" "Permission denied" "${nobody[@]}" "${on[@]}"
exec 4>$config/0/power
fails "who may not read the file" "Permission denied" "${nobody[@]}" bash -c "echo 1 >&4"
told "who may not read the file" 0 "$work/secret" "cannot be opened" EACCES
set_up 0 file="$work/public"
mark
check "who may read it only" "${nobody[@]}" bash -c "echo 1 >&4"
is "gets a disk that is read-only" "$(cat /sys/block/ubda/ro)" 1
says "and the message says why" ubda "$work/public" EACCES read-only
opened "with what is in there" public
set_up 0 file="$work/new" backing_file="$work/public"
fails "who may not make a COW file" "Permission denied" "${nobody[@]}" bash -c "echo 1 >&4"
check "gets none" test ! -e new

# A user namespace without rights: root in there is nobody out here.
userns=(setpriv --reuid 65534 --regid 65534 --clear-groups unshare -U -r)
if "${userns[@]}" true 2>/dev/null; then
	set_up 0 file="$work/secret" backing_file=
	fails "root of a user namespace may not write power" "Permission denied" "${userns[@]}" "${on[@]}"
	fails "nor read the file" "Permission denied" "${userns[@]}" bash -c "echo 1 >&4"
	set_up 0 file="$work/public"
	check "nor write one" "${userns[@]}" bash -c "echo 1 >&4"
	is "but reads what all may read" "$(cat /sys/block/ubda/ro)" 1
	opened "as it is" public
else
	skip "a user namespace" "the kernel has none"
fi
exec 4>&-
set_up 0 file="$work/secret"
check "root may do all of that" power 0 1
opened "with what is in there: the secret" secret
rmdir $config/0

plan
