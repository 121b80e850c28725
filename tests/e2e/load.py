#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""
Random programs on a file, on a file system and on a disk itself, of which the
outcome is known: one file to the byte, a tree of files by what each says of
itself.
"""

import ctypes
import errno
import fcntl
import mmap
import os
import random
import struct
import subprocess

from logwrites import BLKDISCARD, BLKZEROOUT
from model import SECTOR, Wrong, file_size
from model.cli import main
from model.compare import first_difference
from model.processes import apart

BLKFLSBUF = 0x1261
KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE = 1, 2, 16
PAGE = 4096

libc = ctypes.CDLL(None, use_errno=True)


def fallocate(fd, mode, at, length):
    if libc.fallocate(fd, mode, ctypes.c_long(at), ctypes.c_long(length)):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


# One file


class Known:
    """A file or a block device, and in memory what it must hold."""

    def __init__(self, path, limit, seed):
        self.path = path
        self.device = path.startswith("/dev/")
        self.unit = SECTOR if self.device else 1
        self.limit = file_size(path) if self.device else limit
        self.rng = random.Random(seed)
        self.pool = self.rng.randbytes(2 * self.limit if not self.device else 4 << 20)
        self.most = min(self.limit // 4, 256 << 10)
        self.buffer = mmap.mmap(-1, self.most + PAGE)
        self.log = []
        if self.device:
            with open(path, "rb") as f:
                self.want = bytearray(f.read())
        else:
            self.want = bytearray()
            open(path, "xb").close()
        self.fd = self.direct = -1
        self.open()

    def open(self):
        self.fd = os.open(self.path, os.O_RDWR)
        self.direct = os.open(self.path, os.O_RDWR | os.O_DIRECT)

    def close(self):
        os.close(self.fd)
        os.close(self.direct)

    def range(self, unit, within=None):
        """A range of whole units that is not empty, or (0, 0)."""
        size = self.limit if within is None else within
        units = size // unit
        if units == 0:
            return 0, 0
        count = max(1, min(units, int(self.most / unit * 2 ** -self.rng.uniform(0, 9))))
        if self.rng.randrange(3) == 0:
            count = min(units, self.rng.choice((1, 2, 3)))
        at = self.rng.randrange(units - count + 1)
        if self.rng.randrange(3) == 0:
            at -= at % (PAGE // unit)
        return at * unit, count * unit

    def data(self, length):
        at = self.rng.randrange(len(self.pool) - length)
        return self.pool[at:at + length]

    def put(self, at, data):
        """What the file must hold after data was put at `at`."""
        if len(self.want) < at:
            self.want.extend(bytes(at - len(self.want)))
        self.want[at:at + len(data)] = data

    def same(self, got, at, how):
        if got != self.want[at:at + len(got)]:
            raise Wrong(f"{how}: " + first_difference(got, self.want[at:at + len(got)], at))

    # The operations; each returns the words for the log.

    def write(self):
        at, n = self.range(self.unit)
        data = self.data(n)
        if os.pwrite(self.fd, data, at) != n:
            raise Wrong("a short write")
        self.put(at, data)
        return "write", at, n

    def write_direct(self):
        at, n = self.range(SECTOR)
        data = self.data(n)
        self.buffer[:n] = data
        if os.pwrite(self.direct, memoryview(self.buffer)[:n], at) != n:
            raise Wrong("a short write")
        self.put(at, data)
        return "direct write", at, n

    def write_durable(self):
        """One that is on the disk when it returns: on a disk, by FUA."""
        at, n = self.range(SECTOR)
        data = self.data(n)
        self.buffer[:n] = data
        if os.pwritev(self.direct, [memoryview(self.buffer)[:n]], at, os.RWF_DSYNC) != n:
            raise Wrong("a short write")
        self.put(at, data)
        return "durable write", at, n

    def read(self):
        at, n = self.range(1)
        got = os.pread(self.fd, n, at)
        self.whole(got, at, n)
        self.same(got, at, "read")
        return "read", at, n

    def read_direct(self):
        at, n = self.range(SECTOR)
        got = os.preadv(self.direct, [memoryview(self.buffer)[:n]], at)
        self.whole(self.buffer[:got], at, n)
        self.same(self.buffer[:got], at, "direct read")
        return "direct read", at, n

    def whole(self, got, at, n):
        n = max(0, min(n, len(self.want) - at))
        if len(got) != n:
            raise Wrong(f"a read of {n} bytes at {at} gave {len(got)}")

    def mapped(self):
        at, n = self.range(1, len(self.want))
        if n == 0:
            return None
        shift = at % PAGE
        with mmap.mmap(self.fd, n + shift, offset=at - shift) as memory:
            self.same(memory[shift:shift + n], at, "mapped read")
            if self.rng.randrange(2):
                return "mapped read", at, n
            data = self.data(n)
            memory[shift:shift + n] = data
            if self.rng.randrange(2):
                memory.flush()
        self.put(at, data)
        return "mapped write", at, n

    def truncate(self):
        if self.device:
            return None
        n = self.rng.randrange(self.limit)
        os.ftruncate(self.fd, n)
        self.want = self.want[:n].ljust(n, b"\0")
        return "truncate to", n

    def punch(self):
        at, n = self.range(self.unit, len(self.want))
        if n == 0:
            return None
        fallocate(self.fd, PUNCH_HOLE | KEEP_SIZE, at, n)
        self.put(at, bytes(n))
        return "punch", at, n

    def zero(self):
        at, n = self.range(self.unit)
        if self.device and self.rng.randrange(2):
            if self.rng.randrange(2):
                return self.discard(at, n)
            fcntl.ioctl(self.fd, BLKZEROOUT, struct.pack("<QQ", at, n))
        else:
            fallocate(self.fd, ZERO_RANGE, at, n)
        self.put(at, bytes(n))
        return "zero", at, n

    def discard(self, at, n):
        """Sectors that only a backing file has stay as they are; all others are zeros."""
        # What is only in the page cache would go with it.
        os.fsync(self.fd)
        fcntl.ioctl(self.fd, BLKDISCARD, struct.pack("<QQ", at, n))
        got = os.pread(self.fd, n, at)
        self.whole(got, at, n)
        for sector in range(0, n, SECTOR):
            have = got[sector:sector + SECTOR]
            if have.count(0) != SECTOR:
                self.same(have, at + sector, "discard")
        self.put(at, got)
        return "discard", at, n

    def sync(self):
        os.fsync(self.fd)
        return "fsync",

    def forget(self):
        """Have what follows read from the disk."""
        os.fsync(self.fd)
        if self.device:
            fcntl.ioctl(self.fd, BLKFLSBUF, 0)
        else:
            os.posix_fadvise(self.fd, 0, 0, os.POSIX_FADV_DONTNEED)
        return "forget",

    def check(self):
        """All of the file, and its length."""
        if file_size(self.path) != len(self.want):
            raise Wrong(f"{self.path} has {file_size(self.path)} bytes, must have {len(self.want)}")
        for at in range(0, len(self.want), self.most):
            n = min(self.most, len(self.want) - at)
            got = os.pread(self.fd, n, at)
            self.whole(got, at, n)
            self.same(got, at, "at the end")

    def run(self, ops):
        some = (self.write, self.write, self.write_direct, self.write_durable, self.read,
                self.read_direct, self.mapped, self.mapped, self.truncate, self.punch, self.zero,
                self.sync, self.forget)
        operation = None
        try:
            for _ in range(ops):
                operation = self.rng.choice(some)
                self.log.append(operation())
        except (Wrong, OSError) as e:
            last = "; ".join(" ".join(map(str, words)) for words in self.log[-12:] if words)
            raise Wrong(f"{self.path}: {operation.__name__} number {len(self.log)}: {e}; "
                        f"before it: {last}") from e


def known(args):
    """Do what a random program says to each target, and compare to the byte.

    A target is a file that does not exist, or a block device; DEVICE:FILE
    has the device mounted on the file's folder, and mounts it again between
    the rounds.
    """
    def job(target):
        device, _, path = target.rpartition(":")
        there = os.path.dirname(path)
        if device:
            subprocess.run(["mount", device, there], check=True)
        one = Known(path, args.size, f"{args.seed}/{target}")
        for _ in range(args.rounds):
            one.run(args.ops)
            one.close()
            if device:
                subprocess.run(["umount", there], check=True)
                subprocess.run(["mount", device, there], check=True)
            one.open()
            one.check()
        one.close()
        if device:
            subprocess.run(["umount", there], check=True)
        elif one.device and args.left:
            with open(f"{args.left}{os.path.basename(path)}", "wb") as f:
                f.write(one.want)

    apart((target, lambda target=target: job(target)) for target in args.target)


# A tree


HEAD = struct.Struct("<QQ")


def content(number, length):
    """The bytes of a file: its number, its length, and what follows from these."""
    body = random.Random(number).randbytes(min(length, 4096))
    body = (body * (length // 4096 + 1))[:length]
    return HEAD.pack(number, length) + body


class Mover:
    """A process that makes, links, moves and deletes files where others do too.

    A file is written under a name that no other process uses. So each that is
    seen under a common name is whole.
    """

    def __init__(self, root, number, seed):
        self.root = root
        self.number = number
        self.rng = random.Random(f"{seed}/{number}")
        self.made = 0
        self.buffer = mmap.mmap(-1, 1 << 20)

    def folder(self):
        return os.path.join(self.root, *self.rng.choice((("a",), ("b",), ("a", "c"), ("d",))))

    def name(self):
        return os.path.join(self.folder(), f"{self.rng.randrange(40)}")

    def make(self):
        """A new file, under its own name."""
        self.made += 1
        path = os.path.join(self.root, f"new-{self.number}")
        data = content(self.number << 32 | self.made, int(2 ** self.rng.uniform(0, 17)))
        with open(path, "wb") as f:
            how = self.rng.randrange(4)
            if how == 0:
                fallocate(f.fileno(), 0, 0, len(data))
            if how == 1:
                # Whole blocks past the cache, the end through it.
                whole = len(data) // PAGE * PAGE
                self.buffer[:whole] = data[:whole]
                fd = os.open(path, os.O_WRONLY | os.O_DIRECT)
                os.pwrite(fd, memoryview(self.buffer)[:whole], 0)
                os.close(fd)
                f.seek(whole)
                f.write(data[whole:])
            else:
                f.write(data)
            f.flush()
            if self.rng.randrange(4) == 0:
                os.fsync(f.fileno())
        return path

    def step(self):
        what = self.rng.randrange(12)
        if what < 4:
            path = self.make()
            try:
                os.rename(path, self.name())
            except OSError:
                os.unlink(path)
                raise
        elif what < 6:
            os.unlink(self.name())
        elif what < 8:
            os.rename(self.name(), self.name())
        elif what == 8:
            os.link(self.name(), self.name())
        elif what == 9:
            os.symlink("nowhere/" * self.rng.randrange(1, 30), self.name())
        elif what == 10:
            folder = os.path.join(self.folder(), f"sub-{self.rng.randrange(3)}")
            self.rng.choice((os.mkdir, os.rmdir))(folder)
            self.rng.choice((os.mkdir, os.rmdir))(os.path.join(folder, "x"))
        else:
            fd = os.open(self.rng.choice((self.folder, self.name))(), os.O_RDONLY | os.O_NOFOLLOW)
            os.fsync(fd)
            os.close(fd)

    def run(self, ops):
        usual = (errno.ENOENT, errno.EEXIST, errno.ENOTEMPTY, errno.ELOOP, errno.ENOTDIR,
                 errno.EISDIR)
        for _ in range(ops):
            try:
                self.step()
            except OSError as e:
                if e.errno not in usual:
                    raise


def tree(args):
    """Have several processes work in each folder at once."""
    movers = []
    for folder in args.folder:
        for name in ("a/c", "b", "d"):
            os.makedirs(os.path.join(folder, name), exist_ok=True)
        for n in range(args.procs):
            mover = Mover(folder, n, args.seed)
            movers.append((f"{folder}, process {n}", lambda mover=mover: mover.run(args.ops)))
    apart(movers)


def whole(args):
    """Each file of a tree is one that was written, all of it."""
    files = 0
    for folder, _, names in os.walk(args.folder):
        for path in (os.path.join(folder, name) for name in names):
            if os.path.islink(path):
                continue
            with open(path, "rb") as f:
                data = f.read()
            if len(data) < HEAD.size or data != content(*HEAD.unpack_from(data)):
                raise Wrong(f"{path}, {len(data)} bytes, is not what was written")
            files += 1
    if files < args.least:
        raise Wrong(f"{files} files are left")


def commands(command):
    p = command("known", known)
    p.add_argument("--seed", default="load")
    p.add_argument("target", nargs="+")
    p.add_argument("--ops", type=int, default=300, help="of each round")
    p.add_argument("--rounds", type=int, default=2)
    p.add_argument("--size", type=int, default=1 << 20, help="of a file, at most")
    p.add_argument("--left", help="where to leave what a device must be: a path but for its name")

    p = command("tree", tree)
    p.add_argument("--seed", default="load")
    p.add_argument("folder", nargs="+")
    p.add_argument("--procs", type=int, default=3)
    p.add_argument("--ops", type=int, default=300)

    p = command("whole", whole)
    p.add_argument("--seed", default="load")
    p.add_argument("folder")
    p.add_argument("--least", type=int, default=10)


if __name__ == "__main__":
    main(__doc__, commands)
