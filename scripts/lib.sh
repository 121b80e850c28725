# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2034
#
# What every script here needs: where things are, and how to speak to the
# user. To be sourced.

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
scripts=$top/scripts

# All that is built lives outside the checkout, so that a clean checkout does
# not pay for it again.
cache=$(realpath -m -- "${RNULL_UBD_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/rnull_ubd}")

# The kernel version that the project develops on: a Debian source package.
kernel_series=7.3
# The oldest that the driver is for.
previous_series=7.2

# step TEXT...: say what is about to happen.
step() {
	printf '\033[1m==>\033[0m %s\n' "$*" >&2
}

# die TEXT...: one clear line, and out.
die() {
	printf '%s: %s\n' "$(basename "$0")" "$*" >&2
	exit 1
}

# progress LOG WHAT: pass the log on stdin to a file, with a line on the screen
# every few hundred lines of it, so that a long step is seen to move.
progress() {
	local log=$1 what=$2

	awk -v log_file="$log" -v what="$what" -v tty="$([ -t 2 ] && echo 1)" '
		{ print > log_file }
		NR % 250 == 0 {
			text = sprintf("    %s: %d lines of log, now at: %.50s", what, NR, $0)
			if (tty)
				printf "\r\033[K%s", text > "/dev/stderr"
			else if (NR % 1000 == 0)
				print text > "/dev/stderr"
			fflush()
		}
		END { if (tty) printf "\r\033[K" > "/dev/stderr" }
	'
}

# hash_of: twelve hex digits that name what is on stdin.
hash_of() {
	sha256sum | cut -c1-12
}

# kernel_image FLAVOUR: the file below a tree that is booted.
kernel_image() {
	case $1 in
	uml | home*) echo linux ;;
	arm64*) echo arch/arm64/boot/Image ;;
	*) echo arch/x86/boot/bzImage ;;
	esac
}

# fetch PACKAGE FILE: into the tool chain, what few tests need and is not part of it from
# the start. FILE is of the package: who comes second finds it there.
fetch() {
	exec 9>"$cache/fetch.lock"
	flock 9
	if [ ! -e "$2" ]; then
		step "fetching $1"
		# shellcheck disable=SC2016
		"$scripts/toolchain" bash -euc 'apt-get -q update && apt-get -qy --no-install-recommends install "$1"' \
			fetch "$1" </dev/null >"$cache/fetch.log" 2>&1 9>&- ||
			die "Debian's archive has no $1, or can't be reached (log: $cache/fetch.log)"
	fi
	exec 9>&-
}

# driver_files: the driver's sources, one path below the checkout a line; what
# a build in the checkout leaves there is not among them.
driver_files() {
	(
		cd "$top" || exit
		find Kbuild Kconfig .kunitconfig rnull_ubd.rs ubd -type f \
			\( -name 'K*' -o -name .kunitconfig -o -name '*.rs' -o -name '*.[chS]' \) \
			! -name '*.mod.c' ! -name '*_generated.*' | sort
	)
}

# driver_key: names the state of the driver's sources.
driver_key() {
	driver_files | (cd "$top" && xargs -d '\n' sha256sum) | hash_of
}
