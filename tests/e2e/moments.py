#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""
Moments of a disk: it is written in a known order, one write at a time, so that
a copy of it that was taken meanwhile must be what it was behind one of them.

    moments.py write DISK COUNTER       until COUNTER.stop is there
    moments.py mark DISK COUNTER DEVICE the same, and marks each flush in the record
                                        of a dm-log-writes device: flushed-N
    moments.py left DISK N              what a crash has left of it, with N flushed
    moments.py check DISK COUNTER MIN   a copy, taken behind write MIN or later
    moments.py whole DISK COUNTER       the disk itself, when all was written

Write n goes to block n % BLOCKS. COUNTER has the number of the last one that
has ended, and says from where the next writer goes on.
"""

import mmap
import os
import struct
import subprocess
import sys

BLOCK = 4096
SECTOR = 512
BLOCKS = 192


def place(n):
    """Where a block is on the disk: some beside each other, most not."""
    at = n * 7 + n // 8 * 3
    return at % (BLOCKS * 2) * BLOCK


PLACES = []


def places():
    if not PLACES:
        taken = set()
        for n in range(BLOCKS):
            at = place(n)
            while at in taken:
                at = (at + BLOCK) % (BLOCKS * 2 * BLOCK)
            taken.add(at)
            PLACES.append(at)
    return PLACES


def contents(n):
    return struct.pack("<Q", n) * (BLOCK // 8)


def last(counter):
    try:
        with open(counter, encoding="ascii") as f:
            return int(f.read() or 0)
    except FileNotFoundError:
        return 0


def write(disk, counter, logged=None):
    fd = os.open(disk, os.O_RDWR | os.O_DIRECT)
    buffer = mmap.mmap(-1, BLOCK)
    count = os.open(counter, os.O_RDWR | os.O_CREAT)
    n = last(counter)
    while not os.path.exists(counter + ".stop"):
        n += 1
        buffer[:] = contents(n)
        if os.pwrite(fd, buffer, places()[n % BLOCKS]) != BLOCK:
            sys.exit("a short write")
        os.pwrite(count, b"%-20d" % n, 0)
        if n % (16 if logged else 64) == 0:
            os.fsync(fd)
            if logged:
                subprocess.run(["dmsetup", "message", logged, "0", "mark", f"flushed-{n}"],
                               check=True)


def check(disk, least, most):
    found = []
    with open(disk, "rb") as f:
        for block in range(BLOCKS):
            f.seek(places()[block])
            data = f.read(BLOCK)
            n, = struct.unpack_from("<Q", data)
            if n and data != contents(n):
                sys.exit(f"block {block} is a mix")
            found.append(n)
    moment = max(found)
    for block, n in enumerate(found):
        want = max(moment - (moment - block) % BLOCKS, 0)
        if n != want:
            sys.exit(f"the last write is {moment}, but block {block} has {n}, not {want}")
    if not least <= moment <= most:
        sys.exit(f"the last write is {moment}, not one of {least} to {most}")
    print(moment)


def left(disk, flushed):
    """Each sector has what was flushed, or what was written there later."""
    later = 0
    with open(disk, "rb") as f:
        for block in range(BLOCKS):
            least = max(flushed - (flushed - block) % BLOCKS, 0)
            f.seek(places()[block])
            for at in range(0, BLOCK, SECTOR):
                data = f.read(SECTOR)
                n, = struct.unpack_from("<Q", data)
                if data != contents(n)[:SECTOR] or n and n % BLOCKS != block:
                    sys.exit(f"byte {at} of block {block}: what was never written there")
                if n < least:
                    sys.exit(f"byte {at} of block {block} is of write {n}, but {least} was flushed")
                later |= n > flushed
    print("with later writes" if later else "as it was flushed")


def main():
    what, disk, counter = sys.argv[1:4]
    if what == "write":
        write(disk, counter)
    elif what == "mark":
        write(disk, counter, sys.argv[4])
    elif what == "left":
        left(disk, int(counter))
    elif what == "check":
        check(disk, int(sys.argv[4]), last(counter) + 1)
    else:
        check(disk, last(counter), last(counter))


main()
