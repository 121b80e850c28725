#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""
COW files of every version, sector size and alignment, by the model, for
formats.sh: `formats.py make|use|verify|switched GROUP`. One process does a
step for a whole group of files, because to start Python is the dearest part in
an emulated guest. For each file it prints `ok NAME`, or `not ok NAME: why`.
"""

import fcntl
import hashlib
import mmap
import os
import random
import stat
import struct
import sys

from model import Wrong, up
from model.cow import Cow

BLKROGET, BLKSSZGET, BLKGETSIZE64 = 0x125E, 0x1268, 0x80081272
SEED = os.environ.get("FORMATS_SEED", "formats")
# A mtime beyond 2038, which a header can have and a signed number can not.
MTIME = 0x9234_5678
OPS = int(os.environ.get("FORMATS_OPS", "25"))


class Whole(Cow):
    """A COW file with the byte of bitmap that V1 and V2 forget, if it fits."""

    @property
    def map_len(self):
        return min(len(self.bits), self.data_offset - self.bitmap_offset)

    @property
    def mapped(self):
        return min(self.sectors, 8 * self.map_len)

    @property
    def blocks_size(self):
        return up(self.size, self.sectorsize)

    @classmethod
    def read(cls, path):
        with open(path, "rb") as f:
            cow = cls.parse(f.read(8192))
            f.seek(cow.bitmap_offset)
            bits = f.read(cow.map_len)
        cow.bits[:len(bits)] = bits
        return cow

    def over(self, path, backing):
        """The disk's bytes."""
        with open(backing, "rb") as f:
            disk = bytearray(f.read())
        disk += bytes(self.blocks_size - len(disk))
        ss = self.sectorsize
        with open(path, "rb") as f:
            for sector in range(self.mapped):
                if self.bit(sector):
                    f.seek(self.data_offset + sector * ss)
                    disk[sector * ss:(sector + 1) * ss] = f.read(ss).ljust(ss, b"\0")
        return disk


class Variant:
    def __init__(self, name, version, size, sectorsize=512, alignment=512, order=">",
                 broken=False, path="absolute", no_room=False):
        self.name, self.size, self.path, self.no_room = name, size, path, no_room
        self.args = {"version": version, "sectorsize": sectorsize, "alignment": alignment,
                     "order": order, "broken": broken}
        self.cow, self.back, self.copy = f"{name}.cow", f"{name}.back", f"{name}.copy"
        self.want, self.kept = f"{name}.want", f"{name}.kept"

    def named(self, space):
        """The backing file's path for the header."""
        if self.path == "relative":
            return f"./{self.back}"
        path = os.path.abspath(self.back)
        if self.path == "full":
            # As long as can be: "/." leads nowhere.
            while len(path) < space - 2:
                path = "/." + path
            if len(path) < space - 1:
                path = "/" + path
        return path


def old(version, order=">"):
    """V1 or V2: every sector size; sizes with and without the forgotten byte."""
    name = "V2" if version == 2 else f"V1 {'big' if order == '>' else 'little'}-endian"
    name = name.replace(" ", "-")
    # The greatest number of sectors of 512 bytes that fills the first gap.
    full = 3904 if version == 2 else 1856
    table = [("", 512 * 800, 512), ("-short-by-a-byte", 512 * 803, 512),
             ("-odd-size", 512 * 700 + 77, 512), ("-full", 512 * full, 512),
             ("-no-room", 512 * (full + 3) - 100, 512),
             ("-1024", 1024 * 301, 1024), ("-2048", 2048 * 150 + 1, 2048),
             ("-4096", 4096 * 99 - 511, 4096)]
    for suffix, size, sectorsize in table:
        yield Variant(name + suffix, version, size, sectorsize, sectorsize, order,
                      no_room=suffix == "-no-room")


def aligned(broken):
    """V3 in both layouts."""
    name = "V3-64-bit" if broken else "V3"
    table = [(512, 512, 512 * 800), (512, 1536, 512 * 799 + 1), (512, 4096, 512 * 77),
             (512, 65536, 333333), (1024, 512, 1024 * 100 + 3), (2048, 4096, 2048 * 99),
             (4096, 512, 4096 * 55), (4096, 5120, 4096 * 31 + 4095)]
    if not broken:
        table += [(512, 1 << 20, 1), (4096, 4096, 1), (4096, 4096, 4097)]
    for sectorsize, alignment, size in table:
        yield Variant(f"{name}-{sectorsize}-aligned-{alignment}-size-{size}", 3, size,
                      sectorsize, alignment, broken=broken)


def each_version(**more):
    for name, args in (("V1-little", {"version": 1, "order": "<"}), ("V1-big", {"version": 1}),
                       ("V2", {"version": 2}), ("V3", {"version": 3, "alignment": 4096}),
                       ("V3-64-bit", {"version": 3, "alignment": 4096, "broken": True})):
        suffix = "".join(f"-{value}" for value in more.values())
        yield Variant(name + suffix, size=512 * 603 + 5, **args, **more)


GROUPS = {
    "v1": [*old(1, "<"), *old(1, ">")],
    "v2-broken": [*old(2), *aligned(True)],
    "v3": [*aligned(False), *each_version(path="relative")],
    "paths": [*each_version(path="full")],
    "switch": [*each_version(), *[v for v in (*old(1, "<"), *old(2), *aligned(True))
                                  if v.args["sectorsize"] == 4096]],
}


def digest(path):
    with open(path, "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()


def put(path, data):
    with open(path, "wb") as f:
        f.write(data)


def make(_, variant):
    """The backing file, the COW file over it, and what the disk is."""
    rng = random.Random(f"{SEED}/{variant.name}")
    put(variant.back, rng.randbytes(variant.size))
    put(variant.copy, rng.randbytes(variant.size))
    for path in variant.back, variant.copy:
        os.utime(path, (MTIME, MTIME))
    cow = Whole(backing="", mtime=MTIME, size=variant.size, **variant.args)
    cow.backing = variant.named(256 if cow.version == 1 else 4096)
    if cow.mapped < cow.sectors and not variant.no_room:
        raise Wrong("no room for the bitmap")
    with open(variant.cow, "wb") as f:
        f.truncate(cow.data_offset + cow.size)
        at = rng.randrange(2)
        while at < cow.mapped:
            n = min(rng.choice((1, 1, 2, 3, 7, 8, 9, 31)), cow.mapped - at)
            for sector in range(at, at + n):
                cow.bits[sector // 8] |= 1 << sector % 8
            f.seek(cow.data_offset + at * cow.sectorsize)
            f.write(rng.randbytes(n * cow.sectorsize))
            at += n + rng.choice((1, 1, 2, 3, 7, 8, 9, 31))
        f.seek(0)
        f.write(cow.header())
        f.seek(cow.bitmap_offset)
        f.write(cow.bits[:cow.map_len])
    put(variant.want, cow.over(variant.cow, variant.back))
    put(variant.kept, "\n".join(map(digest, (variant.cow, variant.back, variant.copy))).encode())


def ask(fd, what, size, shape):
    return struct.unpack(shape, fcntl.ioctl(fd, what, bytes(size)))[0]


def equal(what, got, want):
    if got != want:
        raise Wrong(f"{what} is {got}, must be {want}")


def same(what, got, want, ss):
    if got != want:
        bad = [s for s in range(-(-len(want) // ss))
               if got[s * ss:(s + 1) * ss] != want[s * ss:(s + 1) * ss]]
        raise Wrong(f"{what}: {len(got)} bytes, must be {len(want)}; sectors of {ss} "
                    f"that differ: {bad[:20]}")


def read_all(fd, buf, size, step):
    got = bytearray()
    while len(got) < size:
        n = os.preadv(fd, [memoryview(buf)[:min(step, size - len(got))]], len(got))
        if n == 0:
            break
        got += buf[:n]
    return got


def use(unit, variant):
    """The disk is the expected one, before and after random reads and writes."""
    rng = random.Random(f"{SEED}/use/{variant.name}")
    ss = variant.args["sectorsize"]
    with open(variant.want, "rb") as f:
        want = bytearray(f.read())
    dev = "/dev/ubd" + chr(ord("a") + unit)
    fd = os.open(dev, (os.O_RDONLY if variant.no_room else os.O_RDWR) | os.O_DIRECT)
    buf = mmap.mmap(-1, 1 << 20)
    equal("logical block size", ask(fd, BLKSSZGET, 4, "i"), ss)
    equal("size", ask(fd, BLKGETSIZE64, 8, "Q"), len(want))
    equal("read-only", bool(ask(fd, BLKROGET, 4, "i")), variant.no_room)
    same("the disk", read_all(fd, buf, len(want), 1 << 20), want, ss)
    same("the disk, by small reads", read_all(fd, buf, len(want), ss * 7), want, ss)
    if variant.no_room:
        os.close(fd)
        return
    for direct in True, False:
        unit_size = ss if direct else 1
        if not direct:
            os.close(fd)
            fd = os.open(dev, os.O_RDWR)
        for _ in range(OPS):
            n = rng.choice((1, 1, 2, 3, 8, 9, 64)) * ss if direct else rng.randrange(1, 40000)
            n = min(n, len(want))
            at = rng.randrange(0, len(want) - n + 1, unit_size)
            if rng.randrange(6) == 0:
                # The end, with the byte that some formats forget.
                at = len(want) - n
            if rng.randrange(2):
                data = rng.randbytes(n)
                buf[:n] = data
                equal("bytes written", os.pwritev(fd, [memoryview(buf)[:n]], at), n)
                want[at:at + n] = data
            else:
                equal("bytes read", os.preadv(fd, [memoryview(buf)[:n]], at), n)
                same(f"{n} bytes at {at}", buf[:n], want[at:at + n], ss)
        os.fsync(fd)
    os.close(fd)
    fd = os.open(dev, os.O_RDONLY | os.O_DIRECT)
    same("the disk at the end", read_all(fd, buf, len(want), 1 << 20), want, ss)
    os.close(fd)
    put(variant.want, want)


def kept(variant):
    with open(variant.kept, encoding="ascii") as f:
        return f.read().split("\n")


def verify(_, variant):
    """The COW file has what was written, and its header is as it was."""
    cow_before, back_before, _ = kept(variant)
    equal("the backing file", digest(variant.back), back_before)
    if variant.no_room:
        equal("the COW file", digest(variant.cow), cow_before)
        return
    wanted = Whole(backing="", mtime=MTIME, size=variant.size, **variant.args)
    wanted.backing = variant.named(256 if wanted.version == 1 else 4096)
    unchanged(variant, wanted)
    cow = Whole.read(variant.cow)
    with open(variant.want, "rb") as f:
        same("the COW file", cow.over(variant.cow, variant.back), f.read(), cow.sectorsize)


def unchanged(variant, wanted):
    """The header is, byte for byte, the wanted one; what lies around the bitmap is zeros."""
    with open(variant.cow, "rb") as f:
        head = f.read(wanted.data_offset)
    same("the header", head[:wanted.header_len], wanted.header(), 8)
    gap = head[wanted.header_len:wanted.bitmap_offset]
    gap += head[wanted.bitmap_offset + wanted.map_len:]
    equal("bytes around the bitmap that are not zero", len(gap) - gap.count(0), 0)
    bits = head[wanted.bitmap_offset:wanted.bitmap_offset + wanted.map_len]
    for sector in range(wanted.sectors, 8 * wanted.map_len):
        equal(f"the bit of sector {sector}, of {wanted.sectors}",
              bits[sector // 8] >> sector % 8 & 1, 0)


def switched(unit, variant):
    """The disk is that over the copy, and nothing in the file but the path has changed."""
    wanted = Whole(backing=os.path.abspath(variant.copy), mtime=MTIME, size=variant.size,
                   **variant.args)
    unchanged(variant, wanted)
    equal("the backing file", digest(variant.back), kept(variant)[1])
    equal("the copy", digest(variant.copy), kept(variant)[2])
    with open(variant.cow, "r+b") as f:
        data = f.read()
        wanted.backing = variant.named(256 if wanted.version == 1 else 4096)
        before = wanted.header() + data[wanted.header_len:]
    equal("what is behind the header", hashlib.sha256(before).hexdigest(), kept(variant)[0])
    want = Whole.read(variant.cow).over(variant.cow, variant.copy)
    dev = "/dev/ubd" + chr(ord("a") + unit)
    if not stat.S_ISBLK(os.stat(dev).st_mode):
        raise Wrong(f"{dev} is no block device")
    with open(dev, "rb") as f:
        same("the disk", f.read(), want, wanted.sectorsize)


def main():
    step, group = sys.argv[1:]
    steps = {"make": make, "use": use, "verify": verify, "switched": switched}
    bad = False
    for unit, variant in enumerate(GROUPS[group]):
        if step == "params":
            copy = f":{os.path.abspath(variant.copy)}" if group == "switch" else ""
            print(f"ubd{unit}={os.path.abspath(variant.cow)}{copy}")
            continue
        try:
            steps[step](unit, variant)
            print(f"ok {variant.name}", flush=True)
        except (Wrong, OSError) as e:
            print(f"not ok {variant.name}: {e}", flush=True)
            bad = True
    return bad


if __name__ == "__main__":
    sys.exit(main())
