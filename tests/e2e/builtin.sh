#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# where: host
#
# The driver built in: ubd… on the kernel command line, and a root file system
# on a COW over an image that came with the initramfs.

. "$(dirname "$0")/lib.sh"

guest_options() {
	# Without the module: says() reads all that the kernel said since boot.
	messages() {
		dmesg --notime
	}
	is "units by number, letter and with flags are there, and no other" "$(echo /dev/ubd*)" \
		"/dev/ubda /dev/ubdaa /dev/ubdb /dev/ubdc /dev/ubde /dev/ubdq"
	is "r" "$(cd /sys/block && cat ubda/ro ubdb/ro ubdc/ro ubde/ro | tr '\n' ' ')" "0 1 0 0 "
	model pattern plain $((1 << 20)) plain
	check "a plain image from the initramfs" model cmp /dev/ubdb plain --direct
	model pattern back $((1 << 20)) back
	model expect back want
	check "a COW file made in the initramfs" model cmp /dev/ubda want --direct
	check "and written to" model exercise /dev/ubda want --procs 1 --depth 8 --ops 40
	check "reads back" model cmp /dev/ubda want --direct
	says "a file that is missing" ubdd /missing open
	says "a unit out of range" 1048576=/plain range
	is "a unit with no device number of its own" "$(cut -d: -f1 /sys/block/ubdq/dev /sys/block/ubdaa/dev | xargs)" \
		"259 259"
	says "a letter that is no flag" 0x=/plain flag
	says "a unit twice" 0=/plain already
	says "ubd=<n>" "ubd=<n>" obsolete
	says "ubd=sync" ubde /other "flags s"
	local folder=/sys/kernel/config/ubd/1
	mkdir $folder
	is "a unit of the command line has its folder in configfs" "$(cat $folder/{file,flags,power} | paste -sd ' ')" \
		"/plain r 1"
	echo 0 >$folder/power
	check "and is detached there" test ! -e /dev/ubdb
	# What was in the initramfs cannot be reached any more.
	truncate -s 1M /tmp/again
	echo /tmp/again >$folder/file
	echo >$folder/flags
	echo 1 >$folder/power
	is "and attached again" "$(cat /sys/block/ubdb/ro)" 0
	check "udb is a typo" grep -q 'udb5=/plain.*typo' -i <(messages)
	is "fake_ide: one warning" "$(messages | grep -c '^rnull_ubd: fake_ide is obsolete')" 1
	plan
}

if [ $# != 0 ]; then
	"$1_$3"
	exit
fi

# Options. The guest's init is that of scripts/vm, after the units.

mkdir initramfs
model pattern initramfs/plain $((1 << 20)) plain
model pattern initramfs/back $((1 << 20)) back
cp initramfs/plain initramfs/other
vm_self options --built-in --initramfs-add "$work/initramfs" \
	--append "ubd0=/cow:/back ubdbr=/plain ubd2c=/plain,,Serial ubd3=/missing ubd1048576=/plain ubd16dc=/plain ubdaac=/plain ubd0x=/plain ubd0=/plain ubd=7 fake_ide udb5=/plain ubd=sync ubd4=/other" \
	>out 2>&1
code=$?
while read -r line; do
	case $line in
	"ok "*) ok "${line#* - }" ;;
	"not ok "*) not_ok "${line#* - }" ;;
	1..*) ;;
	*) echo "$line" ;;
	esac
done <out
is "the guest with ubd options on its command line ended well" "$code" 0

# Root.

mkdir -p root/{bin,dev,proc,sys} initramfs2/dev
cp /usr/bin/busybox root/bin
for tool in sh mount cat sync dd sha256sum gzip base64 grep dmesg poweroff sleep echo test cp cmp rm; do
	ln -s busybox root/bin/$tool
done
cat >root/init.sh <<'END'
#!/bin/sh
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
test -c /dev/null || mount -t devtmpfs dev /dev
slept="can't sleep"
if test -e /sys/power/pm_test; then
	dd if=/dev/urandom of=/pattern bs=65536 count=16 2>/dev/null
	echo >/busy
	while test -e /busy; do
		cp /pattern /load && sync && dd if=/load bs=65536 iflag=direct 2>/dev/null | cmp - /pattern || echo >/bad
		echo >/turn
	done &
	# QEMU's end of these ports does not wake up again with this one.
	ports=/sys/bus/virtio/drivers/virtio_console
	console=
	until test "$console"; do
		for each in $ports/virtio*; do
			test ! -e "$each" || console=${each##*/}
		done
	done
	echo "$console" >$ports/unbind
	echo 0 >/sys/module/suspend/parameters/pm_test_delay
	echo devices >/sys/power/pm_test
	slept=slept
	for i in 1 2 3; do
		rm -f /turn
		until test -e /turn; do sleep 0.05; done
		echo freeze >/sys/power/state || slept="did not sleep"
	done
	rm /busy
	wait
	echo "$console" >$ports/bind
	test ! -e /bad || slept="$slept, and its data is wrong"
	rm -f /pattern /load /turn /bad
fi
until test -c /dev/vport0p1 && test -c /dev/vport0p3; do sleep 0.01; done
exec >/dev/vport0p1
echo "The machine $slept."
grep ' / ' /proc/mounts
echo "written at run time" >/new-file || echo "no write"
sync
cat /new-file
echo "golden $(sha256sum </dev/ubdb)"
echo "disk $(sha256sum </dev/ubda)"
dmesg | grep rnull_ubd
echo cow
dd if=/dev/ubdc bs=1048576 2>/dev/null | gzip -1 | base64
exec >/dev/null
echo 0 >/dev/vport0p3
poweroff -f
END
chmod +x root/init.sh
mkfs.ext4 -q -d root initramfs2/golden.img 8M
vm --built-in --initramfs-add "$work/initramfs2" --append \
	"root=/dev/ubda rw init=/init.sh ubd0=/work.cow:/golden.img ubd1r=/golden.img ubd2rcd=/work.cow" >out 2>err
is "a guest with its root on /dev/ubda ended well" $? 0
[ ! -s err ] || note "$(tail -n 40 err)"
check "its root is /dev/ubda, ext4" grep -E '^/dev/(root|ubda) / ext4 rw' out
# Where the kernel has tests of sleep.
if ! grep -qx "The machine can't sleep." out; then
	check "it slept, with all its devices, while its root was written to" grep -x "The machine slept." out
fi
check "its root can be written to" grep -x "written at run time" out
is "the golden image is as it was" "$(sed -n 's/^golden //p' out)" "$(sum initramfs2/golden.img)"
sed '1,/^cow$/d' out | base64 -d | gzip -d >work.cow
check "the COW file names the golden image" test "$(model info work.cow backing)" = /golden.img
check "the COW file merges" model merge work.cow merged --backing initramfs2/golden.img
# What was synced may be in the journal.
e2fsck -fy merged >/dev/null 2>&1
check "and has the new file" grep -x "written at run time" <(debugfs -R "cat /new-file" merged 2>/dev/null)

plan
