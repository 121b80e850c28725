#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""
What a ubd must do, said a second time and in another language: COW files by
their format alone, and the bytes of a disk after a history of writes.

Nothing here knows the driver. `model.py --help` lists the commands that the
test scripts use; all of them exit with 1 and say what is wrong where a check
fails.
"""

import argparse
import fcntl
import gc
import hashlib
import json
import math
import mmap
import os
import random
import re
import select
import signal
import socket
import stat
import struct
import sys
from concurrent.futures import ThreadPoolExecutor

SECTOR = 512
BLOCK = 1 << 20
MAGIC = 0x4F4F4F4D


class Wrong(Exception):
    """Something is not as it must be."""


def up(value, unit):
    """value, rounded up to a multiple of unit."""
    return -(-value // unit) * unit


def file_size(path):
    """The size of a file or of a block device."""
    with open(path, "rb") as f:
        return f.seek(0, os.SEEK_END)


# COW files


class Cow:
    """A COW file: its header's values, and where its bitmap and data lie."""

    def __init__(self, version, backing, mtime, size, sectorsize=SECTOR,
                 alignment=4096, order=">", broken=False):
        self.version = version
        self.backing = backing
        self.mtime = mtime & 0xFFFFFFFF
        self.size = size
        self.sectorsize = sectorsize
        self.alignment = alignment
        self.order = order
        self.broken = broken
        self.bits = bytearray(up(-(-size // sectorsize), 8) // 8)
        if version == 3:
            self.header_len = 4136 if broken else 4128
            self.bitmap_offset = up(self.header_len, alignment)
            self.bitmap_len = len(self.bits)
            self.data_offset = up(self.bitmap_offset + self.bitmap_len, alignment)
        else:
            self.header_len = 280 if version == 1 else 4120
            self.bitmap_offset = self.header_len
            self.bitmap_len = (size + sectorsize - 1) // (8 * sectorsize)
            self.data_offset = up(self.bitmap_offset + self.bitmap_len, sectorsize)

    @property
    def sectors(self):
        return -(-self.size // self.sectorsize)

    @classmethod
    def parse(cls, head):
        """The COW file whose first bytes are head, or None."""
        if len(head) < 8:
            return None
        for order in "><":
            magic, version = struct.unpack_from(order + "II", head)
            if magic == MAGIC and (order == ">" or version == 1):
                break
        else:
            return None

        def path(at, size):
            text = head[at:at + size]
            if len(text) < size or b"\0" not in text:
                raise Wrong("COW header: no end of the path")
            return text[:text.index(b"\0")].decode()

        if version == 1:
            mtime, size, ss = struct.unpack_from(order + "IQI", head, 264)
            return cls(1, path(8, 256), mtime, size, ss, ss, order)
        if version == 2:
            mtime, size, ss = struct.unpack_from(">IQI", head, 4104)
            return cls(2, path(8, 4096), mtime, size, ss, ss)
        if version != 3:
            raise Wrong(f"COW header: version {version}")
        broken = head[32:36] == b"\0\0\0\0"
        if broken:
            mtime, zero, size, ss, align, fmt = struct.unpack_from(">IIQIII", head, 8)
            name = path(36, 4096)
            if zero:
                raise Wrong("COW header: a broken V3 whose mtime has more than 32 bits")
        else:
            mtime, size, ss, align, fmt = struct.unpack_from(">IQIII", head, 8)
            name = path(32, 4096)
        if fmt:
            raise Wrong(f"COW header: cow_format {fmt}")
        return cls(3, name, mtime, size, ss, align, ">", broken)

    def header(self):
        """The header's bytes."""
        head = bytearray(self.header_len)
        name = self.backing.encode()
        if self.version == 1:
            struct.pack_into(self.order + "II256sIQI", head, 0, MAGIC, 1, name,
                             self.mtime, self.size, self.sectorsize)
        elif self.version == 2:
            struct.pack_into(">II4096sIQI", head, 0, MAGIC, 2, name,
                             self.mtime, self.size, self.sectorsize)
        elif self.broken:
            struct.pack_into(">IIIIQIII4096s", head, 0, MAGIC, 3, self.mtime, 0,
                             self.size, self.sectorsize, self.alignment, 0, name)
        else:
            struct.pack_into(">IIIQIII4096s", head, 0, MAGIC, 3, self.mtime,
                             self.size, self.sectorsize, self.alignment, 0, name)
        return bytes(head)

    @classmethod
    def load(cls, path, read=None):
        """The COW file at path, with its bitmap; read(at, length) gives its bytes."""
        with open(os.devnull if read else path, "rb") as f:
            read = read or (lambda at, length: os.pread(f.fileno(), length, at))
            cow = cls.parse(read(0, 8192))
            if cow is None:
                raise Wrong(f"{path}: not a COW file")
            bits = read(cow.bitmap_offset, cow.bitmap_len)
        if len(bits) < cow.bitmap_len:
            raise Wrong(f"{path}: shorter than its bitmap")
        cow.bits[:len(bits)] = bits
        return cow

    def written(self):
        """The sectors whose bits are set."""
        return [byte.start() * 8 + i for byte in re.finditer(b"[^\0]", self.bits)
                for i in range(8) if self.bits[byte.start()] >> i & 1]

    def bit(self, sector):
        return self.bits[sector // 8] >> sector % 8 & 1

    def runs(self):
        """(first sector, count, bit) for each run of sectors of one bit."""
        start = 0
        end = self.sectors
        while start < end:
            bit = self.bit(start)
            whole = 0xFF if bit else 0
            stop = start + 1
            while stop < end:
                if stop % 8 == 0 and self.bits[stop // 8] == whole:
                    stop += 8
                elif self.bit(stop) == bit:
                    stop += 1
                else:
                    break
            stop = min(stop, end)
            yield start, stop - start, bit
            start = stop

    def merge(self, path, backing=None):
        """The disk's bytes: those of the COW file at path over its backing file."""
        disk = bytearray(up(self.size, SECTOR))
        with open(path, "rb") as cow, open(backing or self.backing, "rb") as below:
            for first, count, bit in self.runs():
                at = first * self.sectorsize
                length = min(count * self.sectorsize, len(disk) - at)
                f = cow if bit else below
                f.seek(at + self.data_offset if bit else at)
                data = f.read(length)
                disk[at:at + len(data)] = data
        return disk

    def info(self):
        return {
            "version": self.version, "backing": self.backing, "mtime": self.mtime,
            "size": self.size, "sectorsize": self.sectorsize,
            "alignment": self.alignment, "bitmap_offset": self.bitmap_offset,
            "bitmap_len": self.bitmap_len, "data_offset": self.data_offset,
            "broken": self.broken, "order": self.order,
            "set": len(self.written()),
        }


def info(args):
    found = Cow.load(args.cow).info()
    if args.field:
        print(found[args.field])
    else:
        print(json.dumps(found))


def merge(args):
    cow = Cow.load(args.cow)
    with open(args.out, "wb") as out:
        out.write(cow.merge(args.cow, args.backing))


def pattern(args):
    """A file of size random bytes."""
    rng = random.Random(args.seed)
    with open(args.file, "r+b" if os.path.exists(args.file) else "wb") as f:
        left = args.size
        while left:
            n = min(left, BLOCK)
            f.write(rng.randbytes(n))
            left -= n


def chosen(args, sectors):
    """Runs of sectors that make-cow writes, by the name of their shape."""
    rng = random.Random(args.seed)
    if args.shape == "none":
        return
    if args.shape == "all":
        yield 0, sectors
    elif args.shape == "random":
        at = rng.randrange(2)
        while at < sectors:
            n = min(rng.choice((1, 1, 2, 3, 5, 7, 8, 9, 31, 64)), sectors - at)
            yield at, n
            at += n + rng.choice((1, 1, 2, 3, 5, 7, 8, 9, 31, 64))
    else:
        # alternating every N sectors
        every = int(args.shape)
        for at in range(every, sectors, 2 * every):
            yield at, min(every, sectors - at)


def make_cow(args):
    """A COW file by the format's own words, and the disk that it is."""
    st = os.stat(args.backing)
    size = args.size or file_size(args.backing)
    cow = Cow(args.version, args.name or os.path.abspath(args.backing),
              int(st.st_mtime) if args.mtime is None else args.mtime, size,
              args.sectorsize, args.alignment, args.order, args.broken)
    rng = random.Random(args.seed)
    device = os.path.exists(args.cow) and stat.S_ISBLK(os.stat(args.cow).st_mode)
    with open(args.cow, "r+b" if device else "w+b") as f:
        if not device:
            f.truncate(cow.data_offset + size)
        for first, count in chosen(args, cow.sectors):
            for sector in range(first, first + count):
                cow.bits[sector // 8] |= 1 << sector % 8
            f.seek(cow.data_offset + first * cow.sectorsize)
            f.write(rng.randbytes(count * cow.sectorsize))
        f.seek(0)
        f.write(cow.header())
        f.seek(cow.bitmap_offset)
        f.write(cow.bits[:cow.bitmap_len])
        if device:
            os.fsync(f.fileno())
    if args.disk:
        with open(args.disk, "wb") as f:
            f.write(cow.merge(args.cow, args.backing))


# Comparing


def first_difference(got, want, at):
    """One line on the first byte that differs, and how many sectors do."""
    i = next(i for i in range(max(len(got), len(want)))
             if got[i:i + 1] != want[i:i + 1])
    differ = [s for s in range(0, min(len(got), len(want)), SECTOR)
              if got[s:s + SECTOR] != want[s:s + SECTOR]]
    zeros = sum(not any(got[s:s + SECTOR]) for s in differ)
    return (f"at byte {at + i} (sector {(at + i) // SECTOR}): got "
            f"{bytes(got[i:i + 8]).hex()}, want {bytes(want[i:i + 8]).hex()}; "
            f"{len(differ)} of the {len(want) // SECTOR} sectors from "
            f"{at // SECTOR} on differ, {zeros} of them read as zeros")


def direct_read(fd, buf, at, length):
    """Read exactly length bytes, or to the end."""
    done = 0
    while done < length:
        n = os.preadv(fd, [memoryview(buf)[done:length]], at + done)
        if n == 0:
            break
        done += n
    return done


def compare(args):
    """Every byte of a file or device is that of another, zeros after its end."""
    flags = os.O_DIRECT if args.direct else 0
    buf = mmap.mmap(-1, args.bs)
    fd = os.open(args.got, os.O_RDONLY | flags)
    got_size, want_size = file_size(args.got), file_size(args.want)
    if args.pad:
        want_size = up(want_size, args.pad)
    if got_size != want_size:
        raise Wrong(f"{args.got} has {got_size} bytes, must have {want_size}")
    with open(args.want, "rb") as want:
        for at in range(0, got_size, args.bs):
            n = direct_read(fd, buf, at, min(args.bs, got_size - at))
            right = want.read(args.bs)
            right += bytes(min(args.bs, want_size - at) - len(right))
            if buf[:n] != right:
                raise Wrong(f"{args.got}: " + first_difference(buf[:n], right, at))
    os.close(fd)


def compare_cow(args):
    """A COW file, parsed here, is the expected disk, in all that it says."""
    cow = Cow.load(args.cow)
    st = os.stat(cow.backing if not args.backing else args.backing)
    size = file_size(args.backing or cow.backing)
    if args.backing and cow.backing != args.backing:
        raise Wrong(f"{args.cow} names {cow.backing}, must name {args.backing}")
    if not os.path.isabs(cow.backing):
        raise Wrong(f"{args.cow} names {cow.backing}: not an absolute path")
    for what, got, want in (
            ("size", cow.size, size),
            ("mtime", cow.mtime, int(st.st_mtime) & 0xFFFFFFFF)):
        if got != want:
            raise Wrong(f"{args.cow}: {what} is {got}, must be {want}")
    if args.new:
        for what, got, want in (
                ("version", cow.version, 3), ("broken", cow.broken, False),
                ("sectorsize", cow.sectorsize, 512), ("alignment", cow.alignment, 4096)):
            if got != want:
                raise Wrong(f"{args.cow}: {what} is {got}, must be {want}")
        st = os.stat(args.cow)
        if st.st_size not in (cow.data_offset + cow.size,
                              cow.data_offset + up(cow.size, SECTOR)):
            raise Wrong(f"{args.cow} has {st.st_size} bytes, "
                        f"must have {cow.data_offset + cow.size}")
        used = cow.info()["set"] * SECTOR
        if args.sparse and st.st_blocks * 512 > used * 9 + cow.data_offset + (64 << 10):
            raise Wrong(f"{args.cow} is not sparse: {st.st_blocks * 512} bytes "
                        f"for {used} written")
    with open(args.want, "rb") as f:
        want = f.read()
    got = cow.merge(args.cow)
    want += bytes(len(got) - len(want))
    if got != want:
        for at in range(0, len(got), BLOCK):
            if got[at:at + BLOCK] != want[at:at + BLOCK]:
                raise Wrong(f"{args.cow}: " + first_difference(
                    got[at:at + BLOCK], want[at:at + BLOCK], at))
        raise Wrong(f"{args.cow}: {len(got)} bytes, must be {len(want)}")
    if args.written:
        with open(args.written, "rb") as f:
            written = f.read()
        for sector in range(cow.sectors):
            if bool(written[sector]) != bool(cow.bit(sector)):
                raise Wrong(f"{args.cow}: the bit of sector {sector} is "
                            f"{cow.bit(sector)}, but the sector was "
                            f"{'' if written[sector] else 'never '}written")
    # A bit beyond the last sector would be someone else's.
    for sector in range(cow.sectors, len(cow.bits) * 8):
        if cow.bit(sector):
            raise Wrong(f"{args.cow}: the bit of sector {sector} is set, "
                        f"and there are {cow.sectors}")


# Reading and writing a disk, with every byte known


def block_size(dev):
    """The unit of direct I/O on a disk, in bytes."""
    try:
        with open(f"/sys/class/block/{os.path.basename(dev)}/queue/logical_block_size",
                  encoding="ascii") as f:
            return int(f.read())
    except OSError:
        return SECTOR


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
        self.expect = self.share(args.expect)
        self.size = len(self.expect)
        self.written = self.share(args.written) if args.written else None
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

    @staticmethod
    def share(path):
        with open(path, "r+b") as f:
            return mmap.mmap(f.fileno(), 0)

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
        """(write?, offset, length) that touches nothing that is busy."""
        rng = self.rng
        while True:
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
            try_write, off, n = self.operation(busy)
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
    children = []
    for process in range(args.procs):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                worker = Exerciser(args, process)
                worker.run()
                code = 0
            except Exception as e:  # pylint: disable=broad-except
                print(f"process {process}: {type(e).__name__}: {e}", flush=True)
            finally:
                os._exit(code)
        children.append(pid)
    bad = [pid for pid in children if os.waitpid(pid, 0)[1]]
    if bad:
        raise Wrong(f"{args.mode}: {len(bad)} of {args.procs} processes failed")


def expect(args):
    """A file with the bytes of a disk: another file's, zeros up to a sector."""
    size = up(file_size(args.file), SECTOR)
    with open(args.file, "rb") as f, open(args.out, "wb") as out:
        while block := f.read(BLOCK):
            out.write(block)
        out.truncate(size)
    if args.written:
        with open(args.written, "wb") as f:
            f.truncate(size // SECTOR)


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


# Locks


def tree(args):
    """Files of many sizes in folders; and, on what is there, changes to them."""
    rng = random.Random(args.seed)
    pool = rng.randbytes(BLOCK)
    old = sorted(os.path.join(d, f) for d, _, files in os.walk(args.dir) for f in files)
    for path in old:
        what = rng.randrange(4)
        if what == 0:
            os.remove(path)
        elif what == 1:
            os.rename(path, path + ".renamed")
        elif what == 2:
            with open(path, "r+b") as f:
                f.seek(rng.randrange(file_size(path) + 1))
                f.write(pool[:rng.randrange(1, 20000)])
    for n in range(args.files):
        folder = os.path.join(args.dir, f"{args.seed}-{n % 7}", f"{n % 3}")
        os.makedirs(folder, exist_ok=True)
        size = int(2 ** rng.uniform(0, 20))
        at = rng.randrange(BLOCK - size + 1)
        with open(os.path.join(folder, f"file-{n}"), "wb") as f:
            f.write(pool[at:at + size])


def lock(args):
    """Take a record lock on a whole file as UML does, or say who has it."""
    fd = os.open(args.file, os.O_RDONLY if args.kind == "shared" else os.O_RDWR)
    kind = fcntl.F_RDLCK if args.kind == "shared" else fcntl.F_WRLCK
    try:
        fcntl.fcntl(fd, fcntl.F_SETLK, struct.pack("hhqqi4x", kind, 0, 0, 0, 0))
    except (BlockingIOError, PermissionError):
        print("refused", flush=True)
        sys.exit(1)
    print("locked", os.getpid(), flush=True)
    if args.hold:
        signal.pause()


# Ioctls


def ioctl(args):
    """What a disk says of itself to programs that ask by ioctl."""
    fd = os.open(args.dev, os.O_RDONLY | os.O_NONBLOCK)
    if args.what == "geo":
        heads, sectors, cylinders, start = struct.unpack(
            "BBHxxxxQ", fcntl.ioctl(fd, 0x0301, bytes(16)))
        print(heads, sectors, cylinders, start)
    elif args.what == "identity":
        words = struct.unpack("<256H", fcntl.ioctl(fd, 0x030D, bytes(512)))
        print(words[1], words[3], words[6])
    elif args.what == "volume":
        print(*fcntl.ioctl(fd, 0x5313, bytes(4)))


# What survives a crash


class LogWrites:
    """What dm-log-writes saw, entry by entry."""

    FLUSH, FUA, DISCARD, MARK = 1, 2, 4, 8

    def __init__(self, path):
        self.f = open(path, "rb")
        magic, version, entries, sector = struct.unpack("<QQQI", self.f.read(28))
        if magic != 0x6A736677736872 or version != 1:
            raise Wrong(f"{path}: not a log of dm-log-writes")
        self.entries, self.sector = entries, sector

    def __iter__(self):
        """(byte offset, data or None, flags, mark's name or None)"""
        at = self.sector
        for _ in range(self.entries):
            self.f.seek(at)
            head = self.f.read(self.sector)
            first, count, flags, length = struct.unpack_from("<QQQQ", head)
            at += self.sector
            if flags & self.MARK:
                yield 0, None, flags, head[32:32 + length].split(b"\0")[0].decode()
            elif flags & self.DISCARD:
                yield first * self.sector, bytes(count * self.sector), flags, None
            else:
                data = self.f.read(count * self.sector)
                at += len(data)
                yield first * self.sector, data, flags, None


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
        if args.mark and os.spawnlp(os.P_WAIT, "dmsetup", "dmsetup", "message",
                                    args.mark, "0", "mark", f"round-{n}"):
            raise Wrong("no mark")

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


def crash_check(args):
    """Judge one COW file (or plain image) as it was found after a crash."""
    with open(args.file, "rb") as f:
        Judge(args)(lambda at, length: os.pread(f.fileno(), length, at),
                    args.done, args.file)


class Crashes:
    """A device by its log: what is stable, and what a crash may yet lose."""

    def __init__(self, start):
        with open(start, "rb") as f:
            self.stable = bytearray(f.read())
        self.loose = []
        self.seen = set()
        self.done = None
        self.flushes = 0

    def take(self, at, data, flags, mark):
        """Go on by one entry."""
        if mark is not None:
            if mark.startswith("round-"):
                self.done = int(mark[6:])
            return
        if flags & LogWrites.FLUSH:
            self.flushes += 1
            for where, what in self.loose:
                self.stable[where:where + SECTOR] = what
            self.loose = []
        for s in range(0, len(data), SECTOR):
            piece = data[s:s + SECTOR]
            self.seen.add((at + s) // SECTOR)
            if flags & LogWrites.FUA:
                self.stable[at + s:at + s + SECTOR] = piece
            else:
                self.loose.append((at + s, piece))

    def reader(self, some):
        """read(at, length) of the device, if of what is loose some arrived."""
        over = dict(some)

        def sector(at):
            return over.get(at) or self.stable[at:at + SECTOR]

        def read(at, length):
            if length == SECTOR:
                return bytes(sector(at))
            end = min(at + length, len(self.stable))
            first = at // SECTOR * SECTOR
            data = b"".join(sector(s) for s in range(first, end, SECTOR))
            return data[at - first:end - first]

        return read


def crash_replay(args):
    """Crash at every point of a log, losing what a disk may lose.

    The state after a crash: all that went before the last completed flush,
    and any choice of the sectors written since.
    """
    judge = Judge(args)
    rng = random.Random(args.seed)
    crashes = Crashes(args.start)
    points = 0

    def choices():
        loose = crashes.loose
        yield "nothing arrived", ()
        if loose:
            yield "all arrived", loose
            yield "only the last sector arrived", loose[-1:]
            yield "all but the first sector arrived", loose[1:]
            for k in range(args.choices):
                yield f"choice {k} arrived", [w for w in loose if rng.randrange(2)]

    def look(entry):
        nonlocal points
        if crashes.done is None:
            return
        for name, some in choices():
            judge(crashes.reader(some), crashes.done,
                  f"crash at entry {entry} of the log, after round {crashes.done}'s "
                  f"flush; of {len(crashes.loose)} sectors that were not flushed, {name}",
                  crashes.seen)
            points += 1

    for entry, (at, data, flags, mark) in enumerate(LogWrites(args.log)):
        # Before a flush there is most to lose; after a mark, most to keep.
        if mark is None and flags & LogWrites.FLUSH:
            look(entry)
        crashes.take(at, data, flags, mark)
        if mark is not None:
            look(entry)
    look("the last")
    if crashes.done != args.rounds - 1:
        raise Wrong(f"the log ends with round {crashes.done}")
    print(f"{points} states, {crashes.flushes} flushes")


def crash_state(args):
    """A device as a crash left it at a point of a log, and the round then done.

    The point is a number from 0 to 1 of the way from the first mark to the
    last. Nothing that was not flushed survives, or with --lucky all of it.
    """
    log = list(LogWrites(args.log))
    marks = [i for i, entry in enumerate(log) if entry[3] is not None]
    if not marks:
        raise Wrong("no mark in the log")
    crashes = Crashes(args.start)
    stop = marks[0] + round(args.point * (marks[-1] - marks[0]))
    for entry in log[:stop + 1]:
        crashes.take(*entry)
    for at, data in crashes.loose if args.lucky else ():
        crashes.stable[at:at + SECTOR] = data
    with open(args.out, "wb") as f:
        f.write(crashes.stable)
    print(crashes.done)


def commands_of():
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(required=True)

    def command(name, run):
        p = commands.add_parser(name, help=(run.__doc__ or "").split("\n")[0])
        p.set_defaults(run=run)
        return p

    p = command("info", info)
    p.add_argument("cow")
    p.add_argument("field", nargs="?")

    p = command("merge", merge)
    p.add_argument("cow")
    p.add_argument("out")
    p.add_argument("--backing")

    p = command("pattern", pattern)
    p.add_argument("file")
    p.add_argument("size", type=int)
    p.add_argument("seed")

    p = command("make-cow", make_cow)
    p.add_argument("cow")
    p.add_argument("backing")
    p.add_argument("--shape", default="random",
                   help="random, none, all, or a number of sectors to alternate by")
    p.add_argument("--seed", default="cow")
    p.add_argument("--disk", help="where to write what the disk must be")
    p.add_argument("--version", type=int, default=3)
    p.add_argument("--order", default=">")
    p.add_argument("--broken", action="store_true")
    p.add_argument("--sectorsize", type=int, default=SECTOR)
    p.add_argument("--alignment", type=int, default=4096)
    p.add_argument("--name", help="the path in the header")
    p.add_argument("--mtime", type=int)
    p.add_argument("--size", type=int)

    p = command("cmp", compare)
    p.add_argument("got")
    p.add_argument("want")
    p.add_argument("--direct", action="store_true")
    p.add_argument("--bs", type=int, default=BLOCK)
    p.add_argument("--pad", type=int, default=0, help="zeros follow up to a multiple of this")

    p = command("cmp-cow", compare_cow)
    p.add_argument("cow")
    p.add_argument("want")
    p.add_argument("--backing", help="the path that the header must name")
    p.add_argument("--new", action="store_true", help="as a new file must be")
    p.add_argument("--sparse", action="store_true")
    p.add_argument("--written", help="the sectors that were written, and no other")

    p = command("expect", expect)
    p.add_argument("file")
    p.add_argument("out")
    p.add_argument("--written")

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

    p = command("tree", tree)
    p.add_argument("dir")
    p.add_argument("seed")
    p.add_argument("files", type=int)

    p = command("lock", lock)
    p.add_argument("file")
    p.add_argument("kind", choices=("shared", "exclusive"))
    p.add_argument("--hold", action="store_true", help="until killed")

    p = command("ioctl", ioctl)
    p.add_argument("dev")
    p.add_argument("what", choices=("geo", "identity", "volume"))

    p = command("history", history)
    p.add_argument("dev")
    p.add_argument("--how", default="direct",
                   choices=("direct", "buffered", "dsync", "nothing", "pipelined"))
    p.add_argument("--mark", help="the dm-log-writes device to mark")
    p.add_argument("--depth", type=int, default=8)
    work = [p]

    p = command("crash-check", crash_check)
    p.add_argument("file")
    p.add_argument("backing")
    p.add_argument("done", type=int)
    p.add_argument("--plain", action="store_true")
    work.append(p)

    p = command("crash-replay", crash_replay)
    p.add_argument("log")
    p.add_argument("start", help="the device as it was at first")
    p.add_argument("backing", help="the disk as it was at first")
    p.add_argument("--choices", type=int, default=3)
    p.add_argument("--plain", action="store_true")
    work.append(p)

    for p in work:
        p.add_argument("--seed", default="history")
        p.add_argument("--rounds", type=int, default=6)
        p.add_argument("--writes", type=int, default=12)
        p.add_argument("--ahead", type=int, default=1)

    p = command("crash-state", crash_state)
    p.add_argument("log")
    p.add_argument("start")
    p.add_argument("point", type=float)
    p.add_argument("out")
    p.add_argument("--lucky", action="store_true")

    return parser


def serve(path):
    """Do what comes in at a port of this machine, a process each: see ask() in
    lib.sh. The port's number is left in the file path.

    An interpreter takes a second to start on an emulated processor.
    """
    parser = commands_of()
    listener = socket.create_server(("127.0.0.1", 0))
    woken, wake = socket.socketpair()
    wake.setblocking(False)
    signal.set_wakeup_fd(wake.fileno())
    signal.signal(signal.SIGCHLD, lambda *_: None)
    with open(path + ".new", "w", encoding="ascii") as f:
        print(listener.getsockname()[1], file=f)
    os.rename(path + ".new", path)
    # What the collector looks at, a new process would have to copy.
    gc.freeze()
    workers = {}
    while True:
        ready = select.select([listener, woken], [], [])[0]
        if listener in ready:
            connection = listener.accept()[0]
            line = connection.makefile("rb").readline()
            worker = os.fork()
            if worker == 0:
                work(parser, connection, line)
            workers[worker] = connection
        if woken in ready:
            woken.recv(4096)
            while workers:
                worker, status = os.waitpid(-1, os.WNOHANG)
                if not worker:
                    break
                # When the answer is there all that was open is closed.
                with workers.pop(worker) as connection:
                    code = os.waitstatus_to_exitcode(status) & 255
                    try:
                        connection.sendall(f"\4{code}\n".encode())
                    except OSError:
                        # Whoever asked has been killed.
                        pass


def work(parser, connection, line):
    """The process that does what the line of a connection says."""
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        for name in (signal.SIGCHLD, signal.SIGINT):
            signal.signal(name, signal.SIG_DFL)
        os.dup2(connection.fileno(), 1)
        os.dup2(connection.fileno(), 2)
        cwd, *argv = line[:-1].decode().split("\x1f")
        os.chdir(cwd)
        code = run(parser, argv)
    finally:
        sys.stdout.flush()
        os._exit(code)


def run(parser, argv):
    """Do what a command line says; the exit code."""
    try:
        args = parser.parse_args(argv)
        args.run(args)
        return 0
    except SystemExit as e:
        return e.code or 0
    except Wrong as e:
        print(e)
    except Exception as e:  # pylint: disable=broad-except
        print(f"{type(e).__name__}: {e}, line {e.__traceback__.tb_next.tb_lineno}")
    return 1


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        serve(sys.argv[2])
    sys.exit(run(commands_of(), sys.argv[1:]))
