# SPDX-License-Identifier: GPL-2.0
"""The device below, as crashes leave it, and what the driver makes of that."""

import mmap
import os
import subprocess

from model import SECTOR, Wrong
from model.record import Cached

from . import whose, zones

# Of an image, what is compared at a time, in bytes.
PIECE = 1 << 16


class Disk(Cached):
    """The device below."""

    def choices(self, rng, count):
        """(name, entries or sectors of what is loose, in order) of possible crashes."""
        yield "nothing", []
        if not self.loose:
            return
        yield "all", self.loose
        yield "the last", self.loose_sectors()[-1:]
        for _ in range(count):
            yield "some sectors", [w for w in self.loose_sectors() if rng.randrange(2)]
            yield "the first few", self.loose[:rng.randrange(len(self.loose) + 1)]


def image_of(args, disk):
    """The file for the device as a crash left it, in memory."""
    with open(args.image, "r+b") as f:
        image = mmap.mmap(f.fileno(), 0)
    if len(image) != len(disk.stable):
        raise Wrong("the image and the start differ in size")
    return image


def put(image, disk, some):
    """Write a state of a device to the file for it, and there only what differs."""
    for at in range(0, len(image), PIECE):
        piece = disk.stable[at:at + PIECE]
        if image[at:at + PIECE] != piece:
            image[at:at + PIECE] = piece
    for where, what in some:
        image[where:where + len(what)] = what


def read_zones(fd, at, sectors, direct=False):
    """{sector: bytes} of all zones, from byte at on."""
    found = {}
    for first, count in zones(sectors):
        length = count * SECTOR
        if direct:
            buf = mmap.mmap(-1, length)
            got = buf[:os.preadv(fd, [buf], at + first * SECTOR)]
        else:
            got = os.pread(fd, length, at + first * SECTOR).ljust(length, b"\0")
        for i in range(count):
            found[first + i] = got[i * SECTOR:(i + 1) * SECTOR]
    return found


def attach(params, units):
    """Attach units; the disks must be there."""
    subprocess.run(["modprobe", "rnull_ubd", *params], check=True)
    if not all(os.path.exists(dev) for dev in units):
        subprocess.run(["modprobe", "-r", "rnull_ubd"], check=True)
        log = subprocess.run(["dmesg", "--notime"], stdout=subprocess.PIPE, check=True).stdout
        said = [line for line in log.decode().splitlines() if line.startswith("rnull_ubd: ")]
        raise Wrong(f"not attached: {said[-1:]}")


def detach():
    subprocess.run(["modprobe", "-r", "rnull_ubd"], check=True)


def by_driver(params, disks, where):
    """The driver's disks, from unit 0 on, are what the model found in the files:
    disks has a judge and what was found of each."""
    units = [f"/dev/ubd{chr(ord('a') + n)}" for n in range(len(disks))]
    attach(params, units)
    try:
        seen = []
        for dev, (judge, _) in zip(units, disks):
            fd = os.open(dev, os.O_RDONLY | os.O_DIRECT)
            seen.append(read_zones(fd, 0, judge.sectors, True))
            os.close(fd)
    finally:
        detach()
    for dev, disk, (judge, found) in zip(units, seen, disks):
        for s, data in disk.items():
            if whose(data, s) != found[s]:
                raise Wrong(f"{where()}: {dev}: the driver reads {judge.name(whose(data, s))} "
                            f"from sector {s}, the model {judge.name(found[s])}")


def replay(command, function):
    """The parser of a command that crashes a device."""
    p = command(function.__name__, function)
    p.add_argument("log")
    p.add_argument("start", help="the device as it was at first")
    p.add_argument("image", help="for the device as a crash left it")
    p.add_argument("loop", help="a loop device on the image")
    p.add_argument("--param", action="append", default=[], help="of the module")
    p.add_argument("--seed", default=function.__name__)
    return p
