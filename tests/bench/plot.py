# SPDX-License-Identifier: GPL-2.0
"""The plot of what scripts/bench measured."""

from runs import column
from tables import title


def svg(results):
    """Bars: a panel a cell, a bar a path."""
    results = [r for r in results if not r["cell"].startswith("cached")]
    columns = list(dict.fromkeys((r["cell"], r["jobs"]) for r in results))
    many = any(jobs > 1 for _, jobs in columns)
    depths = list(dict.fromkeys(cell.rsplit("-", 1)[1] for cell, _ in columns))
    bar, width, names = 16, 210, 230
    across = min(max(len(columns), 1), 3 if not many else 4)
    if len(depths) > across:
        # A line of panels for what was done, with a queue ever deeper.
        across, width = len(depths), 120
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
                           f'{title(path)}</text>')
            if path not in here:
                continue
            colour = "#2a6f97" if path.startswith("ubd") else "#b8bcc2"
            # Room for the figure of the longest bar.
            length = here[path] / top * (width - 48)
            out.append(f'<rect x="{x}" y="{line}" width="{length:.1f}" height="{bar - 3}"'
                       f' fill="{colour}"/>')
            out.append(f'<text x="{x + length + 4:.1f}" y="{line + 11}">{here[path]:.0f}</text>')
    return "\n".join(out) + "\n</svg>\n"
