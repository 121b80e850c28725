#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# where: host
#
# A checkout may lie anywhere: here it is below /tmp, with a space and what else
# means something to the shell, make or QEMU in its path. The cache may not, for
# kernels are built there.
# kernel: release

# The file runs itself from such a place, as its user would: outside of the
# tool chain's folder.
if [ $# = 0 ] && [ -z "${UBD_TEST_MOVED:-}" ]; then
	moved="/tmp/ubd-clone/a clone, of=ubd: \$x"
	mkdir -p "$moved" && cd "$(dirname "$0")/../.." &&
		cp -a -t "$moved" .kunitconfig Kbuild Kconfig Makefile rnull_ubd.rs Documentation ubd scripts tests tools || exit
	UBD_TEST_MOVED=1 exec env -u RNULL_UBD_IN_TOOLCHAIN bash "$moved/tests/e2e/anywhere.sh"
fi
. "$(dirname "$0")/lib.sh"
. "$e2e/uml.bash"

# Run in a guest, with a folder and a disk whose paths are of the same kind.
guest_seen() {
	local folder=$work/"share, of=ubd: x"
	check "a guest has the checkout" test -e "$top/Kbuild" -a "$OLDPWD" = "$top"
	check "and its module" load "ubd0=/dev/vda"
	is "and the disk" "$(dd if=/dev/ubda bs=5 count=1 status=none)" "vda's"
	check "and the folder" grep -qx shared "$folder/from-host"
	echo written >"$folder/from-guest"
	check "unload" unload
	plan
}

uml_seen() {
	test -e "$e2e/lib.sh" -a -b /dev/ubda
}

if [ $# != 0 ]; then
	"$1_$3"
	exit
fi
. "$e2e/guest.bash"

mkdir "share, of=ubd: x"
echo shared >"share, of=ubd: x/from-host"
echo "vda's" >"disk, of=ubd: x"
truncate -s 1M "disk, of=ubd: x"
guest_tests seen --share-rw "$work/share, of=ubd: x" --disk "$work/disk, of=ubd: x"
check "what the guest wrote to the folder is there" grep -qx written "share, of=ubd: x/from-guest"
truncate -s 1M disk
check "UML has the checkout too" uml seen "ubd0=$work/disk"
mkdir -p /tmp/elsewhere
cd /tmp/elsewhere || exit
check "scripts/vm, from a folder that the guest does not see" "$top/scripts/vm" --no-module -- true
cd "$work" || exit
check "scripts/ubd" "$top/scripts/ubd" --help

mkdir -p "a tree/drivers/block" "a tree/Documentation/"{admin-guide/blockdev,ABI/testing}
touch "a tree/Kbuild"
echo "# of drivers" >"a tree/drivers/block/Makefile"
echo endif >"a tree/drivers/block/Kconfig"
echo "   drbd/index" >"a tree/Documentation/admin-guide/blockdev/index.rst"
cp -r "a tree" before
check "scripts/integrate" "$top/scripts/integrate" "a tree"
check "all of the driver is there" diff -r "$top/ubd" "a tree/drivers/block/ubd/ubd"
check "scripts/integrate --remove" "$top/scripts/integrate" "a tree" --remove
check "nothing is left of it" diff -r before "a tree"

check "make help" make -s -C "$top" help
# A kernel's build would say "building multiple external modules is not supported".
make -s -C "$top" "KDIR=$("$top/scripts/kernel")" >out 2>&1
is "make, where no kernel builds a module: fails" $? 2
is "and has one line on it" "$(grep -v '^make' out)" \
	"a kernel builds no module in '$top', for its name: see scripts/module"
for cache in "$work/a b" "$work/a,b" "$work/a:b"; do
	RNULL_UBD_CACHE=$cache "$top/scripts/kernel" >out 2>&1
	is "a cache where no kernel builds (${cache##*/}): the scripts fail" $? 1
	is "and have one line on it" "$(cat out)" \
		"toolchain: no kernel can be built below '$cache', for its name: set RNULL_UBD_CACHE to a folder without spaces and the like"
	check "and make nothing there" test ! -e "$cache"
done
plan
