# SPDX-License-Identifier: GPL-2.0
"""What scripts/bench leaves: the same results as text, Markdown, JSON and a plot."""

import json
import os


def machine(about):
    """What was measured on, in a line."""
    return (f"Kernel {about.get('kernel')} (configuration {about.get('config')}), "
            f"{about.get('qemu')}, {about.get('acceleration')}, {about.get('fio')}; driver "
            f"{about.get('driver')}.")


def text_table(title, header, rows):
    """A table for the terminal."""
    table = [[title] + header] + rows
    widths = [max(len(row[i]) for row in table) for i in range(len(header) + 1)]
    return "\n".join(
        row[0].ljust(widths[0]) + "".join("  " + cell.rjust(width)
                                          for cell, width in zip(row[1:], widths[1:]))
        for row in table) + "\n"


def markdown_table(title, header, rows):
    """A table for the README."""
    lines = [[title] + header, ["---"] + ["--:"] * len(header)] + rows
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def write(name, said, tables, data, plot=""):
    """Writes NAME.txt, .md, .json and, if there is one, .svg; `said` are the conditions."""
    picture = f"![Requests a second]({os.path.basename(name)}.svg)\n\n" if plot else ""
    data = {"license": "SPDX-License-Identifier: GPL-2.0", **data}
    for form, text in (
        ("txt", "\n".join(text_table(*t) for t in tables) + "\n" + said + "\n"),
        ("md", "<!-- SPDX-License-Identifier: GPL-2.0 -->\n" + said + "\n\n" + picture
         + "\n".join(markdown_table(*t) for t in tables)),
        ("json", json.dumps(data, indent=1) + "\n"),
        ("svg", plot),
    ):
        if text:
            with open(f"{name}.{form}", "w", encoding="utf-8") as file:
                file.write(text)
