#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""
A COW file of a large disk with every second sector set, looked at in places.

Most of the disk is a hole in both files. In the places each sector says its
number and which of the files it is in.
"""

import mmap
import os
import random
import struct

from model import SECTOR, Wrong, file_size
from model.cli import main
from model.cow import Cow

RUN = 32
BACK, COW, NEW = 1, 2, 3


def places(args, sectors):
    """First sectors of the places: ends of bitmap pages and anywhere."""
    rng = random.Random(args.seed)
    found = {0, sectors - RUN}
    while len(found) < args.places:
        at = rng.randrange(0, sectors - RUN)
        if rng.randrange(2):
            at = at // 32768 * 32768 - RUN // 2
        found.add(max(0, at))
    taken = []
    for at in sorted(found):
        if not taken or at >= taken[-1] + RUN:
            taken.append(at)
    return taken


def sector(kind, s):
    return struct.pack("<QQ", kind, s) * (SECTOR // 16)


def written(args, at):
    """The sectors of a place that are written over: (first, count)."""
    rng = random.Random(f"{args.seed}/{at}")
    first = rng.randrange(RUN)
    return at + first, rng.randrange(1, RUN + 1 - first)


def make(args):
    """Make the COW file, and write to both files in the places."""
    size = file_size(args.back)
    cow = Cow(3, os.path.abspath(args.back), 0, size)
    found = places(args, cow.sectors)
    with open(args.back, "r+b") as f:
        for at in found:
            f.seek(at * SECTOR)
            f.write(b"".join(sector(BACK, s) for s in range(at, at + RUN)))
    cow.mtime = int(os.stat(args.back).st_mtime)
    with open(args.cow, "w+b") as f:
        f.truncate(cow.data_offset + size)
        f.write(cow.header())
        f.seek(cow.bitmap_offset)
        for _ in range(cow.bitmap_len >> 20):
            f.write(b"\xaa" * (1 << 20))
        for at in found:
            f.seek(cow.data_offset + at * SECTOR)
            f.write(b"".join(sector(COW, s) for s in range(at, at + RUN)))


def sample(args):
    """Read the places, and the space around; then write to them."""
    fd = os.open(args.cow, os.O_RDWR | os.O_DIRECT)
    sectors = file_size(args.cow) // SECTOR
    buf = mmap.mmap(-1, RUN * SECTOR)
    for at in places(args, sectors):
        got = buf[:os.preadv(fd, [buf], at * SECTOR)]
        first, count = written(args, at)
        want = b"".join(
            sector(NEW if args.again and first <= s < first + count else
                   COW if s % 2 else BACK, s) for s in range(at, at + RUN))
        if got != want:
            raise Wrong(f"sectors {at} to {at + RUN - 1} differ")
        if not args.again:
            data = b"".join(sector(NEW, s) for s in range(first, first + count))
            buf[:len(data)] = data
            os.pwritev(fd, [memoryview(buf)[:len(data)]], first * SECTOR)
    os.fsync(fd)


def bits(args):
    """Exactly the bits of what was written have been added."""
    with open(args.cow, "rb") as f:
        cow = Cow.parse(f.read(8192))
        want = bytearray(b"\xaa" * cow.bitmap_len)
        for at in places(args, cow.sectors):
            first, count = written(args, at)
            for s in range(first, first + count):
                want[s // 8] |= 1 << s % 8
        f.seek(cow.bitmap_offset)
        if f.read(cow.bitmap_len) != want:
            raise Wrong("the bitmap differs")


def commands(command):
    for function in (make, sample, bits):
        p = command(function.__name__, function)
        p.add_argument("cow", help="the COW file, or its disk")
        if function is make:
            p.add_argument("back")
        p.add_argument("--seed", default="scale")
        p.add_argument("--places", type=int, default=300)
        p.add_argument("--again", action="store_true", help="it has been written")


if __name__ == "__main__":
    main(__doc__, commands)
