#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# A file system on a ubd, whose COW file is on a file system: after a crash of
# the device below both, the driver attaches what is left, the file system's
# journal is recovered, every file that was fsynced is as it was, and fsck finds
# nothing to do.
#
# vm: --mem 2G
# kernel: release

. "$(dirname "$0")/lib.sh"
. "$e2e/logwrites.bash"

mkdir -p mnt upper

make_ext4() { mkfs.ext4 -q -E lazy_itable_init=0,lazy_journal_init=0 "$1"; }
make_xfs() { mkfs.xfs -q "$1"; }

cat >found <<'END'
#!/bin/bash
# found UPPER LAST_MARK: for "logwrites states"; the file seen has the marks.
upper=$1
modprobe rnull_ubd "ubd0=$PWD/crashed/cow" || exit
if [ ! -b /dev/ubda ]; then
	dmesg --notime | grep '^rnull_ubd: '
	modprobe -r rnull_ubd
	exit 1
fi
leave() {
	mountpoint -q upper && umount upper
	modprobe -r rnull_ubd
}
trap leave EXIT
mount -t "$upper" /dev/ubda upper || exit
# Files that were fsynced and not yet about to be deleted.
awk 'FNR == NR { if (/^-/) gone[substr($0, 2)] = 1; else here[$0] = 1; next }
	$2 in here && !($2 in gone)' seen sums >must
if [ -s must ]; then
	(cd upper && sha256sum --quiet -c ../must) || exit
fi
umount upper
case $upper in
ext4) said=$(e2fsck -fn /dev/ubda 2>&1) || { echo "$said"; exit 1; } ;;
xfs) said=$(xfs_repair -n /dev/ubda 2>&1) || { echo "$said"; exit 1; } ;;
esac
echo "attached, recovered, checked"
END
chmod +x found

# stack LOWER UPPER
stack() {
	local lower=$1 upper=$2 what="$2 on a ubd on $1"
	rm -f back
	truncate -s 40M back
	made "$lower" 64M
	logged
	mount /dev/mapper/logged mnt
	load "ubd0=$work/mnt/cow:$work/back"
	make_"$upper" /dev/ubda
	mount /dev/ubda upper
	sync
	rm -f sums sums.*
	check "$what: files made" crashes tree upper sums --mark logged --seed "$seed" --files "$(scaled 15)"
	cat sums.* >sums
	umount upper
	unload
	umount mnt
	unlogged
	with_crashed
	result "$what: crashes" crashes states log start crashed.img "$crashed" "$lower" crashed \
		begin end --seed "$seed" --points "${points:-$(scaled 5)}" -- ./found "$upper"
	without_crashed
}

stack ext4 xfs
stack xfs ext4

plan
