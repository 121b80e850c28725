# SPDX-License-Identifier: GPL-2.0
"""What is asked of disks and file systems while the device below is recorded."""

import fcntl
import hashlib
import json
import mmap
import os
import random
import struct
import time

from model import SECTOR, Wrong, file_size
from model.processes import apart
from model.record import Device

from . import BASE, BLKDISCARD, BLKZEROOUT, sector_of, zones


def base(args):
    """A backing file, each sector of which says which one it is."""
    with open(args.file, "wb") as f:
        for s in range(0, args.sectors, 2048):
            f.write(b"".join(sector_of(BASE, n)
                             for n in range(s, min(s + 2048, args.sectors))))


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
    logs = apart((f"process {n}",
                  lambda n=n: Client(args, args.devs[n % len(disks)], n + 1, device).run())
                 for n in range(args.procs))
    for n, done in enumerate(logs):
        disks[n % len(disks)]["log"] += done
    log = [request for done in logs for request in done]
    device.mark("end")
    with open(args.history, "w", encoding="ascii") as f:
        json.dump(disks, f)
    failures = sorted({(entry[1], entry[6]) for entry in log if entry[6]})
    for kind, why in failures:
        if kind in ("discard", "zero") and "not supported" in why and args.lax:
            continue
        raise Wrong(f"a {kind} failed: {why}")
    print(f"{len(log)} requests, {sum(e[1] == 'flush' for e in log)} flushes"
          + "".join(f"; {kind}: {why}" for kind, why in failures))


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
    apart((f"process {n}", lambda n=n: work(n)) for n in range(args.procs))
    device.mark("end")


def commands(command):
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
