# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# How much memory the kernel uses, in bytes. To be sourced.

# meminfo NAME: in bytes
meminfo() {
	awk -v name="$1:" '$1 == name { print $2 * 1024 }' /proc/meminfo
}

# free_bytes: what processors have in stock is free, too.
free_bytes() {
	awk '$1 == "pages" && $2 == "free" { n += $3 }
		$1 == "count:" { n += $2 }
		END { print n * 4096 }' /proc/zoneinfo
}

# index_bytes: what the page cache takes to find its pages, which are the files'.
index_bytes() {
	awk '$1 == "radix_tree_node" { print $3 * $4 }' /proc/slabinfo
}

# used: bytes in use by the kernel, when it has given back all that it can: in
# all, in the slab, and in stacks.
used() {
	local cache index

	sync
	# Much is freed after a grace period only.
	sleep 1
	echo 3 >/proc/sys/vm/drop_caches
	for cache in /sys/kernel/slab/*; do
		[ -h "$cache" ] || echo 1 >"$cache/shrink"
	done
	index=$(index_bytes)
	echo $(($(meminfo MemTotal) - $(free_bytes) - $(meminfo Cached) - $(meminfo Buffers) -
		$(meminfo AnonPages) - $(meminfo PageTables) - index)) \
		$(($(meminfo Slab) - index)) "$(meminfo KernelStack)"
}

# middle: column by column, of the lines on stdin
middle() {
	awk '{ for (i = 1; i <= NF; i++) v[i, NR] = $i }
		END {
			for (i = 1; i <= NF; i++) {
				for (j = 1; j <= NR; j++)
					for (k = j + 1; k <= NR; k++)
						if (v[i, k] < v[i, j]) { t = v[i, j]; v[i, j] = v[i, k]; v[i, k] = t }
				printf "%d ", v[i, int((NR + 1) / 2)]
			}
		}'
}
