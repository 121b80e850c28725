#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""
Crashes, by the record of dm-log-writes and a history of what was asked.

`load` has several processes write, zero, discard and flush disks at once, and
keeps of every request when it started and when it was done; after each flush
it puts a mark into the record. `raw` and `files` then crash the device below
the COW files at points of the record, losing what a disk may lose, and judge
what each sector of each disk holds then.

The rules, for a crash after the mark of a flush: a request that was done
before the flush started is covered. So is a FUA write after its own mark. A
sector holds what some request put there that was not followed by a covered
one, or, if none is covered, what the backing file has. Nothing else ever.
"""

import argparse
import bisect
import ctypes
import fcntl
import hashlib
import json
import mmap
import os
import random
import re
import struct
import subprocess
import sys
import time

from model import Cow, LogWrites, SECTOR, Wrong, file_size

BLKDISCARD, BLKZEROOUT = 0x1277, 0x127F
# What a sector can hold but what a request put there.
BASE, ZEROS, JUNK = 1 << 62, -1, -2
ZERO_SECTOR = bytes(SECTOR)
# Where requests go: the ends of the disk, and where the bitmap's second page
# begins. Small, so that requests meet.
ZONE = 400


def sector_of(op, sector):
    """What request op writes to a sector."""
    return struct.pack("<QQ", op, sector) * (SECTOR // 16)


def whose(data, sector):
    """The request that a sector's bytes are of, BASE, ZEROS or JUNK."""
    if data == ZERO_SECTOR:
        return ZEROS
    op, own = struct.unpack_from("<QQ", data)
    return op if own == sector and data == data[:16] * (SECTOR // 16) else JUNK


def zones(sectors):
    """(first sector, count) of each part of the disk that is written."""
    found = [(0, ZONE)]
    if sectors > 32768 + ZONE:
        found.append((32768 - ZONE // 2, ZONE))
    return found + [(sectors - ZONE, ZONE)]


def base(args):
    """A backing file, each sector of which says which one it is."""
    with open(args.file, "wb") as f:
        for s in range(0, args.sectors, 2048):
            f.write(b"".join(sector_of(BASE, n)
                             for n in range(s, min(s + 2048, args.sectors))))


# The history


class Device:
    """A device-mapper device that takes marks; a process for each is too slow."""

    def __init__(self, name):
        self.name = name
        self.fd = os.open("/dev/mapper/control", os.O_RDWR)

    def mark(self, text):
        message = struct.pack("<Q", 0) + f"mark {text}".encode() + b"\0"
        size = 312 + len(message)
        head = struct.pack("<10IQ128s", 4, 0, 0, size, 312, 0, 0, 0, 0, 0, 0,
                           self.name.encode())
        # DM_TARGET_MSG
        fcntl.ioctl(self.fd, 0xC138FD0E, bytearray(head.ljust(312, b"\0") + message))


class Client:
    """One process's requests."""

    def __init__(self, args, dev, number, device):
        self.args = args
        self.device = device
        self.rng = random.Random(f"{args.seed}/{number}")
        # No request of another history has this one's number.
        salt = random.Random(args.seed).getrandbits(20) << 40
        self.next = salt | number << 24
        self.fd = os.open(dev, os.O_RDWR | os.O_DIRECT)
        self.zones = zones(file_size(dev) // SECTOR)
        self.buffer = mmap.mmap(-1, 256 * SECTOR)
        self.log = []

    def range(self):
        rng = self.rng
        first, count = rng.choice(self.zones)
        n = rng.choice((1, 1, 2, 3, 7, 8, 9, 16, 24, 40, 64))
        at = first + rng.randrange(count - n + 1)
        if rng.randrange(3) == 0:
            at = max(first, at // 8 * 8)
        return at, n

    def request(self, kind):
        self.next += 1
        op = self.next
        if kind == "flush":
            first, count = 0, 0
        else:
            first, count = self.range()
            if kind == "discard":
                # What is no whole page need not be discarded.
                first, count = -(-first // 8) * 8, max(8, count // 8 * 8)
        if kind in ("write", "fua"):
            data = b"".join(sector_of(op, s) for s in range(first, first + count))
            self.buffer[:len(data)] = data
        failed = None
        start = time.monotonic_ns()
        try:
            if kind == "flush":
                os.fsync(self.fd)
            elif kind in ("write", "fua"):
                view = memoryview(self.buffer)[:count * SECTOR]
                done = os.pwritev(self.fd, [view], first * SECTOR,
                                  os.RWF_DSYNC if kind == "fua" else 0)
                if done != count * SECTOR:
                    raise Wrong(f"{done} of {count * SECTOR} bytes written")
            else:
                fcntl.ioctl(self.fd, BLKDISCARD if kind == "discard" else BLKZEROOUT,
                            struct.pack("<QQ", first * SECTOR, count * SECTOR))
        except OSError as e:
            failed = e.strerror
        end = time.monotonic_ns()
        # What failed may have been done in part, and covers nothing.
        self.log.append((op, kind, first, count, start, end, failed))
        if not failed and (kind in ("flush", "fua") or self.args.sync):
            self.device.mark(op)

    def run(self):
        kinds = ["write"] * 11 + ["fua"] * 2 + ["zero"] * 2 + ["discard"] * 2 + ["flush"] * 3
        if self.args.sync:
            kinds = ["write"] * 8 + ["zero", "discard"]
        for _ in range(self.args.ops):
            self.request(self.rng.choice(kinds))
        if self.rng.randrange(2) and not self.args.sync:
            self.request("flush")
        return self.log


def load(args):
    """Have several processes use each disk, and keep what they did."""
    device = Device(args.mark)
    device.mark("begin")
    disks = [{"sectors": file_size(dev) // SECTOR, "log": []} for dev in args.devs]
    children = []
    for number in range(args.procs):
        source, sink = os.pipe()
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                dev = args.devs[number % len(args.devs)]
                log = Client(args, dev, number + 1, device).run()
                with open(sink, "w", encoding="ascii") as f:
                    json.dump(log, f)
                code = 0
            except Exception as e:  # pylint: disable=broad-except
                print(f"process {number}: {type(e).__name__}: {e}", flush=True)
            finally:
                os._exit(code)
        os.close(sink)
        children.append((pid, source))
    log, bad = [], 0
    for number, (pid, source) in enumerate(children):
        with open(source, encoding="ascii") as f:
            text = f.read()
        bad += os.waitpid(pid, 0)[1] != 0
        done = json.loads(text or "[]")
        disks[number % len(disks)]["log"] += done
        log += done
    device.mark("end")
    with open(args.history, "w", encoding="ascii") as f:
        json.dump(disks, f)
    failures = sorted({(entry[1], entry[6]) for entry in log if entry[6]})
    for kind, why in failures:
        if kind in ("discard", "zero") and "not supported" in why and args.lax:
            continue
        raise Wrong(f"a {kind} failed: {why}")
    if bad:
        raise Wrong(f"{bad} of {args.procs} processes failed")
    print(f"{len(log)} requests, {sum(e[1] == 'flush' for e in log)} flushes"
          + "".join(f"; {kind}: {why}" for kind, why in failures))


class Judge:
    """What each sector of a disk may hold, at a point of the record."""

    def __init__(self, history):
        self.sectors = history["sectors"]
        self.by_sector = {}
        self.by_mark = {}
        for op, kind, first, count, start, end, failed in history["log"]:
            entry = (op, kind, first, count, start, float("inf") if failed else end)
            self.by_mark[str(op)] = entry
            for s in range(first, first + count):
                self.by_sector.setdefault(s, []).append(entry)
        # In the order in which they were done, to find whom a flush covers.
        self.done = sorted((e for e in self.by_mark.values() if e[1] != "flush"),
                           key=lambda e: e[5])
        self.ends = [e[5] for e in self.done]
        self.until = 0
        self.single = set()
        self.cache = {}
        self.marks = 0

    @classmethod
    def all(cls, path):
        """One for each disk of a history."""
        with open(path, encoding="ascii") as f:
            return [cls(history) for history in json.load(f)]

    def mark(self, name):
        """Go past a mark; the sectors of which more is known now."""
        entry = self.by_mark.get(name)
        if entry is None:
            return set()
        self.marks += 1
        changed = set()
        if entry[1] == "flush":
            if entry[4] > self.until:
                low = bisect.bisect_left(self.ends, self.until)
                self.until = entry[4]
                for e in self.done[low:bisect.bisect_left(self.ends, self.until)]:
                    changed.update(range(e[2], e[2] + e[3]))
        else:
            self.single.add(entry[0])
            changed.update(range(entry[2], entry[2] + entry[3]))
        for s in changed:
            self.cache.pop(s, None)
        return changed

    def allowed(self, s):
        found = self.cache.get(s)
        if found is None:
            ops = self.by_sector.get(s, ())
            last = max((e[4] for e in ops if e[5] < self.until or e[0] in self.single),
                       default=0)
            found = {ZEROS if e[1] in ("zero", "discard") else e[0]
                     for e in ops if e[5] > last}
            if not last:
                found.add(BASE)
            self.cache[s] = found
        return found

    def check(self, s, content, where):
        if content not in self.allowed(s):
            raise Wrong(f"{where()}: sector {s} holds {self.name(content)}, must hold "
                        + " or ".join(sorted(self.name(c) for c in self.allowed(s)))
                        + "\nits requests:\n" + "".join(
                            f"  {self.name(e[0])} of {e[2]}+{e[3]}, {e[4]} to {e[5]}"
                            f"{' (covered)' if e[5] < self.until or e[0] in self.single else ''}\n"
                            for e in sorted(self.by_sector.get(s, ()), key=lambda e: e[4])))

    def name(self, content):
        if content in (BASE, ZEROS, JUNK):
            return {BASE: "the backing file's", ZEROS: "zeros",
                    JUNK: "what nobody wrote there"}[content]
        entry = self.by_mark.get(str(content))
        return f"{entry[1]} {content & 0xFFFFFFFFFF:#x}" if entry else "another history's data"


# Crashes


class Disk:
    """The device below, with a volatile cache: what is stable, and what is loose."""

    def __init__(self, start):
        with open(start, "rb") as f:
            self.stable = bytearray(f.read())
        # (offset, data of a whole entry)
        self.loose = []
        self.flushes = 0

    def take(self, at, data, flags):
        """Go on by one entry that is no mark. Returns what became stable."""
        fixed = []
        if flags & LogWrites.FLUSH:
            self.flushes += 1
            fixed, self.loose = self.loose, []
        if flags & LogWrites.FUA:
            fixed.append((at, data))
        elif data:
            self.loose.append((at, data))
        for where, what in fixed:
            self.stable[where:where + len(what)] = what
        return fixed

    def choices(self, rng, count):
        """(name, entries or sectors of what is loose, in order) of possible crashes."""
        def sectors(entries):
            return [(at + i, data[i:i + SECTOR]) for at, data in entries
                    for i in range(0, len(data), SECTOR)]
        yield "nothing", []
        if not self.loose:
            return
        yield "all", self.loose
        yield "the last", sectors(self.loose)[-1:]
        for _ in range(count):
            yield "some sectors", [w for w in sectors(self.loose) if rng.randrange(2)]
            yield "the first few", self.loose[:rng.randrange(len(self.loose) + 1)]


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


def image_of(args, disk):
    """The file for the device as a crash left it, in memory."""
    with open(args.image, "r+b") as f:
        image = mmap.mmap(f.fileno(), 0)
    if len(image) != len(disk.stable):
        raise Wrong("the image and the start differ in size")
    return image


def put(image, disk, some):
    """Write a state of a device to the file for it."""
    image[:] = bytes(disk.stable)
    for where, what in some:
        image[where:where + len(what)] = what


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


def tree(args):
    """Have several processes make files, fsync and delete them, with a mark after
    each fsync (a name) and before each deletion (- and a name)."""
    device = Device(args.mark)

    def work(number):
        rng = random.Random(f"{args.seed}/{number}")
        own = []
        os.mkdir(f"{args.dir}/{number}")
        with open(f"{args.sums}.{number}", "w", encoding="ascii") as sums:
            for n in range(args.files):
                name = f"{number}/{n}"
                data = rng.randbytes(rng.choice((1, 700, 4096, 5000, 20000, 70000)))
                with open(f"{args.dir}/{name}", "wb") as f:
                    f.write(data)
                    f.flush()
                    if rng.randrange(4):
                        os.fsync(f.fileno())
                        print(hashlib.sha256(data).hexdigest(), f" {name}", file=sums)
                        device.mark(name)
                        own.append(name)
                if len(own) > 4 and rng.randrange(3) == 0:
                    name = own.pop(rng.randrange(len(own)))
                    device.mark(f"-{name}")
                    os.unlink(f"{args.dir}/{name}")

    device.mark("begin")
    children = []
    for number in range(args.procs):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                work(number)
                code = 0
            except Exception as e:  # pylint: disable=broad-except
                print(f"process {number}: {type(e).__name__}: {e}", flush=True)
            finally:
                os._exit(code)
        children.append(pid)
    bad = sum(os.waitpid(pid, 0)[1] != 0 for pid in children)
    device.mark("end")
    if bad:
        raise Wrong(f"{bad} of {args.procs} processes failed")


def commands_of():
    """The parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.strip().split("\n", maxsplit=1)[0])
    commands = parser.add_subparsers(required=True)

    def command(name, function):
        p = commands.add_parser(name, help=function.__doc__.strip().split("\n", maxsplit=1)[0])
        p.set_defaults(run=function)
        return p

    p = command("base", base)
    p.add_argument("file")
    p.add_argument("sectors", type=int)

    p = command("load", load)
    p.add_argument("history")
    p.add_argument("devs", nargs="+", help="each gets its share of the processes")
    p.add_argument("--mark", required=True, help="the dm-log-writes device")
    p.add_argument("--procs", type=int, default=6)
    p.add_argument("--ops", type=int, default=40, help="of each process")
    p.add_argument("--sync", action="store_true", help="a unit with flag s: all that is done is covered")
    p.add_argument("--lax", action="store_true", help="discards may be not supported")
    p.add_argument("--seed", default="load")

    p = command("tree", tree)
    p.add_argument("dir")
    p.add_argument("sums", help="what sha256sum -c reads; .0, .1 ... are added")
    p.add_argument("--mark", required=True)
    p.add_argument("--procs", type=int, default=3)
    p.add_argument("--files", type=int, default=25, help="of each process")
    p.add_argument("--seed", default="tree")

    def replay(name, function):
        p = command(name, function)
        p.add_argument("log")
        p.add_argument("start", help="the device as it was at first")
        p.add_argument("image", help="for the device as a crash left it")
        p.add_argument("loop", help="a loop device on the image")
        p.add_argument("--param", action="append", default=[], help="of the module")
        p.add_argument("--seed", default=name)
        return p

    p = replay("raw", raw)
    p.add_argument("history")
    p.add_argument("--choices", type=int, default=2)
    p.add_argument("--driver", type=int, default=0, help="at how many points the driver looks too")
    p.add_argument("--all", action="store_true", help="look at all sectors, not only those written")

    def mounted(name, function):
        p = replay(name, function)
        p.add_argument("fs")
        p.add_argument("mount", help="where to mount it")
        p.add_argument("--points", type=int, default=0)
        p.add_argument("--repeat", type=int, default=1, help="crashes at each point, at most")
        return p

    p = mounted("files", files)
    p.add_argument("history")
    p.add_argument("back", help="the backing file, as a file of that name in the file system must be")
    p.add_argument("cows", nargs="+", help="the COW files in the file system, of units 0, 1 ...")
    p.add_argument("--driver", type=int, default=10, help="every how many points the driver looks too")

    p = mounted("states", states)
    p.add_argument("first", help="a mark")
    p.add_argument("last", help="a mark")
    p.add_argument("command", nargs="+", help="has the last mark seen as its last argument")
    return parser


def main():
    args = commands_of().parse_args()
    try:
        args.run(args)
    except Wrong as e:
        print(e)
        sys.exit(1)


if __name__ == "__main__":
    main()
