# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# For a test file with `# where: host` whose tests are done in a guest, because
# the guest must have a disk or a folder of the host's. To be sourced after
# lib.sh.

# guest_tests NAME [OPTION...]: run guest_NAME in a guest with these options of
# scripts/vm; its tests count as this file's.
guest_tests() {
	local line code=1 seen=0 planned=none before
	# shellcheck disable=SC2154
	before=$failures
	while IFS= read -r line; do
		case $line in
		"ok "*) seen=$((seen + 1)); ok "${line#* - }" ;;
		"not ok "*) seen=$((seen + 1)); not_ok "${line#* - }" ;;
		1..*) planned=${line#1..} ;;
		"guest ended: "*) code=${line##* } ;;
		*) echo "$line" ;;
		esac
	done < <(vm_self "$@" 2> >(tee guest.err >&2); echo "guest ended: $?")
	if [ "$planned" != $seen ] || { [ "$code" != 0 ] && [ "$failures" = "$before" ]; }; then
		not_ok "the guest ended well" "code $code, $seen tests of $planned"
		note "$(tail -n 90 guest.err)"
	fi
}
