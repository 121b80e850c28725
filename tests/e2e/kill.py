#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""
Writes to a disk until the machine goes, and says what must be there then.

`write` puts stamped blocks at places that follow from a seed, and after each
fsync prints how many it had written before. `judge` follows the same sequence:
a block holds the last stamp that was covered by an fsync, or a later one of its
own; if none was covered, maybe what it held before.
"""

import mmap
import os
import random
import struct
import sys

BLOCK = 4096
# Few, so that most are written again and again.
BLOCKS = 300


def stamp(seed, number, block):
    """What write number puts into a block."""
    return struct.pack("<QQQ", int(seed), number, block).ljust(64, b"\xa5") * (BLOCK // 64)


def sequence(seed, blocks):
    """(number, block, whether an fsync follows) of each write."""
    rng = random.Random(seed)
    # Spread over the disk, so that the bitmap has many pages.
    places = rng.sample(range(blocks), BLOCKS)
    number = 0
    while True:
        number += 1
        yield number, rng.choice(places), rng.randrange(6) == 0


def write(dev, seed):
    fd = os.open(dev, os.O_RDWR | os.O_DIRECT)
    buf = mmap.mmap(-1, BLOCK)
    for number, block, sync in sequence(seed, os.lseek(fd, 0, os.SEEK_END) // BLOCK):
        buf[:] = stamp(seed, number, block)
        os.pwrite(fd, buf, block * BLOCK)
        if sync:
            os.fsync(fd)
            print(f"flushed {number}", flush=True)


def judge(disk, before, seed, flushed):
    """Both are files with all bytes of a disk."""
    covered, bad = {}, 0
    with open(disk, "rb") as f, open(before, "rb") as g:
        blocks = os.fstat(f.fileno()).st_size // BLOCK
        for number, block, _ in sequence(seed, blocks):
            if number > int(flushed):
                break
            covered[block] = number
        later = 0
        for block in range(blocks):
            data, old = f.read(BLOCK), g.read(BLOCK)
            if block not in covered and data == old:
                continue
            own, number, place = struct.unpack_from("<QQQ", data)
            right = (own == int(seed) and place == block and data == stamp(seed, number, block)
                     and number >= covered.get(block, 0))
            later += number > int(flushed)
            if not right:
                bad += 1
                print(f"block {block}: must have write {covered.get(block, 'none')} or a later "
                      f"one, holds {number} of block {place}")
    print(f"{len(covered)} blocks covered, {later} with later writes")
    sys.exit(bad != 0)


if __name__ == "__main__":
    {"write": write, "judge": judge}[sys.argv[1]](*sys.argv[2:])
