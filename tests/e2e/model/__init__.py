# SPDX-License-Identifier: GPL-2.0
"""
What a ubd must do, said a second time and in another language: COW files by
their format alone, and the bytes of a disk after a history of writes.

Nothing here knows the driver. `python3 -m model --help`, in this folder, lists
the commands that the test scripts use; all of them exit with 1 and say what is
wrong where a check fails.
"""

import os

SECTOR = 512
BLOCK = 1 << 20


class Wrong(Exception):
    """Something is not as it must be."""


def up(value, unit):
    """value, rounded up to a multiple of unit."""
    return -(-value // unit) * unit


def file_size(path):
    """The size of a file or of a block device."""
    with open(path, "rb") as f:
        return f.seek(0, os.SEEK_END)
