# SPDX-License-Identifier: GPL-2.0
"""What each sector of a disk may hold."""

import bisect
import json

from model import Wrong

from . import BASE, JUNK, ZEROS


class Judge:
    """What each sector of a disk may hold, at a point of the record."""

    def __init__(self, history):
        self.sectors = history["sectors"]
        self.by_sector = {}
        self.by_mark = {}
        for op, kind, first, count, start, end, failed in history["log"]:
            entry = (op, kind, first, count, start, float("inf") if failed else end)
            self.by_mark[str(op)] = entry
            for s in range(first, first + count):
                self.by_sector.setdefault(s, []).append(entry)
        # In the order in which they were done, to find whom a flush covers.
        self.done = sorted((e for e in self.by_mark.values() if e[1] != "flush"),
                           key=lambda e: e[5])
        self.ends = [e[5] for e in self.done]
        self.until = 0
        self.single = set()
        self.cache = {}
        self.marks = 0

    @classmethod
    def all(cls, path):
        """One for each disk of a history."""
        with open(path, encoding="ascii") as f:
            return [cls(history) for history in json.load(f)]

    def mark(self, name):
        """Go past a mark; the sectors of which more is known now."""
        entry = self.by_mark.get(name)
        if entry is None:
            return set()
        self.marks += 1
        changed = set()
        if entry[1] == "flush":
            if entry[4] > self.until:
                low = bisect.bisect_left(self.ends, self.until)
                self.until = entry[4]
                for e in self.done[low:bisect.bisect_left(self.ends, self.until)]:
                    changed.update(range(e[2], e[2] + e[3]))
        else:
            self.single.add(entry[0])
            changed.update(range(entry[2], entry[2] + entry[3]))
        for s in changed:
            self.cache.pop(s, None)
        return changed

    def allowed(self, s):
        found = self.cache.get(s)
        if found is None:
            ops = self.by_sector.get(s, ())
            covered = [e for e in ops if e[5] < self.until or e[0] in self.single]
            last = max((e[4] for e in covered), default=0)
            # A discard leaves alone what is not in the COW file: zeros are what
            # others that have put the sector there give it.
            puts = min((e[4] for e in ops if e[1] != "discard"), default=float("inf"))
            found = {ZEROS if e[1] in ("zero", "discard") else e[0]
                     for e in ops if e[5] > last and (e[1] != "discard" or puts < e[5])}
            if all(e[1] == "discard" for e in covered):
                found.add(BASE)
            self.cache[s] = found
        return found

    def check(self, s, content, where):
        if content not in self.allowed(s):
            raise Wrong(f"{where()}: sector {s} holds {self.name(content)}, must hold "
                        + " or ".join(sorted(self.name(c) for c in self.allowed(s)))
                        + "\nits requests:\n" + "".join(
                            f"  {self.name(e[0])} of {e[2]}+{e[3]}, {e[4]} to {e[5]}"
                            f"{' (covered)' if e[5] < self.until or e[0] in self.single else ''}\n"
                            for e in sorted(self.by_sector.get(s, ()), key=lambda e: e[4])))

    def name(self, content):
        if content in (BASE, ZEROS, JUNK):
            return {BASE: "the backing file's", ZEROS: "zeros",
                    JUNK: "what nobody wrote there"}[content]
        entry = self.by_mark.get(str(content))
        return f"{entry[1]} {content & 0xFFFFFFFFFF:#x}" if entry else "another history's data"
