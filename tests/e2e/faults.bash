# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# faults.py in a guest, where to start an interpreter for every request takes
# too long. To be sourced after lib.sh.

# shellcheck disable=SC2154
python3 "$e2e/faults.py" serve /tmp/faults &

# faults COMMAND...: faults.py; like model().
faults() {
	ask /tmp/faults "$@"
}
