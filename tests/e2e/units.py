#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""
Many units over one golden image, by several processes at a time.

What each disk must hold follows from the image, a seed and the unit's number.
"""

import mmap
import os
import random

from model import SECTOR, Wrong, file_size
from model.cli import main
from model.compare import first_difference
from model.cow import Cow
from model.processes import apart

CONFIG = "/sys/kernel/config/ubd"


def letters(unit):
    """A unit's name, as disks of sd have them."""
    name = ""
    while unit >= 0:
        name = chr(ord("a") + unit % 26) + name
        unit = unit // 26 - 1
    return name


def disk(unit):
    return f"/dev/ubd{letters(unit)}"


def wanted(args, unit, golden):
    """What a unit must hold after the first rounds of writes, and the next one:
    (offset, bytes) each."""
    want, sectors = bytearray(golden), len(golden) // SECTOR
    for n in range(args.round + 1):
        rng = random.Random(f"{args.seed}/{unit}/{n}")
        writes = []
        for _ in range(3):
            first = rng.randrange(sectors)
            count = rng.randrange(1, min(16, sectors - first) + 1)
            writes.append((first * SECTOR, rng.randbytes(count * SECTOR)))
        if n < args.round:
            for at, data in writes:
                want[at:at + len(data)] = data
    return want, writes


class Units:
    """What is done with a unit."""

    def __init__(self, args):
        self.args = args
        with open(args.golden, "rb") as f:
            self.golden = f.read()
        self.buf = mmap.mmap(-1, len(self.golden))

    def cow(self, unit):
        return f"{self.args.cows}/{unit}.cow"

    def attach(self, unit):
        """By its number or its letters."""
        folder = f"{CONFIG}/{letters(unit) if unit % 2 else unit}"
        os.mkdir(folder)
        for name, text in (("file", self.cow(unit)), ("backing_file", self.args.golden),
                           ("power", "1")):
            with open(f"{folder}/{name}", "w", encoding="ascii") as f:
                f.write(text)
        if not os.path.exists(disk(unit)):
            raise Wrong(f"unit {unit} has no node {disk(unit)}")

    def detach(self, unit):
        os.rmdir(f"{CONFIG}/{letters(unit) if unit % 2 else unit}")
        if os.path.exists(disk(unit)):
            raise Wrong(f"unit {unit} still has its node {disk(unit)}")

    def compare(self, got, unit, want):
        if got != want:
            raise Wrong(f"unit {unit}: {first_difference(got, want, 0)}")

    def check(self, unit):
        """Every byte, as the disk reads it."""
        want, _ = wanted(self.args, unit, self.golden)
        fd = os.open(disk(unit), os.O_RDONLY | os.O_DIRECT)
        done = os.preadv(fd, [self.buf], 0)
        os.close(fd)
        if done != len(want):
            raise Wrong(f"unit {unit}: {done} of {len(want)} bytes read")
        self.compare(self.buf[:], unit, want)

    def write(self, unit):
        """The next round of writes, and then every byte."""
        want, writes = wanted(self.args, unit, self.golden)
        fd = os.open(disk(unit), os.O_RDWR | os.O_DIRECT)
        for at, data in writes:
            self.buf[:len(data)] = data
            if os.pwrite(fd, memoryview(self.buf)[:len(data)], at) != len(data):
                raise Wrong(f"unit {unit}: short write")
            want[at:at + len(data)] = data
        os.preadv(fd, [self.buf], 0)
        self.compare(self.buf[:], unit, want)
        os.close(fd)

    def merge(self, unit):
        """The COW file, by its format alone."""
        want, _ = wanted(self.args, unit, self.golden)
        cow = Cow.load(self.cow(unit))
        self.compare(cow.merge(self.cow(unit)), unit, want)


def each(args):
    """Do it with all units, by several processes at a time."""
    def work(process):
        units = Units(args)
        if file_size(args.golden) % SECTOR:
            raise Wrong("the golden image ends within a sector")
        for unit in range(args.first + process, args.first + args.count, args.processes):
            getattr(units, args.what)(unit)

    apart((f"{args.what}, process {n}", lambda n=n: work(n)) for n in range(args.processes))


def commands(command):
    p = command("each", each)
    p.add_argument("what", choices=("attach", "detach", "check", "write", "merge"))
    p.add_argument("golden")
    p.add_argument("cows", help="the folder of the COW files")
    p.add_argument("--first", type=int, default=0)
    p.add_argument("--count", type=int, default=1)
    p.add_argument("--processes", type=int, default=8)
    p.add_argument("--round", type=int, default=0, help="so many times it has been written to")
    p.add_argument("--seed", default="units")


if __name__ == "__main__":
    main(__doc__, commands)
