# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# User-mode Linux (linux.uml, which runs as a plain process) for a test file
# with `# where: host`. To be sourced after lib.sh.

# uml NAME UBD...: run uml_NAME of the test file in UML, with these disks. Its
# root is the folder that we are in, /tmp and all: the checkout can be there, or
# in /dev/shm.
uml() {
	local function=$1
	shift
	rm -f uml.code
	# shellcheck disable=SC2154
	{
		echo '#!/bin/bash'
		echo 'export PATH=/usr/sbin:/usr/bin'
		echo 'mount -t proc proc /proc'
		echo 'mount -t devtmpfs dev /dev'
		echo 'mkdir -p /dev/shm && mount -t hostfs -o hostfs=/dev/shm shm /dev/shm'
		printf 'bash %q uml %q %q >%q 2>&1\n' "$e2e/$name.sh" "$work" "$function" "$work/uml.out"
		printf 'echo $? >%q\n' "$work/uml.code"
		echo 'sync'
		echo 'exec busybox poweroff -f'
	} >uml.init
	chmod +x uml.init
	[ -e ptrace.so ] || gcc -shared -fPIC -O2 -Wall -o ptrace.so "$e2e/uml_ptrace.c"
	timeout 600 env LD_PRELOAD="$work/ptrace.so" linux.uml mem=128M root=/dev/root rootfstype=hostfs rootflags=/ rw \
		init="$work/uml.init" con=null con0=null,fd:1 "$@" </dev/null >uml.log 2>&1
	cat uml.out
	[ "$(cat uml.code)" = 0 ] || { tail -n 20 uml.log; false; }
}
