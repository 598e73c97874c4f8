#!/usr/bin/env python3
"""Two builds of trident side by side: the same photo, model and words, turn by turn, so that both see the
same machine. What a change cost in seconds and memory.

    pairs.py OLD NEW -m M.gguf --vocabulary WORDS.tvoc PHOTO [flags of segment] [--pairs 5]

Prints seconds from the first stage to the last row of labels, medians, the median of the ratios pair by pair,
and the kernel's peaks (RssAnon, VmHWM through `segment --json`). Each build goes first in every second pair.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import tempfile

MIB = 1 << 20


def once(program, flags, labels):
    command = [program, "segment", *flags, "--json", "--quiet", "--overwrite", "--output", labels]
    report = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    memory = report["memory"]
    return report["seconds"], memory["peak_anonymous_bytes"] / MIB, memory["peak_resident_bytes"] / MIB


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", help="a program")
    parser.add_argument("new", help="another one")
    parser.add_argument("--pairs", type=int, default=5)
    a, flags = parser.parse_known_args()
    runs = {a.old: [], a.new: []}
    with tempfile.TemporaryDirectory() as folder:
        labels = [f"{folder}/{number}.png" for number in (0, 1)]
        for pair in range(a.pairs + 1):
            order = [(a.old, labels[0]), (a.new, labels[1])]
            for program, out in order if pair % 2 else reversed(order):
                found = once(program, flags, out)
                # The first pair warms the file cache.
                if pair:
                    runs[program].append(found)
        same = pathlib.Path(labels[0]).read_bytes() == pathlib.Path(labels[1]).read_bytes()
    for name, program in (("old", a.old), ("new", a.new)):
        seconds, private, resident = zip(*runs[program], strict=True)
        print(f"{name}: median {statistics.median(seconds):.3f} s of {' '.join(f'{s:.3f}' for s in seconds)}")
        print(f"     private {max(private):.2f} MiB, resident {max(resident):.2f}")
    ratios = [new[0] / old[0] for old, new in zip(runs[a.old], runs[a.new], strict=True)]
    print(f"new / old: median {statistics.median(ratios):.3f} of {' '.join(f'{r:.3f}' for r in ratios)}")
    print(f"label maps: {'the same bytes' if same else 'different'}")


if __name__ == "__main__":
    main()
