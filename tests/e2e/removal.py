# SPDX-License-Identifier: GPL-2.0
"""Removes a folder, and opens a disk at the moment when that is done but rmdir has
not returned.

usage: removal.py FOLDER DISK: says "opened" or the error of the open.
"""

import ctypes
import errno
import os
import sys

IN_DELETE = 0x200

libc = ctypes.CDLL(None, use_errno=True)


def opens(disk, told):
    """The result of an open, as soon as `told` can be read."""
    # Before the other one goes on, on the one processor that both have.
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    print("ready", flush=True)
    os.read(told, 4096)
    try:
        os.close(os.open(disk, os.O_RDONLY))
    except OSError as e:
        return errno.errorcode[e.errno]
    return "opened"


def main(folder, disk):
    """Returns the exit code."""
    os.sched_setaffinity(0, {0})
    told = libc.inotify_init()
    watched = os.path.dirname(folder).encode()
    if told < 0 or libc.inotify_add_watch(told, watched, IN_DELETE) < 0:
        raise OSError(ctypes.get_errno(), "inotify")
    ready, says = os.pipe()
    opener = os.fork()
    if not opener:
        answer = os.dup(1)
        os.dup2(says, 1)
        os.write(answer, opens(disk, told).encode() + b"\n")
        os._exit(0)
    os.close(says)
    os.read(ready, 16)
    os.rmdir(folder)
    return os.waitstatus_to_exitcode(os.waitpid(opener, 0)[1])


sys.exit(main(*sys.argv[1:]))
