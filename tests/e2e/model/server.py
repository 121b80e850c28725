# SPDX-License-Identifier: GPL-2.0
"""A Python program that stays, for a guest in which to start one takes long."""

import gc
import os
import select
import signal
import socket
import sys


def serve(path, run):
    """Do what comes in at a port of this machine, a process each: see ask() in
    lib.sh. run(words) does it and returns the exit code. The port's number is left
    in the file path.

    An interpreter takes a second to start on an emulated processor.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    woken, wake = socket.socketpair()
    wake.setblocking(False)
    signal.set_wakeup_fd(wake.fileno())
    signal.signal(signal.SIGCHLD, lambda *_: None)
    with open(path + ".new", "w", encoding="ascii") as f:
        print(listener.getsockname()[1], file=f)
    os.rename(path + ".new", path)
    # What the collector looks at, a new process would have to copy.
    gc.freeze()
    workers = {}
    while True:
        ready = select.select([listener, woken], [], [])[0]
        if listener in ready:
            connection = listener.accept()[0]
            line = connection.makefile("rb").readline()
            worker = os.fork()
            if worker == 0:
                work(run, connection, line)
            workers[worker] = connection
        if woken in ready:
            woken.recv(4096)
            while workers:
                worker, status = os.waitpid(-1, os.WNOHANG)
                if not worker:
                    break
                # When the answer is there all that was open is closed.
                with workers.pop(worker) as connection:
                    code = os.waitstatus_to_exitcode(status) & 255
                    try:
                        connection.sendall(f"\4{code}\n".encode())
                    except OSError:
                        # Whoever asked has been killed.
                        pass


def work(run, connection, line):
    """The process that does what the line of a connection says."""
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        for name in (signal.SIGCHLD, signal.SIGINT):
            signal.signal(name, signal.SIG_DFL)
        os.dup2(connection.fileno(), 1)
        os.dup2(connection.fileno(), 2)
        cwd, *argv = line[:-1].decode().split("\x1f")
        os.chdir(cwd)
        code = run(argv)
    finally:
        sys.stdout.flush()
        os._exit(code)
