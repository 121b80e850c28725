# SPDX-License-Identifier: GPL-2.0
"""Reads and writes of a disk by several processes, with every byte known."""

import math
import mmap
import os
import random
from concurrent.futures import ThreadPoolExecutor

from . import BLOCK, SECTOR, Wrong, up
from .compare import first_difference
from .cow import Cow
from .processes import apart


def block_size(dev):
    """The unit of direct I/O on a disk, in bytes."""
    try:
        with open(f"/sys/class/block/{os.path.basename(dev)}/queue/logical_block_size",
                  encoding="ascii") as f:
            return int(f.read())
    except OSError:
        return SECTOR


class Shared:
    """Bytes of a file that several processes read and change.

    It is not mapped: of a file of its host, User-mode Linux with several processors
    has been seen to lose a page that was changed so.
    """

    def __init__(self, path):
        self.fd = os.open(path, os.O_RDWR)
        self.size = os.fstat(self.fd).st_size

    def __len__(self):
        return self.size

    def __getitem__(self, part):
        return os.pread(self.fd, part.stop - part.start, part.start)

    def __setitem__(self, part, data):
        if os.pwrite(self.fd, data, part.start) != part.stop - part.start:
            raise Wrong("what is expected could not be kept")


class Exerciser:
    """One process's part in a history of reads and writes.

    The disk is cut into chunks of odd sizes, dealt out to the processes, so
    that neighbours are at work within one byte of the bitmap. What the disk
    must hold is in a file that all share; each process changes its own
    chunks there, and nobody else's.
    """

    def __init__(self, args, process):
        self.args = args
        self.direct = args.mode == "direct"
        self.block = block_size(args.dev)
        self.unit = self.block if self.direct or args.mode == "sectors" else 1
        flags = os.O_RDWR | (os.O_DIRECT if self.direct else 0)
        self.fd = os.open(args.dev, flags)
        self.expect = Shared(args.expect)
        self.size = len(self.expect)
        self.written = Shared(args.written) if args.written else None
        self.rng = random.Random(f"{args.seed}/{process}")
        self.pool = random.Random(args.seed).randbytes((2 << 20) + args.max)
        self.depth = max(1, args.depth // args.procs)
        self.buffers = [mmap.mmap(-1, args.max + 8192) for _ in range(self.depth)]
        self.threads = ThreadPoolExecutor(self.depth)
        deal = random.Random(f"{args.seed}/deal")
        at, turn, self.chunks = 0, 0, []
        while at < self.size:
            least = min(args.max, self.size // (2 * args.procs)) // self.block
            length = min(self.block * (least + deal.randrange(1, least + 2)), self.size - at)
            if turn % args.procs == process:
                self.chunks.append((at, length))
            at += length
            turn += 1
        if not self.chunks:
            raise Wrong("fewer chunks than processes")
        self.moved = 0

    def length(self, limit):
        """A length: by turns special, or of any magnitude."""
        rng, unit = self.rng, self.unit
        top = min(limit, self.args.max)
        if rng.randrange(2):
            n = rng.choice((1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65,
                            127, 128, 129, 255, 256, 257, 1023, 1024, 2047, 2048)) * SECTOR
        else:
            n = int(2 ** rng.uniform(math.log2(unit), math.log2(self.args.max)))
        return max(unit, min(n, top) // unit * unit)

    def operation(self, busy):
        """(write?, offset, length) that touches nothing that is busy; None if
        there is hardly room for one, as on a small disk."""
        rng = self.rng
        for _ in range(100):
            at, size = rng.choice(self.chunks)
            n = self.length(size)
            off = at + rng.randrange(0, size - n + 1, self.unit)
            if rng.randrange(4) == 0:
                off = max(at, off // 4096 * 4096)
            elif rng.randrange(8) == 0:
                # The end of a chunk, and the disk's.
                off = at + (size - n) // self.unit * self.unit
            lo, hi = off, off + n
            if self.unit == 1:
                # The page cache reads and writes whole pages, but what it
                # does with two writers of a page is not looked into here.
                lo, hi = lo // SECTOR * SECTOR, up(hi, SECTOR)
            if all(hi <= a or lo >= b for a, b in busy):
                busy.append((lo, hi))
                return rng.randrange(100) < self.args.writes, off, n
        return None

    def vectors(self, slot, n, shift, cuts):
        """A buffer's n bytes from shift on, in pieces."""
        view = memoryview(self.buffers[slot])[shift:shift + n]
        marks = [0, *cuts, n]
        return [view[a:b] for a, b in zip(marks, marks[1:])]

    def run_one(self, slot, write, off, n, shift, cuts, data):
        buf = self.buffers[slot]
        vectors = self.vectors(slot, n, shift, cuts)
        if write:
            buf[shift:shift + n] = data
            done = os.pwritev(self.fd, vectors, off)
        else:
            buf[shift:shift + n] = bytes(n)
            done = os.preadv(self.fd, vectors, off)
        if done != n:
            raise Wrong(f"{'write' if write else 'read'} of {n} bytes at {off}: {done} done")
        if not write and buf[shift:shift + n] != data:
            raise Wrong(f"{self.args.mode} read of {n} bytes at {off} in {len(vectors)} "
                        "pieces: " + first_difference(buf[shift:shift + n], data, off))
        return n

    def batch(self):
        """As many operations at once as the queue is deep."""
        rng, busy, jobs = self.rng, [], []
        ops = []
        for slot in range(self.depth):
            operation = self.operation(busy)
            if operation is None:
                break
            try_write, off, n = operation
            shift = rng.randrange(8) * (1 if self.unit == 1 else SECTOR)
            cuts = sorted({rng.randrange(0, n, self.unit) for _ in range(rng.randrange(4))} - {0})
            if try_write:
                k = rng.randrange(len(self.pool) - n + 1)
                data = self.pool[k:k + n]
            else:
                data = self.expect[off:off + n]
            ops.append((try_write, off, data))
            jobs.append(self.threads.submit(self.run_one, slot, try_write, off, n,
                                            shift, cuts, data))
        for job in jobs:
            self.moved += job.result()
        for wrote, off, data in ops:
            if wrote:
                self.expect[off:off + len(data)] = data
                if self.written:
                    first, last = off // SECTOR, (off + len(data) - 1) // SECTOR
                    self.written[first:last + 1] = b"\1" * (last + 1 - first)

    def run(self):
        for _ in range(-(-self.args.ops // (self.depth * self.args.procs))):
            self.batch()
        if not self.direct:
            os.fsync(self.fd)
        os.close(self.fd)


def exercise(args):
    """Random reads and writes by several processes; every read is checked."""
    apart((f"{args.mode}, process {n}", lambda n=n: Exerciser(args, n).run())
          for n in range(args.procs))


def discard(args):
    """What a discard of sectors does to what is expected of a disk: zeros. With a
    COW file, where that has the sectors by now."""
    cow = Cow.load(args.cow) if args.cow else None
    with open(args.expect, "r+b") as f:
        for s in range(args.first, args.first + args.count):
            if cow is None or cow.bit(s * SECTOR // cow.sectorsize):
                f.seek(s * SECTOR)
                f.write(bytes(SECTOR))


def written(args):
    """Write one run of sectors to a disk and to what is expected of it."""
    data = random.Random(args.seed).randbytes(args.length)
    buf = mmap.mmap(-1, up(args.length, 4096))
    buf[:args.length] = data
    fd = os.open(args.dev, os.O_WRONLY | os.O_DIRECT)
    if os.pwritev(fd, [memoryview(buf)[:args.length]], args.at) != args.length:
        raise Wrong("short write")
    if args.fsync:
        os.fsync(fd)
    os.close(fd)
    with open(args.expect, "r+b") as f:
        f.seek(args.at)
        f.write(data)


def commands(command):
    p = command("exercise", exercise)
    p.add_argument("dev")
    p.add_argument("expect")
    p.add_argument("--written")
    p.add_argument("--mode", choices=("direct", "buffered", "sectors"), default="direct")
    p.add_argument("--procs", type=int, default=4)
    p.add_argument("--depth", type=int, default=64)
    p.add_argument("--ops", type=int, default=1000)
    p.add_argument("--max", type=int, default=BLOCK)
    p.add_argument("--writes", type=int, default=50, help="per cent")
    p.add_argument("--seed", default="exercise")

    p = command("write", written)
    p.add_argument("dev")
    p.add_argument("expect")
    p.add_argument("at", type=int)
    p.add_argument("length", type=int)
    p.add_argument("seed")
    p.add_argument("--fsync", action="store_true")

    p = command("discard", discard)
    p.add_argument("expect")
    p.add_argument("first", type=int)
    p.add_argument("count", type=int)
    p.add_argument("--cow")
