#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""
Loads the driver again and again, each time with one allocation that fails.

The kernel counts what the loading task asks for (fail-nth), so that any one of
its allocations can be the one. Of those that it takes to set up the units some
are chosen. The load either works or fails with an error; units that are there
work; and the next load, with all the memory there is, finds the disks as they
were. What is never freed, kmemleak tells.
"""

import argparse
import ctypes
import errno
import os
import random
import sys

from model import Wrong
from model.cli import run

NAME = b"rnull_ubd"
FINIT_MODULE, DELETE_MODULE = 313, 176
# More than any load asks for.
ALL = 1 << 24
# The last ones are those of the folder in configfs. When it can't be registered
# the kernel crate's Subsystem is dropped all the same, and unregisters it: the
# kernel's own oops.
LAST = 40
LENGTH = 64 << 10

libc = ctypes.CDLL(None, use_errno=True)


def load(module, params, nth):
    """Returns an error's name or None, and how many allocations there were, or
    None if the nth of them has failed."""
    text = ctypes.create_string_buffer(params.encode())
    fd = os.open(module, os.O_RDONLY)
    # Threads are not counted with their process.
    counter = os.open("/proc/thread-self/fail-nth", os.O_RDWR)
    try:
        os.write(counter, str(nth).encode())
        failed = libc.syscall(FINIT_MODULE, fd, text, 0)
        left = int(os.pread(counter, 16, 0))
        os.write(counter, b"0")
        error = errno.errorcode[ctypes.get_errno()] if failed else None
    finally:
        os.close(counter)
        os.close(fd)
    return error, nth - left if left else None


def unload():
    if libc.syscall(DELETE_MODULE, NAME, os.O_NONBLOCK):
        raise Wrong(f"not unloaded: {os.strerror(ctypes.get_errno())}")


def units():
    return [dev for dev in ("/dev/ubda", "/dev/ubdb") if os.path.exists(dev)]


def start_of(path):
    with open(path, "rb") as f:
        return f.read(LENGTH)


def loads(args):
    """Load with one allocation that fails, args.count times."""
    params = f"ubd0={args.cow} ubd1={args.new}:{args.back}"
    want = {"/dev/ubda": start_of(args.want), "/dev/ubdb": start_of(args.back)}

    def look(devs):
        for dev in devs:
            if start_of(dev) != want[dev]:
                raise Wrong(f"{dev} has not what it had")

    def whole():
        if os.path.exists(args.new):
            os.unlink(args.new)
        error, count = load(args.module, params, ALL)
        if error or len(units()) != 2:
            raise Wrong(f"{error}, with nothing that fails")
        unload()
        return count

    # What is loaded for the first time, the page cache has not.
    whole()
    count = whole()
    error, alone = load(args.module, "", ALL)
    if error:
        raise Wrong(f"{error}, with no units")
    unload()
    # The last ones before the units come are the module's own. Half are the units'.
    first, units_first = max(1, alone - 50), max(1, alone - 10)
    rng = random.Random(args.seed)
    tried, failed, lacking = 0, {}, 0

    def fail(nth):
        nonlocal tried, lacking
        tried += 1
        if os.path.exists(args.new):
            os.unlink(args.new)
        error, used = load(args.module, params, nth)
        if error:
            failed[error] = failed.get(error, 0) + 1
            if os.path.exists("/sys/module/rnull_ubd") or units():
                raise Wrong(f"{error}, but something is left")
        else:
            there = units()
            lacking += len(there) != 2
            look(there)
            unload()
        if used is None:
            # What was left of a new COW file is gone on from.
            error, _ = load(args.module, params, ALL)
            if error or len(units()) != 2:
                raise Wrong(f"the next load failed: {error}, {units()}")
            look(units())
            unload()

    for numbers, matters in (
        (range(first, units_first), lambda: failed),
        (range(units_first, count - LAST), lambda: lacking),
    ):
        # More of them, if none of so many matters.
        for done, nth in enumerate(rng.sample(numbers, len(numbers))):
            if done >= args.count // 2 and matters():
                break
            try:
                fail(nth)
            except Wrong as e:
                raise Wrong(f"allocation {nth} of {count}: {e}") from e
    print(f"{tried} of {count - first} allocations, failed: {failed or 'none'}, "
          f"a unit is not there: {lacking}")
    if not failed or not lacking:
        raise Wrong("none of a kind matters")


def commands_of():
    parser = argparse.ArgumentParser(description=__doc__.strip().split("\n", maxsplit=1)[0])
    parser.set_defaults(run=loads)
    parser.add_argument("module", help="its file")
    parser.add_argument("cow", help="a COW file")
    parser.add_argument("want", help="what its disk has")
    parser.add_argument("new", help="a COW file to be made")
    parser.add_argument("back", help="its backing file")
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--seed", default="memory")
    return parser


if __name__ == "__main__":
    sys.exit(run(commands_of(), sys.argv[1:]))
