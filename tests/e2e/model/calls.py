# SPDX-License-Identifier: GPL-2.0
"""Locks and ioctls, of files and disks."""

import fcntl
import os
import signal
import struct
import sys


def lock(args):
    """Take a record lock on a whole file as UML does, or say who has it."""
    fd = os.open(args.file, os.O_RDONLY if args.kind == "shared" else os.O_RDWR)
    kind = fcntl.F_RDLCK if args.kind == "shared" else fcntl.F_WRLCK
    try:
        fcntl.fcntl(fd, fcntl.F_SETLK, struct.pack("hhqqi4x", kind, 0, 0, 0, 0))
    except (BlockingIOError, PermissionError):
        print("refused", flush=True)
        sys.exit(1)
    print("locked", os.getpid(), flush=True)
    if args.hold:
        signal.pause()


def ioctl(args):
    """What a disk says of itself to programs that ask by ioctl."""
    fd = os.open(args.dev, os.O_RDONLY | os.O_NONBLOCK)
    if args.what == "geo":
        heads, sectors, cylinders, start = struct.unpack(
            "BBHxxxxQ", fcntl.ioctl(fd, 0x0301, bytes(16)))
        print(heads, sectors, cylinders, start)
    elif args.what == "identity":
        words = struct.unpack("<256H", fcntl.ioctl(fd, 0x030D, bytes(512)))
        print(words[1], words[3], words[6])
    elif args.what == "volume":
        print(*fcntl.ioctl(fd, 0x5313, bytes(4)))


def commands(command):
    p = command("lock", lock)
    p.add_argument("file")
    p.add_argument("kind", choices=("shared", "exclusive"))
    p.add_argument("--hold", action="store_true", help="until killed")

    p = command("ioctl", ioctl)
    p.add_argument("dev")
    p.add_argument("what", choices=("geo", "identity", "volume"))
