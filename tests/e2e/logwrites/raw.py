# SPDX-License-Identifier: GPL-2.0
"""Crashes of a device that is a COW file itself."""

import random

from model import SECTOR, Wrong
from model.cow import Cow
from model.record import LogWrites

from . import BASE, whose, zones
from .disk import Disk, by_driver, image_of, put, replay
from .judge import Judge


class Raw:
    """A COW file that is the device itself, read from a state of it."""

    def __init__(self, disk):
        self.disk = disk
        self.cow = Cow.load("device", lambda at, n: bytes(disk.stable[at:at + n]))
        if self.cow.bitmap_offset % SECTOR or self.cow.data_offset % SECTOR:
            raise Wrong("not a layout that this can read")

    def content(self, over, s):
        byte = self.cow.bitmap_offset + s // 8
        at = byte // SECTOR * SECTOR
        bits = over[at][byte - at] if at in over else self.disk.stable[byte]
        if not bits >> s % 8 & 1:
            return BASE
        at = self.cow.data_offset + s * SECTOR
        return whose(over.get(at) or bytes(self.disk.stable[at:at + SECTOR]), s)

    def affected(self, entries, before):
        """The disk's sectors that entries bear on, compared to what was before."""
        found = set()
        for at, data in entries:
            for i in range(0, len(data), SECTOR):
                where = at + i
                if where >= self.cow.data_offset:
                    found.add((where - self.cow.data_offset) // SECTOR)
                elif where >= self.cow.bitmap_offset:
                    old = before(where)
                    for k in range(0, SECTOR, 8):
                        a, b = data[i + k:i + k + 8], old[k:k + 8]
                        if a != b:
                            diff = int.from_bytes(a, "little") ^ int.from_bytes(b, "little")
                            first = (where - self.cow.bitmap_offset + k) * 8
                            found.update(first + n for n in range(64) if diff >> n & 1)
                elif data[i:i + SECTOR] != before(where):
                    raise Wrong(f"the header was changed at byte {where}")
        return {s for s in found if s < self.cow.sectors}


def raw(args):
    """Crash a device that is a COW file at all points of a record."""
    judge, rng = Judge.all(args.history)[0], random.Random(args.seed)
    disk = Disk(args.start)
    cow = Raw(disk)
    image = image_of(args, disk)
    points = states = driven = 0
    # Of all points those with a state that the driver attaches.
    log = list(LogWrites(args.log))
    begin = next((i for i, entry in enumerate(log) if entry[3] == "begin"), len(log))
    looks = sum(1 for entry in log if entry[3] is not None)
    looks += sum(1 for entry in log[begin:] if entry[3] is None and entry[2] & LogWrites.FLUSH)
    picks = random.Random(f"{args.seed}/driver")
    picked = set(picks.sample(range(looks), min(args.driver, looks)))

    def before(at):
        return bytes(disk.stable[at:at + SECTOR])

    def attached(some, over, where):
        """The driver finds in a state what the model finds."""
        put(image, disk, some)
        found = {s: cow.content(over, s)
                 for first, count in zones(judge.sectors) for s in range(first, first + count)}
        by_driver([*args.param, f"ubd0={args.loop}"], [(judge, found)], where)

    def look(entry, dirty):
        nonlocal points, states, driven
        choices = list(disk.choices(rng, args.choices))
        pick = picks.randrange(len(choices)) if points in picked else None
        points += 1
        for n, (name, some) in enumerate(choices):
            over = {at + i: data[i:i + SECTOR] for at, data in some
                    for i in range(0, len(data), SECTOR)}
            states += 1

            def where(name=name):
                return (f"crash at entry {entry} of the record, {judge.marks} marks seen, "
                        f"of {len(disk.loose)} writes that are loose {name} arrived")

            # What has not changed since it was last looked at is right.
            for s in dirty | cow.affected(some, before) if some else dirty:
                judge.check(s, cow.content(over, s), where)
            if n == pick:
                attached(some, over, where)
                driven += 1

    dirty = set(range(judge.sectors)) if args.all else set(judge.by_sector)
    begun = ended = False
    for entry, (at, data, flags, mark) in enumerate(log):
        if mark is not None:
            begun |= mark == "begin"
            ended |= mark == "end"
            dirty |= judge.mark(mark)
            look(entry, dirty)
            dirty = set()
            continue
        if begun and flags & LogWrites.FLUSH:
            look(entry, dirty)
            dirty = set()
        fixed = disk.loose + [(at, data)] if flags & (LogWrites.FLUSH | LogWrites.FUA) else []
        dirty |= cow.affected(fixed, before)
        disk.take(at, data, flags)
    look("the last", set(judge.by_sector))
    if not ended:
        raise Wrong("the record ends too early")
    print(f"{points} points, {states} states, {driven} of them attached by the driver, "
          f"{judge.marks} marks, {disk.flushes} flushes")


def commands(command):
    p = replay(command, raw)
    p.add_argument("history")
    p.add_argument("--choices", type=int, default=2)
    p.add_argument("--driver", type=int, default=0, help="at how many points the driver looks too")
    p.add_argument("--all", action="store_true", help="look at all sectors, not only those written")
