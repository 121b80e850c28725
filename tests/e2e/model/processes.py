# SPDX-License-Identifier: GPL-2.0
"""Processes that work side by side."""

import json
import os
import traceback

from . import Wrong


def place_of(error):
    """The file and line where an error comes from."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{os.path.basename(frame.filename)}, line {frame.lineno}"


def apart(jobs):
    """Call each of jobs, (name, function), in a process of its own; all must end
    well. Returns what the functions did, of what JSON has."""
    children = []
    for name, job in jobs:
        source, sink = os.pipe()
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                with open(sink, "w", encoding="ascii") as f:
                    json.dump(job(), f)
                code = 0
            except Exception as e:  # pylint: disable=broad-except
                print(f"{name}: {type(e).__name__}: {e}, {place_of(e)}", flush=True)
            finally:
                os._exit(code)
        os.close(sink)
        children.append((pid, source))
    said, bad = [], 0
    for pid, source in children:
        with open(source, encoding="ascii") as f:
            said.append(f.read())
        bad += os.waitpid(pid, 0)[1] != 0
    if bad:
        raise Wrong(f"{bad} of {len(children)} processes failed")
    return [json.loads(text) for text in said]
