# SPDX-License-Identifier: GPL-2.0
"""Files: COW files by the format's own words, and what is in them."""

import json
import os
import random
import stat

from . import BLOCK, SECTOR, file_size, up
from .cow import Cow


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


def diff(args):
    """The ranges of a disk that are in COW files upon each other, the uppermost first:
    offset, length and the uppermost file that has it."""
    cows = [(name, Cow.load(name)) for name in args.cow]
    size = cows[0][1].size
    owners = []
    for at in range(0, size, SECTOR):
        owners.append(next((name for name, cow in cows if at // cow.sectorsize < cow.sectors
                            and cow.bit(at // cow.sectorsize)), None))
    start = 0
    for at in range(1, len(owners) + 1):
        if at == len(owners) or owners[at] != owners[start]:
            if owners[start]:
                print(start * SECTOR, min(at * SECTOR, size) - start * SECTOR, owners[start])
            start = at


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
              args.sectorsize, args.alignment, args.order, args.broken, args.below)
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


def commands(command):
    p = command("info", info)
    p.add_argument("cow")
    p.add_argument("field", nargs="?")

    p = command("merge", merge)
    p.add_argument("cow")
    p.add_argument("out")
    p.add_argument("--backing")

    p = command("diff", diff)
    p.add_argument("cow", nargs="+")

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
    p.add_argument("--below", type=int, help="the size of the backing file that the header has")

    p = command("expect", expect)
    p.add_argument("file")
    p.add_argument("out")
    p.add_argument("--written")

    p = command("tree", tree)
    p.add_argument("dir")
    p.add_argument("seed")
    p.add_argument("files", type=int)
