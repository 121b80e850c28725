# SPDX-License-Identifier: GPL-2.0
"""The tables of what scripts/bench measured."""

from runs import shape

TITLES = {
    "null-blk": "null_blk, no data moved",
    "brd": "brd: memory, no file",
    "file": "the file itself, buffered",
    "file-direct": "the file itself, direct I/O",
    "loop": "loop",
    "loop-sparse": "loop, file of holes",
    "loop-direct-sparse": "loop, direct I/O, file of holes",
    "dm-snapshot": "dm-snapshot over two loops, fresh",
    "ubd-plain": "ubd, plain image",
    "ubd-cow-fresh": "ubd, COW, fresh",
    "ubd-cow-allocated": "ubd, COW, fresh, no holes",
    "ubd-cow-ahead": "ubd, COW, fresh, a MiB ahead",
    "ubd-cow-mixed": "ubd, COW, every second block written",
}
BESIDE = ("loop", "loop-sparse", "dm-snapshot", "file", "brd")
BESIDE_COLD = ("loop-direct", "loop-direct-sparse", "dm-snapshot-direct", "file-direct")


def title(path):
    """A path's name for people."""
    if path in TITLES:
        return TITLES[path]
    base = path.removesuffix("-direct")
    return TITLES.get(base, base) + ", direct I/O" * (base != path)


def tables(results, mode):
    """Yields (title, header, rows), where a row starts with a path's title."""
    cached = [r for r in results if r["cell"].startswith("cached")]
    rest = [r for r in results if r not in cached]
    # What is done, with many queue depths, has tables of its own, and so has a file system.
    part = {"cold": lambda cell: cell.rsplit("-", 1)[0],
            "disk": lambda cell: cell.split("-", 1)[0]}.get(mode, lambda cell: "")
    beside = {"cold": BESIDE_COLD, "disk": BESIDE + BESIDE_COLD}.get(mode, BESIDE)
    for name in dict.fromkeys(part(r["cell"]) for r in rest):
        yield from tables_of([r for r in rest if part(r["cell"]) == name], beside)
    if cached:
        yield table_of_cached(cached)


def tables_of(results, beside):
    """Yields the tables of cells that stand side by side, with ratios to the paths `beside`."""
    at = {(r["path"], r["cell"], r["jobs"]): r for r in results}
    paths, columns = shape(results)
    header = list(columns.values())

    def rows(value, of=paths):
        for path in of:
            cells = [at.get((path, *c)) for c in columns]
            yield [title(path)] + [value(r) if r else "" for r in cells]

    yield "Requests a second", header, list(rows(lambda r: f"{r['iops']:.0f}"))
    if any("lowest" in r for r in results):
        yield ("Lowest to highest of the rounds, in per cent of the median", header, list(rows(
            lambda r: f"{100 * r['lowest'] / r['iops']:.0f}-{100 * r['highest'] / r['iops']:.0f}")))
    for other in beside:
        if other in paths and any(p.startswith("ubd") for p in paths):
            def ratio(r, other=other):
                base = at.get((other, r["cell"], r["jobs"]))
                return f"{r['iops'] / base['iops']:.2f}" if base else ""
            yield (f"Times {title(other)}", header,
                   list(rows(ratio, [p for p in paths if p.startswith("ubd")
                                     and ("-direct" in p) == ("-direct" in other)])))
    yield ("Context switches a request, all tasks", header,
           list(rows(lambda r: f"{r['switches_per_request']:.2f}")))
    yield ("Latency, 99.9th percentile, in microseconds", header,
           list(rows(lambda r: f"{r['p99.9_us']:.0f}")))


def table_of_cached(results):
    """How long reads of what is in the page cache take, alone and beside reads of what is not."""
    depths = list(dict.fromkeys(int(r["cell"].rsplit("-", 1)[1]) for r in results))
    header = []
    for depth in depths:
        beside = f"beside cold reads, qd{depth}" if depth else "alone"
        header += [f"{beside}: median", "99.9th percentile"] + ["cold reads a second"] * bool(depth)
    rows = {}
    for r in results:
        row = rows.setdefault(r["path"], [title(r["path"])])
        row += [f"{r['p50_us']:.0f}", f"{r['p99.9_us']:.0f}"]
        if "beside_iops" in r:
            row.append(f"{r['beside_iops']:.0f}")
    return "Latency of cached reads, in microseconds", header, list(rows.values())
