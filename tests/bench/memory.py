#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""What scripts/bench --memory measured (stdin), as tables.

usage: memory.py NAME    writes NAME.txt, NAME.json and NAME.md
"""

import sys

from document import machine, write

TITLES = {
    "loop": "loop",
    "dm-snapshot": "dm-snapshot, its loops not counted",
    "ubd-plain": "ubd, plain image",
    "ubd-cow": "ubd, COW, fresh",
}
CACHE_LINE = 64


def parse(lines):
    """Returns what there is to know about the run, and a list of values by kind of line."""
    about, found = {}, {}
    for line in lines:
        word, *rest = line.split()
        if word == "@about":
            about.setdefault(rest[0], " ".join(rest[1:]))
        elif word.startswith("@"):
            found.setdefault(word[1:], []).append([int(w) if w.lstrip("-").isdigit() else w for w in rest])
        print("    " + line.rstrip("\n"), file=sys.stderr, flush=True)
    return about, found


def kib(value):
    """Bytes, in KiB."""
    return f"{value / 1024:.0f}"


def size(found, name):
    """Bytes of one of the kernel's structures."""
    return found[f"sizeof_{name}"][0][0]


def grid(title, cells):
    """A table of {(row, column): bytes}."""
    columns = list(dict.fromkeys(column for _, column in cells))
    return title, columns, [
        [TITLES.get(row, row)] + [kib(cells[row, c]) if (row, c) in cells else "" for c in columns]
        for row in dict.fromkeys(row for row, _ in cells)]


def processors(count):
    """How many there are, for people."""
    return f"{count} processor{'s' * (count > 1)}"


def tables(found):
    """Yields (title, header, rows)."""
    units, stacks = {}, {}
    for cpus, kind, disk, total, _, in_stacks in found["unit"]:
        column = f"{disk}iB, {processors(cpus)}"
        units[kind, column] = total
        stacks[kind, column] = in_stacks
    for (kind, column), total in list(units.items()):
        if kind == "loop":
            units["dm-snapshot and the loop of its store", column] = (
                total + units["dm-snapshot", column])
    yield grid("A unit, in KiB", units)
    yield grid("Of that in stacks of threads, in KiB", stacks)

    yield grid("Growth by writes of 4 KiB, in KiB", {
        (kind, {"sparse": "1024, one in every 16 MiB", "dense": "65536, all of 256 MiB"}[how]): grown
        for kind, how, grown in found["grown"]})

    header, rows = ["request", "driver's data", "in all, aligned"], {}
    for cpus, kind, queues, depth in found["queues"]:
        header += [made] if (made := f"made with a unit, {processors(cpus)}") not in header else []
        request = size(found, "request")
        data = size(found, "loop_cmd" if kind == "loop" else "RequestData")
        aligned = -(-(request + data) // CACHE_LINE) * CACHE_LINE
        row = rows.setdefault(kind, [kind.removesuffix("-plain"), str(request), str(data), str(aligned)])
        row.append(f"{queues * depth} requests")
    yield "A request, in bytes", header, list(rows.values())

    yield ("A fresh COW, in milliseconds", ["modprobe"], [
        ["no unit" if disk == "none" else f"{disk}iB", f"{us / 1000:.1f}"]
        for disk, us in found["attach"]])


def conditions(about, found):
    """What was measured, how, and what the tables do not say."""
    return (
        f"{machine(about)} Files are sparse and on tmpfs; what they and the page cache take is not "
        "counted, nor is what the kernel can give back. A unit is a fifteenth of what sixteen "
        "units take more than one, the middle of three rounds; some 10 KiB are chance. Milliseconds "
        "are a million instructions, or waits in the kernel as loading a module has them."
        "\n\ndm-snapshot has chunks of 4 KiB and a persistent store. "
        f"It has no requests: a bio takes {size(found, 'dm_bio')} bytes there, "
        f"{size(found, 'pending')} more while its chunk is copied, and {size(found, 'exception')} "
        "stay for every chunk that was, or for a run of those that are neighbours in both devices. "
        "What ubd keeps is 4 KiB for every 16 MiB of the disk that was touched.")


def main():
    about, found = parse(sys.stdin)
    write(sys.argv[1], conditions(about, found), list(tables(found)), {"about": about, **found})


if __name__ == "__main__":
    main()
