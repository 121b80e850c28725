# SPDX-License-Identifier: GPL-2.0
"""Crashes of a device with a file system on it."""

import ctypes
import os
import random
import re
import subprocess

from model import Wrong
from model.cow import Cow
from model.record import LogWrites

from . import BASE, whose
from .disk import Disk, by_driver, image_of, put, read_zones, replay
from .judge import Judge


class Mount:
    """A file system that a crash left, mounted, so that its journal is recovered."""

    libc = ctypes.CDLL(None, use_errno=True)

    def __init__(self, loop, where, kind):
        self.loop, self.where, self.kind = loop, where, kind

    def __enter__(self):
        if self.libc.mount(self.loop.encode(), self.where.encode(), self.kind.encode(), 0, None):
            raise Wrong(f"not mounted: {os.strerror(ctypes.get_errno())}")
        return self

    def __exit__(self, *_):
        if self.libc.umount2(self.where.encode(), 0):
            raise Wrong(f"not unmounted: {os.strerror(ctypes.get_errno())}")


def by_model(path, judge, where):
    """Judge a COW file by its format; what the zones' sectors hold."""
    cow = Cow.load(path)
    if cow.sectors != judge.sectors:
        raise Wrong(f"{where()}: {cow.sectors} sectors, must be {judge.sectors}")
    with open(path, "rb") as f:
        found = {s: whose(data, s) if cow.bit(s) else BASE
                 for s, data in read_zones(f.fileno(), cow.data_offset, cow.sectors).items()}
    for s in set(cow.written()) - set(found):
        raise Wrong(f"{where()}: sector {s} has a bit, but was never written")
    for s, content in found.items():
        judge.check(s, content, where)
    return found


def crashes(args, rng, log, first, last):
    """Write states of a device to a file: (entry, name of the state) of each.

    Of the points from first to last, all of them or args.points at random,
    half of them at marks.
    """
    marks = [i for i in range(first, last + 1) if log[i][3] is not None]
    if args.points and last - first + 1 > args.points:
        at_marks = rng.sample(marks, min(len(marks), args.points // 2))
        points = set(at_marks)
        while len(points) < args.points:
            points.add(rng.randrange(first, last + 1))
    else:
        points = set(range(first, last + 1))
    disk = Disk(args.start)
    image = image_of(args, disk)
    for i, (at, data, flags, mark) in enumerate(log[:last + 1]):
        if mark is None:
            disk.take(at, data, flags)
        if i not in points:
            continue
        choices = list(disk.choices(rng, args.repeat + 1))
        rng.shuffle(choices)
        for name, some in choices[:args.repeat]:
            put(image, disk, some)
            yield i, (f"crash after entry {i} of the record, of {len(disk.loose)} "
                      f"loose writes {name} arrived")


def files(args):
    """Crash a device with a file system that has COW files and their backing file."""
    judges, rng = Judge.all(args.history), random.Random(args.seed)
    log = list(LogWrites(args.log))
    names = [entry[3] for entry in log]
    begin, end = names.index("begin"), names.index("end")
    seen = begin
    points = driven = 0
    mount = Mount(args.loop, args.mount, args.fs)
    paths = [os.path.join(args.mount, cow) for cow in args.cows]
    params = [*args.param, *(f"ubd{n}={path}" for n, path in enumerate(paths))]
    with open(args.back, "rb") as f:
        back = f.read()

    def look(where):
        """What the model found of each COW file."""
        found = [by_model(path, judge, where) for path, judge in zip(paths, judges)]
        with open(os.path.join(args.mount, os.path.basename(args.back)), "rb") as f:
            if f.read() != back:
                raise Wrong(f"{where()}: the backing file has changed")
        return found

    for i, name in crashes(args, rng, log, begin, end):
        for n in range(seen, i + 1):
            if names[n]:
                for judge in judges:
                    judge.mark(names[n])
        seen = i + 1

        def where(name=name):
            return f"{name}, {sum(judge.marks for judge in judges)} marks seen"

        try:
            with mount:
                found = look(where)
                if points % args.driver == 0:
                    by_driver(params, list(zip(judges, found)), where)
                    look(where)
                    driven += 1
        except Wrong as e:
            raise Wrong(f"{e}" if where() in f"{e}" else f"{where()}: {e}") from e
        points += 1
    print(f"{points} points of {end - begin}, {driven} of them attached by the driver, "
          f"{sum(judge.marks for judge in judges)} marks")


def states(args):
    """Crash a device between two marks, and ask a command what it makes of the
    file system that is left. The file seen has all marks before the crash."""
    rng = random.Random(args.seed)
    log = list(LogWrites(args.log))
    names = [entry[3] for entry in log]
    mount = Mount(args.loop, args.mount, args.fs)
    count = 0
    answers = {}
    for _, name in crashes(args, rng, log, names.index(args.first), names.index(args.last)):
        count += 1
        done = [n for n in names[:int(re.search(r"entry (\d+)", name)[1]) + 1] if n]
        with open("seen", "w", encoding="ascii") as f:
            f.writelines(f"{mark}\n" for mark in done)
        with mount:
            result = subprocess.run([*args.command, done[-1]], stdout=subprocess.PIPE,
                                    stderr=subprocess.STDOUT, check=False)
        text = result.stdout.decode().strip()
        if result.returncode:
            raise Wrong(f"{name}, the last mark was {done[-1]}: {text}")
        answers[text] = answers.get(text, 0) + 1
    print(f"{count} points: " + ", ".join(f"{n} {text}" for text, n in sorted(answers.items())))


def commands(command):
    def mounted(function):
        p = replay(command, function)
        p.add_argument("fs")
        p.add_argument("mount", help="where to mount it")
        p.add_argument("--points", type=int, default=0)
        p.add_argument("--repeat", type=int, default=1, help="crashes at each point, at most")
        return p

    p = mounted(files)
    p.add_argument("history")
    p.add_argument("back", help="the backing file, as a file of that name in the file system must be")
    p.add_argument("cows", nargs="+", help="the COW files in the file system, of units 0, 1 ...")
    p.add_argument("--driver", type=int, default=10, help="every how many points the driver looks too")

    p = mounted(states)
    p.add_argument("first", help="a mark")
    p.add_argument("last", help="a mark")
    p.add_argument("command", nargs="+", help="has the last mark seen as its last argument")
