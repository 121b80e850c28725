#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# where: host
# when: all
#
# The Debian packages, as their user has them: in a new Debian with the kernels and
# the headers of its archive, dkms builds the module; that Debian boots, does what the
# examples of Documentation say, attaches the disks of /etc/ubdtab, mounts them, boots
# with its root on a unit, boots again without, and removes the packages. The oldest kernel
# that the driver is for boots once, if the archive still has it.
# kernel: release

. "$(dirname "$0")/lib.sh"
. "$top/scripts/lib.sh"

packages=$("$top/scripts/deb/build" 2>build.err)
is "the packages are made, and lintian finds nothing" $? 0 ||
	{ note "$(tail -n 40 build.err)"; plan; exit; }
is "they are two" "$(cd "$packages" && echo *.deb | sed 's/_[^ ]*//g')" "rnull-ubd-dkms ubd-tools"

# What runs in the new Debian as its last service, at each boot, and tells the
# host by the second serial line.
cat >guest <<'END'
#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
exec >/dev/ttyS1 2>&1
stty -F /dev/ttyS1 raw -echo
is() {
	if [ "$2" = "$3" ]; then echo "ok $1"; else printf 'not ok %s: got "%s", not "%s"\n' "$@"; fi
}
check() {
	local name=$1 said
	shift
	if said=$("$@" 2>&1); then echo "ok $name"; else echo "not ok $name: $(echo "$said" | tail -n 5 | tr '\n' ' ')"; fi
}
# What the packages have put anywhere.
files() {
	find /etc /usr /var -xdev \( -name 'ubd*' -o -name '*[-_@]ubd*' -o -name '*rnull*' \)
}
ok() {
	echo "ok $1"
}
not_ok() {
	printf 'not ok %s\n' "$1"
	echo "${2:-}" | sed 's/^/# /'
}
images=/var/lib/images
state=$(cat $images/boot 2>/dev/null)
# Its root on a unit over the disk that it was installed on, twice.
if [ "$(findmnt -n -o SOURCE /)" = /dev/ubdb ]; then
	state=unit-$(cat /root/unit 2>/dev/null)
fi
[[ $(uname -r) != "$(cat /root/previous)".* ]] || state=previous
case $state in
previous)
	cd /run || exit
	truncate -s 64M golden.img
	mkfs.ext4 -q golden.img
	sum=$(sha256sum golden.img)
	is "ubd attach loads the module, and prints the disk" "$(ubd attach work.cow:golden.img 2>&1)" /dev/ubda
	is "the module is that of dkms" "$(modinfo -F filename rnull_ubd | cut -d/ -f4-)" "$(uname -r)/updates/dkms/rnull_ubd.ko.xz"
	check "the disk is mounted and written to" sh -c 'mount /dev/ubda /mnt && echo kept >/mnt/file && umount /mnt'
	check "and detached" ubd detach ubda
	check "attached again" ubd attach work.cow
	is "it has what was written" "$(mount /dev/ubda /mnt && cat /mnt/file && umount /mnt)" kept
	check "it is detached" ubd detach --all
	is "the image below is as it was" "$(sha256sum golden.img)" "$sum"
	check "the module is unloaded" modprobe -r rnull_ubd
	;;
unit-)
	check "what it was started from can't be written" sh -c '! dd if=/dev/zero of=/dev/vda bs=512 count=1 conv=notrunc status=none'
	is "the root is a unit over that" "$(cat /sys/block/ubdb/ubd/backing_file)" /dev/vda
	is "no order was a loop" "$(journalctl -b -q --grep 'ordering cycle')" ""
	echo kept >/root/unit
	;;
unit-kept)
	ok "what was written to it is there"
	check "its file system is sound" sh -c '! journalctl -b -q -k --grep "EXT4-fs (error|warning)"'
	is "without an error" "$(journalctl -b -q -k --grep 'rnull_ubd: .*(could not|cannot)')" ""
	;;
'')
	. /root/examples/pages.bash
	cp /etc/fstab /etc/ubdtab /etc/exports /root
	echo "127.0.0.1 server" >>/etc/hosts
	systemctl start nfs-server
	for page in /root/examples/*.rst; do
		page_name=$(basename "$page" .rst)
		run_page "$page" "/run/pages/$page_name"
		[ ! -e /sys/module/rnull_ubd ] || is "$page_name: no unit is left" "$(ubd list -n)" ""
		modprobe -r rnull_ubd 2>/dev/null
	done
	systemctl stop nfs-server
	cp /root/fstab /root/ubdtab /root/exports /etc
	systemctl daemon-reload

	mkdir -p $images
	truncate -s 64M $images/golden.img
	mkfs.ext4 -q $images/golden.img
	sha256sum $images/golden.img >$images/sum
	check "the module of dkms loads into Debian's own kernel" modprobe rnull_ubd
	is "and is that of dkms" "$(modinfo -F filename rnull_ubd | cut -d/ -f4-)" "$(uname -r)/updates/dkms/rnull_ubd.ko.xz"
	modprobe -r rnull_ubd
	printf 'ubda %s/work.cow %s/golden.img serial=work\n' $images $images >>/etc/ubdtab
	echo "/dev/disk/by-id/ubd-work /mnt ext4 defaults 0 2" >>/etc/fstab
	systemctl daemon-reload
	is "an option that there is not is refused" \
		"$(UBDTAB=<(echo "ubdb $images/golden.img - flag=r") /usr/lib/ubd-tools/ubdtab attach ubdb 2>&1)" \
		"ubdb: unknown option flag=r: see ubdtab(5)"
	check "systemctl start attaches it" systemctl start ubd@ubda.service
	is "the disk is there" "$(cat /sys/block/ubda/size)" $((64 << 11))
	check "systemctl stop detaches it" systemctl stop ubd@ubda.service
	check "and it is gone" test ! -e /sys/block/ubda
	systemctl start ubd@ubda.service
	check "its name is that of the serial number" udevadm wait --timeout=60 /dev/disk/by-id/ubd-work
	check "it is mounted" mount /mnt
	check "and written to" sh -c 'echo kept >/mnt/file'
	check "what has it mounted keeps it" sh -c '! /usr/lib/ubd-tools/ubdtab detach ubda'
	echo 2 >$images/boot
	;;
2)
	is "what was written with the root on a unit is not here" "$(cat /root/unit 2>&1)" "cat: /root/unit: No such file or directory"
	is "after a boot it is mounted again, by /etc/fstab" "$(cat /mnt/file)" kept
	check "systemd has nothing against that" sh -c '! systemctl --failed --no-legend | grep .'
	is "no order was a loop" "$(journalctl -b -q --grep 'ordering cycle')" ""
	check "it was detached at shutdown, after its file system" \
		journalctl -b -1 -q -u ubd@ubda.service --grep 'Stopped ubd@ubda.service|Deactivated successfully'
	is "without an error" "$(journalctl -b -1 -q -k --grep 'rnull_ubd: .*(not detached|could not be flushed)')" ""
	check "the image below is as it was" sha256sum --status -c $images/sum
	sed -i /ubd-work/d /etc/fstab
	check "it is unmounted" umount /mnt
	check "the packages are purged" env DEBIAN_FRONTEND=noninteractive apt-get -y purge rnull-ubd-dkms ubd-tools
	is "that has detached it" "$(ls -d /sys/block/ubda 2>&1)" "ls: cannot access '/sys/block/ubda': No such file or directory"
	is "and leaves nothing" "$(files)" ""
	;;
esac
echo end
sync
systemctl poweroff
END
cat >deb-test.service <<'END'
# SPDX-License-Identifier: GPL-2.0
[Unit]
After=multi-user.target
[Service]
Type=oneshot
ExecStart=/usr/local/sbin/guest
[Install]
WantedBy=default.target
END

# What is done in the new Debian, by mmdebstrap. It ends with 3 if the archive has no
# such kernel. Of a series there may be several versions, but of its source the last
# one only.
cat >prepare <<'END'
#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
set -euo pipefail
new=$1 work=${0%/*}
read -r series previous <"$work/series"
# objtool reads /proc, and much else /dev/fd. Nobody else has these mounts.
run() {
	unshare --mount bash -euc '
		new=$1
		shift
		for dir in dev proc sys; do
			mount --rbind "/$dir" "$new/$dir"
		done
		exec chroot "$new" env DEBIAN_FRONTEND=noninteractive "$@"
	' run "$new" "$@"
}
# last SERIES: its last version.
last() {
	run apt-cache search --names-only "^linux-headers-${1//./\\.}[.0-9]*\\+deb[0-9]+-amd64\$" |
		sed 's/^linux-headers-//; s/ .*//' | sort -V | tail -n 1
}
version=$(last "$series") old_version=$(last "$previous")
[ -n "$version" ] || { touch "$work/no-kernel"; exit 3; }
kernels=({linux-base,"linux-source-$series","linux-image-$version","linux-headers-$version"}/trixie-backports)
[ -z "$old_version" ] ||
	kernels+=({"linux-source-$previous","linux-image-$old_version","linux-headers-$old_version"}/trixie-backports)
# Nobody needs it after a crash of this machine.
install=(apt-get -y --no-install-recommends -o DPkg::Options::=--force-unsafe-io install)
# From the backports the kernel only: the rustc there is not the one that built it.
run "${install[@]}" initramfs-tools zstd mdadm nfs-kernel-server nfs-common squashfs-tools uml-utilities
run "${install[@]}" "${kernels[@]}"
cp "$work"/*.deb "$new/root"
run sh -c "${install[*]} /root/*.deb"
rm "$new"/root/*.deb
cp -r "$work/examples" "$new/root"
cp "$work/guest" "$new/usr/local/sbin"
echo "$previous" >"$new/root/previous"
cp "$work/deb-test.service" "$new/etc/systemd/system"
run systemctl enable deb-test.service
mkdir -p "$new/var/log/journal" "$new/etc/systemd/system.conf.d"
# On a busy machine an emulated one is slower than systemd thinks that any can be.
printf '[Manager]\nDefaultDeviceTimeoutSec=15min\nDefaultTimeoutStartSec=15min\n' >"$new/etc/systemd/system.conf.d/slow.conf"
echo "/dev/vda / ext4 defaults 0 1" >"$new/etc/fstab"
END
chmod +x guest prepare
echo "$kernel_series $previous_series" >series
mkdir examples
cp "$e2e/pages.bash" "$top"/Documentation/example-*.rst examples
cp "$packages"/*.deb .
# The backports are on the mirror that mmdebstrap chose.
# shellcheck disable=SC2016
"$top/scripts/toolchain" --packaging mmdebstrap --mode=root --variant=apt \
	--include=systemd-sysv,dbus,udev,kmod,e2fsprogs,openssl \
	--setup-hook='sed -n "s/ trixie main/ trixie-backports main/p" "$1/etc/apt/sources.list" | grep "^deb " >>"$1/etc/apt/sources.list"' \
	--customize-hook="$work/prepare" trixie "$work/debian" >debian.log 2>&1 </dev/null
code=$?
if [ -e no-kernel ]; then
	skip "dkms in a new Debian" "its archive has no Linux $kernel_series any more"
	plan
	exit
fi
is "a new Debian, with its own kernel, in which they are installed" $code 0 ||
	{ note "$(tail -n 60 debian.log "$work"/debian/var/lib/dkms/rnull-ubd/*/build/make.log)"; plan; exit; }

is "the tools have manual pages, completions, a rule, a service and what boots with them" "$(cd debian && ls -d \
	usr/sbin/ubd usr/share/man/man{8/ubd.8.gz,5/ubdtab.5.gz} usr/share/bash-completion/completions/ubd \
	usr/share/zsh/vendor-completions/_ubd usr/share/fish/vendor_completions.d/ubd.fish etc/ubdtab \
	usr/lib/udev/rules.d/61-ubd.rules usr/lib/systemd/system{/ubd@.service,-generators/ubdtab-generator} \
	usr/share/initramfs-tools/{hooks,scripts/local-top}/ubd 2>&1 >/dev/null)" ""
mapfile -t versions < <(cd debian/lib/modules && printf '%s\n' *-amd64 | sort -V)
for version in "${versions[@]}"; do
	module=$(echo "debian/lib/modules/$version"/updates/dkms/rnull_ubd.ko*)
	check "$version: the module is there" test -e "$module"
	is "$version: it is for this kernel" "$(modinfo -F vermagic "$module" | cut -d' ' -f1)" "$version"
	check "$version: of the Rust metadata it keeps less than 200 MB" \
		test "$(du -sm "debian/var/cache/rnull-ubd/$version" | cut -f1)" -lt 200
	is "$version: no compiler nor objtool has warned" \
		"$(grep -i 'warning' debian/var/lib/dkms/rnull-ubd/*/"$version"/*/log/make.log)" ""
done
is "nothing of the source is kept" "$(ls debian/var/tmp)" ""
made=$("$top/scripts/dkms/source" "$work/src")
is "who does not have the package gets the same from scripts/dkms/source" \
	"$(diff -r "src/${made/\//-}" "debian/usr/src/${made/\//-}" 2>&1)" ""
# The newest is the one that all else is tried with.
old_version=
[ ${#versions[@]} = 1 ] || old_version=${versions[0]}
is "headers that have the metadata need no more" \
	"$(chroot debian /bin/bash -c "exec /usr/src/rnull-ubd-*/metadata $version /var/cache/rnull-ubd/$version" 2>&1)" \
	"/var/cache/rnull-ubd/$version"

# What is missing is said in one line each.
# lacks NAME LINE PLACE [WITH]: that is said when the file PLACE of the new Debian is
# empty, or is the file WITH; nobody else sees it so.
lacks() {
	local said
	# shellcheck disable=SC2016
	said=$(unshare --mount bash -euc '
		mount --make-rprivate /
		mount --bind "$4" "$1/$2"
		chroot "$1" /bin/bash -c "exec /usr/src/rnull-ubd-*/metadata --check $3"
	' lacks "$work/debian" "$3" "$version" "${4:-/dev/null}" 2>&1)
	is "$1" "$said" "rnull_ubd for Linux $version: $2"
}
config=usr/src/linux-headers-$version/.config
sed /^CONFIG_RUST=y/d "debian/$config" >no-rust
sed 's/^CONFIG_RUSTC_VERSION=.*/CONFIG_RUSTC_VERSION=109102/' "debian/$config" >other-rustc
lacks "no CONFIG_RUST" "it is built without CONFIG_RUST: there is no driver in Rust for it" "$config" no-rust
lacks "another rustc" "it was built by rustc 1.91.2, but this is $(chroot debian rustc --version): install rustc 1.91.2" \
	"$config" other-rustc
# What can't be run is found all the same, so these go for that moment.
for tool in rustc bindgen; do
	mv "debian/usr/bin/$tool" away
	is "no $tool" "$(chroot debian /bin/bash -c "exec /usr/src/rnull-ubd-*/metadata --check $version" 2>&1)" \
		"rnull_ubd for Linux $version: $tool is missing: install the package $tool"
	mv away "debian/usr/bin/$tool"
done
core=$(cd debian && echo usr/src/rustc-*/library/core/src/lib.rs)
lacks "no rust-src" "the source of Rust's core library is missing: install the package rust-src" "$core"
lacks "no source" "its source is missing, and its headers have no Rust metadata: install the package linux-source-$kernel_series" \
	"usr/src/linux-source-$kernel_series.tar.xz"

# A kernel that does not have what the driver calls.
symbols=usr/src/linux-headers-$version/Module.symvers
sed '/\tvfs_fallocate\t/d' "debian/$symbols" >fewer
# shellcheck disable=SC2016
unshare --mount bash -euc '
	mount --make-rprivate /
	for dir in dev proc sys; do
		mount --rbind "/$dir" "$1/$dir"
	done
	mount --bind fewer "$1/$2"
	chroot "$1" /bin/bash -c "cp -r /usr/src/rnull-ubd-* /tmp/copy && cd /tmp/copy && exec ./build $3"
' build "$work/debian" "$symbols" "$version" >symbols.log 2>&1 </dev/null
is "a symbol that the kernel does not export is an error" "$?" 2
is "which names it" "$(grep '^rnull_ubd for' symbols.log)" \
	"rnull_ubd for Linux $version: this kernel does not export what the driver needs: vfs_fallocate"
rm -rf debian/tmp/copy

# It boots.

mke2fs -q -t ext4 -d debian disk 8G
# How QEMU runs guests here, as scripts/vm has found out.
accel=${RNULL_UBD_ACCEL:-$(cat "$cache/accel-$(uname -n | cat - /proc/sys/kernel/random/boot_id | hash_of)" 2>/dev/null)}
case $accel in
kvm) machine=(-accel kvm -cpu host) options= ;;
*) machine=(-accel tcg -cpu "max,la57=off") options="lpj=4000000 tsc=reliable no_timer_check" ;;
esac
mke2fs -q -t ext4 -L changes changes 1G
# What must not be written is so for QEMU, too.
on_unit="root=/dev/ubdb ubdhost=LABEL=changes rnull_ubd.ubd1=/run/ubd-host/root.cow:/dev/vda"
[ -n "$old_version" ] || skip "Linux $previous_series" "the archive has it no more"
for boot in ${old_version:+previous} first unit unit-again second; do
	: >out
	root=root=/dev/vda read_only='' boots=$version
	[ "$boot" != previous ] || boots=$old_version
	[[ $boot != unit* ]] || root=$on_unit read_only=,readonly=on
	timeout -k 5 1800 qemu-system-x86_64 -no-user-config -nodefaults -display none -no-reboot -machine pc \
		"${machine[@]}" -smp 2 -m 1G -kernel "debian/boot/vmlinuz-$boots" -initrd "debian/boot/initrd.img-$boots" \
		-append "$root console=ttyS0 panic=-1 $options" \
		-drive "if=virtio,format=raw,file=disk$read_only" -drive if=virtio,format=raw,file=changes -serial "file:console" -serial "file:out" </dev/null >qemu 2>&1
	while read -r line; do
		case $line in
		"ok "*) ok "$boot boot: ${line#ok }" ;;
		"not ok "*) not_ok "$boot boot: ${line#not ok }" ;;
		"#"*) echo "$line" ;;
		esac
	done < <(tr -d '\r' <out)
	check "$boot boot: it came to its end" grep -q ^end out || { note "$(tail -n 40 console)"; break; }
	is "$boot boot: the kernel has nothing to complain of" \
		"$(grep -aE 'WARNING: |BUG: |Oops|Call Trace' console)" ""
done
plan
