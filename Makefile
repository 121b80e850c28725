# SPDX-License-Identifier: GPL-2.0
#
# The user's targets. The kernel's build reads Kbuild, not this.

KDIR ?= /lib/modules/$(shell uname -r)/build

.PHONY: module modules_install clean help run test crash bench fuzz check deb htmldocs rustdoc figures

module:
	@case $$PWD in \
	*[!-[:alnum:]/._+@~]*) echo "a kernel builds no module in '$$PWD', for its name: see scripts/module" >&2; exit 1 ;; \
	esac
	@built=$$(scripts/built-with "$(KDIR)") && $(MAKE) -C "$(KDIR)" M="$$PWD" $$built modules

modules_install clean:
	$(MAKE) -C "$(KDIR)" M="$$PWD" $@

help:
	@echo 'make [KDIR=tree]          build rnull_ubd.ko (for the running kernel), with the'
	@echo '                          compilers that the kernel was built with'
	@echo 'make modules_install      install it'
	@echo 'make clean                remove what was built here'
	@echo
	@echo 'These need git, make and mmdebstrap only; the rest they make themselves, in'
	@echo '$$RNULL_UBD_CACHE (~/.cache/rnull_ubd):'
	@echo 'make run [UML=1]          see the driver at work in a guest, or in User-mode Linux'
	@echo 'make check                for every change: style, host tests, KUnit; a minute'
	@echo 'make test [TESTS=text]    all tests, or those with the text in their name; with'
	@echo '                          ALL=1 also those that take too long for every day'
	@echo 'make crash [POINTS=1000]  the crash tests, with so many crashes for each file system'
	@echo 'make fuzz                 fuzz what reads headers and options (FUZZ_SECONDS=600)'
	@echo 'make bench [BENCH=text]   measure, beside loop and others; all cells, or those with the text'
	@echo '                          in their name; BENCH=--disk, --aged, --cold, --hold, --memory, --units,'
	@echo '                          --smp or --uml measures other things, BENCH=--help tells more'
	@echo 'make deb                  Debian packages: the module by dkms, and the tools'
	@echo 'make htmldocs             Documentation/ as a kernel tree builds it'
	@echo 'make rustdoc              the modules of the driver, by rustdoc'
	@echo 'make figures              the pictures of Documentation/, from the texts beside them'

run:
	@scripts/demo $(if $(UML),--uml)

test:
	@tests/run

crash:
	@ALL=1 RNULL_UBD_CRASH_POINTS=$(or $(POINTS),1000) tests/run "e2e/crash release" "e2e/crash_files release" \
		"e2e/crash_fs release"

check:
	@tests/run --quick

fuzz:
	@scripts/toolchain env FUZZ_SECONDS=$(or $(FUZZ_SECONDS),600) tests/host/run.sh

bench:
	@scripts/bench $(BENCH)

deb:
	@scripts/deb/build

htmldocs:
	@scripts/htmldocs

rustdoc:
	@scripts/rustdoc

figures:
	@scripts/figures
