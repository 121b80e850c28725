# SPDX-License-Identifier: GPL-2.0
#
# The user's targets. The kernel's build reads Kbuild, not this.

KDIR ?= /lib/modules/$(shell uname -r)/build
here := $(dir $(abspath $(lastword $(MAKEFILE_LIST))))

.PHONY: module modules_install clean help run test crash bench fuzz check

module:
	@test -e "$(KDIR)/Makefile" || \
		{ echo "there is no kernel to build for in $(KDIR): install its headers, or name a tree with KDIR=" >&2; exit 1; }
	$(MAKE) -C "$(KDIR)" M="$(here)" modules

modules_install clean:
	$(MAKE) -C "$(KDIR)" M="$(here)" $@

help:
	@echo 'make LLVM=1 [KDIR=tree]   build rnull_ubd.ko (for the running kernel)'
	@echo 'make modules_install      install it'
	@echo 'make clean                remove what was built here'
	@echo
	@echo 'These need git, make and mmdebstrap only; the rest they make themselves, in'
	@echo '$$RNULL_UBD_CACHE (~/.cache/rnull_ubd):'
	@echo 'make run                  see the driver at work in a guest'
	@echo 'make test [TESTS=text]    all tests, or those with the text in their name'
	@echo 'make crash [POINTS=1000]  the crash tests, with so many crashes for each file system'
	@echo 'make check                style: rustfmt, clippy, checkpatch, shellcheck'
	@echo 'make fuzz                 fuzz what reads headers and options (FUZZ_SECONDS=600)'
	@echo 'make bench [BENCH=text]   measure, beside loop and others; all cells, or those with the text'
	@echo '                          in their name; BENCH=--cold, --memory or --smp measures'
	@echo '                          other things, BENCH=--help tells more'

run:
	@scripts/demo

test:
	@tests/run

crash:
	@RNULL_UBD_CRASH_POINTS=$(or $(POINTS),1000) tests/run "e2e/crash release" "e2e/crash_fs release"

check:
	@scripts/check

fuzz:
	@scripts/toolchain env FUZZ_SECONDS=$(or $(FUZZ_SECONDS),600) tests/host/run.sh

bench:
	@scripts/bench $(BENCH)
