# SPDX-License-Identifier: GPL-2.0
"""The format of COW files."""

import os
import re
import struct

from . import SECTOR, Wrong, up

MAGIC = 0x4F4F4F4D


class Cow:
    """A COW file: its header's values, and where its bitmap and data lie."""

    def __init__(self, version, backing, mtime, size, sectorsize=SECTOR,
                 alignment=4096, order=">", broken=False, below=None):
        self.version = version
        self.backing = backing
        self.mtime = mtime & 0xFFFFFFFF
        self.size = size
        self.sectorsize = sectorsize
        self.alignment = alignment
        self.order = order
        self.broken = broken
        # The size of the backing file, if the header says that it is another one.
        self.below = below
        self.bits = bytearray(up(-(-size // sectorsize), 8) // 8)
        if version == 3:
            self.header_len = 4136 if broken or below is not None else 4128
            self.bitmap_offset = up(self.header_len, alignment)
            self.bitmap_len = len(self.bits)
            self.data_offset = up(self.bitmap_offset + self.bitmap_len, alignment)
        else:
            self.header_len = 280 if version == 1 else 4120
            self.bitmap_offset = self.header_len
            self.bitmap_len = (size + sectorsize - 1) // (8 * sectorsize)
            self.data_offset = up(self.bitmap_offset + self.bitmap_len, sectorsize)

    @property
    def sectors(self):
        return -(-self.size // self.sectorsize)

    @classmethod
    def parse(cls, head):
        """The COW file whose first bytes are head, or None."""
        if len(head) < 8:
            return None
        for order in "><":
            magic, version = struct.unpack_from(order + "II", head)
            if magic == MAGIC and (order == ">" or version == 1):
                break
        else:
            return None

        def path(at, size):
            text = head[at:at + size]
            if len(text) < size or b"\0" not in text:
                raise Wrong("COW header: no end of the path")
            return text[:text.index(b"\0")].decode()

        if version == 1:
            mtime, size, ss = struct.unpack_from(order + "IQI", head, 264)
            return cls(1, path(8, 256), mtime, size, ss, ss, order)
        if version == 2:
            mtime, size, ss = struct.unpack_from(">IQI", head, 4104)
            return cls(2, path(8, 4096), mtime, size, ss, ss)
        if version != 3:
            raise Wrong(f"COW header: version {version}")
        broken = head[32:36] == b"\0\0\0\0"
        if broken:
            mtime, zero, size, ss, align, fmt = struct.unpack_from(">IIQIII", head, 8)
            name = path(36, 4096)
            if zero:
                raise Wrong("COW header: a broken V3 whose mtime has more than 32 bits")
        else:
            mtime, size, ss, align, fmt = struct.unpack_from(">IQIII", head, 8)
            name = path(32, 4096)
        if fmt not in (0, 1):
            raise Wrong(f"COW header: cow_format {fmt}")
        below = struct.unpack_from(">Q", head, 4128)[0] if fmt else None
        return cls(3, name, mtime, size, ss, align, ">", broken, below)

    def header(self):
        """The header's bytes."""
        head = bytearray(self.header_len)
        name = self.backing.encode()
        if self.version == 1:
            struct.pack_into(self.order + "II256sIQI", head, 0, MAGIC, 1, name,
                             self.mtime, self.size, self.sectorsize)
        elif self.version == 2:
            struct.pack_into(">II4096sIQI", head, 0, MAGIC, 2, name,
                             self.mtime, self.size, self.sectorsize)
        elif self.broken:
            struct.pack_into(">IIIIQIII4096s", head, 0, MAGIC, 3, self.mtime, 0,
                             self.size, self.sectorsize, self.alignment, 0, name)
        else:
            struct.pack_into(">IIIQIII4096s", head, 0, MAGIC, 3, self.mtime,
                             self.size, self.sectorsize, self.alignment,
                             int(self.below is not None), name)
            if self.below is not None:
                struct.pack_into(">Q", head, 4128, self.below)
        return bytes(head)

    @classmethod
    def load(cls, path, read=None):
        """The COW file at path, with its bitmap; read(at, length) gives its bytes."""
        with open(os.devnull if read else path, "rb") as f:
            read = read or (lambda at, length: os.pread(f.fileno(), length, at))
            cow = cls.parse(read(0, 8192))
            if cow is None:
                raise Wrong(f"{path}: not a COW file")
            bits = read(cow.bitmap_offset, cow.bitmap_len)
        if len(bits) < cow.bitmap_len:
            raise Wrong(f"{path}: shorter than its bitmap")
        cow.bits[:len(bits)] = bits
        return cow

    def written(self):
        """The sectors whose bits are set."""
        return [byte.start() * 8 + i for byte in re.finditer(b"[^\0]", self.bits)
                for i in range(8) if self.bits[byte.start()] >> i & 1]

    def bit(self, sector):
        return self.bits[sector // 8] >> sector % 8 & 1

    def runs(self):
        """(first sector, count, bit) for each run of sectors of one bit."""
        start = 0
        end = self.sectors
        while start < end:
            bit = self.bit(start)
            whole = 0xFF if bit else 0
            stop = start + 1
            while stop < end:
                if stop % 8 == 0 and self.bits[stop // 8] == whole:
                    stop += 8
                elif self.bit(stop) == bit:
                    stop += 1
                else:
                    break
            stop = min(stop, end)
            yield start, stop - start, bit
            start = stop

    def merge(self, path, backing=None):
        """The disk's bytes: those of the COW file at path over its backing file."""
        disk = bytearray(up(self.size, SECTOR))
        with open(path, "rb") as cow, open(backing or self.backing, "rb") as below:
            for first, count, bit in self.runs():
                at = first * self.sectorsize
                length = min(count * self.sectorsize, len(disk) - at)
                f = cow if bit else below
                f.seek(at + self.data_offset if bit else at)
                data = f.read(length)
                disk[at:at + len(data)] = data
        return disk

    def info(self):
        return {
            "version": self.version, "backing": self.backing, "mtime": self.mtime,
            "size": self.size, "sectorsize": self.sectorsize,
            "alignment": self.alignment, "bitmap_offset": self.bitmap_offset,
            "bitmap_len": self.bitmap_len, "data_offset": self.data_offset,
            "broken": self.broken, "order": self.order, "below": self.below,
            "set": len(self.written()),
        }
