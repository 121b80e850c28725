#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""What the guest of scripts/bench prints (stdin), as tables and a plot.

usage: report.py NAME    writes NAME.txt, NAME.json, NAME.md and NAME.svg
"""

import json
import os
import statistics
import sys

TITLES = {
    "null-blk": "null_blk, no data moved",
    "brd": "brd: memory, no file",
    "file": "the file itself, buffered",
    "loop": "loop",
    "loop-direct": "loop, direct I/O",
    "dm-snapshot": "dm-snapshot over two loops, fresh",
    "ubd-plain": "ubd, plain image",
    "ubd-cow-fresh": "ubd, COW, fresh",
    "ubd-cow-mixed": "ubd, COW, every second block written",
}
BESIDE = ("loop", "dm-snapshot", "file", "brd")


def column(cell, jobs, many):
    """A cell's name for people: "randread qd32", "read 128k qd8, 2 jobs"."""
    name, depth = cell.rsplit("-", 1)
    size = "" if name.startswith("rand") else " 128k"
    return f"{name}{size} qd{depth}" + (f", {jobs} job{'s' * (jobs > 1)}" if many else "")


def parse(lines):
    """Returns what the guest says about itself, and its runs in their order."""
    about, runs, text = {}, [], []
    run = None
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
            # fio may have something to say before its JSON.
            said = "".join(text)
            job = json.loads(said[said.index("{"):])["jobs"][0]
            side = job["read" if "read" in run["cell"] else "write"]
            if job["error"] or not side["total_ios"]:
                raise SystemExit(f"fio failed on {run['path']} {run['cell']}:\n{said}")
            run |= {
                "iops": side["iops"],
                "requests": side["total_ios"],
                "mean_us": side["clat_ns"]["mean"] / 1000,
                "p99.9_us": side["clat_ns"]["percentile"]["99.900000"] / 1000,
                # fio's own beside all that the guest did.
                "fio_switches": job["ctx"],
            }
            runs.append(run)
            print(f"    {run['path']:14} {column(run['cell'], run['jobs'], run['jobs'] > 1):22}"
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
        for key in ("mean_us", "p99.9_us"):
            result[key] = statistics.median(run[key] for run in group)
        for key in ("switches", "fio_switches"):
            result[key + "_per_request"] = statistics.median(
                run[key] / run["requests"] for run in group)
        results.append(result)
    return results


def tables(results):
    """Yields (title, header, rows), where a row starts with a path's title."""
    at = {(r["path"], r["cell"], r["jobs"]): r for r in results}
    paths = list(dict.fromkeys(r["path"] for r in results))
    columns = list(dict.fromkeys((r["cell"], r["jobs"]) for r in results))
    many = any(jobs > 1 for _, jobs in columns)
    header = [column(*c, many) for c in columns]

    def rows(value, of=paths):
        for path in of:
            cells = [at.get((path, *c)) for c in columns]
            yield [TITLES.get(path, path)] + [value(r) if r else "" for r in cells]

    yield "Requests a second", header, list(rows(lambda r: f"{r['iops']:.0f}"))
    if any("lowest" in r for r in results):
        yield ("Lowest to highest of the rounds, in per cent of the median", header, list(rows(
            lambda r: f"{100 * r['lowest'] / r['iops']:.0f}-{100 * r['highest'] / r['iops']:.0f}")))
    for other in BESIDE:
        if other in paths and any(p.startswith("ubd") for p in paths):
            def ratio(r, other=other):
                base = at.get((other, r["cell"], r["jobs"]))
                return f"{r['iops'] / base['iops']:.2f}" if base else ""
            yield (f"Times {TITLES[other]}", header,
                   list(rows(ratio, [p for p in paths if p.startswith("ubd")])))
    yield ("Context switches a request, all tasks", header,
           list(rows(lambda r: f"{r['switches_per_request']:.2f}")))
    yield ("Latency, 99.9th percentile, in microseconds", header,
           list(rows(lambda r: f"{r['p99.9_us']:.0f}")))


def text_table(title, header, rows):
    table = [[title] + header] + rows
    widths = [max(len(row[i]) for row in table) for i in range(len(header) + 1)]
    return "\n".join(
        row[0].ljust(widths[0]) + "".join("  " + cell.rjust(width)
                                          for cell, width in zip(row[1:], widths[1:]))
        for row in table) + "\n"


def markdown_table(title, header, rows):
    lines = [[title] + header, ["---"] + ["--:"] * len(header)] + rows
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def conditions(about):
    """What was measured, and on what, in a line or two."""
    how = ("two processors, in real time: figures depend on the machine"
           if about.get("mode") == "smp" else
           "one processor, a nanosecond an instruction: "
            "times are the guest's, not the machine's")
    return (f"Kernel {about.get('kernel')} (configuration {about.get('config')}), "
            f"{about.get('qemu')}, {about.get('acceleration')}, {about.get('fio')}; driver "
            f"{about.get('driver')}. fio: io_uring, direct=1, 256 MiB; image files on tmpfs. {how}.")


def svg(results):
    """Bars: a panel a cell, a bar a path."""
    columns = list(dict.fromkeys((r["cell"], r["jobs"]) for r in results))
    many = any(jobs > 1 for _, jobs in columns)
    bar, width, names = 16, 210, 230
    across = min(len(columns), 3 if not many else 4)
    paths = list(dict.fromkeys(r["path"] for r in results))
    height = 34 + bar * len(paths)
    full = names + across * (width + 20)
    down = -(-len(columns) // across)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {full} {down * height + 10}"'
           ' font-family="sans-serif" font-size="11">',
           '<!-- SPDX-License-Identifier: GPL-2.0 -->',
           '<title>Requests a second</title>',
           '<rect width="100%" height="100%" fill="#fff"/>']
    for i, (cell, jobs) in enumerate(columns):
        x, y = names + i % across * (width + 20), i // across * height
        here = {r["path"]: r["iops"] for r in results if (r["cell"], r["jobs"]) == (cell, jobs)}
        top = max(here.values())
        out.append(f'<text x="{x}" y="{y + 24}" font-weight="bold">{column(cell, jobs, many)}</text>')
        for j, path in enumerate(paths):
            line = y + 32 + j * bar
            if i % across == 0:
                out.append(f'<text x="{names - 8}" y="{line + 11}" text-anchor="end">'
                           f'{TITLES.get(path, path)}</text>')
            if path not in here:
                continue
            colour = "#2a6f97" if path.startswith("ubd") else "#b8bcc2"
            # Room for the figure of the longest bar.
            length = here[path] / top * (width - 48)
            out.append(f'<rect x="{x}" y="{line}" width="{length:.1f}" height="{bar - 3}"'
                       f' fill="{colour}"/>')
            out.append(f'<text x="{x + length + 4:.1f}" y="{line + 11}">{here[path]:.0f}</text>')
    return "\n".join(out) + "\n</svg>\n"


def main():
    name = sys.argv[1]
    about, runs = parse(sys.stdin)
    if not runs:
        raise SystemExit("there is nothing to report")
    results = summed(runs)
    said = conditions(about)
    with open(name + ".json", "w", encoding="utf-8") as file:
        json.dump({"license": "SPDX-License-Identifier: GPL-2.0", "about": about, "results": results}, file, indent=1)
        file.write("\n")
    with open(name + ".txt", "w", encoding="utf-8") as file:
        file.write("\n".join(text_table(*t) for t in tables(results)) + "\n" + said + "\n")
    with open(name + ".md", "w", encoding="utf-8") as file:
        file.write("<!-- SPDX-License-Identifier: GPL-2.0 -->\n" + said
                   + f"\n\n![Requests a second]({os.path.basename(name)}.svg)\n\n" + "\n".join(markdown_table(*t) for t in tables(results)))
    with open(name + ".svg", "w", encoding="utf-8") as file:
        file.write(svg(results))


main()
