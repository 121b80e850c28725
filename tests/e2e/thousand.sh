#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# where: host
#
# units.sh with a thousand of them.
# kernel: release
# when: all

many=1024
. "$(dirname "$0")/units.sh"
