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

import struct

from model import SECTOR

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
