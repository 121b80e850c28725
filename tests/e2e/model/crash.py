# SPDX-License-Identifier: GPL-2.0
"""Crashes of a device by its record, judged by the history of what was written."""

import os
import random

from . import SECTOR, Wrong
from .history import Judge, options
from .record import Cached, LogWrites


def crash_check(args):
    """Judge one COW file (or plain image) as it was found after a crash."""
    with open(args.file, "rb") as f:
        Judge(args)(lambda at, length: os.pread(f.fileno(), length, at),
                    args.done, args.file)


class Crashes(Cached):
    """A device by its record, with the sectors that were written and the last round
    that was marked."""

    def __init__(self, start):
        super().__init__(start)
        self.seen = set()
        self.done = None

    def go_on(self, at, data, flags, mark):
        """Go on by one entry."""
        if mark is None:
            self.take(at, data, flags)
            self.seen.update(range(at // SECTOR, (at + len(data)) // SECTOR))
        elif mark.startswith("round-"):
            self.done = int(mark[6:])

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
        loose = crashes.loose_sectors()
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
                  f"flush; of {len(crashes.loose_sectors())} sectors that were not flushed, {name}",
                  crashes.seen)
            points += 1

    for entry, (at, data, flags, mark) in enumerate(LogWrites(args.log)):
        # Before a flush there is most to lose; after a mark, most to keep.
        if mark is None and flags & LogWrites.FLUSH:
            look(entry)
        crashes.go_on(at, data, flags, mark)
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
        crashes.go_on(*entry)
    for at, data in crashes.loose if args.lucky else ():
        crashes.stable[at:at + len(data)] = data
    with open(args.out, "wb") as f:
        f.write(crashes.stable)
    print(crashes.done)


def commands(command):
    p = command("crash-check", crash_check)
    p.add_argument("file")
    p.add_argument("backing")
    p.add_argument("done", type=int)
    p.add_argument("--plain", action="store_true")
    options(p)

    p = command("crash-replay", crash_replay)
    p.add_argument("log")
    p.add_argument("start", help="the device as it was at first")
    p.add_argument("backing", help="the disk as it was at first")
    p.add_argument("--choices", type=int, default=3)
    p.add_argument("--plain", action="store_true")
    options(p)

    p = command("crash-state", crash_state)
    p.add_argument("log")
    p.add_argument("start")
    p.add_argument("point", type=float)
    p.add_argument("out")
    p.add_argument("--lucky", action="store_true")
