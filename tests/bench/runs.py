# SPDX-License-Identifier: GPL-2.0
"""The runs of fio in a guest of scripts/bench, and what they come to."""

import json
import statistics
import sys


def column(cell, jobs=1, many=False):
    """A cell's name for people: "randread qd32", "read 128k qd8, 2 jobs"."""
    name, depth = cell.rsplit("-", 1)
    size = " 128k" if name in ("read", "write") else ""
    return f"{name.replace('-', ' ')}{size} qd{depth}" + (f", {jobs} job{'s' * (jobs > 1)}" if many else "")


def shape(results):
    """Returns the paths, and the name of each column by (cell, jobs), in their order."""
    cells = dict.fromkeys((r["cell"], r["jobs"]) for r in results)
    many = any(jobs > 1 for _, jobs in cells)
    return (list(dict.fromkeys(r["path"] for r in results)),
            {(cell, jobs): column(cell, jobs, many) for cell, jobs in cells})


def figures(cell, said):
    """The figures of a run from what fio said; there may be something before its JSON."""
    jobs = json.loads(said[said.index("{"):])["jobs"]
    sides = [job["write" if "write" in cell else "read"] for job in jobs]
    if any(job["error"] for job in jobs) or not all(side["total_ios"] for side in sides):
        raise SystemExit(f"fio failed on {cell}:\n{said}")
    side, *beside = sides
    latency = side["clat_ns"]
    return {
        "iops": side["iops"],
        "requests": side["total_ios"],
        "mean_us": latency["mean"] / 1000,
        "p50_us": latency["percentile"]["50.000000"] / 1000,
        "p99.9_us": latency["percentile"]["99.900000"] / 1000,
        # fio's own beside all that the guest did.
        "fio_switches": jobs[0]["ctx"],
        **{"beside_iops": other["iops"] for other in beside},
    }


def parse(lines):
    """Returns what the guest says about itself, and its runs in their order."""
    about, runs, run, text = {}, [], None, []
    for line in lines:
        word, _, rest = line.rstrip("\n").partition(" ")
        if word == "@about":
            key, _, about[key] = rest.partition(" ")
        elif word == "@run":
            path, cell, jobs = rest.split()
            run, text = {"path": path, "cell": cell, "jobs": int(jobs)}, []
        elif word == "@switches":
            run["switches"] = int(rest)
        elif word == "@end":
            run |= figures(run["cell"], "".join(text))
            runs.append(run)
            print(f"    {run['path']:20} {column(run['cell'], run['jobs'], run['jobs'] > 1):22}"
                  f" {run['iops']:9.0f}", file=sys.stderr, flush=True)
            run = None
        elif run is not None:
            text.append(line)
        elif line.strip():
            print("    " + line.rstrip("\n").removeprefix("@say "), file=sys.stderr, flush=True)
    return about, runs


def summed(runs):
    """One result a path, cell and number of jobs: the median of the rounds."""
    groups = {}
    for run in runs:
        groups.setdefault((run["path"], run["cell"], run["jobs"]), []).append(run)
    results = []
    for (path, cell, jobs), group in groups.items():
        iops = [run["iops"] for run in group]
        result = {"path": path, "cell": cell, "jobs": jobs, "iops": statistics.median(iops)}
        if len(group) > 1:
            result["lowest"], result["highest"] = min(iops), max(iops)
        for key in ("mean_us", "p50_us", "p99.9_us", "beside_iops"):
            if key in group[0]:
                result[key] = statistics.median(run[key] for run in group)
        for key in ("switches", "fio_switches"):
            if key in group[0]:
                result[key + "_per_request"] = statistics.median(
                    run[key] / run["requests"] for run in group)
        results.append(result)
    return results
