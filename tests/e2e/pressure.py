#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""
What pressure.sh asks of the machine: memory that there is not, and sleep.
"""

import errno
import mmap
import os
import random
import select

from model import BLOCK, Wrong
from model.cli import main
from model.compare import first_difference

# Of the kernel's eventpoll.h; the select module does not have it.
EPOLLWAKEUP = 1 << 29

# Of the kernel's mman-common.h.
MADV_PAGEOUT = 21


def memory(args):
    """Fill memory with bytes that are known, and look at every one of them.

    No two pages are alike, and none is as it was in the turn before. The last
    come first, which are still in memory: to look at those that are not is then
    the end of it.
    """
    pool = random.Random(args.seed).randbytes(BLOCK + 16 * (args.mb + args.turns))
    held = mmap.mmap(-1, args.mb * BLOCK, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for turn in range(args.turns):
        for n in range(args.mb):
            at = 16 * (n + turn)
            held[n * BLOCK:(n + 1) * BLOCK] = pool[at:at + BLOCK]
        for n in reversed(range(args.mb)):
            at = 16 * (n + turn)
            got, want = held[n * BLOCK:(n + 1) * BLOCK], pool[at:at + BLOCK]
            if got != want:
                raise Wrong(f"turn {turn}: " + first_difference(got, want, n * BLOCK))


def pageout(args):
    """Have some pages swapped out, of a machine that has memory, and look at them.

    No more go out than these, so that it does no harm if nothing else can.
    """
    want = random.Random("pageout").randbytes(args.pages * mmap.PAGESIZE)
    held = mmap.mmap(-1, len(want), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    held[:] = want
    held.madvise(MADV_PAGEOUT)
    got = held[:]
    if got != want:
        raise Wrong(first_difference(got, want, 0))


def suspend(args):
    """Start to suspend the machine, with an event pending that calls it off.

    By then the file systems are frozen, and every task has been told to
    freeze. It goes no further: a guest has nothing to wake it up.
    """
    ours, theirs = os.pipe()
    poll = select.epoll()
    poll.register(ours, select.EPOLLIN | EPOLLWAKEUP)
    for _ in range(args.times):
        # With this count written, what happens from here on calls it off.
        with open("/sys/power/wakeup_count", encoding="ascii") as f:
            count = f.read()
        with open("/sys/power/wakeup_count", "w", encoding="ascii") as f:
            f.write(count)
        os.write(theirs, b"!")
        try:
            with open("/sys/power/state", "wb", buffering=0) as f:
                f.write(b"freeze")
        except OSError as e:
            if e.errno != errno.EBUSY:
                raise
        else:
            raise Wrong("it slept")
        poll.poll()
        os.read(ours, 1)
        # Only who asks again has dealt with the event.
        poll.poll(0)


def commands(command):
    p = command("memory", memory)
    p.add_argument("mb", type=int)
    p.add_argument("--turns", type=int, default=1)
    p.add_argument("--seed", default="memory")

    p = command("pageout", pageout)
    p.add_argument("pages", type=int)

    p = command("suspend", suspend)
    p.add_argument("times", type=int)


if __name__ == "__main__":
    main(__doc__, commands)
