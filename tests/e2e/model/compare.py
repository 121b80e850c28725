# SPDX-License-Identifier: GPL-2.0
"""Whether files and disks are, to the byte, what they must be."""

import mmap
import os

from . import BLOCK, SECTOR, Wrong, file_size, up
from .cow import Cow


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
            ("size", cow.size if cow.below is None else cow.below, size),
            ("mtime", cow.mtime, int(st.st_mtime) & 0xFFFFFFFF)):
        if got != want:
            raise Wrong(f"{args.cow}: {what} is {got}, must be {want}")
    if args.new:
        for what, got, want in (
                ("version", cow.version, 3), ("broken", cow.broken, False),
                ("sectorsize", cow.sectorsize, 512), ("alignment", cow.alignment, max(4096, os.sysconf("SC_PAGE_SIZE")))):
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


def look(args):
    """A part of a disk, read into memory that has something else in it, is what a
    file has."""
    with open(args.want, "rb") as f:
        want = f.read()
    buf = mmap.mmap(-1, up(len(want), 4096))
    buf[:] = b"\xaa" * len(buf)
    fd = os.open(args.dev, os.O_RDONLY | os.O_DIRECT)
    done = os.preadv(fd, [memoryview(buf)[:len(want)]], args.at)
    if done != len(want):
        raise Wrong(f"{done} of {len(want)} bytes read")
    at = next((i for i in range(len(want)) if buf[i] != want[i]), None)
    if at is not None:
        raise Wrong(f"byte {args.at} + {at} is {buf[at]:#x}, must be {want[at]:#x}")


def commands(command):
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

    p = command("look", look)
    p.add_argument("dev")
    p.add_argument("want")
    p.add_argument("at", type=int)
