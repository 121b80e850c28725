#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Makes the fuzzers' corpus: the headers of small COW files of every version,
packed here by the format's description and so independent of the driver's
code, some that are bad in one way each, and option texts.

usage: make_corpus.py [FOLDER]

FOLDER is the corpus folder beside this file if not given. Two headers are of
real writers, as Debian has them: v3-uml_mkcow, and v3-linux-uml by User-mode
Linux itself, which leaves behind the path what its memory had, other bytes each
time. Where one of them is not installed (scripts/toolchain has both), its file
stays as it is. No writer of another version is to be had: those are all made
here.
"""

import os
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile

MAGIC = 0x4F4F4F4D
MTIME = 0x4D3B2A19
SIZE = 1 << 20
PATH = b"/tmp/gold.img"
LEN_MAX = 4136


def v1(order, path=PATH, size=SIZE, sector_size=512, version=1):
    return struct.pack(
        order + "LL256sLQL", MAGIC, version, path, MTIME, size, sector_size
    )


def v2(path=PATH, size=SIZE, sector_size=512):
    return struct.pack(">LL4096sLQL", MAGIC, 2, path, MTIME, size, sector_size)


def v3(path=PATH, size=SIZE, sector_size=512, alignment=4096, cow_format=0, version=3):
    return struct.pack(
        ">LLLQLLL4096s",
        MAGIC, version, MTIME, size, sector_size, alignment, cow_format, path,
    )


def broken(path=PATH, size=SIZE, sector_size=512, alignment=4096):
    # What a 64-bit compiler made of the unpacked structure: mtime in 64 bits,
    # of which the first 32 were converted, and padding at the end.
    return struct.pack(
        ">LLLLQLLL4096s4x",
        MAGIC, 3, MTIME, 0, size, sector_size, alignment, 0, path,
    )


def headers():
    yield "v1-little", v1("<")
    yield "v1-big", v1(">")
    # 1857 sectors: the byte of bitmap that the format forgets has no room.
    yield "v1-short-of-room", v1("<", size=1857 * 512)
    yield "v2", v2()
    yield "v2-sector-4096", v2(sector_size=4096)
    yield "v3", v3()
    yield "v3-odd-size", v3(size=SIZE + 1)
    yield "v3-sector-4096", v3(sector_size=4096)
    yield "v3-alignment-1536", v3(alignment=1536)
    yield "v3-path-in-full", v3(path=b"/" + b"x" * 4094)
    yield "v3-broken", broken()
    yield "v3-larger", v3(cow_format=1) + struct.pack(">Q", SIZE - 1)

    yield "bad-version", v3(version=4)
    yield "bad-version-little", v1("<", version=2)
    yield "bad-format", v3(cow_format=2)
    yield "bad-backing-size", v3(cow_format=1) + struct.pack(">Q", SIZE + 1)
    yield "bad-endless-path", v3(path=b"x" * 4096)
    yield "bad-empty-path", v2(path=b"")
    yield "bad-size-0", v3(size=0)
    yield "bad-size-huge", v3(size=(1 << 64) - 1)
    yield "bad-size-almost", v3(size=(1 << 63) - (1 << 51))
    yield "bad-sector-size-0", v1(">", sector_size=0)
    yield "bad-sector-size-odd", v2(sector_size=1000)
    yield "bad-alignment-0", v3(alignment=0)
    yield "bad-alignment-huge", v3(alignment=0xFFFFFE00)
    yield "bad-short", v3()[:100]


def by_uml_mkcow(cow, gold):
    return ["uml_mkcow", cow, gold]


def by_linux_uml(cow, gold):
    # It looks for partitions, and so has made the file before there is an init.
    return [
        "linux.uml", "mem=64M", "con=null", "con0=null,fd:1", f"ubd0={cow},{gold}",
        "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro",
        "init=/usr/bin/busybox", "--", "poweroff", "-f",
    ]


def by_writer(command_of):
    """The header of a file that a program made, or None if it is not installed."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="corpus-") as folder:
        gold = os.path.join(folder, "gold.img")
        cow = os.path.join(folder, "work.cow")
        command = command_of(cow, gold)
        if not shutil.which(command[0]):
            print(f"{command[0]} is not installed", file=sys.stderr)
            return None
        with open(gold, "wb") as file:
            file.truncate(SIZE)
        os.utime(gold, (MTIME, MTIME))
        subprocess.run(
            command, check=True, timeout=120, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        with open(cow, "rb") as file:
            header = bytearray(file.read(LEN_MAX))
    # The end of the folder's name is another each time.
    start = header.index(folder.encode()) + len("/tmp/corpus-")
    end = header.index(b"/gold.img")
    header[start:end] = b"x" * (end - start)
    return bytes(header)


WRITERS = {"v3-uml_mkcow": by_uml_mkcow, "v3-linux-uml": by_linux_uml}

OPTIONS = {
    "one-file": b"0=/tmp/gold.img",
    "cow-and-backing": b"0rs=work.cow:gold.img",
    "serial": b"b=gold.img,,serial-1",
    "letters": b"aard=/tmp/gold.img",
    "all": b"0xftdcsr=work.cow,gold.img:serial",
    "data": b"017d=gold.img",
    "parameter": b"=2rsct=work.cow,gold.img",
    "sync": b"=sync",
    "fake-major": b"=98",
    "bad-number": b"99999999999999999999=x",
    "bad-flags": b"0rrrrrrr=x",
    "bad-fields": b"0=a:b:c:d",
    "bad-data": b"ad=a:b",
    "not-utf-8": b"0=/tmp/\xff\xfe\n\x1b[31m",
}


def main():
    here = pathlib.Path(__file__).resolve().parent
    folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else here / "corpus"
    made = {("header", name): data for name, data in headers()}
    for name, command_of in WRITERS.items():
        header = by_writer(command_of)
        if header:
            made["header", name] = header
    made |= {("options", name): data for name, data in OPTIONS.items()}
    for (kind, name), data in made.items():
        (folder / kind).mkdir(parents=True, exist_ok=True)
        (folder / kind / name).write_bytes(data)


if __name__ == "__main__":
    main()
