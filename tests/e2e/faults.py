#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""
Requests that may fail, and what a disk may hold afterwards: a request that
succeeded is there, of one that failed every sector is old or new.
"""

import errno
import fcntl
import json
import mmap
import os
import random
import struct

from logwrites import BLKDISCARD, sector_of, whose
from model import SECTOR, Wrong, file_size
from model.cli import main


class Disk:
    """A disk, and for each sector that was written the numbers that it may hold."""

    def __init__(self, dev, state):
        self.fd = os.open(dev, os.O_RDWR | os.O_DIRECT)
        self.sectors = file_size(dev) // SECTOR
        self.path = state
        self.buffer = mmap.mmap(-1, 64 << 10)
        self.may, self.next = {}, 1
        if os.path.exists(state):
            with open(state, encoding="ascii") as f:
                self.next, may = json.load(f)
            self.may = {int(s): set(ops) for s, ops in may.items()}

    def save(self):
        with open(self.path, "w", encoding="ascii") as f:
            json.dump([self.next, {s: sorted(ops) for s, ops in self.may.items()}], f)

    def write(self, first, count):
        """Returns the error's name or None."""
        op, self.next = self.next, self.next + 1
        data = b"".join(sector_of(op, s) for s in range(first, first + count))
        self.buffer[:len(data)] = data
        error = None
        try:
            if os.pwrite(self.fd, memoryview(self.buffer)[:len(data)], first * SECTOR) != len(data):
                raise Wrong("a short write")
        except OSError as e:
            error = errno.errorcode[e.errno]
        for s in range(first, first + count):
            self.may[s] = {op} | (self.may.get(s, {0}) if error else set())
        return error

    def discard(self, first, count):
        """Returns the error's name or None."""
        error = None
        try:
            fcntl.ioctl(self.fd, BLKDISCARD, struct.pack("<QQ", first * SECTOR, count * SECTOR))
        except OSError as e:
            error = errno.errorcode[e.errno]
        for s in range(first, first + count):
            self.may[s] = {0} | (self.may.get(s, set()) if error else set())
        return error

    def flush(self):
        try:
            os.fsync(self.fd)
        except OSError as e:
            return errno.errorcode[e.errno]
        return None

    def check(self):
        """Every sector that was ever written holds what it may; 0 is what was
        there at first, of which each sector must be zeros. No other sector is
        read: its file may not be readable."""
        runs = []
        for s in sorted(self.may):
            if runs and sum(runs[-1]) == s and runs[-1][1] < 128:
                runs[-1][1] += 1
            else:
                runs.append([s, 1])
        for first, count in runs:
            part = memoryview(self.buffer)[:count * SECTOR]
            got = self.buffer[:os.preadv(self.fd, [part], first * SECTOR)]
            for s in range(first, first + count):
                data = got[(s - first) * SECTOR:][:SECTOR]
                op = whose(data, s) if any(data) else 0
                if op not in self.may[s]:
                    raise Wrong(f"sector {s} holds {op}, may hold {sorted(self.may[s])}")


def known(text, errors):
    if text and text not in errors:
        raise Wrong(f"{text}, where only {errors} may be")
    return text


def fill(args):
    """Write 64 KiB pieces one behind the other until one fails with ENOSPC."""
    disk = Disk(args.dev, args.state)
    pieces = 0
    for first in range(args.start, disk.sectors - 127, 128):
        error = known(disk.write(first, 128), ["ENOSPC"])
        if error:
            break
        pieces += 1
        if pieces == args.most:
            break
    else:
        raise Wrong("it never filled up")
    disk.save()
    print(pieces)


def tries(args):
    """Random writes and flushes, of which some may fail with the errors named."""
    disk = Disk(args.dev, args.state)
    rng = random.Random(args.seed)
    # Of what a failed write left, nobody knows whether it has space.
    again = sorted(s for s, ops in disk.may.items() if len(ops) == 1 and 0 not in ops)
    failed = {}
    flushed = 0
    for n in range(args.ops):
        if n % 8 == 7:
            error = known(disk.flush(), args.errors)
            flushed += not error
        else:
            if args.again:
                first, count = rng.choice(again), 1
            else:
                count = rng.choice((1, 2, 8, 17, 64))
                first = rng.randrange(disk.sectors - count)
            error = known(disk.write(first, count), args.errors)
        if error:
            failed[error] = failed.get(error, 0) + 1
    disk.save()
    print(f"{args.ops} requests, {flushed} flushes done, failed: {failed or 'none'}")


def discard(args):
    """Discard from --start on, as many sectors as --count says."""
    disk = Disk(args.dev, args.state)
    if known(disk.discard(args.start, args.count), args.errors):
        raise Wrong("the discard failed")
    disk.save()


def check(args):
    """Look at every sector that was ever written; then, unless told not to, flush."""
    disk = Disk(args.dev, args.state)
    if args.later:
        # Since then there were writes of which nobody knows what became.
        with open(args.later, encoding="ascii") as f:
            for s, ops in json.load(f)[1].items():
                disk.may.setdefault(int(s), {0}).update(ops)
        disk.save()
    disk.check()
    if args.flush and disk.flush():
        raise Wrong("the flush failed")


def commands(command):
    for function in (fill, tries, discard, check):
        p = command(function.__name__, function)
        p.add_argument("dev")
        p.add_argument("state", help="a file: what the disk may hold")
        p.add_argument("--seed", default="faults")
        p.add_argument("--ops", type=int, default=200)
        p.add_argument("--errors", action="append", default=[])
        p.add_argument("--again", action="store_true", help="only sectors that were written before")
        p.add_argument("--flush", action="store_true")
        p.add_argument("--start", type=int, default=0, help="a sector")
        p.add_argument("--later", help="a later state that may or may not be there")
        p.add_argument("--most", type=int, help="pieces")
        p.add_argument("--count", type=int, default=1, help="sectors")


if __name__ == "__main__":
    main(__doc__, commands)
