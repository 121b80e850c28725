#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""What scripts/bench --units measured (stdin), as tables.

usage: units.py NAME    writes NAME.txt, NAME.json and NAME.md
"""

import sys

from document import machine, write
from memory import parse

TITLES = {
    "loop": "loop, a file each",
    "dm-snapshot": "dm-snapshot over a loop each",
    "ubd-cow": "ubd, a COW file each",
}


def grid(found, title, value):
    """A table of what was counted with one processor."""
    cells = {(kind, count): value(*rest) for cpus, kind, count, *rest in found["units"] if cpus == 1}
    counts = list(dict.fromkeys(count for _, count in cells))
    return title, [str(count) for count in counts], [
        [TITLES[kind]] + [cells.get((kind, count), "") for count in counts]
        for kind in dict.fromkeys(kind for kind, _ in cells)]


def tables(found):
    """Yields (title, header, rows)."""
    yield grid(found, "Memory, in MiB", lambda size, threads, us: f"{size / (1 << 20):.1f}")
    yield grid(found, "Threads", lambda size, threads, us: str(threads))
    yield grid(found, "Milliseconds for one more", lambda size, threads, us: f"{us / 1000:.1f}")

    # What the first ones take, all share.
    taken, columns = {}, []
    for cpus, kind, count, size, *_ in found["units"]:
        columns += [cpus] if cpus not in columns else []
        taken.setdefault((kind, cpus), []).append((count, size))
    cells = {}
    for key, counted in taken.items():
        (few, less), (many, more) = sorted(counted)[-2:]
        cells[key] = (more - less) / (many - few) / 1024
    yield ("One disk, in KiB", [f"{c} processor{'s' * (c > 1)}" for c in columns], [
        [TITLES[kind]] + [f"{cells[kind, c]:.0f}" if (kind, c) in cells else "" for c in columns]
        for kind in dict.fromkeys(kind for kind, _ in cells)])


def conditions(about):
    """What was measured, and how."""
    return (
        f"{machine(about)} Disks of 1 GiB over one image (loop has no such thing: a file each), none "
        "of them in use; files are sparse and on tmpfs. What the files and the page cache take is "
        "not counted, nor is what the kernel can give back. Threads are those that are there for "
        "good. Times are those of losetup, losetup and dmsetup, or mkdir and three writes to "
        "configfs, with one processor and a nanosecond an instruction, the middle of the last five. "
        "Of 64 processors two are switched on, the others only possible.")


def main():
    about, found = parse(sys.stdin)
    write(sys.argv[1], conditions(about), list(tables(found)), {"about": about, **found})


main()
