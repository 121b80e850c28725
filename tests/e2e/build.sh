#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# where: host
#
# The driver as its user builds it, on a kernel tree of one's own: by the
# Makefile out of the tree, and by scripts/integrate as a part of it.
# kernel: release

. "$(dirname "$0")/lib.sh"

tree=$("$top/scripts/kernel")
# Of the checkout, what a user has who has built nothing in it.
mkdir copy
# shellcheck disable=SC2016
bash -c '. "$1/scripts/lib.sh" && cd "$1" && { driver_files; echo Makefile; echo scripts/built-with; } | cpio --quiet -pdm "$2"' \
	copy "$top" "$work/copy"

# state FOLDER: each file in it, with its bytes and its time.
state() {
	(cd "$1" && find . -type f -printf '%T@ ' -exec sha256sum {} \; -o ! -type f -printf '%y %p %l\n' | sort -k 2)
}

# Out of the tree.

state copy >before
make -C copy KDIR="$tree" >out 2>&1
is "make KDIR=...: builds" $? 0 || note "$(tail -n 40 out)"
check "the module" modinfo -F description copy/rnull_ubd.ko
is "with no warning" "$(grep -i warning out)" ""
check "make modules_install" make -C copy KDIR="$tree" INSTALL_MOD_PATH="$work/root" modules_install
version=$(make -s -C "$tree" kernelrelease)
is "the module is where modprobe looks" "$(modprobe -d "$work/root" -S "$version" -n -v rnull_ubd 2>&1 | xargs)" \
	"insmod $work/root/lib/modules/$version/updates/rnull_ubd.ko"
check "make clean" make -C copy KDIR="$tree" clean
is "and the checkout is as it was" "$(state copy | diff before -)" ""
for word in modules_install KDIR= clean run test; do
	check "make help has $word" grep -q "$word" <(make -s -C copy help)
done
make -s -C copy KDIR="$work/none" >out 2>&1
is "no tree there: make fails" $? 2
is "and has one line on it" "$(grep -v '^make' out)" \
	"there is no kernel to build for in $work/none: install its headers, or name a tree with KDIR="

# Trees of other compilers, which only say what make was asked for; and compilers
# that only say what they are.

mkdir -p tree/include/config tree/rust bin
# shellcheck disable=SC2016
printf 'modules:\n\t@echo "LLVM=$(LLVM) CC=$(CC) LD=$(LD) M=$(M)"\n' >tree/Makefile
# configured LINE...: the tree's configuration, with the rustc that is here.
configured() {
	printf 'CONFIG_%s\n' "$@" "RUSTC_VERSION_TEXT=$(rustc --version)" >tree/include/config/auto.conf
}
# compiler NAME TEXT: a command that says this of its version.
compiler() {
	printf '#!/bin/sh\necho "%s"\n' "$2" >"bin/$1"
	chmod +x "bin/$1"
}
for tool in bash env make sed rustc; do
	ln -s "$(command -v $tool)" bin
done
# asked NAME WANT [VARIABLE=VALUE...]: what make does with only the commands of bin.
asked() {
	local what=$1 want=$2
	shift 2
	is "$what" "$(env PATH="$work/bin" make -s -C copy KDIR="$work/tree" "$@" 2>&1 | grep -v '^make')" "$want"
}
with="M=$work/copy"
configured RUST=y "CC_VERSION_TEXT=gcc (Debian 14.2.0-19) 14.2.0"
asked "no Rust metadata in the tree" "$work/tree has no Rust metadata (rust/libkernel.rmeta): build the kernel there, or install what has it (on Ubuntu, the package linux-lib-rust-... of the kernel's version)"
touch tree/rust/libkernel.rmeta
asked "gcc is missing" "gcc 14 is missing: install gcc-14, as the kernel was built with gcc (Debian 14.2.0-19) 14.2.0"
compiler gcc-14 "gcc-14 (Debian 14.2.0-19) 14.2.0"
asked "a kernel by gcc, which has another name here" "LLVM= CC=gcc-14 LD=ld $with"
compiler gcc "gcc (Debian 13.3.0-1) 13.3.0"
asked "or is not the one by that name" "LLVM= CC=gcc-14 LD=ld $with"
compiler gcc "gcc (Debian 14.2.0-19) 14.2.0"
asked "a kernel by gcc" "LLVM= CC=cc LD=ld $with"
configured RUST=y "CC_VERSION_TEXT=gcc-14 (Debian 14.2.0-19) 14.2.0" LD_IS_LLD=y
asked "with the linker of LLVM" "LLVM= CC=cc LD=ld.lld $with"
text="Debian clang version 19.1.7 (3+b1)"
configured RUST=y "CC_VERSION_TEXT=$text" CC_IS_CLANG=y LD_IS_LLD=y
asked "clang is missing" "clang 19 is missing: install clang-19, lld-19 and llvm-19, as the kernel was built with $text"
compiler clang "Debian clang version 17.0.6"
asked "clang is another one" "clang 19 is missing: install clang-19, lld-19 and llvm-19, as the kernel was built with $text"
compiler clang-19 "$text"
asked "the linker is missing" "ld.lld-19 is missing: install lld-19 and llvm-19, with which the kernel was built"
compiler ld.lld-19 LLD
asked "a kernel by clang, which has another name here" "LLVM=-19 CC=cc LD=ld $with"
compiler clang "$text"
compiler ld.lld LLD
asked "a kernel by clang" "LLVM=1 CC=cc LD=ld $with"
asked "who says LLVM= is asked for it" "LLVM=-18 CC=cc LD=ld $with" LLVM=-18
configured RUST=y "CC_VERSION_TEXT=$text" CC_IS_CLANG=y LD_IS_BFD=y
asked "with another linker" "LLVM= CC=clang LD=ld $with"
asked "rustc is missing" "/none/rustc is missing: install $(rustc --version), with which the kernel was built" RUSTC=/none/rustc
rm bin/rustc
asked "rustc is not in the path" "rustc is missing: install $(rustc --version), with which the kernel was built"
compiler rustc "rustc 1.78.0 (9b00956e5 2024-04-29)"
asked "rustc is the wrong version" "rustc is the wrong version, rustc 1.78.0 (9b00956e5 2024-04-29): install $(rustc --version), with which the kernel was built, and name it with RUSTC="
configured "CC_VERSION_TEXT=$text"
asked "no CONFIG_RUST" "the kernel in $work/tree was built without CONFIG_RUST=y: build it with that, or install one that was"
rm tree/include/config/auto.conf
asked "no configuration" "the kernel in $work/tree is not configured: build it, with CONFIG_RUST=y, or name another tree with KDIR="
make -s -C copy KDIR="$work/tree" >out 2>&1
is "make fails then" $? 2

# As a part of a tree: of links, but for what may change.

docs=Documentation/admin-guide/blockdev
abi=Documentation/ABI/testing
mkdir -p linux/drivers/block linux/$docs linux/$abi
for file in "$tree"/{*,drivers/*,drivers/block/*,Documentation/*,Documentation/{admin-guide,ABI}/*,$docs/*,$abi/*}; do
	place=linux${file#"$tree"}
	[ -d "$place" ] || ln -s "$file" "$place"
done
for file in drivers/block/{Kconfig,Makefile} $docs/index.rst .config; do
	rm -f "linux/$file"
	cp -p "$tree/$file" "linux/$file"
done
rm -f linux/.config.old
state linux >before
mkdir -p kept
cp -pr linux/drivers/block/{Kconfig,Makefile} kept
cp -p linux/$docs/index.rst documents
check "scripts/integrate" "$top/scripts/integrate" linux
check "the driver is in the tree" test -e linux/drivers/block/ubd/rnull_ubd.rs -a -e linux/drivers/block/ubd/ubd/kernel/helpers.h
is "and the tree knows of it" "$(diff kept linux/drivers/block | grep '^>')" \
	"> source \"drivers/block/ubd/Kconfig\""$'\n'"> obj-\$(CONFIG_BLK_DEV_RUST_UBD) += ubd/"
check "and so are its documents" test -e linux/$docs/ubd/index.rst -a -e linux/$abi/configfs-ubd
is "which the tree's list has" "$(diff documents linux/$docs/index.rst | grep '^>')" ">    ubd/index"
state linux >integrated
check "scripts/integrate, again" "$top/scripts/integrate" linux
is "changes nothing" "$(state linux | diff integrated -)" ""
for value in y m; do
	cp -p "$tree/.config" linux/.config
	echo "CONFIG_BLK_DEV_RUST_UBD=$value" >>linux/.config
	check "make olddefconfig takes the driver as $value" make -s -C linux LLVM=1 olddefconfig
	check "and keeps it" grep -qx "CONFIG_BLK_DEV_RUST_UBD=$value" linux/.config
done
rm -f linux/.config.old
cp -p "$tree/.config" linux/.config
check "scripts/integrate --remove" "$top/scripts/integrate" linux --remove
is "leaves the tree as it was" "$(state linux | sed 's/^[0-9.]* //' | diff <(sed 's/^[0-9.]* //' before) -)" ""
check "scripts/integrate --remove, where there is nothing to remove" "$top/scripts/integrate" linux --remove
refuse "what is no tree is refused" "$top/scripts/integrate" kept
plan
