#!/usr/bin/env python3
r"""Methods side by side: the same photo through several models or options of one program, turn by turn, so
that all see the same machine.

    methods.py TRIDENT PHOTO "trident: -m b.gguf --vocabulary w.tvoc" \
        "sc-clip: -m b.gguf --vocabulary w.tvoc --method sc-clip" ...

Each argument is a name and the flags of `segment`. Prints seconds of the program's own clock (from the first
stage to the last row of labels), the median of the ratios to the first method turn by turn, and the kernel's
peaks (RssAnon, VmHWM through `segment --json`) beside what the plan said; then each method's stages (all runs
of a stage together): median seconds, and the ratio to the whole first method.
"""

import argparse
import json
import shlex
import statistics
import subprocess
import tempfile

MIB = 1 << 20


def once(program, photo, flags, labels):
    command = [program, "segment", *flags, photo, "--json", "--quiet", "--overwrite", "--no-cache",
               "--output", labels]
    report = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    memory = report["memory"]
    stages = {}
    for stage in report["stages"]:
        stages[stage["name"]] = stages.get(stage["name"], 0) + stage["seconds"]
    return (report["seconds"], memory["peak_anonymous_bytes"] / MIB, memory["peak_resident_bytes"] / MIB,
            memory.get("planned_anonymous_bytes", 0) / MIB, stages)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("photo")
    parser.add_argument("methods", nargs="+", metavar="NAME: FLAGS")
    parser.add_argument("--rounds", type=int, default=5)
    a = parser.parse_args()
    methods = {}
    for method in a.methods:
        name, flags = method.split(":", 1)
        methods[name] = shlex.split(flags)
    runs = {name: [] for name in methods}
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(a.rounds + 1):
            for name, flags in methods.items():
                result = once(a.program, a.photo, flags, f"{folder}/labels.png")
                # The first turn warms the files up.
                if turn:
                    runs[name].append(result)
    first = next(iter(methods))
    print("| method | seconds | of the first | planned MiB | private | resident |")
    print("|---|---|---|---|---|---|")
    for name, all_runs in runs.items():
        seconds = [run[0] for run in all_runs]
        ratio = statistics.median(run[0] / other[0] for run, other in zip(all_runs, runs[first]))
        private, resident, planned = (max(run[place] for run in all_runs) for place in (1, 2, 3))
        print(f"| {name} | {statistics.median(seconds):.2f} ({min(seconds):.2f}-{max(seconds):.2f}) "
              f"| {ratio:.3f} | {planned:.1f} | {private:.1f} | {resident:.1f} |")
    print()
    for name, all_runs in runs.items():
        parts = []
        for stage in all_runs[0][4]:
            seconds = statistics.median(run[4][stage] for run in all_runs)
            ratio = statistics.median(run[4][stage] / other[0] for run, other in zip(all_runs, runs[first]))
            parts.append(f"{stage} {seconds:.3f} s ({ratio:.3f})")
        print(f"{name}: " + ", ".join(parts))


if __name__ == "__main__":
    main()
