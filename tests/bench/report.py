#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""What the guest of scripts/bench prints (stdin), as tables and a plot.

usage: report.py NAME    writes NAME.txt, NAME.json, NAME.md and NAME.svg
"""

import sys

from document import machine, write
from plot import svg
from runs import parse, summed
from tables import tables


def conditions(about):
    """What was measured, and on what, in a line or two."""
    how = ("Two processors, in real time: figures depend on the machine"
           if about.get("mode") == "smp" else
           "One processor, a nanosecond an instruction: "
           "times are the guest's, not the machine's")
    where = f"image files on {about.get('place')}"
    if about.get("mode") == "cold":
        where += ", written in full and not in the page cache"
    elif about.get("mode") == "disk":
        where = "image files on XFS and ext4 on null_blk, 10 microseconds a request"
    return f"{machine(about)} fio: io_uring, direct=1, 256 MiB; {where}. {how}."


def main():
    about, runs = parse(sys.stdin)
    if not runs:
        raise SystemExit("there is nothing to report")
    results = summed(runs)
    write(sys.argv[1], conditions(about), list(tables(results, about.get("mode"))),
          {"about": about, "results": results}, svg(results))


main()
