# SPDX-License-Identifier: GPL-2.0
"""The plot of what scripts/bench measured."""

import io

import matplotlib

from runs import shape
from tables import title

matplotlib.use("svg")
# The same results make the same file; text stays text.
matplotlib.rcParams.update({"svg.hashsalt": "bench", "svg.fonttype": "none",
                            "font.family": "sans-serif", "font.size": 8})
from matplotlib import pyplot  # noqa: E402  (after the backend is chosen)


def svg(results):
    """Bars: a panel a cell, a bar a path. On white, so that it can be read on any page."""
    results = [r for r in results if not r["cell"].startswith("cached")]
    paths, columns = shape(results)
    across = min(len(columns), 4 if len(columns) > 6 or any(jobs > 1 for _, jobs in columns) else 3)
    down = -(-len(columns) // across)
    figure, axes = pyplot.subplots(down, across, sharey=True, squeeze=False, layout="constrained",
                                   figsize=(3 + 2.3 * across, down * (0.5 + 0.19 * len(paths))))
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, ((cell, jobs), name) in zip(axes.flat, columns.items()):
        here = {r["path"]: r["iops"] for r in results if (r["cell"], r["jobs"]) == (cell, jobs)}
        axis.set_axis_on()
        axis.set_title(name, loc="left", fontweight="bold", fontsize=8)
        bars = axis.barh([title(p) for p in paths], [here.get(p, 0) for p in paths],
                         color=["#2a6f97" if p.startswith("ubd") else "#b8bcc2" for p in paths])
        axis.bar_label(bars, [f"{here[p]:.0f}" if p in here else "" for p in paths], padding=2)
        axis.set_xlim(0, max(here.values()) * 1.3)
        axis.xaxis.set_visible(False)
        axis.tick_params(length=0)
        axis.spines[:].set_visible(False)
    # The axis is shared.
    axes[0, 0].invert_yaxis()
    text = io.StringIO()
    figure.savefig(text, format="svg", facecolor="white",
                   metadata={"Date": None, "Title": "Requests a second"})
    head, rest = text.getvalue().split("\n", 1)
    lines = [head, "<!-- SPDX-License-Identifier: GPL-2.0 -->"] + rest.splitlines()
    return "\n".join(line.rstrip() for line in lines) + "\n"
