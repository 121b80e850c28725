#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""
Moments of a disk: it is written in a known order, one write at a time, so that
a copy of it that was taken meanwhile must be what it was behind one of them.

    moments.py write DISK COUNTER       until COUNTER.stop is there
    moments.py mark DISK COUNTER DEVICE the same, and marks each flush in the record
                                        of a dm-log-writes device: flushed-N
    moments.py left DISK N BASE [FILE:AT:FLUSHED...]
                                        what a crash has left of it, with N flushed, if it
                                        was like BASE before, and zeros behind that; and each
                                        FILE was written to byte AT, and flushed if that is
                                        not 0
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


def left(disk, flushed, base, pieces):
    """Each sector has what was flushed, or what was written there later."""
    later = 0
    with open(disk, "rb") as f:
        data = bytearray(f.read())
    with open(base, "rb") as f:
        first = f.read().ljust(len(data), b"\0")
    for block in range(BLOCKS):
        least = max(flushed - (flushed - block) % BLOCKS, 0)
        for i in range(0, BLOCK, SECTOR):
            at = places()[block] + i
            got, n = data[at:at + SECTOR], 0
            if got != first[at:at + SECTOR]:
                n, = struct.unpack_from("<Q", got)
                if not n or got != contents(n)[:SECTOR] or n % BLOCKS != block:
                    sys.exit(f"byte {i} of block {block}: what was never written there")
            if n < least:
                sys.exit(f"byte {i} of block {block} is of write {n}, but {least} was flushed")
            later |= n > flushed
            data[at:at + SECTOR] = first[at:at + SECTOR]
    for piece in pieces:
        name, start, there = piece.split(":")
        with open(name, "rb") as f:
            wrote = f.read()
        for i in range(0, len(wrote), SECTOR):
            at = int(start) + i
            if data[at:at + SECTOR] == wrote[i:i + SECTOR]:
                data[at:at + SECTOR] = first[at:at + SECTOR]
            elif int(there):
                sys.exit(f"byte {at} is not as it was flushed")
    if data != first:
        at = next(i for i, byte in enumerate(data) if byte != first[i])
        sys.exit(f"byte {at}: what was never written there")
    print("with later writes" if later else "as it was flushed")


def main():
    what, disk, counter = sys.argv[1:4]
    if what == "write":
        write(disk, counter)
    elif what == "mark":
        write(disk, counter, sys.argv[4])
    elif what == "left":
        left(disk, int(counter), sys.argv[4], sys.argv[5:])
    elif what == "check":
        check(disk, int(sys.argv[4]), last(counter) + 1)
    else:
        check(disk, last(counter), last(counter))


main()
