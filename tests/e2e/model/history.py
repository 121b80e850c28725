# SPDX-License-Identifier: GPL-2.0
"""Writes of a disk in rounds with a flush each, and what it may hold after a crash."""

import hashlib
import mmap
import os
import random
import struct
from concurrent.futures import ThreadPoolExecutor

from . import SECTOR, Wrong, file_size, up
from .cow import Cow
from .record import Device


class History:
    """Rounds of writes of whole sectors, each known by its round and place.

    They are near the ends of the disk, and near the 32768th sector, where the
    bitmap's second page begins.
    """

    def __init__(self, args, sectors):
        rng = random.Random(args.seed)
        zone = 500
        zones = [0, max(0, sectors - zone)]
        if sectors > 32768 + zone:
            zones.append(32768 - zone // 2)
        self.rounds = []
        for _ in range(args.rounds):
            taken, runs = set(), []
            for _ in range(args.writes):
                count = rng.choice((1, 1, 2, 3, 8, 9, 16, 40))
                first = rng.choice(zones) + rng.randrange(min(zone, sectors) - count + 1)
                if rng.randrange(3) == 0:
                    first = first // 8 * 8
                if taken.isdisjoint(range(first, first + count)):
                    taken.update(range(first, first + count))
                    runs.append((first, count))
            self.rounds.append(runs)

    @staticmethod
    def sector(n, sector):
        """What round n writes to a sector."""
        head = struct.pack("<QQ", n + 1, sector)
        return head + hashlib.sha256(head).digest() * 15 + head

    def data(self, n, first, count):
        return b"".join(self.sector(n, s) for s in range(first, first + count))


def history(args):
    """Write a history to a disk; after each round flush, and mark the log."""
    work = History(args, file_size(args.dev) // SECTOR)
    direct = args.how != "buffered"
    fd = os.open(args.dev, os.O_RDWR | (os.O_DIRECT if direct else 0))
    threads = ThreadPoolExecutor(args.depth + 1)
    device = Device(args.mark) if args.mark else None

    def one(n, first, count):
        data = work.data(n, first, count)
        buf = mmap.mmap(-1, up(len(data), 4096))
        buf[:len(data)] = data
        flags = os.RWF_DSYNC if args.how == "dsync" else 0
        done = os.pwritev(fd, [memoryview(buf)[:len(data)]], first * SECTOR, flags)
        if done != len(data):
            raise Wrong(f"round {n}: {done} of {len(data)} bytes written")

    def start(n):
        return [threads.submit(one, n, *run) for run in work.rounds[n]]

    def mark(n):
        if device:
            device.mark(f"round-{n}")

    mark(-1)
    if args.how == "pipelined":
        # Each flush meets the writes of the next round.
        writes = start(0)
        for n in range(args.rounds):
            for write in writes:
                write.result()
            flush = threads.submit(os.fsync, fd)
            writes = start(n + 1) if n + 1 < args.rounds else []
            flush.result()
            mark(n)
    else:
        for n in range(args.rounds):
            for write in start(n):
                write.result()
            if args.how in ("direct", "buffered"):
                os.fsync(fd)
            mark(n)
    os.close(fd)


class Judge:
    """What a disk may hold after a crash.

    Everything that a flush covered is there; a sector is what it was or what
    was last written to it, and never anything else. Of the `ahead` rounds
    after the last that is known to be flushed, any sector may be there.
    """

    def __init__(self, args):
        self.plain = args.plain
        with open(args.backing, "rb") as f:
            self.base = f.read()
        self.sectors = -(-len(self.base) // SECTOR)
        self.base += bytes(self.sectors * SECTOR - len(self.base))
        self.work = History(args, self.sectors)
        self.touched = {s for runs in self.work.rounds for first, count in runs
                        for s in range(first, first + count)}
        self.ahead = args.ahead
        self.known = {}

    def at_first(self, s):
        return self.base[s * SECTOR:(s + 1) * SECTOR]

    def after(self, done):
        """Of each touched sector what it must be after a round, or may be."""
        if done not in self.known:
            right = {s: [self.at_first(s)] for s in self.touched}
            for n in range(min(done + 1 + self.ahead, len(self.work.rounds))):
                for first, count in self.work.rounds[n]:
                    for s in range(first, first + count):
                        data = self.work.sector(n, s)
                        right[s] = [data] if n <= done else right[s] + [data]
            self.known[done] = right
        return self.known[done]

    def __call__(self, read, done, what, others=()):
        right = self.after(done)
        if self.plain:
            look = self.touched.union(others)

            def disk(s):
                return read(s * SECTOR, SECTOR)
        else:
            cow = Cow.load(what, read)
            if cow.sectors != self.sectors:
                raise Wrong(f"{what}: {cow.sectors} sectors, must be {self.sectors}")
            # A sector that has no bit is its backing file's.
            look = self.touched.union(cow.written())

            def disk(s):
                return (read(cow.data_offset + s * SECTOR, SECTOR).ljust(SECTOR, b"\0")
                        if cow.bit(s) else self.at_first(s))

        for s in look:
            got = disk(s)
            if got not in right.get(s, (self.at_first(s),)):
                raise Wrong(f"{what}: sector {s} holds {self.name(got, s)}, must hold "
                            + " or ".join(self.name(data, s)
                                          for data in right.get(s, [self.at_first(s)])))

    def name(self, got, s):
        """Whose a sector's bytes are."""
        if got == self.at_first(s):
            return "what was there at first"
        if not any(got):
            return "zeros"
        n, sector = struct.unpack_from("<QQ", got)
        if sector < 1 << 48 and got == self.work.sector(n - 1, sector):
            return f"round {n - 1}'s" + (f" of sector {sector}" if sector != s else "")
        return "nothing that was ever written"


def options(p):
    """Which history it is."""
    p.add_argument("--seed", default="history")
    p.add_argument("--rounds", type=int, default=6)
    p.add_argument("--writes", type=int, default=12)
    p.add_argument("--ahead", type=int, default=1)


def commands(command):
    p = command("history", history)
    p.add_argument("dev")
    p.add_argument("--how", default="direct",
                   choices=("direct", "buffered", "dsync", "nothing", "pipelined"))
    p.add_argument("--mark", help="the dm-log-writes device to mark")
    p.add_argument("--depth", type=int, default=8)
    options(p)
