# SPDX-License-Identifier: GPL-2.0
"""Says what the kernel tells of a disk, a line for each time.

usage: watch.py DISK: writes "ready" first; then "poll NAME VALUE" when somebody
who polls the attribute NAME of the disk is woken, and "uevent NAME=VALUE" for
each uevent of the disk with a variable of this driver's, or with that of a
resize.
"""

import os
import select
import socket
import sys

NETLINK_KOBJECT_UEVENT = 15


def main(disk):
    """Never ends."""
    uevents = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_KOBJECT_UEVENT)
    uevents.bind((0, 1))
    poll = select.poll()
    poll.register(uevents, select.POLLIN)
    attributes = {}
    for name in "space", "state":
        fd = os.open(f"/sys/block/{disk}/ubd/{name}", os.O_RDONLY)
        os.read(fd, 4096)
        poll.register(fd, select.POLLPRI)
        attributes[fd] = name
    print("ready", flush=True)
    while True:
        for fd, _ in poll.poll():
            if fd in attributes:
                value = os.pread(fd, 4096, 0).decode().strip()
                print("poll", attributes[fd], value, flush=True)
                continue
            words = uevents.recv(8192).split(b"\0")
            if words[0].endswith(f"/block/{disk}".encode()):
                for word in words:
                    if word.startswith((b"UBD_", b"RESIZE=")):
                        print("uevent", word.decode(), flush=True)


main(sys.argv[1])
