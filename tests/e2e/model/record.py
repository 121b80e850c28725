# SPDX-License-Identifier: GPL-2.0
"""Records of a device by dm-log-writes."""

import fcntl
import os
import struct

from . import SECTOR, Wrong


class LogWrites:
    """What dm-log-writes saw, entry by entry."""

    FLUSH, FUA, DISCARD, MARK = 1, 2, 4, 8

    def __init__(self, path):
        self.f = open(path, "rb")
        magic, version, entries, sector = struct.unpack("<QQQI", self.f.read(28))
        if magic != 0x6A736677736872 or version != 1:
            raise Wrong(f"{path}: not a log of dm-log-writes")
        self.entries, self.sector = entries, sector

    def __iter__(self):
        """(byte offset, data or None, flags, mark's name or None)"""
        at = self.sector
        for _ in range(self.entries):
            self.f.seek(at)
            head = self.f.read(self.sector)
            first, count, flags, length = struct.unpack_from("<QQQQ", head)
            at += self.sector
            if flags & self.MARK:
                yield 0, None, flags, head[32:32 + length].split(b"\0")[0].decode()
            elif flags & self.DISCARD:
                yield first * self.sector, bytes(count * self.sector), flags, None
            else:
                data = self.f.read(count * self.sector)
                at += len(data)
                yield first * self.sector, data, flags, None


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


class Cached:
    """A device with a volatile cache, by its record: what is stable, and what a crash
    may yet lose."""

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

    def loose_sectors(self):
        """What is loose, sector by sector."""
        return [(at + i, data[i:i + SECTOR]) for at, data in self.loose
                for i in range(0, len(data), SECTOR)]
