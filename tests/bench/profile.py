#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""What the plugin of scripts/bench --profile counted, by function and task.

usage: profile.py COUNTS SYSTEM_MAP GUEST    (GUEST is what profile.sh printed)
"""

import bisect
import collections
import subprocess
import sys

DRIVER = "[rnull_ubd]"
SHOWN = 60


def symbols(system_map, guest):
    """Returns sorted (address, name, module) of all functions."""
    found = []
    for name in (system_map, guest):
        with open(name, encoding="utf-8") as file:
            for line in file:
                word = line.split()
                if len(word) >= 3 and word[1] in "tTwW":
                    found.append((int(word[0], 16), word[2], word[3] if len(word) > 3 else ""))
    names = subprocess.run(["llvm-cxxfilt"], input="\n".join(s[1] for s in found), text=True,
                           capture_output=True, check=True).stdout.splitlines()
    return sorted((a, n.replace("rnull_ubd::", ""), m) for (a, _, m), n in zip(found, names))


def phases(name):
    """Returns a Counter of (task, address, instructions, string) a phase."""
    result = []
    with open(name, encoding="utf-8") as file:
        for line in file:
            word = line.split()
            if word[0] == "phase":
                result.append(collections.Counter())
            else:
                result[-1][word[1], int(word[2], 16), int(word[3]), word[4] == "1"] += int(word[5])
    return result


def main():
    counts, system_map, guest = sys.argv[1:]
    with open(guest, encoding="utf-8") as file:
        requests = next(int(line.split()[1]) for line in file if line.startswith("@requests"))
    known = symbols(system_map, guest)
    starts = [s[0] for s in known]
    _, short, longer = phases(counts)
    longer.subtract(short)

    # function -> task -> instructions; and what functions and tasks have in all.
    table = collections.defaultdict(collections.Counter)
    calls, copying, tasks, user = (collections.Counter() for _ in range(4))
    for (task, address, size, string), times in longer.items():
        instructions = size * times / requests
        tasks[task] += instructions
        if not address:
            user[task] += instructions
            continue
        start, name, module = known[bisect.bisect_right(starts, address) - 1]
        function = f"{name} {module}".rstrip()
        table[function][task] += instructions
        if string:
            copying[function] += instructions
        if address == start and not string:
            calls[function] += times / requests
    # The rest (bash, timers, RCU) comes with the guest, not with the requests.
    columns = [t for t, n in tasks.most_common()
               if n >= 1 and t.startswith(("fio", "ubd", "loop", "kworker", "dm", "ksnap"))]
    total = sum(tasks.values())
    driver = collections.Counter()
    for function, by in table.items():
        if function.endswith(DRIVER):
            driver.update(by)

    def line(name, by, of_copying, called):
        share = sum(by.values())
        print(f"{name if len(name) < 75 else name[:52] + '...' + name[-19:]:74} {share:8.1f} {100 * share / total:5.1f}% {of_copying:8.1f} "
              f"{called:6.2f}" + "".join(f" {by[t]:11.1f}" for t in columns))

    print("Instructions a request. String: turns of string instructions, that is, copying and zeroing.\n")
    print(f"{'function':74} {'all':>8} {'share':>6} {'string':>8} {'calls':>6}"
          + "".join(f" {t[:11]:>11}" for t in columns))
    line("everything", tasks, sum(copying.values()), 0)
    line("user mode", user, 0, 0)
    line("the driver alone", driver,
         sum(n for f, n in copying.items() if f.endswith(DRIVER)), 0)
    print()
    for function, by in sorted(table.items(), key=lambda item: -sum(item[1].values()))[:SHOWN]:
        line(function, by, copying[function], calls[function])
    print("\nFunctions of the driver:")
    for function, by in sorted(table.items(), key=lambda item: -sum(item[1].values())):
        if function.endswith(DRIVER) and sum(by.values()) >= 0.05:
            line(function, by, copying[function], calls[function])
    print("\nA request:")
    for what, function in (("context switches", "__switch_to"),
                           ("attempts to wake a task up", "try_to_wake_up"),
                           ("tasks woken up", "ttwu_do_activate"),
                           ("hardware interrupts", "common_interrupt"),
                           ("timer interrupts", "__sysvec_apic_timer_interrupt")):
        if calls[function]:
            print(f"  {what:30} {calls[function]:.3f}")


main()
