#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# where: host
#
# The examples of Documentation: their commands are taken from the pages, do
# what the pages say, and leave no unit behind. Those that this guest lacks something
# for run in a Debian, by e2e/deb.
# kernel: release

. "$(dirname "$0")/lib.sh"
. "$e2e/guest.bash"
. "$e2e/program.bash"
. "$e2e/pages.bash"

# An NFS server with nothing to serve, as a machine has it that is one.
nfs_server() {
	mkdir -p /run/rpc_pipefs /var/lib/nfs/nfsdcld &&
		mount -t nfsd nfsd /proc/fs/nfsd && mount -t rpc_pipefs rpc /run/rpc_pipefs &&
		: >/etc/exports && echo "127.0.0.1 server" >>/etc/hosts &&
		nfsdcld && rpc.mountd --no-nfs-version 3 --no-udp && rpc.nfsd --no-nfs-version 3 -G 10 -L 10 2
}

guest_pages() {
	local page
	# What is installed on a machine that uses it; systemd does nothing else with its
	# service.
	mkdir /run/bin
	cp "$work/ubd" /run/bin
	cat >/run/bin/systemctl <<-END
		#!/bin/bash
		case "\$*" in
		"start ubd@"*) modprobe rnull_ubd && exec "$top/tools/ubdtab/ubdtab" attach ubda ;;
		"stop ubd@"*) exec "$top/tools/ubdtab/ubdtab" detach ubda ;;
		daemon-reload) ;;
		*) exit 1 ;;
		esac
	END
	chmod +x /run/bin/systemctl
	export PATH=/run/bin:$PATH
	: >/etc/fstab
	for page in "$top"/Documentation/example-*.rst; do
		case $(basename "$page" .rst) in
		example-raid)
			command -v mdadm >/dev/null || { skip "raid" "mdadm is missing"; continue; }
			;;
		example-nfs) check "an NFS server" nfs_server || continue ;;
		esac
		run_page "$page" "/run/pages/$(basename "$page" .rst)"
		! loaded || is "$(basename "$page"): no unit is left" "$(ubd list -n)" ""
		! loaded || check "$(basename "$page"): nothing is in use" unload
	done
	rpc.nfsd 0
	plan
}

if [ $# != 0 ]; then
	"$1_$3"
	exit
fi

get_program
guest_tests pages
# Who writes a page must not forget the list of them.
for page in "$top"/Documentation/example-*.rst; do
	page=$(basename "$page" .rst)
	check "$page is in the list of examples" grep -qx "   $page" "$top/Documentation/examples.rst"
done
plan
