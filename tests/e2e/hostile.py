#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""
Files that mean harm, for hostile.sh: made, attached, and judged by what came of
it, lot by lot, all in one process.

    hostile.py wrong         every way to be wrong, a file each
    hostile.py random N      N lots of COW files with random damage
    hostile.py corpus DIR    headers with nothing behind them

Prints `ok NAME`, or `not ok NAME: why`, for each file and each lot, and for
people a line that starts with `#`.
"""

import hashlib
import mmap
import os
import random
import struct
import subprocess
import sys

from model.cow import Cow

# The last unit is for a file that nothing is wrong with.
LOT = 15
SIZE = 1 << 20
MTIME = 0x4D3B2A19
SEED = os.environ["HOSTILE_SEED"]
GOLD = os.path.abspath("gold")
VERSIONS = {
    "V1-little": {"version": 1, "order": "<"}, "V1-big": {"version": 1},
    "V2": {"version": 2}, "V3": {"version": 3},
    "V3-64-bit": {"version": 3, "broken": True},
}
# Where the fields are: mtime, size, sector size, alignment, cow_format, path.
FIELDS = {
    "V1-little": (264, 268, 276, None, None, 8), "V1-big": (264, 268, 276, None, None, 8),
    "V2": (4104, 4108, 4116, None, None, 8), "V3": (8, 12, 20, 24, 28, 32),
    "V3-64-bit": (8, 16, 24, 28, 32, 36),
}


def good(name, backing=GOLD, mtime=MTIME, size=SIZE, **more):
    """A COW file of a version, as bytes, without its data."""
    cow = Cow(backing=backing, mtime=mtime, size=size, **VERSIONS[name], **more)
    data = bytearray(cow.bitmap_offset + len(cow.bits))
    data[:cow.header_len] = cow.header()
    return data, cow


def changed(name, at, shape, value, **more):
    data, _ = good(name, **more)
    order = "<" if name == "V1-little" else ">"
    struct.pack_into(order + shape, data, at, value)
    return bytes(data)


class File:
    """A file, how long it is (if not as long as its bytes), and what is said of it."""

    def __init__(self, name, data, *words, length=None, mtime=None, pieces=()):
        self.name, self.data, self.words = name, data, words
        self.length, self.mtime, self.pieces = length, mtime, pieces


def wrong():
    """Every way to be wrong, and words that the message must have."""
    for name, fields in FIELDS.items():
        data, cow = good(name)
        _, at_size, at_ss, at_align, at_format, at_path = fields
        full = cow.header_len
        for length in (8, 100, full - 1):
            # So short a V3 can't be told from a broken one.
            known = str(4128 if name == "V3-64-bit" and length == 8 else full)
            yield File(f"{name}: {length} bytes", bytes(data[:length]),
                       "short", str(length), known)
        space = 256 if name.startswith("V1") else 4096
        endless = bytes(data[:at_path]) + b"x" * space + bytes(data[at_path + space:])
        yield File(f"{name}: path without an end", endless, "no zero byte", str(space))
        empty = bytes(data[:at_path]) + bytes(space) + bytes(data[at_path + space:])
        yield File(f"{name}: empty path", empty, "empty path")
        for size in (0, 1 << 63, (1 << 63) - (1 << 50), (1 << 64) - 1, (1 << 64) - 511):
            yield File(f"{name}: size {size}", changed(name, at_size, "Q", size), "size",
                       str(size), "1 at least" if size == 0 else str((1 << 63) - 1))
        for ss in (0, 1, 256, 511, 513, 1000, 2 * mmap.PAGESIZE, 1 << 31, (1 << 32) - 1):
            yield File(f"{name}: sector size {ss}", changed(name, at_ss, "I", ss),
                       f"sector size {ss}", "512", str(mmap.PAGESIZE))
        if at_align:
            for align in (0, 1, 511, 513, 4097, (1 << 30) + 512, (1 << 32) - 1):
                yield File(f"{name}: alignment {align}", changed(name, at_align, "I", align),
                           f"alignment {align}", "512", str(1 << 30))
            for fmt in (2, (1 << 32) - 1):
                if name == "V3-64-bit":
                    # Not broken any more, then.
                    continue
                yield File(f"{name}: cow_format {fmt}", changed(name, at_format, "I", fmt),
                           f"cow_format {fmt}", "0 and 1")
        end = cow.bitmap_offset + len(cow.bits)
        yield File(f"{name}: shorter than its bitmap", bytes(data[:-1]), str(end - 1), str(end))
        for size in (SIZE - 512, SIZE + 1, SIZE * 1024):
            _, grown = good(name, size=size)
            yield File(f"{name}: size {size}, the backing file has another",
                       changed(name, at_size, "Q", size), str(size), str(SIZE), GOLD, ".file",
                       length=grown.data_offset)
        for mtime in (0, MTIME + 1, (1 << 32) - 1):
            yield File(f"{name}: mtime {mtime}, the backing file has another",
                       bytes(good(name, mtime=mtime)[0]), str(mtime), str(MTIME), GOLD, ".file")
    for value in (0, SIZE - 1, SIZE + 1, (1 << 64) - 1):
        data = bytearray(changed("V3", 28, "I", 1))
        struct.pack_into(">Q", data, 4128, value)
        yield File(f"V3: a backing file of {value} bytes", bytes(data), str(value), str(SIZE))
    for order, version in (">", 0), (">", 4), (">", 0x3000000), ("<", 2), ("<", 3), ("<", 0):
        data = bytearray(good("V3")[0])
        struct.pack_into(order + "II", data, 0, 0x4F4F4F4D, version)
        yield File(f"version {version}, order {order}", bytes(data), f"version {version}",
                   "1 to 3" if order == ">" else "only 1")
    for what, path, word in (
            ("nowhere", "/nowhere/gold", "opened"), ("a folder", "/tmp", "size"),
            ("a device that is no disk", "/dev/zero", "size"),
            ("a relative one to nowhere", "../../../../nowhere", "nowhere"),
            ("a long one", "x" * 255, "opened"), ("control characters", "/a\n<0>b\x1b[1m", "/a\\x0a<0>b\\x1b[1m"),
            ("through a file", GOLD + "/x", "opened"), ("just a slash", "/", "switch")):
        for name in FIELDS:
            path = path[:255]
            yield File(f"{name}: backing file: {what}", bytes(good(name, backing=path)[0]), word)
    for name in "V2", "V3", "V3-64-bit":
        yield File(f"{name}: the longest path", bytes(good(name, backing="/" + "y" * 4094)[0]),
                   "opened", "more]")
    # Its own backing file: by its raw length, and by its disk's.
    for name in FIELDS:
        own = os.path.abspath(f"self-{name}")
        data, cow = good(name, backing=own)
        yield File(f"{name}: its own backing file", bytes(data), "itself", own,
                   length=cow.data_offset + SIZE, mtime=MTIME, pieces=(own,))


def good_file(name, rng):
    """A COW file that can be used, bits and data and all."""
    ss = rng.choice((512, 512, 1024, 4096))
    data, cow = good(name, sectorsize=ss, alignment=rng.choice((512, 4096, 1536)))
    data = data.ljust(cow.data_offset, b"\0")
    bits = rng.randbytes(SIZE // ss // 8)
    data[cow.bitmap_offset:cow.bitmap_offset + len(bits)] = bits
    return data


def damaged(n):
    """A good file, with one to four things done to it."""
    rng = random.Random(f"{SEED}/{n}")
    name = rng.choice(list(VERSIONS))
    data = good_file(name, rng)
    fields = [at for at in FIELDS[name] if at is not None]
    length = len(data) + SIZE
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        what = rng.randrange(9)
        if what == 0 and data:
            data[rng.choice((rng.randrange(len(data)), rng.randrange(min(len(data), 48))))] ^= \
                1 << rng.randrange(8)
        elif what in (1, 2, 3):
            value = rng.choice((0, 1, 255, 511, 512, 513, 4096, 65536, 1 << 31, (1 << 32) - 1,
                                (1 << 31) - 1, rng.randrange(1 << 32)))
            at = rng.choice(fields) + rng.choice((0, 0, 4))
            data[at:at + 4] = struct.pack(rng.choice("<>") + "I", value)
        elif what == 4:
            length = rng.choice((rng.randrange(len(data) + 1), rng.randrange(5000), length // 2))
        elif what == 5 and len(data) > 64:
            at = rng.randrange(len(data) - 32)
            data[at:at + 32] = rng.randbytes(32)
        elif what == 6:
            data[4:8] = struct.pack(rng.choice("<>") + "I", rng.randrange(5))
        elif what == 7:
            other = good_file(rng.choice(list(VERSIONS)), rng)
            cut = rng.randrange(min(len(data), len(other), 4200))
            data = data[:cut] + other[cut:]
        elif what == 8:
            size = rng.choice((SIZE + 1, SIZE - 1, SIZE * 512, 1 << 63, (1 << 63) - 1,
                               (1 << 64) - 1, rng.randrange(1 << 64), 1 << rng.randrange(64)))
            at = fields[1]
            data[at:at + 8] = struct.pack(rng.choice("<>") + "Q", size)
    return File(f"random {n} ({name})", bytes(data[:length]), length=length)


def digest(path):
    with open(path, "rb") as f:
        return hashlib.sha256(f.read(8 << 20)).hexdigest()


class Log:
    """What the driver says."""

    def __init__(self):
        self.fd = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
        os.lseek(self.fd, 0, os.SEEK_END)

    def lines(self):
        """The lines since the last call."""
        lines = []
        while True:
            try:
                text = os.read(self.fd, 16384).decode(errors="replace")
            except BlockingIOError:
                return lines
            except BrokenPipeError:
                continue
            # A byte that does not print is \\xNN here, and so is a backslash.
            text = text.split(";", 1)[1].split("\n")[0].replace("\\x5c", "\\")
            if text.startswith("rnull_ubd: "):
                lines.append(text)


def judge(unit, file, log, may_attach):
    """What is not as it must be with one file, or None; and whether it is attached."""
    letter = chr(ord("a") + unit)
    dev = f"/dev/ubd{letter}"
    said = [line for line in log if line.startswith(f"rnull_ubd: ubd{letter}: ")]
    if os.path.exists(dev):
        try:
            with open(dev, "rb") as f:
                while f.read(1 << 18):
                    pass
        except OSError as e:
            return f"attached, but cannot be read: {e}", True
        return None if may_attach else "attached", True
    if not said:
        return "no message", False
    if not any(all(word in line for word in file.words) for line in said):
        return f"no message with {file.words}, but: " + "; ".join(said), False
    return None, False


def modprobe(*args):
    done = subprocess.run(["modprobe", *args], capture_output=True, text=True, check=False)
    return done.stderr.strip() if done.returncode else None


def lot(what, files, may_attach=False):
    """One load."""
    paths = []
    for unit, file in enumerate(files):
        path = file.pieces[0] if file.pieces else os.path.abspath(f"{unit}.file")
        with open(path, "wb") as f:
            f.write(file.data)
            if file.length is not None:
                f.truncate(file.length)
        if file.mtime is not None:
            os.utime(path, (file.mtime, file.mtime))
        paths.append(path)
    watched = [*paths, GOLD]
    before = [digest(path) for path in watched]
    log = Log()
    wrongs = [modprobe("rnull_ubd", f"ubd15={os.path.abspath('other')}",
                       *(f"ubd{unit}={path}" for unit, path in enumerate(paths)))]
    if not os.path.exists("/dev/ubdp"):
        wrongs.append("the good unit is not there")
    said = log.lines()
    attached = 0
    for unit, file in enumerate(files):
        why, there = judge(unit, file, said, may_attach)
        attached += there
        if why or not may_attach:
            print(f"not ok {file.name}: {why}" if why else f"ok {file.name}", flush=True)
    wrongs.append(modprobe("-r", "rnull_ubd"))
    after = [digest(path) for path in watched]
    wrongs += [f"{path} has changed" for path, a, b in zip(watched, before, after) if a != b]
    wrongs = [why for why in wrongs if why]
    print(f"not ok {what}: {'; '.join(wrongs)}" if wrongs else
          f"ok {what}: loaded and unloaded, and no file has changed")
    if may_attach:
        print(f"# {what}: {attached} of {len(files)} attached")
    for path in paths:
        os.unlink(path)


def main():
    kind, *rest = sys.argv[1:]
    if kind == "wrong":
        files = list(wrong())
    elif kind == "corpus":
        files = []
        for name in sorted(os.listdir(rest[0])):
            with open(os.path.join(rest[0], name), "rb") as f:
                files.append(File(f"corpus: {name}", f.read(), ".file"))
    else:
        files = [damaged(n) for n in range(int(rest[0]) * LOT)]
    for at in range(0, len(files), LOT):
        lot(f"{kind}, files {at} to {min(at + LOT, len(files)) - 1}", files[at:at + LOT],
            kind == "random")


if __name__ == "__main__":
    main()
